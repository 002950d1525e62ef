"""Where the double's mesh goes: eyes that shut, mouths that open, outlines that stay."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import person, still

from digidouble.perception.lids import lid_gaps, with_lid_gaps
from digidouble.perception.shape import neutral_from, proportions_onto
from digidouble.render.geometry import (
    LARGEST_CM,
    READ_SHARE,
    bend_cm,
    double_points,
    facing_weight,
    feather,
    inside_weight,
    lids_down,
    lips_bent,
    opening_weight,
    persona_offset,
    seen_at_rest,
    target_shape,
)  # fmt: skip
from digidouble.schema.mesh import EYE_CORNERS, LID_PAIRS, face_model
from digidouble.schema.pose import Pose
from digidouble.schema.ramp import smoothstep

M = face_model()
PAIRS = [(1, 2), (2, 5), (5, 1), (3, 8)]


def offset(persona: int, plate: int) -> np.ndarray:
    return persona_offset(person(persona).neutral_cm, person(plate).neutral_cm)


def shape(plate: int, **actions) -> np.ndarray:
    return still(person(plate), 1, (0, 0), actions={k: np.array([v]) for k, v in actions.items()}).shape_cm(0)


def lip_gap(s: np.ndarray) -> float:
    return float((s[[13, 82, 312], 1] - s[[14, 87, 317], 1]).mean())


@pytest.mark.parametrize(("plate", "persona"), PAIRS)
def test_neutral_becomes_the_persona_inside_and_stays_the_plate_at_the_oval(plate, persona):
    neutral, d = person(plate).neutral_cm, offset(persona, plate)
    out = target_shape(neutral, neutral, d)
    np.testing.assert_allclose(out[M.loops["oval"]], neutral[M.loops["oval"]], atol=1e-4)  # the silhouette
    read = proportions_onto(person(persona).neutral_cm, neutral) - neutral
    read = (read + read[M.mirror] * [-1, 1, 1]) / 2  # people are alike on both sides; what is not was misread
    bend = bend_cm(read) * lips_bent()
    read, bent, d = read - bend, d, d - bend
    far = np.linalg.norm(read, axis=1, keepdims=True)
    stretched = d / np.where(np.abs(read) > 1e-6, read, 1)
    # The same way as was read, further, and nowhere beyond the bound.
    assert (np.sum(d * read, 1) >= 0.999 * np.linalg.norm(d, axis=1) * far[:, 0] - 1e-9).all()
    assert 1 < np.median(stretched[far[:, 0] > 0.02]) <= 1 / READ_SHARE + 1e-6
    assert np.linalg.norm(d, axis=1).max() < LARGEST_CM
    wanted = neutral + bent
    deep = (inside_weight()[:468] > 0.999) & (M.hole_cm[:468] > 1.0)
    assert deep.sum() > 30
    np.testing.assert_allclose(out[:468][deep], wanted[:468][deep], atol=1e-3)


def test_where_nobody_was_at_rest_lips_and_brows_are_not_made_the_persona_twice_over():
    a, b = person(2).neutral_cm, person(1).neutral_cm
    apart = proportions_onto(a, b) - b
    bend = bend_cm((apart + apart[M.mirror] * [-1, 1, 1]) / 2) * lips_bent()
    known, inferred = persona_offset(a, b, 1.0) - bend, persona_offset(a, b, 0.0) - bend
    read = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-9)
    bone, lips = [6, 168, 197], [0, 17, 61, 291, 37, 267, 84, 314]
    np.testing.assert_allclose(inferred[bone], known[bone], atol=0.02)
    size = np.linalg.norm(known, axis=1), np.linalg.norm(inferred, axis=1)
    assert (size[1] <= size[0] + 1e-9).all() and size[1][lips].mean() < 0.6 * size[0][lips].mean()
    assert (np.sum(inferred * read, 1) >= size[1] - 1e-6).all()  # the same way, less far
    still_face, laugh = np.full((30, 26), 0.1), np.full((30, 26), 0.8)
    assert seen_at_rest(still_face) == 1 and seen_at_rest(laugh) == 0
    assert seen_at_rest(np.concatenate([laugh, still_face[:6]])) == 1  # a moment of rest is enough
    assert 0 < seen_at_rest(np.full((1, 26), 0.4)) < 1


@pytest.mark.parametrize(("plate", "persona"), PAIRS)
def test_shut_on_the_plate_is_shut_on_the_double(plate, persona):
    """Lids are closed on the plate by construction; the double's gap is within half a millimetre of none."""
    closed = shape(plate)
    for pairs in LID_PAIRS:
        for upper, lower in pairs:
            closed[upper, 1] = closed[lower, 1] = (closed[upper, 1] + closed[lower, 1]) / 2
    gaps = lid_gaps(target_shape(closed, person(plate).neutral_cm, offset(persona, plate)))
    assert np.abs(gaps).max() < 0.05, np.round(gaps, 3)


def test_a_crooked_mouth_in_the_sources_is_no_proportion():
    crooked = person(2).neutral_cm.copy()
    crooked[[61, 146, 91, 78], 1] -= 0.4  # the right corner hangs
    d = persona_offset(crooked, person(1).neutral_cm)
    np.testing.assert_allclose(d, d[M.mirror] * [-1, 1, 1], atol=1e-6)


def test_lids_come_down_in_between():
    neutral = person(1).neutral_cm
    down = []
    for share in (1.0, 0.5, 0.1):
        gaps = lid_gaps(neutral)
        gaps[:7] *= share  # the right eye only
        down.append(lids_down(with_lid_gaps(neutral, gaps), neutral))
    right, left = np.array(down).T
    assert right[0] == 0 and 0.1 < right[1] < 0.9 and right[2] > 0.99
    assert (left == 0).all()


@pytest.mark.parametrize(("plate", "persona"), PAIRS)
def test_shut_lids_meet_along_the_plates_line(plate, persona):
    """Between the double's eye corners: a deeper eye socket must not bend the line of shut lids into a bow."""
    neutral = person(plate).neutral_cm
    closed = with_lid_gaps(neutral, np.zeros(14))
    out = target_shape(closed, neutral, offset(persona, plate))
    for (outer, inner), pairs in zip(EYE_CORNERS, LID_PAIRS, strict=True):

        def bow(s, outer=outer, inner=inner, pairs=pairs):
            line = np.array([s[list(p)].mean(0) for p in pairs])
            t = (line[:, 0] - s[outer, 0]) / (s[inner, 0] - s[outer, 0])
            return line[:, 1] - (s[outer, 1] + t * (s[inner, 1] - s[outer, 1]))

        np.testing.assert_allclose(bow(out), bow(closed), atol=0.06)


@pytest.mark.parametrize(("plate", "persona"), PAIRS)
def test_open_eyes_have_the_personas_opening(plate, persona):
    neutral, d = person(plate).neutral_cm, offset(persona, plate)
    rest, own = lid_gaps(neutral), np.maximum(lid_gaps(neutral + d), 0.15)
    bounded = np.clip(own / np.maximum(rest, 0.15), 0.7, 1.4) * rest
    np.testing.assert_allclose(lid_gaps(target_shape(neutral, neutral, d)), bounded, atol=0.08)


@pytest.mark.parametrize(("plate", "persona"), PAIRS)
@pytest.mark.parametrize("drop", [0.3, 0.9])
def test_mouth_opening_is_carried_over(plate, persona, drop):
    neutral, d = person(plate).neutral_cm, offset(persona, plate)
    now = shape(plate, jaw_drop=drop, lips_part=drop)
    opened = lip_gap(now) - lip_gap(neutral)
    carried = lip_gap(target_shape(now, neutral, d)) - lip_gap(target_shape(neutral, neutral, d))
    assert opened > 0.2 and carried == pytest.approx(opened, abs=0.02)


def test_a_shut_mouth_stays_shut_for_a_persona_estimated_from_pictures():
    """Neutrals estimated from meshes have closed lips on both sides, so the difference does not open or cross them."""
    rng = np.random.default_rng(0)
    found = []
    for who in (1, 2):
        take = still(
            person(who), 20, (100, 60), yaw_deg=rng.uniform(-20, 20, 20), actions={"lips_part": np.linspace(0, 0.8, 20)}
        )
        found.append(
            neutral_from(np.stack([take.points_px(i) for i in range(20)]).astype(np.float32)).astype(np.float64)
        )
    plate, persona = found
    out = target_shape(plate, plate, persona_offset(persona, plate))
    assert abs(lip_gap(out)) < 0.12, lip_gap(out)


def test_the_same_person_is_left_alone():
    neutral = person(1).neutral_cm
    for actions in ({}, {"jaw_drop": 0.8}, {"lid_close_L": 1.0, "lid_close_R": 1.0}, {"lip_corner_pull_L": 1.0}):
        now = shape(1, **actions)
        moved = np.linalg.norm(target_shape(now, neutral, persona_offset(neutral, neutral)) - now, axis=1)
        assert moved.max() < 0.06, (actions, moved.max())


def test_weights_are_what_they_say():
    oval = M.loops["oval"]
    assert (feather()[oval] == 0).all() and feather()[1] == 1 and (inside_weight()[468:] == 1).all()
    assert (opening_weight()[M.loops["inner_lips"]] == 1).all() and opening_weight()[10] == 0
    x = smoothstep(np.linspace(-1, 2, 301))
    assert x[0] == 0 and x[-1] == 1 and (np.diff(x) >= 0).all() and np.diff(x).max() < 0.02


def test_facing_weight_of_a_turned_face():
    front, turned = (
        facing_weight(still(person(1), 1, (0, 0), yaw_deg=np.array([y])).points_px(0)) for y in (0.0, 60.0)
    )
    assert front[1] == 1 and front[50] == 1 and front[280] == 1
    # Turned to the subject's left, the left cheek (280) goes edge-on, the right one (50) stays.
    assert turned[280] < 0.5 < turned[50]
    assert ((front >= 0) & (front <= 1)).all()


@pytest.mark.parametrize("yaw", [0.0, 30.0, -55.0])
def test_silhouette_in_the_picture_stays_the_plates(yaw):
    plate, persona = 1, 2
    take = still(person(plate), 1, (100, 60), yaw_deg=np.array([yaw]), pitch_deg=np.array([8.0]))
    points = take.points_px(0)
    pose = Pose(take.rotation(0), 9.0, np.array([100.0, 60.0, 0.0]))
    out = double_points(points, pose, person(plate).neutral_cm, offset(persona, plate))
    edge = facing_weight(points)[:468] < 0.02
    assert np.linalg.norm((out - points)[:468][edge], axis=1).max() < 0.5
    assert np.linalg.norm((out - points)[M.loops["oval"]], axis=1).max() < 0.05
    assert np.linalg.norm((out - points)[:468], axis=1).max() > 1.0  # and yet another face


def test_double_is_steady_when_the_plate_is():
    """A tenth of a pixel on the plate moves the double by about as much."""
    take = still(person(1), 1, (100, 60), yaw_deg=np.array([20.0]))
    pose, neutral, d = Pose(take.rotation(0), 9.0, np.array([100.0, 60.0, 0.0])), person(1).neutral_cm, offset(2, 1)
    points = take.points_px(0)
    nudged = points + np.random.default_rng(0).normal(0, 0.1, points.shape)
    change = double_points(nudged, pose, neutral, d) - double_points(points, pose, neutral, d)
    assert np.sqrt((change[:, :2] ** 2).mean()) < 0.2


def test_the_bend_of_the_lips_is_not_enlarged():
    """Of corners that were read hanging, or smiling, as much is drawn, where other proportions are enlarged."""
    plate = person(1).neutral_cm
    for droop in (-0.15, 0.15):
        drawn = bend_cm(persona_offset(plate + droop * lips_bent(), plate))
        assert 0.8 * abs(droop) < drawn * np.sign(droop) < 1.1 * abs(droop), drawn
