"""Occlusion matte: how much of the face is visible, with nothing in front, in a crop aligned to the face.

The crop is square, turned with the eyes, `CROP_SCALE` times the larger extent of the face oval around its mean.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.schema.mesh import face_model
from digidouble.schema.track import MATTE_SIZE

CROP_SCALE = 1.3


def px_from_crop(points_px: Float[np.ndarray, "478 3"], size: int = MATTE_SIZE) -> Float32[np.ndarray, "2 3"]:
    """2x3 similarity from crop pixels (centre of the first pixel is 0, 0) to picture pixels."""
    oval = points_px[face_model().loops["oval"], :2].astype(np.float64)
    eyes = (points_px[263, :2] - points_px[33, :2]).astype(np.float64)
    angle = np.arctan2(eyes[1], eyes[0])
    c, s = np.cos(angle), np.sin(angle)
    upright = oval @ np.array([[c, -s], [s, c]])
    side = CROP_SCALE * max(np.ptp(upright[:, 0]), np.ptp(upright[:, 1]), 1.0)
    k = side / size
    centre = oval.mean(0)
    linear = k * np.array([[c, -s], [s, c]])
    offset = centre - linear @ np.full(2, (size - 1) / 2)
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)


class Matter:
    """Hull of the mesh until a trained network is chosen by name."""

    def matte(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> tuple[UInt8[np.ndarray, "m m"], Float32[np.ndarray, "2 3"]]:
        """The matte (0..255) and its placement."""
        to_px = px_from_crop(points_px)
        hull = cv2.transform(points_px[None, face_model().loops["oval"], :2], cv2.invertAffineTransform(to_px))[0]
        out = np.zeros((MATTE_SIZE, MATTE_SIZE), np.uint8)
        cv2.fillPoly(out, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return out, to_px
