"""The aligned square in which the matte network sees a face, and the mesh hull drawn in it.

Conventions. Pixels: x right, y down, integer coordinates are pixel centres (what `cv2.warpAffine` uses). Points are the 478
of the MediaPipe face mesh, in plate pixels. `crop_from_px` is the 2x3 similarity that takes plate pixels to crop pixels.
The runtime must build its crops with the same arithmetic: the network was trained on this framing (with jitter), no other.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.perception.matte import hull

CROP = 128
"""Side of the network's square input, pixels."""
MARGIN = 1.3
"""Side of the square over the larger extent of the face oval, measured along the rotated axes."""
# The outline of the MediaPipe mesh, clockwise in the picture from the top of the forehead.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
EYE_OUTER = (33, 263)
"""Outer eye corners, the picture's left one first: their line is the crop's horizontal."""


def crop_from_mesh(
    points_px: Float[np.ndarray, "n 2"], size: int = CROP, margin: float = MARGIN
) -> Float[np.ndarray, "2 3"]:
    """Similarity from plate pixels to the pixels of a `size` x `size` crop centred on the face.

    The horizontal is the line through the outer eye corners; in those axes the box of the face oval is taken; the crop's
    centre is the box's centre and its side is `margin` times the box's larger extent.
    Raises ValueError when there are fewer than 468 points, a point is not finite, or the face has no extent.
    """
    points = np.asarray(points_px, np.float64)
    if points.ndim != 2 or len(points) < 468 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise ValueError(f"mesh: expected at least 468 finite (x, y) points, found an array of shape {points.shape}")
    right, left = points[EYE_OUTER[0], :2], points[EYE_OUTER[1], :2]
    angle = np.arctan2(left[1] - right[1], left[0] - right[0])
    cos, sin = np.cos(angle), np.sin(angle)
    upright_from_px = np.array([[cos, sin], [-sin, cos]])
    oval = points[list(OVAL), :2] @ upright_from_px.T
    low, high = oval.min(0), oval.max(0)
    extent = float((high - low).max())
    if extent <= 0:
        raise ValueError("mesh: the face oval has no extent; all its points coincide")
    scale = size / (margin * extent)
    linear = scale * upright_from_px
    shift = (size - 1) / 2 - scale * (low + high) / 2
    return np.concatenate([linear, shift[:, None]], axis=1)


def apply(crop_from_px: Float[np.ndarray, "2 3"], points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The points in crop pixels."""
    return np.asarray(points_px, np.float64)[:, :2] @ crop_from_px[:, :2].T + crop_from_px[:, 2]


def hull_mask(points_crop: Float[np.ndarray, "n 2"], size: int = CROP) -> UInt8[np.ndarray, "size size"]:
    """Area of the mesh in crop pixels, anti-aliased, 0..255: the runtime's own `hull`, oval and every triangle."""
    return hull(np.asarray(points_crop, np.float64)[:, :2], size)
