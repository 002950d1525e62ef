"""`fusion.npz` on the training device: rows, neighbours in expression, and batches with their augmentation.

Tone: what the renderer matches to the plate anyway (log colour below about 7 % of the face's width, `render.light`) is matched
here too, in every loss and every score, for the network and for its baselines alike. What is left is what fusion is for.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

EPS = 0.02  # floor of display-referred colour under a logarithm
TONE_TEXELS = 2.2  # of 32: what the renderer followed when the pack was made, now only at the rim
LUMA = (0.2126, 0.7152, 0.0722)
NEIGHBOURS = 6
GRID = 64
"""Texels of a flow: what is finer is noise."""
FLOW_TEXELS = 6.0
FINEST_SLIDE = 16.0
"""Steps a texel in which the slide is kept: an eighth of a byte's range either way."""

Plate = Literal["none", "other", "stand-in", "own"]
"""Where the plate's own skin (ratio or slide) comes from: nowhere, another person in a like expression, the very frame as another
face would show it (`Pack.stand_in`), the very frame."""


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


def slides(now: Tensor, rest: Tensor, weight: Tensor, threads: int = 2) -> Tensor:
    """[n, 2, GRID, GRID] texels of the 128 grid: where in `rest` [n, 3, 128, 128] the skin of `now` lies, by DIS on luminance with
    the tone band matched; smooth, zero where unseen."""
    luma = torch.tensor(LUMA, device=now.device).view(1, 3, 1, 1)
    like = (toned(rest, now, weight).exp() - EPS).clamp(0, 1)
    grey = lambda x: ((x * luma).sum(1).clamp(0, 1) * 255).round().byte().cpu().numpy()  # noqa: E731

    def one(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return dis.calc(*pair, None)  # pyright: ignore[reportCallIssue, reportArgumentType]

    with ThreadPoolExecutor(threads) as pool:
        found = np.stack(list(pool.map(one, zip(grey(now), grey(like), strict=True))))
    flow = torch.from_numpy(found).to(now.device).permute(0, 3, 1, 2).clamp(-FLOW_TEXELS, FLOW_TEXELS)
    smooth = blurred(flow * weight, 1.5) / (blurred(weight, 1.5) + 0.05)
    return functional.avg_pool2d(smooth * weight, flow.shape[-1] // GRID)


@dataclass
class Batch:
    """keys [n, k, 7, ...], dynamic [n, 10, ...], facts [n, 28]: the network's inputs; target skin, weight 0..1 of its texels, how
    far they are seen, and the true displacement of the mesh (cm)."""

    keys: Tensor
    dynamic: Tensor
    facts: Tensor
    target: Tensor
    weight: Tensor
    visible: Tensor
    shift: Tensor

    def at(self, rows: Tensor) -> Batch:
        """Some of the samples."""
        return Batch(*(getattr(self, f.name)[rows] for f in fields(self)))


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
        self.rotation, self.mean = put(z["rotation"]).float(), put(z["mean_cm"]).float()
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
        self.slid = self._slides()

    def _neighbours(self) -> Tensor:
        """[rows, NEIGHBOURS]: training rows of other people nearest in expression, whoever the row belongs to."""
        train = self.split["train"]
        distance = torch.cdist(self.what, self.what[train])
        distance[self.person[:, None] == self.person[train][None]] = torch.inf
        return train[distance.topk(min(NEIGHBOURS, len(train)), largest=False).indices]

    def _slides(self) -> Tensor:
        """[rows, 2, GRID, GRID] in steps of 1 / FINEST_SLIDE texel: where each row's skin lies in its clip's relaxed frame."""
        out = []
        for rows in torch.arange(len(self.skin), device=self.device).split(64):
            rest = self.neutral[rows]
            weight = torch.minimum(self.visible(rows), 0.25 + 0.75 * self.visible(rest))
            found = slides(self.picture(rows), self.picture(rest), weight, os.cpu_count() or 1)
            out.append((found * FINEST_SLIDE).round().to(torch.int8))
        return torch.cat(out)

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

    def slide(self, rows: Tensor) -> Tensor:
        """[n, 2, 128, 128] texels: the plate's skin of now in its own neutral."""
        return functional.interpolate(self.slid[rows].float() / FINEST_SLIDE, scale_factor=2.0, mode="bilinear")

    def depth(self, rows: Tensor) -> Tensor:
        """[n, 1, 128, 128] cm: the mesh toward the camera, over its mean."""
        z = ((self.mean + self.shift[rows].float()) @ self.rotation[rows].transpose(1, 2))[..., 2:]
        return self.over_uv(z - z.mean(1, keepdim=True))

    def stand_in(self, plate: Tensor) -> Tensor:
        """Ratio and slide [n, 3, 128, 128] as another face would show the same moment: its features lie elsewhere by up to about four
        texels, it moves more here and less there, its skin is blurred, noisy, and has holes in the ratio."""
        n = len(plate)
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        grown = lambda x: functional.interpolate(x, size=(128, 128), mode="bicubic", align_corners=False)  # noqa: E731
        field = torch.randn(n, 2, 6, 6, device=self.device, generator=self.rng) * 0.025
        moved = functional.grid_sample(plate, self.places(field), padding_mode="border", align_corners=False)
        soft = blurred(moved, 0.5 + 1.0 * float(draw(1)))
        amount = (0.65 + 0.7 * draw(n, 2, 1, 1)) * (1 + 0.4 * (grown(draw(n, 2, 5, 5)) - 0.5))
        holes = grown((draw(n, 1, 6, 6) > 0.08).float()).clamp(0, 1)
        ratio = (soft[:, :1] * amount[:, :1] + 0.08 * (grown(draw(n, 1, 32, 32)) - 0.5)) * holes
        return torch.cat([ratio, soft[:, 1:] * amount[:, 1:] + 0.6 * (grown(draw(n, 2, 12, 12)) - 0.5)], 1)

    def otherwise(self, shift: Tensor) -> Tensor:
        """A displacement [n, 3, 128, 128] as another face would make it: more here, less there, and a little elsewhere."""
        n = len(shift)
        field = torch.randn(n, 6, 5, 5, device=self.device, generator=self.rng)
        field = functional.interpolate(field, size=(128, 128), mode="bicubic", align_corners=False)
        return (shift * (1 + 0.2 * field[:, :3]) + 0.04 * field[:, 3:]) * self.covered

    def plate(self, rows: Tensor, ratio: Plate, slide: Plate) -> Tensor:
        """[n, 3, 128, 128]: ratio and slide of the plate that the rows' moments are taken from."""
        own = torch.cat([self.ratio(rows), self.slide(rows)], 1)
        other = torch.cat([self.ratio(self.near[rows][:, 0]), self.slide(self.near[rows][:, 0])], 1)
        found = {"none": own * 0, "own": own, "other": other}
        if "stand-in" in (ratio, slide):
            found["stand-in"] = self.stand_in(own)
        return torch.cat([found[ratio][:, :1], found[slide][:, 1:]], 1)

    def places(self, field: Tensor) -> Tensor:
        """Where to read a 128 x 128 map moved by a coarse field [n, 2, a, b] of halves of its side."""
        row = (torch.arange(128, device=self.device) + 0.5) / 64 - 1
        y, x = torch.meshgrid(row, row, indexing="ij")
        at = functional.interpolate(field, size=(128, 128), mode="bicubic", align_corners=False) + torch.stack([x, y])
        return at.permute(0, 2, 3, 1)

    def compose(self, target: Tensor, keys: Tensor, plate: Tensor | None = None, shift: Tensor | None = None) -> Batch:
        """Inputs and truth for target rows [n] and key rows [n, k]; `plate` of `plate()` (nothing known without it), `shift` instead
        of the true displacement."""
        n, k = keys.shape
        flat = keys.flatten()
        parts = torch.cat([self.picture(flat), self.visible(flat), self.over_uv(self.shift[flat].float())], 1)
        true = self.over_uv(self.shift[target].float())
        plate = torch.zeros_like(true) if plate is None else plate
        normal = self.over_uv(self.normal[target].float() / 127)
        dynamic = torch.cat([true if shift is None else shift, normal, plate, self.depth(target)], 1)
        facts = torch.cat([self.actions[target], self.gaze[target]], 1)
        seen = self.visible(target)
        weight = torch.minimum(seen, 0.25 + 0.75 * self.visible(keys[:, 0]))
        return Batch(parts.reshape(n, k, 7, *seen.shape[-2:]), dynamic, facts, self.picture(target), weight, seen, true)

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
        own = torch.cat([self.ratio(target), self.slide(target)], 1)
        stand, theirs = self.stand_in(own), self.stand_in(torch.cat([self.ratio(other), own[:, 1:]], 1))
        kind = draw(2, size, 1, 1, 1)
        ratio = torch.where(kind[0] < 0.15, theirs[:, :1], stand[:, :1] * (kind[0] < 0.7))
        slide = torch.where(kind[1] < 0.6, stand[:, 1:], own[:, 1:] * (kind[1] < 0.8))
        true = self.over_uv(self.shift[target].float())
        b = self.compose(target, keys, torch.cat([ratio, slide], 1), self.otherwise(true))
        b.target = self.relit(b.target, b.dynamic[:, 3:6])
        flat = self.relit(b.keys[:, :, :3].flatten(0, 1), self.over_uv(self.normal[keys.flatten()].float() / 127))
        flat, seen = self.covered_up(self.compressed(flat), b.keys[:, :, 3:4].flatten(0, 1))
        b.keys = torch.cat([torch.cat([flat, seen], 1).unflatten(0, keys.shape), b.keys[:, :, 4:]], 2)
        return self.augmented(b)

    def relit(self, skin: Tensor, normal: Tensor) -> Tensor:
        """Every second picture in another light: a random log gain of spherical-harmonic shape, up to the second order in the normal."""
        n, (x, y, z) = len(skin), normal.unbind(1)
        shape = torch.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], 1)
        amount = 0.12 * torch.randn(n, 8, 1, 1, device=self.device, generator=self.rng)
        amount = amount * (torch.rand(n, 1, 1, 1, device=self.device, generator=self.rng) < 0.5)
        return ((skin + EPS) * torch.exp((amount * shape).sum(1, keepdim=True)) - EPS).clamp(0, 1)

    def compressed(self, skin: Tensor) -> Tensor:
        """Every fourth picture quantised in blocks of 8 x 8, as JPEG and the block codecs do it (cosine transform, one step)."""
        n, t = len(skin), torch.arange(8, device=self.device, dtype=torch.float32)
        basis = torch.cos((2 * t[None] + 1) * t[:, None] * torch.pi / 16) * 0.5
        basis[0] *= 0.5**0.5
        blocks = skin.unflatten(-1, (16, 8)).unflatten(-3, (16, 8)).transpose(-2, -3)
        step = 0.02 + 0.06 * torch.rand(n, 1, 1, 1, 1, 1, device=self.device, generator=self.rng)
        found = ((basis @ blocks @ basis.T) / step).round() * step
        done = (basis.T @ found @ basis).transpose(-2, -3).flatten(-2).flatten(-3, -2)
        return torch.where(
            torch.rand(n, 1, 1, 1, device=self.device, generator=self.rng) < 0.25, done.clamp(0, 1), skin
        )

    def covered_up(self, skin: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Every fourth picture with something in front of it: a soft blob of one colour that was not seen as skin."""
        n = len(skin)
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        row = (torch.arange(128, device=self.device) + 0.5) / 128
        away = ((row[None, None, :, None] - draw(n, 1, 1, 1)) / (0.05 + 0.2 * draw(n, 1, 1, 1))) ** 2
        away = away + ((row[None, None, None] - draw(n, 1, 1, 1)) / (0.05 + 0.2 * draw(n, 1, 1, 1))) ** 2
        blob = torch.sigmoid(8 * (1 - away)) * (draw(n, 1, 1, 1) < 0.25)
        return skin + (draw(n, 3, 1, 1) - skin) * blob, seen * (1 - blob)

    def augmented(self, b: Batch) -> Batch:
        """One colour change for keys and truth together; every second sample mirrored."""
        draw = lambda *shape: torch.rand(*shape, device=self.device, generator=self.rng)  # noqa: E731
        n = len(b.target)
        power, gain = 0.75 + 0.6 * draw(n, 1, 1, 1), 0.75 + 0.5 * draw(n, 3, 1, 1)
        change = lambda x, p, g: x.clamp(min=1e-3) ** p * g  # noqa: E731
        target = change(b.target, power, gain)
        skin = change(b.keys[:, :, :3], power[:, None], gain[:, None])
        keys = torch.cat([skin, b.keys[:, :, 3:]], 2)
        flip = (draw(n) < 0.5).view(-1, 1, 1, 1)
        signs = lambda *s: torch.tensor(s, device=self.device, dtype=torch.float32).view(-1, 1, 1)  # noqa: E731
        keys = torch.where(flip[:, None], keys.flip(-1) * signs(1, 1, 1, 1, -1, 1, 1), keys)
        turned = torch.cat([b.facts[:, self.action_mirror] * self.action_sign, -b.facts[:, 26:27], b.facts[:, 27:]], 1)
        facts = torch.where(flip[:, :, 0, 0], turned, b.facts)
        pick = lambda x, *s: torch.where(flip, x.flip(-1) * signs(*s) if s else x.flip(-1), x)  # noqa: E731
        dynamic = pick(b.dynamic, -1, 1, 1, -1, 1, 1, 1, -1, 1, 1)
        return self.bent(
            Batch(keys, dynamic, facts, pick(target), pick(b.weight), pick(b.visible), pick(b.shift, -1, 1, 1))
        )

    def bent(self, b: Batch) -> Batch:
        """Faces of another cut: everything that lies in UV moved together by a smooth random field of up to about three texels."""
        n, k = b.keys.shape[:2]
        field = torch.randn(n, 2, 6, 6, device=self.device, generator=self.rng) * 0.022
        both = torch.cat([b.keys.flatten(1, 2), b.dynamic, b.target, b.weight, b.visible, b.shift], 1)
        both = functional.grid_sample(both, self.places(field), padding_mode="border", align_corners=False)
        keys, *rest = both.split([7 * k, 10, 3, 1, 1, 3], 1)
        return Batch(keys.unflatten(1, (k, 7)), rest[0], b.facts, *rest[1:])

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
