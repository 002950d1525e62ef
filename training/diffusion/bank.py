"""`detail.npz` on the training device, and patches of it: real skin, its band-limited version, its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from model import UNIT, high_band
from torch import Tensor
from torch.nn import functional

PATCH = 64
SMALL = (32, 24, 20, 16)  # sides after the down-scale: factors 2, 2.67, 3.2, 4
SEEN = 0.9  # share of a patch that its source showed


@dataclass
class Patches:
    """real, low [n, 3, 64, 64]; place [n, 4, 64, 64]; detail: the high band of real, in UNITs; scale: one factor for all."""

    real: Tensor
    low: Tensor
    place: Tensor
    detail: Tensor
    scale: float


def band_limited(real: Tensor, small: int) -> Tensor:
    """Down to `small` pixels with an anti-aliased bicubic and up again: what a source of that resolution would have given."""
    size = real.shape[-2:]
    less = functional.interpolate(real, size=(small, small), mode="bicubic", antialias=True, align_corners=False)
    return functional.interpolate(less, size=size, mode="bicubic", align_corners=False)


class Bank:
    """Every picture of one split. Rows differ in size: all lie in one square tensor, patches are taken inside."""

    def __init__(self, path: Path, split: str, device: torch.device, seed: int) -> None:
        with np.load(path, allow_pickle=False) as file:
            z = dict(file)
        text = json.loads(z.pop("text").tobytes())
        starts = np.r_[0, z["ends"][:-1]]
        rows = [i for i, s in enumerate(text["split"]) if s == split]
        side = int(z["texels"][rows].max())
        skin = np.zeros((len(rows), side, side, 3), np.uint8)
        corners = []
        for k, i in enumerate(rows):
            texels = int(z["texels"][i])
            skin[k, :texels, :texels] = cv2.imdecode(z["pictures"][starts[i] : z["ends"][i]], cv2.IMREAD_COLOR)[
                ..., ::-1
            ]
            corners.append(seen_corners(z["seen"][i], texels, 96))
        self.device, self.rng = device, torch.Generator(device).manual_seed(seed)
        self.names = [(text["person"][i], text["name"][i]) for i in rows]
        self.skin = torch.from_numpy(skin).to(device)
        self.texels = torch.from_numpy(z["texels"][rows].astype(np.int64)).to(device)
        keep = [k for k, c in enumerate(corners) if len(c) > 0]
        person = [self.names[k][0] for k in keep]
        # Every person weighs as the square root of how many pictures show him.
        weight = np.array([1 / np.sqrt(person.count(p)) for p in person])
        self.usable, self.weight = torch.tensor(keep, device=device), torch.from_numpy(weight).float().to(device)
        most = max(len(corners[k]) for k in keep)
        table = np.stack([corners[k][np.resize(np.arange(len(corners[k])), most)] for k in keep])
        self.corners = torch.from_numpy(table).to(device)

    def batch(self, count: int, small: int, augment: bool) -> Patches:
        """Random patches; with `augment` also smaller skin (up to 1.5x), mirrored, other colours and a softer condition."""
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        which = torch.multinomial(self.weight, count, replacement=True, generator=self.rng)
        corner = self.corners[which, (draw(count) * self.corners.shape[1]).long()]
        row = self.usable[which]
        wide = 64 + 8 * int(float(draw(1)) * 5) if augment else 64
        yy = (corner[:, 0, None] + torch.arange(wide, device=self.device))[:, :, None]
        xx = (corner[:, 1, None] + torch.arange(wide, device=self.device))[:, None]
        real = self.skin[row[:, None, None], yy, xx].permute(0, 3, 1, 2).float() / 255
        texels = self.texels[row].float()[:, None, None]
        u, v = ((xx + 0.5) / texels).expand(-1, wide, wide), ((yy + 0.5) / texels).expand(-1, wide, wide)
        where = torch.stack([u, v], 1)
        if wide != PATCH:
            size = (PATCH, PATCH)
            real = functional.interpolate(real, size=size, mode="bicubic", antialias=True, align_corners=False)
            where = functional.interpolate(where, size=size, mode="bilinear", align_corners=False)
        if augment:
            flip = (draw(count) < 0.5).view(-1, 1, 1, 1)
            real = torch.where(flip, real.flip(-1), real)
            where = torch.where(flip, torch.stack([1 - where[:, 0], where[:, 1]], 1).flip(-1), where)
            real = real.clamp(min=1e-3) ** (0.8 + 0.45 * draw(count, 1, 1, 1)) * (0.85 + 0.3 * draw(count, 3, 1, 1))
        low = band_limited(real, small)
        scale = PATCH / small
        facts = torch.ones(count, 2, PATCH, PATCH, device=self.device)
        facts[:, 0] = float(np.log2(scale))
        facts[:, 1] = torch.log2(texels * PATCH / wide / 512)
        detail = high_band(real - low, scale) / UNIT
        return Patches(real, low, torch.cat([where, facts], 1), detail, scale)


def seen_corners(seen: np.ndarray, texels: int, margin: int) -> np.ndarray:
    """Top left corners (row, column) of windows of `margin` texels that were seen; on a grid of 4."""
    full = cv2.resize(seen, (texels, texels), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    mean = cv2.boxFilter(
        (full > 0.5).astype(np.float32), -1, (margin, margin), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT
    )
    mean[texels - margin :] = mean[:, texels - margin :] = 0
    return np.argwhere(mean[::4, ::4] > SEEN).astype(np.int64) * 4
