"""Whose face is it: of all faces in the sources, the one person who is in most of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from digidouble.errors import SeveralFaces
from digidouble.perception.identity import similarity
from digidouble.schema.capture import Look
from digidouble.schema.persona import LeftOut, PersonaSource

SAME_PERSON = 0.40
RIVAL = 0.3  # share of the winner's summed face widths from which somebody in as many sources is a rival


def one_person(
    looks: Sequence[Look], facts: Sequence[PersonaSource], wanted: Look | None = None
) -> tuple[list[Look], list[LeftOut]]:
    """Keep one person's looks: `wanted`'s, or else those of whoever is in most source files (many, large looks break ties).

    Raises:
        SeveralFaces: somebody else is in as many of several files, in about as many looks.
    """
    vectors = np.stack([k.identity for k in looks])
    files = np.unique([facts[k.source].sha256 + facts[k.source].name for k in looks], return_inverse=True)[1]
    area = np.array([k.face_px for k in looks])
    if wanted is None:
        mine = _largest(vectors, files, area)
        _no_rival(looks, facts, (vectors, files, area), mine)
    else:
        mine = _alike(vectors, wanted.identity.astype(vectors.dtype))
        mine |= np.array([k is wanted for k in looks])
    whom = vectors[mine].mean(0)
    whom /= np.linalg.norm(whom)
    notes = [
        LeftOut(*_place(k, facts), f"another person, left out (likeness {similarity(k.identity, whom):.2f}, needed {SAME_PERSON})")
        for k, ok in zip(looks, mine, strict=True)
        if not ok
    ]  # fmt: skip
    return [k for k, ok in zip(looks, mine, strict=True) if ok], notes


def _place(look: Look, facts: Sequence[PersonaSource]) -> tuple[str, int]:
    return facts[look.source].name, facts[look.source].frame


def _alike(vectors: Float[np.ndarray, "n d"], whom: Float[np.ndarray, " d"]) -> Bool[np.ndarray, " n"]:
    """Looks like `whom`, and like the mean of those that are."""
    first = vectors @ whom > SAME_PERSON
    if not first.any():
        return first
    mean = vectors[first].mean(0)
    return vectors @ (mean / np.linalg.norm(mean)) > SAME_PERSON


def _largest(
    vectors: Float[np.ndarray, "n d"], files: np.ndarray, area: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """The group in most files."""
    like = vectors @ vectors.T > SAME_PERSON
    in_files = np.stack([(like & (files == f)).any(1) for f in np.unique(files)]).sum(0)
    votes = like @ area
    centre = int(np.lexsort((votes, in_files))[-1])
    mine = _alike(vectors, vectors[like[centre]].mean(0) / np.linalg.norm(vectors[like[centre]].mean(0)))
    mine[centre] = True
    return mine


def _no_rival(
    looks: Sequence[Look],
    facts: Sequence[PersonaSource],
    measured: tuple[np.ndarray, ...],
    mine: Bool[np.ndarray, " n"],
) -> None:
    """Raise when the choice between two people would be a guess."""
    vectors, files, area = measured
    if mine.all() or len(np.unique(files)) < 2:
        return
    theirs = np.zeros(len(mine), bool)
    theirs[~mine] = _largest(vectors[~mine], files[~mine], area[~mine])
    as_many = len(np.unique(files[theirs])) == len(np.unique(files[mine]))
    if as_many and area[theirs].sum() > RIVAL * area[mine].sum():
        names = [
            ", ".join(sorted({facts[k.source].name for k, here in zip(looks, group, strict=True) if here})[:4])
            for group in (mine, theirs)
        ]
        raise SeveralFaces(
            f"two people are in as many sources: one in {names[0]}; one in {names[1]}. Say whom with --face 1 (the leftmost "
            "face of the first source that shows so many), --face 2, ..., or give only one person's pictures."
        )
