"""Texture coordinates on a regular grid: which triangle each UV texel lies in, and where that is in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Int32

from digidouble.schema.kernels import interpolate
from digidouble.schema.mesh import BROWS, NOSTRILS, OUTER_LIPS, face_model


@dataclass(frozen=True)
class UvGrid:
    """A `size` x `size` grid over UV; texel (r, c) has uv = ((c + .5) / size, (r + .5) / size).

    `covered` texels lie in a skin triangle (openings included when asked for); `skin` excludes eyes, lips, brows, nostrils.
    """

    size: int
    triangle: Int32[np.ndarray, "g g"]
    points: Int32[np.ndarray, "g g 3"]
    weights: Float32[np.ndarray, "g g 3"]
    covered: Bool[np.ndarray, "g g"]
    skin: Bool[np.ndarray, "g g"]

    def carried(self, values: Float32[np.ndarray, "p c"]) -> Float32[np.ndarray, "g g c"]:
        """Per-point values (positions, normals, gains) interpolated to the texels; zero where nothing covers."""
        values = np.ascontiguousarray(values, np.result_type(values, np.float32))
        out = np.empty((self.size, self.size, values.shape[1]), values.dtype)
        interpolate(self.points, self.weights, self.covered, values, out)
        return out


@lru_cache(maxsize=8)
def uv_grid(size: int, openings: bool = True) -> UvGrid:
    """The grid of a given side."""
    m = face_model()
    triangles = m.all_triangles if openings else m.triangles
    uv = m.uv.astype(np.float64) * size - 0.5
    index = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    best = np.full((size, size), -np.inf)
    for k, t in enumerate(triangles):
        a, b, c = uv[t]
        x0, y0 = np.maximum(np.floor(np.minimum(np.minimum(a, b), c)).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(np.maximum(np.maximum(a, b), c)).astype(int), size - 1)
        if x1 < x0 or y1 < y0:
            continue
        xs, ys = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        w1 = ((xs - a[0]) * (c[1] - a[1]) - (ys - a[1]) * (c[0] - a[0])) / area
        w2 = ((b[0] - a[0]) * (ys - a[1]) - (b[1] - a[1]) * (xs - a[0])) / area
        w = np.stack([1 - w1 - w2, w1, w2], -1)
        inside = w.min(-1)
        window = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        take = (inside >= -1e-6) & (inside > best[window])
        index[window][take] = k
        weights[window][take] = w[take]
        best[window][take] = inside[take]
    covered = index >= 0
    points = triangles[np.maximum(index, 0)].astype(np.int32)
    feature = np.zeros(len(m.uv), bool)
    feature[np.concatenate([BROWS, OUTER_LIPS, NOSTRILS])] = True
    near_hole = m.hole_cm < 0.6
    skin = covered & ~(feature | near_hole)[points].any(-1) & (index < len(m.triangles))
    return UvGrid(size, index, points, weights, covered, skin)
