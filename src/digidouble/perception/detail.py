"""How sharp and how noisy a piece of picture is. The same measure is taken of the plate and of the double."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32

FINE_SIGMA_PX, COARSE_SIGMA_PX = 0.8, 2.4


def sharpness(luma: Float32[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], grain: float = 0.0) -> float:
    """Fine detail over coarse detail: rms of the band above 0.8 px sigma over that between 0.8 and 2.4 px.

    `luma` is display-referred 0..1. `grain` (standard deviation of noise in luma) is taken off the fine band. About
    0.5 for a sharp picture, 0.1 for a soft one.
    """
    if inside.sum() < 64:
        return 0.0
    near = cv2.GaussianBlur(luma, (0, 0), FINE_SIGMA_PX)
    far = cv2.GaussianBlur(luma, (0, 0), COARSE_SIGMA_PX)
    fine = float(np.mean((luma - near)[inside] ** 2))
    coarse = float(np.mean((near - far)[inside] ** 2))
    # White noise keeps about 0.68 of its variance above a 0.8 px Gaussian and 0.16 between the two.
    fine, coarse = max(fine - 0.68 * grain**2, 0.0), max(coarse - 0.16 * grain**2, 1e-8)
    return float(np.sqrt(fine / coarse))


def grain(luma: Float32[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"]) -> float:
    """Standard deviation of noise in the flatter half of a region (Immerkaer 1996, median instead of mean)."""
    if inside.sum() < 64:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(luma, cv2.CV_32F, kernel))
    slope = cv2.GaussianBlur(
        np.abs(cv2.Sobel(luma, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(luma, cv2.CV_32F, 0, 1)), (0, 0), 2
    )
    flat = inside & (slope <= np.median(slope[inside]))
    return float(np.median(response[flat]) / (6 * 0.6745))
