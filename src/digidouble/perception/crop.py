"""Cutting small upright pictures out of large ones, without skipping pixels.

An affine map `picture_from_crop` (2x3) takes crop pixels to picture pixels; in both, whole numbers are pixel centres.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_FINEST = 8


def sample_affine(
    rgb8: UInt8[np.ndarray, "h w 3"], picture_from_crop: Float[np.ndarray, "2 3"], side: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Sample side x side pixels; outside the picture its border pixels go on. The picture is not copied.

    Where one step in the crop is more than two in the picture, the crop is cut at 2, 4 or 8 times the size and averaged
    down: plain bilinear sampling would skip pixels, and landmarks would shiver with the face's sub-pixel position.
    """
    linear, shift = picture_from_crop[:, :2], picture_from_crop[:, 2]
    step = float(np.sqrt(abs(np.linalg.det(linear))))
    factor = 1
    while step / factor > 2 and factor < _FINEST:
        factor *= 2
    # Fine pixel k lies at (k - (factor - 1) / 2) / factor of the crop's pixels.
    fine_linear = linear / factor
    to_picture = np.column_stack([fine_linear, shift - fine_linear.sum(1) * (factor - 1) / 2])
    fine = cv2.warpAffine(
        rgb8,
        to_picture,
        (side * factor, side * factor),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return fine if factor == 1 else cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def fit_similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """Least-squares turn, scale and shift with target ~ M @ (source, 1); never a mirror image.

    With points as complex numbers it is the regression t = a s + b (equals Umeyama 1991, eq. 40-42, in the plane).

    Raises:
        ValueError: all source points coincide, or a coordinate is not finite.
    """
    s, t = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (source, target))
    centred = s - s.mean()
    spread = float(np.vdot(centred, centred).real)
    if not np.isfinite(spread) or not np.isfinite(t).all() or spread <= 1e-12:
        raise ValueError(f"no similarity fits: {len(s)} points must be finite and not all in one place")
    a = np.vdot(centred, t - t.mean()) / spread
    b = t.mean() - a * s.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
