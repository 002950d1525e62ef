"""Splitting a clip into poses and expressions that are learnt from and ones that are not."""

from __future__ import annotations

import numpy as np

from digidouble.bench.unseen import GAP, LARGEST, split_clusters


def walk(seed: int = 0) -> np.ndarray:
    """240 frames: six poses, each visited twice, with the way between them."""
    rng = np.random.default_rng(seed)
    places = rng.normal(0, 1, (6, 4))
    stops = [places[k] for k in (0, 1, 2, 3, 4, 5, 0, 2, 4, 1, 3, 5)]
    return np.concatenate([p + rng.normal(0, 0.03, (20, 4)) for p in stops])


def test_no_held_out_frame_has_a_twin_on_the_learnt_side():
    described = walk()
    learnt, held = split_clusters(described)
    assert 0.05 < held.mean() <= LARGEST and learnt.any()
    apart = np.abs(np.flatnonzero(held)[:, None] - np.flatnonzero(learnt)).min(1)
    assert apart.min() > GAP
    near = np.linalg.norm(described[held][:, None] - described[learnt][None], axis=2).min(1)
    usual = np.linalg.norm(np.diff(described[learnt], axis=0), axis=1)
    assert np.median(near) > 3 * np.median(usual)  # neighbouring frames are much closer than the split lets through


def test_split_is_the_same_every_time():
    a, b = split_clusters(walk()), split_clusters(walk())
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
