"""A small vision transformer that answers as SFace does: RGB 0..255 of an aligned 112 px face in, 128 numbers out.

Contract (that of SFace's file, so that either stands behind `perception.identity.IdentityEmbedder`): `data` [n, 3, 112, 112] -> `fc1` [n, 128],
not normalised. Four strided convolutions make 7 x 7 tokens (Xiao et al. 2021, "Early convolutions help transformers see better"), then plain
pre-norm blocks (Dosovitskiy et al. 2020) with learnt places; the mean token is projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE, OUT = 112, 128


@dataclass(frozen=True)
class Size:
    """stem: channels after each stride of two; the last one is the tokens' width."""

    stem: tuple[int, int, int, int] = (24, 48, 96, 160)
    blocks: int = 5
    heads: int = 5
    wider: int = 3


class Block(nn.Module):
    """Attention and a two-layer perceptron, each on a normalised copy."""

    def __init__(self, width: int, heads: int, wider: int, drop: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, drop
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, wider * width), nn.Linear(wider * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, t, c] -> [n, t, c]."""
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.kept(self.out(seen.transpose(1, 2).reshape(n, t, c)))
        return x + self.kept(self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh")))

    def kept(self, x: Tensor) -> Tensor:
        """Whole branches are left out while training (Huang et al. 2016)."""
        if not self.training or self.drop == 0:
            return x
        keep = (torch.rand(len(x), 1, 1, device=x.device) >= self.drop).to(x.dtype)
        return x * keep / (1 - self.drop)


class IdentityNet(nn.Module):
    """See the module's text."""

    def __init__(self, size: Size | None = None) -> None:
        super().__init__()
        size = size or Size()
        layers: list[nn.Module] = []
        before = 3
        for channels in size.stem:
            layers += [
                nn.Conv2d(before, channels, 3, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            before = channels
        self.stem = nn.Sequential(*layers)
        tokens = (SIDE // 16) ** 2
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens, before))
        self.blocks = nn.ModuleList(
            Block(before, size.heads, size.wider, 0.1 * k / size.blocks) for k in range(size.blocks)
        )
        self.norm = nn.LayerNorm(before)
        self.project = nn.Linear(before, OUT)

    def forward(self, data: Tensor) -> Tensor:
        """[n, 3, 112, 112], 0..255 -> [n, 128]."""
        x = self.stem((data - 127.5) / 64)
        x = x.flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        return self.project(self.norm(x).mean(1))


def parameters(model: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(p.numel() for p in model.parameters())
