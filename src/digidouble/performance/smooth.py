"""Two-sided smoothing of mesh points: no lag, and no smoothing where the face really moves.

For each point the choice between the raw position and two zero-phase averages (a 5-frame parabola, Savitzky & Golay 1964, and a
9-frame Gaussian) is a Wiener gain: noise variance over observed variance of what the average would remove. A blink or a
syllable is far above the tracker's noise and passes untouched; a still face is averaged over 9 frames.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import face_model

REACH = 8  # frames on each side that can matter: 4 for the kernel, 4 for the energy around it
NOISE_OF_WIDTH = 0.0022  # standard deviation of a tracked point, as a fraction of the face's width
_PARABOLA = np.array([-3, 12, 17, 12, -3]) / 35
_BELL = np.exp(-0.5 * (np.arange(-4, 5) / 2.0) ** 2)
_BELL /= _BELL.sum()


@lru_cache(maxsize=1)
def _neighbourhood() -> Float[np.ndarray, "478 478"]:
    """Row-stochastic Gaussian (1.2 cm) between points: motion is judged by region, not by single points."""
    m = face_model().mean_cm
    d2 = ((m[:, None] - m[None]) ** 2).sum(-1)
    k = np.exp(-0.5 * d2 / 1.2**2)
    return (k / k.sum(1, keepdims=True)).astype(np.float32)


def convolved(x: Float[np.ndarray, "n *c"], kernel: Float[np.ndarray, "k"]) -> Float[np.ndarray, "n *c"]:
    """Zero-phase convolution in time; at the ends the signal is continued point-symmetrically (keeps slopes)."""
    r = len(kernel) // 2
    n = len(x)
    if n == 1:
        return x.copy()
    reach = min(r, n - 1)
    head = 2 * x[0] - x[1 : reach + 1][::-1]
    tail = 2 * x[-1] - x[-reach - 1 : -1][::-1]
    padded = np.concatenate([np.repeat(head[:1], r - reach, 0), head, x, tail, np.repeat(tail[-1:], r - reach, 0)])
    out = np.zeros_like(x)
    for i, w in enumerate(kernel):
        out += w * padded[i : i + n]
    return out


def smooth_points(points_px: Float[np.ndarray, "n 478 3"], strength: float | int = 1.0) -> Float[np.ndarray, "n 478 3"]:
    """Smoothed copy. `strength` scales the assumed noise; 0 returns the input."""
    if strength <= 0 or len(points_px) < 3:
        return points_px.astype(np.float32)
    p = points_px.astype(np.float32)
    centre = p.mean(1, keepdims=True)
    local = p - centre
    # The width of nearby frames only, so that a window of a long track gives what the whole track would.
    width = convolved(np.ptp(p[..., 0], axis=1), np.ones(5) / 5)
    noise = (strength * NOISE_OF_WIDTH * width)[:, None]
    out = local
    for kernel in (_PARABOLA, _BELL):
        average = convolved(local, kernel)
        energy = ((local - average) ** 2)[..., :2].mean(-1)  # n, 478
        energy = np.einsum("nq,pq->np", convolved(energy, np.ones(5) / 5), _neighbourhood())
        removed = noise**2 * (1 - 2 * kernel[len(kernel) // 2] + (kernel**2).sum())
        gain = np.clip(removed / np.maximum(energy, 1e-9), 0, 1) ** 2
        # Full averaging up to the noise level, none beyond three times its variance.
        out = out + gain[..., None] * (average - out)
    # The mean of 478 points hardly jitters; the same rule with the noise of correlated errors.
    average = convolved(centre, _BELL)
    energy = convolved(((centre - average) ** 2)[..., :2].mean(-1, keepdims=True), np.ones(5) / 5)
    gain = np.clip((0.35 * noise[..., None]) ** 2 / np.maximum(energy, 1e-9), 0, 1)
    return (out + centre + gain * (average - centre)).astype(np.float32)
