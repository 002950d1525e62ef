"""Inner loops, compiled: colour conversion, called only by `schema.colour`, which documents the meaning, and those that walk over meshes.

Conventions: `roi` is (x0, y0, x1, y1) in luma pixels. `sx`, `sy` are the log2 chroma subsampling. `k` holds the
matrix: [y_offset, y_scale, c_mid, r_cr, g_cb, g_cr, b_cb | kr, kg, kb, y_gain, cb_gain, cr_gain], the first seven from
samples to R'G'B', the others back. Chroma is sited as in MPEG-2 4:2:0: on the even luma column, between the two rows.
The loops hold no lock, so render threads run side by side.
"""

from __future__ import annotations

import numba
import numpy as np

# The geometry of the tables of `schema.transfer`, written out and not imported: the cache of compiled code watches only
# this file and would miss a change there. A test compares them.
DECODE_LO, DECODE_STEPS_PER_UNIT, ENCODE_LOG2_LO = -1.25, 4096, -26

_ONE = np.float32(1)
_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_LO = np.float32(DECODE_LO)
_STEPS = np.float32(DECODE_STEPS_PER_UNIT)
_BASE_BITS = np.int32((ENCODE_LOG2_LO + 127) << 23)
_BASE_INV = np.float32(2.0**-ENCODE_LOG2_LO)

_jit = numba.njit(nogil=True, cache=True)
_part = numba.njit(nogil=True, cache=True)


@_part
def _light(v, table, last):
    """Table-interpolated R'G'B' -> linear."""
    t = min(max((v - _LO) * _STEPS, _ZERO), last)
    i = np.int32(t)
    a = table[i]
    return a + (t - np.float32(i)) * (table[i + 1] - a)


@_part
def _signal(x, table, shift, last):
    """Table-interpolated linear -> R'G'B'; the float's own exponent and leading mantissa bits are the index."""
    magnitude = abs(x)
    b = np.float32(magnitude).view(np.int32) - _BASE_BITS
    if b < 0:
        value = magnitude * (table[0] * _BASE_INV)
    else:
        i = b >> shift
        if i >= last:
            value = table[last]
        else:
            a = table[i]
            f = np.float32(b - (i << shift)) * np.float32(1.0 / (1 << shift))
            value = a + f * (table[i + 1] - a)
    return value if x >= 0 else -value


@_part
def _mix_chroma_rows(plane, row, sy, c0, n, mid, out):
    """Chroma at the height of luma row `row`, columns c0.. (clamped at the plane's edge), zero-centred."""
    rows, cols = plane.shape
    step = np.float32(1.0 / (1 << sy))
    pos = (np.float32(row) + _HALF) * step - _HALF
    r0 = int(np.floor(pos))
    w1 = pos - np.float32(r0)
    w0 = _ONE - w1
    r1 = min(max(r0 + 1, 0), rows - 1)
    r0 = min(max(r0, 0), rows - 1)
    inside = min(n, cols - c0)
    for i in range(inside):
        out[i] = w0 * np.float32(plane[r0, c0 + i]) + w1 * np.float32(plane[r1, c0 + i]) - mid
    for i in range(inside, n):
        out[i] = out[inside - 1]


@_jit
def linear_from_yuv(planes_y, planes_u, planes_v, roi, sx, sy, k, table, out):
    """Scene-linear RGB of a region of planar Y'CbCr into out (h, w, 3)."""
    x0, y0, x1, y1 = roi
    c0 = x0 >> sx
    n = ((x1 - 1) >> sx) - c0 + 2
    cb_row, cr_row = np.empty(n, np.float32), np.empty(n, np.float32)
    y_offset, y_scale, mid, r_cr, g_cb, g_cr, b_cb = k[0], k[1], k[2], k[3], k[4], k[5], k[6]
    mask = (1 << sx) - 1
    step = np.float32(1.0 / (1 << sx))
    last = np.float32(table.shape[0] - 1.01)
    for y in range(y0, y1):
        _mix_chroma_rows(planes_u, y, sy, c0, n, mid, cb_row)
        _mix_chroma_rows(planes_v, y, sy, c0, n, mid, cr_row)
        for x in range(x0, x1):
            i = (x >> sx) - c0
            f = np.float32(x & mask) * step
            cb = cb_row[i] + f * (cb_row[i + 1] - cb_row[i])
            cr = cr_row[i] + f * (cr_row[i + 1] - cr_row[i])
            luma = (np.float32(planes_y[y, x]) - y_offset) * y_scale
            out[y - y0, x - x0, 0] = _light(luma + r_cr * cr, table, last)
            out[y - y0, x - x0, 1] = _light(luma + g_cb * cb + g_cr * cr, table, last)
            out[y - y0, x - x0, 2] = _light(luma + b_cb * cb, table, last)


@_part
def _threshold(x, y, plane, dither):
    """What is added before flooring: 1/2, or a low-discrepancy pattern fixed to the pixel (Roberts' R2 lattice)."""
    if not dither:
        return _HALF
    h = (
        np.uint32(x) * np.uint32(3242174889)
        + np.uint32(y) * np.uint32(2447445414)
        + np.uint32(plane) * np.uint32(2654435769)
    )
    return np.float32(np.uint32(h) >> np.uint32(8)) * np.float32(1.0 / 16777216.0)


@_part
def _stepped(old, delta, threshold, quiet, top):
    """old + delta rounded to a code. A delta within table error is none at all, so equal colours stay bit-equal."""
    if -quiet < delta < quiet:
        return old
    value = np.int32(old) + np.int32(np.floor(delta + threshold))
    return min(max(value, 0), top)


@_part
def _bounded(value, old):
    """Keep a new signal within 0..1, or as far outside as the plate's own pixel already was."""
    return min(max(value, min(_ZERO, old)), max(_ONE, old))


@_jit
def write_yuv(old_y, old_u, old_v, new_y, new_u, new_v, roi, sx, sy, k, table, rgb, alpha, options):
    """Change new_* (copies of old_*) towards `rgb` wherever alpha > 0. options: (shift, quiet, top, dither)."""
    x0, y0, x1, y1 = roi
    shift, quiet, top, dither = options
    quiet = np.float32(quiet)
    height, width = old_y.shape
    c0 = x0 >> sx
    n = ((x1 - 1) >> sx) - c0 + 2
    cb_row, cr_row = np.empty(n, np.float32), np.empty(n, np.float32)
    cb_sum, cr_sum = np.zeros(n, np.float32), np.zeros(n, np.float32)
    touched = np.zeros(n, np.bool_)
    y_offset, y_scale, mid, r_cr, g_cb, g_cr, b_cb = k[0], k[1], k[2], k[3], k[4], k[5], k[6]
    kr, kg, kb, y_gain, cb_gain, cr_gain = k[7], k[8], k[9], k[10], k[11], k[12]
    mask = (1 << sx) - 1
    step = np.float32(1.0 / (1 << sx))
    last = table.shape[0] - 1
    for y in range(y0, y1):
        _mix_chroma_rows(old_u, y, sy, c0, n, mid, cb_row)
        _mix_chroma_rows(old_v, y, sy, c0, n, mid, cr_row)
        for x in range(x0, x1):
            if not alpha[y - y0, x - x0] > 0:
                continue
            r, g, b = rgb[y - y0, x - x0, 0], rgb[y - y0, x - x0, 1], rgb[y - y0, x - x0, 2]
            if not abs(r + g + b) < np.inf:  # a hole in the render must not become a white dot
                continue
            i = (x >> sx) - c0
            f = np.float32(x & mask) * step
            cb = cb_row[i] + f * (cb_row[i + 1] - cb_row[i])
            cr = cr_row[i] + f * (cr_row[i + 1] - cr_row[i])
            luma = (np.float32(old_y[y, x]) - y_offset) * y_scale
            r = _bounded(_signal(r, table, shift, last), luma + r_cr * cr)
            g = _bounded(_signal(g, table, shift, last), luma + g_cb * cb + g_cr * cr)
            b = _bounded(_signal(b, table, shift, last), luma + b_cb * cb)
            new_luma = kr * r + kg * g + kb * b
            cb_sum[i] += (b - new_luma) * cb_gain - cb
            cr_sum[i] += (r - new_luma) * cr_gain - cr
            touched[i] = True
            new_y[y, x] = _stepped(old_y[y, x], (new_luma - luma) * y_gain, _threshold(x, y, 0, dither), quiet, top)
        if ((y + 1) >> sy) != (y >> sy) or y == y1 - 1:
            cy = y >> sy
            rows = min((cy + 1) << sy, height) - (cy << sy)
            for i in range(n):
                if touched[i]:
                    cx = c0 + i
                    cols = min((cx + 1) << sx, width) - (cx << sx)
                    share = np.float32(1.0 / (rows * cols))
                    du, dv = cb_sum[i] * share, cr_sum[i] * share
                    new_u[cy, cx] = _stepped(old_u[cy, cx], du, _threshold(cx, cy, 1, dither), quiet, top)
                    new_v[cy, cx] = _stepped(old_v[cy, cx], dv, _threshold(cx, cy, 2, dither), quiet, top)
                touched[i] = False
                cb_sum[i] = _ZERO
                cr_sum[i] = _ZERO


@_jit
def linear_from_rgb(plane, roi, codes, out):
    """Scene-linear RGB of a region of packed R'G'B' codes into out (h, w, 3)."""
    x0, y0, x1, y1 = roi
    for y in range(y0, y1):
        for x in range(x0, x1):
            for c in range(3):
                out[y - y0, x - x0, c] = codes[plane[y, x, c]]


@_jit
def write_rgb(old, new, roi, table, rgb, alpha, options):
    """Change `new` (a copy of `old`, packed R'G'B' codes) towards `rgb` wherever alpha > 0."""
    x0, y0, x1, y1 = roi
    shift, quiet, top, dither = options
    quiet = np.float32(quiet)
    gain = np.float32(top)
    last = table.shape[0] - 1
    for y in range(y0, y1):
        for x in range(x0, x1):
            if not alpha[y - y0, x - x0] > 0:
                continue
            if not abs(rgb[y - y0, x - x0, 0] + rgb[y - y0, x - x0, 1] + rgb[y - y0, x - x0, 2]) < np.inf:
                continue
            for c in range(3):
                code = old[y, x, c]
                signal = _signal(rgb[y - y0, x - x0, c], table, shift, last)
                delta = signal * gain - np.float32(code)
                new[y, x, c] = _stepped(code, delta, _threshold(x, y, c, dither), quiet, top)


@_jit
def rgb8_from_yuv8(planes_y, planes_u, planes_v, sx, sy, m, out):
    """8-bit R'G'B' for looking at: nearest chroma. m: y_off, then [y_mul, r_cr, g_cb, g_cr, b_cb] << 16."""
    h, w = planes_y.shape
    y_off, y_mul, r_cr, g_cb, g_cr, b_cb = m[0], m[1], m[2], m[3], m[4], m[5]
    cols = planes_u.shape[1]
    r_row, g_row, b_row = np.empty(cols, np.int32), np.empty(cols, np.int32), np.empty(cols, np.int32)
    for y in range(h):
        if (y & ((1 << sy) - 1)) == 0:
            cy = y >> sy
            for i in range(cols):
                cb, cr = np.int32(planes_u[cy, i]) - 128, np.int32(planes_v[cy, i]) - 128
                r_row[i] = r_cr * cr + 32768
                g_row[i] = g_cb * cb + g_cr * cr + 32768
                b_row[i] = b_cb * cb + 32768
        for x in range(w):
            i = x >> sx
            luma = (np.int32(planes_y[y, x]) - y_off) * y_mul
            out[y, x, 0] = min(max((luma + r_row[i]) >> 16, 0), 255)
            out[y, x, 1] = min(max((luma + g_row[i]) >> 16, 0), 255)
            out[y, x, 2] = min(max((luma + b_row[i]) >> 16, 0), 255)


@_jit
def fill_triangles(points, triangles, out):
    """Sets out [h, w] to 255 where a pixel's centre lies in a triangle of points [n, 2], whichever way it faces."""
    h, w = out.shape
    for t in range(triangles.shape[0]):
        ax, ay = points[triangles[t, 0], 0], points[triangles[t, 0], 1]
        bx, by = points[triangles[t, 1], 0], points[triangles[t, 1], 1]
        cx, cy = points[triangles[t, 2], 0], points[triangles[t, 2], 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        for y in range(max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), h - 1) + 1):
            for x in range(max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), w - 1) + 1):
                u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                if u >= -1e-6 and v >= -1e-6 and u + v <= 1.000001:
                    out[y, x] = 255


@_jit
def interpolate(points, weights, covered, values, out):
    """out [h,w,d] = values [n,d] at the three points [h,w,3] of each texel by weights [h,w,3]; zero where not covered [h,w]."""
    h, w, d = out.shape
    for y in range(h):
        for x in range(w):
            if covered[y, x]:
                i, j, k = points[y, x, 0], points[y, x, 1], points[y, x, 2]
                a, b, c = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
                for n in range(d):
                    out[y, x, n] = a * values[i, n] + b * values[j, n] + c * values[k, n]
            else:
                for n in range(d):
                    out[y, x, n] = 0


@_jit
def add_triangle_normals(points, triangles, out):
    """Adds to each point of out [n,3] the normals of its triangles [t,3] over points [n,3], as long as twice their areas."""
    for corner in range(3):
        for t in range(triangles.shape[0]):
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, az = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
            bx, by, bz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
            n = triangles[t, corner]
            out[n, 0] += ay * bz - az * by
            out[n, 1] += az * bx - ax * bz
            out[n, 2] += ax * by - ay * bx


@_jit
def carry_over_triangles(points, triangles, values, out):
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
                        out[y, x, c] = (
                            values[i, c] + w1 * (values[j, c] - values[i, c]) + w2 * (values[k, c] - values[i, c])
                        )
                    out[y, x, 2] = 1.0
