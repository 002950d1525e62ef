"""Lids that come down: the plate's lashes and folds in the double's tone."""

from __future__ import annotations

import numpy as np
from synthetic import person, still

from digidouble.render.draw import lid_gains
from digidouble.render.geometry import LASHES_CM, lid_skin, lid_tone
from digidouble.schema.mesh import face_model

M = face_model()
PLATE, DOUBLE = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.16, 0.14])


def gains(down, lashes: float = 1.0) -> np.ndarray:
    points = still(person(1), 1, (110, 70), 12.0).points_px(0)[:, :2].astype(np.float64)
    plate = np.tile(PLATE, (300, 320, 1)).astype(np.float32)
    for i in np.flatnonzero(M.hole_cm[:468] < 0.01):
        x, y = points[i].round().astype(int)
        plate[y - 1 : y + 2, x - 1 : x + 2] *= lashes
    return lid_gains(points, np.asarray(down, float), plate, np.tile(DOUBLE, (478, 1)).astype(np.float32))


def test_shut_lids_take_the_doubles_tone():
    on = lid_skin()[:, 0] > 0.999
    assert on.sum() > 15
    np.testing.assert_allclose(gains([1, 1])[on] * PLATE, np.tile(DOUBLE, (on.sum(), 1)), rtol=0.03)


def test_the_other_eye_and_the_rest_are_left_alone():
    g = gains([1, 0])
    np.testing.assert_allclose(g[lid_skin()[:, 0] == 0], 1)
    assert (g[lid_skin()[:, 0] > 0.999] < 0.8).all()


def test_half_way_down_is_half_of_the_way():
    np.testing.assert_allclose(gains([0.5, 0.5]), np.sqrt(gains([1, 1])), rtol=1e-6)


def test_lashes_stay_dark():
    """The tone comes from the skin beside the lashes: dark lashes must not be lifted to skin."""
    edge = (M.hole_cm < 0.01) & (lid_skin().sum(1) > 0.999)
    assert edge.sum() > 20
    bare, dark = gains([1, 1])[edge], gains([1, 1], lashes=0.2)[edge]
    assert (dark / bare).max() < 1.35  # full lifting would be 5


def test_tone_rows_are_means_of_skin_away_from_lashes():
    rows = lid_tone()
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-4)
    on = lid_skin().sum(1) > 0.5
    assert rows[on][:, M.hole_cm <= LASHES_CM].sum(1).max() < 0.01
