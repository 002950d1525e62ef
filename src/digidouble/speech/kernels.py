"""The inner loop of alignment, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def walk(
    a: np.ndarray,
    b: np.ndarray,
    a_level: np.ndarray,
    b_level: np.ndarray,
    a_quiet: np.ndarray,
    pause: np.ndarray,
    centre: np.ndarray,
    half: int,
    costs: np.ndarray,
) -> tuple[np.ndarray, float]:  # pragma: no cover
    """Best path through the band: for every row of `a` its row of `b`. `costs`: stay, skip, silence, voiced silence, quiet speech, loudness."""
    n, m, d = a.shape[0], b.shape[0], a.shape[1]
    width = 2 * half + 1
    move = np.zeros((n, width), np.uint8)
    inf = 1e18
    before = np.full(width, inf)
    now = np.full(width, inf)
    for i in range(n):
        low = centre[i] - half
        shift = low - (centre[i - 1] - half) if i else 0
        for k in range(width):
            j = low + k
            now[k] = inf
            if j < 0 or j >= m:
                continue
            if pause[j]:
                local = costs[2] if a_quiet[i] else costs[3]
            else:
                s = 0.0
                for c in range(d):
                    e = a[i, c] - b[j, c]
                    s += e * e
                local = np.sqrt(s / (2 * d)) + costs[5] * abs(a_level[i] - b_level[j])
                if a_quiet[i] and b_level[j] > -1.2:
                    local += costs[4]
            if i == 0:
                if j <= 2:
                    now[k] = local
                continue
            best, step = inf, 0
            for back in range(4):
                kk = k + shift - back
                if kk < 0 or kk >= width or j - back < 0:
                    continue
                value = before[kk]
                if back == 0 and not pause[j]:
                    value += costs[0]
                elif back >= 2:
                    # leaving out a pause is free, leaving out speech is not
                    for left in range(1, back):
                        if not pause[j - left]:
                            value += costs[1]
                if value < best:
                    best, step = value, back
            if best < inf:
                now[k] = best + local
                move[i, k] = step
        before, now = now, before
    path = np.zeros(n, np.int64)
    low = centre[n - 1] - half
    k, best = 0, inf
    for kk in range(width):
        if low + kk >= m - 3 and low + kk < m and before[kk] < best:
            best, k = before[kk], kk
    if best >= inf:
        return path, inf
    for i in range(n - 1, -1, -1):
        path[i] = centre[i] - half + k
        if i:
            k = k + (centre[i] - centre[i - 1]) - move[i, k]
    return path, best / n
