"""One shot rendered: what is missing of it in segments, on this machine or on a cluster, then joined, labelled and signed. Constant memory.

Rendering a frame is a pure function, and where segments begin depends on the frames alone, so neither the number of workers nor an
interruption can change a bit of the result. The content gate and the signature are the delivery's, not the segments'.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from digidouble.capture import read_revocations
from digidouble.deliver.segments import plan_segments
from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
from digidouble.deliver.staged_passes import deliver_passes
from digidouble.deliver.writer import open_writer
from digidouble.errors import NoFace, SettingsError
from digidouble.farm.cluster import Asked, Cluster
from digidouble.farm.crew import Crew
from digidouble.farm.gate import default_gate, frames_to_look_at
from digidouble.farm.looks import Looks, curves_of
from digidouble.farm.node import Sources, alone, job_of, not_files
from digidouble.farm.prepared import Assets, faces_in, passes_plan, prepare_shot, with_hair
from digidouble.farm.processes import Processes, worth_processes
from digidouble.farm.segments import Place, SegmentStore, job_facts, named_by_hashes, runs_of, split
from digidouble.farm.settings import Progress, RenderResult, RenderSettings
from digidouble.farm.worker import Start
from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.perception.hair import HairLook
from digidouble.pipeline import hair_looks
from digidouble.render import PreparedCast
from digidouble.schema.clock import StageClock
from digidouble.schema.frame import Frame
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange


def render_shot(
    plate: Footage, performance: Performance, casting: Mapping[str, Persona], out: Path, settings: RenderSettings | None = None,
    delivery: DeliverySettings | None = None, progress: Progress | None = None, gate: ContentGate | None = None,
) -> RenderResult:  # fmt: skip
    """Render `plate` with the personas of `casting` ("main", "all" or a track id) into `out`.

    What is finished lies in `OUT.segments/` until the delivery is complete; a run that was cut off, however, goes on from there when
    called again with the same inputs and settings.

    Raises:
        NoFace: the plate has no face to stand in for. CastingError, ConsentError: see `pipeline.prepare`.
        ContentRefused: `gate` (None: the usual one) saw adult content. WeightsError: its network is missing.
        OutputError, MediaError: nothing is left under `out`'s name.
        FarmError: the workers were lost, or there is no Ray.
    """
    settings, delivery = settings or RenderSettings(), delivery or DeliverySettings()
    if not performance.tracks:
        raise NoFace(
            f"{performance.shot.path}: no face was found on this plate, so there is nothing to stand in for. See: digidouble perform --help"
        )
    started = time.perf_counter()
    frames = (settings.frame_range or FrameRange(0, plate.shot.frame_count)).clipped(plate.shot.frame_count)
    if len(frames) == 0:
        raise SettingsError(f"the frame range is empty: {plate.shot.path} has frames 0:{plate.shot.frame_count}.")
    clock, gate, assets = StageClock(), gate or default_gate(), (plate, performance, casting)
    with _processes(assets, settings, frames) as processes, _cluster(assets, settings) as cluster:
        casts = prepare_shot(performance, casting, settings)
        delivery = replace(delivery, personas=tuple(dict.fromkeys((p.name, p.sha256) for p in casting.values())))
        if settings.frame_range is not None:
            delivery = replace(delivery, frame_range=frames)
        open_writer(out, performance.shot, delivery).abort()  # what would be refused at the end is refused now
        plan = plan_segments(out, performance.shot, delivery, frames, faces_in(performance, frames.start))
        passes = passes_plan(performance, casts, plan, settings)  # likewise
        looked_at = frames_to_look_at(frames, float(performance.shot.rate.fps))
        place = Place.beside(plan, with_hair(passes, _hair(casts, plate, settings, clock)))
        looks = Looks(casts, frames, settings.samples, gate, looked_at, plan.mark)
        asked = _revocations_note(settings)
        with SegmentStore(place, job_facts(performance, casts, settings, place)) as store:
            continued = store.done_frames
            moved = _Moved(progress, continued, len(frames))
            if cluster is not None:
                job = job_of(store, settings, plate, performance, looks.wanted)
                crew_of = partial(Crew, plate, casts, place, clock=clock)
                cluster.render(Asked(store, job, casting, crew_of, looks, moved.by, clock))
            else:
                crew = Crew(plate, casts, place, int(settings.workers), clock)
                with (
                    closing(crew),
                    closing(_rendered(store, crew, processes, assets, settings, looks, moved)) as rendered,
                ):
                    for segment in rendered:
                        store.keep(segment)
            clock.start()
            looks.take_rest(plate)
            clock.lap("gate")
            delivered, delivered_passes = _joined(store, {"content_gate": gate.record(), "revocations": asked})
            clock.lap("encode")
    return RenderResult(
        delivered=delivered,
        frames=len(frames),
        wall_s=time.perf_counter() - started,
        stages=dict(clock.seconds),
        samples=looks.samples,
        tracks=tuple(c.plan.track.track_id for c in casts),
        curves=curves_of(casts, frames),
        passes=delivered_passes,
        gate=gate.record(),
        revocation_list=asked["list"] or "",
        continued=continued,
        notes=(
            *store.notes,
            *([f"continued: {continued} of {len(frames)} frames were there already"] if continued else []),
        ),
    )


def _hair(
    casts: list[PreparedCast], plate: Footage, settings: RenderSettings, clock: StageClock
) -> dict[int, HairLook]:
    """What the passes need to know of the performers' hair. Learnt anew by a continued run, too: the segments' job is named by it."""
    if settings.passes is None:
        return {}
    clock.start()
    found = hair_looks(casts, plate)
    clock.lap("hair")
    return found


class _Moved:
    """Tells a progress bar, from any thread; begins with the frames that are there."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total
        self._lock = threading.Lock()
        if done:
            self.by(0)

    def by(self, frames: int) -> None:
        """So many more frames are done."""
        with self._lock:
            self._done += frames
            if self._progress:
                self._progress(self._done, self._total)


def _processes(assets: Assets, settings: RenderSettings, frames: FrameRange) -> Processes:
    """Those that help this one; none where the work cannot be handed on (`job_facts`)."""
    workers = settings.workers if isinstance(settings.workers, int) else 1
    others = workers - 1 if _are_files(assets) and worth_processes(len(split(frames)), workers) else 0
    plate, performance, casting = assets
    file = Path(performance.file or "")
    return Processes(others, Sources(Path(plate.shot.path), plate.settings, file, dict(casting), alone(settings)))


def _cluster(assets: Assets, settings: RenderSettings) -> Cluster | nullcontext[None]:
    """The cluster that was asked for. Raises FarmError: the work cannot be handed on."""
    if isinstance(settings.workers, int):
        return nullcontext()
    if not _are_files(assets):
        raise not_files()
    return Cluster(settings.workers)


def _are_files(assets: Assets) -> bool:
    _, performance, casting = assets
    return bool(performance.file) and named_by_hashes(performance, casting.values())


def _rendered(
    store: SegmentStore, crew: Crew, processes: Processes, assets: Assets, settings: RenderSettings, looks: Looks, moved: _Moved
) -> Generator[FrameRange, None, None]:  # fmt: skip
    """Segments that are not there yet, on this machine: by processes when there are any, else by threads of this one."""

    def seen(source: Frame, result: Frame) -> None:
        crew.clock.start()
        looks.take(source, result)
        crew.clock.lap("gate")
        moved.by(1)

    if len(processes) and store.missing:
        plate, performance, _ = assets
        job = job_of(store, settings, plate, performance, looks.wanted)
        start = Start(job, store.place.folder, store.place.passes_folder)
        yield from processes.render(crew, start, store.missing, looks.take, moved.by)
        if processes.lost:
            store.notes.append(
                f"{processes.lost} worker processes were lost (out of memory?); the others did their work"
            )
        return
    for run in runs_of(store.missing, len(store.segments)):
        yield from crew.render(run, seen)


def _joined(store: SegmentStore, notes: dict[str, object]) -> tuple[DeliveredFiles, DeliveredFiles | None]:
    """The delivery and its passes, from the segments, without encoding a picture again. `notes`: for the log."""
    plan, place = store.plan, store.place
    with open_writer(plan.out, plan.shot, plan.settings, place.folder / f"joined{plan.out.suffix}") as writer:
        for segment in store.segments:
            writer.adopt(place.path(segment), segment)
        writer.notes |= notes
        delivered = writer.close()
    passes = deliver_passes(place.passes, place.passes_folder, store.segments) if place.passes else None
    return delivered, passes


def _revocations_note(settings: RenderSettings) -> dict[str, Any]:
    """Which list was asked, for the log."""
    found = read_revocations(settings.revoked)
    return {"list": found.name or None, "sha256": found.sha256 or None, "entries": len(found.entries)}
