"""What a performer wears on the face for the whole of a track: glasses, found from all of its mattes together.

One frame's matte loses thin rims in blur and against skin, and a double without them flickers. On the face's own surface rims
hold still, so the mean over a track shows them clearly where no single frame does.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mesh import face_model
from digidouble.schema.track import WRINKLE_GRID

LOOKS = 60  # frames of a track that are asked
RARE, USUAL = 0.12, 0.35  # share of frames hidden: no glasses below, glasses above
LEAST_RIM_SHARE = 0.04  # of the zone around the eyes; fewer texels than this are no glasses
MOST_RIM_SHARE = 0.5  # more than this is a mask or a cap: the frames' own mattes know it


def worn_of(hidden: Float[np.ndarray, "n w w"], facing: Float[np.ndarray, "n w w"]) -> UInt8[np.ndarray, "w w"]:
    """0..255 over UV, how far glasses cover each texel, from what was hidden (0..1) in frames and how far each texel faced the camera.

    Glasses are the same on both sides of the nose: what covers one side only (a hand, a fringe, the far cheek of a turned
    head) is left to the frames' own mattes.
    """
    total = facing.sum(0)
    share = (hidden * facing).sum(0) / (total + 1e-3)
    share = np.where(total > 0.1 * max(float(total.max()), 1e-3), share, 0).astype(np.float32)
    near = cv2.dilate(share, np.ones((5, 5)))  # a rim need not lie on the mirrored texel to the pixel
    both = np.minimum(share, near[:, ::-1])
    rim = np.clip((both - RARE) / (USUAL - RARE), 0, 1)
    place = uv_grid(WRINKLE_GRID).carried(face_model().mean_cm.astype(np.float32))
    x, y = np.abs(place[..., 0]), place[..., 1]
    zone = uv_grid(WRINKLE_GRID).covered & (x < 6.2) & (y > -3.6) & (y < 2.0) & (np.hypot(x - 2.95, y) > 0.8)
    rim *= zone
    covered = float((rim > 0.5).sum()) / max(int(zone.sum()), 1)
    if not LEAST_RIM_SHARE <= covered <= MOST_RIM_SHARE:
        rim = np.zeros_like(rim)
    return np.round(255 * rim * rim * (3 - 2 * rim)).astype(np.uint8)
