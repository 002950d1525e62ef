"""Regions of a face that are shown or left to the plate by themselves, with soft borders between them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.schema.mesh import BROWS, LEFT_IRIS, OUTER_LIPS, RIGHT_IRIS, face_model

REGIONS = (
    "brow_right", "brow_left", "eye_right", "eye_left", "cheek_right", "cheek_left",
    "nose", "mouth_right", "mouth_left", "jaw_right", "jaw_left",
)  # fmt: skip
"""The subject's right and left."""
SOFT_CM = 1.1  # of a region's border
_NOSE = np.array([168, 6, 197, 195, 5, 4, 1, 2, 98, 327])


def _seeds() -> list[list[int]]:
    """Points in the middle of every region, in the order of REGIONS."""
    x = face_model().mean_cm[:, 0]
    lips, lids = OUTER_LIPS, (face_model().loops["right_eye"], face_model().loops["left_eye"])
    right, left = lips[x[lips] <= 0.2], lips[x[lips] >= -0.2]
    forehead = np.array([21, 54, 103, 67, 104, 69, 108, 151, 9]), np.array([251, 284, 332, 297, 333, 299, 337, 151, 9])
    cheeks = np.array([50, 101, 205, 117, 123, 187, 116, 234]), np.array([280, 330, 425, 346, 352, 411, 345, 454])
    jaws = np.array([172, 136, 150, 149, 176, 148, 199]), np.array([397, 365, 379, 378, 400, 377, 199])
    out = [
        np.concatenate([BROWS[:10], forehead[0]]), np.concatenate([BROWS[10:], forehead[1]]),
        np.concatenate([lids[0], RIGHT_IRIS]), np.concatenate([lids[1], LEFT_IRIS]),
        cheeks[0], cheeks[1], _NOSE, right, left, jaws[0], jaws[1],
    ]  # fmt: skip
    return [o.tolist() for o in out]


@lru_cache(maxsize=1)
def region_weights() -> Float32[np.ndarray, "478 r"]:
    """How far each point belongs to each region; rows sum to 1. Borders are SOFT_CM wide along the mean face."""
    mean = face_model().mean_cm.astype(np.float64)
    near = np.stack([np.linalg.norm(mean[:, None] - mean[s][None], axis=-1).min(1) for s in _seeds()], -1)
    weight = np.exp(-0.5 * ((near - near.min(1, keepdims=True)) / (0.5 * SOFT_CM)) ** 2)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def over_points(per_region: Float[np.ndarray, "r"]) -> Float32[np.ndarray, "478"]:
    """Values of regions as a smooth function over the mesh."""
    return region_weights() @ np.clip(per_region, 0, 1).astype(np.float32)
