"""Faces to learn from: those of the pack, people invented from them, and what light, cameras and hands do to both.

Fifty people are few. An invented person has eyes, brows, nose, mouth, chin and the rest from up to four of them, exaggerated, resized and
moved; the teacher says who that is. Degraded faces keep the answer of the clean one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

SIDE, FULL = 112, 160  # as `collect.py` cuts
ROOM = (FULL - SIDE) // 2
GRID = 15  # nodes a side of the field that bends a face
REACH_PX = 8.0  # of a mesh point's pull
EVERY = 3  # mesh points that pull: the mesh is denser than the field needs
# Parts of a face in the crop: distance from its middle (0: one part in the middle), height, width and height of its reach; the first is the rest.
PARTS = ((0, 0, 0, 0), (18, 77, 10, 7), (18, 64, 12, 5), (0, 92, 9, 12), (0, 117, 14, 8), (0, 138, 22, 10))

Teacher = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pack:
    """Faces of one split. crops uint8 [n, 160, 160, 3], points [n, 478, 2] in their pixels, teacher [n, 128] unit vectors."""

    crops: np.ndarray
    points: np.ndarray
    teacher: np.ndarray
    person: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.crops)

    @classmethod
    def read(cls, path: Path, split: str) -> Pack:
        """One split of `faces.npz`."""
        with np.load(path, allow_pickle=False) as z:
            rows = z["split"] == split
            return cls(
                z["crops"][rows], z["points"][rows].astype(np.float32), z["teacher"][rows], z["person"][rows], z["source"][rows]
            )  # fmt: skip


def bent(crop: np.ndarray, points: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The picture moved so that its mesh `points` come to lie on `goal`; still far from the face."""
    nodes = np.linspace(0, FULL - 1, GRID, dtype=np.float32)
    at = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    points, goal = points[::EVERY], goal[::EVERY]
    pull = np.exp(-((at[:, None] - goal[None]) ** 2).sum(-1) / (2 * REACH_PX**2))
    field = (pull @ (points - goal)) / (pull.sum(1, keepdims=True) + 0.05)
    move = cv2.resize(field.reshape(GRID, GRID, 2).astype(np.float32), (FULL, FULL), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:FULL, :FULL].astype(np.float32)
    return cv2.remap(crop, x + move[..., 0], y + move[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def invented(pack: Pack, rng: np.random.Generator) -> np.ndarray:
    """A face of nobody, uint8 [160, 160, 3]: the parts of up to four people, each part also moved and resized."""
    shares = _shares(pack)
    a = int(rng.choice(len(pack), p=shares))
    people = [a]
    for _ in range(int(rng.integers(1, 4))):
        others = rng.choice(len(pack), 8, p=shares)
        others = others[pack.person[others] != pack.person[a]]
        if len(others):  # of eight, one that looks about the same way: parts of two poses make no face
            people.append(int(others[np.abs(pack.points[others] - pack.points[a]).mean((1, 2)).argmin()]))
    owner = [0, *rng.integers(len(people), size=len(PARTS) - 1)]
    goal = _shape(pack.points[people], owner, rng)
    skin = [bent(pack.crops[k], pack.points[k], goal).astype(np.float32) for k in people]
    tone, hold = skin[0][40:130, 40:120].reshape(-1, 3).mean(0), float(rng.uniform(0.3, 1))
    y, x = np.mgrid[:FULL, :FULL].astype(np.float32)
    share = _part_weights(np.stack([x, y], -1).reshape(-1, 2)).reshape(FULL, FULL, -1)
    out, blend = np.zeros_like(skin[0]), rng.random() < 0.3
    for part, who in enumerate(owner):
        own = skin[who] + hold * (tone - skin[who][40:130, 40:120].reshape(-1, 3).mean(0))  # parts must not stick out
        if blend:
            own = 0.5 * own + 0.5 * skin[0]
        out += share[..., part : part + 1] * own
    return np.clip(out, 0, 255).astype(np.uint8)


def _part_weights(at: np.ndarray) -> np.ndarray:
    """[n, 2] places in the crop -> [n, parts], adding up to one; the first part is everything that is no feature."""
    near = [np.exp(-((at[:, 0] - 80) ** 2 if not aside else (np.abs(at[:, 0] - 80) - aside) ** 2) / (2 * wide**2)
                   - (at[:, 1] - y) ** 2 / (2 * tall**2)) for aside, y, wide, tall in PARTS[1:]]  # fmt: skip
    weight = np.stack([np.full(len(at), 0.25), *near], 1) ** 2
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def _shape(shapes: np.ndarray, owner: list[int], rng: np.random.Generator) -> np.ndarray:
    """[478, 2]: the first face's mesh, its parts as their owners have them, exaggerated, resized and moved."""
    goal, base = shapes[0].copy(), shapes[0]
    weight = _part_weights(base)
    for part, who in enumerate(owner):
        w = weight[:, part : part + 1]
        middle = (w * base).sum(0) / w.sum()
        change = rng.uniform(-0.3, 1.3) * (shapes[who] - base) if who else 0
        grow, move = np.exp(rng.normal(0, 0.06, 2)) - 1, rng.normal(0, 1.2, 2) * (part > 0)
        goal += w * (change + grow * (base - middle) + move)
    return goal.astype(np.float32)


def _shares(pack: Pack) -> np.ndarray:
    """Every person weighs as the square root of how many faces show him."""
    _, which, counts = np.unique(pack.person, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(counts[which])
    return weight / weight.sum()


def inside(crop: np.ndarray) -> np.ndarray:
    """The 112 px of the template."""
    return np.ascontiguousarray(crop[ROOM : ROOM + SIDE, ROOM : ROOM + SIDE])


def pool(pack: Pack, teacher: Teacher, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` invented faces [n, 160, 160, 3] and the teacher's unit vectors [n, 128]."""
    rng = np.random.default_rng(seed)
    crops = np.stack([invented(pack, rng) for _ in range(count)])
    vectors = [teacher(np.stack([inside(c) for c in crops[k : k + 32]])) for k in range(0, count, 32)]
    return crops, np.concatenate(vectors)


def degraded(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [160, 160, 3] -> [112, 112, 3]: not quite aligned, mirrored, lit otherwise, soft, small, noisy, compressed, half hidden."""
    scale, angle = float(np.exp(rng.normal(0, 0.05))), float(rng.normal(0, 4))
    turn = cv2.getRotationMatrix2D((FULL / 2, FULL / 2), angle, scale)
    turn[:, 2] += rng.normal(0, 2.0, 2) - ROOM
    x = cv2.warpAffine(crop, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        x = x[:, ::-1]
    if rng.random() < 0.3:  # a small face
        small = int(rng.uniform(26, 90))
        x = cv2.resize(
            cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR
        )
    elif rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.5, 2.2)))
    x = _lit(x.astype(np.float32), rng)
    if rng.random() < 0.25:
        x += rng.normal(0, rng.uniform(1, 10), x.shape)
    if rng.random() < 0.25:
        _hide(x, rng)
    x = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        x = cv2.imdecode(
            cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(12, 80))])[1], cv2.IMREAD_COLOR
        )
    return np.ascontiguousarray(x)


def _lit(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, colour, and a lamp from one side."""
    y = 255 * np.maximum(x / 255, 1e-3) ** float(np.exp(rng.normal(0, 0.2)))
    y *= np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3)).astype(np.float32)
    if rng.random() < 0.4:
        slope = rng.normal(0, 0.45, 2)
        v, u = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
        y *= np.exp(slope[0] * u + slope[1] * v).astype(np.float32)[..., None]
    if rng.random() < 0.1:
        y = np.repeat(y.mean(2, keepdims=True), 3, 2)
    return y


def _hide(x: np.ndarray, rng: np.random.Generator) -> None:
    """Something flat in front: a turned rectangle of one colour with a soft edge."""
    box = ((rng.uniform(0, SIDE), rng.uniform(0, SIDE)), tuple(rng.uniform(12, 55, 2)), rng.uniform(0, 90))
    mask = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillConvexPoly(mask, cv2.boxPoints(box).astype(np.int32), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None]
    x *= 1 - mask
    x += mask * rng.uniform(0, 255, 3)
