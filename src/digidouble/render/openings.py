"""Eyes and mouth: whose pixels fill the openings of the face.

Eyes are what people recognise each other by, so they are the persona's: read from the key atlas with the iris displaced to
where the plate's eyes look. Where the key cannot serve (its eye is shut, or looks so far elsewhere that moving the iris would
tear the eye) the plate's own eye shows through, with the persona's iris colour. The mouth is the persona's where the key's is
about as open as the plate's, else the plate's own; it is never a hole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from digidouble.schema.mesh import face_model, iris_uv
from digidouble.schema.persona import KeyAtlas

MOUTH, LEFT_EYE, RIGHT_EYE = 0, 1, 2
REACH = 1.15  # of the iris's radius moves as one
FARTHEST = 1.0  # of the iris's radius: beyond, the sclera between iris and lid would fold
UPRIGHT = 0.5  # lids hide how high an iris is, so the tracker's height is only half believed
PLATE_EYES = (
    0.35  # of the plate's own eye always mixed in, iris on iris: its moisture, catchlight and shadow of the lids
)
SHUT_CM = 0.35  # an eye less open than this shows too little of itself to lend it
GRIN_CM = 0.35  # a mouth less open than this shows no teeth


@dataclass(frozen=True)
class Openings:
    """What the shading kernel needs to know, in the order mouth, left eye, right eye.

    plate_share: 0 the persona's own, 1 the plate's. shift: centre x, y, reach, displacement x, y (texels), ratio of openings.
    """

    plate_share: Float[np.ndarray, "3"]
    shift: Float[np.ndarray, "3 6"]


@lru_cache(maxsize=1)
def opening_of_triangle() -> Int[np.ndarray, "t"]:
    """-1 for skin, else the opening a triangle closes."""
    m = face_model()
    loops = [set(m.loops[k].tolist()) for k in ("inner_lips", "left_eye", "right_eye")]
    inner = [next(i for i, loop in enumerate(loops) if set(t) <= loop) for t in m.inner_triangles.tolist()]
    return np.array([-1] * len(m.triangles) + inner, np.int64)


@lru_cache(maxsize=1)
def opening_of_point() -> Int[np.ndarray, "478"]:
    """The opening nearest to each point of the mean face."""
    m = face_model()
    far = [
        np.linalg.norm(m.mean_cm[:, None] - m.mean_cm[m.loops[k]][None], axis=2).min(1)
        for k in ("inner_lips", "left_eye", "right_eye")
    ]
    return np.argmin(far, 0)


def _ramp(x: float, low: float, high: float) -> float:
    k = float(np.clip((x - low) / (high - low), 0, 1))
    return k * k * (3 - 2 * k)


def look_into(
    key: KeyAtlas, plate_px: Float[np.ndarray, "478 3"], plate_openings_cm: Float[np.ndarray, "3"], size: int
) -> Openings:
    """Whose eyes and mouth show in one frame, and how far the key's irises must move. `size`: side of the atlas in texels."""
    share, shift = np.ones(3), np.zeros((3, 6))
    wanted = iris_uv(plate_px)
    for e, hole in ((0, RIGHT_EYE), (1, LEFT_EYE)):
        radius = float(key.iris_uv[e, 2])
        if radius <= 0:
            continue
        d = (wanted[e, :2] - key.iris_uv[e, :2]) * [1.0, UPRIGHT]
        far = float(np.linalg.norm(d)) / radius
        # A shut eye has no iris to place, whichever way the tracker thinks it looks: keep what the key shows.
        awake = _ramp(plate_openings_cm[hole], 0.15, 0.4)
        d = d * awake * min(1.0, FARTHEST / max(far, 1e-6))
        ratio = float(np.clip(plate_openings_cm[hole] / max(float(key.openings_cm[hole]), 0.1), 0.6, 1.0))
        centre = key.iris_uv[e, :2] + d
        shift[hole] = *(centre * size), REACH * radius * size, *(d * size), ratio
        torn = _ramp(far * awake, FARTHEST, 1.7 * FARTHEST)
        shut = 1 - _ramp(key.openings_cm[hole], SHUT_CM, 1.5 * SHUT_CM)
        share[hole] = 1 - (1 - PLATE_EYES) * (1 - torn) * (1 - shut)
    own, now = float(key.openings_cm[MOUTH]), float(plate_openings_cm[MOUTH])
    if own > GRIN_CM and now > 0:
        share[MOUTH] = 1 - _ramp(own / max(now, 0.05), 0.55, 0.85) * (
            1 - _ramp(own / max(now, 0.05), 1.4, 2.0)
        ) * _ramp(own, GRIN_CM, 2 * GRIN_CM)
    return Openings(share, shift)
