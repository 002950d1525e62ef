"""Occlusion matte: how much of the face is visible, with nothing in front, in a crop aligned to the face.

The crop is square: its horizontal is the face's own (`upright_angle`), its centre and side come from the box of the face
oval in those axes, `MARGIN` times the larger extent. `training/matte` trains the network on the same framing.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.perception.session import Runner, Session
from digidouble.schema.kernels import fill_triangles
from digidouble.schema.mesh import OUTER_LIPS, face_model, upright_angle
from digidouble.schema.track import MATTE_SIZE

MARGIN = 1.3
# The nose sticks out of the oval when the head is turned: its hull is added to the oval's area.
NOSE = np.array(
    [168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 48, 278, 64, 294, 129, 358, 45, 275, 44, 274, 193, 417]
)


def px_from_crop(points_px: Float[np.ndarray, "478 3"], size: int = MATTE_SIZE) -> Float32[np.ndarray, "2 3"]:
    """2x3 similarity from crop pixels (centre of the first pixel is 0, 0) to picture pixels."""
    points = points_px[:, :2].astype(np.float64)
    angle = upright_angle(points_px)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    upright = points[face_model().loops["oval"]] @ turn
    low, high = upright.min(0), upright.max(0)
    scale = MARGIN * max(float((high - low).max()), 1.0) / size
    linear = scale * turn
    offset = turn @ ((low + high) / 2) - linear @ np.full(2, (size - 1) / 2)
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)


def hull(points_crop: Float[np.ndarray, "478 2"], size: int = MATTE_SIZE) -> UInt8[np.ndarray, "m m"]:
    """Area of the mesh in crop pixels, anti-aliased by four-fold supersampling, 0..255.

    The oval, and every triangle: on a profile the far half of the oval runs inside the face, over eye and mouth.
    """
    big = np.zeros((size * 4, size * 4), np.uint8)
    points = (points_crop + 0.5) * 4 - 0.5
    fixed = np.round(np.clip(points, -8.0 * size, 12.0 * size) * 16).astype(np.int32)
    cv2.fillPoly(big, [fixed[face_model().loops["oval"]]], 255, shift=4)
    for part in (NOSE, OUTER_LIPS):
        cv2.fillConvexPoly(big, cv2.convexHull(fixed[part]), 255, shift=4)
    fill_triangles(np.clip(points, -8.0 * size, 12.0 * size).astype(np.float64), face_model().triangles, big)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA)


class Matter:
    """Places mattes; holds the network and nothing of the pictures it saw."""

    def __init__(self, *, runner: Runner | None = None) -> None:
        self._runner = runner or Session("matte")

    def matte(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> tuple[UInt8[np.ndarray, "m m"], Float32[np.ndarray, "2 3"]]:
        """The matte (0..255: 255 is the performer's own face, 0 something in front or no face) and its placement."""
        to_px = px_from_crop(points_px)
        to_crop = cv2.invertAffineTransform(to_px.astype(np.float64))
        area = hull(points_px[:, :2] @ to_crop[:, :2].T + to_crop[:, 2])
        crop = sample_affine(rgb8, to_px, MATTE_SIZE)
        pixels = np.concatenate([crop.astype(np.float32).transpose(2, 0, 1), area[None].astype(np.float32)]) / 255
        alpha = self._runner.run({"crop": pixels[None]})["alpha"][0, 0]
        return np.round(255 * np.clip(alpha, 0, 1)).astype(np.uint8), to_px
