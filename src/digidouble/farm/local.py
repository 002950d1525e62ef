"""One shot rendered: what is missing of it in segments, on this machine or on a cluster, then joined. Constant memory.

Rendering a frame is a pure function, and where segments begin depends on the frames alone, so neither the number of workers nor an
interruption can change a bit of the result.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from digidouble.deliver.segments import SegmentPlan, SegmentWriter, plan_segments
from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import NoFace, SettingsError
from digidouble.farm.segments import SegmentStore, job_facts, runs_of
from digidouble.farm.settings import Progress, RenderResult, RenderSettings, Sample
from digidouble.footage import Footage
from digidouble.pipeline import prepare, render_frame
from digidouble.render import PreparedCast
from digidouble.schema.clock import StageClock
from digidouble.schema.colour import LUMA, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

AHEAD = 4  # frames decoded or pending per worker


def render_shot(
    plate: Footage, performance: Performance, casting: Mapping[str, Persona], out: Path, settings: RenderSettings | None = None,
    delivery: DeliverySettings | None = None, progress: Progress | None = None,
) -> RenderResult:  # fmt: skip
    """Render `plate` with the personas of `casting` ("main", "all" or a track id) into `out`.

    What is finished lies in `OUT.segments/` until the delivery is complete; a run that was cut off, however, goes on from there when
    called again with the same inputs and settings.

    Raises:
        NoFace: the plate has no face to stand in for. CastingError, ConsentError: see `pipeline.prepare`.
        OutputError, MediaError: nothing is left under `out`'s name.
        FarmError: the workers were lost, or there is no Ray.
    """
    settings, delivery = settings or RenderSettings(), delivery or DeliverySettings()
    if not performance.tracks:
        raise NoFace(
            f"{performance.shot.path}: no face was found on this plate, so there is nothing to stand in for. See: digidouble perform --help"
        )
    started = time.perf_counter()
    clock = StageClock()
    casts = prepare_shot(performance, casting, settings)
    frames = (settings.frame_range or FrameRange(0, plate.shot.frame_count)).clipped(plate.shot.frame_count)
    if len(frames) == 0:
        raise SettingsError(f"the frame range is empty: {plate.shot.path} has frames 0:{plate.shot.frame_count}.")
    if settings.frame_range is not None:
        delivery = replace(delivery, frame_range=frames)
    shot = performance.shot
    open_writer(out, shot, delivery).abort()  # what would be refused at the end is refused now
    plan = plan_segments(out, shot, delivery, frames, faces_in(performance, frames.start))
    sampler = _Sampler(casts, frames, settings.samples)
    cv2.setNumThreads(1)  # frames run in parallel; a second layer of threads would only get in the way
    with SegmentStore(plan, job_facts(performance, casts, settings.look, plan)) as store:
        continued = store.done_frames
        if progress and continued:
            progress(continued, len(frames))
        moved = progress and (lambda done: progress(continued + done, len(frames)))
        if isinstance(settings.workers, str):
            from digidouble.farm.cluster import render_on_cluster

            render_on_cluster(store, plate, performance, casting, settings, clock, moved or (lambda done: None))
        else:
            crew = Crew(plate, casts, settings.workers or os.cpu_count() or 1, clock)
            _render_missing(store, crew, sampler, moved or (lambda done: None))
        samples = sampler.all(plate)
        clock.start()
        delivered = _joined(store)
        clock.lap("encode")
    return RenderResult(
        delivered=delivered,
        frames=len(frames),
        wall_s=time.perf_counter() - started,
        stages=dict(clock.seconds),
        samples=samples,
        tracks=tuple(c.plan.track.track_id for c in casts),
        curves=_curves(casts[0], frames) | _attention(casts, frames),
        continued=continued,
        notes=(
            *store.notes,
            *([f"continued: {continued} of {len(frames)} frames were there already"] if continued else []),
        ),
    )


def _joined(store: SegmentStore) -> DeliveredFiles:
    """The delivery, from its segments, without encoding a picture again."""
    plan = store.plan
    partial = store.folder / f"joined{plan.out.suffix}"
    with open_writer(plan.out, plan.shot, plan.settings, partial) as writer:
        for segment in store.segments:
            writer.adopt(store.path(segment), segment)
        return writer.close()


def _render_missing(store: SegmentStore, crew: Crew, sampler: _Sampler, moved: Callable[[int], None]) -> None:
    """Segments that are not there yet, in order, on the threads of this process."""
    done = 0
    for run in runs_of(store.missing, len(store.segments)):
        rendered = crew.rendered(FrameRange(run[0].start, run[-1].end_exclusive))
        try:
            for segment in run:
                for result in write_segment(store.plan, store.path(segment), segment, rendered, crew.clock):
                    sampler.take(*result)
                    done += 1
                    moved(done)
                store.keep(segment)
        finally:
            rendered.close()


def write_segment(
    plan: SegmentPlan, path: Path, segment: FrameRange, rendered: Iterator[tuple[Frame, Frame]], clock: StageClock
) -> Iterator[tuple[Frame, Frame]]:
    """Encode the next frames of `rendered` into a segment file; yields (plate frame, finished frame) as they pass."""
    writer = SegmentWriter(plan, path, segment)
    try:
        for _ in segment:
            source, result = next(rendered)
            clock.start()
            writer.write(result)
            clock.lap("encode")
            yield source, result
        clock.start()
        writer.close()
        clock.lap("encode")
    finally:
        writer.discard()


def prepare_shot(
    performance: Performance, casting: Mapping[str, Persona], settings: RenderSettings
) -> list[PreparedCast]:
    """What the frames of a shot are rendered from, as the settings ask. Raises as `pipeline.prepare`."""
    return prepare(performance, casting, settings.look, purpose=settings.purpose)


class Crew:
    """The threads of one process: a decoder ahead, workers on frames, results in order, constant memory."""

    def __init__(self, plate: Footage, casts: list[PreparedCast], workers: int, clock: StageClock) -> None:
        self.plate, self.casts, self.workers, self.clock = plate, casts, workers, clock

    def rendered(self, frames: FrameRange) -> Generator[tuple[Frame, Frame]]:
        """(plate frame, finished frame) in order; at most AHEAD frames a worker are in memory."""
        decoded: queue.Queue[Frame | BaseException | None] = queue.Queue(maxsize=AHEAD * self.workers)
        stop = threading.Event()
        reader = threading.Thread(target=self._decode, args=(frames, decoded, stop), name="decode", daemon=True)
        reader.start()
        pending: deque[tuple[Frame, Future[tuple[Frame, object]]]] = deque()
        try:
            with ThreadPoolExecutor(self.workers, thread_name_prefix="render") as pool:
                try:
                    ended = False
                    while pending or not ended:
                        while not ended and len(pending) < AHEAD * self.workers // 2 + 1:
                            item = decoded.get()
                            if isinstance(item, BaseException):
                                raise item
                            if item is None:
                                ended = True
                                break
                            pending.append((item, pool.submit(render_frame, self.casts, item, self.clock)))
                        if pending:
                            source, future = pending.popleft()
                            yield source, future.result()[0]
                except BaseException:
                    for _, f in pending:
                        f.cancel()
                    raise
        finally:
            stop.set()
            reader.join()

    def _decode(
        self, frames: FrameRange, decoded: queue.Queue[Frame | BaseException | None], stop: threading.Event
    ) -> None:
        """The plate's frames into the queue, then None; or what went wrong, for the thread that waits to raise."""
        try:
            self.clock.start()
            for frame in self.plate.frames(frames):
                self.clock.lap("decode")
                _put(decoded, frame, stop)
                if stop.is_set():
                    return
                self.clock.start()
            _put(decoded, None, stop)
        except BaseException as e:
            _put(decoded, e, stop)


def _put(
    q: queue.Queue[Frame | BaseException | None], item: Frame | BaseException | None, stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            q.put(item, timeout=0.1)
            return
        except queue.Full:
            continue


def faces_in(performance: Performance, index: int) -> list[Roi]:
    """Where faces are in a frame, for the visible label to keep clear of."""
    shown = [t for t in performance.tracks if t.shown_at(index) > 0]
    boxes = [t.sample(index).points_px[:, :2] for t in shown]
    return [Roi(*(int(v) for v in (*b.min(0), *b.max(0)))) for b in boxes]


class _Sampler:
    """Pictures for the report, evenly spread over the frames in which the main face is shown."""

    def __init__(self, casts: list[PreparedCast], frames: FrameRange, count: int) -> None:
        self._casts = casts
        track = casts[0].plan.track
        shown = [i for i in frames if track.shown_at(i) > 0.5] if count else []
        self._wanted = {shown[int(k)] for k in np.linspace(0, len(shown) - 1, min(count, len(shown))).round()}
        self._taken: dict[int, Sample] = {}

    def take(self, source: Frame, result: Frame) -> None:
        if result.index in self._wanted:
            self._taken[result.index] = _sample(self._casts[0], source, result)

    def all(self, plate: Footage) -> tuple[Sample, ...]:
        """All of them; frames that others rendered, or an earlier run, are rendered again for it: the same picture."""
        for index in sorted(self._wanted - set(self._taken)):
            source = plate.frame(index)
            self.take(source, render_frame(self._casts, source)[0])
        return tuple(self._taken[i] for i in sorted(self._taken))


def _sample(cast: PreparedCast, source: Frame, result: Frame) -> Sample:
    points = cast.plan.track.sample(source.index).points_px
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pad = 0.3 * (high - low)
    w, h = source.size_wh
    roi = Roi(*(int(v) for v in (*(low - pad), *(high + pad)))).clipped((w, h))
    a, b = rgb8_from_frame(source), rgb8_from_frame(result)
    window = (slice(roi.y0, roi.y1), slice(roi.x0, roi.x1))
    return Sample(source.index, a[window].copy(), b[window].copy())


def _curves(cast: PreparedCast, frames: FrameRange) -> dict[str, tuple[list[int], list[float]]]:
    track = cast.plan.track
    shown = [i for i in frames if track.shown_at(i) > 0]
    rows = [track.row(i) for i in shown]
    from digidouble.schema.mesh import face_model

    names = [n.split("/")[0] for n in face_model().action_names]

    def action(name: str) -> list[float]:
        return track.actions[rows, names.index(name)].tolist()

    luma = track.light_sh[:, 0] @ LUMA
    series = {
        "jaw drop": action("jaw_drop_AU26"),
        "lips part": action("lips_part_AU25"),
        "lip corner pull (left)": action("lip_corner_pull_L_AU12"),
        "inner brow raise (left)": action("inner_brow_raise_L_AU1"),
        "lid close (left)": action("lid_close_L_AU43"),
        "gaze yaw (degrees)": track.gaze_deg[rows, 0].tolist(),
        "light (linear)": luma[rows].tolist(),
        "presence": track.presence[rows].tolist(),
        "key": cast.plan.key_a[rows].astype(float).tolist(),
    }
    return {k: (shown, v) for k, v in series.items()}


def _attention(casts: list[PreparedCast], frames: FrameRange) -> dict[str, tuple[list[int], list[float]]]:
    """Every cast track's share of attention, frame by frame."""
    out = {}
    for track in (c.plan.track for c in casts):
        shown = [i for i in frames if track.shown_at(i) > 0]
        out[f"attention of track {track.track_id}"] = shown, [track.attention_at(i) for i in shown]
    return out
