"""The fusion network: two streams of tokens over UV, cross-attention between them, and a convolutional decoder.

Identity stream: what the persona's key atlases show (skin, how far it was seen, where on the face, and in which expression it
was taken). Dynamic stream: what the face is to do now (displacement of the mesh from neutral, normals, what the plate's own
skin does, muscle actions, gaze). Dynamic queries attend to identity keys and values; the decoder turns the answer into a
log gain (creases, shading of bulges; predicted at 64 texels), a residual flow of the key, and a bias that lives in the mouth and eye openings only.

All arrays are 128 x 128 texels of `perception.uvgrid`. Inputs (float32):
    keys     [n, k, 7, 128, 128]  per key: skin, display-referred sRGB 0..1; seen 0..1; displacement of the mesh from the persona's
                                  neutral in the key's own moment, centimetres (3).
    dynamic  [n, 7, 128, 128]     displacement now, centimetres (3); normals now, camera axes (3); log ratio of the plate's luminance
                                  over its own neutral, band-limited (1; zero when unknown).
    facts    [n, 28]              muscle actions (26), gaze yaw and pitch in degrees (2).
Outputs: gain [n, 3, 128, 128] natural log, to add to the log of display-referred colour; flow [n, 2, 128, 128] texels, where to
read the first key; bias [n, 3, 128, 128].
The first key is the one that is warped; the others are only attended to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE, PATCH = 128, 8
SIDE = SIZE // PATCH
FLOW_TEXELS = 6.0
CM = 0.6  # typical displacement, to bring centimetres to about one


class Conv(nn.Module):
    """3x3 convolution, group norm, SiLU; with a residual when the width stays."""

    def __init__(self, inward: int, outward: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, outward, 3, stride, 1)
        self.norm = nn.GroupNorm(min(8, outward // 4), outward)
        self.same = inward == outward and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Height and width divided by the stride."""
        y = functional.silu(self.norm(self.conv(x)))
        return x + y if self.same else y


class Stem(nn.Module):
    """Patches by convolution: 128 -> 64 -> 32 -> 16, features of the finer levels kept for the decoder."""

    def __init__(self, inward: int, width: int, dim: int) -> None:
        super().__init__()
        self.fine = Conv(inward, width)
        self.middle = Conv(width, 2 * width, 2)
        self.coarse = Conv(2 * width, 4 * width, 2)
        self.patch = nn.Conv2d(4 * width, dim, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens [n, 256, dim] and the levels 64 and 32."""
        fine = self.fine(x)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        return self.patch(coarse).flatten(2).transpose(1, 2), [middle, coarse]


class Attention(nn.Module):
    """Multi-head attention of queries over a context; plain matrix products, so that it exports and its map can be read."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor, want_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """[n, q, dim] and, if wanted, the map [n, heads, q, c]."""
        split = lambda t: t.reshape(t.shape[0], -1, self.heads, t.shape[-1] // self.heads).transpose(1, 2)  # noqa: E731
        key, value = self.both(context).chunk(2, -1)
        q, k, v = split(self.query(x)), split(key), split(value)
        if want_map or torch.onnx.is_in_onnx_export():
            seen = torch.softmax(q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5), -1)
            y = seen @ v
        else:
            seen, y = None, functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape)), seen


class Layer(nn.Module):
    """Pre-norm transformer layer; with `cross`, the queries also attend to a context."""

    def __init__(self, dim: int, heads: int, cross: bool, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.own_norm, self.own = nn.LayerNorm(dim), Attention(dim, heads)
        self.cross_norm, self.cross = (nn.LayerNorm(dim), Attention(dim, heads)) if cross else (None, None)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))

    def forward(self, x: Tensor, context: Tensor | None = None, want_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Same shape; the cross-attention map if wanted."""
        normed = self.own_norm(x)
        x, seen = x + self.drop(self.own(normed, normed)[0]), None
        if self.cross is not None and self.cross_norm is not None and context is not None:
            y, seen = self.cross(self.cross_norm(x), context, want_map)
            x = x + self.drop(y)
        return x + self.drop(self.mlp(x)), seen


class FusionNet(nn.Module):
    """About 3 M parameters at the default width."""

    def __init__(
        self,
        dim: int = 160,
        heads: int = 5,
        identity_layers: int = 2,
        dynamic_layers: int = 4,
        width: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.identity_stem, self.dynamic_stem = Stem(9, width, dim), Stem(12, width, dim)
        self.place = nn.Parameter(0.02 * torch.randn(1, SIDE * SIDE, dim))
        self.facts = nn.Sequential(nn.Linear(28, dim), nn.GELU(), nn.Linear(dim, dim))
        self.identity = nn.ModuleList([Layer(dim, heads, False, dropout) for _ in range(identity_layers)])
        self.dynamic = nn.ModuleList([Layer(dim, heads, True, dropout) for _ in range(dynamic_layers)])
        self.identity_norm, self.dynamic_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        w = width
        self.merge = nn.ModuleList([nn.Conv2d(dim, 6 * w, 1), nn.Conv2d(6 * w, 4 * w, 1)])
        self.skips = nn.ModuleList([nn.Conv2d(8 * w, 6 * w, 1), nn.Conv2d(4 * w, 4 * w, 1)])
        self.decode = nn.ModuleList([nn.Sequential(Conv(c, c), Conv(c, c)) for c in (6 * w, 4 * w)])
        self.drop = nn.Dropout2d(dropout / 2)
        self.last = nn.Conv2d(4 * w, 8, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]
        row = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
        self.register_buffer("uv", torch.stack(torch.meshgrid(row, row, indexing="ij"))[None].flip(1), persistent=False)
        self.register_buffer("opening", torch.zeros(1, 1, SIZE, SIZE))
        self.drop_identity = self.drop_dynamic = self.drop_tokens = False
        """For the ablation: tokens and skips of a stream zeroed; `drop_tokens`: what cross-attention reads alone, the key's skips stay."""

    def forward(
        self, keys: Tensor, dynamic: Tensor, facts: Tensor, maps: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """gain, flow, bias. `maps` collects the cross-attention maps."""
        n, k = keys.shape[:2]
        uv = self.uv.expand(n, -1, -1, -1)
        flat = keys.flatten(0, 1)
        flat = torch.cat(
            [flat[:, :3] * 4 - 2, flat[:, 3:4] * 2 - 1, flat[:, 4:] / CM, self.uv.expand(n * k, -1, -1, -1)], 1
        )
        identity, identity_skips = self.identity_stem(flat)
        identity = identity + self.place
        for layer in self.identity:
            identity = layer(identity)[0]
        identity = self.identity_norm(identity).reshape(n, k * SIDE * SIDE, -1)
        change = dynamic[:, :3] - keys[:, 0, 4:]
        x = torch.cat([dynamic[:, :3] / CM, change / CM, dynamic[:, 3:6], dynamic[:, 6:] * 4, uv], 1)
        x, skips = self.dynamic_stem(x)
        told = torch.cat([facts[:, :26] * 2, facts[:, 26:] / 20], 1)
        x = x + self.place + self.facts(told)[:, None]
        first = [s.reshape(n, k, *s.shape[1:])[:, 0] for s in identity_skips]
        if self.drop_identity:
            identity, first = identity * 0, [s * 0 for s in first]
        if self.drop_dynamic:
            x, skips = x * 0, [s * 0 for s in skips]
        if self.drop_tokens:
            identity = identity * 0
        for layer in self.dynamic:
            x, seen = layer(x, identity, maps is not None)
            if maps is not None and seen is not None:
                maps.append(seen)
        y = self.dynamic_norm(x).transpose(1, 2).reshape(n, -1, SIDE, SIDE)
        for merge, skip, decode, ours, theirs in zip(
            self.merge, self.skips, self.decode, reversed(skips), reversed(first), strict=True
        ):
            y = functional.interpolate(merge(y), scale_factor=2.0, mode="bilinear")
            y = decode(y + skip(self.drop(torch.cat([ours, theirs], 1))))
        # Half resolution: a gain that is smooth cannot wash the key's own detail out.
        out = functional.interpolate(self.last(y), scale_factor=2.0, mode="bilinear")
        gain = 1.2 * torch.tanh(out[:, :3])
        flow = FLOW_TEXELS * torch.tanh(out[:, 3:5] / 2)
        return gain, flow, 0.5 * torch.tanh(out[:, 5:]) * self.opening


def rendered(skin: Tensor, gain: Tensor, flow: Tensor, bias: Tensor) -> Tensor:
    """What the outputs do to a key's skin [n, 3, s, s]: warp, gain, bias; display-referred."""
    s = skin.shape[-1]
    row = torch.arange(s, device=skin.device, dtype=skin.dtype) + 0.5
    y, x = torch.meshgrid(row, row, indexing="ij")
    at = torch.stack([x + flow[:, 0], y + flow[:, 1]], -1) * (2 / s) - 1
    warped = functional.grid_sample(skin, at, mode="bicubic", padding_mode="border", align_corners=False)
    return (warped * torch.exp(gain) + bias).clamp(0, 1.2)
