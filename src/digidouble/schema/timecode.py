"""SMPTE timecode arithmetic, at the edge only: inside, a frame is an index.

Drop-frame counting (SMPTE ST 12-1, separator `;`) leaves out the first two frame numbers of every minute that is not a
multiple of ten at 30000/1001 frames/s, four at 60000/1001.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from digidouble.errors import SettingsError
from digidouble.schema.time import FrameRate


@dataclass(frozen=True)
class Timecode:
    """Hours, minutes, seconds, frames; `drop` for drop-frame counting."""

    hours: int
    minutes: int
    seconds: int
    frames: int
    drop: bool = False

    def __str__(self) -> str:
        separator = ";" if self.drop else ":"
        return f"{self.hours:02d}:{self.minutes:02d}:{self.seconds:02d}{separator}{self.frames:02d}"


def timecode_at(start: str, rate: FrameRate, offset: int) -> Timecode:
    """The timecode `offset` frames after `start`; wraps at 24 hours, as the label on a tape does.

    Raises:
        SettingsError: `start` is not HH:MM:SS:FF (or HH:MM:SS;FF) at this rate.
    """
    count, base, dropped = _counted(start, rate)
    return _from_count(count + offset, base, dropped)


def frames_at(text: str, rate: FrameRate) -> int:
    """Frames from 00:00:00:00 to a timecode.

    Raises:
        SettingsError: as `timecode_at`.
    """
    return _counted(text, rate)[0]


def _counted(text: str, rate: FrameRate) -> tuple[int, int, int]:
    """(frames since midnight, frame numbers a second, numbers dropped a minute)."""
    match = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d)", text.strip())
    base = math.ceil(rate.fps)  # frame numbers counted in a second: 24 for 24000/1001
    if not match or int(match[1]) > 23 or int(match[5]) >= base:
        raise SettingsError(f"timecode {text!r}: expected HH:MM:SS:FF with FF below {base} at {rate} frames/s")
    hours, minutes, seconds, frames = (int(match[i]) for i in (1, 2, 3, 5))
    drop = match[4] != ":"
    if drop and (base % 30 or rate.fps.denominator != 1001):
        raise SettingsError(f"timecode {text!r}: drop-frame counting is for 30000/1001 and 60000/1001, not {rate}")
    dropped = base // 15 if drop else 0
    all_minutes = 60 * hours + minutes
    count = base * (60 * all_minutes + seconds) + frames - dropped * (all_minutes - all_minutes // 10)
    return count, base, dropped


def _from_count(count: int, base: int, dropped: int) -> Timecode:
    ten_minutes = 600 * base - 9 * dropped
    count %= 144 * ten_minutes
    tens, rest = divmod(count, ten_minutes)
    number = count + 9 * dropped * tens
    if rest >= 60 * base:  # past the first minute of the ten, which drops nothing
        number += dropped * (1 + (rest - 60 * base) // (60 * base - dropped))
    seconds, frames = divmod(number, base)
    return Timecode(seconds // 3600, seconds // 60 % 60, seconds % 60, frames, dropped > 0)
