"""Light that lies over a face like a thin fog: lifted blacks of a flat grade or a phone, flare of a lens, of glasses.

Somewhere in every face there is next to nothing: a pupil, the line of the lashes, a nostril. What lies over it where it is
darkest lies over all of the face, and adds (the dark channel of He, Sun, Tang 2009, channel by channel). Sources are cleared of
it (`persona.veil`), doubles on such a plate are given it (`render.tone`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import camera_normals, face_model

SIZE = 256
DARKEST = 0.001  # share of the face that is darkest: half a pupil
BLACK = 0.05  # times the skin, what the darkest is without a veil (median of portraits and clips 0.05)
SURE = (0.07, 0.11)  # times the skin's brightness: a darkest place up to here is nobody's veil, from there on it is one
MOST = 0.12  # of the skin's brightness is a veil at most


@dataclass(frozen=True)
class Dark:
    """The darkest that a face shows in each channel, over the skin's, and its skin's linear colour."""

    ratio: Float[np.ndarray, "3"]
    skin: Float[np.ndarray, "3"]


def places(points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "s s 2"]:
    """Where in the picture `darkest` looks."""
    return uv_grid(SIZE).carried(points_px[:, :2].astype(np.float32))


def darkest(
    linear: Float32[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "478 3"], seen: Bool[np.ndarray, "s s"]
) -> Dark | None:
    """linear, points_px: a picture, and the mesh in it. seen: at `places`, where nothing is in front. None where no skin is seen."""
    grid, at = uv_grid(SIZE), places(points_px)
    mx, my = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    colour = np.maximum(cv2.remap(linear, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), 0)
    facing = grid.carried(camera_normals(points_px)[:, 2:3])[..., 0] > 0.3
    opening = grid.triangle >= len(face_model().triangles)
    shown = colour[grid.covered & seen & (facing | opening)]
    skin = colour[grid.skin & seen & facing]
    if not len(skin):
        return None
    tone = np.maximum(np.median(skin, 0), 1e-5).astype(np.float64)
    return Dark(np.quantile(shown, DARKEST / 2, axis=0) / tone, tone)


def veil_share(least: Float[np.ndarray, "3"], skin: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """The veil in units of the skin's own linear colour, channel by channel; nothing where black is black. least: of `Dark.ratio`."""
    low, high = SURE
    amount = float(np.clip((float(least @ LUMA) - low) / (high - low), 0, 1))
    veil = amount * np.clip(least - BLACK, 0, 0.5)
    return veil * min(1.0, MOST * float(skin @ LUMA) / max(float((veil * skin) @ LUMA), 1e-9))
