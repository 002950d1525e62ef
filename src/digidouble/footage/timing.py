"""Exact frame rates from the times of a movie's frames.

`times` are presentation times in seconds, in display order; `tick` is the container's clock step in seconds. A movie is
of constant rate when one rate explains every time to within `JITTER_FRAMES` of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float64

from digidouble.schema.time import FrameRate

JITTER_FRAMES = 0.3
_STANDARD = tuple(
    Fraction(n) for n in (10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 90, 96, 100, 120, 144, 200, 240)
) + tuple(Fraction(n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 96, 120, 240))


@dataclass(frozen=True)
class Timing:
    """A rate, and whether the frames really keep it."""

    rate: FrameRate
    variable: bool
    worst_frames: float
    """largest distance of a frame's time from the regular grid, in frames"""


def snapped(fps: Fraction, tolerance: float = 3e-4) -> Fraction:
    """The standard rate within `tolerance` of this one (29.97, 2997/100 -> 30000/1001), else a tidy fraction."""
    nearest = min(_STANDARD, key=lambda standard: abs(standard - fps))
    if abs(nearest - fps) <= tolerance * fps:
        return nearest
    return fps.limit_denominator(1001)


def measure(times: Sequence[Fraction] | None, tick: Fraction, claims: Iterable[Fraction | None]) -> Timing:
    """The rate that explains the frame times.

    Args:
        times: seconds of every frame in display order, or None when the file does not say.
        tick: the resolution of those times.
        claims: rates the header gives, best first.
    """
    usable = [fps for fps in claims if fps is not None and 0 < fps <= 1000]
    if times is None or len(times) < 2 or times[-1] <= times[0]:
        return Timing(FrameRate(snapped(usable[0]) if usable else Fraction(25)), False, 0.0)
    mean = Fraction(len(times) - 1) / (times[-1] - times[0])
    mean = min(mean, Fraction(1000))
    seconds = np.array([float(t - times[0]) for t in times])
    candidates = [*(snapped(fps) for fps in usable), *usable, snapped(mean), mean.limit_denominator(100_000)]
    scored = [(_worst(seconds, fps), fps) for fps in candidates]
    # One tick of rounding either way is the clock's doing; the first claim that explains all times wins.
    for worst, fps in scored:
        if worst <= max(0.02, 1.01 * float(tick * fps)) and worst < JITTER_FRAMES:
            return Timing(FrameRate(fps), False, worst)
    worst, best = min(scored, key=lambda score: score[0])
    if worst <= JITTER_FRAMES:
        return Timing(FrameRate(best), False, worst)
    # The header's average also knows how long the last frame lasts; believe it unless it contradicts the times.
    nominal = next((fps for fps in usable[:1] if abs(fps - mean) <= 0.02 * mean), mean)
    return Timing(FrameRate(snapped(nominal)), True, worst)


def _worst(seconds: Float64[np.ndarray, " n"], fps: Fraction) -> float:
    """Largest distance from a grid of that rate, in frames, at the grid's best phase."""
    off = seconds * float(fps) - np.arange(len(seconds))
    return float(off.max() - off.min()) / 2
