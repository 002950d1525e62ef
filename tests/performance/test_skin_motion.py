"""Points that stick to skin: pixels measure how a face moved, and tracks follow it without jitter, lag or lost blinks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from synthetic import FRONT_LIGHT, background, bump, encoded, person, render_face, still

from digidouble.performance.skin_motion import skin_motion, skin_view
from digidouble.performance.smooth import REACH, smooth_points, stuck
from digidouble.schema.mesh import LID_PAIRS

SIZE = (420, 420)
SCALE = 23.0  # a face 300 px wide
# Of a look of the mesh, pixels, at 300: what the network shows on a still photograph with grain and compression (0.30 and
# 0.38 on two faces), and what smoothing assumes, nearly twice that.
SEEN_NOISE, NOISE = 0.4, 0.0022 * 300


def filmed(take, i: int, noise: float = 0.015, quality: int = 80) -> np.ndarray:
    """An 8-bit picture with camera noise, through JPEG."""
    colour, cover = render_face(take.points_px(i), take.who.albedo, FRONT_LIGHT, SIZE)
    picture = encoded(colour * cover[..., None] + background(SIZE, 1) * (1 - cover[..., None]))
    picture = picture + np.random.default_rng([i, 7]).normal(0, noise, SIZE[::-1])[..., None]
    code = cv2.imencode(
        ".jpg", np.round(255 * picture.clip(0, 1)).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return cv2.imdecode(code[1], cv2.IMREAD_COLOR)


def tracked(take, n: int, noise_px: float = NOISE, seed: int = 0):
    """(truth, looks of the mesh, carried, trust) of a take."""
    truth = np.stack([take.points_px(i) for i in range(n)]).astype(np.float32)
    looks = truth + np.random.default_rng(seed).normal(0, noise_px, truth.shape).astype(np.float32)
    carried, trust = np.zeros((n, 478, 2), np.float32), np.zeros((n, 478), np.float32)
    before = None
    for i in range(n):
        view = skin_view(filmed(take, i), looks[i])
        if before is not None:
            carried[i], trust[i] = skin_motion(before, view)
        before = view
    return truth, looks, carried, trust


def finished(looks, carried, trust) -> np.ndarray:
    return smooth_points(stuck(looks, carried, trust), 1.0, trust)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.fixture(scope="module")
def quiet():
    n = 32
    return tracked(still(person(3), n, (210, 150), SCALE), n, SEEN_NOISE)


@pytest.fixture(scope="module")
def lively():
    """Fast turns and shifts (12 px a frame at most), jaw and blinks."""
    n = 32
    t = np.arange(n)
    blink = np.zeros(n)
    blink[[12, 14]], blink[13] = 0.6, 1.0
    take = still(
        person(3), n, (0, 0), SCALE, yaw_deg=22 * np.sin(t / 5.0),
        origin_px=np.stack([210 + 35 * np.sin(t / 3.0), 150 + 8 * np.cos(t / 4.0)], -1),
        actions={"jaw_drop": 0.8 * bump(n, 20, 10), "lid_close_L": blink, "lid_close_R": blink},
    )  # fmt: skip
    return tracked(take, n)


def test_a_still_face_is_still(quiet):
    """0.15 px of jitter at a width of 300 px, with noise and compression."""
    truth, looks, carried, trust = quiet
    assert 280 < np.ptp(truth[0, :, 0]) < 330
    x = finished(looks, carried, trust)
    jitter = rms((x - x.mean(0))[4:-4, :468, :2])
    assert rms((looks - truth)[..., :2]) > 0.35
    assert jitter <= 0.15, jitter
    assert jitter < rms((smooth_points(looks) - truth)[4:-4, :468, :2])


def test_the_pixels_know_the_motion(lively):
    """Where they are trusted, steps between frames are known several times better than the mesh knows them."""
    truth, looks, carried, trust = lively
    said = carried[1:] + (looks[1:, :, :2] - looks[:-1, :, :2])
    sure = trust[1:] > 0.9
    assert sure.mean() > 0.15
    wrong = np.linalg.norm(said - np.diff(truth[..., :2], axis=0), axis=-1)[sure]
    mesh = np.linalg.norm(np.diff((looks - truth)[..., :2], axis=0), axis=-1)[sure]
    assert np.median(wrong) < 0.4 * np.median(mesh), (np.median(wrong), np.median(mesh))


def test_fast_motion_is_no_worse_than_the_mesh(lively):
    truth, looks, carried, trust = lively
    x = finished(looks, carried, trust)
    assert rms((x - truth)[..., :2]) < 0.75 * rms((looks - truth)[..., :2])
    assert rms((x - truth)[..., :2]) <= rms((smooth_points(looks) - truth)[..., :2])


def test_every_channel_without_lag(lively):
    """Against truth shifted by -3..3 frames, every moving coordinate fits best unshifted."""
    truth, looks, carried, trust = lively
    x = finished(looks, carried, trust)
    n = len(x)
    lags = np.arange(-3, 4)
    error = np.stack([((x[3 : n - 3] - truth[3 + k : n - 3 + k])[..., :2] ** 2).mean(0) for k in lags])
    moving = np.ptp(truth[..., :2], axis=0) > 5
    assert moving.mean() > 0.7
    assert (lags[error.argmin(0)][moving] == 0).all()


def test_blinks_close_as_far_as_before(lively):
    truth, looks, carried, trust = lively
    upper, lower = np.array(LID_PAIRS).reshape(-1, 2).T

    def gap(p: np.ndarray) -> np.ndarray:
        return (p[:, lower, 1] - p[:, upper, 1]).mean(1)

    x = finished(looks, carried, trust)
    assert gap(truth)[13] < 0.5 * gap(truth)[5]  # the take does blink
    assert abs(gap(x)[13] - gap(truth)[13]) < 0.06 * (gap(truth)[5] - gap(truth)[13]) + 0.1
    assert int(gap(x)[9:18].argmin()) == 4


def test_a_hand_that_sweeps_past_does_not_take_the_face_along():
    """Steps that contradict the mesh are discounted."""
    n = 40
    looks = np.tile(still(person(1), 1, (120, 80)).points_px(0).astype(np.float32), (n, 1, 1))
    carried, trust = np.zeros((n, 478, 2), np.float32), np.ones((n, 478), np.float32)
    carried[18:22, :200] = (6.0, 0.0)
    x = stuck(looks, carried, trust)
    assert np.abs(x - looks).max() < 0.2


def test_solution_is_the_least_squares_one():
    """Against a dense solver, for steps too small to be doubted."""
    rng = np.random.default_rng(0)
    n = 14
    looks = np.tile(still(person(1), 1, (120, 80)).points_px(0).astype(np.float32), (n, 1, 1))
    carried = rng.normal(0, 1e-3, (n, 478, 2)).astype(np.float32)
    trust = rng.uniform(0, 1, (n, 478)).astype(np.float32)
    u = stuck(looks, carried, trust) - looks
    from digidouble.performance.smooth import STIFFNESS

    for p in (0, 77, 470):
        rows, right = [np.eye(n)], [np.zeros((n, 2))]
        for t in range(1, n):
            w = np.sqrt(STIFFNESS * trust[t, p])
            row = np.zeros((1, n))
            row[0, t], row[0, t - 1] = w, -w
            rows.append(row)
            right.append(w * carried[t : t + 1, p])
        want = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
        np.testing.assert_allclose(u[:, p, :2], want, atol=3e-5)
    assert (u[..., 2] == 0).all()


def test_windows_agree_to_below_visibility():
    """Frames beyond REACH move a point by less than 0.02 px."""
    rng = np.random.default_rng(3)
    n = 2 * REACH + 40
    looks = np.tile(still(person(1), 1, (210, 150), SCALE).points_px(0).astype(np.float32), (n, 1, 1))
    looks[..., :2] += np.cumsum(rng.normal(0, 0.2, (n, 478, 2)), 0).astype(np.float32)
    carried = rng.normal(0, 0.6, (n, 478, 2)).astype(np.float32)
    trust = np.ones((n, 478), np.float32)
    whole = finished(looks, carried, trust)
    lo, hi = REACH + 10, REACH + 30
    part = slice(lo - REACH, hi + REACH)
    worst = np.abs(finished(looks[part], carried[part], trust[part])[REACH:-REACH] - whole[lo:hi]).max()
    assert worst < 0.02, worst


def test_no_strength_changes_nothing_and_short_runs_pass():
    looks = still(person(1), 1, (120, 80)).points_px(0).astype(np.float32)[None]
    zero, none = np.zeros((1, 478, 2), np.float32), np.zeros((1, 478), np.float32)
    assert (stuck(looks, zero, none) == looks).all()
    two = np.repeat(looks, 2, 0)
    assert (stuck(two, np.repeat(zero, 2, 0) + 1, np.repeat(none, 2, 0) + 1, 0.0) == two).all()


def test_turned_away_skin_says_little():
    """On a profile the hidden cheek is not measured, nor are lids and lips, ever."""
    take = still(person(3), 2, (210, 150), SCALE, yaw_deg=np.array([60.0, 62.0]))
    views = [skin_view(filmed(take, i), take.points_px(i).astype(np.float32)) for i in range(2)]
    _, trust = skin_motion(*views)
    from digidouble.schema.mesh import camera_normals

    hidden = camera_normals(take.points_px(0).astype(np.float32))[:, 2] < 0
    assert hidden.sum() > 60 and trust[hidden].max() <= 0.6 < trust[~hidden].max()
    assert trust[[159, 145, 386, 374, 13, 14, 468, 473]].max() <= 0.6
