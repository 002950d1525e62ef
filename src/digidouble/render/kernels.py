"""The inner loops of the renderer (numba). Plain arrays in and out; every function releases the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit

# fastmath stays off: the same frame must give the same bits whichever worker renders it.


UNBENT = np.ones((1, 1, 5), np.float32)
"""No bend for `shade`."""


@njit(cache=True, nogil=True)
def rasterise(points, triangles, depth, index, bary):
    """Z-buffer of a mesh. points [n,3] in pixels of the buffers (z: smaller is nearer), front faces turn clockwise on screen.

    Writes depth [h,w], index [h,w] (triangle, -1 elsewhere) and bary [h,w,2] (weights of the 2nd and 3rd corner).
    A pixel is covered when its centre lies in the triangle; shared edges are covered once or twice, never left out.
    """
    h, w = depth.shape
    for y in range(h):
        for x in range(w):
            depth[y, x] = np.float32(np.inf)
            index[y, x] = -1
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= -1e-9:  # back face, or no area (counter-clockwise in y-up is clockwise, negative, in y-down)
            continue
        x0, x1 = max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), w - 1)
        y0, y1 = max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), h - 1)
        inv = 1.0 / area
        dx1, dx2 = (cy - ay) * inv, -(by - ay) * inv
        for y in range(y0, y1 + 1):
            w1 = ((x0 - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inv
            w2 = ((bx - ax) * (y - ay) - (by - ay) * (x0 - ax)) * inv
            for x in range(x0, x1 + 1):
                if w1 >= -1e-6 and w2 >= -1e-6 and w1 + w2 <= 1.000001:
                    z = az + w1 * (bz - az) + w2 * (cz - az)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        index[y, x] = t
                        bary[y, x, 0] = w1
                        bary[y, x, 1] = w2
                w1 += dx1
                w2 += dx2


@njit(cache=True, nogil=True, inline="always")
def _bilinear(picture, x, y, out, channels=3):  # a known number of channels: the loop is unrolled
    h, w = picture.shape[0], picture.shape[1]
    x = min(max(x, 0.0), w - 1.001)
    y = min(max(y, 0.0), h - 1.001)
    xi, yi = int(x), int(y)
    fx, fy = x - xi, y - yi
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    for ch in range(channels):
        out[ch] = (
            a * picture[yi, xi, ch]
            + b * picture[yi, xi + 1, ch]
            + c * picture[yi + 1, xi, ch]
            + d * picture[yi + 1, xi + 1, ch]
        )


@njit(cache=True, nogil=True, inline="always")
def _bilinear_one(picture, x, y):
    h, w = picture.shape
    x = min(max(x, 0.0), w - 1.001)
    y = min(max(y, 0.0), h - 1.001)
    xi, yi = int(x), int(y)
    fx, fy = x - xi, y - yi
    top = picture[yi, xi] + fx * (picture[yi, xi + 1] - picture[yi, xi])
    low = picture[yi + 1, xi] + fx * (picture[yi + 1, xi + 1] - picture[yi + 1, xi])
    return top + fy * (low - top)


@njit(cache=True, nogil=True)
def shade(
    index,
    bary,
    triangles,
    skin_triangles,
    vertex,
    atlas_a,
    atlas_b,
    mix,
    crease,
    bend,
    hidden,
    plate,
    iris,
    iris_gain,
    skin_luma,
    normals,
    toward,
    doublings,
    shine,
    rgb,
    alpha,
):
    """Colour and coverage of every covered pixel.

    The first `skin_triangles` are skin, the rest close the openings.
    vertex [n,12]: u, v (texels), gain r g b, alpha, inner (0 skin .. 1 opening), plate x, plate y, inner gain r g b.
    Skin comes from the atlases (a and b cross-faded by `mix`) times crease [g,g] (a gain over the same UV), openings from
    the plate itself at the plate's own mesh. bend [b,b,5], over the same UV: where to read the atlases beside (x, y as shares of
    their side), and a gain r g b; nothing of it when b is 1. hidden [g,g], over the same UV, is what stays in front of the face.
    iris [2,4]: centre x, y and radius in this buffer's pixels, and how far it shows; inside, colour is scaled by iris_gain [3] where it is darker
    than skin_luma (lids and the white of the eye are not iris).
    normals [n,3], unit vectors, toward [n], their cosine to the half vector: on skin, shine [3] x cosine to the power of
    2 ** doublings is added (Blinn 1977), where that is more than a few thousandths.
    """
    h, w = index.shape
    skin, other, inside = np.empty(3), np.empty(3), np.empty(3)
    bent, bends = np.empty(5), bend.shape[0] > 1
    to_crease, to_bend = crease.shape[0] / atlas_a.shape[0], bend.shape[0] / atlas_a.shape[0]
    v = np.empty(vertex.shape[1])
    shines = shine[0] + shine[1] + shine[2] > 0.0
    least = 0.002 ** (1.0 / 2**doublings)
    for y in range(h):
        for x in range(w):
            t = index[y, x]
            if t < 0:
                alpha[y, x] = 0.0
                rgb[y, x, 0] = rgb[y, x, 1] = rgb[y, x, 2] = 0.0
                continue
            w1, w2 = bary[y, x, 0], bary[y, x, 1]
            w0 = 1.0 - w1 - w2
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            for c in range(v.shape[0]):
                v[c] = w0 * vertex[i, c] + w1 * vertex[j, c] + w2 * vertex[k, c]
            inner = min(max(v[6], 0.0), 1.0)
            inner = inner * inner * (3.0 - 2.0 * inner) if t < skin_triangles else 1.0
            if inner < 1.0:
                at_x, at_y = v[0], v[1]
                if bends:
                    _bilinear(bend, v[0] * to_bend - 0.5, v[1] * to_bend - 0.5, bent, 5)
                    at_x += bent[0] * atlas_a.shape[0]
                    at_y += bent[1] * atlas_a.shape[0]
                _bilinear(atlas_a, at_x - 0.5, at_y - 0.5, skin)
                if mix > 0.0:
                    _bilinear(atlas_b, at_x - 0.5, at_y - 0.5, other)
                    for c in range(3):
                        skin[c] += mix * (other[c] - skin[c])
                if bends:
                    for c in range(3):
                        skin[c] *= bent[2 + c]
                fold = _bilinear_one(crease, v[0] * to_crease - 0.5, v[1] * to_crease - 0.5)
                for c in range(3):
                    skin[c] *= v[2 + c] * fold
                if shines:
                    dot = w0 * toward[i] + w1 * toward[j] + w2 * toward[k]
                    if dot > least:
                        size = 0.0
                        for c in range(3):
                            n = w0 * normals[i, c] + w1 * normals[j, c] + w2 * normals[k, c]
                            size += n * n
                        # The square of the cosine first: the root of the normal's length is never taken.
                        lobe = dot * dot / size
                        for _ in range(doublings - 1):
                            lobe *= lobe
                        for c in range(3):
                            skin[c] += lobe * shine[c] * fold
            else:
                skin[0] = skin[1] = skin[2] = 0.0
            if inner > 0.0:
                _bilinear(plate, v[7], v[8], inside)
                for c in range(3):
                    inside[c] *= v[9 + c]
                luma = 0.2126 * inside[0] + 0.7152 * inside[1] + 0.0722 * inside[2]
                dark = min(max((0.8 * skin_luma - luma) / max(0.3 * skin_luma, 1e-6), 0.0), 1.0)
                for e in range(2):
                    d = np.sqrt((x - iris[e, 0]) ** 2 + (y - iris[e, 1]) ** 2) / max(iris[e, 2], 1e-3)
                    if d < 1.15:
                        # The pupil is black in everybody; the colour lives between it and the limbus.
                        m = (
                            iris[e, 3]
                            * dark
                            * min(max((1.1 - d) / 0.2, 0.0), 1.0)
                            * min(max((d - 0.2) / 0.2, 0.0), 1.0)
                        )
                        for c in range(3):
                            inside[c] *= 1.0 + m * (iris_gain[c] - 1.0)
            else:
                inside[0] = inside[1] = inside[2] = 0.0
            for c in range(3):
                rgb[y, x, c] = skin[c] + inner * (inside[c] - skin[c])
            alpha[y, x] = v[5] * (1.0 - _bilinear_one(hidden, v[0] * to_crease - 0.5, v[1] * to_crease - 0.5))
