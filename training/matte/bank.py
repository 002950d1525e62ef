"""The data pack in memory: bases, glasses drawn on each base, and layers by kind, for one split, as uint8 tensors.

Identities and occluders are disjoint between splits: bases by clip, hands and masks by file, drawn things by seed and by
the textures they are made of. Drawing runs in worker processes and is a pure function of (seed, index).
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import bases
import crop as crop_module
import cv2
import numpy as np
import occluders
import torch
from prepare import decode
from torch import Tensor

SPLIT_SEED = {"train": 11, "val": 22, "test": 33}
DRAWN = {"blob": 1.0, "mic": 0.4, "cup": 0.4, "stick": 0.4, "hair": 1.6, "strands": 1.6}
"""Kinds that are drawn, with their share of the configured count."""

_textures: np.ndarray
_colours: np.ndarray


@dataclass(frozen=True)
class Bank:
    """One split's material. Pictures are RGB, NCHW, 0..255; `base` x `base` pixels for what follows a face.

    picture [n, 3, b, b], label/weight/hull [n, 1, b, b]; chance [n] sampling weight; real_glasses [n];
    frame/lens [n * g, 4, b, b] glasses of base k at k * g ... k * g + g - 1; lock [m, 1, b, b] hair of base lock_base [m];
    layers: kind -> [k, 4, s, s].
    """

    picture: Tensor
    label: Tensor
    weight: Tensor
    hull: Tensor
    chance: Tensor
    real_glasses: Tensor
    frame: Tensor
    lens: Tensor
    glasses_each: int
    lock: Tensor
    lock_base: Tensor
    layers: dict[str, Tensor]


def _start(textures: np.ndarray, colours: np.ndarray) -> None:
    global _textures, _colours
    cv2.setNumThreads(1)
    _textures, _colours = textures, colours


def _draw(job: tuple[str, int, int]) -> np.ndarray:
    kind, seed, index = job
    random = np.random.default_rng([seed, index, len(kind)])
    if kind in ("hair", "strands"):
        return {"hair": occluders.hair, "strands": occluders.strands}[kind](random, _colours)
    draw = {"blob": occluders.blob, "mic": occluders.microphone, "cup": occluders.cup, "stick": occluders.stick}[kind]
    return draw(random, _textures)


def _draw_glasses(job: tuple[int, int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    seed, index, points = job
    return occluders.glasses(np.random.default_rng([seed, index, 99]), points.astype(np.float64), bases.BASE)


def _nchw(pictures: list[np.ndarray] | np.ndarray, device: torch.device) -> Tensor:
    stack = np.stack(list(pictures))
    stack = stack[..., None] if stack.ndim == 3 else stack
    return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2))).to(device)


def load(pack_path: Path, split: str, drawn: int, glasses_each: int, workers: int, device: torch.device) -> Bank:
    """Read one split of the pack and draw its layers (`drawn` is the count of blobs; other kinds in proportion)."""
    with np.load(pack_path) as pack:
        data = {key: pack[key] for key in pack.files}
    which = np.flatnonzero(data["split"] == split)
    pictures = [cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for p in decode(data["base"], data["base_at"])]
    both = decode(data["label"], data["label_at"])
    points, clip, seed = data["points"], data["clip"], SPLIT_SEED[split]
    chosen_textures = [p for p, s in zip(decode(data["texture"], data["texture_at"]), data["texture_split"], strict=True)
                       if (s == "test") == (split == "test")]  # fmt: skip
    textures = np.stack([cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for p in chosen_textures])
    locks, lock_base = decode(data["lock"], data["lock_at"]), data["lock_base"]
    keep = np.flatnonzero(data["lock_split"] == split)
    colours = np.stack([np.median(pictures[lock_base[k]][locks[k] > 200], 0) for k in keep])
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(textures, colours)) as pool:
        layers = {
            kind: _nchw(
                list(pool.map(_draw, [(kind, seed, k) for k in range(int(share * drawn))], chunksize=8)), device
            )
            for kind, share in DRAWN.items()
        }
        jobs = [(seed, int(b) * 100 + g, points[b]) for b in which for g in range(glasses_each)]
        pairs = list(pool.map(_draw_glasses, jobs, chunksize=8))
    for kind in ("hand", "mask"):
        pieces = decode(data[kind], data[f"{kind}_at"])
        # The three splits of the masks are two: validation looks at the training masks.
        wanted = "train" if kind == "mask" and split == "val" else split
        chosen = [p for p, s in zip(pieces, data[f"{kind}_split"], strict=True) if s == wanted]
        layers[kind] = _nchw([cv2.cvtColor(c, cv2.COLOR_RGBA2BGRA)[..., [2, 1, 0, 3]] for c in chosen], device)
    names, counts = np.unique(clip[which], return_counts=True)
    count_of = dict(zip(names.tolist(), counts.tolist(), strict=True))
    place = {int(b): k for k, b in enumerate(which)}
    half = bases.BASE
    return Bank(
        picture=_nchw([pictures[b] for b in which], device),
        label=_nchw([both[b][:, :half] for b in which], device),
        weight=_nchw([both[b][:, half:] for b in which], device),
        hull=_nchw([crop_module.hull_mask(points[b], bases.BASE) for b in which], device),
        # Long clips count less than their frames; turned heads are rare and count more.
        chance=torch.tensor(
            [
                bases.OFTEN.get(str(clip[b]), 1.0)
                * count_of[clip[b]] ** -0.6
                * (1 + 20 * min(bases.turn(points[b]), 0.4))
                for b in which
            ],
            device=device,
        ),
        real_glasses=torch.tensor([c in bases.GLASSES for c in clip[which]], device=device),
        frame=_nchw([p[0] for p in pairs], device),
        lens=_nchw([p[1] for p in pairs], device),
        glasses_each=glasses_each,
        lock=_nchw([locks[k] for k in keep], device),
        lock_base=torch.tensor([place[int(lock_base[k])] for k in keep], device=device),
        layers=layers,
    )
