"""Which looks are worth keeping: sharp, large, evenly lit ones that differ in view, expression and light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32, Int

from digidouble.perception.shape import actions_of, pose_and_shape
from digidouble.schema.capture import Eyewear, Look, Traits
from digidouble.schema.mesh import face_model

REPEATS = 0.25  # what is nearer than this to a kept look, times its quality squared, repeats it
EVEN, SIDE_LIT = 0.45, 1.2  # contrast of the light up to which it costs nothing, and from which it costs most
TOWARD_SCALE, TINT_SCALE = 0.45, 0.25  # of differences in light that matter as much
LIGHT_WEIGHT = 0.15  # of one such difference, against a full-strength expression
LOST = {"side light": 0.5, "glasses": 0.6, "grey": 0.4, "shut": 0.8}  # quality that remains, where better looks exist
WITNESSES = 5  # so many are kept even if they repeat each other: one look cannot be outvoted
SOFT = 0.35  # of the others' real width, below which a look is too soft
PER_SOURCE = 60  # looks of one source that are carried on


def describe(look: Look) -> Float32[np.ndarray, " d"]:
    """Expression and view, as far apart as they look different."""
    pose, shape = pose_and_shape(look.points_px, face_model().mean_cm)
    yaw, pitch, _ = pose.euler_deg
    actions = actions_of(shape[None], face_model().mean_cm)[0]
    return np.concatenate([actions, [yaw / 25, pitch / 25]]).astype(np.float32)


def light_of(traits: Traits | None) -> Float[np.ndarray, "4"]:
    """Direction times contrast, and colour, in units of what matters. Grey pictures have no colour of light."""
    if traits is None:
        return np.zeros(4)
    tint = (0.0, 0.0) if traits.grey else traits.tint
    return np.array([*traits.toward, *tint]) / [TOWARD_SCALE, TOWARD_SCALE, TINT_SCALE, TINT_SCALE]


def qualities(looks: Sequence[Look]) -> Float[np.ndarray, " n"]:
    """0..1 per look: its size and sharpness against the best, the mesh's score, and what makes a poor source of skin."""
    px = np.array([k.face_px for k in looks])
    sharp = np.array([k.sharpness for k in looks])
    out = np.minimum(px / px.max(), 1) * (0.3 + 0.7 * np.minimum(sharp / max(float(np.quantile(sharp, 0.9)), 1e-6), 1))
    out *= [k.score for k in looks]
    traits = [k.traits for k in looks]
    bare = any(t is not None and t.eyewear == "none" for t in traits)
    coloured = any(t is not None and not t.grey for t in traits)
    for i, t in enumerate(traits):
        if t is None:
            continue
        harsh = float(np.clip((t.contrast - EVEN) / (SIDE_LIT - EVEN), 0, 1))
        out[i] *= 1 - harsh * (1 - LOST["side light"])
        out[i] *= LOST["glasses"] if bare and t.eyewear != "none" else 1
        out[i] *= LOST["grey"] if coloured and t.grey else 1
        out[i] *= LOST["shut"] if any(t.shut) else 1
    return out


def most_different(looks: Sequence[Look], count: int) -> list[Look]:
    """Greedy: the best frontal look first, then whichever is farthest from those kept, weighted by its quality."""
    quality = qualities(looks)
    d = np.stack([describe(k) for k in looks])
    light = LIGHT_WEIGHT * np.stack([light_of(k.traits) for k in looks])
    frontal: Float[np.ndarray, " n"] = np.linalg.norm(d[:, -2:], axis=1) + 0.5 * np.abs(d[:, :-2]).mean(1)
    shut = np.array([k.traits is not None and any(k.traits.shut) for k in looks])
    kept = [int((quality - 0.5 * frontal - 0.5 * shut).argmax())]
    d = np.concatenate([d, light], 1)
    while len(kept) < min(count, len(looks)):
        far = np.linalg.norm(d[:, None] - d[kept][None], axis=2).min(1) * quality**2
        far[kept] = -1
        best = int(far.argmax())
        if far[best] < REPEATS:  # what is left repeats what is there
            break
        kept.append(best)
    rest = [int(i) for i in np.argsort(-quality, kind="stable") if i not in kept]
    return [looks[i] for i in kept + rest[: max(0, min(count, WITNESSES) - len(kept))]]


def detail_px(looks: Sequence[Look]) -> Float[np.ndarray, " n"]:
    """Width of every face in pixels that carry detail: soft pictures have fewer than they were stored with."""
    sharp = np.array([k.sharpness for k in looks])
    return np.array([k.face_px for k in looks]) * np.minimum(sharp / max(float(np.quantile(sharp, 0.75)), 1e-6), 1)


def without_soft(looks: Sequence[Look]) -> tuple[list[Look], list[tuple[Look, str]]]:
    """The looks worth choosing from, and those much softer than at least WITNESSES others, with the reason."""
    width = detail_px(looks)
    usual = float(np.quantile(width, 0.75))
    soft = width < SOFT * usual
    if (~soft).sum() < WITNESSES:
        return list(looks), []
    reason = "too soft: the detail of a face {:.0f} px wide, where others have {:.0f} px, left out"
    return (
        [k for k, s in zip(looks, soft, strict=True) if not s],
        [(k, reason.format(w, usual)) for k, w, s in zip(looks, width, soft, strict=True) if s],
    )


def same_eyewear(looks: Sequence[Look], files: Sequence[str]) -> list[Look]:
    """Every look of a file with what most of that file's looks wear: rims are missed in some frames of a video."""
    worn: dict[str, list[bool]] = {}
    for k, name in zip(looks, files, strict=True):
        worn.setdefault(name, []).append(k.traits is not None and k.traits.eyewear != "none")
    out = []
    for k, name in zip(looks, files, strict=True):
        eyewear: Eyewear = "glasses" if 2 * sum(worn[name]) >= len(worn[name]) else "none"
        out.append(replace(k, traits=replace(k.traits, eyewear=eyewear)) if k.traits else k)
    return out


def thinned(looks: list[Look], count: int = PER_SOURCE) -> list[Look]:
    """At most `count` of one source's looks, evenly spread: pictures are large, and a long video has thousands."""
    if len(looks) <= count:
        return looks
    return [looks[i] for i in np.unique(np.linspace(0, len(looks) - 1, count).round().astype(int))]


def grouped_by_light(looks: Sequence[Look]) -> list[Look]:
    """The looks with their `light_group`: complete linkage, so that any two of a group differ by less than one unit.

    Group 0 has the most quality, where even light counts; the others follow in order.
    """
    features = np.stack([light_of(k.traits) for k in looks])
    grey = np.array([k.traits is not None and k.traits.grey for k in looks])
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    apart[grey[:, None] != grey[None]] = np.inf
    groups = _complete_linkage(apart, 1.0)
    quality = qualities(looks)
    worth = [sum(quality[i] for i in g) for g in groups]
    number: Int[np.ndarray, " n"] = np.zeros(len(looks), int)
    for rank, g in enumerate(np.argsort(worth, kind="stable")[::-1]):
        number[groups[g]] = rank
    return [replace(k, light_group=int(n)) for k, n in zip(looks, number, strict=True)]


def _complete_linkage(apart: Float[np.ndarray, "n n"], limit: float) -> list[list[int]]:
    """Merge the two nearest groups until the farthest pair across any two is beyond `limit`."""
    groups = [[i] for i in range(len(apart))]
    d = apart.copy()
    np.fill_diagonal(d, np.inf)
    while len(groups) > 1:
        i, j = divmod(int(d.argmin()), len(groups))
        if not d[i, j] < limit:
            break
        i, j = min(i, j), max(i, j)
        groups[i] += groups.pop(j)
        d[i] = np.maximum(d[i], d[j])
        d[:, i] = d[i]
        d = np.delete(np.delete(d, j, 0), j, 1)
        d[i, i] = np.inf
    return groups
