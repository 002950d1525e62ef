"""Lids: how far they are apart, and a shape with its lids set that far apart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.schema.mesh import EYE_CORNERS, LID_PAIRS, face_model
from digidouble.schema.ramp import smoothstep

LID_REACH_CM = 0.9


@lru_cache(maxsize=1)
def lid_weights() -> Float32[np.ndarray, "478 14"]:
    """How far each point follows each lid pair: +1 upper lid, -1 lower lid, fading over LID_REACH_CM."""
    m = face_model()
    out = np.zeros((478, 14), np.float32)
    for e, (pairs, ends) in enumerate(zip(LID_PAIRS, EYE_CORNERS, strict=True)):
        upper, lower = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        corners = m.mean_cm[list(ends)]
        axis = corners[:, :2]
        for q in range(468):
            p = m.mean_cm[q]
            reach = 1 - m.hole_cm[q] / LID_REACH_CM
            if reach <= 0 or np.linalg.norm(p - corners.mean(0)) > 3.0 or any(q in pair for pair in EYE_CORNERS):
                continue
            along = np.interp(p[0], np.sort(axis[:, 0]), axis[np.argsort(axis[:, 0]), 1])
            side = 1.0 if p[1] > along else -1.0
            row = upper if side > 0 else lower
            near = np.abs(m.mean_cm[row, 0] - p[0])
            w = np.exp(-0.5 * (near / 0.25) ** 2)
            out[q, 7 * e : 7 * e + 7] = side * smoothstep(reach) * w / w.sum()
    return out


def lid_gaps(shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "14"]:
    """Vertical opening at every lid pair, right eye then left."""
    return np.array([shape_cm[u, 1] - shape_cm[low, 1] for pairs in LID_PAIRS for u, low in pairs])


def with_lid_gaps(
    shape_cm: Float[np.ndarray, "478 3"], gaps_cm: Float[np.ndarray, "14"], upper_share: float = 0.5
) -> Float[np.ndarray, "478 3"]:
    """The shape with its lids that far apart. `upper_share`: of the way that the upper lid goes."""
    out, weights = shape_cm.copy(), lid_weights()
    upper = weights.sum(1) > 0
    share = np.where(upper, upper_share, 1 - upper_share).astype(np.float32)
    for _ in range(2):  # neighbouring pairs move each other's lids; the second step takes back what the first left
        out[:, 1] += share * (weights @ (gaps_cm - lid_gaps(out)))
    return out
