"""Sharpness, motion blur and grain of a layer, by measure."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from digidouble.perception.detail import sharpness
from digidouble.refine import add_grain, match_sharpness, motion_blur
from digidouble.refine.detail import HELD_BACK
from digidouble.schema.frame import Roi
from digidouble.schema.layers import Layer

H, W = 160, 180
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def layer(blur: float = 0.0) -> Layer:
    """A textured disc with a feathered edge."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(H, W, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 0.8)
    rgb = np.clip(0.35 + 0.12 * texture / texture.std(), 0.01, 1)
    if blur:
        rgb = cv2.GaussianBlur(rgb, (0, 0), blur)
    ys, xs = np.mgrid[0:H, 0:W]
    r = np.hypot(ys - H / 2, xs - W / 2)
    inside = r < 60
    alpha = np.clip((60 - r) / 12, 0, 1).astype(np.float32)
    rgb = (rgb * inside[..., None]).astype(np.float32)
    depth = np.where(inside, 1.0, np.inf).astype(np.float32)
    return Layer(
        1, Roi(0, 0, W, H), rgb, alpha, depth, np.where(inside, 0, -1).astype(np.int32), np.zeros((H, W, 2), np.float32)
    )


def measured(k: Layer) -> float:
    return sharpness(np.sqrt(np.maximum(k.rgb @ LUMA, 0)), k.alpha > 0.9)


@pytest.mark.parametrize("share", [0.85, 0.6, 0.4])
def test_a_sharp_double_comes_down_to_the_plate(share):
    sharp = layer()
    target = share * measured(sharp)
    assert measured(match_sharpness(sharp, target)) == pytest.approx(HELD_BACK * target, rel=0.10)


def test_a_soft_double_stays_as_it_is():
    soft = layer(1.5)
    assert match_sharpness(soft, 2 * measured(soft)) is soft
    assert match_sharpness(soft, 0.0) is soft  # nothing was measured on the plate


def test_blurring_keeps_colour_and_coverage_and_draws_nothing_in():
    sharp = layer()
    out = match_sharpness(sharp, 0.4 * measured(sharp))
    assert out.alpha is sharp.alpha
    inside = sharp.alpha > 0.9
    np.testing.assert_allclose(out.rgb[inside].mean(0), sharp.rgb[inside].mean(0), rtol=0.01)
    rim = (sharp.alpha > 0.01) & (sharp.alpha < 0.1)
    assert out.rgb[rim].mean() > 0.9 * sharp.rgb[rim].mean()  # the black outside did not bleed in


def impulse() -> Layer:
    k = layer()
    rgb, alpha = np.zeros((H, W, 3), np.float32), np.zeros((H, W), np.float32)
    alpha[80, 90] = 1
    rgb[80, 90] = 1
    return replace(k, rgb=rgb, alpha=alpha, triangle=np.zeros((H, W), np.int32))


@pytest.mark.parametrize("motion", [(12.0, 0.0), (0.0, 20.0), (15.0, 15.0), (-9.0, 24.0)])
def test_motion_blur_conserves_energy_and_has_the_shutters_length(motion):
    """An impulse becomes a box of half the motion: sum 1, variance length^2 / 12 along, little across."""
    out = motion_blur(impulse(), np.array(motion))
    assert out.alpha.sum() == pytest.approx(1, abs=1e-3) and out.rgb[..., 0].sum() == pytest.approx(1, abs=1e-3)
    ys, xs = np.mgrid[0:H, 0:W]
    d = np.array(motion) / np.hypot(*motion)
    along, across = (xs - 90) * d[0] + (ys - 80) * d[1], -(xs - 90) * d[1] + (ys - 80) * d[0]
    assert abs((out.alpha * along).sum()) < 0.05 and abs((out.alpha * across).sum()) < 0.05
    length = np.sqrt(12 * (out.alpha * along**2).sum())
    assert length == pytest.approx(0.5 * np.hypot(*motion), rel=0.15)
    assert (out.alpha * across**2).sum() < 0.6


def test_slow_and_absurd_motion():
    k = layer()
    assert motion_blur(k, np.array([2.0, 1.0])) is k and motion_blur(k, np.zeros(2)) is k
    out = motion_blur(k, np.array([4000.0, 0.0]))
    assert np.isfinite(out.rgb).all() and out.alpha.min() > -1e-9 and out.alpha.max() <= 1


def test_flat_skin_stays_flat_under_motion():
    k = layer()
    flat = replace(k, rgb=np.repeat(np.where(k.triangle[..., None] >= 0, np.float32(0.3), np.float32(0)), 3, 2))
    out = motion_blur(flat, np.array([16.0, 4.0]))
    np.testing.assert_allclose(out.rgb[out.alpha > 0.02], 0.3, atol=0.002)


@pytest.mark.parametrize("sigma", [0.005, 0.02])
def test_grain_has_the_sigma_asked_for(sigma):
    k = replace(layer(), rgb=np.full((H, W, 3), 0.3, np.float32))
    shown = np.sqrt(add_grain(k, sigma, (4, 1)).rgb) - np.sqrt(0.3)
    assert shown.std() == pytest.approx(sigma, rel=0.1)
    assert abs(shown.mean()) < 0.1 * sigma
    np.testing.assert_allclose(shown[..., 0], shown[..., 2], atol=1e-5)  # luminance only


def test_grain_belongs_to_frame_and_track():
    k = layer()
    a = add_grain(k, 0.01, (4, 1)).rgb
    assert (a == add_grain(k, 0.01, (4, 1)).rgb).all()
    for other in ((5, 1), (4, 2), (1, 4)):
        b = add_grain(k, 0.01, other).rgb
        x, y = (np.sqrt(v[60:100, 60:110, 1]) - np.sqrt(k.rgb[60:100, 60:110, 1]) for v in (a, b))
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 0.15


def test_no_grain_on_a_clean_plate_and_none_below_black():
    k = layer()
    assert add_grain(k, 0.0005, (4, 1)) is k
    assert (add_grain(replace(k, rgb=k.rgb * 0), 0.05, (4, 1)).rgb >= 0).all()


def test_inputs_are_never_changed():
    k = layer()
    before = k.rgb.copy(), k.alpha.copy()
    match_sharpness(k, 0.1)
    motion_blur(k, np.array([20.0, 0.0]))
    add_grain(k, 0.02, (0, 1))
    assert (k.rgb == before[0]).all() and (k.alpha == before[1]).all()


def test_a_smear_leaves_the_double_as_sharp_as_the_plate():
    """A fast face that the plate's short shutter still shows sharp is not smeared by half a frame."""
    sharp, motion = layer(), np.array([24.0, 0.0])
    full = motion_blur(sharp, motion)
    plate = 0.95 * measured(sharp)
    held = motion_blur(sharp, motion, plate)
    assert measured(full) < 0.85 * plate
    assert measured(held) >= 0.9 * plate
    assert motion_blur(sharp, motion, measured(sharp)) is sharp  # nothing at all may go
    np.testing.assert_array_equal(motion_blur(sharp, motion, 1e-3).rgb, full.rgb)  # a soft plate takes it all
