"""The detail network: conditional flow matching over the high band of skin in UV, sampled in four Euler steps.

Straight-line flow (Lipman et al. 2023, Liu et al. 2023): x_t = (1 - t) noise + t detail, the noise coloured like skin detail in the
mean (`Prior`); the network predicts detail - noise.
After the second half of the training the flow is straightened by its own samples ("reflow"), so that four steps suffice.

Inputs (float32), height and width multiples of 8:
    low    [n, 3, h, w]  band-limited skin, display-referred sRGB 0..1: a picture enlarged by the factor `scale`.
    place  [n, 4, h, w]  u and v 0..1; log2 of scale (1..2); log2(texels of the whole UV square / 512).
    noise  [n, 3, h, w]  standard normal, anchored in UV by the caller, so that detail stays on the skin.
Output: detail [n, 3, h, w], to be added to `low` after `high_band`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

UNIT = 0.01  # typical standard deviation of the high band, display-referred
STEPS = 4
BAND = 0.8  # sigma of the high-pass in units of the scale


def high_band(x: Tensor, scale: float) -> Tensor:
    """What is finer than the condition could show: x minus its Gaussian, twice. Means and low frequencies go by construction."""
    sigma = BAND * scale
    radius = int(3 * sigma + 0.5)
    t = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for _ in range(2):
        flat = functional.pad(x.reshape(-1, 1, *x.shape[-2:]), (radius,) * 4, mode="reflect")
        flat = functional.conv2d(functional.conv2d(flat, kernel[None, None, None]), kernel[None, None, :, None])
        x = x - flat.reshape(x.shape)
    return x


class Block(nn.Module):
    """Two 3x3 convolutions and a residual; time scales and shifts between them. No norm: skin detail is small and its size matters."""

    def __init__(self, inward: int, outward: int, time: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inward, outward, 3, padding=1), nn.Conv2d(outward, outward, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        self.time = nn.Linear(time, 2 * outward)
        self.same = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Same height and width."""
        scale, shift = self.time(t)[..., None, None].chunk(2, 1)
        y = self.first(functional.silu(x))
        return self.same(x) + self.second(functional.silu(y * (1 + scale) + shift))


SCALES = (2.0, 64 / 24, 3.2, 4.0)
TAPS = 15


class Prior(nn.Module):
    """White noise to noise with the mean spectrum and colours of skin detail at a scale: the flow's start, already close.

    Spectra and colours are measured on the training people; between the four scales the kernels are blended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.zeros(len(SCALES) * 3, 3, TAPS, TAPS))
        identity = torch.zeros(3, 3, TAPS, TAPS)
        identity[range(3), range(3), TAPS // 2, TAPS // 2] = 1
        self.register_buffer("finish", identity.repeat(len(SCALES), 1, 1, 1))
        self.register_buffer("levels", torch.log2(torch.tensor(SCALES)))

    @torch.no_grad()
    def measure(self, index: int, detail: Tensor) -> None:
        """Set one scale's kernels from detail [n, 3, s, s] in UNITs."""
        flat = detail.transpose(0, 1).flatten(1)
        mix = torch.linalg.cholesky(torch.cov(flat) + 1e-6 * torch.eye(3, device=detail.device))
        kernel = isotropic(mean_power(detail))
        self.kernels[3 * index : 3 * index + 3] = mix[..., None, None] * kernel / kernel.norm()

    @torch.no_grad()
    def measure_finish(self, index: int, sampled: Tensor, detail: Tensor) -> None:
        """Set one scale's last filter, so that sampled detail has the mean spectrum of real detail; at most a factor 1.6."""
        wanted = mean_power(detail), mean_power(sampled)
        smooth = [torch.fft.fft2(functional.pad(isotropic(w), (0, sampled.shape[-1] - TAPS) * 2)).abs() for w in wanted]
        response = (smooth[0] / (smooth[1] + 1e-3)).clamp(0.5, 1.6)
        self.finish[3 * index : 3 * index + 3] = torch.eye(3, device=detail.device)[..., None, None] * isotropic(
            response**2
        )

    def forward(self, noise: Tensor, place: Tensor) -> Tensor:
        """Coloured noise, same shape."""
        return blended(self.kernels, self.levels, noise, place[:, 2:3, :1, :1])

    def finished(self, detail: Tensor, place: Tensor) -> Tensor:
        """Sampled detail after the last filter, same shape."""
        return blended(self.finish, self.levels, detail, place[:, 2:3, :1, :1])


def blended(kernels: Tensor, levels: Tensor, x: Tensor, level: Tensor) -> Tensor:
    """x [n, 3, h, w] filtered by the kernels [3 scales, 3, taps, taps] around each sample's log2 scale."""
    padded = functional.pad(x, (TAPS // 2,) * 4, mode="reflect")
    out, last = torch.zeros_like(x), len(SCALES) - 1
    for k in range(len(SCALES)):
        left = (level - levels[k - 1]) / (levels[k] - levels[k - 1]) if k else torch.ones_like(level)
        right = torch.ones_like(level) if k == last else (levels[k + 1] - level) / (levels[k + 1] - levels[k])
        out = out + torch.minimum(left, right).clamp(0, 1) * functional.conv2d(padded, kernels[3 * k : 3 * k + 3])
    return out


def isotropic(power: Tensor) -> Tensor:
    """[TAPS, TAPS] kernel whose power response is the ring mean of `power` [s, s]."""
    s = power.shape[-1]
    f = torch.fft.fftfreq(s, device=power.device)
    ring = (torch.sqrt(f[:, None] ** 2 + f[None] ** 2) * s).round().long()
    total = torch.zeros(int(ring.max()) + 1, device=power.device).index_add_(0, ring.flatten(), power.flatten())
    kernel = torch.fft.fftshift(torch.fft.ifft2((total / torch.bincount(ring.flatten()))[ring].sqrt()).real)
    c, r = s // 2, TAPS // 2
    return kernel[c - r : c + r + 1, c - r : c + r + 1]


def mean_power(x: Tensor) -> Tensor:
    """[s, s] mean power spectrum of x [n, 3, s, s]."""
    return (torch.fft.fft2(x).abs() ** 2).mean((0, 1)) / x.shape[-1] ** 2


class DetailNet(nn.Module):
    """U-Net over h, h/2, h/4, h/8; fully convolutional; about 2 M parameters at the default widths."""

    def __init__(self, widths: tuple[int, int, int, int] = (48, 64, 96, 128), time: int = 96) -> None:
        super().__init__()
        self.frequencies = 16
        self.prior = Prior()
        self.time = nn.Sequential(nn.Linear(2 * self.frequencies, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = nn.Conv2d(13, widths[0], 3, padding=1)
        self.encode = nn.ModuleList([nn.ModuleList([Block(w, w, time), Block(w, w, time)]) for w in widths])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths)])
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in pairwise(widths)])
        self.decode = nn.ModuleList([Block(2 * w, w, time) for w in widths[:-1]])
        self.last = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def velocity(self, x: Tensor, low: Tensor, place: Tensor, t: Tensor) -> Tensor:
        """Detail minus noise at time t [n]."""
        k = torch.arange(self.frequencies, device=t.device, dtype=t.dtype)
        angle = t[:, None] * torch.exp(k * 0.35)[None]
        told = self.time(torch.cat([torch.sin(angle), torch.cos(angle)], 1))
        # The condition's own finest octave tells what kind of surface this is.
        fine = (low - functional.avg_pool2d(functional.pad(low, (2, 2, 2, 2), mode="replicate"), 5, 1)) / UNIT
        y = self.stem(torch.cat([x, low * 4 - 2, fine, place * 2 - 1], 1))
        skips = []
        for level, blocks in enumerate(self.encode):
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                y = block(y, told)
            if level < len(self.down):
                skips.append(y)
                y = self.down[level](y)
        for level in reversed(range(len(self.down))):
            y = self.up[level](functional.interpolate(y, scale_factor=2.0, mode="nearest"))
            y = self.decode[level](torch.cat([y, skips[level]], 1), told)
        return self.last(functional.silu(y))

    def sample(self, low: Tensor, place: Tensor, noise: Tensor, steps: int = STEPS) -> Tensor:
        """Euler from white noise to detail; in units of display-referred colour."""
        x = self.prior(noise, place)
        for k in range(steps):
            t = torch.full_like(low[:, 0, 0, 0], k / steps)
            x = x + self.velocity(x, low, place, t) / steps
        return self.prior.finished(x, place) * UNIT

    def forward(self, low: Tensor, place: Tensor, noise: Tensor) -> Tensor:
        """The exported graph: four steps unrolled."""
        return self.sample(low, place, noise)
