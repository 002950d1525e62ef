"""Picture metrics: PSNR, SSIM, gradient error, sharpness spectrum, flow-warp error, step across a seam.

Pictures are display-referred R'G'B' 0..255 unless said otherwise; masks say where the metric is taken.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

Picture = UInt8[np.ndarray, "h w 3"]
FLOW_AGREES_PX = 1.0  # forward and backward flow must meet again within this, or the pixel is left out (occlusion)


def psnr_db(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Peak signal-to-noise ratio over the mask in dB, at most 99."""
    error = float(((a[mask].astype(np.float64) - b[mask]) ** 2).mean()) if mask.any() else np.nan
    return float(min(10 * np.log10(255**2 / max(error, 1e-9)), 99.0))


def ssim(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Structural similarity of luma, mean over the mask (Wang et al. 2004, Gaussian window of sigma 1.5, K = 0.01, 0.03)."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (a, b))

    def soft(v: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        return cv2.GaussianBlur(v, (11, 11), 1.5)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = soft(x), soft(y)
    vx, vy, vxy = soft(x * x) - mx * mx, soft(y * y) - my * my, soft(x * y) - mx * my
    index = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index[mask].mean()) if mask.any() else float("nan")


def gradient_error(
    a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> float:
    """Mean difference of luma gradients over the mask, relative to the mean gradient of `b` (0: the same detail)."""
    x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (a, b))
    ga, gb = (np.stack([cv2.Sobel(v, cv2.CV_32F, 1, 0), cv2.Sobel(v, cv2.CV_32F, 0, 1)]) for v in (x, y))
    if not mask.any():
        return float("nan")
    size = float(np.linalg.norm(gb, axis=0)[mask].mean())
    return float(np.linalg.norm(ga - gb, axis=0)[mask].mean() / max(size, 1e-6))


def fine_detail(rgb8: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Share of the luma spectrum's energy above a quarter of the sampling rate, within the mask's box under a Hann window.

    The mean is taken out first, so brightness does not count. Compare only pictures of the same size and mask.
    """
    ys, xs = np.nonzero(mask)
    if len(xs) < 64:
        return float("nan")
    box = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    luma = cv2.cvtColor(np.ascontiguousarray(rgb8[box]), cv2.COLOR_RGB2GRAY).astype(np.float64)
    h, w = luma.shape
    window = np.outer(np.hanning(h), np.hanning(w))
    spectrum = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    return float(spectrum[radius > 0.25].sum() / max(spectrum[radius > 0.01].sum(), 1e-9))


def flow(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 2"]:
    """Dense optical flow from `first` to `second` (DIS, Kroeger et al. 2016; medium preset), pixels."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    a, b = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (first, second))
    return dis.calc(a, b, None)  # type: ignore[call-overload]


def trusted(there: Float32[np.ndarray, "h w 2"], back: Float32[np.ndarray, "h w 2"]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose flow leads back to them, within FLOW_AGREES_PX, and not out of the picture."""
    h, w = there.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    tx, ty = x + there[..., 0], y + there[..., 1]
    home = cv2.remap(back, tx, ty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1e6, 1e6))
    inside = (tx >= 0) & (ty >= 0) & (tx <= w - 1) & (ty <= h - 1)
    return inside & (np.linalg.norm(there + home, axis=2) < FLOW_AGREES_PX)


def warp_error(
    first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"], there: Float32[np.ndarray, "h w 2"],
    mask: Bool[np.ndarray, "h w"],
) -> float:  # fmt: skip
    """Mean absolute luma difference, 0..255, between a frame and the next one brought back along the flow, over the mask."""
    if mask.sum() < 32:
        return float("nan")
    h, w = there.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    a, b = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (first, second))
    brought = cv2.remap(b, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(brought - a)[mask].mean())


def lab(rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """CIELAB of sRGB pixels, L 0..100."""
    return cv2.cvtColor(rgb8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def seam_step(
    rgb8: UInt8[np.ndarray, "h w 3"], plate: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"], sectors: int = 12
) -> float:  # fmt: skip
    """Colour step that the output adds at the border of a mask: CIE76, mean over sectors around the mask's centre.

    In every sector the difference from just outside to just inside, in CIELAB, is compared with the plate's own. The strips
    are a twentieth of the mask's width each, two pixels off the border.
    """
    core = inside.astype(np.uint8)
    reach = max(2, round(0.05 * float(np.ptp(np.nonzero(inside)[1]) if inside.any() else 0)))

    def grown(n: int) -> Bool[np.ndarray, "h w"]:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(n) + 1,) * 2)
        return (cv2.dilate(core, kernel) if n > 0 else cv2.erode(core, kernel, borderValue=0)) > 0

    within, without = grown(-2) & ~grown(-2 - reach), grown(2 + reach) & ~grown(2)
    if within.sum() < 32 or without.sum() < 32:
        return float("nan")
    change = lab(rgb8) - lab(plate)
    cy, cx = (v.mean() for v in np.nonzero(inside))
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    sector = ((np.arctan2(y - cy, x - cx) / (2 * np.pi) + 0.5) * sectors).astype(int) % sectors
    steps = [
        float(np.linalg.norm(change[a].mean(0) - change[b].mean(0)))
        for s in range(sectors)
        if (a := within & (sector == s)).sum() >= 4 and (b := without & (sector == s)).sum() >= 4
    ]
    return float(np.mean(steps)) if steps else float("nan")
