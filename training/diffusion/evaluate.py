"""Does restored skin have the spectrum of real skin, and does nothing below the band move?"""

from __future__ import annotations

import numpy as np
import torch
from bank import PATCH, SMALL, Bank
from model import DetailNet, high_band
from torch import Tensor
from torch.nn import functional

RINGS = 16
TOP = 13  # rings from here on hold only rounding and JPEG noise in the real skin
LUMA = (0.2126, 0.7152, 0.0722)


def spectrum(x: Tensor) -> Tensor:
    """Radial power spectrum of luminance [n, 3, 64, 64], mean over patches, [RINGS] from zero to Nyquist (Hann window)."""
    luma = (x * torch.tensor(LUMA, device=x.device)[None, :, None, None]).sum(1)
    window = torch.hann_window(PATCH, periodic=False, device=x.device)
    power = torch.fft.fft2((luma - luma.mean((1, 2), keepdim=True)) * window[:, None] * window).abs() ** 2
    f = torch.fft.fftfreq(PATCH, device=x.device)
    ring = (torch.sqrt(f[:, None] ** 2 + f[None] ** 2) * 2 * RINGS).long()
    return torch.stack([power[:, ring == k].mean() for k in range(RINGS)])


def unsharp(low: Tensor, scale: float, amount: float) -> Tensor:
    """The condition with its own finest band raised."""
    sigma = 0.6 * scale
    t = torch.arange(-6, 7, device=low.device, dtype=low.dtype)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    soft = functional.conv2d(functional.pad(low, (6, 6, 6, 6), mode="reflect"), kernel, groups=3)
    return low + amount * (low - functional.conv2d(soft, kernel.transpose(2, 3), groups=3))


def distance(spectrum_: Tensor, truth: Tensor, scale: float) -> float:
    """Mean relative error of the power over the rings that the condition does not hold and real skin does."""
    band = slice(int(np.ceil(RINGS / scale)), TOP)
    return float((spectrum_[band] / truth[band] - 1).abs().mean())


def best_unsharp(bank: Bank, small: int) -> float:
    """The amount whose spectrum is nearest to real skin's on these people: the baseline at its best."""
    p = bank.batch(512, small, False)
    truth = spectrum(p.real)
    amounts = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
    return min(amounts, key=lambda a: distance(spectrum(unsharp(p.low, p.scale, a)), truth, p.scale))


@torch.no_grad()
def evaluate(model: DetailNet, bank: Bank, amounts: dict[int, float], count: int = 1024) -> dict[str, dict[str, float]]:
    """scale -> scores: spectrum errors of bicubic, unsharp and restored, change of the low band in 1/255, PSNR of bicubic and restored."""
    out = {}
    rng = torch.Generator(bank.device).manual_seed(11)
    state = bank.rng.get_state()
    bank.rng.manual_seed(12)
    for small in SMALL:
        rows: dict[str, list[Tensor]] = {"real": [], "low": [], "sharp": [], "restored": []}
        moved, before, after = [], [], []
        for _ in range(max(1, count // 128)):
            p = bank.batch(min(128, count), small, False)
            noise = torch.randn(p.low.shape, device=bank.device, generator=rng)
            detail = high_band(model.sample(p.low, p.place, noise), p.scale)
            restored = p.low + detail
            for key, x in (
                ("real", p.real),
                ("low", p.low),
                ("sharp", unsharp(p.low, p.scale, amounts[small])),
                ("restored", restored),
            ):
                rows[key].append(spectrum(x))
            soft = functional.avg_pool2d(detail, int(2 * p.scale), 1)
            moved.append(soft.abs().mean() * 255)
            before.append(((p.low - p.real) ** 2).mean())
            after.append(((restored - p.real) ** 2).mean())
        mean = {k: torch.stack(v).mean(0) for k, v in rows.items()}
        psnr = lambda v: float(-10 * torch.log10(torch.stack(v).mean()))  # noqa: E731
        out[f"{PATCH / small:.2f}"] = {
            "bicubic": distance(mean["low"], mean["real"], PATCH / small),
            "unsharp": distance(mean["sharp"], mean["real"], PATCH / small),
            "restored": distance(mean["restored"], mean["real"], PATCH / small),
            "low_band_255": float(torch.stack(moved).mean()), "psnr_bicubic": psnr(before), "psnr_restored": psnr(after),
            "rings_restored": [round(float(v), 3) for v in mean["restored"] / mean["real"]],
            "rings_bicubic": [round(float(v), 3) for v in mean["low"] / mean["real"]],
        }  # fmt: skip
    bank.rng.set_state(state)
    return out


@torch.no_grad()
def sheet(model: DetailNet, bank: Bank, amounts: dict[int, float], count: int = 12) -> np.ndarray:
    """Blocks of rows (bicubic, unsharp, restored, real), one block a scale, one column a patch, three times enlarged. BGR."""
    rng = torch.Generator(bank.device).manual_seed(3)
    rows = []
    for small in (SMALL[0], SMALL[-1]):
        bank.rng.manual_seed(21)
        p = bank.batch(count, small, False)
        detail = high_band(
            model.sample(p.low, p.place, torch.randn(p.low.shape, device=bank.device, generator=rng)), p.scale
        )
        rows += [p.low, unsharp(p.low, p.scale, amounts[small]), p.low + detail, p.real]
    shown = torch.stack(rows).permute(0, 3, 1, 4, 2).reshape(len(rows) * PATCH, -1, 3).clamp(0, 1) ** 0.8
    picture = (shown * 255).cpu().numpy().astype(np.uint8)[..., ::-1]
    return np.repeat(np.repeat(picture, 2, 0), 2, 1)
