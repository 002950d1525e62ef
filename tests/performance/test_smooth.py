"""Smoothing in time: jitter goes, blinks and syllables stay, nothing lags."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import bump, person, still

from digidouble.performance.smooth import SMOOTH_REACH, convolved, smooth_points

N = 60


def noisy(take, sigma: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = len(take.yaw_deg)
    return (np.stack([take.points_px(i) for i in range(n)]) + rng.normal(0, sigma, (n, 478, 3))).astype(np.float32)


def jitter(points: np.ndarray) -> float:
    """Root mean square of frame-to-frame change of points, about the head's own movement (pixels)."""
    local = points[..., :2] - points[..., :2].mean(1, keepdims=True)
    return float(np.sqrt(np.mean(np.diff(local, axis=0)[8:-8] ** 2)))


def test_a_still_face_stops_shivering():
    points = noisy(still(person(1), N, (120, 80)), 0.28)  # tracker noise of 0.22 % of a 125 px face
    assert jitter(smooth_points(points)) < jitter(points) / 2, (jitter(smooth_points(points)), jitter(points))


def test_strength_is_ordered_and_zero_changes_nothing():
    points = noisy(still(person(1), N, (120, 80)), 0.4)
    assert smooth_points(points, 0) is points or (smooth_points(points, 0) == points).all()
    levels = [jitter(smooth_points(points, s)) for s in (0, 0.5, 1, 2)]
    assert levels == sorted(levels, reverse=True), levels


@pytest.mark.parametrize("sigma", [0.0, 0.28])
def test_a_three_frame_blink_survives(sigma):
    """Lids closed for three frames between open ones: at least 95 % of the opening's swing is kept, in the same frames."""
    curve = np.zeros(N)
    curve[29:32] = 1.0
    take = still(person(1), N, (120, 80), scale=10.0, actions={"lid_close_L": curve, "lid_close_R": curve})
    points = noisy(take, sigma)
    out = smooth_points(points)

    def gap(p: np.ndarray) -> np.ndarray:
        return (p[:, [145, 374], 1] - p[:, [159, 386], 1]).mean(1)

    truth = np.stack([take.points_px(i) for i in range(N)])
    swing = np.median(gap(truth)) - gap(truth).min()
    kept = (np.median(gap(out)[:20]) - gap(out)[29:32].mean()) / swing
    assert kept > 0.95, kept
    assert int(gap(out).argmin()) in (29, 30, 31)


def test_no_lag():
    """Cross-correlation of smoothed and true jaw peaks at 0 frames."""
    curve = 0.8 * bump(N, 18, 14) + 0.6 * bump(N, 36, 9) + 0.4 * bump(N, 48, 12)
    take = still(person(1), N, (120, 80), actions={"jaw_drop": curve})
    out = smooth_points(noisy(take, 0.28))
    x, y = out[:, 152, 1] - out[:, 6, 1], curve
    x, y = x - x.mean(), y - y.mean()
    lags = range(-6, 7)
    score = [float((x[6 + k : N - 6 + k] * y[6 : N - 6]).sum()) for k in lags]
    assert lags[int(np.argmax(score))] == 0


def test_head_turns_and_translations_pass():
    t = np.arange(N)
    take = still(
        person(1),
        N,
        (120, 80),
        yaw_deg=25 * np.sin(t / 6),
        origin_px=np.stack([120 + 30 * np.sin(t / 5), np.full(N, 80)], -1),
    )
    truth = noisy(take, 0.0)
    out = smooth_points(noisy(take, 0.28))
    error = np.linalg.norm((out - truth)[..., :2], axis=-1)
    assert np.sqrt((error**2).mean()) < 0.5, np.sqrt((error**2).mean())


def test_constant_and_line_pass_exactly():
    kernel = np.ones(5) / 5
    x = np.linspace(0, 3, 20)[:, None] * [1.0, -2.0] + 4
    np.testing.assert_allclose(convolved(x, kernel), x, atol=1e-9)  # point-symmetric ends keep slopes
    np.testing.assert_allclose(convolved(np.full((7, 2), 3.0), kernel), 3.0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_convolution_equals_its_definition(n):
    rng = np.random.default_rng(n)
    x, kernel = rng.normal(size=n), rng.uniform(size=9)

    def at(i: int) -> float:
        reach = min(4, n - 1)
        if i < 0:
            return 2 * x[0] - x[min(-i, reach)]
        if i >= n:
            return 2 * x[-1] - x[n - 1 - min(i - n + 1, reach)]
        return x[i]

    want = [x[0]] if n == 1 else [sum(kernel[k] * at(i + k - 4) for k in range(9)) for i in range(n)]
    np.testing.assert_allclose(convolved(x, kernel), want)


def test_frames_beyond_reach_do_not_matter():
    """The promise that lets a long track be finished in windows."""
    points = noisy(still(person(1), N, (120, 80)), 0.3)
    whole = smooth_points(points)
    lo, hi = 20, 30
    part = smooth_points(points[lo - SMOOTH_REACH : hi + SMOOTH_REACH])[SMOOTH_REACH:-SMOOTH_REACH]
    np.testing.assert_allclose(part, whole[lo:hi], atol=2e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_short_runs(n):
    points = noisy(still(person(1), n, (120, 80)), 0.3)
    out = smooth_points(points)
    assert out.shape == points.shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert np.abs(out - points).max() < 3
