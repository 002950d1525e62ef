"""Footage that is already in memory: generated pictures, and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from digidouble.errors import UnreadableMedia
from digidouble.footage.reader import Footage
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate


class MemoryFootage(Footage):
    """Frames held in a list, numbered anew from 0 at the given rate.

    Raises:
        UnreadableMedia: no frames, or frames of different size or layout.
    """

    def __init__(self, frames: Sequence[Frame], rate: FrameRate, path: str = "memory") -> None:
        if not frames:
            raise UnreadableMedia(f"{path}: no frames")
        first = frames[0]
        for position, frame in enumerate(frames):
            if (frame.size_wh, frame.layout) != (first.size_wh, first.layout):
                raise UnreadableMedia(f"{path}: frame {position} is {frame}, expected one like {first}")
        self._frames = [
            Frame(i, rate.seconds_at(i), frame.planes, frame.layout, frame.colour) for i, frame in enumerate(frames)
        ]
        self.shot = Shot(path, "movie", first.size_wh, rate, len(frames), first.layout, first.colour)

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        return iter(self._frames[frame_range.start : frame_range.end_exclusive])

    def _seek(self, index: int) -> Frame:
        return self._frames[index]
