"""Pose: projection, its inverse, its angles, and its fit, against angles stated by where the nose goes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import person, still, turned

from digidouble.schema.mesh import face_model
from digidouble.schema.pose import Pose, fit_pose, umeyama

RNG = np.random.default_rng(1)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, 15, 0), (0, 0, -20), (-40, 10, 12), (60, -25, -30)])
def test_euler_angles_mean_what_the_docstring_says(angles):
    rotation = turned(*angles)
    assert Pose(rotation, 1.0, np.zeros(3)).euler_deg == pytest.approx(angles, abs=1e-6)
    nose = rotation @ [0, 0, 1]
    if angles[1] == angles[2] == 0 and angles[0]:
        assert np.sign(nose[0]) == np.sign(angles[0])  # to the subject's left: right in the picture
    if angles[0] == angles[2] == 0 and angles[1]:
        assert nose[1] > 0  # up


def test_projection_and_back():
    pose = Pose(turned(20, -10, 5), 7.5, np.array([100.0, 80.0, -12.0]))
    head = face_model().mean_cm.astype(np.float64)
    px = pose.px_from_head(head)
    np.testing.assert_allclose(pose.head_from_px(px), head, atol=1e-9)
    upright = Pose(np.eye(3), 2.0, np.array([10.0, 20.0, 0.0])).px_from_head(np.array([[1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(upright, [[12, 18, -2]])  # left is right in the picture, up is smaller y, out is nearer


def test_cam_from_head_projects_to_the_same_place():
    """A pinhole of long focal length agrees with the scaled-orthographic camera at the head's depth."""
    pose, f, wh = Pose(turned(15, 5, 3), 8.0, np.array([140.0, 70.0, 0.0])), 50000.0, (320, 240)
    camera = pose.cam_from_head(f, wh)
    head = face_model().mean_cm.astype(np.float64)
    cam = head @ camera[:3, :3].T + camera[:3, 3]
    px = np.stack([wh[0] / 2 + f * cam[:, 0] / -cam[:, 2], wh[1] / 2 - f * cam[:, 1] / -cam[:, 2]], -1)
    np.testing.assert_allclose(px, pose.px_from_head(head)[:, :2], atol=0.1)


def test_umeyama_recovers_a_similarity_and_never_mirrors():
    source = RNG.normal(size=(30, 3))
    rotation = turned(33, -20, 77)
    target = 2.5 * source @ rotation.T + [1, -2, 3]
    r, s, t = umeyama(source, target, RNG.uniform(0.1, 1, 30))
    np.testing.assert_allclose(r, rotation, atol=1e-9)
    assert s == pytest.approx(2.5) and t == pytest.approx([1, -2, 3])
    r, _, _ = umeyama(source, source * [-1, 1, 1], np.ones(30))
    assert np.linalg.det(r) == pytest.approx(1)


def test_umeyama_weights_decide():
    source = RNG.normal(size=(20, 3))
    target = source.copy()
    target[:5] += 10
    weights = np.ones(20)
    weights[:5] = 0
    _, s, t = umeyama(source, target, weights)
    assert s == pytest.approx(1) and t == pytest.approx(np.zeros(3), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_pose_of_noisy_expressive_faces(seed):
    """0.6 px noise on a 120 px face, jaw and smile at work: under a degree on average, two at most."""
    n = 24
    rng = np.random.default_rng(seed)
    take = still(
        person(seed), n, (120, 80), yaw_deg=rng.uniform(-35, 35, n), pitch_deg=rng.uniform(-15, 15, n), roll_deg=rng.uniform(-25, 25, n),
        actions={"jaw_drop": rng.uniform(0, 1, n), "lip_corner_pull_L": rng.uniform(0, 1, n), "lip_corner_pull_R": rng.uniform(0, 1, n)},
    )  # fmt: skip
    errors, scales, places = [], [], []
    for i in range(n):
        seen = take.points_px(i) + rng.normal(0, 0.6, (478, 3))
        pose = fit_pose(seen, take.who.neutral_cm)
        errors.append(degrees_between(pose.rotation, take.rotation(i)))
        scales.append(pose.px_per_cm / take.px_per_cm[i] - 1)
        places.append(np.linalg.norm(pose.origin_px[:2] - take.origin_px[i]))
    assert np.mean(errors) < 1.0 and max(errors) < 2.5, (np.mean(errors), max(errors))
    assert np.abs(scales).max() < 0.03 and max(places) < 3.0, (np.abs(scales).max(), max(places))


def test_pose_survives_gross_outliers():
    take = still(person(2), 1, (120, 80), yaw_deg=np.array([20.0]))
    seen = take.points_px(0)
    seen[[234, 454, 10]] += [[40, 0, 0], [0, 40, 0], [-30, 30, 0]]  # a hand over cheek and forehead
    assert degrees_between(fit_pose(seen, take.who.neutral_cm).rotation, take.rotation(0)) < 3.0
