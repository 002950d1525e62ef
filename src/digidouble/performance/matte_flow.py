"""Mattes steadied over time along the pixels' own motion: a consensus of neighbouring frames.

A hand or a strand of hair moves otherwise than the face, so averaging mattes in the face's crop smears what is in front. Here the
mattes of the frame before and the frame after are first carried to the frame by dense optical flow between the aligned crops
(both ways, nothing lags), and each carried pixel counts by how well flow and pixels agree. Where two mattes hardly differ
nothing moves in front of the face; there they are averaged as they lie, and flow costs nothing.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.performance.wrinkles import luma_placement
from digidouble.schema.track import MATTE_SIZE

NEIGHBOUR = 0.6  # say of a neighbour that fully agrees; the frame itself has 1
ODD_LUMA = 14.0  # of 255: a carried pixel that differs this much counts 1/e
ODD_WAY = 1.2  # crop pixels between going there and coming back: counts 1/e
DIFFERENT, QUIET_SHARE = 0.25, 0.003  # of the mattes, of the crop: fewer pixels that differ more are no motion
LOW, HIGH = 0.2, 0.8  # what is nearly nothing is nothing, what is nearly all is all
Matte = Float32[np.ndarray, "m m"]
Places = Float32[np.ndarray, "m m 2"]


def steady_mattes(records: np.ndarray) -> UInt8[np.ndarray, "n m m"]:
    """Mattes of consecutive observations (RECORD), each in its own crop, steadied. A frame in which nothing was seen has no say."""
    n, mattes = len(records), records["matte"].astype(np.float32) / 255
    seen = [bool(r["luma"].any()) for r in records]
    total, weight = mattes.copy(), np.ones_like(mattes)
    greys: dict[int, UInt8[np.ndarray, "m m"]] = {}
    for i in range(n - 1):
        if not (seen[i] and seen[i + 1]):
            continue
        if np.mean(np.abs(mattes[i] - mattes[i + 1]) > DIFFERENT) < QUIET_SHARE:
            carried = (mattes[i + 1], NEIGHBOUR), (mattes[i], NEIGHBOUR)
        else:
            pair = {k: greys[k] if k in greys else grey_crop(records[k]) for k in (i, i + 1)}
            greys = pair
            carried = carried_both(pair[i], pair[i + 1], mattes[i], mattes[i + 1])
        for k, (matte, say) in zip((i, i + 1), carried, strict=True):
            total[k] += say * matte
            weight[k] += say
    return np.round(255 * np.clip((total / weight - LOW) / (HIGH - LOW), 0, 1)).astype(np.uint8)


def carried_both(
    grey_a: UInt8[np.ndarray, "m m"], grey_b: UInt8[np.ndarray, "m m"], matte_a: Matte, matte_b: Matte
) -> tuple[tuple[Matte, Matte], tuple[Matte, Matte]]:
    """(b's matte carried to a and its say 0..NEIGHBOUR, a's carried to b and its say)."""
    forth, back = _flow(grey_a, grey_b), _flow(grey_b, grey_a)
    return _carried(grey_a, grey_b, matte_b, forth, back), _carried(grey_b, grey_a, matte_a, back, forth)


def _carried(
    here: UInt8[np.ndarray, "m m"], there: UInt8[np.ndarray, "m m"], matte: Matte, go: Places, come: Places
) -> tuple[Matte, Matte]:
    to = _still() + go
    astray = go + _at(come, to)
    odd = (_at(there, to) - here.astype(np.float32)) / ODD_LUMA
    doubt = odd * odd + (astray * astray).sum(2) / ODD_WAY**2
    return _at(matte, to), NEIGHBOUR * np.exp(-doubt)


def grey_crop(record: np.void) -> UInt8[np.ndarray, "m m"]:
    """The kept luma of an observation, in the crop of its matte. Its texels are finer than the crop's by less than two."""
    luma_from_px = cv2.invertAffineTransform(luma_placement(record["points"]).astype(np.float64))
    luma_from_crop = luma_from_px @ np.vstack([record["crop"].astype(np.float64), [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (MATTE_SIZE, MATTE_SIZE)
    return np.asarray(
        cv2.warpAffine(record["luma"], luma_from_crop, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )


@lru_cache(maxsize=1)
def _dis() -> cv2.DISOpticalFlow:
    """Kroeger et al. 2016 at half the crop's resolution, not refined: nine times as fast as the full one for 1.5 % more error of the matte."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setVariationalRefinementIterations(0)
    return dis


def _flow(a: UInt8[np.ndarray, "m m"], b: UInt8[np.ndarray, "m m"]) -> Places:
    """How far each pixel of `a` goes in `b`."""
    return np.asarray(_dis().calc(a, b, None), np.float32)  # type: ignore[call-overload]


@lru_cache(maxsize=1)
def _still() -> Places:
    """Every pixel at its own place."""
    y, x = np.mgrid[0:MATTE_SIZE, 0:MATTE_SIZE].astype(np.float32)
    return np.dstack([x, y])


def _at(field: np.ndarray, place: Places) -> np.ndarray:
    """A picture or a flow read at places, as float32; the border is repeated."""
    x, y = place[..., 0], place[..., 1]
    return cv2.remap(field.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
