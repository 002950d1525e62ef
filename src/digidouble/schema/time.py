"""Time. A rate is an exact fraction, a frame is an `int` index within its shot, ranges are half-open."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from digidouble.errors import SettingsError


@dataclass(frozen=True)
class FrameRate:
    """Frames per second as an exact fraction (24000/1001, never 23.976)."""

    fps: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000:
            raise SettingsError(f"frame rate {self.fps} is outside 0..1000 frames/s")

    def seconds_at(self, index: int) -> Fraction:
        """Exact time of a frame's start in seconds."""
        return Fraction(index) / self.fps

    def __str__(self) -> str:
        return f"{self.fps.numerator}/{self.fps.denominator}" if self.fps.denominator > 1 else str(self.fps.numerator)


@dataclass(frozen=True)
class FrameRange:
    """Frames `start` up to, not including, `end_exclusive`."""

    start: int
    end_exclusive: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end_exclusive:
            raise SettingsError(f"frame range {self.start}:{self.end_exclusive} is not 0 <= start <= end")

    def __len__(self) -> int:
        return self.end_exclusive - self.start

    def __iter__(self):
        return iter(range(self.start, self.end_exclusive))

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and self.start <= index < self.end_exclusive

    def clipped(self, count: int) -> FrameRange:
        """The part of this range that a shot of `count` frames has."""
        end = min(self.end_exclusive, count)
        return FrameRange(min(self.start, end), end)

    @classmethod
    def parse(cls, text: str) -> FrameRange:
        """`A:B` (half-open; an empty B means "to the end").

        Raises:
            SettingsError: the text is not of that form, or B < A.
        """
        match = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text.strip())
        if not match:
            raise SettingsError(f"frame range {text!r}: expected A:B, for example 0:48 (48 is not included)")
        start, end = match.groups()
        return cls(int(start or 0), int(end) if end else 10**9)
