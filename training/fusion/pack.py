"""`fusion.npz` on the training device: rows, neighbours in expression, and batches with their augmentation.

Tone: what the renderer matches to the plate anyway (log colour below about 7 % of the face's width, `render.light`) is matched
here too, in every loss and every score, for the network and for its baselines alike. What is left is what fusion is for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

EPS = 0.02  # floor of display-referred colour under a logarithm
TONE_TEXELS = 2.2  # of 32: what the renderer followed when the pack was made, now only at the rim
LUMA = (0.2126, 0.7152, 0.0722)
NEIGHBOURS = 6


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian, zero outside."""
    radius = max(1, int(3 * sigma + 0.5))
    t = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = functional.conv2d(flat, kernel[None, None, None], padding=(0, radius))
    return functional.conv2d(flat, kernel[None, None, :, None], padding=(radius, 0)).reshape(x.shape)


def low(x: Tensor, weight: Tensor) -> Tensor:
    """The renderer's tone band of x [n, c, 128, 128] under a weight [n, 1, 128, 128]."""
    small = functional.avg_pool2d(x * weight, 4), functional.avg_pool2d(weight, 4)
    soft = blurred(small[0], TONE_TEXELS) / (blurred(small[1], TONE_TEXELS) + 0.02)
    return functional.interpolate(soft, scale_factor=4.0, mode="bilinear", align_corners=False)


def toned(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """A prediction's log colour with its tone band replaced by the target's."""
    log = torch.log(prediction.clamp(min=0) + EPS)
    return log + low(torch.log(target.clamp(min=0) + EPS) - log, weight)


@dataclass
class Batch:
    """keys [n, k, 7, ...], dynamic [n, 7, ...], facts [n, 28]: the network's inputs; target skin, and weight 0..1 of its texels."""

    keys: Tensor
    dynamic: Tensor
    facts: Tensor
    target: Tensor
    weight: Tensor


class Pack:
    """All rows on one device. `rng` decides everything that is drawn."""

    def __init__(self, path: Path, device: torch.device, seed: int) -> None:
        with np.load(path, allow_pickle=False) as file:
            z = dict(file)
        text = json.loads(z.pop("text").tobytes())
        starts, blob = np.r_[0, z["ends"][:-1]], z["pictures"]
        skin = [cv2.imdecode(blob[a:b], cv2.IMREAD_COLOR)[..., ::-1] for a, b in zip(starts, z["ends"], strict=True)]
        put = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(device)  # noqa: E731
        self.device, self.rng = device, torch.Generator(device).manual_seed(seed)
        self.skin = put(np.stack(skin).transpose(0, 3, 1, 2))
        self.seen, self.shift, self.normal = put(z["seen"]), put(z["shift_cm"]), put(z["normals"])
        self.actions, self.gaze, self.number = put(z["actions"]).float(), put(z["gaze_deg"]).float(), put(z["number"])
        self.uv_points, self.uv_weights = put(z["uv_points"].astype(np.int64)), put(z["uv_weights"]).float()
        self.covered, self.opening = put(z["covered"]).float()[None, None], put(z["opening"]).float()[None, None]
        self.mirror = put(z["mirror"].astype(np.int64))
        people = sorted(set(text["person"]))
        self.people, self.person = people, put(np.array([people.index(p) for p in text["person"]]))
        clips = sorted(set(text["clip"]))
        clip = np.array([clips.index(c) for c in text["clip"]])
        self.clips, self.clip = clips, put(clip)
        self.split = {s: put(np.flatnonzero(np.array(text["split"]) == s)) for s in ("train", "val", "test")}
        first = {
            int(c): int(np.flatnonzero((clip == c) & (z["number"] == z["number"][clip == c].min()))[0])
            for c in set(clip)
        }
        self.neutral = put(np.array([first[int(c)] for c in clip]))
        self.action_mirror, self.action_sign = (put(a) for a in mirrored_actions(text["about"]["actions"]))
        spread = self.actions.std(0).clamp(min=0.05)
        self.what = torch.cat([self.actions / spread, self.gaze / 15], 1)
        self.effort = (self.shift.float() ** 2).mean((1, 2)).sqrt()
        self.near = self._neighbours()

    def _neighbours(self) -> Tensor:
        """[rows, NEIGHBOURS]: training rows of other people nearest in expression, whoever the row belongs to."""
        train = self.split["train"]
        distance = torch.cdist(self.what, self.what[train])
        distance[self.person[:, None] == self.person[train][None]] = torch.inf
        return train[distance.topk(min(NEIGHBOURS, len(train)), largest=False).indices]

    def over_uv(self, values: Tensor) -> Tensor:
        """[n, 478, c] at the mesh points -> [n, c, 128, 128]."""
        out = (values[:, self.uv_points] * self.uv_weights[None, ..., None]).sum(3)
        return out.permute(0, 3, 1, 2) * self.covered

    def picture(self, rows: Tensor) -> Tensor:
        """Skin 0..1."""
        return self.skin[rows].float() / 255

    def visible(self, rows: Tensor) -> Tensor:
        """How far each texel was seen, 0..1."""
        seen = self.seen[rows][:, None].float() / 255
        return functional.interpolate(seen, scale_factor=2.0, mode="bilinear", align_corners=False) * self.covered

    def ratio(self, rows: Tensor) -> Tensor:
        """Expression ratio: log luminance of a frame over its own neutral, band-limited; zero where either is unseen or opens."""
        luma = torch.tensor(LUMA, device=self.device)[None, :, None, None]
        now, rest = ((self.picture(r) * luma).sum(1, keepdim=True) + EPS for r in (rows, self.neutral[rows]))
        weight = torch.minimum(self.visible(rows), self.visible(self.neutral[rows])) * (1 - self.opening)
        log = (now.log() - rest.log()).clamp(-0.8, 0.8)
        log = (log - low(log, weight)) * weight
        return blurred(log, 1.0).clamp(-0.6, 0.6)

    def mangled(self, ratio: Tensor) -> Tensor:
        """A ratio that cannot simply be copied: scaled, moved, blurred, noisy, with holes."""
        n = len(ratio)
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        at = functional.affine_grid(
            torch.eye(2, 3, device=self.device).expand(n, -1, -1) + 0.03 * (draw(n, 2, 3) - 0.5), list(ratio.shape), align_corners=False
        )  # fmt: skip
        moved = functional.grid_sample(ratio, at, align_corners=False)
        soft = blurred(moved, 1.0 + 2.5 * float(draw(1)))
        noise = functional.interpolate(draw(n, 1, 32, 32) - 0.5, scale_factor=4.0, mode="bilinear") * 0.15
        holes = functional.interpolate((draw(n, 1, 6, 6) > 0.25).float(), size=ratio.shape[-2:], mode="bilinear")
        return (soft * (0.4 + 0.9 * draw(n, 1, 1, 1)) + noise) * holes

    def compose(self, target: Tensor, keys: Tensor, ratio: Tensor) -> Batch:
        """Inputs and truth for target rows [n] and key rows [n, k]."""
        n, k = keys.shape
        flat = keys.flatten()
        parts = [self.picture(flat), self.visible(flat), self.over_uv(self.shift[flat].float())]
        dynamic = torch.cat(
            [self.over_uv(self.shift[target].float()), self.over_uv(self.normal[target].float() / 127), ratio], 1
        )
        facts = torch.cat([self.actions[target], self.gaze[target]], 1)
        weight = torch.minimum(self.visible(target), 0.25 + 0.75 * self.visible(keys[:, 0]))
        return Batch(
            torch.cat(parts, 1).reshape(n, k, 7, *ratio.shape[-2:]), dynamic, facts, self.picture(target), weight
        )

    def training_batch(self, size: int, most_keys: int = 3) -> Batch:
        """Random people, relaxed or random keys, the plate's ratio from somebody else, from a mangled copy, or not at all."""
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        train = self.split["train"]
        weight = (1 / torch.bincount(self.person[train]).float().sqrt())[self.person[train]] * (
            0.1 + self.effort[train]
        )
        target = train[torch.multinomial(weight, size, replacement=True, generator=self.rng)]
        k = 1 if float(draw(1)) < 0.6 else 2 + int(float(draw(1)) * (most_keys - 1))
        same = (self.person[train][None] == self.person[target][:, None]).float()
        relaxed = torch.exp(-self.effort[train] / 0.08)[None] * (draw(size, 1) < 0.6) + 0.02
        keys = train[torch.multinomial(same * relaxed, k, replacement=True, generator=self.rng)]
        other = self.near[target].gather(1, (draw(size, 1) * NEIGHBOURS).long())[:, 0]
        kind = draw(size, 1, 1, 1)
        ratio = torch.where(kind < 0.4, self.ratio(other), self.mangled(self.ratio(target)) * (kind < 0.6))
        return self.augmented(self.compose(target, keys, ratio))

    def augmented(self, b: Batch) -> Batch:
        """One colour change for keys and truth together; a softer key now and then; every second sample mirrored."""
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        n = len(b.target)
        power, gain = 0.75 + 0.6 * draw(n, 1, 1, 1), 0.75 + 0.5 * draw(n, 3, 1, 1)
        change = lambda x, p, g: x.clamp(min=1e-3) ** p * g  # noqa: E731
        target = change(b.target, power, gain)
        skin = change(b.keys[:, :, :3], power[:, None], gain[:, None])
        keys = torch.cat([skin, b.keys[:, :, 3:]], 2)
        flip = (draw(n) < 0.5).view(-1, 1, 1, 1)
        sign = torch.tensor([1.0, 1, 1, 1, -1, 1, 1], device=self.device).view(1, 1, 7, 1, 1)
        keys = torch.where(flip[:, None], keys.flip(-1) * sign, keys)
        sign = torch.tensor([-1.0, 1, 1, -1, 1, 1, 1], device=self.device).view(1, 7, 1, 1)
        dynamic = torch.where(flip, b.dynamic.flip(-1) * sign, b.dynamic)
        turned = torch.cat([b.facts[:, self.action_mirror] * self.action_sign, -b.facts[:, 26:27], b.facts[:, 27:]], 1)
        facts = torch.where(flip[:, :, 0, 0], turned, b.facts)
        pick = lambda x: torch.where(flip, x.flip(-1), x)  # noqa: E731
        return self.bent(Batch(keys, dynamic, facts, pick(target), pick(b.weight)))

    def bent(self, b: Batch) -> Batch:
        """Faces of another cut: everything that lies in UV moved together by a smooth random field of up to about three texels."""
        n, k = b.keys.shape[:2]
        field = torch.randn(n, 2, 6, 6, device=self.device, generator=self.rng) * 0.022
        row = (torch.arange(128, device=self.device) + 0.5) / 64 - 1
        y, x = torch.meshgrid(row, row, indexing="ij")
        at = functional.interpolate(field, size=(128, 128), mode="bicubic", align_corners=False) + torch.stack([x, y])
        both = torch.cat([b.keys.flatten(1, 2), b.dynamic, b.target, b.weight], 1)
        both = functional.grid_sample(both, at.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
        keys, dynamic, target, weight = both.split([7 * k, 7, 3, 1], 1)
        return Batch(keys.unflatten(1, (k, 7)), dynamic, b.facts, target, weight)

    def trials(self, split: str, per_clip: int, keys: int = 1) -> tuple[Tensor, Tensor]:
        """Targets [n] (the most expressive frames of every clip, evenly over that half) and keys [n, k] (the most relaxed ones)."""
        targets, chosen = [], []
        rows = self.split[split]
        for c in self.clip[rows].unique():
            mine = rows[self.clip[rows] == c]
            order = mine[self.effort[mine].argsort()]
            loud = order[len(order) // 2 :]
            take = loud[torch.linspace(0, len(loud) - 1, min(per_clip, len(loud)), device=self.device).round().long()]
            calm = torch.cat(
                [
                    self.neutral[mine[:1]],
                    order[: max(8, keys)][torch.linspace(0, max(7, keys - 1), keys, device=self.device).long()],
                ]
            )[:keys]
            targets.append(take)
            chosen.append(calm.expand(len(take), -1))
        return torch.cat(targets), torch.cat(chosen)


def mirrored_actions(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which action each becomes in a mirror, and its sign: left and right change places, the jaw's sideways turn changes sign."""
    positive = [n.split("/")[0] for n in names]
    swap = lambda n: n.replace("_L_", "_?_").replace("_R_", "_L_").replace("_?_", "_R_")  # noqa: E731
    ending = lambda n: n[:-2] + {"_L": "_R", "_R": "_L"}[n[-2:]] if n[-2:] in ("_L", "_R") else swap(n)  # noqa: E731
    index = np.array([positive.index(ending(n)) for n in positive])
    sign = np.array([-1.0 if n.startswith("jaw_left") else 1.0 for n in positive], np.float32)
    return index, sign
