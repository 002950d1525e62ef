"""The fusion network: two streams of tokens over UV, cross-attention between them, and a convolutional decoder.

Identity stream: what the persona's key atlases show (skin, how far it was seen, where on the face, and in which expression it
was taken). Dynamic stream: what the face is to do now (displacement of the mesh from neutral, normals, depth, what the plate's own
skin does and where it slides, muscle actions, gaze). Dynamic queries attend to identity keys and values on three levels: everywhere
among patches of 8 texels (with a learnt preference for near ones), and among the neighbours at 4 and 2 texels. The decoder has no
other way to the identity. It turns the answer into a log gain (creases, shading of bulges; predicted at 64 texels), a flow of the key
that starts from the plate's, a bias that lives in the mouth and eye openings only, offsets of the mesh and visibility.

All arrays are 128 x 128 texels of `perception.uvgrid`. Inputs (float32):
    keys     [n, k, 7, 128, 128]  per key: skin, display-referred sRGB 0..1; seen 0..1; displacement of the mesh from the persona's
                                  neutral in the key's own moment, centimetres (3).
    dynamic  [n, 10, 128, 128]    displacement now, centimetres (3); normals now, camera axes (3); log ratio of the plate's luminance
                                  over its own neutral, band-limited (1; zero when unknown); texels at which the plate's skin of now
                                  is found in its own neutral, the mesh's motion apart (2; zero when unknown); depth of the mesh over
                                  its mean toward the camera, centimetres (1).
    facts    [n, 28]              muscle actions (26), gaze yaw and pitch in degrees (2).
Outputs: gain [n, 3, 128, 128] natural log, to add to the log of display-referred colour; flow [n, 2, 128, 128] texels, where to
read the first key; bias [n, 3, 128, 128]; offset [n, 3, 16, 16] centimetres, to add to the displacement (what this person's mesh
does otherwise than the plate's); visible [n, 1, 64, 64] 0..1, how far the camera sees each place.
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
DYNAMIC = 10
OFFSET_CM = 0.5
FIRST_SHARE = 2.0  # logit: the plate is believed before anything is learnt
COARSE = 2  # texels of 64: gain and flow of its own are coarser than what the plate tells
ENCODED = ("patches", "middle", "coarse")
ANSWERS = ("gain", "flow", "bias", "offset", "visible")
FIRST_REACH = (1.5, 2.5, 4.0, 8.0, 16.0)  # patches: how near each head looks before it has learnt anything


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
    """Multi-head attention of queries over a context of one or more grids of patches; plain matrix products, so that it exports
    and its map can be read. A learnt bias by relative position, each head's own reach to begin with (as in Swin, Liu 2021)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        step = torch.arange(1 - SIDE, SIDE).float()
        far = step[:, None] ** 2 + step[None] ** 2
        reach = torch.tensor([FIRST_REACH[h % len(FIRST_REACH)] for h in range(heads)])
        self.near = nn.Parameter((-far[None] / (2 * reach[:, None, None] ** 2)).clamp(min=-8).flatten(1))
        row, column = torch.arange(SIDE * SIDE) // SIDE, torch.arange(SIDE * SIDE) % SIDE
        apart = lambda a: a[:, None] - a[None] + SIDE - 1  # noqa: E731
        self.register_buffer("apart", apart(row) * (2 * SIDE - 1) + apart(column), persistent=False)

    def forward(self, x: Tensor, context: Tensor, want_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """[n, q, dim] and, if wanted, the map [n, heads, q, c]."""
        split = lambda t: t.reshape(t.shape[0], -1, self.heads, t.shape[-1] // self.heads).transpose(1, 2)  # noqa: E731
        key, value = self.both(context).chunk(2, -1)
        q, k, v = split(self.query(x)), split(key), split(value)
        near = self.near[:, self.apart].repeat(1, 1, context.shape[1] // (SIDE * SIDE))[None]
        if want_map or torch.onnx.is_in_onnx_export():
            seen = torch.softmax(q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5) + near, -1)
            y = seen @ v
        else:
            seen, y = None, functional.scaled_dot_product_attention(q, k, v, near.to(q.dtype))
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


class Neighbours(nn.Module):
    """Cross-attention among the 3 x 3 nearest places of every key, at a level too fine for all against all."""

    def __init__(self, inward: int, context: int, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both = nn.Conv2d(inward, dim, 1), nn.Conv2d(context, 2 * dim, 1)
        self.near = nn.Parameter(torch.zeros(1, 1, 9, heads, 1, 1))
        self.out = nn.Conv2d(dim, inward, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[n, inward, h, w] from x of that shape and the keys' features [n, k, context, h, w]."""
        n, k, _, h, w = context.shape
        q = self.query(x).reshape(n, 1, 1, self.heads, -1, h, w)
        both = functional.pad(self.both(context.flatten(0, 1)), (1, 1, 1, 1))
        around = torch.stack([both[..., i : i + h, j : j + w] for i in range(3) for j in range(3)], 1)
        key, value = around.reshape(n, k, 9, 2, self.heads, -1, h, w).unbind(3)
        fit = (q * key).sum(4) * (self.query.out_channels // self.heads) ** -0.5 + self.near
        seen = torch.softmax(fit.reshape(n, k * 9, self.heads, 1, h, w), 1)
        return self.out((seen * value.reshape(n, k * 9, self.heads, -1, h, w)).sum(1).reshape(n, -1, h, w))


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
        self.identity_stem, self.dynamic_stem = Stem(9, width, dim), Stem(DYNAMIC + 5, width, dim)
        self.place = nn.Parameter(0.02 * torch.randn(1, SIDE * SIDE, dim))
        self.facts = nn.Sequential(nn.Linear(28, dim), nn.GELU(), nn.Linear(dim, dim))
        self.identity = nn.ModuleList([Layer(dim, heads, False, dropout) for _ in range(identity_layers)])
        self.dynamic = nn.ModuleList([Layer(dim, heads, True, dropout) for _ in range(dynamic_layers)])
        self.identity_norm, self.dynamic_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        w = width
        self.merge = nn.ModuleList([nn.Conv2d(dim, 6 * w, 1), nn.Conv2d(6 * w, 4 * w, 1)])
        self.skips = nn.ModuleList([nn.Conv2d(4 * w, 6 * w, 1), nn.Conv2d(2 * w, 4 * w, 1)])
        self.look = nn.ModuleList([Neighbours(6 * w, 4 * w, 4 * w), Neighbours(4 * w, 2 * w, 2 * w)])
        self.decode = nn.ModuleList([nn.Sequential(Conv(c, c), Conv(c, c)) for c in (6 * w, 4 * w)])
        self.drop = nn.Dropout2d(dropout / 2)
        self.last, self.moved = nn.Conv2d(4 * w, 11, 3, padding=1), nn.Linear(dim, 3)
        for layer in (self.last, self.moved):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        row = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
        self.register_buffer("uv", torch.stack(torch.meshgrid(row, row, indexing="ij"))[None].flip(1), persistent=False)
        self.register_buffer("opening", torch.zeros(1, 1, SIZE, SIZE))
        self.drop_identity = self.drop_dynamic = self.drop_tokens = False
        """For the ablation: all that is read of the keys zeroed, all inputs of the dynamic stream zeroed; `drop_tokens`: the patches alone."""

    def forward(
        self, keys: Tensor, dynamic: Tensor, facts: Tensor, maps: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """gain, flow, bias, offset, visible. `maps` collects the cross-attention maps of the patches."""
        if self.drop_dynamic:
            dynamic, facts, keys = dynamic * 0, facts * 0, torch.cat([keys[:, :, :4], keys[:, :, 4:] * 0], 2)
        return self.answer(*self.encoded(keys), keys[:, 0, 4:], dynamic, facts, maps)

    def encoded(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is read of the keys, the same for every frame: patches [n, k 256, dim], and the levels of 64 and 32 texels [n, k, c, ...]."""
        n, k = keys.shape[:2]
        flat = keys.flatten(0, 1)
        flat = torch.cat(
            [flat[:, :3] * 4 - 2, flat[:, 3:4] * 2 - 1, flat[:, 4:] / CM, self.uv.expand(n * k, -1, -1, -1)], 1
        )
        identity, levels = self.identity_stem(flat)
        identity = identity + self.place
        for layer in self.identity:
            identity = layer(identity)[0]
        identity = self.identity_norm(identity).reshape(n, k * SIDE * SIDE, -1)
        middle, coarse = (level.reshape(n, k, *level.shape[1:]) for level in levels)
        if self.drop_identity:
            identity, middle, coarse = identity * 0, middle * 0, coarse * 0
        return identity * 0 if self.drop_tokens else identity, middle, coarse

    def answer(
        self, identity: Tensor, middle: Tensor, coarse: Tensor, first: Tensor, dynamic: Tensor, facts: Tensor,
        maps: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """`forward` for keys that are encoded already; `first`: the displacement of the first key."""
        n, levels, slide = len(dynamic), (middle, coarse), dynamic[:, 7:9]
        uv, change = self.uv.expand(n, -1, -1, -1), dynamic[:, :3] - first
        x = torch.cat(
            [dynamic[:, :3] / CM, change / CM, dynamic[:, 3:6], dynamic[:, 6:7] * 4, slide / 2, dynamic[:, 9:] / 3, uv],
            1,
        )
        x, skips = self.dynamic_stem(x)
        told = torch.cat([facts[:, :26] * 2, facts[:, 26:] / 20], 1)
        x = x + self.place + self.facts(told)[:, None]
        for layer in self.dynamic:
            x, seen = layer(x, identity, maps is not None)
            if maps is not None and seen is not None:
                maps.append(seen)
        x = self.dynamic_norm(x).transpose(1, 2)
        offset = OFFSET_CM * torch.tanh(self.moved(x.transpose(1, 2)).transpose(1, 2).reshape(n, 3, SIDE, SIDE))
        y = x.reshape(n, -1, SIDE, SIDE)
        for merge, skip, look, decode, ours, theirs in zip(
            self.merge, self.skips, self.look, self.decode, reversed(skips), reversed(levels), strict=True
        ):
            y = functional.interpolate(merge(y), scale_factor=2.0, mode="bilinear")
            y = y + skip(self.drop(ours))
            y = decode(y + look(y, theirs))
        last = self.last(y)
        # Coarser than the key: neither a gain nor a flow can wash its detail out (a flow that shrinks what it reads is a blur, too).
        own = grown(functional.avg_pool2d(last[:, :8], COARSE), 2 * COARSE)
        share = torch.sigmoid(grown(last[:, 8:10], 2) + FIRST_SHARE)
        gain = share[:, :1] * dynamic[:, 6:7] + 1.2 * torch.tanh(own[:, :3])
        flow = share[:, 1:] * slide + FLOW_TEXELS * torch.tanh(own[:, 3:5] / 2)
        bias = 0.5 * torch.tanh(grown(last[:, 5:8], 2)) * self.opening
        return gain, flow, bias, offset, torch.sigmoid(last[:, 10:] + FIRST_SHARE)


def grown(x: Tensor, times: int) -> Tensor:
    """Larger by a whole factor."""
    return functional.interpolate(x, scale_factor=float(times), mode="bilinear")


def rendered(skin: Tensor, gain: Tensor, flow: Tensor, bias: Tensor) -> Tensor:
    """What the outputs do to a key's skin [n, 3, s, s]: warp, gain, bias; display-referred."""
    s = skin.shape[-1]
    row = torch.arange(s, device=skin.device, dtype=skin.dtype) + 0.5
    y, x = torch.meshgrid(row, row, indexing="ij")
    at = torch.stack([x + flow[:, 0], y + flow[:, 1]], -1) * (2 / s) - 1
    warped = functional.grid_sample(skin, at, mode="bicubic", padding_mode="border", align_corners=False)
    return (warped * torch.exp(gain) + bias).clamp(0, 1.2)
