"""The matte network: a small U-Net from a 128 x 128 crop and its mesh hull to the coverage of the visible face.

Input [n, 4, 128, 128]: display-referred sRGB 0..1 in the order R, G, B, then the hull's coverage 0..1. Output
[n, 1, 128, 128] in 0..1, already multiplied by the hull. Centring of the pixels is inside the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual; the first may change the width."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward))

    def forward(self, x: Tensor) -> Tensor:
        """Same height and width."""
        x = self.first(x)
        return functional.relu(x + self.second(x))


def half(inward: int, outward: int) -> nn.Module:
    """A strided convolution to half the size."""
    return nn.Sequential(nn.Conv2d(inward, outward, 3, 2, 1, bias=False), nn.BatchNorm2d(outward), nn.ReLU())


class MatteNet(nn.Module):
    """Encoder at 64, 32, 16 and 8 px, decoder back to 128 px with skips; about 0.9 M parameters at the default widths."""

    def __init__(self, widths: tuple[int, int, int, int] = (20, 40, 72, 108)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.down = nn.ModuleList([half(8, a), half(a, b), half(b, c), half(c, d)])
        self.encode = nn.ModuleList([Block(a, a), Block(b, b), Block(c, c), Block(d, d)])
        self.context = nn.Sequential(
            nn.Conv2d(d, d, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(d), nn.ReLU(), Block(d, d)
        )
        self.narrow = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1), nn.Conv2d(a, 8, 1)])
        self.decode = nn.ModuleList([Block(c, c), Block(b, b), Block(a, a)])
        self.last = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def logits(self, x: Tensor) -> Tensor:
        """Before the sigmoid and the hull; what the loss sees."""
        x = torch.cat([x[:, :3] * 4 - 2, x[:, 3:] * 2 - 1], 1)
        skips = [self.stem(x)]
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(encode(down(skips[-1])))
        y = self.context(skips.pop())
        for narrow, decode in zip(self.narrow[:3], self.decode, strict=True):
            y = decode(functional.interpolate(narrow(y), scale_factor=2.0, mode="bilinear") + skips.pop())
        y = functional.interpolate(self.narrow[3](y), scale_factor=2.0, mode="bilinear") + skips.pop()
        return self.last(y)

    def forward(self, x: Tensor) -> Tensor:
        """Coverage of the visible face, 0 outside the hull."""
        return torch.sigmoid(self.logits(x)) * x[:, 3:]
