from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.bench import pictures


@pytest.fixture
def page() -> np.ndarray:
    """A picture with soft and fine detail in every channel."""
    rng = np.random.default_rng(3)
    coarse = cv2.resize(rng.uniform(60, 200, (12, 12, 3)).astype(np.float32), (160, 160), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + 8 * rng.standard_normal((160, 160, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def disc() -> np.ndarray:
    y, x = np.mgrid[:160, :160]
    return np.hypot(x - 80, y - 80) < 55


def blurred(page: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(page, (0, 0), sigma) if sigma else page


def test_likeness_is_best_for_the_truth_and_falls_with_blur(page, disc):
    found = [blurred(page, s) for s in (0, 0.7, 1.5, 4)]
    assert pictures.psnr_db(page, page, disc) == 99 and pictures.ssim(page, page, disc) == pytest.approx(1)
    for metric, sign in ((pictures.psnr_db, -1), (pictures.ssim, -1), (pictures.gradient_error, 1)):
        values = [sign * metric(p, page, disc) for p in found]
        assert values == sorted(values) and values[0] < values[1]


def test_psnr_of_a_known_error(page, disc):
    gray = np.full_like(page, 100)
    assert pictures.psnr_db(gray + 10, gray, disc) == pytest.approx(20 * np.log10(25.5))
    damaged = page.copy()
    damaged[~disc] = 0
    assert pictures.psnr_db(damaged, page, disc) == 99  # outside the mask nothing counts


def test_ssim_agrees_with_scikit_image(page):
    metrics = pytest.importorskip("skimage.metrics")
    other = blurred(page, 1.2)
    gray = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (page, other)]
    _, whole = metrics.structural_similarity(
        *gray, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    inside = np.zeros((160, 160), bool)
    inside[12:-12, 12:-12] = True
    assert pictures.ssim(page, other, inside) == pytest.approx(float(whole[inside].mean()), abs=2e-3)


def test_fine_detail_falls_with_blur_and_not_with_brightness(page, disc):
    values = [pictures.fine_detail(blurred(page, s), disc) for s in (0, 0.6, 1.2, 3)]
    assert values == sorted(values, reverse=True) and values[1] < 0.8 * values[0]
    darker = (page * 0.5).astype(np.uint8)
    assert pictures.fine_detail(darker, disc) == pytest.approx(values[0], rel=0.1)


def test_flow_follows_a_shift(page):
    moved = np.roll(blurred(page, 1.5), (2, 3), axis=(0, 1))
    there = pictures.flow(blurred(page, 1.5), moved)
    assert np.median(there[30:-30, 30:-30], axis=(0, 1)) == pytest.approx([3, 2], abs=0.3)
    back = pictures.flow(moved, blurred(page, 1.5))
    assert pictures.trusted(there, back)[30:-30, 30:-30].mean() > 0.9
    assert not pictures.trusted(there, there)[30:-30, 30:-30].any()  # flow that does not lead home


def test_warp_error_sees_flicker_and_not_motion(page, disc):
    first = blurred(page, 1.5)
    second = np.roll(first, 2, axis=1)
    there = pictures.flow(first, second)
    still = pictures.warp_error(first, second, there, disc)
    steps = [
        pictures.warp_error(first, np.clip(second.astype(int) + d, 0, 255).astype(np.uint8), there, disc)
        for d in (4, 8, 16)
    ]
    assert still < 1.5 < steps[0] < steps[1] < steps[2]
    assert steps[2] - steps[1] == pytest.approx(8, abs=1)
    stuck = pictures.warp_error(first, first, there, disc)  # texture that does not move with the face
    assert stuck > 3 * still


def test_seam_step_is_the_tint_inside(page, disc):
    def tinted(amount: float) -> np.ndarray:
        out = page.astype(np.float32)
        out[disc] += [amount, 0, -amount]
        return np.clip(out, 0, 255).astype(np.uint8)

    values = [pictures.seam_step(tinted(a), page, disc) for a in (0, 6, 12, 24)]
    assert values[0] == 0
    assert values[1] < values[2] < values[3] and values[3] / values[1] == pytest.approx(4, rel=0.2)
    # A tint of the whole picture is no seam; a tint that fades out before the border is none either.
    assert (
        pictures.seam_step(np.clip(page.astype(int) + np.array([5, 0, -5]), 0, 255).astype(np.uint8), page, disc)
        < 0.3 * values[1]
    )
    inner = page.copy()
    inner[70:90, 70:90] = 0
    assert pictures.seam_step(inner, page, disc) == 0
