"""Whose eyes and mouth show, and whether irises go where the plate's look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digidouble.render.openings import (
    LEFT_EYE,
    MOUTH,
    PLATE_EYES,
    RIGHT_EYE,
    look_into,
    opening_of_point,
    opening_of_triangle,
)
from digidouble.schema.mesh import face_model, iris_uv, openings_cm
from digidouble.schema.persona import KeyAtlas

M = face_model()
SIZE = 256


def mesh_px(gaze_cm: float = 0.0) -> np.ndarray:
    """The mean face at 20 px/cm with open eyes, both irises moved to the subject's left by `gaze_cm`."""
    out = M.mean_cm.astype(np.float64).copy()
    out[468:478, 0] += gaze_cm
    return out * [20, -20, -20] + [200, 200, 0]


def key(gaze_cm: float = 0.0, openings: tuple[float, float, float] = (0.0, 1.0, 1.0)) -> KeyAtlas:
    zero = np.zeros((4, 4))
    return KeyAtlas(
        np.zeros((4, 4, 3)), zero.astype(np.uint8), np.zeros(26), np.zeros(2), 200.0, 0,
        iris_uv(mesh_px(gaze_cm)), np.array(openings, np.float32),
    )  # fmt: skip


def test_every_opening_has_its_triangles_and_points():
    hole = opening_of_triangle()
    assert (hole[: len(M.triangles)] == -1).all()
    assert [int((hole == k).sum()) for k in range(3)] == [18, 14, 14]
    for k, name in enumerate(("inner_lips", "left_eye", "right_eye")):
        assert (opening_of_point()[M.loops[name]] == k).all()


def test_iris_uv_is_where_the_model_puts_it():
    found = iris_uv(mesh_px())
    assert np.abs(found[0, :2] - M.uv[468]).max() < 0.004
    assert np.abs(found[1, :2] - M.uv[473]).max() < 0.004
    assert np.all(found[:, 2] > 0.01)


def test_irises_move_by_the_difference_of_gaze():
    open_eyes = np.array([0.0, 1.0, 1.0])
    same = look_into(key(0.1), mesh_px(0.1), open_eyes, SIZE)
    assert np.abs(same.shift[1:, 3:5]).max() < 1e-3
    assert same.plate_share[[LEFT_EYE, RIGHT_EYE]] == pytest.approx(PLATE_EYES)
    left = look_into(key(-0.1), mesh_px(0.1), open_eyes, SIZE)
    texels_per_cm = (M.uv[473, 0] - M.uv[468, 0]) * SIZE / (M.mean_cm[473, 0] - M.mean_cm[468, 0])
    assert left.shift[1:, 3] == pytest.approx(0.2 * texels_per_cm, rel=0.25)
    # Read at the new centre, the atlas gives the key's old centre.
    assert left.shift[1, 0] - left.shift[1, 3] == pytest.approx(key(-0.1).iris_uv[1, 0] * SIZE)


def test_what_a_key_cannot_lend_the_plate_shows():
    open_eyes = np.array([0.0, 1.0, 1.0])
    far = look_into(key(-0.7), mesh_px(0.7), open_eyes, SIZE)
    assert far.plate_share[LEFT_EYE] == 1 and far.plate_share[RIGHT_EYE] == 1
    shut = look_into(key(openings=(0.0, 0.1, 1.0)), mesh_px(), open_eyes, SIZE)
    assert shut.plate_share[LEFT_EYE] == 1 and shut.plate_share[RIGHT_EYE] == pytest.approx(PLATE_EYES)
    unknown = look_into(replace(key(), iris_uv=np.zeros((2, 3), np.float32)), mesh_px(), open_eyes, SIZE)
    assert (unknown.plate_share == 1).all() and not unknown.shift.any()


def test_share_changes_without_a_step():
    shares = [
        look_into(key(-g), mesh_px(g), np.array([0.0, 1.0, 1.0]), SIZE).plate_share[1] for g in np.linspace(0, 0.8, 81)
    ]
    assert np.abs(np.diff(shares)).max() < 0.12 and shares[0] == pytest.approx(PLATE_EYES) and shares[-1] == 1


def test_mouth_is_the_keys_only_when_about_as_open():
    grin = key(openings=(1.0, 1.0, 1.0))
    share = {
        o: look_into(grin, mesh_px(), np.array([o, 1.0, 1.0]), SIZE).plate_share[MOUTH] for o in (0.0, 1.0, 1.1, 3.0)
    }
    assert share[1.0] == 0 and share[1.1] < 0.1 and share[3.0] == 1 and share[0.0] == 1
    assert look_into(key(), mesh_px(), np.array([1.0, 1.0, 1.0]), SIZE).plate_share[MOUTH] == 1


def test_openings_are_measured_in_centimetres():
    shape = M.mean_cm.astype(np.float64).copy()
    before = openings_cm(shape)
    shape[[13, 82, 312], 1] += 0.5
    assert openings_cm(shape) - before == pytest.approx([0.5, 0, 0])
