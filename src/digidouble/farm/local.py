"""One shot rendered on this machine: a decoder ahead, workers on frames, the encoder in order, constant memory.

Rendering a frame is a pure function, so the number of workers cannot change a bit of the result.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.capture import read_revocations
from digidouble.composite import matte_of
from digidouble.deliver.passes import PassesFormat, PassesPlan, PassesWriter, layer_names, pass_stem
from digidouble.deliver.settings import DeliveredFiles, DeliverySettings, Quality
from digidouble.deliver.sidecar import PassTrack
from digidouble.deliver.writer import open_writer
from digidouble.errors import NoFace, SettingsError
from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.pipeline import prepare, render_frame, render_passes
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.clock import StageClock
from digidouble.schema.colour import LUMA, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.layers import Layer
from digidouble.schema.mark import payload_of
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

Progress = Callable[[int, int], None]
RenderFrame = Callable[[list[PreparedCast], Frame, StageClock], tuple[Frame, list[Layer]]]
AHEAD = 4  # frames decoded or pending per worker


@dataclass(frozen=True)
class RenderSettings:
    """How a shot is rendered.

    Attributes:
        quality: draft is geometry, atlases, light and blend; standard renders the same and encodes better; final draws skin
            from the persona's radiance field, if it has one.
        workers: frames in work at a time; 0 takes the machine's cores.
        frame_range: the part of the shot to render; None is all of it.
        purpose: what the result is for; each persona's consent must cover it. None asks only that consent is valid today.
        revoked: list of consents that were taken back (docs/labels.md); None takes the one that DIGIDOUBLE_REVOKED names, if any.
        look: how the double takes the plate's look.
        samples: frames kept as pictures for the report.
        passes: folder for a compositor's passes of every frame, beside OUT (see docs/deliver.md).
        passes_format: one multi-layer EXR a frame, or a set of 16-bit PNGs of what fits in them.
    """

    quality: Quality = "draft"
    workers: int = 0
    frame_range: FrameRange | None = None
    purpose: str | None = None
    revoked: Path | None = None
    look: LookSettings = field(default_factory=LookSettings)
    samples: int = 6
    passes: Path | None = None
    passes_format: PassesFormat = "exr"

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise SettingsError(f"quality {self.quality!r}: expected one of {', '.join(get_args(Quality))}")
        if not 0 <= self.workers <= 256:
            raise SettingsError(f"workers = {self.workers}: expected 0..256")
        if not 0 <= self.samples <= 100:
            raise SettingsError(f"samples = {self.samples}: expected 0..100")


@dataclass(frozen=True)
class Sample:
    """A look at one frame: plate and result around the main face, display-referred."""

    index: int
    plate: UInt8[np.ndarray, "h w 3"]
    result: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class RenderResult:
    """What a render left.

    Attributes:
        delivered: the files. frames: how many. wall_s: time taken. stages: seconds per stage, summed over threads.
        samples: pictures for the report. tracks: ids that were cast. curves: name -> (frame indices, values).
        passes: the files of the passes, when there are any.
        gate: the content gate's record. revocation_list: the file that was asked, "" when none was named.
    """

    delivered: DeliveredFiles
    frames: int
    wall_s: float
    stages: dict[str, float]
    samples: tuple[Sample, ...]
    tracks: tuple[int, ...]
    curves: dict[str, tuple[list[int], list[float]]]
    passes: DeliveredFiles | None = None
    gate: dict[str, object] = field(default_factory=dict)
    revocation_list: str = ""


def render_shot(
    plate: Footage, performance: Performance, casting: Mapping[str, Persona], out: Path, settings: RenderSettings | None = None,
    delivery: DeliverySettings | None = None, progress: Progress | None = None, gate: ContentGate | None = None,
) -> RenderResult:  # fmt: skip
    """Render `plate` with the personas of `casting` ("main", "all" or a track id) into `out`.

    Raises:
        NoFace: the plate has no face to stand in for. CastingError, ConsentError: see `pipeline.prepare`.
        ContentRefused: `gate` (None: the usual one) saw adult content. WeightsError: its network is missing.
        OutputError, MediaError: nothing is left under `out`'s name.
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
    clock.start()
    gate = gate or default_gate()
    looked_at = frames_to_look_at(frames, float(performance.shot.rate.fps))
    look_at_plate(gate, plate, looked_at)
    clock.lap("gate")
    cast_of = dict.fromkeys((p.name, p.sha256) for p in casting.values())
    delivery = replace(delivery, personas=tuple(cast_of))
    aigc = delivery.labels_for(performance.shot).aigc
    mark = payload_of(aigc.produce_id) if aigc else None
    wanted = _sample_frames(casts, frames, settings.samples)
    samples: list[Sample] = []
    cv2.setNumThreads(1)  # frames run in parallel; a second layer of threads would only get in the way
    with (
        open_writer(out, performance.shot, delivery) as writer,
        _passes(performance, casts, frames, out, settings, delivery) as passes,
    ):
        done = 0
        render = partial(_with_passes, passes, mark=mark) if passes else partial(render_frame, mark=mark)
        for source, result, layers in _rendered(
            plate, casts, frames, settings.workers or os.cpu_count() or 1, clock, render
        ):
            if result.index in wanted:
                samples.append(_sample(casts[0], source, result))
            clock.start()
            if result.index in looked_at:
                gate.look("result", result.index, rgb8_from_frame(result, GATE_SIDE))
                clock.lap("gate")
            matte = matte_over(layers, result.size_hw) if writer.wants_matte else None
            writer.write(result, faces_in(performance, result.index) if done == 0 else (), matte)
            clock.lap("encode")
            done += 1
            if progress:
                progress(done, len(frames))
        clock.start()
        made = passes.close() if passes else None
        writer.notes["content_gate"] = gate.record()
        asked = _revocations_note(settings)
        writer.notes["revocations"] = asked
        delivered = writer.close()
        clock.lap("encode")
    return RenderResult(
        delivered=delivered,
        frames=done,
        wall_s=time.perf_counter() - started,
        stages=dict(clock.seconds),
        samples=tuple(samples),
        tracks=tuple(c.plan.track.track_id for c in casts),
        curves=_curves(casts[0], frames),
        passes=made,
        gate=gate.record(),
        revocation_list=asked["list"] or "",
    )


def prepare_shot(
    performance: Performance, casting: Mapping[str, Persona], settings: RenderSettings
) -> list[PreparedCast]:
    """What the frames of a shot are rendered from, as the settings ask. Raises as `pipeline.prepare`."""
    revocations, today = read_revocations(settings.revoked), date.today()
    for persona in casting.values():
        revocations.check(persona, today)
    final = settings.quality == "final"
    return prepare(performance, casting, settings.look, purpose=settings.purpose, radiance=final)


def left_out(casting: Mapping[str, Persona], quality: Quality) -> list[str]:
    """What a quality promises and this cast or this version cannot keep, for people."""
    plain = sorted({p.name for p in casting.values() if p.radiance is None})
    notes = []
    if quality == "final" and plain:
        notes.append(
            f"final: {', '.join(plain)} {'has' if len(plain) == 1 else 'have'} no radiance field and "
            f"{'is' if len(plain) == 1 else 'are'} drawn from atlases; make one with: digidouble persona build ... --level radiance"
        )
    if quality != "draft":
        notes.append(
            f"{quality}: this version ships no fusion network{' and no diffusion detail' if quality == 'final' else ''}; those are left out"
        )
    return notes


@contextmanager
def _passes(
    performance: Performance, casts: list[PreparedCast], frames: FrameRange, out: Path, settings: RenderSettings,
    delivery: DeliverySettings,
) -> Iterator[PassesWriter | None]:  # fmt: skip
    """Where the passes go, if any were asked for; nothing is left of them when the render fails."""
    if settings.passes is None:
        yield None
        return
    names = layer_names([(c.plan.track.track_id, c.plan.persona.name) for c in casts])
    tracks = tuple(
        PassTrack(c.plan.track, names[c.plan.track.track_id], c.plan.persona.name, c.plan.persona.sha256) for c in casts
    )
    first = tuple(faces_in(performance, frames.start))
    plan = PassesPlan(
        settings.passes, pass_stem(out), performance.shot, frames, tracks, delivery, settings.passes_format, first
    )
    writer = PassesWriter(plan)
    try:
        yield writer
    except BaseException:
        writer.abort()
        raise


def _with_passes(
    writer: PassesWriter, casts: list[PreparedCast], frame: Frame, clock: StageClock, mark: int | None = None
) -> tuple[Frame, list[Layer]]:
    """`render_frame`, its passes written on the way (by the worker: each frame has its own files)."""
    out, layers, passes = render_passes(casts, frame, clock, mark)
    clock.start()
    writer.write(passes)
    clock.lap("passes")
    return out, layers


def _revocations_note(settings: RenderSettings) -> dict[str, Any]:
    """Which list was asked, for the log."""
    found = read_revocations(settings.revoked)
    return {"list": found.name or None, "sha256": found.sha256 or None, "entries": len(found.entries)}


GATE_SIDE = 1024  # the gate's network sees 256 pixels; no need to convert a whole film frame


def default_gate() -> ContentGate:
    """The content gate of every render that names no other."""
    return ContentGate()


def frames_to_look_at(frames: FrameRange, fps: float) -> frozenset[int]:
    """Frames that the content gate sees: one in five seconds, at least 8, at most 60, first and last included."""
    count = min(len(frames), max(8, min(60, round(len(frames) / fps / 5))))
    return frozenset(int(i) for i in np.linspace(frames.start, frames.end_exclusive - 1, count).round())


def look_at_plate(gate: ContentGate, plate: Footage, indices: frozenset[int]) -> None:
    """Show the gate a plate before anything else is done with it; a gate that has seen one is not asked again.

    Raises:
        ContentRefused: it has adult content.
    """
    if any(score.where == "plate" for score in gate.scores):
        return
    for index in sorted(indices):
        gate.look("plate", index, rgb8_from_frame(plate.frame(index), GATE_SIDE))


def _rendered(
    plate: Footage, casts: list[PreparedCast], frames: FrameRange, workers: int, clock: StageClock, render: RenderFrame
) -> Iterator[tuple[Frame, Frame, list[Layer]]]:
    """(plate frame, finished frame, its layers) in order; at most AHEAD frames a worker are in memory."""
    decoded: queue.Queue[Frame | BaseException | None] = queue.Queue(maxsize=AHEAD * workers)
    stop = threading.Event()

    def decode() -> None:
        try:
            clock.start()
            for frame in plate.frames(frames):
                clock.lap("decode")
                while not stop.is_set():
                    try:
                        decoded.put(frame, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
                clock.start()
            _put(decoded, None, stop)
        except BaseException as e:  # handed to the thread that waits, which raises it
            _put(decoded, e, stop)

    reader = threading.Thread(target=decode, name="decode", daemon=True)
    reader.start()
    pending: deque[tuple[Frame, Future[tuple[Frame, list[Layer]]]]] = deque()
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="render") as pool:
            try:
                ended = False
                while pending or not ended:
                    while not ended and len(pending) < AHEAD * workers // 2 + 1:
                        item = decoded.get()
                        if isinstance(item, BaseException):
                            raise item
                        if item is None:
                            ended = True
                            break
                        pending.append((item, pool.submit(render, casts, item, clock)))
                    if pending:
                        source, future = pending.popleft()
                        yield source, *future.result()
            except BaseException:
                for _, f in pending:
                    f.cancel()
                raise
    finally:
        stop.set()
        reader.join()


def _put(q: queue.Queue[Frame | BaseException | None], item: BaseException | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            q.put(item, timeout=0.1)
            return
        except queue.Full:
            continue


def matte_over(layers: list[Layer], size_hw: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """0..1, where a frame shows doubles: their mattes over each other."""
    clear = np.ones(size_hw, np.float32)
    for layer in layers:
        clear[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1] *= 1 - matte_of(layer)
    return 1 - clear


def faces_in(performance: Performance, index: int) -> list[Roi]:
    """Where faces are in a frame, for the visible label to keep clear of."""
    shown = [t for t in performance.tracks if t.shown_at(index) > 0]
    boxes = [t.sample(index).points_px[:, :2] for t in shown]
    return [Roi(*(int(v) for v in (*b.min(0), *b.max(0)))) for b in boxes]


def _sample_frames(casts: list[PreparedCast], frames: FrameRange, count: int) -> set[int]:
    track = casts[0].plan.track
    shown = [i for i in frames if track.shown_at(i) > 0.5]
    if not shown or count == 0:
        return set()
    return {shown[int(k)] for k in np.linspace(0, len(shown) - 1, min(count, len(shown))).round()}


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
