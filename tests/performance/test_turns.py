"""Heads that turn to profile and back: pose through it, regions that fade, and what must not happen on the way."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import TruthPerceiver, person, shoot, still

from digidouble.perception.view import change_between, fit_view, moved
from digidouble.performance import analyse, load_performance
from digidouble.performance.regions import MOST_STEP, bounded, region_view
from digidouble.performance.turns import sureness, turn_deg
from digidouble.schema.mesh import camera_normals, face_model
from digidouble.schema.pose import Pose
from digidouble.schema.regions import REGIONS, over_points, region_weights

N, SIZE, SCALE = 61, (320, 300), 13.0
FLATTENS_DEG, GUESSES_DEG = 42.0, 75.0


def region(name: str) -> int:
    return REGIONS.index(name)


class Saturating(TruthPerceiver):
    """A mesh network as the real one was measured: it reads no more than FLATTENS_DEG of a turn, and beyond GUESSES_DEG it guesses."""

    def mesh(self, rgb8, roi):
        i, take = self.frame_of(rgb8), self.shot.takes[0]
        points, score = super().mesh(rgb8, roi)
        yaw = float(take.yaw_deg[i])
        if abs(yaw) <= FLATTENS_DEG or score < 0.5:
            return points, score
        flat = still(
            take.who,
            1,
            tuple(take.origin_px[i]),
            float(take.px_per_cm[i]),
            yaw_deg=np.array([np.sign(yaw) * FLATTENS_DEG]),
        )
        noise = np.random.default_rng([7, i]).normal(0, 0.3, (478, 3))
        return (flat.points_px(0) + noise).astype(np.float32), 0.95 if abs(yaw) < GUESSES_DEG else 0.2


@pytest.fixture(scope="module", params=[1.0, -1.0], ids=["left", "right"])
def turned(request, tmp_path_factory):
    yaw = request.param * 88 * np.sin(np.pi * np.arange(N) / (N - 1))
    place = np.stack([160 + 6 * np.sin(np.arange(N) / 8), np.full(N, 140.0)], -1)
    take = still(person(3, texels=640), N, (0, 0), SCALE, yaw_deg=yaw, origin_px=place)
    shot = shoot([take], SIZE, grain=0.006)
    out = tmp_path_factory.mktemp("turn") / "turn.perf"
    return shot, load_performance(analyse(shot.footage(), out, perceiver=Saturating(shot, 0.3)))


def test_one_track_through_the_profile(turned):
    _, perf = turned
    assert [(t.frames.start, t.frames.end_exclusive) for t in perf.tracks] == [(0, N)]
    assert perf.tracks[0].presence.min() > 0.8


def test_pose_through_the_profile(turned):
    """What the network reads would be 46 degrees off at the top, and 33 on the way."""
    shot, perf = turned
    yaw = np.array([perf.tracks[0].pose(i).euler_deg[0] for i in range(N)])
    error = np.abs(yaw - shot.takes[0].yaw_deg)
    assert error.mean() < 4 and error.max() < 12, (error.mean(), error.max())
    assert np.abs(np.diff(yaw)).max() < 9  # 4.6 a frame is the truth


def test_near_half_is_where_it_is(turned):
    shot, perf = turned
    width = np.ptp(shot.points_px[0, 0, :, 0])
    for i in (12, 24, 30, 40):
        near = camera_normals(shot.points_px[i, 0])[:, 2] > 0.3
        off = np.linalg.norm((perf.tracks[0].sample(i).points_px - shot.points_px[i, 0])[near, :2], axis=1) / width
        assert off.mean() < 0.05, (i, off.mean())


def test_the_far_half_fades_the_near_half_stays(turned):
    shot, perf = turned
    track, side = perf.tracks[0], shot.takes[0].yaw_deg[N // 2] > 0
    far, near = ("left", "right") if side else ("right", "left")
    top = track.visibility[N // 2]
    for part in ("brow", "eye", "cheek", "jaw"):
        assert top[region(f"{part}_{far}")] < 0.1 and top[region(f"{part}_{near}")] > 0.9, (part, top)
    assert track.visibility[[0, -1]].min() > 0.99
    assert np.abs(np.diff(track.visibility, axis=0)).max() <= MOST_STEP + 1e-6  # never pops


def test_a_face_covered_in_profile_is_let_go(tmp_path):
    """What stands in front is not followed in its place."""
    n = 40
    yaw = np.clip(np.arange(n) * 5.0, 0, 70)
    cover = lambda i: (60, 20, 280, 290) if i >= 22 else None  # noqa: E731
    take = still(person(3, texels=640), n, (160, 140), SCALE, yaw_deg=yaw, occluder=cover)
    shot = shoot([take], SIZE, grain=0.006)

    class Blind(Saturating):
        def mesh(self, rgb8, roi):
            points, score = super().mesh(rgb8, roi)
            return points, score if self.frame_of(rgb8) < 22 else 0.05

        def detect(self, rgb8):
            return super().detect(rgb8) if self.frame_of(rgb8) < 22 else []

    track = load_performance(analyse(shot.footage(), tmp_path / "c.perf", perceiver=Blind(shot, 0.2))).tracks[0]
    assert track.frames.end_exclusive <= 22 + 6
    assert track.shown_at(n - 1) == 0


# --- parts -----------------------------------------------------------------------------------------------------------


def a_pose(yaw: float, pitch: float = 4.0) -> Pose:
    take = still(person(5), 1, (100, 80), 10.0, yaw_deg=np.array([yaw]), pitch_deg=np.array([pitch]))
    return Pose(take.rotation(0), 10.0, np.array([100.0, 80.0, 0.0]))


@pytest.mark.parametrize("yaw", [-80.0, -35.0, 0.0, 50.0, 85.0])
def test_fit_view_finds_the_turn_without_depth(yaw):
    """From 25 degrees beside it, with noise and a sixth of the points wrong by far."""
    rng, shape, true = np.random.default_rng(1), person(5).neutral_cm, a_pose(yaw)
    px = true.px_from_head(shape)[:, :2] + rng.normal(0, 0.3, (478, 2))
    px[::6] += rng.normal(0, 12, (80, 2))
    weight = (camera_normals(true.px_from_head(shape).astype(np.float32))[:, 2] > 0.1).astype(float)
    start = moved(true, np.array([0.1, np.radians(25), -0.05, 0.05, 0.3, -0.2]))
    found, _ = fit_view(px, shape, weight, start)
    off = change_between(true, found)
    assert np.degrees(np.linalg.norm(off[:3])) < 1.5 and abs(off[3]) < 0.01 and np.abs(off[4:]).max() < 0.05, off


def test_change_between_undoes_moved():
    pose, change = a_pose(30.0), np.array([0.1, -0.3, 0.2, 0.04, 0.5, -0.7])
    np.testing.assert_allclose(change_between(pose, moved(pose, change)), change, atol=1e-9)
    assert turn_deg(a_pose(-70.0, 0.0)) == pytest.approx(70)


def test_a_saturated_reading_counts_little_and_a_larger_one_much():
    assert sureness(10.0, 10.0, 1.0) == 1 and sureness(45.0, 70.0, 1.0) < 0.01
    assert sureness(60.0, 40.0, 1.0) >= 0.5 and sureness(10.0, 10.0, 0.3) == pytest.approx(0.3)


def test_regions_cover_the_face_softly():
    weights = region_weights()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert (weights.max(0) > 0.95).all()  # every region has a place of its own
    mirror, swap = face_model().mirror, [1, 0, 3, 2, 5, 4, 6, 8, 7, 10, 9]
    np.testing.assert_allclose(weights[mirror][:, swap], weights, atol=0.12)
    one = np.zeros(len(REGIONS))
    one[region("mouth_left")] = 1
    values, t = over_points(one), face_model().triangles
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]]])
    length = np.linalg.norm(face_model().mean_cm[edges[:, 0]] - face_model().mean_cm[edges[:, 1]], axis=1)
    assert (np.abs(np.diff(values[edges], axis=1))[:, 0] < 0.15 + 1.3 * length).all()  # no border is a step


def test_view_of_regions_by_yaw():
    views = {
        y: region_view(a_pose(y, 0.0).px_from_head(person(5).neutral_cm).astype(np.float32)[None])[0]
        for y in (0, 30, 85)
    }
    assert views[0].min() == 1 and views[30].min() > 0.9
    assert views[85][region("cheek_left")] == 0 and views[85][region("cheek_right")] == 1


def test_bounded_fades_before_what_it_hides():
    x = np.ones((40, 1))
    x[20] = 0
    out = bounded(x, 0.1)
    assert out[20] == 0 and np.abs(np.diff(out[:, 0])).max() <= 0.1 + 1e-6
    assert out[0] == out[-1] == 1 and (out <= x + 1e-6).all()


# --- leaving and coming back -----------------------------------------------------------------------------------------


def test_who_comes_back_is_known_by_identity(tmp_path):
    """One leaves to the right; another comes in where he left; then the first comes back from the left."""
    n = 66
    t = np.arange(n)
    x_first = np.where(t < 40, 110 + 8.0 * t, 20 + 8.0 * (t - 43))
    x_other = np.where(t < 28, 236 - 6.0 * (t - 15), 164 + 6.0 * (t - 28))
    y = np.full(n, 90.0)
    takes = [
        still(person(k), n, (0, 0), 7.0, origin_px=np.stack([x, y], -1), seen=(x > 30) & (x < 230))
        for k, x in ((3, x_first), (5, x_other))
    ]
    shot = shoot(takes, (260, 180), grain=0.004)
    perf = load_performance(analyse(shot.footage(), tmp_path / "b.perf", perceiver=TruthPerceiver(shot, 0.2)))
    assert len(perf.tracks) == 2, perf.tracks
    for k, take in enumerate(takes):
        track = max(perf.tracks, key=lambda found: float(found.identity @ takes[k].who.identity))
        inside = np.flatnonzero(take.seen)
        assert track.frames.start <= inside[0] + 10 and track.frames.end_exclusive == inside[-1] + 1
        for i in inside:
            if track.shown_at(int(i)) > 0.3:
                assert abs(track.sample(int(i)).points_px[:, 0].mean() - shot.points_px[i, k, :, 0].mean()) < 2
        assert np.abs(np.diff(track.presence)).max() <= 0.26  # no pop
