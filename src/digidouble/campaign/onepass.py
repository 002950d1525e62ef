"""Several variants of a plate in one pass: decoded once, rendered once for each cast, then each variant's text and encoder.

Variants that differ in their overlay only share every rendered pixel. What a variant costs of its own is its encoder. A frame is a
pure function of cast and plate, so a variant is the same whichever others are made beside it.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.deliver.overlay import DrawnOverlay, TextOverlay, draw_overlay
from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import ContentRefused, DigidoubleError, NoFace
from digidouble.farm.gate import GATE_SIDE, default_gate, frames_to_look_at, look_at_plate
from digidouble.farm.prepared import faces_in
from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.pipeline import render_frame
from digidouble.render import PreparedCast
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mark import payload_of
from digidouble.schema.performance import Performance
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

MEMORY_BYTES = 256 << 20  # of frames in flight
CASTS_AT_ONCE = 4  # of one pass: each holds its personas' atlases
THUMB_PX = 200
LABEL_SECONDS = 2.0
Cast = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Job:
    """One variant to make. Jobs of equal `cast` are cast alike. `drawn`: its overlays as pixels, when they are drawn already."""

    variant_id: str
    cast: Cast
    overlays: tuple[TextOverlay, ...]
    out: Path
    delivery: DeliverySettings
    drawn: tuple[DrawnOverlay, ...] | None = None


class JobWriter(Protocol):
    """Where a job's frames go: `Writer`, or a segment on a machine that helps."""

    notes: dict[str, object]

    def write(self, frame: Frame, keep_clear: Sequence[Roi] = ()) -> None: ...

    def close(self) -> DeliveredFiles | None: ...

    def abort(self) -> None: ...


Opened = Callable[[Job, Shot, DeliverySettings], JobWriter]


@dataclass
class Outcome:
    """What became of a job. `error` is "" when `delivered` is there; `final`: trying again would end the same."""

    job: Job
    delivered: DeliveredFiles | None = None
    error: str = ""
    final: bool = False
    thumb: UInt8[np.ndarray, "h w 3"] | None = None
    writer: JobWriter | None = None
    drawn: tuple[DrawnOverlay, ...] = field(default=())

    def fail(self, error: Exception) -> None:
        """Only this variant is given up."""
        mendable = isinstance(error, OSError) and not isinstance(error, PermissionError)
        self.final = isinstance(error, DigidoubleError) and not mendable
        self.error = str(error) if isinstance(error, DigidoubleError) else f"{type(error).__name__}: {error}"
        if self.writer is not None:
            self.writer.abort()
        self.writer = None


def render_pass(
    plate: Footage, performance: Performance, frames: FrameRange, jobs: Sequence[Job],
    prepared: Callable[[Cast], list[PreparedCast]], workers: int = 0, progress: Callable[[int], None] | None = None,
    gate: ContentGate | None = None, opened: Opened | None = None,
) -> list[Outcome]:  # fmt: skip
    """Make the jobs. One that fails is an outcome, and the others go on.

    Args:
        prepared: what a cast is rendered from (`farm.prepare_shot`), called once for each.
        workers: frames in work at a time; 0 takes the machine's cores.
        progress: called after each frame with the number of variants that got it.
        gate: the content gate of this plate, which looks at it once however many passes there are; None is one of its own.
        opened: where a job's frames go; None delivers them.

    Raises:
        KeyboardInterrupt and the like: unfinished files are removed first.
    """
    outcomes = [Outcome(job) for job in jobs]
    gate, looked_at = gate or default_gate(), frames_to_look_at(frames, float(performance.shot.rate.fps))
    try:
        look_at_plate(gate, plate, looked_at)
    except ContentRefused as e:  # a plate that is refused is refused for everybody
        for outcome in outcomes:
            outcome.fail(e)
        return outcomes
    casts = _prepared(performance, outcomes, prepared)
    gates = {cast: gate.apart() for cast in casts}  # one cast's refusal is not the others'
    marks = {o.job.cast: payload_of(produce_id(performance, o.job)) for o in outcomes}
    _open(performance, frames, outcomes, casts, opened or _writer)
    workers = workers or os.cpu_count() or 1
    cv2.setNumThreads(1)  # frames run in parallel
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="campaign") as pool:
            try:
                for frame, rendered in _rendered(plate, casts, frames, pool, workers, marks):
                    if frame.index in looked_at:
                        rendered = {cast: _looked_at(gates[cast], r) for cast, r in rendered.items()}
                    _deliver(frame, rendered, outcomes, performance, frames, pool)
                    if progress:
                        progress(sum(o.writer is not None for o in outcomes))
                for outcome in outcomes:
                    if outcome.writer is not None:
                        outcome.writer.notes["content_gate"] = gates[outcome.job.cast].record()
                list(pool.map(_close, outcomes))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    except Exception as e:  # the plate does not decode to its end: every variant of it is hit
        for outcome in outcomes:
            if outcome.writer is not None:
                outcome.fail(e)
    finally:
        for outcome in outcomes:
            if outcome.writer is not None:
                outcome.writer.abort()
    return outcomes


def produce_id(performance: Performance, job: Job) -> str:
    """The number that labels and the hidden mark of a job carry: the same for all variants of a cast, which share its pixels."""
    seed = f"{performance.shot.sha256} {job.cast!r}"
    return job.delivery.produce_id or hashlib.sha256(seed.encode()).hexdigest()[:32]


def _looked_at(gate: ContentGate, rendered: Frame | Exception) -> Frame | Exception:
    """What the content gate leaves of a finished frame."""
    if isinstance(rendered, Exception):
        return rendered
    try:
        gate.look("result", rendered.index, rgb8_from_frame(rendered, GATE_SIDE))
    except ContentRefused as e:
        return e
    return rendered


def _prepared(
    performance: Performance, outcomes: list[Outcome], prepared: Callable[[Cast], list[PreparedCast]]
) -> dict[Cast, list[PreparedCast]]:
    """The casts, each prepared once."""
    casts: dict[Cast, list[PreparedCast]] = {}
    refused: dict[Cast, Exception] = {}
    for outcome in outcomes:
        cast = outcome.job.cast
        if cast not in casts and cast not in refused:
            try:
                if not performance.tracks:
                    raise NoFace(
                        f"{performance.shot.path}: no face was found on this plate, so nothing can be cast on it."
                    )
                casts[cast] = prepared(cast)
            except Exception as e:  # whatever is wrong with one cast leaves the others alone
                refused[cast] = e
        if cast in refused:
            outcome.fail(refused[cast])
    return casts


def _open(
    performance: Performance, frames: FrameRange, outcomes: list[Outcome], casts: Mapping[Cast, list[PreparedCast]], opened: Opened
) -> None:  # fmt: skip
    whole, size_wh = len(frames) == performance.shot.frame_count, performance.shot.size_wh
    for outcome in outcomes:
        if outcome.error:
            continue
        try:
            job = outcome.job
            outcome.drawn = tuple(draw_overlay(o, size_wh) for o in job.overlays) if job.drawn is None else job.drawn
            delivery = job.delivery if whole else replace(job.delivery, frame_range=frames)
            people = dict.fromkeys((c.plan.persona.name, c.plan.persona.sha256) for c in casts[job.cast])
            delivery = replace(delivery, produce_id=produce_id(performance, job), personas=tuple(people))
            outcome.writer = opened(job, performance.shot, delivery)
        except Exception as e:  # this variant only
            outcome.fail(e)


def _writer(job: Job, shot: Shot, settings: DeliverySettings) -> JobWriter:
    return open_writer(job.out, shot, settings)


def _rendered(
    plate: Footage,
    casts: Mapping[Cast, list[PreparedCast]],
    frames: FrameRange,
    pool: ThreadPoolExecutor,
    workers: int,
    marks: Mapping[Cast, int],
) -> Iterator[tuple[Frame, dict[Cast, Frame | Exception]]]:
    """(plate frame, cast -> finished frame or what went wrong) in order; a bounded number in memory."""
    pending: deque[tuple[Frame, dict[Cast, Future[Frame]]]] = deque()
    decoded = plate.frames(frames)
    ended = not casts
    window = 2 * workers
    while pending or not ended:
        while not ended and len(pending) < window:
            frame = next(decoded, None)
            if frame is None:
                ended = True
                break
            frame_bytes = sum(p.nbytes for p in frame.planes)
            window = max(1, min(2 * workers, MEMORY_BYTES // (frame_bytes * (len(casts) + 1))))
            pending.append(
                (frame, {c: pool.submit(_finished, prepared, frame, marks.get(c)) for c, prepared in casts.items()})
            )
        if pending:
            frame, futures = pending.popleft()
            yield frame, {cast: _result(future) for cast, future in futures.items()}


def _finished(casts: list[PreparedCast], frame: Frame, mark: int | None) -> Frame:
    return render_frame(casts, frame, mark=mark)[0]


def _result(future: Future[Frame]) -> Frame | Exception:
    try:
        return future.result()
    except Exception as e:  # belongs to one cast
        return e


def _deliver(
    plate_frame: Frame, rendered: Mapping[Cast, Frame | Exception], outcomes: list[Outcome], performance: Performance,
    frames: FrameRange, pool: ThreadPoolExecutor,
) -> None:  # fmt: skip
    """Text and encoder of each variant for one frame, beside each other."""
    fps = float(performance.shot.rate.fps)
    seconds = (plate_frame.index - frames.start) / fps
    first = plate_frame.index == frames.start
    faces = faces_in(performance, plate_frame.index) if first else []
    middle = plate_frame.index == (frames.start + frames.end_exclusive - 1) // 2

    def put(outcome: Outcome) -> None:
        if outcome.writer is None:
            return
        try:
            frame = rendered[outcome.job.cast]
            if isinstance(frame, Exception):
                raise frame
            for overlay in outcome.drawn:
                if overlay.shown_at(seconds):
                    frame = overlay.over(frame)
            if middle:
                outcome.thumb = _thumb(frame)
            # The visible label keeps clear of faces and of the text.
            texts = [o.roi for o in outcome.drawn if o.start_s < LABEL_SECONDS] if first else []
            outcome.writer.write(frame, [*faces, *texts])
        except Exception as e:  # this variant only
            outcome.fail(e)

    list(pool.map(put, outcomes))


def _close(outcome: Outcome) -> None:
    if outcome.writer is None:
        return
    try:
        outcome.delivered = outcome.writer.close()
        outcome.writer = None
    except Exception as e:  # this variant only
        outcome.fail(e)


def _thumb(frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    rgb = rgb8_from_frame(frame)
    h, w = rgb.shape[:2]
    size = max(1, round(w * THUMB_PX / h)), THUMB_PX
    return np.ascontiguousarray(cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA))
