"""The double takes the plate's defocus, motion blur and grain, so that it sits in the picture it is in."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from digidouble.perception.detail import sharpness
from digidouble.schema.colour import LUMA
from digidouble.schema.layers import Layer

SHUTTER = 0.5  # 180 degrees: the open share of a frame
JUDGED_PX = 224
MOST_BLUR_PX = 3.0
# Of the plate's sharpness: what the two bands do not see (the brows, rims and lashes of somebody else) still came out finer. At 1 the
# double had 1.34 times the plate's fine detail, and 1.11 times its flicker (mean of the bench's 14 pairs); now 1.11 and 1.10.
HELD_BACK = 0.92
SHORTEST_SMEAR_PX, LONGEST_SMEAR_PX = 1.5, 60.0
TILE = 512


def _display_luma(rgb: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    return np.sqrt(np.maximum(rgb @ LUMA, 0))  # close enough to a display encoding for a ratio of two bands


def _blurred(layer: Layer, sigma: float) -> Layer:
    """Gaussian blur of colour within the double, so that nothing bleeds in from where there is no skin."""
    weight = (layer.triangle >= 0).astype(np.float32)
    wide = cv2.GaussianBlur(cv2.merge([layer.rgb * weight[..., None], weight]), (0, 0), sigma)
    return replace(layer, rgb=wide[..., :3] / np.maximum(wide[..., 3:], 1e-3))


def _judged(inside: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """The middle of the double, at most JUDGED_PX a side: enough to measure its sharpness."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    cy, cx = int(rows.mean()), int(columns.mean())
    half = JUDGED_PX // 2
    return slice(max(cy - half, 0), cy + half), slice(max(cx - half, 0), cx + half)


def match_sharpness(layer: Layer, plate_sharpness: float) -> Layer:
    """Blur the double until its own sharpness is no more than the plate's. A soft double on a sharp plate stays as it is."""
    inside = layer.alpha > 0.9
    if plate_sharpness <= 0 or inside.sum() < 200:
        return layer
    window = _judged(inside)
    luma, inside = _display_luma(layer.rgb[window]), inside[window]
    plate_sharpness *= HELD_BACK
    if sharpness(luma, inside) <= 1.05 * plate_sharpness:
        return layer
    # Bisect on the Gaussian that brings the ratio down; measured on luma only, applied to colour once.
    low, high = 0.0, MOST_BLUR_PX
    for _ in range(5):
        mid = 0.5 * (low + high)
        if sharpness(cv2.GaussianBlur(luma, (0, 0), mid), inside) > plate_sharpness:
            low = mid
        else:
            high = mid
    return _blurred(layer, high) if high > 0.2 else layer


def motion_blur(layer: Layer, motion_px: Float[np.ndarray, "2"], plate_sharpness: float = 0.0) -> Layer:
    """Smear along the face's motion during the open shutter; short motions are left alone.

    The shutter is not known: it is taken as half open, and as less where that would leave the double softer than
    `plate_sharpness` (0: not known either).
    """
    length = min(float(np.hypot(*motion_px)) * SHUTTER, LONGEST_SMEAR_PX)
    if length < SHORTEST_SMEAR_PX:
        return layer
    direction = motion_px / np.hypot(*motion_px)
    inside = layer.alpha > 0.9
    if plate_sharpness > 0 and inside.sum() >= 200:
        window = _judged(inside)
        luma, inside = _display_luma(layer.rgb[window]), inside[window]
        length = _longest(luma, inside, direction, length, plate_sharpness)
        if length < SHORTEST_SMEAR_PX:
            return layer
    weight = (layer.triangle >= 0).astype(np.float32)
    wide = cv2.filter2D(
        np.dstack([layer.rgb * weight[..., None], weight, layer.alpha]),
        cv2.CV_32F,
        smear(length, direction),
        borderType=cv2.BORDER_CONSTANT,
    )
    return replace(layer, rgb=wide[..., :3] / np.maximum(wide[..., 3:4], 1e-3), alpha=np.minimum(wide[..., 4], 1))


def _longest(
    luma: Float32[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    direction: Float[np.ndarray, "2"],
    length: float,
    plate_sharpness: float,
) -> float:
    """The longest smear up to `length` that leaves the double no softer than the plate."""

    def softer(trial: float) -> bool:
        return sharpness(cv2.filter2D(luma, cv2.CV_32F, smear(trial, direction)), inside) < 0.95 * plate_sharpness

    if not softer(length):
        return length
    low, high = 0.0, length
    for _ in range(4):
        mid = 0.5 * (low + high)
        low, high = (low, mid) if softer(mid) else (mid, high)
    return low


def smear(length: float, direction: Float[np.ndarray, "2"]) -> Float32[np.ndarray, "k k"]:
    """A line of light `length` pixels long: the kernel of motion at constant speed."""
    r = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(np.float32)
    along, across = x * direction[0] + y * direction[1], -x * direction[1] + y * direction[0]
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


@lru_cache(maxsize=1)
def _noise_tile() -> Float32[np.ndarray, "t t"]:
    """Unit noise, correlated between neighbours as demosaicing and compression leave camera noise; tiles seamlessly."""
    noise = np.random.Generator(np.random.SFC64(45438)).standard_normal((TILE, TILE), np.float32)
    wide = cv2.GaussianBlur(np.pad(noise, 4, mode="wrap"), (0, 0), 0.6)[4:-4, 4:-4]
    return wide / wide.std()


def add_grain(layer: Layer, grain: float, seed: tuple[int, int]) -> Layer:
    """Plate noise on the double: luminance only, in display-referred steps, the same for the same (frame, track)."""
    if grain < 0.001:
        return layer
    h, w = layer.alpha.shape
    top, left = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed))).integers(0, TILE, 2)
    tile = np.roll(_noise_tile(), (-int(top), -int(left)), (0, 1))
    noise = np.tile(tile, (-(-h // TILE), -(-w // TILE)))[:h, :w] * np.float32(grain)
    # Display value is about the square root of light: (sqrt(x) + n)^2.
    shown = np.sqrt(np.maximum(layer.rgb, 0))
    shown += noise[..., None]
    np.maximum(shown, 0, out=shown)
    return replace(layer, rgb=shown * shown)
