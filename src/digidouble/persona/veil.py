"""Light that lies over a source like a thin fog: lifted blacks of a flat grade or a phone, flare of a lens, of glasses.

Somewhere in every face there is next to nothing: a pupil, the line of the lashes, a nostril. Where no frame of a light group shows it,
what lies over it lies over all of the face, and adds; divided by the skin's light as if it were skin, black brows turn grey, and
blue where the fog is. Linear light, so a subtraction, bounded channel by channel by the darkest (the dark channel of He, Sun, Tang 2009).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.capture import Look
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import camera_normals, face_model

SIZE = 256
DARKEST = 0.001  # share of the face that is darkest: half a pupil
BLACK = 0.05  # times the skin, what the darkest is without a veil (median of portraits and clips 0.05)
SURE = (0.07, 0.11)  # times the skin's brightness: a darkest place up to here is nobody's veil, from there on it is one
MOST = 0.12  # of the skin's brightness is taken at most


@dataclass(frozen=True)
class _Dark:
    """The darkest that a look's face shows in each channel, over the skin's, and its skin's linear colour."""

    ratio: Float[np.ndarray, "3"]
    skin: Float[np.ndarray, "3"]


def without_veil(looks: list[Look]) -> list[Look]:
    """The looks with the veil of their light group subtracted and their skin as bright and as coloured as before.

    A veil is what every look of a group has, in every channel: one that shows black proves that there is none, and an open mouth,
    which is dark and red, does not make a red one.
    """
    found = [_darkest(k) for k in looks]
    least = {
        g: np.min([d.ratio for k, d in zip(looks, found, strict=True) if k.light_group == g], axis=0)
        for g in {k.light_group for k in looks}
    }
    return [_without(k, least[k.light_group], d.skin) for k, d in zip(looks, found, strict=True)]


def _darkest(look: Look) -> _Dark:
    grid = uv_grid(SIZE)
    at = grid.carried(look.points_px[:, :2].astype(np.float32))
    mx, my = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    colour = np.maximum(cv2.remap(look.linear, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), 0)
    facing = grid.carried(camera_normals(look.points_px)[:, 2:3])[..., 0] > 0.3
    seen = cv2.remap(look.matte, mx, my, cv2.INTER_LINEAR) > 127
    opening = grid.triangle >= len(face_model().triangles)
    shown = colour[grid.covered & seen & (facing | opening)]
    skin = colour[grid.skin & seen & facing]
    if not len(skin):
        return _Dark(np.zeros(3), np.ones(3))
    tone = np.maximum(np.median(skin, 0), 1e-5).astype(np.float64)
    return _Dark(np.quantile(shown, DARKEST / 2, axis=0) / tone, tone)


def _without(look: Look, least: Float[np.ndarray, "3"], skin: Float[np.ndarray, "3"]) -> Look:
    """least: the darkest of the look's light group over its skin."""
    low, high = SURE
    amount = float(np.clip((float(least @ LUMA) - low) / (high - low), 0, 1))
    veil = amount * np.clip(least - BLACK, 0, 0.5) * skin
    veil = veil * min(1.0, MOST * float(skin @ LUMA) / max(float(veil @ LUMA), 1e-9))
    if not veil.any():
        return look
    clear = np.maximum(look.linear - veil, 0) * (skin / (skin - veil))
    return replace(look, linear=clear.astype(np.float32))
