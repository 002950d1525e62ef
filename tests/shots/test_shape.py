"""Neutral faces and muscle actions recovered from meshes whose making is known."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import turning_take
from synthetic import action_index, person, still

from digidouble.perception.shape import (
    actions_of,
    head_shapes,
    iris_scale,
    neutral_from,
    pose_and_shape,
    proportions_onto,
    without_habit,
)
from digidouble.schema.mesh import face_model
from digidouble.schema.pose import umeyama

MOVING = ("jaw_drop", "lip_corner_pull_L", "lip_corner_pull_R", "inner_brow_raise_L", "lid_close_L", "lid_close_R")


def expressive(seed: int, n: int = 60):
    """Random poses; a third of the frames near rest, the others anything."""
    rng = np.random.default_rng(seed)
    effort = np.where(np.arange(n) % 3 == 0, 0.05, 1.0)
    actions = {name: effort * rng.uniform(0, 0.9, n) for name in MOVING}
    take = still(
        person(seed),
        n,
        (150, 90),
        scale=12.0,
        yaw_deg=rng.uniform(-25, 25, n),
        pitch_deg=rng.uniform(-8, 8, n),
        actions=actions,
    )
    return take, np.stack([take.points_px(i) + rng.normal(0, 0.4, (478, 3)) for i in range(n)]).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_neutral_from_expressive_frames(seed):
    """Mean error under 1.5 mm where the average face as a guess errs by several."""
    take, points = expressive(seed)
    neutral = neutral_from(points)
    truth = take.who.neutral_cm

    def error_mm(shape: np.ndarray) -> float:
        r, s, t = umeyama(shape.astype(float), truth, np.ones(478))
        return 10 * float(np.linalg.norm(s * shape @ r.T + t - truth, axis=1).mean())

    assert error_mm(neutral) < 1.5, error_mm(neutral)
    assert error_mm(neutral) < 0.6 * error_mm(face_model().mean_cm)
    size = np.linalg.norm(neutral[263] - neutral[33]) / np.linalg.norm(truth[263] - truth[33])
    assert abs(size - 1) < 0.05, size  # metric through the iris


def test_neutral_does_not_depend_on_picture_size():
    _, points = expressive(1, 24)
    np.testing.assert_allclose(neutral_from(points * 4), neutral_from(points), atol=0.01)


def test_neutral_closes_the_lips_of_a_mouth_that_never_shuts():
    n = 30
    rng = np.random.default_rng(3)
    take = still(
        person(3),
        n,
        (150, 90),
        scale=12.0,
        yaw_deg=rng.uniform(-15, 15, n),
        actions={"lips_part": 0.5 + 0.3 * rng.uniform(size=n)},
    )
    points = np.stack([take.points_px(i) for i in range(n)]).astype(np.float32)
    neutral = neutral_from(points)
    assert abs(neutral[13, 1] - neutral[14, 1]) < 0.12


def test_actions_correlate_with_truth():
    take, points = expressive(4, 60)
    found = actions_of(head_shapes(points, take.who.neutral_cm), take.who.neutral_cm)
    for name in MOVING:
        r = np.corrcoef(found[:, action_index(name)], take.actions[name])[0, 1]
        assert r > 0.9, (name, r)
    moving = {action_index(name) for name in MOVING} | {action_index("inner_brow_raise_R")}
    rest = [k for k in range(found.shape[1]) if k not in moving]
    assert np.abs(found[:, rest]).mean() < 0.12, np.abs(found[:, rest]).mean()


def test_neutral_face_has_no_actions():
    who = person(6)
    assert np.abs(actions_of(who.neutral_cm[None], who.neutral_cm)).max() == 0


def test_pose_and_shape_takes_the_pose_out():
    take = turning_take(12)
    for i in range(12):
        pose, shape = pose_and_shape(take.points_px(i), take.who.neutral_cm)
        assert 10 * np.linalg.norm(shape - take.shape_cm(i), axis=1).mean() < 1.5
        np.testing.assert_allclose(pose.px_from_head(shape), take.points_px(i), atol=1e-6)


def test_iris_scale_is_metric_and_bounded():
    take = still(person(1), 4, (150, 90), yaw_deg=np.array([0.0, 10, -10, 20]))
    points = np.stack([take.points_px(i) for i in range(4)])
    assert iris_scale(points, take.who.neutral_cm) == pytest.approx(1.0, abs=0.04)
    assert iris_scale(points, take.who.neutral_cm * 1.1) == pytest.approx(1 / 1.1, abs=0.04)
    assert iris_scale(points, take.who.neutral_cm * 3) == 0.85


def test_proportions_onto_takes_out_place_and_size():
    a, b = person(1).neutral_cm, person(2).neutral_cm
    moved = proportions_onto(a * 1.3 + [1, 2, 3], b)
    np.testing.assert_allclose(moved, proportions_onto(a, b), atol=1e-4)
    np.testing.assert_allclose(proportions_onto(b, b), b, atol=1e-5)
    assert np.abs(moved[:468].mean(0) - b[:468].mean(0)).max() < 1e-6


@pytest.mark.parametrize(("least", "wanted"), [(0.7, 0.7), (0.0, 0.0)])
def test_what_no_look_is_without_is_the_face(least, wanted):
    """Brows that never come below a level have their rest there; brows that do come down to it rest at zero."""
    n, neutral = 24, person(3).neutral_cm
    raised = least + np.abs(np.sin(np.arange(n)))
    names = ("inner_brow_raise_L", "inner_brow_raise_R", "outer_brow_raise_L", "outer_brow_raise_R")
    take = still(person(3), n, (150, 90), scale=12.0, actions=dict.fromkeys(names, raised))
    found = without_habit(neutral, np.stack([take.points_px(i) for i in range(n)]).astype(np.float32))
    level = actions_of(found[None].astype(float), neutral.astype(float))[0]
    brows = [action_index(k) for k in names]
    assert np.abs(level[brows] - wanted).max() < 0.2, level[brows]
    assert np.abs(np.delete(level, brows)).max() < 0.1


def test_a_few_looks_tell_no_habit():
    neutral = person(3).neutral_cm
    take = still(person(3), 4, (150, 90), scale=12.0, actions={"inner_brow_raise_L": np.full(4, 0.8)})
    found = without_habit(neutral, np.stack([take.points_px(i) for i in range(4)]).astype(np.float32))
    np.testing.assert_array_equal(found, neutral)


def test_a_jaw_that_is_always_shut_beyond_rest_is_for_the_most_part_the_persons():
    """One look whose lips are thinner than any open mouth's: lips nearer to it; a jaw that opens in one of the looks says nothing."""
    neutral, m = person(3).neutral_cm, face_model()
    jaw = next(k for k, name in enumerate(m.action_names) if name.startswith("jaw_drop"))

    def lower_lip(face) -> float:
        return float(np.linalg.norm(face[14] - face[17]))

    def looks(*strength: float) -> np.ndarray:
        shapes = [neutral + s * m.action_fields_cm[jaw] for s in strength]
        return np.stack([(0, 0, 0) + (s * (1, -1, -1)) * 20 + 200 for s in shapes]).astype(np.float32)

    shut = looks(-0.7)
    found = without_habit(neutral, shut)
    seen = neutral - 0.7 * m.action_fields_cm[jaw]
    assert lower_lip(seen) < lower_lip(found) < lower_lip(neutral) - 0.4 * (lower_lip(neutral) - lower_lip(seen))
    np.testing.assert_array_equal(without_habit(neutral, looks(-0.7, 0.6, 0.6, 0.6)), neutral)
