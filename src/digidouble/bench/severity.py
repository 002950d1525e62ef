"""Where a row is at its worst: severity frame by frame, and the stretches in which it is highest. Pure functions.

Severities are 0 for a perfect double and grow with the damage; NaN where a frame could not be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from digidouble.bench.protocols.measures import moving

SPAN = 11  # frames of a stretch: long enough for three looks of the identity judges, short enough for one cause
LEAST = 2  # measured frames that a stretch needs


@dataclass(frozen=True)
class Stretch:
    """Rows `first` to `last`, both included; `worst` is the worst row; `severity` the mean."""

    first: int
    last: int
    worst: int
    severity: float


def worst_stretches(severity: Float[np.ndarray, "n"], count: int) -> list[Stretch]:
    """The `count` stretches of SPAN frames with the highest mean severity that do not overlap, worst first."""
    n, span = len(severity), min(SPAN, len(severity))
    if span == 0:
        return []
    known = np.isfinite(severity)
    total = np.convolve(np.where(known, severity, 0.0), np.ones(span), "valid")
    seen = np.convolve(known.astype(float), np.ones(span), "valid")
    mean = np.where(seen >= min(LEAST, span), total / np.maximum(seen, 1), -np.inf)
    out: list[Stretch] = []
    while len(out) < count and np.isfinite(mean.max()):
        first = int(mean.argmax())
        part = severity[first : first + span]
        out.append(Stretch(first, first + span - 1, first + int(np.nanargmax(part)), float(mean[first])))
        mean[max(0, first - span + 1) : min(n, first + span)] = -np.inf
    return out


def identity(
    rows: int, at: Int[np.ndarray, "k"],
    judged: Sequence[tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "d"], Float[np.ndarray, "d"]]],
) -> Float[np.ndarray, "n"]:  # fmt: skip
    """How far from the persona: 0 where the output is as near to the persona and as far from the plate's person as those two
    are from each other, 1 half way, 2 where it is the plate's person; mean over judges.

    `judged`: (vectors of the output in rows `at`, persona, plate's person) of each judge.
    """
    each = [1 - (v @ persona - v @ plate) / max(1 - float(persona @ plate), 1e-3) for v, persona, plate in judged]
    out = np.full(rows, np.nan)
    out[at] = np.mean(each, axis=0)
    return out


def expression(plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n"]:
    """Root mean square over moving channels of the difference, in deviations of the plate's channel, own means taken out."""
    use = moving(plate)
    if not use.any():
        return np.full(len(plate), np.nan)
    p, o = plate[:, use], out[:, use]
    away = ((o - o.mean(0)) - (p - p.mean(0))) / p.std(0)
    return np.sqrt((away**2).mean(1))


def pose(plate_deg: Float[np.ndarray, "n 3"], out_deg: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Mean absolute difference of yaw, pitch and roll in degrees."""
    return np.abs((out_deg - plate_deg + 180) % 360 - 180).mean(1)


def gaze(plate_deg: Float[np.ndarray, "n 2"], out_deg: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    """Angle between the looks in degrees; NaN where either has no eye open."""
    return np.linalg.norm(out_deg - plate_deg, axis=1)


def flicker(plate_warp: Float[np.ndarray, "m"], warp: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """Flow-warp error in the face added to the plate's own, in means of the plate's; the first frame has none."""
    own = float(np.nanmean(plate_warp)) if np.isfinite(plate_warp).any() else np.nan
    return np.concatenate([[np.nan], np.maximum(warp - plate_warp, 0) / max(own, 1e-6)])
