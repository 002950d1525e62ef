"""Which emotion a face shows, by 68 landmarks; learnt from real people only (`emotion_material`).

Sixteen lengths of the face over the person's own rest; each emotion the mean of its people; the nearest mean under one covariance for all
(linear discriminant, Fisher 1936): what differs between people who show the same, and what changes while they talk, drawn towards its diagonal
(Friedman 1989). Few people show each emotion here, so how far the judge's word carries is measured (`unseen`): everybody is judged by a judge
that never saw them. Lengths and settings were chosen by that number, before the judge saw a render.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from digidouble.bench.emotion_material import RESTS, TAKES, Spans, Take
from digidouble.bench.landmarks import face_scale

SIDED: tuple[str, ...] = (
    "inner_brow",
    "outer_brow",
    "brow_apart",
    "eye",
    "lower_lid",
    "corner_up",
    "corner_out",
    "nostril",
)
MIDDLE: tuple[str, ...] = ("upper_lip", "lips_middle", "open", "upper_thick", "lower_thick", "chin")
FEATURES = (
    "inner_brow", "outer_brow", "brow_apart", "eye", "lower_lid", "smile", "corner_out", "upper_lip", "open", "upper_thick", "lower_thick",
    "nostril", "chin", "corner_uneven", "brow_uneven", "eye_uneven",
)  # fmt: skip
CALM = "neutral"
TO_DIAGONAL = 0.65  # share of the diagonal in the covariance
WITHOUT_REST = 0.6  # weight of a person whose own rest is not known

Clip = tuple[str, Spans]
Lengths = Float[np.ndarray, "n 22"]


def lengths(points: Float[np.ndarray, "n 68 2"]) -> Lengths:
    """SIDED of the subject's right, of the left, then MIDDLE, in units of `face_scale`. Invariant to shift, roll and size."""
    p = points.astype(np.float64)
    up = p[:, 27] - p[:, 33]
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    across = np.stack([-up[:, 1], up[:, 0]], 1)
    p = p - p[:, 27:28]
    x, y = (p * across[:, None]).sum(2), (p * up[:, None]).sum(2)
    bridge = x[:, 27:31].mean(1)

    def side(sign: int, brow: tuple[int, int], eye: tuple[int, ...], corner: int, nostril: int) -> list[np.ndarray]:
        level = (y[:, eye[0]] + y[:, eye[3]]) / 2
        above, below = (y[:, eye[1]] + y[:, eye[2]]) / 2, (y[:, eye[4]] + y[:, eye[5]]) / 2
        return [
            y[:, brow[0]] - level, y[:, brow[1]] - level, sign * (x[:, brow[0]] - bridge), above - below, below - level,
            y[:, corner] - y[:, 33], sign * (x[:, corner] - bridge), y[:, nostril] - level,
        ]  # fmt: skip

    middle = [
        y[:, 51] - y[:, 33], (y[:, 51] + y[:, 57]) / 2 - y[:, 33], y[:, 62] - y[:, 66], y[:, 51] - y[:, 62], y[:, 66] - y[:, 57],
        y[:, 8] - y[:, 33],
    ]  # fmt: skip
    right = side(-1, (21, 17), (36, 37, 38, 39, 40, 41), 48, 31)
    left = side(1, (22, 26), (42, 43, 44, 45, 46, 47), 54, 35)
    return np.stack(right + left + middle, 1) / face_scale(p)[:, None]


def with_brows(found: Lengths, brows: Lengths) -> Lengths:
    """`found` with the lengths of brows that `brows` has: of the same faces, seen so that raised brows are not lost."""
    out, k = found.copy(), len(SIDED)
    for name in ("inner_brow", "outer_brow", "brow_apart"):
        for column in (SIDED.index(name), k + SIDED.index(name)):
            out[:, column] = brows[:, column]
    return out


def changes(found: Lengths, rest: Float[np.ndarray, " 22"]) -> Float[np.ndarray, "n 16"]:
    """FEATURES over a rest. Mirrored faces give the same: sides are averaged, what differs between them has no sign."""
    d, k = found - rest, len(SIDED)
    right, left = d[:, :k], d[:, k : 2 * k]
    both: dict[str, np.ndarray] = dict(zip(SIDED, ((right + left) / 2).T, strict=True)) | dict(
        zip(MIDDLE, d[:, 2 * k :].T, strict=True)
    )
    uneven: dict[str, np.ndarray] = dict(zip(SIDED, np.abs(right - left).T, strict=True))
    both["smile"] = both["corner_up"] - both["lips_middle"]
    both |= {f"{n}_uneven": uneven[s] for n, s in (("corner", "corner_up"), ("brow", "inner_brow"), ("eye", "eye"))}
    return np.stack([both[f] for f in FEATURES], 1)


@dataclass(frozen=True)
class Shown:
    """One take, measured: `changes` by frame, and whether the person's own rest is known."""

    take: Take
    changes: Float[np.ndarray, "n 16"]
    own_rest: bool


def shown(seen: Mapping[Clip, Lengths]) -> list[Shown]:
    """Every take of `TAKES`, and the rests as neutral ones. Raises KeyError where a clip of `emotion_material.wanted` is missing."""
    looks = {p: np.concatenate([seen[c] for c in places]) for p, places in RESTS.items()}
    looks |= {t.person: seen[t.clip, t.spans] for t in TAKES if t.emotion == CALM}
    rests: dict[str, np.ndarray] = {p: np.asarray(np.median(found, 0)) for p, found in looks.items()}
    common, k = np.mean(list(rests.values()), 0), len(SIDED)
    common[:k] = common[k : 2 * k] = (common[:k] + common[k : 2 * k]) / 2

    def rest_of(person: str) -> np.ndarray:
        found = rests.get(person)
        return common if found is None else found

    out = [Shown(t, changes(seen[t.clip, t.spans], rest_of(t.person)), t.person in rests) for t in TAKES]
    for person, places in RESTS.items():
        if len(looks[person]) > 4:
            take = Take(person, places[0][0], CALM, "rests", places[0][1])
            out.append(Shown(take, changes(looks[person], rests[person]), True))
    return out


@dataclass(frozen=True)
class Judge:
    """`means`: emotion -> FEATURES over rest. `covariance`: of a face around them."""

    means: Mapping[str, Float[np.ndarray, " 16"]]
    covariance: Float[np.ndarray, "16 16"]

    def ranked(self, change: Float[np.ndarray, " 16"]) -> list[str]:
        """Emotions, the likeliest first. `change`: FEATURES over the person's own rest."""
        far = {e: float((change - m) @ np.linalg.solve(self.covariance, change - m)) for e, m in self.means.items()}
        return sorted(far, key=lambda e: far[e])


def train(people: list[Shown], without: Collection[str] = ()) -> Judge:
    """From real people, those of `without` left out."""
    takes = [s for s in people if s.take.person not in without]
    by_emotion: dict[str, list[Shown]] = {}
    for s in takes:
        by_emotion.setdefault(s.take.emotion, []).append(s)
    size = len(FEATURES)
    means, between, within, free = {}, np.zeros((size, size)), np.zeros((size, size)), 0
    for emotion, group in by_emotion.items():
        each = np.stack([np.median(s.changes, 0) for s in group])
        weight = np.array([1.0 if s.own_rest else WITHOUT_REST for s in group])
        mean = np.average(each, axis=0, weights=weight)
        means[emotion] = np.zeros(size) if emotion == CALM else mean
        for s, middle in zip(group, each, strict=True):
            within += (s.changes - middle).T @ (s.changes - middle) / len(s.changes)
        if emotion != CALM:
            between += (each - mean).T @ (each - mean)
            free += len(group) - 1
    spread = within / len(takes) + between / max(free, 1)
    return Judge(means, (1 - TO_DIAGONAL) * spread + TO_DIAGONAL * np.diag(np.diag(spread)))


def unseen(people: list[Shown]) -> list[tuple[Take, list[str]]]:
    """Every take and how a judge who never saw this person ranks its middle."""
    return [(s.take, train(people, {s.take.person}).ranked(np.median(s.changes, 0))) for s in people]
