"""Two-sided smoothing of mesh points: no lag, and no smoothing where the face really moves.

First (`stuck`) every point is tied to the skin: over the whole window its way is the one that agrees best, in least
squares, with where the mesh saw it in every frame and with how the pixels moved between frames (`skin_motion`). Then
(`smooth_points`), for what the pixels do not tell, the choice between the position and two zero-phase averages (a
5-frame parabola, Savitzky & Golay 1964, and a 9-frame Gaussian) is a Wiener gain: noise variance over observed variance
of what the average would remove. A blink or a syllable is far above the tracker's noise and passes untouched; a still
face is averaged over 9 frames.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from digidouble.performance.skin_motion import FAR_TRUST
from digidouble.schema.mesh import face_model

SMOOTH_REACH = 8  # frames on each side that matter to `smooth_points`: 4 for the kernel, 4 for the energy around it
# Frames on each side that matter in all. The influence of a frame on `stuck` points falls by at least 0.80 a frame (the
# smaller root of z - 2 + 1/z = 1/STIFFNESS): to 0.2 % over 28 frames, of corrections that are under a pixel.
REACH = SMOOTH_REACH + 28
STIFFNESS = 20.0  # weight of a fully trusted step between frames against that of one look of the mesh
DOUBT = 2.0  # in standard deviations of the mesh: a step that differs this much from the mesh's counts half or less
CALM = 0.7  # part of the assumed noise that is gone where steps are fully trusted
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


def stuck(
    points_px: Float[np.ndarray, "n 478 3"],
    carried_px: Float[np.ndarray, "n 478 2"],
    trust: Float[np.ndarray, "n 478"],
    strength: float | int = 1.0,
) -> Float[np.ndarray, "n 478 3"]:
    """Points whose way follows the skin. `carried_px`, `trust` (0..1): see `skin_motion`; row 0 of a run has no trust.

    With x = mesh + u: minimises sum |u_t|^2 + STIFFNESS trust_t |u_t - u_(t-1) - carried_t|^2, steps that contradict the
    mesh by much more than its noise (an object in front, a blink) discounted in one re-weighting round.
    """
    if strength <= 0 or len(points_px) < 2:
        return points_px.astype(np.float32)
    carried = carried_px.astype(np.float32)
    doubt = DOUBT * NOISE_OF_WIDTH * _width(points_px)[:, None]
    link = STIFFNESS * min(strength, 1.0) * trust.astype(np.float32)
    link[0] = 0
    unexplained = 0.6 * np.linalg.norm(carried, axis=-1)
    u = np.zeros_like(carried)
    for _ in range(2):
        u = _tied(carried, link / (1 + (unexplained / doubt) ** 4))
        unexplained = np.linalg.norm(np.diff(u, axis=0, prepend=u[:1]) - carried, axis=-1)
    out = points_px.astype(np.float32)
    out[..., :2] += u
    return out


def _tied(step: Float[np.ndarray, "n p 2"], link: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p 2"]:
    """u of min sum |u_t|^2 + link_t |u_t - u_(t-1) - step_t|^2: a tridiagonal system a point, all points at once (Thomas)."""
    n = len(step)
    after = np.concatenate([link[1:], np.zeros_like(link[:1])])
    pull = link[..., None] * step
    right = pull - np.concatenate([pull[1:], np.zeros_like(pull[:1])])
    diagonal = 1 + link + after
    for t in range(1, n):
        k = link[t] / diagonal[t - 1]
        diagonal[t] -= k * link[t]
        right[t] += k[:, None] * right[t - 1]
    out = np.empty_like(right)
    out[-1] = right[-1] / diagonal[-1][:, None]
    for t in range(n - 2, -1, -1):
        out[t] = (right[t] + after[t][:, None] * out[t + 1]) / diagonal[t][:, None]
    return out


def _width(points_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n"]:
    """Width of the face in pixels, of nearby frames only: a window of a long track gives what the whole track would."""
    return convolved(np.ptp(points_px[..., 0], axis=1).astype(np.float32), np.ones(5) / 5).clip(1.0)


def smooth_points(
    points_px: Float[np.ndarray, "n 478 3"],
    strength: float | int = 1.0,
    trust: Float[np.ndarray, "n 478"] | None = None,
) -> Float[np.ndarray, "n 478 3"]:
    """Smoothed copy. `strength` scales the assumed noise; 0 returns the input. `trust`: as for `stuck`, less noise is left there."""
    if strength <= 0 or len(points_px) < 3:
        return points_px.astype(np.float32)
    p = points_px.astype(np.float32)
    centre = p.mean(1, keepdims=True)
    local = p - centre
    noise = (strength * NOISE_OF_WIDTH * _width(p))[:, None] * np.ones((1, p.shape[1]), np.float32)
    if trust is not None:
        noise = noise * (1 - CALM * np.clip((trust - FAR_TRUST) / (1 - FAR_TRUST), 0, 1))
    common = noise.mean(1, keepdims=True)
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
    gain = np.clip((0.35 * common[..., None]) ** 2 / np.maximum(energy, 1e-9), 0, 1)
    return (out + centre + gain * (average - centre)).astype(np.float32)
