"""Layers over the plate, in scene-linear light; samples outside the mattes stay bit-equal to the plate."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.schema.colour import frame_with, linear_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.layers import Layer
from digidouble.schema.track import TrackSample

SMALLEST_ALPHA = 1 / 512  # below this a sample could not change; leaving it alone keeps it bit-equal


def hold_out(layer: Layer, sample: TrackSample, presence: float) -> Layer:
    """Coverage times what is visible of the performer's face, times how much of the double is shown."""
    h, w = layer.alpha.shape
    to_local = sample.matte_px_from_crop.astype(np.float64) - np.array([[0, 0, layer.roi.x0], [0, 0, layer.roi.y0]])
    visible = cv2.warpAffine(sample.matte, to_local, (w, h), flags=cv2.INTER_CUBIC).astype(np.float32) / 255
    alpha = layer.alpha * np.clip(visible, 0, 1) * np.float32(presence)
    return replace(layer, alpha=alpha)


def composite(frame: Frame, layers: list[Layer], plate_linear: dict[int, Float32[np.ndarray, "h w 3"]]) -> Frame:
    """Blend layers, farthest first. `plate_linear`: the plate in each layer's region, by track id (already converted)."""
    out = frame
    for n, layer in enumerate(
        sorted(
            layers,
            key=lambda k: (
                -float(np.median(k.depth_px[np.isfinite(k.depth_px)])) if np.isfinite(k.depth_px).any() else 0.0
            ),
        )
    ):
        alpha = np.where(layer.alpha >= SMALLEST_ALPHA, layer.alpha, 0).astype(np.float32)
        if not alpha.any():
            continue
        under = plate_linear[layer.track_id] if n == 0 else linear_from_frame(out, layer.roi)
        out = frame_with(out, layer.roi, under + alpha[..., None] * (layer.rgb - under), alpha)
    return out
