"""Sharpness and grain of textures made sharp, soft and noisy by known amounts."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from synthetic import person

from digidouble.perception.detail import grain, sharpness

INSIDE = np.zeros((160, 160), bool)
INSIDE[20:140, 20:140] = True


def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.5 + 0.1 * cv2.GaussianBlur(rng.normal(size=(160, 160)), (0, 0), 0.7) / 0.4).astype(np.float32)


def test_sharpness_falls_with_blur():
    luma = texture()
    ladder = [sharpness(cv2.GaussianBlur(luma, (0, 0), s) if s else luma, INSIDE) for s in (0, 0.6, 1.0, 1.6, 2.5)]
    assert all(a > 1.15 * b for a, b in pairwise(ladder)), ladder


def test_sharpness_does_not_depend_on_contrast():
    luma = texture()
    assert sharpness(0.5 + 0.4 * (luma - 0.5), INSIDE) == pytest.approx(sharpness(luma, INSIDE), rel=0.01)


@pytest.mark.parametrize("sigma", [0.004, 0.01, 0.025])
def test_grain_of_known_noise(sigma):
    """White noise on drawn skin: within 20 % of its standard deviation."""
    skin = np.sqrt(person(2).albedo[80:240, 80:240, 1]).astype(np.float32)
    smooth = cv2.GaussianBlur(skin, (0, 0), 2)
    noisy = (smooth + np.random.default_rng(1).normal(0, sigma, smooth.shape)).astype(np.float32)
    assert grain(noisy, INSIDE) == pytest.approx(sigma, rel=0.2)


def test_grain_of_a_clean_ramp_is_nothing():
    ramp = np.tile(np.linspace(0.2, 0.8, 160, dtype=np.float32), (160, 1))
    assert grain(ramp, INSIDE) < 5e-4


def test_known_grain_is_taken_off_sharpness():
    soft = cv2.GaussianBlur(texture(), (0, 0), 1.2)
    noisy = (soft + np.random.default_rng(2).normal(0, 0.02, soft.shape)).astype(np.float32)
    truth = sharpness(soft, INSIDE)
    assert sharpness(noisy, INSIDE) > 1.5 * truth
    assert sharpness(noisy, INSIDE, 0.02) == pytest.approx(truth, abs=0.1)


def test_too_small_a_region_says_nothing():
    nowhere = np.zeros((160, 160), bool)
    assert sharpness(texture(), nowhere) == 0 and grain(texture(), nowhere) == 0
