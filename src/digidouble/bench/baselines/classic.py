"""The classic 2D pipeline: 68 points, Delaunay warp of a photograph, colour transfer, Poisson blending (seamlessClone).

This is the widely copied OpenCV/dlib face swap; it carries expression by stretching one photograph.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from digidouble.bench.baselines.paste import Photograph, mean_colour_gain, recoloured
from digidouble.bench.landmarks import FOREHEAD, face_mask


def warp_points(points: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "78 2"]:
    """The landmarks and ten points on the forehead, so that the warp covers `face_mask`."""
    brows = points[17:27]
    lift = FOREHEAD * (brows.mean(0) - points[33])
    return np.vstack([points, brows + lift]).astype(np.float32)


def delaunay(points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "t 3"]:
    """Triangles over the points, by index."""
    low, high = np.floor(points.min(0)) - 2, np.ceil(points.max(0)) + 3
    plane = cv2.Subdiv2D((0, 0, int(high[0] - low[0]), int(high[1] - low[1])))
    order: dict[int, int] = {}
    for i, p in enumerate(points - low):
        order.setdefault(plane.insert((float(p[0]), float(p[1]))), i)
    triangles = np.asarray(plane.getTriangleList()).reshape(-1, 3, 2) + low
    near = np.linalg.norm(triangles[:, :, None] - points[None, None], axis=3)
    return near.argmin(2)[near.min(2).max(1) < 0.01]


def piecewise_warp(
    source: UInt8[np.ndarray, "h w 3"], source_points: Float[np.ndarray, "n 2"], target_points: Float[np.ndarray, "n 2"],
    triangles: Int[np.ndarray, "t 3"], size_hw: tuple[int, int],
) -> UInt8[np.ndarray, "a b 3"]:  # fmt: skip
    """`source` bent so that its points fall on `target_points`, one affine map a triangle; black outside the triangles."""
    out = np.zeros((*size_hw, 3), np.uint8)
    bounds = np.array([size_hw[1], size_hw[0]])
    for t in triangles:
        a, b = source_points[t].astype(np.float32), target_points[t].astype(np.float32)
        low = np.clip(np.floor(b.min(0)).astype(int), 0, bounds)
        high = np.clip(np.ceil(b.max(0)).astype(int) + 1, 0, bounds)
        if (high <= low).any():
            continue
        to_local = cv2.getAffineTransform(a, (b - low).astype(np.float32))
        size_wh = (int(high[0] - low[0]), int(high[1] - low[1]))
        piece = cv2.warpAffine(source, to_local, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        inside = np.zeros(size_wh[::-1], np.uint8)
        cv2.fillConvexPoly(inside, np.round((b - low) * 16).astype(np.int32), 255, cv2.LINE_8, 4)
        window = out[low[1] : high[1], low[0] : high[0]]
        window[inside > 0] = piece[inside > 0]
    return out


class Classic:
    """See the module."""

    name = "classic"

    def __init__(self, photograph: Photograph) -> None:
        self._photo = photograph
        self._points = warp_points(photograph.points)
        self._triangles = delaunay(self._points)

    def frame(self, plate: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "68 2"]) -> UInt8[np.ndarray, "h w 3"]:
        """The plate with the photograph's face bent onto its landmarks."""
        h, w = plate.shape[:2]
        # seamlessClone wants the mask strictly inside; a cut-off face is left to the plate at the border.
        low = np.maximum(np.floor(points.min(0) - 0.5 * np.ptp(points, axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(points.max(0) + 0.2 * np.ptp(points, axis=0)).astype(int), [w, h])
        if (high - low < 24).any():
            return plate
        window = plate[low[1] : high[1], low[0] : high[0]]
        local = points - low
        mask = face_mask(local, window.shape[:2])
        mask[[0, 1, -1, -2]] = False
        mask[:, [0, 1, -1, -2]] = False
        if mask.sum() < 64:
            return plate
        face = piecewise_warp(self._photo.rgb8, self._points, warp_points(local), self._triangles, window.shape[:2])
        covered = mask & face.any(2)
        if covered.sum() < 64:
            return plate
        face = np.where(covered[..., None], recoloured(face, *mean_colour_gain(face, window, covered)), window)
        ys, xs = np.nonzero(mask)
        centre = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)
        out = plate.copy()
        out[low[1] : high[1], low[0] : high[0]] = cv2.seamlessClone(
            np.ascontiguousarray(face),
            np.ascontiguousarray(window),
            mask.astype(np.uint8) * 255,
            centre,
            cv2.NORMAL_CLONE,
        )
        return out
