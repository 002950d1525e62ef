"""How far away is everything near a face, in centimetres.

The scale is the face's own: a mesh whose irises measure 11.7 mm knows how many pixels a centimetre is. Depth here is along the
viewing direction, larger is farther, 0 at the head's origin between the eyes (the nose is negative). It does not depend on
the lens; for a distance from a camera of focal length f_px add f_px / px_per_cm.

Outside the face the default is a convention, not a measurement: a head that curves away from the face's rim, and a backdrop.
A monocular network (Depth Anything V2: relative inverse depth) measures it instead, after its unknown scale and shift were fitted
to the mesh on the visible face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.errors import WeightsError
from digidouble.perception.session import Provider, Runner, Session
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.pose import Pose

HEAD_CM = 9.0  # a head goes back by this much behind the rim of its face
BACKDROP_CM = 150.0  # where nobody is and nothing was measured
FAR_CM = 5000.0  # nothing is told apart beyond this
FOCAL_OF_LONG_SIDE = (
    1.2  # assumed lens (about 43 mm on a full-frame camera); only the network's background depends on it
)
NETWORK_SIDE, NETWORK_STEP = 518, 14
LEAST_CORRELATION = 0.5  # between network and mesh on the face; below it the network did not see this face
_SURFACE_CM = 0.8  # samples of the mesh within this of the nearest one belong to the same surface
_UV_SAMPLES = 160
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@runtime_checkable
class DepthEstimator(Protocol):
    """Guesses depth from one picture; `name` is what a performance says about it."""

    @property
    def name(self) -> str: ...

    def inverse_depth(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "a b"]:
        """1 / distance of the whole picture up to an unknown scale and shift, larger is nearer, at any resolution."""
        ...


class DepthNetwork:
    """A network with the signature of Depth Anything V2: `pixel_values` [1, 3, h, w] in, relative inverse depth [1, h, w] out.

    Args:
        source: name in the weights registry, or an ONNX file; its one input and one output may have other names.

    Raises:
        WeightsError: the file is missing, cannot be loaded, or has another number of inputs.
    """

    def __init__(
        self,
        source: str | Path = "depth-anything-v2-small",
        *,
        threads: int = 1,
        providers: Sequence[Provider] = ("cpu",),
        runner: Runner | None = None,
    ) -> None:
        self.name = source if isinstance(source, str) else source.name
        self._input = "pixel_values"
        if runner is None:
            runner = Session(source, providers=providers, threads=threads)
            if len(runner.input_names) != 1:
                raise WeightsError(f"{runner.path}: expected one input, got {', '.join(runner.input_names)}")
            self._input = runner.input_names[0]
        self._runner = runner

    def inverse_depth(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "a b"]:
        size_wh = network_size(rgb8.shape[1], rgb8.shape[0])
        small = cv2.resize(
            rgb8, size_wh, interpolation=cv2.INTER_AREA if size_wh[0] < rgb8.shape[1] else cv2.INTER_CUBIC
        )
        pixels = ((small.astype(np.float32) / 255 - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        answer = next(iter(self._runner.run({self._input: np.ascontiguousarray(pixels)}).values()))
        return answer.reshape(answer.shape[-2:]).astype(np.float32)


def network_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) for the network: the shorter side at 518, both multiples of 14, never more than twice as long as wide."""
    scale = NETWORK_SIDE / min(width, height)
    along = (min(max(round(n * scale / NETWORK_STEP), 37), 74) * NETWORK_STEP for n in (width, height))
    return next(along), next(along)


def mesh_depth(
    points_px: Float[np.ndarray, "478 3"], pose: Pose, px_from_crop: Float[np.ndarray, "2 3"], size: int
) -> tuple[Float32[np.ndarray, "s s"], Bool[np.ndarray, "s s"]]:
    """(centimetres, where there is mesh) on a size x size grid; the surface nearest to the camera wins. 0 where there is none.

    The mesh is sampled densely over UV; a pixel takes the mean of its samples on the nearest surface.
    """
    grid = uv_grid(_UV_SAMPLES)
    at = grid.carried(points_px.astype(np.float32))[grid.covered]
    to_crop = cv2.invertAffineTransform(px_from_crop.astype(np.float64))
    column, row = np.rint(at[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]).astype(int).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    cell = (row * size + column)[inside]
    z = ((at[:, 2] - pose.origin_px[2]) / pose.px_per_cm)[inside].astype(np.float32)
    nearest = np.full(size * size, np.inf, np.float32)
    np.minimum.at(nearest, cell, z)
    surface = z <= nearest[cell] + _SURFACE_CM
    count = np.bincount(cell[surface], minlength=size * size).reshape(size, size)
    total = np.bincount(cell[surface], z[surface], minlength=size * size).reshape(size, size)
    sampled = count > 0
    # Single holes between samples: closed, and filled from what is around them.
    covered = cv2.morphologyEx(sampled.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    depth = np.where(sampled, total / np.maximum(count, 1), 0).astype(np.float32)
    share = cv2.GaussianBlur(sampled.astype(np.float32), (0, 0), 1)
    around = cv2.GaussianBlur(depth, (0, 0), 1) / np.maximum(share, 1e-6)
    return np.where(sampled, depth, np.where(covered, around, 0)).astype(np.float32), covered


def extended_depth(
    mesh_cm: Float32[np.ndarray, "s s"],
    covered: Bool[np.ndarray, "s s"],
    person: Float[np.ndarray, "s s"],
    cm_per_cell: float,
) -> Float32[np.ndarray, "s s"]:
    """The default without a network: mesh depth on the face; where `person` (0..1) is at least a half, hair, neck and shoulders
    continue the rim and go back, first by as much as they go out, in the end by HEAD_CM; elsewhere BACKDROP_CM."""
    backdrop = np.float32(BACKDROP_CM)
    if not covered.any():
        return np.where(person >= 0.5, 0, backdrop).astype(np.float32)
    away, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(nearest, np.int64)
    of_label = np.zeros(int(label.max()) + 1, np.float32)
    of_label[label[covered]] = mesh_cm[covered]
    rim = of_label[label]
    for _ in range(3):  # neighbouring rim points differ: smooth what they cast outwards, keep the face
        rim = np.where(covered, rim, cv2.GaussianBlur(rim, (0, 0), 2.0))
    back = HEAD_CM * (1 - np.exp(-away * cm_per_cell / HEAD_CM))
    return np.where(covered, mesh_cm, np.where(person >= 0.5, rim + back, backdrop)).astype(np.float32)


@dataclass(frozen=True)
class InverseFit:
    """1 / distance_cm ~ scale * inverse + shift; correlation of the two on the face, and the distance assumed for the head."""

    scale: float
    shift: float
    correlation: float
    distance_cm: float

    def depth_cm(self, inverse: Float[np.ndarray, "*s"]) -> Float32[np.ndarray, "*s"]:
        """Depth relative to the head's origin, at most FAR_CM behind it."""
        near = np.maximum(self.scale * inverse + self.shift, 1 / (self.distance_cm + FAR_CM))
        return (1 / near - self.distance_cm).astype(np.float32)


def fit_inverse(
    inverse: Float[np.ndarray, "s s"],
    mesh_cm: Float[np.ndarray, "s s"],
    trust: Float[np.ndarray, "s s"],
    distance_cm: float,
) -> InverseFit | None:
    """Scale and shift of a network's inverse depth from the mesh where `trust` > 0.

    The mesh explains the network, not the other way round, because the network errs. Start: median slope between the nearest and
    the farthest third of the face; then least squares re-weighted by Tukey's biweight (6 rounds, scale from the median residual).
    None when they do not go together: fewer than 40 cells, a negative scale, or a correlation below LEAST_CORRELATION.
    """
    use = trust > 0
    if use.sum() < 40 or distance_cm + mesh_cm[use].min() <= 1:
        return None
    seen, true = inverse[use].astype(np.float64), 1 / (distance_cm + mesh_cm[use].astype(np.float64))
    base = trust[use].astype(np.float64)
    slope, shift = _median_line(true, seen)
    correlation = 0.0
    for _ in range(6):
        error = np.abs(seen - slope * true - shift)
        limit = 4.685 * max(1.4826 * float(np.median(error)), 1e-9)
        w = base * np.clip(1 - (error / limit) ** 2, 0, 1) ** 2
        if w.sum() <= 0:
            return None
        ms, mt = np.average(seen, weights=w), np.average(true, weights=w)
        ss, st, tt = (np.average(p, weights=w) for p in ((seen - ms) ** 2, (seen - ms) * (true - mt), (true - mt) ** 2))
        if ss <= 1e-20 or tt <= 1e-20:
            return None
        slope, correlation = st / tt, st / np.sqrt(ss * tt)
        shift = ms - slope * mt
    if slope <= 0 or correlation < LEAST_CORRELATION:
        return None
    return InverseFit(float(1 / slope), float(-shift / slope), float(correlation), distance_cm)


def _median_line(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """(slope, shift) of y over x that a third of wrong values does not move much (after Theil 1950, on pairs of outer thirds)."""
    order = np.argsort(x, kind="stable")
    third = len(x) // 3
    low, high = order[:third], order[-third:]
    slope = float(np.median((y[high] - y[low]) / np.maximum(x[high] - x[low], 1e-12)))
    return slope, float(np.median(y - slope * x))


def fused_depth(
    mesh_cm: Float32[np.ndarray, "s s"],
    covered: Bool[np.ndarray, "s s"],
    visible: Float[np.ndarray, "s s"],
    measured_cm: Float32[np.ndarray, "s s"],
) -> Float32[np.ndarray, "s s"]:
    """Mesh depth where the face is seen (`visible` 0..1), the fitted network's elsewhere and where something is in front; the two
    meet over three cells inside the face."""
    padded = np.pad(covered, 1).astype(np.uint8)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.clip(inside / 3, 0, 1) * np.clip(2 * visible - 0.5, 0, 1)
    return (weight * mesh_cm + (1 - weight) * measured_cm).astype(np.float32)


def depth_picture(
    depth_cm: Float[np.ndarray, "h w"], near_cm: float = -6.0, far_cm: float = 18.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth as a picture: warm is near, blue is far (OpenCV's turbo), clipped to near_cm .. far_cm."""
    level = np.clip((far_cm - depth_cm) / (far_cm - near_cm), 0, 1)
    return cv2.applyColorMap(np.round(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1].copy()
