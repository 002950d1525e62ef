"""The invisible mark, put on a double: its skin a little yellower or bluer, greener or redder, cell by cell (`schema.mark`)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Int32

from digidouble.schema.layers import Layer
from digidouble.schema.mark import CELLS, RGB_OF_PLANE, mark_cells
from digidouble.schema.mesh import face_model

# Change of a cell in 8-bit display codes (square root as encoding) of the two colour differences, on a face AT_PX wide. More blue than
# red: eyes see it worse. Larger faces take less, for their cells are coarser and better seen, and codecs keep those better.
COLOUR, AT_PX, LEAST, MOST = (2.2, 1.4), 180.0, 0.85, 1.4
LUMA = 2.4  # where there is no colour to hide in: black and white plates would show a tint
GRAY, COLOURED = 6.0, 16.0  # mean spread of R, G, B over the face, in codes; skin has 40 and more
DARKEST = 0.06  # square root of light below which the change shrinks with it: shadows are not lifted
TEXELS_A_CELL, SOFT = 6, 0.25  # of a cell


def add_mark(layer: Layer, payload: int) -> Layer:
    """The layer with `payload` (0..2^24-1, see `schema.mark.payload_of`) in its colour; alpha and shape as they were."""
    from digidouble.schema import mark_kernels as kernels

    spread, count = kernels.colourfulness(layer.rgb, layer.triangle)
    if count == 0:
        return layer
    coloured = float(np.clip((255 * spread / count - GRAY) / (COLOURED - GRAY), 0, 1))
    side = CELLS * TEXELS_A_CELL
    width_px = 1.1 * np.sqrt(count)  # of a face that is seen whole
    coloured_by = coloured * float(np.clip(np.sqrt(AT_PX / width_px), LEAST, MOST))
    amounts = np.array([COLOUR[0] * coloured_by, COLOUR[1] * coloured_by, LUMA * (1 - coloured)], np.float32) / 255
    step = np.ascontiguousarray(_planes(payload) @ (amounts[:, None] * np.array(RGB_OF_PLANE, np.float32)))
    out = np.empty_like(layer.rgb)
    at = _uv() * np.float32(side) - np.float32(0.5)
    kernels.mark(layer.rgb, layer.triangle, layer.barycentric, _triangles(), at, step, np.float32(DARKEST), out)
    return replace(layer, rgb=out)


@lru_cache(maxsize=8)  # deliveries rendered beside each other
def _planes(payload: int) -> Float32[np.ndarray, "s s 3"]:
    """The signs of the three planes as a soft texture."""
    side = CELLS * TEXELS_A_CELL
    fields = [
        cv2.resize(plane.astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST)
        for plane in mark_cells(payload)
    ]
    return np.stack([cv2.GaussianBlur(f, (0, 0), SOFT * TEXELS_A_CELL) for f in fields], -1)


@lru_cache(maxsize=1)
def _triangles() -> Int32[np.ndarray, "t 3"]:
    return np.ascontiguousarray(face_model().all_triangles.astype(np.int32))


@lru_cache(maxsize=1)
def _uv() -> Float32[np.ndarray, "478 2"]:
    return face_model().uv.astype(np.float32)
