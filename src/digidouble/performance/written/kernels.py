"""The inner loop of the warp (numba)."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def carry(points, triangles, values, out):
    """Values [n,2] at points [n,2] (pixels of `out`) interpolated over triangles of either turn into out [h,w,3], whose third
    channel becomes 1 where a triangle is. Later triangles win."""
    h, w = out.shape[0], out.shape[1]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[i, 0], points[i, 1]
        bx, by = points[j, 0], points[j, 1]
        cx, cy = points[k, 0], points[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        x0, x1 = max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), w - 1)
        y0, y1 = max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), h - 1)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                w1 = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                w2 = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                if w1 >= -1e-6 and w2 >= -1e-6 and w1 + w2 <= 1.000001:
                    for c in range(2):
                        out[y, x, c] = values[i, c] + w1 * (values[j, c] - values[i, c]) + w2 * (values[k, c] - values[i, c])
                    out[y, x, 2] = 1.0
