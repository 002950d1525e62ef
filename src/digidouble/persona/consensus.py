"""What most looks agree on: the tone all keys are brought to, and where a look shows what the others do not.

Everything is judged small and blurred, in natural log: make-up, a cast shadow, a hand are larger than a centimetre; what is
finer belongs to the moment. Two looks cannot outvote each other, so it takes three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import low_pass
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import face_model

SIDE = 96
EPS = 1e-3
VOTERS = 3
NEAR = 0.025  # of the face's width: blur before looks are compared
TONE = 0.06  # of the face's width: what varies more slowly is tone
AGREED = 0.09  # difference of the first look from the median that is its own
BRIGHTNESS, HUE = (0.30, 0.60), (0.14, 0.28)  # differences from the median that are trusted in full, and not at all
REACH = 2  # texels of the coarse grid around what is odd
ODD_LOOK = 1.6  # times the median look's difference, from which the first look is no model for the others


@dataclass(frozen=True)
class Consensus:
    """Attributes:
    trust: per look, 0..1 over the atlas: 0 where the others show something else.
    first: which look the others are toned to and the fused atlas begins with.
    target: log tone all are brought to, over the coarse grid. known: 0..1, where that is skin that was seen.
    """

    trust: tuple[Float32[np.ndarray, "s s"], ...]
    first: int
    target: Float32[np.ndarray, "g g 3"]
    known: Float32[np.ndarray, "g g"]


def _small(albedo: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "g g 3"]:
    w = cv2.resize(weight, (SIDE, SIDE), interpolation=cv2.INTER_AREA) + 1e-4
    x = cv2.resize(np.log(albedo + EPS) * (weight + 1e-4)[..., None], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return x / w[..., None]


@lru_cache(maxsize=1)
def _moving() -> Bool[np.ndarray, "g g"]:
    """Inside of eyes and mouth: what is seen there is the moment's business."""
    grid = uv_grid(SIDE)
    inside = grid.covered & (grid.triangle >= len(face_model().triangles))
    return cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))) > 0


def weighted_median(
    values: Float32[np.ndarray, "n g g c"], weights: Float32[np.ndarray, "n g g"]
) -> Float32[np.ndarray, "g g c"]:
    """Per place and channel, the value with half of the weight on either side (the mean of the two about it when even)."""
    order = np.argsort(values, 0, kind="stable")
    v = np.take_along_axis(values, order, 0)
    w = np.take_along_axis(np.repeat(weights[..., None], values.shape[-1], -1), order, 0)
    share = np.cumsum(w, 0) / np.maximum(w.sum(0), 1e-9)
    low, high = (np.take_along_axis(v, (share >= q).argmax(0)[None], 0)[0] for q in (0.5 - 1e-4, 0.5 + 1e-4))
    return (low + high) / 2


def consensus(
    albedo: Sequence[Float32[np.ndarray, "s s 3"]],
    confidence: Sequence[Float32[np.ndarray, "s s"]],
    groups: Sequence[int],
    colourless: Sequence[bool],
) -> Consensus:
    """Compare looks that are de-lit and unwrapped. groups: light group per look (0 counts double); colourless looks have no say in colour."""
    size, n = albedo[0].shape[0], len(albedo)
    small = np.stack([_small(a, c) for a, c in zip(albedo, confidence, strict=True)])
    weight = np.stack([cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for c in confidence])
    everywhere = tuple(np.ones((size, size), np.float32) for _ in albedo)
    able = [i for i in range(n) if not colourless[i]] or list(range(n))
    first = able[0]
    if len(able) < VOTERS:
        return Consensus(everywhere, first, small[first], weight[first])
    soft = np.stack([low_pass_small(x, w) for x, w in zip(small, weight, strict=True)])
    skin = uv_grid(SIDE).skin
    offset = np.stack([np.average(x[skin], 0, w[skin] + 1e-3) for x, w in zip(soft, weight, strict=True)])
    level = soft - offset[:, None, None]
    votes = (
        weight
        * np.array([0 if i not in able else 2 if groups[i] == 0 else 1 for i in range(n)], np.float32)[:, None, None]
    )
    middle = weighted_median(level.astype(np.float32), (votes + 1e-6 * (weight > 0)).astype(np.float32))
    voters = (votes > 0.2).sum(0) >= VOTERS
    odd = np.stack([_oddness((x - middle).astype(np.float32), bool(c)) for x, c in zip(level, colourless, strict=True)])
    odd *= voters * ~_moving() * uv_grid(SIDE).covered
    worst = np.array([float((odd[i] * weight[i]).sum() / max(float(weight[i].sum()), 1e-3)) for i in range(n)])
    if worst[first] > ODD_LOOK * float(np.median(worst[able])) + 0.01:
        first = next(i for i in able if worst[i] <= float(np.median(worst[able])) + 1e-9)
    wide = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    trust = [1 - np.clip(cv2.GaussianBlur(cv2.dilate(o.astype(np.float32), wide), (0, 0), 1.5), 0, 1) for o in odd]
    away = middle - level[first]
    far = np.linalg.norm(away, axis=-1, keepdims=True) / np.sqrt(3)
    correction = away * np.clip((far - AGREED) / np.maximum(far, 1e-6), 0, 1) * voters[..., None]
    # Where the first look shows hair or nothing, the others say how its skin would go on.
    shown = np.clip(2 * weight[first], 0, 1)[..., None]
    target = shown * (small[first] + correction) + (1 - shown) * (middle + offset[first])
    return Consensus(
        tuple(cv2.resize(t.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) for t in trust),
        first,
        target.astype(np.float32),
        np.clip(weight[able].sum(0), 0, 1),
    )


def _oddness(away: Float32[np.ndarray, "g g 3"], colourless: bool) -> Float32[np.ndarray, "g g"]:
    """0 for what a moment may differ by, 1 for what cannot be the same skin. Expressions change brightness, paint changes hue."""
    bright = away @ LUMA
    hue = np.zeros_like(bright) if colourless else np.linalg.norm(away - bright[..., None], axis=-1)
    (b0, b1), (h0, h1) = BRIGHTNESS, HUE
    return np.clip(np.maximum((np.abs(bright) - b0) / (b1 - b0), (hue - h0) / (h1 - h0)), 0, 1).astype(np.float32)


def low_pass_small(x: Float32[np.ndarray, "g g 3"], w: Float32[np.ndarray, "g g"]) -> Float32[np.ndarray, "g g 3"]:
    """`low_pass` on the coarse grid."""
    return low_pass(x, w, NEAR)


def toned(
    albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"], agreed: Consensus
) -> Float32[np.ndarray, "s s 3"]:
    """A look with the agreed tone: its own detail, so that a change of key changes detail, not colour."""
    size = albedo.shape[0]
    own = _small(albedo, confidence)
    shown = cv2.resize(confidence, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    w = np.minimum(shown, agreed.known)
    shift = low_pass(own - agreed.target, w, TONE)
    if w.sum() <= 5:  # nothing in common
        shift = low_pass(own, shown, 0.3) - low_pass(agreed.target, agreed.known, TONE)
    shift = cv2.resize(shift, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.maximum(np.exp(np.log(albedo + EPS) - shift) - EPS, 0).astype(np.float32)


def coloured(
    albedo: Float32[np.ndarray, "s s 3"], colour: Float32[np.ndarray, "s s 3"]
) -> Float32[np.ndarray, "s s 3"]:
    """A colourless look with the colour of another atlas, its own luminance kept."""
    return (colour * ((albedo @ LUMA) / np.maximum(colour @ LUMA, 1e-4))[..., None]).astype(np.float32)
