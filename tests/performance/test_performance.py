"""Plate to `.perf` with truth in place of networks: pose, actions, light, presence, joins, cuts, and the file itself."""

from __future__ import annotations

import sys
import time
import tracemalloc

import numpy as np
import pytest
from synthetic import FRONT_LIGHT, TruthPerceiver, action_index, bump, person, shoot, still

from digidouble.errors import CastingError, MediaError, SettingsError, UnreadableMedia
from digidouble.perception.veil import Dark
from digidouble.performance import analyse, load_performance
from digidouble.performance.finish import Finished, Span, _hold
from digidouble.performance.settings import PerformSettings
from digidouble.performance.tracklets import UNREAD
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.track import SKIN_GRID

SIZE = (200, 176)
ARRAYS = (
    "presence",
    "rotation",
    "px_per_cm",
    "origin_px",
    "actions",
    "gaze_deg",
    "light_sh",
    "motion_px",
    "sharpness",
    "grain",
    "score",
    "neutral_cm",
    "identity",
)


def performed(shot, tmp_path, noise=0.3, **settings):
    seen = TruthPerceiver(shot, noise)
    return load_performance(
        analyse(shot.footage(), tmp_path / "shot.perf", PerformSettings(**settings), perceiver=seen)
    ), seen


# --- one face --------------------------------------------------------------------------------------------------------


def test_pose_of_a_noisy_track(talk, talk_perf):
    track = load_performance(talk_perf).tracks[0]
    assert (track.frames.start, track.frames.end_exclusive) == (0, len(talk))
    take, errors = talk.takes[0], []
    # Truth and track may differ by the turn between their neutrals, which is one for the whole shot.
    turns = [take.rotation(i) @ track.pose(i).rotation.T for i in range(len(talk))]
    u, _, vt = np.linalg.svd(np.mean([track.pose(i).rotation.T @ take.rotation(i) for i in range(len(talk))], 0))
    common = u @ vt
    assert np.degrees(np.arccos(np.clip((np.trace(common) - 1) / 2, -1, 1))) < 4.0
    for i in range(len(turns)):
        r = track.pose(i).rotation @ common @ take.rotation(i).T
        errors.append(np.degrees(np.arccos(np.clip((np.trace(r) - 1) / 2, -1, 1))))
    assert np.mean(errors) < 1.0 and max(errors) < 2.0, (np.mean(errors), max(errors))


def test_points_within_noise_and_projection_consistent(talk, talk_perf):
    track = load_performance(talk_perf).tracks[0]
    error = [
        np.linalg.norm((track.sample(i).points_px - talk.points_px[i, 0])[:, :2], axis=1).mean()
        for i in range(len(talk))
    ]
    assert np.mean(error) < 0.5, np.mean(error)  # the observations err by 0.4 px per axis, 0.5 in all


def test_actions_correlate_with_truth(talk, talk_perf):
    track = load_performance(talk_perf).tracks[0]
    for name in ("jaw_drop", "lip_corner_pull_L", "inner_brow_raise_L", "lid_close_L"):
        r = np.corrcoef(track.actions[:, action_index(name)], talk.takes[0].actions[name])[0, 1]
        assert r > 0.85, (name, r)


def test_neutral_of_the_track(talk, talk_perf):
    from digidouble.perception.shape import proportions_onto

    track, truth = load_performance(talk_perf).tracks[0], talk.takes[0].who.neutral_cm
    error_mm = 10 * np.linalg.norm(proportions_onto(track.neutral_cm.astype(float), truth) - truth, axis=1).mean()
    assert error_mm < 2.0, error_mm


def test_light_says_which_side(talk, talk_perf):
    """Lit from the right of the picture (x > 0)."""
    c = load_performance(talk_perf).tracks[0].light_sh @ [0.2126, 0.7152, 0.0722]
    assert (c[:, 1] > 0.1 * c[:, 0]).mean() > 0.9
    assert (np.abs(c[:, 2]) < np.abs(c[:, 1])).mean() > 0.8


def test_skin_grid_is_the_picture(talk, talk_perf):
    from digidouble.perception.uvgrid import uv_grid

    track, grid = load_performance(talk_perf).tracks[0], uv_grid(SKIN_GRID)
    picture = linear_from_frame(talk.frames[20], Roi(0, 0, *SIZE))
    sample = track.sample(20)
    use = sample.skin_weight > 200
    at = grid.carried(sample.points_px[:, :2])[use].round().astype(int)
    ratio = sample.skin_linear[use].astype(float) / picture[at[:, 1], at[:, 0]]
    assert use.sum() > 150
    assert abs(np.median(ratio) - 1) < 0.04 and np.quantile(np.abs(ratio - 1), 0.9) < 0.25


def test_motion_is_the_change_of_place(tmp_path):
    n = 16
    place = np.stack([70 + 3.0 * np.arange(n), 70 + 1.0 * np.arange(n)], -1)
    perf, _ = performed(shoot([still(person(3), n, (0, 0), 7.0, origin_px=place)], SIZE), tmp_path, 0.1)
    np.testing.assert_allclose(perf.tracks[0].motion_px[1:-1], np.tile([3.0, 1.0], (n - 2, 1)), atol=0.15)


def test_gaze_follows_the_iris(tmp_path):
    """Irises moved 2 mm to the subject's left, then up."""
    n = 12
    shots = shoot([still(person(3), n, (100, 68))], SIZE, grain=0.002)  # so that no two frames are the same
    points = shots.points_px.copy()
    points[4:8, 0, 468:, 0] += 0.2 * 9.0
    points[8:, 0, 468:, 1] -= 0.2 * 9.0
    from dataclasses import replace

    perf, _ = performed(replace(shots, points_px=points), tmp_path, 0.05, smoothing=0.0)
    gaze = perf.tracks[0].gaze_deg
    assert gaze[4:8, 0].mean() - gaze[:4, 0].mean() == pytest.approx(9.6, abs=2.5)
    assert gaze[8:, 1].mean() - gaze[:4, 1].mean() == pytest.approx(9.6, abs=2.5)


def test_grain_is_measured(tmp_path):
    quiet, _ = performed(shoot([still(person(3), 4, (100, 68))], SIZE), tmp_path)
    loud, _ = performed(shoot([still(person(3), 4, (100, 68))], SIZE, grain=0.02), tmp_path)
    assert loud.tracks[0].grain.mean() == pytest.approx(0.02, rel=0.35)
    assert quiet.tracks[0].grain.mean() < 0.008


def test_occluder_is_in_the_matte_and_out_of_the_skin(tmp_path):
    take = still(person(3), 6, (100, 68), occluder=lambda i: (40, 100, 160, 120))
    perf, _ = performed(shoot([take], SIZE), tmp_path, 0.1)
    sample = perf.tracks[0].sample(3)
    import cv2

    seen = cv2.warpAffine(sample.matte, sample.matte_px_from_crop.astype(float), SIZE)
    assert seen[104:116, 80:120].max() < 20 and seen[60:90, 80:120].min() > 235
    from digidouble.perception.uvgrid import uv_grid

    at = uv_grid(SKIN_GRID).carried(sample.points_px[:, :2])
    behind = (at[..., 1] > 103) & (at[..., 1] < 117) & uv_grid(SKIN_GRID).covered
    assert behind.sum() > 20 and sample.skin_weight[behind].max() < 40


# --- losses, joins, cuts ---------------------------------------------------------------------------------------------


def check_ramps(presence: np.ndarray, fade: int) -> None:
    """No pop: the smoothest ramp of `fade` frames changes by 1.5 / (fade + 1) at most."""
    assert np.abs(np.diff(presence)).max() <= 1.5 / (fade + 1) + 1e-6, np.abs(np.diff(presence)).max()
    assert (presence >= 0).all() and (presence <= 1).all()


def test_gap_is_joined_and_faded(tmp_path):
    n = 44
    seen = np.ones(n, bool)
    seen[18:27] = False
    perf, _ = performed(
        shoot([still(person(3), n, (100, 68), yaw_deg=5 * np.sin(np.arange(n) / 5), seen=seen)], SIZE), tmp_path
    )
    assert len(perf.tracks) == 1
    track = perf.tracks[0]
    assert (track.presence[18:27] == 0).all()
    assert track.presence[:10].min() == 1 and track.presence[-6:].min() == 1
    down, up = track.presence[10:19], track.presence[26:36]
    assert (np.diff(down) <= 0).all() and (np.diff(up) >= 0).all()
    check_ramps(track.presence, 5)
    assert np.isfinite(track.rotation).all() and (track.px_per_cm > 0).all()  # held through the gap


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_short_gaps_are_bridged(tmp_path, gap):
    n = 30
    seen = np.ones(n, bool)
    seen[14 : 14 + gap] = False
    place = np.stack([80 + 1.5 * np.arange(n), np.full(n, 68.0)], -1)
    shot = shoot([still(person(3), n, (0, 0), 7.5, origin_px=place, seen=seen)], SIZE)
    perf, _ = performed(shot, tmp_path, 0.1)
    track = perf.tracks[0]
    assert len(perf.tracks) == 1 and track.presence.min() == 1
    for i in range(14, 14 + gap):
        error = np.linalg.norm((track.sample(i).points_px - shot.points_px[i, 0])[:, :2], axis=1).mean()
        assert error < 0.5, error


def test_a_cut_ends_the_run_but_keeps_the_person(tmp_path):
    n, cut = 30, 15
    place = np.array([[80.0, 68.0]] * cut + [[120.0, 72.0]] * (n - cut))
    shot = shoot([still(person(3), n, (0, 0), 7.5, origin_px=place)], SIZE, cuts=[cut], seed=4)
    perf, _ = performed(shot, tmp_path, 0.2)
    assert perf.shot.cuts == (cut,)
    assert len(perf.tracks) == 1, perf.tracks
    track = perf.tracks[0]
    assert track.presence.min() == 1  # no fade at a cut
    for i in (cut - 1, cut):  # and nothing is averaged across it
        assert np.linalg.norm((track.sample(i).points_px - shot.points_px[i, 0])[:, :2], axis=1).mean() < 0.5
        assert np.abs(track.motion_px[i]).max() < 1.0, track.motion_px[i]


def test_another_person_after_the_cut_is_another_track(tmp_path):
    n, cut = 30, 15
    seen = np.arange(n) < cut
    away = np.full((n, 2), -500.0)
    here = np.full((n, 2), (100.0, 68.0))
    takes = [
        still(person(3), n, (0, 0), 7.5, origin_px=np.where(seen[:, None], here, away), seen=seen),
        still(person(5), n, (0, 0), 7.5, origin_px=np.where(seen[:, None], away, here), seen=~seen),
    ]
    perf, _ = performed(shoot(takes, SIZE, cuts=[cut], seed=4), tmp_path, 0.2)
    assert sorted((t.frames.start, t.frames.end_exclusive) for t in perf.tracks) == [(0, cut), (cut, n)]


def test_two_people_cross_and_keep_their_names(tmp_path):
    """The farther one is hidden in the middle; before and after, each track is one person."""
    n = 48
    x = np.linspace(60, 200, n)
    hidden = np.abs(x - (260 - x)) < 42
    takes = [
        still(person(3), n, (0, 0), 6.5, origin_px=np.stack([x, np.full(n, 60.0)], -1)),
        still(person(5), n, (0, 0), 5.0, origin_px=np.stack([260 - x, np.full(n, 64.0)], -1), seen=~hidden),
    ]
    shot = shoot(takes, (260, 160))
    perf, _ = performed(shot, tmp_path, 0.2, detect_every=4)
    assert len(perf.tracks) == 2, perf.tracks
    for track in perf.tracks:
        who = int(np.argmax([track.identity @ t.who.identity for t in takes]))
        for i in track.frames:
            if track.shown_at(i) > 0.3:
                mine, other = (
                    np.linalg.norm((track.sample(i).points_px - shot.points_px[i, k])[:, :2], axis=1).mean()
                    for k in (who, 1 - who)
                )
                assert mine < 1.0 < other, (track.track_id, i, mine, other)
    assert sum(t.weight for t in perf.tracks) == pytest.approx(1)
    assert [t.weight for t in perf.tracks] == sorted([t.weight for t in perf.tracks], reverse=True)
    assert perf.track("main").identity @ takes[0].who.identity > 0.9  # the larger one leads


def test_no_faces_no_tracks(tmp_path):
    n = 8
    perf, _ = performed(shoot([still(person(3), n, (100, 68), seen=np.zeros(n, bool))], SIZE), tmp_path)
    assert perf.tracks == () and perf.shot.frame_count == n
    with pytest.raises(CastingError, match="none"):
        perf.track("main")


def test_small_faces_and_the_crowd_are_left_alone(tmp_path):
    takes = [still(person(3 + k), 5, (45 + 60 * k, 40), 3.5) for k in range(3)]
    shot = shoot(takes, (220, 100))
    assert len(performed(shot, tmp_path, max_faces=2)[0].tracks) == 2
    assert len(performed(shot, tmp_path, min_face_px=120)[0].tracks) == 0
    assert len(performed(shot, tmp_path)[0].tracks) == 3


def test_networks_run_only_when_due(tmp_path):
    n = 21
    _, seen = performed(shoot([still(person(3), n, (100, 68))], SIZE), tmp_path, detect_every=10)
    assert seen.calls["detect"] == 3 and seen.calls["embed"] <= 6
    assert seen.calls["mesh"] <= n + 4


# --- the file --------------------------------------------------------------------------------------------------------


def equal(a, b, exact=True) -> None:
    assert len(a.tracks) == len(b.tracks) and a.shot == b.shot
    for s, t in zip(a.tracks, b.tracks, strict=True):
        assert (s.track_id, s.frames, s.weight) == (t.track_id, t.frames, t.weight)
        for name in ARRAYS:
            np.testing.assert_allclose(
                getattr(s, name), getattr(t, name), rtol=0, atol=0 if exact else 2e-3, err_msg=name
            )
        for i in s.frames:
            x, y = s.sample(i), t.sample(i)
            for name in ("points_px", "skin_linear", "skin_weight", "matte", "matte_px_from_crop"):
                tolerance = (
                    0
                    if exact
                    else {"points_px": 2e-3, "skin_linear": 2e-3, "skin_weight": 1, "matte": 0}.get(name, 2e-3)
                )
                np.testing.assert_allclose(
                    getattr(x, name).astype(float),
                    getattr(y, name).astype(float),
                    rtol=0,
                    atol=tolerance,
                    err_msg=f"{name} of frame {i}",
                )


def test_same_input_same_bytes(talk, talk_perf, tmp_path):
    again = analyse(talk.footage(), tmp_path / "again.perf", perceiver=TruthPerceiver(talk, 0.4))
    assert again.read_bytes() == talk_perf.read_bytes()


@pytest.mark.parametrize("helpers", [1, 4])
def test_helpers_that_are_late_change_nothing(talk, talk_perf, tmp_path, monkeypatch, helpers):
    """What is read on the side is read whole, of its own frame, and written in order. Few frames wait for it."""

    class Late(TruthPerceiver):
        begun, most = 0, 0

        def mesh(self, rgb8, roi):
            self.begun += 1
            self.most = max(self.most, self.begun - self.calls["matte"])
            return super().mesh(rgb8, roi)

        def matte(self, rgb8, points_px):
            time.sleep(0.02 * (self.frame_of(rgb8) % 3))
            return super().matte(rgb8, points_px)

    monkeypatch.setattr(sys.modules["digidouble.performance.analyse"], "HELPERS", helpers)  # the function has its name
    late = Late(talk, 0.4)
    assert analyse(talk.footage(), tmp_path / "late.perf", perceiver=late).read_bytes() == talk_perf.read_bytes()
    assert 2 < late.most <= UNREAD + 4  # three looks began the run


def test_every_frame_is_shown_and_what_that_raises_ends_the_analysis(talk, tmp_path):
    seen = []
    analyse(talk.footage(), tmp_path / "s.perf", perceiver=TruthPerceiver(talk), shown=lambda f: seen.append(f.index))
    assert seen == list(range(40))

    def refuse(frame):
        if frame.index == 7:
            raise MediaError("frame 7 is refused")

    with pytest.raises(MediaError, match="frame 7"):
        analyse(talk.footage(), tmp_path / "refused.perf", perceiver=TruthPerceiver(talk), shown=refuse)
    assert [f.name for f in tmp_path.iterdir()] == ["s.perf"]


@pytest.mark.parametrize(("fog", "expected"), [(0.0, 0.0), (0.14, 0.1)])
def test_fog_over_a_plate_is_known(talk, tmp_path, monkeypatch, fog, expected):
    """Eyes as black as eyes are, under a fog of so much of the skin's colour."""
    tracklets = sys.modules["digidouble.performance.tracklets"]
    monkeypatch.setattr(tracklets, "darkest", lambda *_: Dark(np.full(3, 0.04 + fog), np.ones(3)))
    track = load_performance(analyse(talk.footage(), tmp_path / "f.perf", perceiver=TruthPerceiver(talk))).tracks[0]
    assert abs(float(track.veil.max()) - expected) < 0.035 and np.ptp(track.veil) < 1e-6


def test_a_plate_without_eyes_to_look_at_has_no_veil(talk, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["digidouble.performance.tracklets"], "darkest", lambda *_: None)
    track = load_performance(analyse(talk.footage(), tmp_path / "n.perf", perceiver=TruthPerceiver(talk))).tracks[0]
    assert not track.veil.any()


def test_folder_form_reads_the_same(talk_perf, tmp_path):
    import zipfile

    zipfile.ZipFile(talk_perf).extractall(tmp_path / "folder.perf")
    equal(load_performance(talk_perf), load_performance(tmp_path / "folder.perf"))


@pytest.mark.parametrize("chunk", [5, 16, 40])
def test_chunks_do_not_show(talk, talk_perf, tmp_path, monkeypatch, chunk):
    """However the track is cut up for storage, the same numbers come out."""
    monkeypatch.setattr("digidouble.performance.finish.CHUNK", chunk)
    monkeypatch.setattr("digidouble.performance.store.CHUNK", chunk)
    other = load_performance(analyse(talk.footage(), tmp_path / "other.perf", perceiver=TruthPerceiver(talk, 0.4)))
    parts = [other.tracks[0].sample(i) for i in range(40)]
    monkeypatch.setattr("digidouble.performance.finish.CHUNK", 64)
    monkeypatch.setattr("digidouble.performance.store.CHUNK", 64)
    whole = load_performance(talk_perf)
    for i, p in enumerate(parts):
        w = whole.tracks[0].sample(i)
        np.testing.assert_allclose(p.points_px, w.points_px, atol=2e-4, err_msg=f"frame {i}")
        np.testing.assert_allclose(
            p.skin_linear.astype(float), w.skin_linear.astype(float), atol=1e-3, err_msg=f"frame {i}"
        )
        np.testing.assert_allclose(p.skin_weight.astype(int), w.skin_weight, atol=1)
        assert (p.matte == w.matte).all()
    for name in ARRAYS:
        np.testing.assert_allclose(
            getattr(other.tracks[0], name), getattr(whole.tracks[0], name), atol=1e-4, rtol=1e-3, err_msg=name
        )


@pytest.mark.parametrize(("asked", "index"), [("mesh", 5), ("matte", 38)])
def test_what_fails_in_the_plate_or_in_a_helper_leaves_nothing(talk, tmp_path, monkeypatch, asked, index):
    seer = TruthPerceiver(talk)
    sees = getattr(seer, asked)

    def breaks(rgb8, where):
        if seer.frame_of(rgb8) == index:
            raise UnreadableMedia(f"frame {index} does not decode")
        return sees(rgb8, where)

    monkeypatch.setattr(seer, asked, breaks)
    with pytest.raises(UnreadableMedia, match=f"frame {index}"):
        analyse(talk.footage(), tmp_path / "broken.perf", perceiver=seer)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_frame(talk, tmp_path):
    calls = []
    analyse(
        talk.footage(), tmp_path / "p.perf", progress=lambda a, b: calls.append((a, b)), perceiver=TruthPerceiver(talk)
    )
    assert calls == [(i + 1, 40) for i in range(40)]


def test_samples_outside_the_track(talk_perf):
    track = load_performance(talk_perf).tracks[0]
    with pytest.raises(IndexError):
        track.row(40)
    assert track.shown_at(40) == 0 and track.shown_at(-1) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"detect_every": 0},
        {"smoothing": -1.0},
        {"max_faces": 65},
        {"fade_frames": 0},
        {"mesh_jitters": 9},
        {"min_face_px": 4},
    ],
)
def test_settings_refuse(bad):
    with pytest.raises(SettingsError, match=next(iter(bad))):
        PerformSettings(**bad)


def test_memory_is_bounded_by_the_chunk_not_the_plate(tmp_path):
    """The second pass over a track eight times as long needs hardly more memory."""
    from digidouble.assets import AssetWriter
    from digidouble.performance.finish import finish_chain
    from digidouble.performance.join import Chain
    from digidouble.performance.tracklets import RECORD, Tracklet
    from digidouble.performance.turns import Turning

    def peak(n: int) -> float:
        records = np.zeros(n, RECORD)
        take = still(person(3), 1, (100, 68))
        records["points"] = take.points_px(0) + np.random.default_rng(0).normal(0, 0.2, (n, 478, 3))
        records["index"], records["skin"], records["matte"], records["crop"] = np.arange(n), 0.3, 255, np.eye(2, 3)
        file = tmp_path / f"{n}.raw"
        records.tofile(file)
        chain = Chain(
            [
                Tracklet(
                    0,
                    0,
                    file,
                    file.open("rb"),
                    records["points"][-1],
                    np.zeros(2, np.float32),
                    Turning(records["points"][-1]),
                    n,
                    identities=[person(3).identity],
                )
            ]
        )
        del records
        tracemalloc.start()
        try:
            with AssetWriter(tmp_path / f"{n}.perf", "performance") as w:
                finish_chain(chain, 1, (), n, PerformSettings(), w)
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    peak(40)
    assert peak(512) < 1.5 * peak(64) + 5


def test_bump_and_lights_are_what_the_tests_think():
    assert bump(21, 10, 8)[[2, 6, 10, 14]] == pytest.approx([0, 0, 1, 0]) and FRONT_LIGHT[3, 0] > 0


def test_frames_between_spans_repeat_the_nearest_known_one():
    spans, n = [Span(12, 15), Span(19, 20), Span(26, 30)], 20  # of a chain from 10 to 30
    done = Finished({"score": np.arange(n, dtype=np.float32)})
    _hold(done, spans, 10)
    known = [2, 3, 4, 9, 16, 17, 18, 19]
    assert done.arrays["score"].tolist() == [min(known, key=lambda k: (abs(k - i), k)) for i in range(n)]
