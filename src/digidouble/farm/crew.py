"""The threads of one process, in constant memory: a decoder ahead, workers on frames, the encoder in order; or all of it on one thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.composite import matte_of
from digidouble.deliver.segments import SegmentWriter
from digidouble.deliver.staged_passes import StagedPasses
from digidouble.errors import UnreadableMedia
from digidouble.farm.segments import Place
from digidouble.footage import Footage
from digidouble.pipeline import render_frame, render_passes
from digidouble.render import PreparedCast
from digidouble.schema.ahead import read_ahead
from digidouble.schema.clock import StageClock
from digidouble.schema.frame import Frame
from digidouble.schema.layers import Layer
from digidouble.schema.time import FrameRange

AHEAD = 4  # frames decoded or pending per worker
Finished = tuple[Frame, list[Layer]]
Rendered = Generator[tuple[Frame, Frame, list[Layer]], None, None]  # plate frame, finished frame, its layers; in order
Seen = Callable[[Frame, Frame], None]


class Crew:
    """What one machine renders a shot with. `workers`: frames in work at a time; 0 takes the machine's cores."""

    def __init__(
        self, plate: Footage, casts: list[PreparedCast], place: Place, workers: int = 0, clock: StageClock | None = None
    ) -> None:
        self._plate, self._casts, self._place, self._workers = plate, casts, place, workers or os.cpu_count() or 1
        self.clock = clock or StageClock()
        self._hair = place.passes.hair if place.passes else {}
        self._lane = Lane(self)
        cv2.setNumThreads(1)  # frames run in parallel; a second layer of threads would only get in the way

    def render(self, run: list[FrameRange], seen: Seen) -> Iterator[FrameRange]:
        """Render segments that follow each other into their place; yields each when it is complete on the disk.

        `seen`: called with every plate frame and finished frame, in order. Whatever it raises ends the run.

        Raises:
            OutputError, MediaError: a segment cannot be written, the plate does not decode; unfinished segments are removed.
        """
        place = self._place
        if self._workers == 1:
            for segment in run:
                self._lane.render(segment, seen)
                yield segment
            return
        passes = StagedPasses(place.passes, place.passes_folder, run) if place.passes else None
        rendered = self._rendered(FrameRange(run[0].start, run[-1].end_exclusive), passes)
        try:
            for segment in run:
                self._write(segment, rendered, seen)
                if passes:
                    passes.finish(segment)
                yield segment
        finally:
            rendered.close()
            if passes:
                passes.discard()

    def close(self) -> None:
        """Let go of the plate: on one thread, runs that follow each other share a decoder."""
        self._lane.close()

    def _write(self, segment: FrameRange, rendered: Rendered, seen: Seen) -> None:
        """One segment's file, from frames that begin with its first."""
        place, clock = self._place, self.clock
        writer = SegmentWriter(place.plan, place.path(segment), segment)
        try:
            for index in segment:
                source, result, layers = self._next(rendered, index)
                clock.start()
                matte = matte_over(layers, result.size_hw) if place.plan.wants_matte else None
                writer.write(result, matte)
                clock.lap("encode")
                seen(source, result)
            clock.start()
            writer.close()
            clock.lap("encode")
        finally:
            writer.discard()

    def _next(self, rendered: Rendered, index: int) -> tuple[Frame, Frame, list[Layer]]:
        item = next(rendered, None)
        if item is None:
            raise UnreadableMedia(f"{self._place.plan.shot.path}: ends before frame {index}")
        return item

    def _finished(self, frame: Frame, passes: StagedPasses | None) -> Finished:
        """A worker's task. It writes the passes, too: each frame has its own files."""
        clock, mark = self.clock, self._place.plan.mark
        if passes is None:
            return render_frame(self._casts, frame, clock, mark)
        out, layers, found = render_passes(self._casts, frame, clock, mark, self._hair)
        clock.start()
        passes.write(found)
        clock.lap("passes")
        return out, layers

    def _rendered(self, frames: FrameRange, passes: StagedPasses | None) -> Rendered:
        """Several frames at a time; at most AHEAD a worker are in memory."""
        pending: deque[tuple[Frame, Future[Finished]]] = deque()
        with (
            closing(read_ahead(self._decoded(frames), AHEAD * self._workers, "decode")) as decoded,
            ThreadPoolExecutor(self._workers, thread_name_prefix="render") as pool,
        ):
            try:
                ended = False
                while pending or not ended:
                    while not ended and len(pending) < AHEAD * self._workers // 2 + 1:
                        frame = next(decoded, None)
                        if frame is None:
                            ended = True
                        else:
                            pending.append((frame, pool.submit(self._finished, frame, passes)))
                    if pending:
                        source, future = pending.popleft()
                        yield source, *future.result()
            except BaseException:
                for _, f in pending:
                    f.cancel()
                raise

    def _decoded(self, frames: FrameRange) -> Generator[Frame, None, None]:
        """The plate's frames, and on the clock what they cost."""
        self.clock.start()
        for frame in self._plate.frames(frames):
            self.clock.lap("decode")
            yield frame
            self.clock.start()


class Lane:
    """A crew's work on the thread that asks, a frame at a time. Segments that follow each other share a decoder."""

    def __init__(self, crew: Crew) -> None:
        self._crew, self._next = crew, -1
        self._passes: StagedPasses | None = None
        self._rendered: Rendered | None = None

    def render(self, segment: FrameRange, seen: Seen) -> None:
        """Complete a segment on the disk. Raises as `Crew.render`."""
        place = self._crew._place
        self._passes = StagedPasses(place.passes, place.passes_folder, [segment]) if place.passes else None
        if self._rendered is None or segment.start != self._next:
            self.close()
            self._rendered = self._one_by_one(FrameRange(segment.start, place.plan.frames.end_exclusive))
        try:
            self._crew._write(segment, self._rendered, seen)
            if self._passes:
                self._passes.finish(segment)
        finally:
            if self._passes:
                self._passes.discard()
        self._next = segment.end_exclusive

    def close(self) -> None:
        """Let go of the plate."""
        if self._rendered is not None:
            self._rendered.close()
        self._rendered = None

    def _one_by_one(self, frames: FrameRange) -> Rendered:
        crew = self._crew
        for frame in crew._decoded(frames):
            yield frame, *crew._finished(frame, self._passes)


def matte_over(layers: list[Layer], size_hw: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """0..1, where a frame shows doubles: their mattes over each other."""
    clear = np.ones(size_hw, np.float32)
    for layer in layers:
        clear[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1] *= 1 - matte_of(layer)
    return 1 - clear
