"""RAFT: recurrent all-pairs field transforms for optical flow (Teed & Deng, ECCV 2020), from the paper.

Two frames are encoded at 1/8 of their size; the dot products of all pairs of features form a pyramid of correlations. A gated
recurrent unit looks the pyramid up around where the flow points now, and corrects the flow, again and again. A learned convex
combination brings the last answer to full size.

Parameters carry the names and shapes of torchvision's `raft_large` (at `LARGE`), so that the weights published there load with
`strict=True`; `tests/training/test_flow.py` holds the table. Frames are [n, 3, h, w] in 0..1; h and w multiples of 8, at least 128.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8
LEVELS = 4


@dataclass(frozen=True)
class Widths:
    """Channels of every part, and how far around the flow's end the correlations are read."""

    encoder: tuple[int, int, int, int, int] = (64, 64, 96, 128, 256)
    hidden: int = 128
    corr: tuple[int, int] = (256, 192)
    flow: tuple[int, int] = (128, 64)
    motion: int = 128
    head: int = 256
    mask: int = 256
    radius: int = 4

    @property
    def context(self) -> int:
        """Channels of the context encoder that are not the initial hidden state."""
        return self.encoder[-1] - self.hidden


LARGE = Widths()
TINY = Widths((8, 8, 12, 16, 32), 16, (24, 16), (12, 8), 16, 24, 24, 3)
Norm = Callable[[int], nn.Module]


def conv(
    inward: int,
    outward: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    norm: Norm | None = None,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (over `stride`), perhaps a norm, perhaps a rectifier."""
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    parts: list[nn.Module] = [nn.Conv2d(inward, outward, size, stride, tuple(k // 2 for k in size))]
    if norm is not None:
        parts.append(norm(outward))
    if relu:
        parts.append(nn.ReLU(inplace=True))
    return nn.Sequential(*parts)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first, and a projection on the shortcut, may halve the size."""

    def __init__(self, inward: int, outward: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.convnormrelu1 = conv(inward, outward, 3, stride, norm)
        self.convnormrelu2 = conv(outward, outward, 3, 1, norm)
        self.downsample = conv(inward, outward, 1, stride, norm, relu=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.downsample(x) + self.convnormrelu2(self.convnormrelu1(x)))


class Encoder(nn.Module):
    """A picture to features at 1/8 of its size."""

    def __init__(self, widths: tuple[int, int, int, int, int], norm: Norm) -> None:
        super().__init__()
        a, b, c, d, out = widths
        self.convnormrelu = conv(3, a, 7, 2, norm)
        self.layer1 = nn.Sequential(Residual(a, b, norm), Residual(b, b, norm))
        self.layer2 = nn.Sequential(Residual(b, c, norm, 2), Residual(c, c, norm))
        self.layer3 = nn.Sequential(Residual(c, d, norm, 2), Residual(d, d, norm))
        self.conv = nn.Conv2d(d, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.layer3(self.layer2(self.layer1(self.convnormrelu(x)))))


class MotionEncoder(nn.Module):
    """Correlations and the present flow to motion features; the flow itself is passed on in the last two channels."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.convcorr1 = conv(LEVELS * (2 * w.radius + 1) ** 2, w.corr[0], 1)
        self.convcorr2 = conv(w.corr[0], w.corr[1], 3)
        self.convflow1 = conv(2, w.flow[0], 7)
        self.convflow2 = conv(w.flow[0], w.flow[1], 3)
        self.conv = conv(w.corr[1] + w.flow[1], w.motion - 2, 3)

    def forward(self, flow: Tensor, corr: Tensor) -> Tensor:
        seen = self.convcorr2(self.convcorr1(corr))
        moved = self.convflow2(self.convflow1(flow))
        return torch.cat([self.conv(torch.cat([seen, moved], 1)), flow], 1)


class ConvGru(nn.Module):
    """A gated recurrent unit whose products are convolutions (Cho et al. 2014; eq. 3-6 of the paper)."""

    def __init__(self, inward: int, hidden: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        pad = tuple(k // 2 for k in kernel)
        self.convz = nn.Conv2d(hidden + inward, hidden, kernel, padding=pad)
        self.convr = nn.Conv2d(hidden + inward, hidden, kernel, padding=pad)
        self.convq = nn.Conv2d(hidden + inward, hidden, kernel, padding=pad)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        both = torch.cat([h, x], 1)
        z, r = torch.sigmoid(self.convz(both)), torch.sigmoid(self.convr(both))
        q = torch.tanh(self.convq(torch.cat([r * h, x], 1)))
        return (1 - z) * h + z * q


class Recurrent(nn.Module):
    """Two units, along rows and along columns."""

    def __init__(self, inward: int, hidden: int) -> None:
        super().__init__()
        self.convgru1 = ConvGru(inward, hidden, (1, 5))
        self.convgru2 = ConvGru(inward, hidden, (5, 1))

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.convgru2(self.convgru1(h, x), x)


class FlowHead(nn.Module):
    """Hidden state to a correction of the flow."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv2(functional.relu(self.conv1(h)))


class Update(nn.Module):
    """One look and one correction."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.motion_encoder = MotionEncoder(w)
        self.recurrent_block = Recurrent(w.motion + w.context, w.hidden)
        self.flow_head = FlowHead(w.hidden, w.head)

    def forward(self, h: Tensor, context: Tensor, corr: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        h = self.recurrent_block(h, torch.cat([context, self.motion_encoder(flow, corr)], 1))
        return h, self.flow_head(h)


class MaskPredictor(nn.Module):
    """Hidden state to the weights of the nine neighbours from which each of 8 x 8 fine pixels is mixed."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.convrelu = conv(w.hidden, w.mask, 3)
        self.conv = nn.Conv2d(w.mask, STRIDE * STRIDE * 9, 1)

    def forward(self, h: Tensor) -> Tensor:
        return 0.25 * self.conv(self.convrelu(h))  # a quarter, to balance its gradients: as the authors trained it


class Raft(nn.Module):
    """Flow from the first to the second frame."""

    def __init__(self, widths: Widths = LARGE, updates: int = 12) -> None:
        super().__init__()
        self.widths, self.updates = widths, updates
        self.feature_encoder = Encoder(widths.encoder, nn.InstanceNorm2d)
        self.context_encoder = Encoder(widths.encoder, nn.BatchNorm2d)
        self.update_block = Update(widths)
        self.mask_predictor = MaskPredictor(widths)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[n, 2, h, w] in pixels, x then y."""
        return self.every(first, second, last_only=True)[-1]

    def every(self, first: Tensor, second: Tensor, last_only: bool = False) -> list[Tensor]:
        """The flow after each update, at full size; what the training loss sees."""
        # Contiguous: with channels-last frames the backward pass of torch 2.13 on a CPU corrupts memory.
        first, second = (2 * first - 1).contiguous(), (2 * second - 1).contiguous()
        a, b = self.feature_encoder(torch.cat([first, second])).chunk(2)
        pyramid = correlations(a, b)
        context = self.context_encoder(first)
        h = torch.tanh(context[:, : self.widths.hidden])
        kept = functional.relu(context[:, self.widths.hidden :])
        start = grid_like(a)
        at, out = start, []
        for k in range(self.updates):
            at = at.detach()  # gradients do not flow through where was looked (section 3.3)
            h, change = self.update_block(h, kept, look_up(pyramid, at, self.widths.radius), at - start)
            at = at + change
            if not last_only or k == self.updates - 1:
                out.append(enlarged(at - start, self.mask_predictor(h)))
        return out


def grid_like(features: Tensor) -> Tensor:
    """[n, 2, h, w]: x and y of every cell."""
    n, _, h, w = features.shape
    y = torch.arange(h, dtype=features.dtype, device=features.device)[:, None].expand(h, w)
    x = torch.arange(w, dtype=features.dtype, device=features.device)[None].expand(h, w)
    return torch.stack([x, y])[None].expand(n, 2, h, w)


def correlations(a: Tensor, b: Tensor) -> list[Tensor]:
    """Dot products of all pairs over the root of the channels, [n * h * w, 1, h', w'] at each level; b's side is halved."""
    n, c, h, w = a.shape
    every = torch.matmul(a.flatten(2).transpose(1, 2), b.flatten(2)) / c**0.5
    pyramid = [every.reshape(n * h * w, 1, h, w)]
    for _ in range(LEVELS - 1):
        pyramid.append(functional.avg_pool2d(pyramid[-1], 2))
    return pyramid


def look_up(pyramid: list[Tensor], at: Tensor, radius: int) -> Tensor:
    """Correlations within `radius` cells of where the flow points, at every level: [n, levels * (2 r + 1)^2, h, w].

    Neighbours are ordered with x as the slow index, as in the published weights.
    """
    n, _, h, w = at.shape
    step = torch.arange(-radius, radius + 1, dtype=at.dtype, device=at.device)
    side = 2 * radius + 1
    around = torch.stack([step[:, None].expand(side, side), step[None].expand(side, side)], -1)
    centre = at.permute(0, 2, 3, 1).reshape(n * h * w, 1, 1, 2)
    found = []
    for level, volume in enumerate(pyramid):
        x, y = (centre / 2**level + around).unbind(-1)
        # Divided by the shape itself, never by a tensor made of it: an exported graph keeps other sizes free.
        place = torch.stack([2 * x / (volume.shape[-1] - 1) - 1, 2 * y / (volume.shape[-2] - 1) - 1], -1)
        seen = functional.grid_sample(volume, place, mode="bilinear", align_corners=True)
        found.append(seen.reshape(n, h, w, side * side))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def enlarged(flow: Tensor, mask: Tensor) -> Tensor:
    """Eight times the size: every fine pixel is a convex combination of the nine coarse ones around it (section 3.3)."""
    n, _, h, w = flow.shape
    weights = torch.softmax(mask.reshape(n, 1, 9, STRIDE, STRIDE, h, w), 2)
    near = functional.unfold(STRIDE * flow, 3, padding=1).reshape(n, 2, 9, 1, 1, h, w)
    fine = (weights * near).sum(2)  # n, 2, 8, 8, h, w
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(n, 2, STRIDE * h, STRIDE * w)


def sequence_loss(answers: list[Tensor], truth: Tensor, gamma: float = 0.8) -> Tensor:
    """L1 of every update, later ones weigh more (eq. 7)."""
    last = len(answers) - 1
    return sum((gamma ** (last - k) * (a - truth).abs().mean() for k, a in enumerate(answers)), truth.new_zeros(()))
