"""478 face landmarks from a region of interest, by MediaPipe's attention mesh in ONNX.

A region of interest (roi) is (cx, cy, size, angle): a square of `size` pixels around a centre, turned by `angle`
radians so that its x axis points along (cos, sin) in the picture, from the subject's right eye to his left. The
network sees it at 192x192. `roi_from_detection` starts a track, `roi_from_mesh` continues it on the next frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception import mesh_points as mp
from digidouble.perception.crop import sample_affine
from digidouble.perception.detector import LEFT_EYE, RIGHT_EYE, Detection
from digidouble.perception.session import Provider, Runner, Session
from digidouble.schema.mesh import upright_angle

CROP = 192
ROI_SCALE = 1.5  # of the longer side of the mesh's box, as the network was trained
# YuNet's box made to the same region: size and downward shift, in longer sides of the box (medians of 77 faces in 21
# clips; the regions then agree within 4 % in size and 2 % in place).
DETECTION_SCALE, DETECTION_SHIFT = 1.34, 0.044
# The network's points lie this far to the right and below, in crop pixels: found by mirroring (half the difference
# between a face's points and those of its mirror image: 0.33 +- 0.03, alike for eyes, irises, lips and contour). The
# cause, padding after the picture at each stride, is the same in both axes.
CROP_BIAS_PX = 0.33


@dataclass(frozen=True)
class MeshObservation:
    """One face as seen once. z grows away from the camera, in the scale of x, and is 0 near the middle of the head."""

    points_px: Float32[np.ndarray, "478 3"]
    score: float
    """Probability that the region holds a face, 0..1."""
    spread: float = 0.0
    """How far looks through different regions disagree: rms distance of their points, over the mesh's longer side.

    0.006 to 0.012 on frontal faces, up to 0.02 on half profiles the network knows, 0.03 and more where it guesses. 0 after one look.
    """


class FaceMesher:
    """Places the mesh; holds the network and nothing of the pictures it saw."""

    def __init__(
        self, *, threads: int = 1, providers: Sequence[Provider] = ("cpu",), runner: Runner | None = None
    ) -> None:
        self._runner = runner or Session("face-mesh-attention", providers=providers, threads=threads)

    def mesh(self, rgb8: UInt8[np.ndarray, "h w 3"], rois: Float32[np.ndarray, "n 4"]) -> tuple[MeshObservation, ...]:
        """The mesh in each region, in order, in one batch. Regions may reach beyond the picture."""
        if len(rois) == 0:
            return ()
        crops = np.empty((len(rois), CROP, CROP, 3), np.float32)
        for crop, roi in zip(crops, rois, strict=True):
            np.multiply(sample_affine(rgb8, picture_from_crop(roi), CROP), np.float32(1 / 255), out=crop)
        outputs = self._runner.run({"input_1": crops})
        points = _assembled(outputs)
        scores = 1 / (1 + np.exp(-outputs["conv_faceflag"].reshape(-1).astype(np.float64)))
        return tuple(
            MeshObservation(_in_picture(p, roi), float(score))
            for p, roi, score in zip(points, rois, scores, strict=True)
        )

    def mesh_averaged(
        self, rgb8: UInt8[np.ndarray, "h w 3"], roi: Float32[np.ndarray, " 4"], jitters: int = 4
    ) -> MeshObservation:
        """Mean over `jitters` slightly different regions: the noise that comes from the choice of region halves.

        For final renders; 0.88 -> 0.37 % of the eye distance with four regions.
        """
        found = self.mesh(rgb8, jittered_rois(roi, jitters))
        every = np.stack([f.points_px for f in found]).astype(np.float64)
        mean = every.mean(axis=0)
        # Of `n` looks the distance to their mean is sqrt(1 - 1 / n) of a look's own error; of two looks apart sqrt(2).
        off = ((every - mean)[:, : mp.SURFACE_POINTS, :2] ** 2).sum(-1).mean()
        apart = math.sqrt(2 * off * len(found) / max(len(found) - 1, 1))
        side = max(float(np.ptp(mean[:, :2], axis=0).max()), 1e-6)
        return MeshObservation(np.asarray(mean, np.float32), float(np.mean([f.score for f in found])), apart / side)


def roi_from_mesh(points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, " 4"]:
    """The region in which to look for the same face in the next frame."""
    low, high = points_px[:, :2].min(0), points_px[:, :2].max(0)
    centre = (low + high) / 2
    size = float(max(high - low)) * ROI_SCALE
    return np.array([*centre, size, upright_angle(points_px)], np.float32)


def roi_from_detection(detection: Detection) -> Float32[np.ndarray, " 4"]:
    """The region in which to look for a detected face."""
    box, points = detection.box_xyxy.astype(np.float64), detection.points5.astype(np.float64)
    eyes = points[LEFT_EYE] - points[RIGHT_EYE]
    angle, side = math.atan2(eyes[1], eyes[0]), detection.size_px
    down = np.array([-math.sin(angle), math.cos(angle)]) * (DETECTION_SHIFT * side)
    return np.array([*((box[:2] + box[2:]) / 2 + down), side * DETECTION_SCALE, angle], np.float32)


def jittered_rois(roi: Float32[np.ndarray, " 4"], count: int) -> Float32[np.ndarray, "n 4"]:
    """`count` regions around one, evenly spread and always the same (no random numbers: a render must repeat)."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    rois = np.repeat(np.asarray(roi, np.float32)[None], count, axis=0)
    if count == 1:
        return rois
    phase = 2 * np.pi * np.arange(count) / count
    rois[:, 0] += 0.02 * roi[2] * np.cos(phase)
    rois[:, 1] += 0.02 * roi[2] * np.sin(phase)
    rois[:, 2] *= 1 + 0.03 * np.cos(2 * phase)
    rois[:, 3] += math.radians(2.0) * np.sin(phase + np.pi / count)
    return rois


def picture_from_crop(roi: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "2 3"]:
    """Affine map from crop pixels to picture pixels; crop pixel (96, 96) falls on the centre, as in MediaPipe."""
    cx, cy, size, angle = (float(v) for v in roi)
    c, s = math.cos(angle) * size / CROP, math.sin(angle) * size / CROP
    half = CROP / 2
    return np.array([[c, -s, cx - (c - s) * half], [s, c, cy - (s + c) * half]])


def _assembled(outputs: dict[str, Float32[np.ndarray, " ..."]]) -> Float32[np.ndarray, "n 478 3"]:
    """Merge the base mesh with the refined lips, eyes and irises, in crop pixels."""
    base = outputs["output_mesh_identity"].reshape(-1, mp.SURFACE_POINTS, 3)
    points = np.zeros((len(base), mp.POINTS, 3), np.float32)
    points[:, : mp.SURFACE_POINTS] = base
    for tensor, indices in mp.REFINED_XY.items():
        points[:, indices, :2] = outputs[tensor].reshape(len(base), len(indices), 2)
    for iris, rim in mp.IRIS_DEPTH:
        points[:, iris, 2] = base[:, rim, 2].mean(axis=1, keepdims=True)
    return points


def _in_picture(points: Float32[np.ndarray, "478 3"], roi: Float32[np.ndarray, " 4"]) -> Float32[np.ndarray, "478 3"]:
    to_picture = picture_from_crop(roi)
    xy = (points[:, :2] - CROP_BIAS_PX) @ to_picture[:, :2].T + to_picture[:, 2]
    return np.column_stack([xy, points[:, 2] * (float(roi[2]) / CROP)]).astype(np.float32)
