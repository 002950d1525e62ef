"""Frozen-expression paste: one photograph of the persona laid over the plate's face. What a double must beat."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.bench.landmarks import RIGID, face_mask

FEATHER = 0.06  # of the face's width


@dataclass(frozen=True)
class Photograph:
    """One picture of the persona with the referee's landmarks."""

    rgb8: UInt8[np.ndarray, "h w 3"]
    points: Float[np.ndarray, "68 2"]


def mean_colour_gain(
    source: UInt8[np.ndarray, "h w 3"], target: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Reinhard et al. 2001 in CIELAB: (gain, offset) that give `source` the mean and deviation of `target` over the mask."""
    a, b = (cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[mask] for p in (source, target))
    gain = np.clip(b.std(0) / np.maximum(a.std(0), 1e-3), 0.5, 2.0)
    return gain, b.mean(0) - gain * a.mean(0)


def recoloured(
    rgb8: UInt8[np.ndarray, "h w 3"], gain: Float[np.ndarray, "3"], offset: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The transfer of `mean_colour_gain` on every pixel."""
    lab = cv2.cvtColor(rgb8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) * gain + offset
    return np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB) * 255 + 0.5, 0, 255).astype(np.uint8)


def soft_mask(mask: Bool[np.ndarray, "h w"], width_px: float) -> Float32[np.ndarray, "h w 1"]:
    """The mask feathered inwards by `width_px`."""
    away = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.clip(away / max(width_px, 1), 0, 1)[..., None].astype(np.float32)


class Paste:
    """The photograph placed by similarity on the rigid points, tone matched, feathered."""

    name = "paste"

    def __init__(self, photograph: Photograph) -> None:
        self._photo = photograph

    def frame(self, plate: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "68 2"]) -> UInt8[np.ndarray, "h w 3"]:
        """The plate with the photograph's face on it."""
        h, w = plate.shape[:2]
        place, _ = cv2.estimateAffinePartial2D(self._photo.points[RIGID], points[RIGID], method=cv2.LMEDS)
        if place is None:
            return plate
        face = cv2.warpAffine(self._photo.rgb8, place, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved = self._photo.points @ place[:, :2].T + place[:, 2]
        mask = face_mask(moved, (h, w))
        if mask.sum() < 64:
            return plate
        face = recoloured(face, *mean_colour_gain(face, plate, mask))
        alpha = soft_mask(mask, FEATHER * float(np.ptp(points[:17, 0])))
        return np.clip(plate + alpha * (face.astype(np.float32) - plate) + 0.5, 0, 255).astype(np.uint8)
