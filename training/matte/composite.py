"""Training pictures: bases with occluders put in front, relit, degraded; all of a batch at once, on the bank's device.

Every random number comes from the generator handed in. Coordinates are grid_sample's: -1..1 over the picture, pixel centres
inside (align_corners=False). A transform maps output coordinates to source coordinates, as grid_sample wants it.
Light and shadow never change the truth; only what is in front of the face does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from bank import Bank
from bases import BASE_MARGIN
from crop import CROP, MARGIN
from torch import Tensor
from torch.nn import functional

KINDS = ("hand", "mask", "blob", "mic", "cup", "stick", "head")
OBJECT_CHANCE = (0.28, 0.05, 0.10, 0.08, 0.06, 0.05, 0.05)
"""Chance of each kind as the main object; what is left is nothing."""


@dataclass(frozen=True)
class Batch:
    """Crops [n, 3, 128, 128] 0..1, hull given to the network, truth, and weight of each pixel [n, 1, 128, 128]."""

    crop: Tensor
    hull: Tensor
    truth: Tensor
    weight: Tensor


class Compositor:
    """Draws batches from one bank."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.device = bank.picture.device
        self.random = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers from the compositor's generator."""
        return torch.rand(*shape, generator=self.random, device=self.device) * (high - low) + low

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal numbers from the compositor's generator."""
        return torch.randn(*shape, generator=self.random, device=self.device) * scale

    def pick(self, count: int, n: int) -> Tensor:
        """n indexes below `count`."""
        return torch.randint(0, count, (n,), generator=self.random, device=self.device)

    def transform(self, angle: Tensor, scale: Tensor, x: Tensor, y: Tensor, mirror: Tensor | None = None) -> Tensor:
        """[n, 2, 3] from output to source: centre the source on (x, y) of the output, turned and `scale` times as large."""
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        linear = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1)
        if mirror is not None:
            linear = linear * torch.stack([mirror, torch.ones_like(mirror)], -1)[:, :, None]
        return torch.cat([linear, -(linear @ torch.stack([x, y], -1)[..., None])], 2)

    @torch.no_grad()
    def batch(self, n: int, only: str | None = None) -> Batch:
        """n training samples. `only` names one kind of occluder ("none", "glasses", "hair", "strands", or one of KINDS)."""
        bank = self.bank
        base = torch.multinomial(bank.chance, n, replacement=True, generator=self.random)
        flip = torch.where(self.uniform(n) < 0.5, -1.0, 1.0)
        inner = torch.exp(self.normal(n, scale=0.05)) * (BASE_MARGIN / MARGIN)
        to_base = self.transform(self.normal(n, scale=0.1), inner, *self.normal(2, n, scale=0.035), mirror=flip)
        picture = sample(bank.picture[base], to_base, "border") / 255
        label = sample(bank.label[base], to_base) / 255
        weight = (sample(bank.weight[base], to_base) / 255) ** 2
        # The tracker errs: the hull that the network gets is not quite the hull that the label knows.
        error = self.transform(
            self.normal(n, scale=0.02), torch.exp(self.normal(n, scale=0.02)), *self.normal(2, n, scale=0.012)
        )
        hull = sample(bank.hull[base], compose(to_base, error)) / 255
        seen = label * sample(bank.hull[base], to_base) / 255
        skin = (picture * seen).sum((2, 3)) / seen.sum((2, 3)).clamp(min=1)
        picture = self.relight(picture, 0.7)
        front = torch.zeros_like(label)
        for rgba, hides in self.things(base, to_base, skin, only):
            rgb, alpha = rgba[:, :3], rgba[:, 3:]
            picture = picture * (1 - self.shadow(alpha)) if hides else picture
            picture = picture * (1 - alpha) + rgb
            if not hides:
                continue
            front = front + alpha * (1 - front)
            label = label * (1 - alpha)
        weight = torch.maximum(weight, (front > 0.9).float())
        weight = torch.where((front > 0.02) & (weight < 0.05), torch.zeros_like(weight), weight)
        picture, label, weight, hull = self.turned(torch.cat([picture, label, weight, hull], 1)).split([3, 1, 1, 1], 1)
        picture, label = self.degrade(self.relight(picture, 0.35), label)
        return Batch(picture.clamp(0, 1), hull, label * hull, weight)

    def things(self, base: Tensor, to_base: Tensor, skin: Tensor, only: str | None) -> Iterator[tuple[Tensor, bool]]:
        """Premultiplied RGBA layers [n, 4, 128, 128] from the back to the front, and whether each hides the face."""
        bank, n = self.bank, len(base)
        wants = lambda name, chance: (  # noqa: E731
            torch.full((n,), only == name, device=self.device) if only else self.uniform(n) < chance
        )
        glasses = wants("glasses", 0.3) & ~bank.real_glasses[base]
        pair = base * bank.glasses_each + self.pick(bank.glasses_each, n)
        gain = (0.35 + skin.mean(1) * 1.3).clamp(0.3, 1.3)[:, None, None, None]
        lens = premultiplied(bank.lens[pair], to_base) * glasses.float()[:, None, None, None]
        yield lens, False  # a clear lens tints the face and throws reflections; the face behind it counts as seen
        rim = premultiplied(bank.frame[pair], to_base) * glasses.float()[:, None, None, None]
        yield torch.cat([rim[:, :3] * gain, rim[:, 3:]], 1), True
        hair = wants("hair", 0.25)
        yield self.only_where(hair, self.hair, to_base, skin), True
        strands = wants("strands", 0.22)
        yield self.only_where(strands, self.strands, skin), True
        if only:
            kinds = torch.full((n,), KINDS.index(only) if only in KINDS else -1, device=self.device)
            yield self.objects(kinds, skin), True
            return
        edges = torch.tensor(OBJECT_CHANCE, device=self.device).cumsum(0)
        yield self.objects(self.chosen(n, edges), skin), True
        second = torch.where(self.uniform(n) < 0.22, self.chosen(n, edges), torch.full((n,), -1, device=self.device))
        yield self.objects(second, skin), True

    def only_where(self, chosen: Tensor, draw: Callable[..., Tensor], *facts: Tensor) -> Tensor:
        """RGBA layers of the chosen samples; zeros elsewhere, at no cost."""
        out = torch.zeros(len(chosen), 4, CROP, CROP, device=self.device)
        if chosen.any():
            out[chosen] = draw(*(f[chosen] for f in facts))
        return out

    def chosen(self, n: int, edges: Tensor) -> Tensor:
        """A kind index for every sample, -1 for none."""
        kinds = torch.searchsorted(edges, self.uniform(n))
        return torch.where(kinds < len(KINDS), kinds, torch.full_like(kinds, -1))

    def hair(self, to_base: Tensor, skin: Tensor) -> Tensor:
        """Drawn hair, or real hair (the same person's, or another's) moved down over the forehead."""
        bank, n = self.bank, len(to_base)
        drawn = bank.layers["hair"]
        place = self.transform(self.normal(n, scale=0.1), torch.exp(self.normal(n, scale=0.1)), self.normal(n, scale=0.08),
                               self.normal(n, scale=0.08), torch.where(self.uniform(n) < 0.5, -1.0, 1.0))  # fmt: skip
        strands = premultiplied(drawn[self.pick(len(drawn), n)], place)
        gain = (0.3 + skin.mean(1) * 1.4).clamp(0.25, 1.3)[:, None, None, None]
        strands = torch.cat([strands[:, :3] * gain, strands[:, 3:]], 1)
        lock = self.pick(len(bank.lock), n)
        down = self.transform(self.normal(n, scale=0.12), torch.exp(self.normal(n, scale=0.08)), self.normal(n, scale=0.06),
                              self.uniform(n, low=0.02, high=0.32))  # fmt: skip
        moved = compose(to_base, down)
        alpha = sample(bank.lock[lock], moved) / 255
        # Its lower edge is combed: the coverage is thinned by stripes that run down.
        comb = functional.interpolate(self.uniform(n, 1, 3, 40), size=(CROP, CROP), mode="bicubic").clamp(0, 1)
        alpha = alpha * ((comb - 0.25) * 4).clamp(0, 1).lerp(
            torch.ones_like(alpha), (self.uniform(n, 1, 1, 1) < 0.5).float()
        )
        real = torch.cat([sample(bank.picture[bank.lock_base[lock]], moved, "border") / 255 * alpha, alpha], 1)
        return torch.where((self.uniform(n) < 0.5)[:, None, None, None], strands, real)

    def strands(self, skin: Tensor) -> Tensor:
        """Long drawn hair over eyes and cheeks; one in four has nearly the skin's own colour, as fair hair in soft light has."""
        drawn, n = self.bank.layers["strands"], len(skin)
        place = self.transform(self.normal(n, scale=0.08), torch.exp(self.normal(n, scale=0.1)), self.normal(n, scale=0.08),
                               self.normal(n, scale=0.06), torch.where(self.uniform(n) < 0.5, -1.0, 1.0))  # fmt: skip
        rgba = premultiplied(drawn[self.pick(len(drawn), n)], place)
        mean = rgba[:, :3].sum((2, 3)) / rgba[:, 3:].sum((2, 3)).clamp(min=1)
        fair = (
            skin * torch.exp(self.normal(n, 3, scale=0.07) + self.normal(n, 1, scale=0.2) - 0.15) / mean.clamp(min=0.06)
        )
        lit = (0.3 + skin.mean(1, keepdim=True) * 1.4).clamp(0.25, 1.3).expand(-1, 3)
        gain = torch.where(self.uniform(n, 1) < 0.25, fair.clamp(0.1, 4), lit)
        return torch.cat([rgba[:, :3] * gain[..., None, None], rgba[:, 3:]], 1)

    def objects(self, kinds: Tensor, skin: Tensor) -> Tensor:
        """Premultiplied RGBA of one object per sample, of its kind; zeros where the kind is -1."""
        out = torch.zeros(len(kinds), 4, CROP, CROP, device=self.device)
        for k, kind in enumerate(KINDS):
            rows = torch.nonzero(kinds == k).ravel()
            if len(rows):
                out[rows] = self.placed(kind, len(rows), skin[rows])
        return changed(out, (self.uniform(len(kinds)) < 0.3) & (kinds >= 0), self.motion)

    def placed(self, kind: str, n: int, skin: Tensor) -> Tensor:
        """n objects of one kind, coloured and placed over the face as that kind comes."""
        bank, turn = self.bank, 2 * math.pi
        x, y = self.normal(2, n, scale=0.38)
        mirror = torch.where(self.uniform(n) < 0.5, -1.0, 1.0)
        if kind == "head":
            return self.head(n)
        if kind == "mask":
            where = self.transform(self.normal(n, scale=0.12), self.uniform(n, low=0.6, high=0.85), self.normal(n, scale=0.05),
                                   self.normal(n, scale=0.07) + 0.32, mirror)  # fmt: skip
        elif kind == "hand":
            # Fingers are in the layer's upper half, the arm leaves below: mostly from below or the sides.
            angle = self.normal(n, scale=0.9)
            scale = torch.exp(self.normal(n, scale=0.3)) * 0.95
            x, y = self.uniform(n, low=-0.6, high=0.6), self.uniform(n, low=-0.5, high=0.9)
            where = self.transform(
                angle, scale, x - torch.sin(angle) * 0.4 * scale, y + torch.cos(angle) * 0.4 * scale, mirror
            )
        elif kind in ("mic", "cup"):
            angle = self.normal(n, scale=0.5)
            scale = torch.exp(self.normal(n, scale=0.3)) * (1.0 if kind == "mic" else 0.9)
            y = self.normal(n, scale=0.25) + 0.45
            offset = 0.45 if kind == "mic" else 0.3
            where = self.transform(
                angle, scale, x - torch.sin(angle) * offset * scale, y + torch.cos(angle) * offset * scale, mirror
            )
        else:
            where = self.transform(
                self.uniform(n, high=turn), torch.exp(self.normal(n, scale=0.45)) * 0.7, x * 1.2, y * 1.2, mirror
            )
        layers = bank.layers[kind]
        rgba = premultiplied(layers[self.pick(len(layers), n)], where)
        mean = rgba[:, :3].sum((2, 3)) / rgba[:, 3:].sum((2, 3)).clamp(min=1)
        own = skin * torch.exp(self.normal(n, 3, scale=0.06) + self.normal(n, 1, scale=0.16)) / mean.clamp(min=0.06)
        free = torch.exp(self.normal(n, 3, scale=0.08) + self.normal(n, 1, scale=0.35)) * (
            0.45 + skin.mean(1, keepdim=True)
        )
        match = self.uniform(n, 1) < (0.7 if kind == "hand" else 0.06)
        gain = torch.where(match, own, free).clamp(0.1, 4)
        return torch.cat([rgba[:, :3] * gain[..., None, None], rgba[:, 3:]], 1)

    def head(self, n: int) -> Tensor:
        """Another person's head, an oval cut from a base, partly in front."""
        base = self.pick(len(self.bank.picture), n)
        angle, direction = self.normal(n, scale=0.3), self.uniform(n, high=2 * math.pi)
        far = self.uniform(n, low=0.75, high=1.4)
        scale = torch.exp(self.normal(n, scale=0.25)) * (BASE_MARGIN / MARGIN)
        where = self.transform(angle, scale, torch.cos(direction) * far, torch.sin(direction) * far)
        rgb = sample(self.bank.picture[base], where, "border") / 255
        grid = functional.affine_grid(where, [n, 1, CROP, CROP], align_corners=False)
        radius = ((grid[..., 0] / 0.5) ** 2 + (grid[..., 1] / 0.68) ** 2)[:, None]
        alpha = ((1.0 - radius.sqrt()) * 30 + 0.5).clamp(0, 1)
        return torch.cat([rgb * alpha * torch.exp(self.normal(n, 1, 1, 1, scale=0.25)), alpha], 1)

    def shadow(self, alpha: Tensor) -> Tensor:
        """What the thing in front darkens beside itself: its blurred, shifted coverage."""
        n = len(alpha)
        moved = self.transform(
            self.normal(n, scale=0.02), torch.exp(self.normal(n, scale=0.04)), *self.normal(2, n, scale=0.06)
        )
        soft = functional.avg_pool2d(sample(alpha, moved, raw=True), 9, 1, 4)
        strength = self.uniform(n, 1, 1, 1, high=0.65) * (self.uniform(n, 1, 1, 1) < 0.6)
        return functional.avg_pool2d(soft, 5, 1, 2) * strength

    def motion(self, rgba: Tensor) -> Tensor:
        """Blur along one random direction per batch row, up to ten pixels, coverage included."""
        n, steps = len(rgba), 5
        angle, length = self.uniform(n, high=math.pi), self.uniform(n, high=0.08)
        out = torch.zeros_like(rgba)
        for k in range(steps):
            t = (k / (steps - 1) - 0.5) * 2 * length
            one = torch.ones(n, device=self.device)
            out += sample(rgba, self.transform(one * 0, one, torch.cos(angle) * t, torch.sin(angle) * t), raw=True)
        return out / steps

    def relight(self, picture: Tensor, chance: float) -> Tensor:
        """Side light, cast shadows with soft or hard edges, dappled and coloured light. None of it hides the face."""
        n = len(picture)
        on = lambda p: (self.uniform(n, 1, 1, 1) < p * chance).float()  # noqa: E731
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, CROP, device=self.device)] * 2, indexing="ij")
        angle = self.uniform(n, 1, 1, 1, high=2 * math.pi)
        along = torch.cos(angle) * x + torch.sin(angle) * y
        slope = torch.exp(self.normal(n, 1, 1, 1, scale=0.7) * along * on(0.6))
        wave = 0.15 * torch.sin(self.uniform(n, 1, 1, 1, low=1, high=8) * (torch.cos(angle) * y - torch.sin(angle) * x))
        edge = (along + wave - self.normal(n, 1, 1, 1, scale=0.35)) * torch.exp(
            self.uniform(n, 1, 1, 1, low=0.5, high=4.0)
        )
        cast = 1 - torch.sigmoid(edge) * self.uniform(n, 1, 1, 1, low=0.2, high=0.85) * on(0.35)
        noise = functional.interpolate(self.normal(n, 1, 5, 5), size=(CROP, CROP), mode="bicubic")
        dapple = 1 - torch.sigmoid((noise - 0.2) * 8) * self.uniform(n, 1, 1, 1, low=0.1, high=0.7) * on(0.25)
        tint = torch.exp(self.normal(n, 3, 1, 1, scale=0.3) * torch.sigmoid(along * 4) * on(0.3))
        # Hard light the other way round: a lit patch that clips, and gloss on forehead, nose and cheeks.
        other = self.uniform(n, 1, 1, 1, high=2 * math.pi)
        beam = (torch.cos(other) * x + torch.sin(other) * y - self.uniform(n, 1, 1, 1, low=0.0, high=0.7)) * torch.exp(
            self.uniform(n, 1, 1, 1, low=1.0, high=4.0)
        )
        lit = 1 + torch.sigmoid(beam) * self.uniform(n, 1, 1, 1, low=0.2, high=2.0) * on(0.4)
        streak = [
            functional.interpolate(self.normal(n, 1, *grid), (CROP, CROP), mode="bicubic")
            for grid in ((5, 12), (12, 5))
        ]
        rough = torch.where(self.uniform(n, 1, 1, 1) < 0.5, *streak)
        gloss = torch.sigmoid((rough - self.uniform(n, 1, 1, 1, low=0.7, high=1.5)) * 9)
        gloss = (
            gloss * self.uniform(n, 1, 1, 1, low=0.1, high=0.6) * on(0.4) * picture.mean((1, 2, 3), keepdim=True) * 2
        )
        return picture * slope * cast * dapple * tint * lit + gloss

    def turned(self, stack: Tensor) -> Tensor:
        """Four in ten samples as if the head were turned: one cheek wide, the other narrow, the whole face narrower.

        x_source = s x + k (0.59 - x^2): the hull's sides, at about x = +-0.77, stay where they are but for the scale s.
        """
        n = len(stack)
        on = (self.uniform(n, 1, 1) < 0.4).float()
        y, x = torch.meshgrid(*[(torch.arange(CROP, device=self.device) + 0.5) * 2 / CROP - 1] * 2, indexing="ij")
        wide = 1 + self.uniform(n, 1, 1, low=-0.05, high=0.3) * on
        bent = wide * x + self.uniform(n, 1, 1, low=-0.4, high=0.4) * on * (0.59 - x * x)
        grid = torch.stack([bent, y.expand(n, -1, -1)], -1)
        return functional.grid_sample(stack, grid, padding_mode="border", align_corners=False)

    def degrade(self, picture: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Camera and codec: exposure, gamma, colour, blur (the truth blurs alike), low resolution, noise, JPEG blocks."""
        n = len(picture)
        one = lambda p: self.uniform(n, 1, 1, 1) < p  # noqa: E731
        picture = picture.clamp(0, 1.4)
        gain = torch.exp(self.normal(n, 1, 1, 1, scale=0.3) - 0.9 * one(0.12).float() * self.uniform(n, 1, 1, 1))
        picture = (picture * gain * torch.exp(self.normal(n, 3, 1, 1, scale=0.07))).clamp(1e-4, 1)
        picture = picture ** torch.exp(self.normal(n, 1, 1, 1, scale=0.2))
        grey = picture.mean(1, keepdim=True)
        saturation = torch.where(
            one(0.05), torch.zeros(n, 1, 1, 1, device=self.device), self.uniform(n, 1, 1, 1, low=0.5, high=1.4)
        )
        picture = grey + (picture - grey) * saturation
        both = torch.cat([picture, label], 1)
        both = changed(both, one(0.3).ravel(), lambda b: gaussian(b, 0.9))
        both = changed(both, one(0.1).ravel(), lambda b: gaussian(b, 1.7))
        both = changed(both, one(0.12).ravel(), self.motion)
        small = functional.interpolate(
            functional.interpolate(both, scale_factor=0.5, mode="area"), size=(CROP, CROP), mode="bilinear"
        )
        both = torch.where(one(0.15), small, both)
        picture, label = both[:, :3], both[:, 3:]
        noise = self.normal(n, 3, CROP, CROP)
        noise = changed(noise, one(0.5).ravel(), lambda b: gaussian(b, 0.9) * 2)
        picture = picture + noise * self.uniform(n, 1, 1, 1, high=0.05) * one(0.6)
        return changed(picture, one(0.5).ravel(), self.jpeg), label.clamp(0, 1)

    def jpeg(self, picture: Tensor) -> Tensor:
        """Blocks as H.264 or JPEG leave them: 8 x 8 DCT, coarse steps that grow with frequency, chroma at half size."""
        n = len(picture)
        k = torch.arange(8, device=self.device, dtype=torch.float32)
        dct = (
            torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16)
            * torch.where(k == 0, math.sqrt(1 / 8), 0.5)[:, None]
        )
        step = (0.03 + 0.012 * (k[:, None] + k[None])) * torch.exp(self.uniform(n, 1, 1, 1, 1, 1, low=-1.2, high=1.6))
        roll = tuple(int(v) for v in torch.randint(0, 8, (2,), generator=self.random, device=self.device))

        def blocks(plane: Tensor, coarse: float) -> Tensor:
            c, h, w = plane.shape[1:]
            cut = torch.roll(plane, roll, (2, 3)).reshape(n, c, h // 8, 8, w // 8, 8).permute(0, 1, 2, 4, 3, 5)
            spectrum = dct @ cut @ dct.T
            spectrum = torch.round(spectrum / (step * coarse)) * step * coarse
            cut = (dct.T @ spectrum @ dct).permute(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)
            return torch.roll(cut, (-roll[0], -roll[1]), (2, 3))

        luma = (picture * picture.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        chroma = functional.avg_pool2d(picture - luma, 2)
        chroma = functional.interpolate(blocks(chroma, 1.5), size=(CROP, CROP), mode="bilinear")
        return blocks(luma, 1.0) + chroma


def changed(stack: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The stack with some of its samples changed; the others cost nothing."""
    if not chosen.any():
        return stack
    out = stack.clone()
    out[chosen] = change(stack[chosen])
    return out


def sample(source: Tensor, transform: Tensor, padding: str = "zeros", raw: bool = False) -> Tensor:
    """The source [n, c, h, w] (uint8 unless raw) seen through the transforms, at CROP x CROP, as float32."""
    grid = functional.affine_grid(transform, [len(source), 1, CROP, CROP], align_corners=False)
    return functional.grid_sample(source if raw else source.float(), grid, padding_mode=padding, align_corners=False)


def premultiplied(layers: Tensor, transform: Tensor) -> Tensor:
    """Straight uint8 RGBA layers, premultiplied to 0..1 before they are resampled, so that edges do not bleed."""
    alpha = layers[:, 3:].float() / 255
    return sample(torch.cat([layers[:, :3].float() / 255 * alpha, alpha], 1), transform, raw=True)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """The transform that goes through `then` in the output's frame, then through `first` to the source."""
    linear = first[:, :, :2] @ then[:, :, :2]
    return torch.cat([linear, first[:, :, :2] @ then[:, :, 2:] + first[:, :, 2:]], 2)


def gaussian(picture: Tensor, sigma: float) -> Tensor:
    """Separable blur, nine taps, borders repeated."""
    x = torch.arange(-4, 5, device=picture.device, dtype=torch.float32)
    taps = torch.exp(-0.5 * (x / sigma) ** 2)
    taps, c = taps / taps.sum(), picture.shape[1]
    padded = functional.pad(picture, (4, 4, 4, 4), mode="replicate")
    across = functional.conv2d(padded, taps.reshape(1, 1, 1, 9).repeat(c, 1, 1, 1), groups=c)
    return functional.conv2d(across, taps.reshape(1, 1, 9, 1).repeat(c, 1, 1, 1), groups=c)
