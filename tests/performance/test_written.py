"""Written performances on a plate whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from digidouble.acting import EMOTIONS, face_of
from digidouble.errors import NoFace
from digidouble.footage.memory import MemoryFootage
from digidouble.perception.lids import lid_gaps, with_lid_gaps
from digidouble.perception.shape import LIP_GAP_CM
from digidouble.performance import load_performance
from digidouble.performance.written import ActedFootage, Score, acted_shot, layers_of, played, write_performance
from digidouble.performance.written.creases import LINES, strengths, written_creases
from digidouble.performance.written.eyes import eyeballs_of
from digidouble.performance.written.mouth import mouth_patch
from digidouble.performance.written.shape import lip_gaps, unfolded, widest_gaps, written
from digidouble.performance.written.warp import warp_of
from digidouble.schema.acting import Acting
from digidouble.schema.colour import LUMA, rgb8_from_frame
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRate

RATE = FrameRate(Fraction(25))
JAW = 0


def acting(actions, **changes):
    n = len(actions)
    zeros = {"closure": (n,), "blink": (n,), "gaze_deg": (n, 2), "head_deg": (n, 3), "head_cm": (n, 2)}
    fields = {k: np.zeros(s) for k, s in zeros.items()} | changes
    return Acting(RATE, np.asarray(actions, np.float64), **fields)


@pytest.fixture(scope="module")
def track(talk_perf):
    return load_performance(talk_perf).tracks[0]


def twice_area(triangles):
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def neutral_rows(n=1):
    return np.zeros((n, len(face_model().action_names)))


def test_a_face_asked_for_what_it_does_already_stays_where_it_is(track):
    face = written(track, 5, acting(track.actions[5:6]), 0, True)
    moved = np.linalg.norm(face.points_px - face.source_px, axis=1)
    assert np.median(moved) < 0.05 and moved.max() < 0.15 * track.px_per_cm[5]


def test_closed_lips_are_closed_whatever_the_jaw_does(track):
    rows = neutral_rows(2)
    rows[:, [JAW, 3]] = 0.7
    play = acting(rows, closure=np.array([0.0, 1.0]))
    open_, shut = (written(track, 0, play, k, True) for k in (0, 1))
    gaps = [lip_gaps(f.pose.head_from_px(f.points_px.astype(float)))[3:6].mean() for f in (open_, shut)]
    assert gaps[0] > 0.4 and gaps[1] < 1.2 * LIP_GAP_CM


def test_lips_never_cross_and_nothing_folds(track):
    model = face_model()
    for name in EMOTIONS:
        rows = face_of(name)[None]
        face = written(track, 0, acting(rows), 0, True)
        shape = face.pose.head_from_px(face.points_px.astype(float))
        assert lip_gaps(shape).min() > -0.08, name
        p, rest = shape[model.triangles][..., :2], track.neutral_cm[model.triangles][..., :2]
        areas = [twice_area(q) for q in (p, rest)]
        assert (areas[0][areas[1] > 0.02] < 0).mean() < 0.03, name


def test_unfolding_leaves_a_smooth_shape_alone(track):
    smile = track.neutral_cm + 0.5 * np.tensordot(face_of("surprise"), face_model().action_fields_cm, 1)
    assert np.allclose(unfolded(smile, track.neutral_cm.astype(float)), smile, atol=0.25)
    neutral = track.neutral_cm.astype(float)
    assert (unfolded(neutral, neutral) == neutral).all()


def test_blink_shuts_and_gaze_turns_as_far_as_asked(track):
    play = acting(neutral_rows(2), blink=np.array([1.0, 0.0]), gaze_deg=np.array([[0, 0], [10.0, 0]]))
    shut, turned = (written(track, 0, play, k, True) for k in (0, 1))
    assert lid_gaps(shut.pose.head_from_px(shut.points_px.astype(float))).max() < 0.12
    assert turned.gaze_deg[0] - track.gaze_deg[0, 0] == pytest.approx(10)
    # Positive yaw is the subject's left, the picture's right.
    assert turned.points_px[468, 0] - shut.points_px[468, 0] > 0.15 * track.px_per_cm[0]


def test_eyes_that_are_unevenly_open_do_not_tear_open_one_alone():
    rest = face_model().mean_cm.astype(np.float64)
    even = lid_gaps(rest)
    assert widest_gaps(rest) == pytest.approx(1.32 * np.maximum(even, 0.25), rel=0.05)
    squint = with_lid_gaps(rest, even * np.repeat([0.5, 1.0], 7))
    right, left = widest_gaps(squint).reshape(2, 7).max(1)
    own = lid_gaps(squint).reshape(2, 7).max(1)
    assert left < 1.15 * own[1] and right > 1.5 * own[0] and right == pytest.approx(left, rel=0.05)
    assert (widest_gaps(squint) >= lid_gaps(squint) - 1e-9).all()


def test_an_eye_that_is_screwed_up_gets_the_others_eyeball(talk, track):
    frame, points = talk.frames[0], track.sample(0).points_px.copy()
    both = eyeballs_of(frame, points)
    loop = face_model().loops["right_eye"]
    middle = points[loop, 1].mean()
    points[loop, 1] = middle + 0.45 * (points[loop, 1] - middle)
    right, left = eyeballs_of(frame, points)
    assert right.rgb[:, ::-1] == pytest.approx(both[1].rgb) and left.rgb == pytest.approx(both[1].rgb)
    assert right.iris_px[:2] == pytest.approx(points[468, :2], abs=0.51)
    # What the picture shows at its iris is what the other shows at its own.
    at = [np.round(e.iris_px[:2] - [e.roi.x0, e.roi.y0]).astype(int)[::-1] for e in (right, left)]
    assert right.rgb[tuple(at[0])] == pytest.approx(left.rgb[tuple(at[1])], abs=0.05)


def test_head_turns_about_the_neck_by_the_angle_asked(track):
    face = written(track, 0, acting(neutral_rows(), head_deg=np.array([[6.0, -4.0, 3.0]])), 0, True)
    before = np.array(track.pose(0).euler_deg)
    assert np.array(face.pose.euler_deg) - before == pytest.approx([6, -4, 3], abs=0.8)
    assert face.points_px[1, 1] > face.source_px[1, 1]  # pitch below 0 looks down


def test_footage_keeps_head_eyes_and_blinks(track):
    play = acting(neutral_rows(), blink=np.ones(1), gaze_deg=np.full((1, 2), 9.0), head_deg=np.full((1, 3), 9.0))
    face = written(track, 7, play, 0, False)
    assert face.pose.euler_deg == pytest.approx(track.pose(7).euler_deg)
    assert np.abs(face.points_px[468:] - face.source_px[468:]).max() < 0.01
    gaps = [lid_gaps(face.pose.head_from_px(p.astype(float))).mean() for p in (face.points_px, face.source_px)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.06)


def test_the_warp_is_exact_on_the_mesh_and_nothing_far_from_it(track):
    rows = neutral_rows()
    rows[0, JAW] = 0.8
    face = written(track, 0, acting(rows), 0, True)
    warp = warp_of(face.source_px, face.points_px, (640, 480))
    skin = face_model().rim_cm[:468] > 1.0
    at = face.points_px[:468][skin][None, :, :2]
    error = np.linalg.norm(warp.source_of(at)[0] - face.source_px[:468][skin][:, :2], axis=1)
    assert np.median(error) < 0.25 and np.quantile(error, 0.95) < 1.2
    x, y = np.arange(warp.roi.x0, warp.roi.x1), np.arange(warp.roi.y0, warp.roi.y1)
    assert np.abs(warp.map_px[-1, :, 0] - x).max() < 0.05 and np.abs(warp.map_px[:, -1, 1] - y).max() < 0.05
    far = np.array([[[1.0, 1.0]]])
    assert warp.source_of(far) == pytest.approx(far)


def test_samples_away_from_the_face_are_the_plates_own(talk, track):
    plate = talk.footage()
    n = 3
    rows = neutral_rows(n)
    rows[:, JAW] = 0.6
    score = Score(track, acting(rows), tuple(range(n)), False)
    acted = ActedFootage(plate, score, acted_shot(plate.shot, n, score.acting))
    for k, frame in enumerate(acted.frames()):
        original = plate.frame(k)
        face = score.at(k)
        assert face is not None and frame.index == k
        roi = score.warp(face, k, frame.size_wh).roi
        for before, after in zip(original.planes[:1], frame.planes[:1], strict=True):
            same = before == after
            same[roi.y0 : roi.y1, roi.x0 : roi.x1] = True
            assert same.all()
        assert (original.planes[0] != frame.planes[0]).any()
        assert (acted.frame(k).planes[0] == frame.planes[0]).all()


def test_a_portraits_background_stays(talk, track):
    plate, one, n = MemoryFootage([talk.footage().frame(0)], RATE, "portrait.png"), track, 2
    play = acting(neutral_rows(n), head_deg=np.array([[0.0, 0, 0], [4.0, -3.0, 2.0]]))
    frame = plate.frame(0)
    person = np.zeros(frame.size_hw, np.float32)
    low, high = one.sample(0).points_px[:, :2].min(0).astype(int), one.sample(0).points_px[:, :2].max(0).astype(int)
    person[max(low[1] - 20, 0) : high[1] + 20, max(low[0] - 20, 0) : high[0] + 20] = 1
    score = Score(one, play, (0,) * n, True)
    acted = ActedFootage(plate, score, acted_shot(plate.shot, n, play), layers_of(frame, person))
    still, moved = (rgb8_from_frame(acted.frame(k)).astype(int) for k in (0, 1))
    off = np.abs(moved - still).max(-1)
    rim = off[:, :4]
    assert (
        rim.mean() < 1 and rim.max() <= 12
    )  # the rim of the picture: at most a soft gradient moves by a fraction of a pixel
    assert off[low[1] : high[1], low[0] : high[0]].mean() > 1


def test_played_to_and_fro():
    assert played(1, 3) == [0, 0, 0]
    assert played(3, 8) == [0, 1, 2, 1, 0, 1, 2, 1]


def test_backwards_frames_come_in_the_right_order(talk, track):
    plate = talk.footage()
    rows = played(40, 100)
    score = Score(track, acting(neutral_rows(100)), tuple(rows), False)
    acted = ActedFootage(plate, score, acted_shot(plate.shot, 100, score.acting))
    frames = list(acted.frames())
    assert [f.index for f in frames] == list(range(100))
    corner = [f.planes[0][:3, :3].tolist() for f in frames]
    assert corner == [plate.frame(r).planes[0][:3, :3].tolist() for r in rows]


def test_written_performance_reads_back_and_is_the_same_every_time(talk_perf, talk, track, tmp_path):
    analysed, n = load_performance(talk_perf), 70
    rows = np.repeat(face_of("joy")[None], n, 0) * np.linspace(0, 1, n)[:, None]
    score = Score(track, acting(rows), tuple(played(40, n)), False)
    shot = acted_shot(talk.footage().shot, n, score.acting)
    a, b = (write_performance(analysed, score, shot, tmp_path / f"{k}.perf", {"seed": 0}) for k in "ab")
    assert a.read_bytes() == b.read_bytes()
    found = load_performance(a)
    assert found.shot.frame_count == n and found.settings["written"] == {"seed": 0}
    t = found.tracks[0]
    corner = [k for k, name in enumerate(face_model().action_names) if name.startswith("lip_corner_pull_L")]
    assert t.actions[-1, corner] == pytest.approx(face_of("joy")[corner], abs=1e-5)
    assert t.sample(n - 1).wrinkles.min() < -5 and abs(t.sample(0).wrinkles.astype(int)).max() <= 3
    assert (t.sample(0).skin_linear == track.sample(0).skin_linear).all()


def test_a_plate_without_its_face_is_refused(talk_perf, talk, track, tmp_path):
    gone = replace(track, presence=np.zeros_like(track.presence))
    score = Score(gone, acting(neutral_rows(2)), (0, 1), False)
    shot = acted_shot(talk.footage().shot, 2, score.acting)
    with pytest.raises(NoFace):
        write_performance(load_performance(talk_perf), score, shot, tmp_path / "x.perf", {})
    assert not (tmp_path / "x.perf").exists()


def test_creases_are_where_the_muscles_are():
    assert not written_creases(np.zeros(len(face_model().action_names))).any()
    joy, fear, anger, surprise = (strengths(face_of(e)) for e in ("joy", "fear", "anger", "surprise"))
    assert joy["crows_feet"][0] > 0.8 and joy["cheek"][0] > 0.7 and joy["frown"][0] < 0.1
    # Across the forehead in surprise, in its middle in fear (Ekman & Friesen 1975, Unmasking the face).
    assert surprise["forehead"][0] > 0.5 > fear["forehead"][0] and fear["forehead_inner"][0] > 0.5
    assert anger["frown"][0] > 1.0 and anger["forehead"][0] == 0
    left, right = strengths(face_of("contempt"))["cheek"][1], strengths(face_of("contempt"))["cheek"][0]
    assert left > 3 * max(right, 0.05)
    for name in EMOTIONS:
        assert abs(written_creases(face_of(name)).astype(int)).max() <= 95
    assert set(joy) == set(LINES)


def test_creases_are_darker_than_bright():
    gain = written_creases(face_of("laughter")).astype(float)
    assert -gain.min() > 1.5 * gain.max()


def test_teeth_show_in_an_open_mouth_and_a_dark_line_between_shut_lips(track):
    rows = neutral_rows(2)
    rows[0, [JAW, 3]] = 0.5, 0.6
    play = acting(rows, closure=np.array([0.0, 1.0]))
    skin = np.array([0.4, 0.28, 0.2])
    inside, line = (mouth_patch(written(track, 0, play, k, True), track.neutral_cm, skin, (640, 480)) for k in (0, 1))
    assert inside is not None and line is not None
    luma = inside.rgb @ LUMA
    assert luma[inside.alpha > 0.9].max() > 0.9 * float(skin @ LUMA)  # teeth
    assert luma[inside.alpha > 0.9].min() < 0.2 * float(skin @ LUMA)  # the dark behind
    assert (line.rgb @ LUMA)[line.alpha > 0.3].max() < 0.5 * float(skin @ LUMA)
    assert inside.alpha.max() > 0.95 and inside.alpha.sum() > 3 * line.alpha.sum()
