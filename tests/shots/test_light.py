"""Light from skin: known harmonics in, the same harmonics (or at least their direction) out."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import harmonic_light, normals_cam, person, still

from digidouble.perception.light import dominant_direction, fit_light, harmonics, shading

LUMA = np.array([0.2126, 0.7152, 0.0722])


def lit_from(direction, ambient=0.5, strength=0.5) -> np.ndarray:
    d = np.asarray(direction, float) / np.linalg.norm(direction)
    out = np.zeros((9, 3))
    out[0] = ambient
    out[1:4] = strength * d[:, None] * [1.0, 0.95, 0.85]
    return out


def face_normals(yaw=0.0) -> np.ndarray:
    return normals_cam(still(person(1), 1, (0, 0), yaw_deg=np.array([yaw])).points_px(0))[:468]


def test_harmonics_are_the_nine_written_out():
    n = face_normals()
    light = np.random.default_rng(0).normal(size=(9, 3))
    np.testing.assert_allclose(harmonics(n) @ light, harmonic_light(light, n), atol=1e-12)


def test_harmonics_are_orthogonal_on_the_sphere():
    n = np.random.default_rng(0).normal(size=(200_000, 3))
    h = harmonics(n / np.linalg.norm(n, axis=1, keepdims=True))
    gram = h.T @ h / len(h)
    off = gram - np.diag(np.diag(gram))
    assert np.abs(off).max() < 0.01


DIRECTIONS = [(0, 0, 1), (1, 0, 1), (-1, 0.5, 1), (0.3, 1, 0.8), (-1, -0.3, 0.6)]


def found_direction(direction, yaw: float) -> np.ndarray:
    """From a mottled, noisy face of one tone."""
    rng = np.random.default_rng(5)
    n = face_normals(yaw)
    albedo = [0.42, 0.25, 0.18] * np.exp(rng.normal(0, 0.12, (468, 1)))
    seen = albedo * np.maximum(harmonic_light(lit_from(direction), n), 0) + rng.normal(0, 0.005, (468, 3))
    return dominant_direction(fit_light(seen, n, np.clip(n[:, 2] / 0.5, 0, 1)))


@pytest.mark.parametrize("yaw", [0, 30])
@pytest.mark.parametrize("direction", DIRECTIONS[1:])
def test_side_of_the_light(direction, yaw):
    """In the picture plane: which side, how high."""
    found, truth = found_direction(direction, yaw)[:2], np.asarray(direction)[:2]
    angle = np.degrees(np.arccos(np.clip(found @ truth / np.linalg.norm(found) / np.linalg.norm(truth), -1, 1)))
    assert angle < 12, angle


def test_light_direction_within_eight_degrees():
    angles = [
        np.degrees(np.arccos(np.clip(found_direction(d, yaw) @ d / np.linalg.norm(d), -1, 1)))
        for d in DIRECTIONS
        for yaw in (0, 30)
    ]
    assert max(angles) < 8, np.round(angles, 1)


def test_fit_reproduces_radiance_and_ignores_blemishes():
    n = face_normals()
    light = lit_from((1, 0.2, 1))
    clean = np.array([0.4, 0.25, 0.2]) * harmonic_light(light, n)
    dirty = clean.copy()
    dirty[::9] *= 0.2  # moles, brows
    dirty[4::31] = 3.0  # highlights
    found = fit_light(dirty, n, np.clip(n[:, 2], 0, 1))
    front = n[:, 2] > 0.5
    error = np.abs(harmonics(n[front]) @ found / clean[front] - 1)
    assert np.median(error) < 0.05 and np.quantile(error, 0.9) < 0.15, (np.median(error), np.quantile(error, 0.9))


def test_fit_scales_with_exposure():
    n = face_normals()
    seen = np.array([0.4, 0.25, 0.2]) * harmonic_light(lit_from((1, 0.2, 1)), n)
    w = np.ones(468)
    np.testing.assert_allclose(fit_light(seen * 8, n, w), 8 * fit_light(seen, n, w), rtol=1e-6)


def test_fit_of_darkness_is_finite():
    n = face_normals()
    assert np.isfinite(fit_light(np.zeros((468, 3)), n, np.ones(468))).all()
    assert np.isfinite(fit_light(np.zeros((468, 3)), n, np.zeros(468))).all()


def test_shading_is_floored_and_never_zero():
    light = lit_from((0, 0, 1), ambient=0.1, strength=1.0)
    back = np.array([[0.0, 0.0, -1.0]])
    assert (shading(light, back) > 0.1).all()
    assert (shading(np.zeros((9, 3)), back) > 0).all()
    up = np.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(shading(light, up), harmonics(up) @ light)
    assert dominant_direction(np.zeros((9, 3))) == pytest.approx(np.zeros(3))
