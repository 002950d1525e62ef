from __future__ import annotations

import numpy as np
import pytest
from faces68 import face68

from digidouble.bench.landmarks import (
    CHANNELS,
    MIRROR,
    channels,
    euler_deg,
    face_mask,
    head_rotation,
    poses_deg,
    seam_mask,
    skin_mask,
)
from digidouble.bench.synthetic import pose_matrix


def one(**set_to) -> dict[str, float]:
    return dict(zip(CHANNELS, channels(face68(**set_to)[None])[0], strict=True))


@pytest.mark.parametrize(
    ("change", "answers"),
    [
        ({"mouth": 1.5}, {"mouth_open"}),
        ({"smile": 0.6}, {"smile"}),
        ({"brow": 0.5}, {"brow_right", "brow_left"}),
        ({"eye": 0.4}, {"eye_right", "eye_left"}),
    ],
)
def test_a_movement_shows_in_its_own_channel(change, answers):
    rest, moved = one(), one(**change)
    shift = {k: abs(moved[k] - rest[k]) for k in CHANNELS}
    assert min(shift[k] for k in answers) > 5 * max(shift[k] for k in CHANNELS if k not in answers)


def test_channels_grow_in_proportion():
    heights = [one(mouth=m)["mouth_open"] for m in (0.5, 1.0, 1.5)]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], rel=1e-6)
    assert heights[2] > heights[0]


def test_channels_do_not_see_shift_roll_or_size():
    a = channels(face68(mouth=1.0, smile=0.3)[None])
    b = channels(face68(mouth=1.0, smile=0.3, roll=25, px_per_cm=31.0, centre=(700, 90))[None])
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (-35, 10, 0), (5, -15, 12), (0, 20, -30)])
def test_pose_is_found(angles):
    yaw, pitch, roll = angles
    found = euler_deg(head_rotation(face68(yaw=yaw, pitch=pitch, roll=roll, away_cm=120)))
    np.testing.assert_allclose(found, angles, atol=0.5)


def test_pose_errs_little_with_another_lens():
    found = euler_deg(head_rotation(face68(yaw=20)))
    np.testing.assert_allclose(
        found, (20, 0, 0), atol=1.5
    )  # a camera infinitely far away, where the solver thinks 1.2 m


def test_pose_does_not_see_expression():
    rest, grimace = poses_deg(np.stack([face68(yaw=10), face68(yaw=10, mouth=3, smile=0.8, brow=0.8, eye=0.2)]))
    np.testing.assert_allclose(rest, grimace, atol=1e-6)


def test_pose_matrix_and_euler_are_inverse():
    np.testing.assert_allclose(euler_deg(pose_matrix(-31, 17, 8)), (-31, 17, 8), atol=1e-9)


def test_masks_are_where_they_should_be():
    points = face68()
    face, seam, skin = (f(points, (400, 400)) for f in (face_mask, seam_mask, skin_mask))
    nose, far, pupil = points[30].astype(int), (5, 5), points[36:42].mean(0).astype(int)
    assert face[nose[1], nose[0]] and skin[nose[1], nose[0]] and not seam[nose[1], nose[0]]
    assert not face[far] and not seam[far]
    assert face[pupil[1], pupil[0]] and not skin[pupil[1], pupil[0]]
    chin = points[8].astype(int)
    assert seam[chin[1] - 3, chin[0]] and seam[chin[1] + 3, chin[0]]
    assert not (skin & ~face).any()
    # The band is as wide as stated: 9 % of the face's width to both sides.
    column = np.flatnonzero(seam[nose[1] :, chin[0]])
    assert np.ptp(column) + 1 == pytest.approx(2 * 0.09 * np.ptp(points[:17, 0]), abs=4)


def test_every_point_has_one_of_the_other_side():
    assert sorted(MIRROR) == list(range(68)) and (MIRROR[MIRROR] == np.arange(68)).all()
    assert [MIRROR[i] for i in (0, 36, 37, 40, 48, 60, 61, 67, 31, 17)] == [16, 45, 44, 47, 54, 64, 63, 65, 35, 26]
