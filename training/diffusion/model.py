"""The detail network: conditional flow matching over the high band of skin in UV, sampled in four Euler steps.

Straight-line flow (Lipman et al. 2023, Liu et al. 2023): x_t = (1 - t) noise + t detail; the network predicts detail - noise.
After the second half of the training the flow is straightened by its own samples ("reflow"), so that four steps suffice.

Inputs (float32), height and width multiples of 8:
    low    [n, 3, h, w]  band-limited skin, display-referred sRGB 0..1: a picture enlarged by the factor `scale`.
    place  [n, 4, h, w]  u and v 0..1; log2 of scale (1..2); log2(texels of the whole UV square / 512).
    noise  [n, 3, h, w]  standard normal, anchored in UV by the caller, so that detail stays on the skin.
Output: detail [n, 3, h, w], to be added to `low` after `high_band`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

UNIT = 0.02  # typical standard deviation of the high band, display-referred
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
    """Two 3x3 convolutions with group norm and a residual; time scales and shifts the second."""

    def __init__(self, inward: int, outward: int, time: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inward, outward, 3, padding=1), nn.Conv2d(outward, outward, 3, padding=1)
        self.norm, self.norm2 = nn.GroupNorm(8, inward), nn.GroupNorm(8, outward)
        self.time = nn.Linear(time, 2 * outward)
        self.same = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Same height and width."""
        y = self.first(functional.silu(self.norm(x)))
        scale, shift = self.time(t)[..., None, None].chunk(2, 1)
        return self.same(x) + self.second(functional.silu(self.norm2(y) * (1 + scale) + shift))


class DetailNet(nn.Module):
    """U-Net over h, h/2, h/4, h/8; fully convolutional; about 3 M parameters at the default widths."""

    def __init__(self, widths: tuple[int, int, int, int] = (40, 72, 112, 144), time: int = 96) -> None:
        super().__init__()
        self.frequencies = 16
        self.time = nn.Sequential(nn.Linear(2 * self.frequencies, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = nn.Conv2d(13, widths[0], 3, padding=1)
        self.encode = nn.ModuleList([nn.ModuleList([Block(w, w, time), Block(w, w, time)]) for w in widths])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths[:-1], widths[1:], strict=True)])
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in zip(widths[:-1], widths[1:], strict=True)])
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
        """Euler from noise to detail; in units of display-referred colour."""
        x = noise
        for k in range(steps):
            t = torch.full_like(low[:, 0, 0, 0], k / steps)
            x = x + self.velocity(x, low, place, t) / steps
        return x * UNIT

    def forward(self, low: Tensor, place: Tensor, noise: Tensor) -> Tensor:
        """The exported graph: four steps unrolled."""
        return self.sample(low, place, noise)
