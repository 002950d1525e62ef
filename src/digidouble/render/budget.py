"""How attention is spent: which share of full detail each track of a cast gets, and which face is in front of which.

Both are decided once for a cast, from the tracks alone, like everything that couples frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Float, Int32

from digidouble.schema.track import FaceTrack

LEAST_DETAIL = 0.4
OFTEN = 0.9  # quantile over time: a face that leads for a tenth of its frames is prepared for that
SWAP = 0.05  # natural log of apparent size by which a face must have come nearer before it changes places
STEADY_FRAMES = 12.0  # standard deviation of the window in which apparent sizes are averaged


def details(tracks: Sequence[FaceTrack]) -> list[float]:
    """LEAST_DETAIL..1 for each track of a cast: the square root of its attention over that of the frame's first, which has 1.

    A track alone in its frames has 1 too, so that a cast of one face does not depend on anybody's weight.
    """
    out = []
    for t in tracks:
        ratios = [
            t.attention_at(i) / max(max(k.attention_at(i) for k in tracks if k.shown_at(i) > 0), 1e-9)
            for i in t.frames
            if t.shown_at(i) > 0
        ]
        ratio = float(np.quantile(ratios, OFTEN)) if ratios else 1.0
        out.append(float(np.clip(np.sqrt(ratio), LEAST_DETAIL, 1.0)))
    return out


def keys_for(used: int, detail: float) -> int:
    """How many of the keys that a plan would use it may use: in proportion to attention, two or more where it wants two."""
    return max(min(used, 2), round(used * detail**2))


def ranks(tracks: Sequence[FaceTrack]) -> list[Int32[np.ndarray, "n"]]:
    """For every row of every track, how many of the others it is in front of: a layer of higher rank is drawn later.

    Heads have about one size, so the one that appears larger is nearer; a face mesh knows depth only within its own head.
    Sizes are averaged over time, and two faces change places only when the other has become SWAP larger: noise in two
    sizes that are nearly equal cannot make them flicker.
    """
    out = [np.zeros(len(t.frames), np.int32) for t in tracks]
    near = [_steady(np.log(np.maximum(t.px_per_cm, 1e-6))) for t in tracks]
    for a, b in combinations(range(len(tracks)), 2):
        fa, fb = tracks[a].frames, tracks[b].frames
        lo, hi = max(fa.start, fb.start), min(fa.end_exclusive, fb.end_exclusive)
        if lo >= hi:
            continue
        gap = near[a][lo - fa.start : hi - fa.start] - near[b][lo - fb.start : hi - fb.start]
        front = _held(gap)
        out[a][lo - fa.start : hi - fa.start] += front
        out[b][lo - fb.start : hi - fb.start] += 1 - front
    return out


def _held(gap: Float[np.ndarray, "n"]) -> Int32[np.ndarray, "n"]:
    """1 where the first is in front, with hysteresis; begins with whoever is in front on the whole until one is clearly."""
    clear = np.flatnonzero(np.abs(gap) > SWAP)
    first = bool(gap[clear[0]] > 0) if len(clear) else bool(gap.mean() >= 0)
    out = np.empty(len(gap), np.int32)
    for i, g in enumerate(gap):
        if g > SWAP:
            first = True
        elif g < -SWAP:
            first = False
        out[i] = first
    return out


def _steady(x: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    side = 2 * int(3 * STEADY_FRAMES) + 1
    return cv2.GaussianBlur(x.astype(np.float64)[None], (side, 1), STEADY_FRAMES, borderType=cv2.BORDER_REPLICATE)[0]
