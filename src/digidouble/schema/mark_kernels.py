"""Per-pixel loops of the invisible mark, compiled once and cached."""

from __future__ import annotations

import math

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=True)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@_jit
def colourfulness(rgb, triangle):
    """(sum over the face's pixels of the spread of the square roots of R, G, B; number of them)."""
    h, w = triangle.shape
    total, count = 0.0, 0
    for y in range(h):
        for x in range(w):
            if triangle[y, x] >= 0:
                r, g, b = max(rgb[y, x, 0], _ZERO), max(rgb[y, x, 1], _ZERO), max(rgb[y, x, 2], _ZERO)
                total += math.sqrt(max(r, g, b)) - math.sqrt(min(r, g, b))
                count += 1
    return total, count


@_jit
def _moved(value, step):
    """`value` with `step` added to its square root; what is below zero stays."""
    if value < _ZERO:
        return value
    root = max(np.float32(math.sqrt(value)) + step, _ZERO)
    return root * root


@_jit
def mark(rgb, triangle, bary, triangles, uv, step, darkest, out):
    """out = rgb with the square roots of R, G, B moved by step(uv). `uv` is in texels of `step`, which is side x side x 3."""
    h, w = triangle.shape
    last = np.float32(step.shape[0] - 1.001)
    for y in range(h):
        for x in range(w):
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            t = triangle[y, x]
            if t >= 0:
                w1, w2 = bary[y, x, 0], bary[y, x, 1]
                w0 = _ONE - w1 - w2
                i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                u = min(max(w0 * uv[i, 0] + w1 * uv[j, 0] + w2 * uv[k, 0], _ZERO), last)
                v = min(max(w0 * uv[i, 1] + w1 * uv[j, 1] + w2 * uv[k, 1], _ZERO), last)
                c, q = int(u), int(v)
                fu, fv = np.float32(u - c), np.float32(v - q)
                luma = np.float32(0.2126) * r + np.float32(0.7152) * g + np.float32(0.0722) * b
                share = min(_ONE, np.float32(math.sqrt(max(luma, _ZERO))) / darkest)
                a00, a01 = (_ONE - fu) * (_ONE - fv) * share, fu * (_ONE - fv) * share
                a10, a11 = (_ONE - fu) * fv * share, fu * fv * share
                near, far = step[q], step[q + 1]
                r = _moved(r, a00 * near[c, 0] + a01 * near[c + 1, 0] + a10 * far[c, 0] + a11 * far[c + 1, 0])
                g = _moved(g, a00 * near[c, 1] + a01 * near[c + 1, 1] + a10 * far[c, 1] + a11 * far[c + 1, 1])
                b = _moved(b, a00 * near[c, 2] + a01 * near[c + 1, 2] + a10 * far[c, 2] + a11 * far[c + 1, 2])
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = r, g, b
