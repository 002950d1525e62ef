"""What a poor light leaves in a source's skin that no other light would show.

Under a lamp there is almost no blue: what the camera recorded of it is noise and clipping, and once a daylight plate asks for
blue again, lips turn lilac and sockets violet. And a light from above leaves shadows in the eye sockets that nine harmonics
do not explain. Both are held to what skin can be.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import low_pass
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import face_model

WELL_LIT, STARVED = 0.6, 0.3  # blue of the skin over its luminance (0.65..0.8 in daylight, 0.35 by a lamp)
LEAST_BLUE, MOST_BLUE = -0.2, 0.04  # natural log, of blue over luminance against the skin's mean, where blue is starved
DEEPEST = 0.22  # natural log: broad darkness beyond this, against the better lit skin, is shadow
SHADOW_SHARE = 0.05  # of the face's width


@lru_cache(maxsize=4)
def _sockets(size: int) -> Float32[np.ndarray, "s s"]:
    """1 around the eyes, 0 at nose, mouth and the outline, where skin may well be dark (beards are)."""
    place = uv_grid(size).carried(face_model().mean_cm.astype(np.float32))
    x, y = np.abs(place[..., 0]), place[..., 1]
    zone = np.clip((5.5 - x) / 1.0, 0, 1) * np.clip((y + 2.4) / 0.9, 0, 1) * np.clip((2.8 - y) / 0.9, 0, 1)
    return (zone * uv_grid(size).covered).astype(np.float32)


def tempered(
    albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s 3"]:
    """The albedo with starved blue and socket shadows held back; daylight keeps its colour."""
    size = albedo.shape[0]
    grid = uv_grid(size)
    skin = grid.skin * (confidence > 0.2)
    if skin.sum() < 50:
        return albedo
    mean = np.maximum(albedo[skin > 0].mean(0), 1e-4)
    return _lifted(_with_blue(albedo, mean), skin.astype(np.float32), mean)


def _with_blue(albedo: Float32[np.ndarray, "s s 3"], mean: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "s s 3"]:
    """Blue over luminance, kept near the skin's own where there is little blue to judge by."""
    poor = float(np.clip((WELL_LIT - mean[2] / (mean @ LUMA)) / (WELL_LIT - STARVED), 0, 1))
    if poor <= 0:
        return albedo
    floor = 0.03 * float(mean @ LUMA)
    away = np.log(albedo[..., 2] + floor) - np.log(albedo @ LUMA + floor)
    away -= np.log(mean[2] + floor) - np.log(float(mean @ LUMA) + floor)
    change = poor * (np.clip(away, LEAST_BLUE, MOST_BLUE) - away)
    out = albedo.copy()
    out[..., 2] = np.maximum((albedo[..., 2] + floor) * np.exp(change) - floor, 0)
    return out


def _lifted(
    albedo: Float32[np.ndarray, "s s 3"], skin: Float32[np.ndarray, "s s"], mean: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "s s 3"]:
    """Broad darkness around the eyes no deeper than DEEPEST."""
    floor = 0.03 * float(mean @ LUMA)
    luma = albedo @ LUMA
    # Not the mean: shadows and beards are in it.
    dark = np.log(luma + floor) - np.log(float(np.quantile(luma[skin > 0], 0.6)) + floor)
    broad = low_pass(np.repeat(dark[..., None], 3, 2).astype(np.float32), skin, SHADOW_SHARE)[..., 0]
    excess = np.minimum(broad + DEEPEST, 0) * _sockets(albedo.shape[0])
    soft = cv2.GaussianBlur(excess.astype(np.float32), (0, 0), 0.02 * albedo.shape[0])
    return albedo * np.exp(-soft)[..., None]
