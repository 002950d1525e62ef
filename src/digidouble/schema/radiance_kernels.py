"""The march of rays through the shell around a face (numba). Plain arrays in and out; it releases the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit

# fastmath stays off: the same frame must give the same bits whichever worker renders it.


@njit(cache=True, nogil=True, inline="always")
def _corner(at, side):
    """First of the two texels around a position in texels, and how far towards the second."""
    at = min(max(at, np.float32(0)), np.float32(side) - np.float32(1.001))
    i = int(at)
    return i, np.float32(at - i)


@njit(cache=True, nogil=True, inline="always")
def _mixed(plane, x, y, channel):
    """Bilinear value of plane [h, w, c] at x, y in texels."""
    i, fx = _corner(x, plane.shape[1])
    j, fy = _corner(y, plane.shape[0])
    top = plane[j, i, channel] + fx * (plane[j, i + 1, channel] - plane[j, i, channel])
    low = plane[j + 1, i, channel] + fx * (plane[j + 1, i + 1, channel] - plane[j + 1, i, channel])
    return top + fy * (low - top)


@njit(cache=True, nogil=True)
def march(colour, density, tone, heights, slant, steepest, out, stopped):
    """Front-to-back compositing (Max 1995) along the ray of every texel.

    colour [s,s,3]; density [g,g,k]: optical depth of a step straight through; tone [g,g,k,3]: gain of a height; heights [k] in
    cm, falling; slant [g,g,3]: du, dv a centimetre of height and the cosine to the ray. Writes out [s,s,3] and stopped [s,s].
    What passes the whole shell meets the surface: `out` is straight colour.
    """
    side, coarse, count = colour.shape[0], density.shape[0], heights.shape[0]
    ratio, half, one = np.float32(coarse / side), np.float32(0.5), np.float32(1)
    total = np.empty(3, np.float32)
    for y in range(side):
        gy = (y + half) * ratio - half
        for x in range(side):
            gx = (x + half) * ratio - half
            du, dv = _mixed(slant, gx, gy, 0), _mixed(slant, gx, gy, 1)
            longer = one / max(_mixed(slant, gx, gy, 2), steepest)
            left = one
            total[0] = total[1] = total[2] = np.float32(0)
            for k in range(count):
                px, py = x + heights[k] * du * side, y + heights[k] * dv * side
                cx, cy = (px + half) * ratio - half, (py + half) * ratio - half
                here = left if k == count - 1 else np.float32(0)  # the surface itself lets nothing through
                depth = _mixed(density, cx, cy, k) * longer
                alpha = one - np.exp(-depth)
                if k == count - 1:
                    stopped[y, x] = one - left * (one - alpha)
                else:
                    here = left * alpha
                if here > np.float32(1e-4):
                    i, fx = _corner(cx, coarse)
                    j, fy = _corner(cy, coarse)
                    a, b = (one - fx) * (one - fy), fx * (one - fy)
                    c, d = (one - fx) * fy, fx * fy
                    for ch in range(3):
                        gain = (
                            a * tone[j, i, k, ch]
                            + b * tone[j, i + 1, k, ch]
                            + c * tone[j + 1, i, k, ch]
                            + d * tone[j + 1, i + 1, k, ch]
                        )
                        total[ch] += here * gain * _mixed(colour, px, py, ch)
                left -= here
            for ch in range(3):
                out[y, x, ch] = total[ch]
