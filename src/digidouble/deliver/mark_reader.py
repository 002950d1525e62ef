"""Finding the invisible mark again in any picture or movie: faces, their texture, the matched filter.

The reader knows nothing of how a file was made. It finds faces as `perform` does, unwraps each by its mesh, removes what a
face looks like anyway (local mean, local contrast), and adds up frames in the mark's own cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.perception.detector import FaceDetector
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mark import CELLS, PLANE_OF_RGB, MarkReading, against_surround, expected_z, read_cells
from digidouble.schema.mesh import camera_normals

TEXELS_A_CELL = 6
SMALLEST_FACE_PX = 40.0  # narrower faces hold fewer pixels than cells
MOST_FACES = 8
MIN_MESH_SCORE = 0.5
NOISE = (0.3, 0.3, 0.7)  # display codes of each plane: cells flatter than this say nothing
MOST_WHITE = 1.5  # contrasts: what one cell may say


@dataclass(frozen=True)
class FaceMark:
    """One face of a file: where (x, y, width of its box in the first frame it was seen in) and what it says."""

    centre_px: tuple[float, float]
    width_px: float
    frames: int
    reading: MarkReading
    cells: Float32[np.ndarray, "p c c"] = field(repr=False)

    def expected_z(self, payload: int) -> float:
        """Evidence for one message, in standard deviations above chance."""
        return expected_z(self.cells, payload)


@dataclass
class _Sum:
    centre: np.ndarray
    width: float
    total: np.ndarray
    frames: int = 1


class MarkReader:
    """Reads marks; holds the networks and nothing of the pictures it saw."""

    def __init__(self, detector: FaceDetector | None = None, mesher: FaceMesher | None = None) -> None:
        self._detector, self._mesher = detector or FaceDetector(), mesher or FaceMesher()

    def read(self, pictures: Iterable[UInt8[np.ndarray, "h w 3"]]) -> list[FaceMark]:
        """The faces of a file and their marks, most certain first. `pictures`: some frames, in order."""
        sums: list[_Sum] = []
        for rgb8 in pictures:
            for points in self._faces(rgb8):
                cells = whitened_cells(rgb8, points)
                low, high = points[:, :2].min(0), points[:, :2].max(0)
                centre, width = 0.5 * (low + high), float(high[0] - low[0])
                near = [s for s in sums if np.linalg.norm(s.centre - centre) < 0.5 * max(width, s.width)]
                if near:
                    s = min(near, key=lambda s: float(np.linalg.norm(s.centre - centre)))
                    s.centre, s.total, s.frames = centre, s.total + cells, s.frames + 1
                elif len(sums) < MOST_FACES:
                    sums.append(_Sum(centre, width, cells))
        found = [
            FaceMark((float(s.centre[0]), float(s.centre[1])), s.width, s.frames, read_cells(s.total), s.total)
            for s in sums
        ]
        return sorted(found, key=lambda f: -f.reading.z)

    def _faces(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> list[Float32[np.ndarray, "478 3"]]:
        found = self._detector.detect(rgb8)[:MOST_FACES]
        faces = []
        for detection in found:
            first = self._mesher.mesh(rgb8, roi_from_detection(detection)[None])[0]
            if first.score < MIN_MESH_SCORE:
                continue
            points = self._mesher.mesh_averaged(rgb8, roi_from_mesh(first.points_px)).points_px
            if np.ptp(points[:, 0]) >= SMALLEST_FACE_PX:
                faces.append(points)
        return faces


def whitened_cells(
    rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
) -> Float32[np.ndarray, "p c c"]:
    """A face's colour differences and luma cell by cell, less their neighbourhood's, over its contrast; 0 where it is not seen."""
    side = CELLS * TEXELS_A_CELL
    grid = uv_grid(side)
    at = grid.carried(np.ascontiguousarray(points_px[:, :2], dtype=np.float32))
    low = np.maximum(np.floor(points_px[:, :2].min(0)).astype(int) - 8, 0)
    high = np.ceil(points_px[:, :2].max(0)).astype(int) + 9
    face = rgb8[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    if not face.size:
        return np.zeros((len(PLANE_OF_RGB), CELLS, CELLS), np.float32)
    at = at - low.astype(np.float32)
    shrink = float(np.ptp(points_px[:, 0])) / side
    if shrink > 1.5:  # do not alias
        face = cv2.GaussianBlur(face, (0, 0), 0.4 * shrink)
    texels = cv2.remap(face, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    h, w = face.shape[:2]
    facing = grid.carried(camera_normals(points_px)[:, 2:3].astype(np.float32))[..., 0]
    inside = (at[..., 0] > 1) & (at[..., 1] > 1) & (at[..., 0] < w - 2) & (at[..., 1] < h - 2)
    weight = (grid.covered & inside & (facing > 0.25)).astype(np.float32)
    share = cv2.resize(weight, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(texels * weight[..., None], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    mean /= np.maximum(share, 1e-3)[..., None]
    seen = (share > 0.6).astype(np.float32)
    return np.stack(
        [_said(mean @ np.array(of, np.float32), seen, noise) for of, noise in zip(PLANE_OF_RGB, NOISE, strict=True)]
    )


def _said(
    values: Float32[np.ndarray, "c c"], seen: Float32[np.ndarray, "c c"], noise: float
) -> Float32[np.ndarray, "c c"]:
    """What each cell of a plane says for +1: its deviation, weighed as what stands in noise of its neighbourhood's power."""
    flat, contrast = against_surround(values.astype(np.float32), seen)
    return np.clip(flat, -MOST_WHITE * contrast, MOST_WHITE * contrast) / (contrast + noise) ** 2 * seen
