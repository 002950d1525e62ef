"""The light's truth, and errors that grow with what is done to it."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.bench.protocols.lighting import Errors, light_errors, score
from digidouble.bench.synthetic import COLD_STREET, WARM_ROOM, Shown, lamp


@pytest.fixture
def ball() -> tuple[Shown, np.ndarray]:
    """A matt ball of a known colour under a key from the right."""
    y, x = np.mgrid[:128, :128]
    nx, ny = (x - 63.5) / 50, -(y - 63.5) / 50
    inside = nx**2 + ny**2 < 0.97
    normals = np.dstack([nx, ny, np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))]).astype(np.float32) * inside[..., None]
    linear = np.where(inside[..., None], [0.4, 0.3, 0.25] * COLD_STREET.on(normals), 0.05).astype(np.float32)
    return Shown(linear, inside, normals), nx**2 + ny**2 < 0.8


def errors(picture: np.ndarray, ball: tuple[Shown, np.ndarray]) -> Errors:
    shown, core = ball
    return light_errors(picture, shown, shown, core, COLD_STREET.key_direction)


def test_another_skin_at_the_outline_is_no_error_of_light(ball):
    """The plate's person is darker and redder than the truth; only a double in another tone than the truth has a seam."""
    truth, core = ball
    plate = Shown((truth.linear * np.array([0.8, 0.5, 0.5])).astype(np.float32), truth.face, truth.normals)
    seams = []
    for gain in (1.0, 1.2, 1.5):
        picture = np.where(core[..., None], gain * truth.linear, plate.linear)
        seams.append(light_errors(picture, truth, plate, core, COLD_STREET.key_direction).seam)
    assert seams[0] == 0 and 1 < seams[1] < seams[2]


def test_the_truth_has_no_error(ball):
    e = errors(ball[0].linear, ball)
    assert (e.angle_deg, e.ratio, e.seam) == pytest.approx((0, 0, 0), abs=1e-3)


def test_a_tint_is_an_angle_and_no_contrast(ball):
    found = []
    for t in (0.05, 0.2, 0.5):
        e = errors(np.where(ball[1][..., None], ball[0].linear * [1 + t, 1, 1 - t], ball[0].linear), ball)
        found.append(e)
        assert e.ratio < 0.35
        light = np.array([1 + t, 1, 1 - t])
        assert e.angle_deg == pytest.approx(
            np.degrees(np.arccos(light.sum() / np.sqrt(3) / np.linalg.norm(light))), abs=0.01
        )
    assert found[0].seam < found[1].seam < found[2].seam


def test_light_from_the_wrong_side_is_contrast(ball):
    mirrored = errors(ball[0].linear[:, ::-1], ball)
    flat = errors(np.where(ball[1][..., None], ball[0].linear[ball[1]].mean(0), ball[0].linear), ball)
    assert mirrored.ratio > 1.3 * flat.ratio > 0.3
    assert flat.angle_deg == pytest.approx(0, abs=0.1)


def test_the_lamp_lights_what_faces_it():
    key = lamp((0.2, 0.2, 0.2), 0.0, (1.0, 0.5, 0.25), 1.0)
    toward = key.key_direction / np.linalg.norm(key.key_direction)
    np.testing.assert_allclose(key.on(toward), [1.2, 0.7, 0.45])
    np.testing.assert_allclose(key.on(-toward), 0.2)
    assert (WARM_ROOM.on(np.array([-1.0, 0, 0])) > WARM_ROOM.on(np.array([1.0, 0, 0]))).all()


def test_score_is_one_for_the_truth_and_none_for_the_paste():
    paste = Errors(20.0, 2.0, 10.0)
    assert score(Errors(0, 0, 0), paste) == 1
    assert score(paste, paste) == 0
    assert score(Errors(10, 1, 5), paste) == pytest.approx(0.5)
    assert np.isnan(score(Errors(0, 0, 0), Errors(0.1, 0.01, 0.1)))  # nothing to do, nothing to score
