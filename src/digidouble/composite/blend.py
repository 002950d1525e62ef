"""Layers over the plate, in scene-linear light; samples outside the mattes stay bit-equal to the plate."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.schema.colour import LUMA, frame_with, linear_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.layers import Layer
from digidouble.schema.track import TrackSample

GUIDE_TEXELS = 2.0  # of the stored matte: how far its edge may be from the plate's
BRIGHTEST_GUIDE = 4.0  # scene-linear: edges among highlights are no edges of faces
GUIDE_NOISE = 0.05  # contrast of the plate (square root of light) that counts as an edge
SMALLEST_ALPHA = 1 / 512  # below this a sample could not change; leaving it alone keeps it bit-equal


def hold_out(layer: Layer, sample: TrackSample, presence: float, plate_linear: Float32[np.ndarray, "h w 3"]) -> Layer:
    """Coverage times what is visible of the performer's face, times how much of the double is shown."""
    return replace(layer, alpha=layer.alpha * visible_face(sample, layer.roi, plate_linear) * np.float32(presence))


def visible_face(
    sample: TrackSample, roi: Roi, plate_linear: Float32[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "h w"]:
    """0..1, how much of the performer's face each pixel of a region shows, with nothing in front.

    The matte is coarser than the plate: its edges are laid along the plate's own (`guided`).
    """
    h, w = roi.size_hw
    to_local = sample.matte_px_from_crop.astype(np.float64) - np.array([[0, 0, roi.x0], [0, 0, roi.y0]])
    visible = cv2.warpAffine(sample.matte, to_local, (w, h), flags=cv2.INTER_CUBIC).astype(np.float32) / 255
    step = float(np.sqrt(abs(np.linalg.det(to_local[:, :2]))))
    visible = np.clip(visible, 0, 1)
    if step >= 1:  # a matte as fine as the plate needs no help
        guide = np.sqrt(np.clip(plate_linear @ LUMA, 0, BRIGHTEST_GUIDE))
        visible = guided(visible, guide, GUIDE_TEXELS * step)
    return visible


def guided(
    matte: Float32[np.ndarray, "h w"], guide: Float32[np.ndarray, "h w"], radius: float
) -> Float32[np.ndarray, "h w"]:
    """Fast guided filter (He & Sun 2015) at half resolution: where the guide has an edge near the matte's, the matte's goes there.

    guide: display-like, 0..2. radius: pixels, of the box in which matte = a guide + b is fitted. Result 0..1.
    """
    h, w = matte.shape
    small = (max(w // 2, 1), max(h // 2, 1))
    p, g = (cv2.resize(k, small, interpolation=cv2.INTER_AREA) for k in (matte, guide.astype(np.float32)))
    side = 2 * max(round(min(radius, max(h, w)) / 2), 1) + 1
    box = cv2.blur(cv2.merge([g, p, g * p, g * g]), (side, side))
    spread = np.maximum(box[..., 3] - box[..., 0] ** 2, 0)
    a = (box[..., 2] - box[..., 0] * box[..., 1]) / (spread + GUIDE_NOISE**2)
    line = cv2.blur(cv2.merge([a, box[..., 1] - a * box[..., 0]]), (side, side))
    line = cv2.resize(line, (w, h), interpolation=cv2.INTER_LINEAR)
    # What is nearly all or nothing is all or nothing: a faint ghost of the plate must not remain.
    return np.clip((line[..., 0] * guide + line[..., 1] - 0.06) / 0.88, 0, 1)


def composite(frame: Frame, layers: list[Layer], plate_linear: dict[int, Float32[np.ndarray, "h w 3"]]) -> Frame:
    """Blend layers, farthest first. `plate_linear`: the plate in each layer's region, by track id (already converted)."""
    out = frame
    for n, layer in enumerate(farthest_first(layers)):
        alpha = matte_of(layer)
        if not alpha.any():
            continue
        under = plate_linear[layer.track_id] if n == 0 else linear_from_frame(out, layer.roi)
        out = frame_with(out, layer.roi, under + alpha[..., None] * (layer.rgb - under), alpha)
    return out


def composite_linear(frame: Frame, layers: list[Layer]) -> Float32[np.ndarray, "h w 3"]:
    """The same blend in scene-linear light, never rounded to the plate's codes."""
    w, h = frame.size_wh
    out = linear_from_frame(frame, Roi(0, 0, w, h))
    for layer in farthest_first(layers):
        part = out[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1]
        part += matte_of(layer)[..., None] * (layer.rgb - part)
    return out


def farthest_first(layers: list[Layer]) -> list[Layer]:
    """In the order in which they are blended."""

    def nearness(layer: Layer) -> tuple[int, float]:
        known = layer.depth_px[np.isfinite(layer.depth_px)]
        return layer.rank, -float(np.median(known)) if len(known) else 0.0

    return sorted(layers, key=nearness)


def matte_of(layer: Layer) -> Float32[np.ndarray, "h w"]:
    """The coverage that is blended: alpha, without what could not change a sample."""
    return np.where(layer.alpha >= SMALLEST_ALPHA, layer.alpha, 0).astype(np.float32)
