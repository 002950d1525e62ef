"""Skin detail: high frequencies only, whatever the network answers; and the shipped network against its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import recipes

from digidouble.errors import SettingsError
from digidouble.refine.diffusion import SkinDetail, high_band
from digidouble.schema.transfer import srgb_encode

ROOT = Path(__file__).parents[2]


def load(*names: str) -> list[ModuleType]:
    """Modules of training/diffusion; the test is skipped without torch."""
    pytest.importorskip("torch", reason="the training recipe needs torch")
    return recipes.load("diffusion", *names)


class Answers:
    """A network that is a function of its inputs."""

    def __init__(self, function: Callable[[Mapping[str, np.ndarray]], np.ndarray]) -> None:
        self.function, self.calls = function, 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        return {"detail": self.function(inputs).astype(np.float32)}


def skin(size: int, seed: int = 0) -> np.ndarray:
    """Scene-linear skin-like noise with nothing fine in it."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((size, size, 3)), (0, 0), 3, borderType=cv2.BORDER_REFLECT)
    return np.clip([0.35, 0.2, 0.14] * np.exp(0.15 * noise / noise.std()), 0, 1).astype(np.float32)


def test_the_high_band_has_no_low_frequencies() -> None:
    t = np.arange(256)

    def wave(period: float) -> np.ndarray:
        along = np.sin(2 * np.pi * t / period).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(along[None, :, None], (256, 256, 3)))

    middle = (slice(64, 192), slice(64, 192))
    response = lambda period: float(high_band(wave(period), 2.0)[middle].std() / wave(period)[middle].std())  # noqa: E731
    # Independent truth: the Gaussian's transfer function exp(-2 pi^2 sigma^2 f^2), twice over.
    for period in (4, 8, 16, 64):
        assert response(period) == pytest.approx((1 - np.exp(-2 * (np.pi * 1.6 / period) ** 2)) ** 2, abs=0.02)
    assert np.abs(high_band(np.ones((64, 64, 3), np.float32), 4.0)).max() < 1e-5


@pytest.mark.parametrize("wild", [lambda i: np.full_like(i["low"], 0.5), lambda i: 0.3 * i["low"] + i["place"][:, :1]])
def test_a_network_that_answers_with_tone_changes_nothing(
    wild: Callable[[Mapping[str, np.ndarray]], np.ndarray],
) -> None:
    albedo = cv2.GaussianBlur(skin(96), (0, 0), 12, borderType=cv2.BORDER_REFLECT)
    out = SkinDetail(runner=Answers(wild)).enlarged(albedo, 2.0)
    plain = cv2.resize(albedo, (192, 192), interpolation=cv2.INTER_CUBIC)
    assert np.abs(srgb_encode(out) - srgb_encode(plain))[16:-16, 16:-16].max() < 0.5 / 255


def test_tiles_leave_no_seam() -> None:
    ripple = lambda i: 0.05 * np.sin(700 * i["place"][:, :1]) * np.cos(500 * i["place"][:, 1:2]) + 0 * i["low"]  # noqa: E731
    runner = Answers(ripple)
    found = SkinDetail(runner=runner).detail(np.full((608, 608, 3), 0.5, np.float32), 2.0, 0)
    assert runner.calls == 9
    along = (np.arange(608) + 0.5) / 608
    truth = 0.05 * np.sin(700 * along)[None, :, None] * np.cos(500 * along)[:, None, None]
    truth = high_band(np.repeat(truth, 3, -1).astype(np.float32), 2.0)
    assert np.abs(found - truth).max() < 1e-4


def test_detail_is_anchored_by_its_seed_and_held_back_by_the_weight() -> None:
    door = SkinDetail(runner=Answers(lambda i: 0.02 * i["noise"]))
    albedo, weight = skin(128), np.zeros((128, 128), np.float32)
    weight[:, :64] = 1
    one, same, other = (door.enlarged(albedo, 2.0, seed, weight) for seed in (3, 3, 4))
    assert (one == same).all()
    assert np.abs(one - other)[:, :120].std() > 1e-3
    plain = cv2.resize(albedo, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert one[:, 136:] == pytest.approx(plain[:, 136:], abs=1e-5)


@pytest.mark.parametrize(("shape", "factor"), [((64, 64, 3), 1.5), ((64, 64, 3), 4.5), ((2048, 2048, 3), 3.0)])
def test_what_was_never_trained_is_refused(shape: tuple[int, int, int], factor: float) -> None:
    with pytest.raises(SettingsError, match=r"2\.\.4"):
        SkinDetail(runner=Answers(lambda i: i["low"])).enlarged(np.zeros(shape, np.float32), factor)


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_the_shipped_network_adds_detail_and_moves_no_tone(factor: float) -> None:
    albedo = skin(64)
    out = SkinDetail().enlarged(albedo, factor, seed=1)
    texels = out.shape[0]
    plain = srgb_encode(cv2.resize(albedo, (texels, texels), interpolation=cv2.INTER_CUBIC))
    change = srgb_encode(out) - plain
    assert np.isfinite(out).all()
    assert 0.2 / 255 < change.std() < 12 / 255
    assert np.abs(cv2.GaussianBlur(change, (0, 0), 3 * factor)).max() < 0.5 / 255
    assert np.abs(change.mean((0, 1))).max() < 0.1 / 255


def test_the_recipe_and_the_door_mean_the_same_band() -> None:
    (model,) = load("model")
    import torch

    x = np.random.default_rng(0).standard_normal((64, 64, 3)).astype(np.float32)
    for factor in (2.0, 3.2):
        theirs = (
            model.high_band(torch.from_numpy(x.transpose(2, 0, 1)[None].copy()), factor)[0].numpy().transpose(1, 2, 0)
        )
        assert np.abs(theirs - high_band(x, factor)).max() < 1e-4


def test_the_flow_starts_from_noise_like_the_detail_it_was_shown() -> None:
    (model,) = load("model")
    import torch

    torch.manual_seed(0)
    detail = model.high_band(torch.randn(64, 1, 64, 64).repeat(1, 3, 1, 1) + 0.2 * torch.randn(64, 3, 64, 64), 2.0)
    prior = model.Prior()
    prior.measure(0, detail)
    place = torch.ones(64, 4, 64, 64)
    noise = prior(torch.randn(64, 3, 64, 64), place)
    ratio = (model.mean_power(noise) + 1e-3) / (model.mean_power(detail) + 1e-3)
    assert ratio.mean().item() == pytest.approx(1, abs=0.25)
    flat = noise.transpose(0, 1).flatten(1)
    assert torch.corrcoef(flat)[0, 1] > 0.85
    assert torch.allclose(prior.finished(noise, place), noise, atol=1e-6), "unmeasured, the last filter does nothing"


@pytest.mark.slow
def test_the_flow_can_learn_a_texture_by_heart() -> None:
    model, train = load("model", "train")
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    net = model.DetailNet((16, 16, 16, 16), time=16)
    goal = model.high_band(torch.randn(1, 3, 64, 64), 2.0).repeat(8, 1, 1, 1)
    net.prior.measure(0, goal)
    # The condition shows the texture, faintly: what is learnt is to bring it out.
    low, place = 0.5 + 0.005 * goal, torch.ones(8, 4, 64, 64)
    patches = type("P", (), {"low": low, "place": place})
    optimiser, losses = torch.optim.AdamW(net.parameters(), 3e-3), []
    for _ in range(80):
        noise = net.prior(torch.randn_like(goal), place)
        loss = train.flow_loss(net, patches, noise, goal, train.CONFIGS["smoke"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_the_product_measure_knows_a_spectrum() -> None:
    """White noise is flat, noise of half the amplitude has a quarter of the power, and nothing is at no distance from itself."""
    (product,) = recipes.load("diffusion", "product")
    noise = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    everywhere = np.ones((256, 256), bool)
    flat = product.spectrum(noise, everywhere)
    assert flat[product.FIRST : product.TOP].std() / flat[product.FIRST : product.TOP].mean() < 0.1
    assert product.error(flat, flat) == 0
    assert product.error(product.spectrum(0.5 * noise, everywhere), flat) == pytest.approx(0.75)
    assert product.spectrum(noise, ~everywhere) is None
