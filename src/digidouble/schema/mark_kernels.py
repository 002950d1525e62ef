"""Per-pixel loops of the invisible mark, compiled once and cached."""

from __future__ import annotations

import math

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=True)


@_jit
def _luma(r, g, b):
    return np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b


@_jit
def _at(bary, y, x, corners, uv):
    w1, w2 = bary[y, x, 0], bary[y, x, 1]
    w0 = np.float32(1.0) - w1 - w2
    i, j, k = corners[0], corners[1], corners[2]
    return w0 * uv[i, 0] + w1 * uv[j, 0] + w2 * uv[k, 0], w0 * uv[i, 1] + w1 * uv[j, 1] + w2 * uv[k, 1]


@_jit
def cell_means(rgb, triangle, bary, triangles, uv, sums, counts):
    """Adds the square root of every pixel's luma to the cell of `sums` it lies in. `uv` is in cells."""
    h, w = triangle.shape
    side = sums.shape[0]
    for y in range(h):
        for x in range(w):
            t = triangle[y, x]
            if t < 0:
                continue
            u, v = _at(bary, y, x, triangles[t], uv)
            c, r = min(max(int(u), 0), side - 1), min(max(int(v), 0), side - 1)
            luma = _luma(rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2])
            sums[r, c] += np.float32(math.sqrt(max(luma, np.float32(0.0))))
            counts[r, c] += np.float32(1.0)


@_jit
def mark(rgb, triangle, bary, triangles, uv, step, darkest, out):
    """out = rgb with the square root of its luma moved by step(uv), hue kept. `uv` is in texels of `step`."""
    h, w = triangle.shape
    last = np.float32(step.shape[0] - 1.001)
    for y in range(h):
        for x in range(w):
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            gain = np.float32(1.0)
            t = triangle[y, x]
            luma = _luma(r, g, b)
            if t >= 0 and luma > np.float32(1e-6):
                u, v = _at(bary, y, x, triangles[t], uv)
                u, v = min(max(u, np.float32(0.0)), last), min(max(v, np.float32(0.0)), last)
                c, q = int(u), int(v)
                fu, fv = np.float32(u - c), np.float32(v - q)
                top = step[q, c] + fu * (step[q, c + 1] - step[q, c])
                low = step[q + 1, c] + fu * (step[q + 1, c + 1] - step[q + 1, c])
                root = np.float32(math.sqrt(luma))
                moved = root + (top + fv * (low - top)) * min(np.float32(1.0), root / darkest)
                moved = max(moved, np.float32(0.0))
                gain = moved * moved / luma
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = r * gain, g * gain, b * gain
