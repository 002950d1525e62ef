"""Chroma contrast: how much the colour (not the brightness) of skin varies from place to place.

A source lit by a warm lamp has almost no blue to tell skin tones apart with; relit for a bright plate its blotches would be
amplified. So the persona's skin keeps its brightness detail, which is identity, and takes no more chroma variation than the
plate's own skin shows at the same scale.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.track import SKIN_GRID, FaceTrack

LOOKS = 8  # frames of the track that are asked
LEAST = 0.25  # share of chroma variation that always stays
SCALE = 0.07  # of the face's width: what varies more slowly is light, and matched elsewhere
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def _chroma(linear: Float32[np.ndarray, "s s 3"], floor: float) -> Float32[np.ndarray, "s s 3"]:
    """Log of each channel over luminance."""
    x = np.maximum(linear, 0) + floor
    return np.log(x) - np.log(x @ LUMA)[..., None]


def _detail(
    values: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"], sigma: float
) -> Float32[np.ndarray, "s s 3"]:
    """What varies faster than `sigma` texels where the weight is, zero elsewhere."""
    both = cv2.merge([values * weight[..., None], weight])
    soft = cv2.GaussianBlur(both, (0, 0), sigma)
    return (values - soft[..., :3] / (soft[..., 3:] + 1e-3)) * weight[..., None]


def _spread(linear: Float32[np.ndarray, "g g 3"], weight: Float32[np.ndarray, "g g"]) -> Float[np.ndarray, "3"]:
    """Standard deviation of chroma detail on the coarse grid."""
    level = float((linear @ LUMA * weight).sum() / max(float(weight.sum()), 1e-3))
    d = _detail(_chroma(linear, 0.03 * level + 1e-5), weight, SCALE * SKIN_GRID)
    return np.sqrt((d**2 * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-3))


def chroma_share(track: FaceTrack, albedo_grid: Float32[np.ndarray, "g g 3"]) -> Float[np.ndarray, "3"]:
    """Share of the persona's chroma detail to keep per channel, LEAST..1."""
    shown = np.flatnonzero(track.presence > 0.5)
    if not len(shown):
        return np.ones(3)
    plate = []
    for r in shown[np.linspace(0, len(shown) - 1, min(LOOKS, len(shown))).round().astype(int)]:
        sample = track.sample(track.frames.start + int(r))
        plate.append(_spread(sample.skin_linear.astype(np.float32), sample.skin_weight.astype(np.float32) / 255))
    own = _spread(albedo_grid, uv_grid(SKIN_GRID).skin.astype(np.float32))
    return np.clip(1.15 * np.median(plate, 0) / np.maximum(own, 1e-4), LEAST, 1)


@lru_cache(maxsize=4)
def _skin_mask(size: int) -> Float32[np.ndarray, "s s"]:
    """1 on skin away from features, soft."""
    return cv2.GaussianBlur(uv_grid(size).skin.astype(np.float32), (0, 0), max(size / 100, 1))


def with_chroma(atlas: Float32[np.ndarray, "s s 3"], share: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "s s 3"]:
    """The atlas with its skin's chroma detail scaled; brightness of every texel stays."""
    if (share > 0.98).all():
        return atlas
    size = atlas.shape[0]
    mask = _skin_mask(size)
    level = float((atlas @ LUMA * mask).sum() / max(float(mask.sum()), 1e-3))
    detail = _detail(_chroma(atlas, 0.03 * level + 1e-5), mask, SCALE * size)
    out = atlas * np.exp((share - 1).astype(np.float32) * detail * mask[..., None])
    luma, before = out @ LUMA, atlas @ LUMA
    return out * (before / np.maximum(luma, 1e-6))[..., None]
