"""Faces in a picture: boxes and five points, by YuNet (2023mar).

YuNet looks at strides 8, 16 and 32 of a picture whose sides are multiples of 32, in BGR, 0..255. Each cell of a
stride-s grid predicts one face (as in OpenCV's FaceDetectorYN):

    score  = sqrt(class * objectness)
    centre = (cell + bbox[:2]) * s,   size = exp(bbox[2:]) * s,   point_k = (cell + kps[2k:2k+2]) * s

Boxes and points of this file are in pixels of the picture given; see the package for the convention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from digidouble.errors import SettingsError
from digidouble.perception.session import Provider, Runner, Session

STRIDES = (8, 16, 32)
RIGHT_EYE, LEFT_EYE, NOSE, RIGHT_MOUTH, LEFT_MOUTH = range(5)
_EDGE_PX = 4.0  # a box this near to a tile's inner border is cut off there


@dataclass(frozen=True)
class DetectorSettings:
    """How faces are looked for."""

    score_min: float = 0.6
    """Detections below this score (0..1) are dropped."""
    iou_max: float = 0.3
    """Of two boxes that overlap more than this, the lower score goes."""
    long_side: int = 640
    """The whole picture is looked at with its long side at most this many pixels."""
    tiled: Literal["auto", "always", "never"] = "auto"
    """Look again in overlapping tiles, for small faces; auto: if the picture's long side exceeds tiled_above."""
    tiled_above: int = 1600
    """Long side, in pixels, from which auto looks at tiles."""
    tile_px: int = 960
    """Side of a tile in the picture, shrunk to long_side."""
    tile_overlap_px: int = 192
    """Neighbouring tiles share this much; larger faces are left to the look at the whole picture."""
    threads: int = 1
    """Inference threads."""
    providers: tuple[Provider, ...] = ("cpu",)
    """Where to run the network, in order of preference."""

    def __post_init__(self) -> None:
        if not 0 < self.score_min < 1 or not 0 < self.iou_max < 1:
            raise SettingsError(f"score_min and iou_max must be in (0, 1), got {self.score_min} and {self.iou_max}")
        if self.long_side < 64 or self.tile_px < 64:
            raise SettingsError(f"long_side and tile_px must be at least 64, got {self.long_side} and {self.tile_px}")
        if not 0 <= self.tile_overlap_px <= self.tile_px // 2:
            raise SettingsError(f"tile_overlap_px must be in 0..{self.tile_px // 2}, got {self.tile_overlap_px}")
        if self.tiled not in ("auto", "always", "never"):
            raise SettingsError(f"tiled must be auto, always or never, got {self.tiled!r}")


@dataclass(frozen=True)
class Detection:
    """One face: box (x0, y0, x1, y1), score in 0..1, and right eye, left eye, nose, right and left mouth corner."""

    box_xyxy: Float32[np.ndarray, " 4"]
    score: float
    points5: Float32[np.ndarray, "5 2"]

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return float(max(self.box_xyxy[2] - self.box_xyxy[0], self.box_xyxy[3] - self.box_xyxy[1]))


@dataclass(frozen=True)
class _Found:
    """Detections as arrays, while they are being merged."""

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    points: Float32[np.ndarray, "n 5 2"]

    def __getitem__(self, index: Int[np.ndarray, " m"]) -> _Found:
        return _Found(self.boxes[index], self.scores[index], self.points[index])


class FaceDetector:
    """Finds faces; holds the network and nothing of the pictures it saw."""

    def __init__(self, settings: DetectorSettings | None = None, *, runner: Runner | None = None) -> None:
        self.settings = settings or DetectorSettings()
        self._runner = runner or Session("yunet", providers=self.settings.providers, threads=self.settings.threads)

    def detect(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """All faces, best score first."""
        height, width = rgb8.shape[:2]
        if height == 0 or width == 0:
            return []
        found = self._look(rgb8, self.settings.long_side)
        if not len(found.scores):
            # A face that fills the frame is larger than the network's largest; half the size brings it back.
            found = self._look(rgb8, self.settings.long_side // 2)
        if self._wants_tiles(width, height):
            found = self._with_tiles(rgb8, found)
        found = found[non_maximum(found.boxes, found.scores, self.settings.iou_max)]
        return [
            Detection(box, float(score), points)
            for box, score, points in zip(found.boxes, found.scores, found.points, strict=True)
        ]

    def _wants_tiles(self, width: int, height: int) -> bool:
        s = self.settings
        return s.tiled == "always" or (s.tiled == "auto" and max(width, height) > s.tiled_above)

    def _look(self, rgb8: UInt8[np.ndarray, "h w 3"], long_side: int) -> _Found:
        """One pass of the network over a picture, scaled to long_side (never enlarged)."""
        tensor, scale_xy = letterbox(rgb8, long_side)
        found = decode(self._runner.run({"input": tensor}), tensor.shape[2:], self.settings.score_min)
        # Cell (0, 0) of the grid is a corner, while our (0, 0) is the centre of a pixel: hence the half.
        boxes = found.boxes / np.tile(scale_xy, 2) - 0.5
        keep = non_maximum(boxes, found.scores, self.settings.iou_max)
        return _Found(boxes.astype(np.float32), found.scores, (found.points / scale_xy - 0.5).astype(np.float32))[keep]

    def _with_tiles(self, rgb8: UInt8[np.ndarray, "h w 3"], whole: _Found) -> _Found:
        """Add what overlapping tiles show: small faces that vanish when the whole picture is shrunk."""
        height, width = rgb8.shape[:2]
        parts = [whole]
        for x0, y0, x1, y1 in tiles(width, height, self.settings.tile_px, self.settings.tile_overlap_px):
            found = self._look(rgb8[y0:y1, x0:x1], self.settings.long_side)
            boxes = found.boxes + np.array([x0, y0, x0, y0], np.float32)
            # Borders behind which the picture goes on; the neighbouring tile sees the faces that they cut.
            low = np.array([x0 + _EDGE_PX if x0 else -np.inf, y0 + _EDGE_PX if y0 else -np.inf])
            high = np.array([x1 - _EDGE_PX if x1 < width else np.inf, y1 - _EDGE_PX if y1 < height else np.inf])
            entire = (boxes[:, :2] >= low).all(1) & (boxes[:, 2:] <= high).all(1)
            # A tile may take a part of a large face for a small one; the whole picture knows better.
            inside = containment(boxes, whole.boxes).max(axis=1, initial=0.0) > 0.6
            rival = overlap(boxes, whole.boxes).max(axis=1, initial=0.0) > self.settings.iou_max
            points = found.points + np.array([x0, y0], np.float32)
            parts.append(_Found(boxes, found.scores, points)[np.flatnonzero(entire & (~inside | rival))])
        return _Found(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.points for p in parts]),
        )


def letterbox(
    rgb8: UInt8[np.ndarray, "h w 3"], long_side: int
) -> tuple[Float32[np.ndarray, "1 3 H W"], Float[np.ndarray, " 2"]]:
    """Shrink to the long side, pad right and below with black to multiples of 32, RGB -> BGR planes.

    Returns the tensor and the scale (x, y) that was applied, which differs between the axes by rounding only.
    """
    height, width = rgb8.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
    if (new_w, new_h) != (width, height):
        rgb8 = cv2.resize(rgb8, (new_w, new_h), interpolation=cv2.INTER_AREA)
    tensor = np.zeros((1, 3, _multiple_of_32(new_h), _multiple_of_32(new_w)), np.float32)
    tensor[0, :, :new_h, :new_w] = rgb8[:, :, ::-1].transpose(2, 0, 1)
    return tensor, np.array([new_w / width, new_h / height])


def decode(outputs: dict[str, Float32[np.ndarray, " ..."]], size_hw: tuple[int, ...], score_min: float) -> _Found:
    """YuNet's raw outputs -> faces in the coordinates of its input (corner convention)."""
    boxes, scores, points = [], [], []
    for stride in STRIDES:
        rows, columns = size_hw[0] // stride, size_hw[1] // stride
        score = np.sqrt(
            np.clip(outputs[f"cls_{stride}"].ravel(), 0, 1) * np.clip(outputs[f"obj_{stride}"].ravel(), 0, 1)
        )
        chosen = np.flatnonzero(score >= score_min)
        if rows * columns != score.size:
            raise ValueError(f"stride {stride}: expected {rows * columns} cells, the network gave {score.size}")
        cell = np.stack([chosen % columns, chosen // columns], axis=1).astype(np.float32)
        bbox = outputs[f"bbox_{stride}"].reshape(-1, 4)[chosen]
        centre, size = (cell + bbox[:, :2]) * stride, np.exp(np.minimum(bbox[:, 2:], 10.0)) * stride
        boxes.append(np.concatenate([centre - size / 2, centre + size / 2], axis=1))
        points.append((outputs[f"kps_{stride}"].reshape(-1, 5, 2)[chosen] + cell[:, None]) * stride)
        scores.append(score[chosen])
    return _Found(np.concatenate(boxes), np.concatenate(scores), np.concatenate(points))


def tiles(width: int, height: int, side: int, overlap_px: int) -> Iterator[tuple[int, int, int, int]]:
    """Half-open windows (x0, y0, x1, y1) that cover the picture evenly and share at least overlap_px."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        count = math.ceil((length - overlap_px) / (side - overlap_px))
        return [round(k * (length - side) / (count - 1)) for k in range(count)]

    for y0 in starts(height):
        for x0 in starts(width):
            yield x0, y0, min(x0 + side, width), min(y0 + side, height)


def overlap(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`."""
    both = _intersection(a, b)
    return both / np.maximum(_area(a)[:, None] + _area(b)[None] - both, 1e-9)


def containment(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """The part of each box of `a` that lies inside each box of `b`."""
    return _intersection(a, b) / np.maximum(_area(a)[:, None], 1e-9)


def non_maximum(
    boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], iou_max: float
) -> Int[np.ndarray, " kept"]:
    """Indices that survive greedy non-maximum suppression, best score first."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlap(boxes[best : best + 1], boxes[order])[0] <= iou_max]
    return np.array(kept, np.int64)


def _area(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def _intersection(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2)


def _multiple_of_32(length: int) -> int:
    return -(-length // 32) * 32
