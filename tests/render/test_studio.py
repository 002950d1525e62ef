"""A persona without a plate: in the frame, without holes, symmetric, and moved by its muscles."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from scenes import persona_of
from synthetic import action_index, person, turned

from digidouble.errors import SettingsError
from digidouble.render.geometry import lid_gaps
from digidouble.render.studio import BACKGROUND, Studio, head_turn, posed, studio_picture
from digidouble.schema.mesh import face_model

SIZE = 160
STILL = np.zeros(len(face_model().action_names))
LUMA = np.array([0.2126, 0.7152, 0.0722])


@pytest.fixture(scope="module")
def double():
    return persona_of(person(4), "studio")


def action(**strength: float) -> np.ndarray:
    out = STILL.copy()
    for name, value in strength.items():
        out[action_index(name)] = value
    return out


def inside(points: np.ndarray, loop: str) -> np.ndarray:
    """Pixels within a contour, one pixel in."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [np.round(points[face_model().loops[loop], :2]).astype(np.int32)], 1)
    return cv2.erode(mask, np.ones((3, 3))) > 0


@pytest.mark.parametrize("yaw", [-60.0, -30.0, 0.0, 30.0, 60.0])
def test_whole_face_is_in_the_frame_and_has_no_holes(double, yaw):
    picture = studio_picture(double, head_turn(yaw), STILL, SIZE)
    edge = np.concatenate([picture.alpha[0], picture.alpha[-1], picture.alpha[:, 0], picture.alpha[:, -1]])
    assert edge.max() == 0
    assert picture.points_px[:, :2].min() > 2 and picture.points_px[:, :2].max() < SIZE - 3
    # A hole is what the outside cannot reach.
    solid = (picture.alpha > 0.99).astype(np.uint8)
    outside = np.pad(solid, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    assert not (outside == 0).any()
    assert picture.alpha.mean() > 0.15
    # Everything shown is lit: nothing black.
    assert (picture.rgb_linear[solid > 0] @ LUMA).min() > 1e-3


def test_turns_as_the_convention_says():
    for yaw, pitch in ((30, 0), (-60, 0), (20, 15)):
        np.testing.assert_allclose(head_turn(yaw, pitch), turned(yaw, pitch, 0), atol=1e-12)


def test_a_turn_is_the_mirror_of_the_other(double):
    m = face_model()
    shape = double.neutral_cm.copy()
    flipped = shape[m.mirror] * [-1, 1, 1]
    even = (shape + flipped) / 2
    key = double.keys[0]
    albedo = (key.albedo + key.albedo[:, ::-1]) / 2
    twin = dataclasses.replace(double, neutral_cm=even, keys=(dataclasses.replace(key, albedo=albedo, actions=STILL),))
    left, right = (studio_picture(twin, head_turn(y), STILL, SIZE).over_grey() for y in (40.0, -40.0))
    # Triangles are not mirrored exactly, so a few contour pixels may differ.
    difference = np.abs(left - right[:, ::-1]).max(-1)
    assert np.quantile(difference, 0.98) < 0.02
    # And that is no property of any two pictures.
    assert np.quantile(np.abs(left - right).max(-1), 0.98) > 0.1


def test_jaw_drop_lowers_the_chin(double):
    rest, dropped = (studio_picture(double, head_turn(0), a, SIZE) for a in (STILL, action(jaw_drop=1.0)))
    rows = [np.flatnonzero(p.alpha.max(1) > 0.5) for p in (rest, dropped)]
    assert rows[1].max() > rows[0].max() + 3
    assert abs(int(rows[1].min()) - int(rows[0].min())) <= 1


def test_open_mouth_without_teeth_is_dark_red_and_no_hole(double):
    picture = studio_picture(double, head_turn(0), action(lips_part=1.0), SIZE)
    mouth = inside(picture.points_px, "inner_lips")
    assert mouth.sum() > 30 and picture.alpha[mouth].min() == 1
    colour = picture.rgb_linear[mouth].mean(0)
    assert colour[0] > 1.5 * colour[2] and 0.01 < colour @ LUMA < 0.5 * (double.skin_linear @ LUMA)


def test_eyes_are_eyes_and_shut_when_told(double):
    open_eyes = studio_picture(double, head_turn(0), STILL, SIZE)
    for loop in ("left_eye", "right_eye"):
        seen = open_eyes.rgb_linear[inside(open_eyes.points_px, loop)] @ LUMA
        assert seen.max() > 3 * seen.min()  # white and pupil
    shut = posed(double, action(lid_close_L=1.0, lid_close_R=1.0))
    assert np.abs(lid_gaps(shut)).max() < 0.6 * np.abs(lid_gaps(posed(double, STILL))).min() + 0.05
    one = lid_gaps(posed(double, action(lid_close_L=1.0)))
    assert np.median(one[:7]) > 3 * abs(np.median(one[7:]))


def test_a_shut_lid_does_not_wear_the_eye(double):
    """The iris is the darkest thing near an eye; behind shut lids none of it is left."""
    pictures = [
        studio_picture(double, head_turn(0), a, SIZE) for a in (STILL, action(lid_close_L=1.0, lid_close_R=1.0))
    ]
    where = inside(pictures[0].points_px, "left_eye")
    dark = [(p.rgb_linear[where] @ LUMA < 0.3 * (double.skin_linear @ LUMA)).mean() for p in pictures]
    assert dark[0] > 0.1 and dark[1] < 0.25 * dark[0]


def test_dark_glasses_are_no_black_eyes(double):
    uv = (face_model().uv * double.keys[0].albedo.shape[0]).astype(np.int32)
    keys = []
    for key in double.keys:
        albedo = np.ascontiguousarray(key.albedo, np.float32).copy()
        for loop in ("left_eye", "right_eye"):
            cv2.fillPoly(albedo, [uv[face_model().loops[loop]]], (0.002, 0.002, 0.002))
        keys.append(dataclasses.replace(key, albedo=albedo))
    picture = studio_picture(dataclasses.replace(double, keys=tuple(keys)), head_turn(0), STILL, SIZE)
    eye = picture.rgb_linear[inside(picture.points_px, "left_eye")] @ LUMA
    assert np.quantile(eye, 0.8) > 0.5 * (double.skin_linear @ LUMA)


def test_pictures_do_not_depend_on_their_order(double):
    turns = np.stack([head_turn(y) for y in np.linspace(-40, 40, 9)])
    take = Studio(double, 96).take(turns, np.zeros((9, len(STILL))))
    assert len(take) == 9
    late = take(7).rgb_linear
    again = [take(i) for i in range(9)]
    np.testing.assert_array_equal(again[7].rgb_linear, late)


def test_dark_sources_are_still_to_be_seen(double):
    keys = tuple(dataclasses.replace(k, albedo=k.albedo * 0.05) for k in double.keys)
    dim = dataclasses.replace(double, keys=keys, skin_linear=double.skin_linear * 0.05)
    picture = studio_picture(dim, head_turn(0), STILL, SIZE)
    assert (picture.rgb_linear[picture.alpha > 0.9] @ LUMA).mean() > 0.05


def test_background_is_grey(double):
    corner = studio_picture(double, head_turn(0), STILL, SIZE).over_grey()[0, 0]
    np.testing.assert_allclose(corner, BACKGROUND, rtol=1e-5)


@pytest.mark.parametrize("size", [10, 5000])
def test_sizes_are_bounded(double, size):
    with pytest.raises(SettingsError, match=r"64\.\.4096"):
        studio_picture(double, head_turn(0), STILL, size)
