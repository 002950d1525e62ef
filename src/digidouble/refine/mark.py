"""The invisible mark, put on a double: its skin a little lighter or darker, cell by cell (`schema.mark`).

The change is laid where the reader gains most by it, on smooth skin, and left out where hair or lashes drown it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Int32

from digidouble.schema.layers import Layer
from digidouble.schema.mark import CELLS, against_surround, mark_cells
from digidouble.schema.mesh import face_model

# Change of a cell in 8-bit display codes (of luma, square root as encoding): most where the skin around it is smooth, for there the
# reader gains most by it; scaled so that its root mean square over the face is RMS.
RMS, MOST, MOST_OF_CONTRAST, LIMIT, SMOOTH = 2.35, 2.4, 0.4, 4.0, 0.7
DARKEST = 0.06  # square root of light below which the change shrinks with it: shadows are not lifted
TEXELS_A_CELL = 4


def add_mark(layer: Layer, payload: int) -> Layer:
    """The layer with `payload` (0..2^24-1, see `schema.mark.payload_of`) in its colour; alpha and shape as they were."""
    from digidouble.schema import mark_kernels as kernels

    uv = _uv()
    sums, counts = np.zeros((CELLS, CELLS), np.float32), np.zeros((CELLS, CELLS), np.float32)
    triangles = _triangles()
    kernels.cell_means(layer.rgb, layer.triangle, layer.barycentric, triangles, uv * np.float32(CELLS), sums, counts)
    if not counts.any():
        return layer
    side = CELLS * TEXELS_A_CELL
    step = cv2.resize(_steps(sums, counts, payload), (side, side), interpolation=cv2.INTER_NEAREST)
    step = cv2.GaussianBlur(step, (0, 0), 0.2 * TEXELS_A_CELL)
    out = np.empty_like(layer.rgb)
    at = uv * np.float32(side) - np.float32(0.5)
    kernels.mark(layer.rgb, layer.triangle, layer.barycentric, triangles, at, step, np.float32(DARKEST), out)
    return replace(layer, rgb=out)


def _steps(
    sums: Float32[np.ndarray, "c c"], counts: Float32[np.ndarray, "c c"], payload: int
) -> Float32[np.ndarray, "c c"]:
    """Change of display luma (0..1) of every cell."""
    signs, seen = mark_cells(payload).astype(np.float32), (counts > 0).astype(np.float32)
    _, contrast = against_surround(255 * sums / np.maximum(counts, 1), seen)
    wish, share = 1 / (contrast + SMOOTH), counts / counts.sum()
    most = np.minimum(MOST + MOST_OF_CONTRAST * contrast, LIMIT)  # texture hides more
    low, high = 0.0, 64.0
    for _ in range(12):  # the scale at which the capped wishes have the power allowed
        scale = 0.5 * (low + high)
        power = float((np.minimum(scale * wish, most) ** 2 * share).sum())
        low, high = (scale, high) if power < RMS * RMS else (low, scale)
    return (signs * np.minimum(low * wish, most) / 255).astype(np.float32)


@lru_cache(maxsize=1)
def _triangles() -> Int32[np.ndarray, "t 3"]:
    return np.ascontiguousarray(face_model().all_triangles.astype(np.int32))


@lru_cache(maxsize=1)
def _uv() -> Float32[np.ndarray, "478 2"]:
    return face_model().uv.astype(np.float32)
