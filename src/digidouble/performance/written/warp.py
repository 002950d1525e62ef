"""A plate bent so that its face lies where the written one does: backward maps, exact on the mesh, smooth around it.

    source(x) = x + head(x) * (rigid motion of the head) + falloff(x) * (what the face itself does)

Outside the mesh the face's movement is carried on from its rim and dies out over REACH of the face's width: a jaw that opens presses the neck
together, nothing else moves. The head's motion holds for the whole head, hair included, and dies out down the neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.schema.frame import Roi
from digidouble.schema.kernels import carry_over_triangles
from digidouble.schema.mesh import face_model
from digidouble.schema.pose import Pose
from digidouble.schema.ramp import smoothstep

REACH = 0.34  # of the face's width
MARGIN = 0.45  # of the face's width, around the mesh: REACH and some
CHEEK_CM, CHIN_CM, NECK_END_CM = (
    5.0,
    11.0,
    17.5,
)  # below the eyes; the head's motion dies out from chin to the neck's end
HEAD_HALF_CM, NECK_HALF_CM = (
    14.0,
    6.3,
)  # to either side, above the cheeks (hair) and at the chin; gone at 1.3 times that
CELLS = 260  # at most, along the longer side of a map; finer ones are interpolated


@dataclass(frozen=True)
class Warp:
    """Backward map of a region: pixel (x, y) of `roi` shows the plate at `map_px[y, x]`. `head`: 0..1, where the head's motion holds."""

    roi: Roi
    map_px: Float32[np.ndarray, "h w 2"]
    head: Float32[np.ndarray, "h w"] | None = None

    def source_of(self, at_px: Float[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
        """Where pixels of the result come from; those outside the region from themselves."""
        x, y = (at_px[..., k].astype(np.float32) - np.float32((self.roi.x0, self.roi.y0)[k]) for k in (0, 1))
        h, w = self.roi.size_hw
        inside = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
        read = cv2.remap(self.map_px, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.where(inside[..., None], read, at_px).astype(np.float32)


def warp_of(
    source_px: Float[np.ndarray, "478 3"], points_px: Float[np.ndarray, "478 3"], size_wh: tuple[int, int],
    head: tuple[Pose, Pose] | None = None,
) -> Warp:  # fmt: skip
    """The map that carries the plate's face (`source_px`) to the written one. `head`: the poses before and after, where the whole
    head moves; the region is then the whole picture."""
    width = float(np.ptp(points_px[:468, 0]))
    roi = Roi(0, 0, *size_wh) if head else _around(points_px, source_px, width, size_wh)
    h, w = roi.size_hw
    step = max(1.0, max(h, w) / CELLS)
    gh, gw = max(int(np.ceil(h / step)), 2), max(int(np.ceil(w / step)), 2)
    # Cell (i, j) stands for pixel ((j + 1/2) * sx - 1/2, ...), as cv2.resize has it.
    sx, sy = w / gw, h / gh
    to_cell = lambda p: np.stack([(p[:, 0] - roi.x0 + 0.5) / sx - 0.5, (p[:, 1] - roi.y0 + 0.5) / sy - 0.5], 1)  # noqa: E731
    xs, ys = (np.arange(gw) + 0.5) * sx - 0.5 + roi.x0, (np.arange(gh) + 0.5) * sy - 0.5 + roi.y0
    rigid, zone = _head_motion(head, xs, ys) if head else (np.zeros((gh, gw, 2), np.float32), None)
    change = (source_px[:, :2] - points_px[:, :2]).astype(np.float64)
    values = np.zeros((gh, gw, 3), np.float32)
    carry_over_triangles(to_cell(points_px.astype(np.float64)), face_model().all_triangles, change, values)
    covered = values[..., 2] > 0
    local = np.where(covered[..., None], values[..., :2] - rigid, 0).astype(np.float32)
    far = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3) * np.float32(0.5 * (sx + sy))
    fall = np.clip(1 - far / (REACH * width), 0, 1)
    spread = _carried_on(local, covered.astype(np.float32)) * (fall * fall * (3 - 2 * fall))[..., None]
    change_px = cv2.resize((rigid + spread).astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    at = np.stack(np.meshgrid(np.arange(w) + roi.x0, np.arange(h) + roi.y0), -1).astype(np.float32)
    wide = None if zone is None else cv2.resize(zone, (w, h), interpolation=cv2.INTER_LINEAR)
    return Warp(roi, at + change_px, wide)


def _around(
    points_px: Float[np.ndarray, "478 3"], source_px: Float[np.ndarray, "478 3"], width: float, size_wh: tuple[int, int]
) -> Roi:
    both = np.concatenate([points_px[:, :2], source_px[:, :2]])
    low, high = both.min(0) - MARGIN * width, both.max(0) + MARGIN * width
    return Roi(*(int(v) for v in (*np.floor(low), *np.ceil(high)))).clipped(size_wh)


def _head_motion(
    head: tuple[Pose, Pose], xs: Float[np.ndarray, " w"], ys: Float[np.ndarray, " h"]
) -> tuple[Float32[np.ndarray, "h w 2"], Float32[np.ndarray, "h w"]]:
    """(displacement, source minus result, of the head's plane between two poses; where it holds: not on shoulders, nor far away)."""
    before, after = head
    # The plane through the rim of the face: ears, hair and contour lie near it.
    rim = face_model().mean_cm[face_model().loops["oval"]].astype(np.float64)
    a, b = after.px_from_head(rim)[:, :2], before.px_from_head(rim)[:, :2]
    ones = np.concatenate([a, np.ones((len(a), 1))], 1)
    affine = np.linalg.lstsq(ones, b, rcond=None)[0]
    x, y = np.meshgrid(xs, ys)
    moved = np.stack([x, y, np.ones_like(x)], -1) @ affine - np.stack([x, y], -1)
    axes = before.px_from_head(np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, -1, 0]]))[:, :2]
    across, down = axes[1] - axes[0], axes[2] - axes[0]
    side = np.abs((x - axes[0, 0]) * across[0] + (y - axes[0, 1]) * across[1]) / max(float(across @ across), 1e-9)
    low = ((x - axes[0, 0]) * down[0] + (y - axes[0, 1]) * down[1]) / max(float(down @ down), 1e-9)
    neck = smoothstep((low - CHEEK_CM) / (CHIN_CM - CHEEK_CM))
    half = HEAD_HALF_CM + neck * (NECK_HALF_CM - HEAD_HALF_CM)
    zone = smoothstep((NECK_END_CM - low) / (NECK_END_CM - CHIN_CM)) * smoothstep((half * 1.3 - side) / (0.3 * half))
    return (moved * zone[..., None]).astype(np.float32), zone.astype(np.float32)


def _carried_on(
    values: Float32[np.ndarray, "h w 2"], known: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 2"]:
    """Known values kept, the rest filled from coarser and coarser means (push and pull; Gortler et al. 1996)."""
    levels = [(values * known[..., None], known)]
    while min(levels[-1][1].shape) > 2 and levels[-1][1].min() < 1:
        v, k = levels[-1]
        small = ((v.shape[1] + 1) // 2, (v.shape[0] + 1) // 2)
        v2, k2 = (cv2.resize(a, small, interpolation=cv2.INTER_AREA) for a in (v, k))
        grow = np.minimum(1, 4 * k2) / np.maximum(k2, 1e-6)
        levels.append((v2 * grow[..., None], k2 * grow))
    v, k = levels[-1]
    out = v / np.maximum(k, 1e-6)[..., None]
    for v, k in reversed(levels[:-1]):
        wide = cv2.resize(out, (v.shape[1], v.shape[0]), interpolation=cv2.INTER_LINEAR)
        out = v + (1 - np.minimum(k, 1))[..., None] * wide
    return out.astype(np.float32)
