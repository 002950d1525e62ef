"""Sound alone to articulators, in any language: a small network trained by `training/audio_mouth` (see its MODEL_CARD.md)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.session import Runner, Session
from digidouble.speech.articulation import CLOSURE, COLUMNS, GRID_HZ
from digidouble.speech.features import levelled, log_mel
from digidouble.speech.visemes import shut_around

NAME = "audio-mouth"
BLOCK_S, SEEN_S = 60.0, 1.0  # run at a time, and what a row sees before and after itself (0.65 s), with some to spare
SHUT_FROM = 0.5  # closure from which lips meet
SHORTEST_HOLD_S = 0.02


@lru_cache(maxsize=1)
def shipped() -> Runner:
    """The network that comes with the product."""
    return Session(NAME)


def articulate_sound(
    samples: Float32[np.ndarray, " n"], runner: Runner | None = None
) -> tuple[Float[np.ndarray, "g c"], Float[np.ndarray, "k 2"]]:
    """Articulators on the grid, and the closures' holds (start, end) in seconds, of sound at `sound.ANALYSIS_HZ`.

    Runs in blocks, so memory grows with the log-mel only: 32 kB a second.
    """
    runner = runner or shipped()
    mel = levelled(log_mel(samples))
    block, seen = round(BLOCK_S * GRID_HZ), round(SEEN_S * GRID_HZ)
    rows = []
    for start in range(0, len(mel), block):
        lead = min(start, seen)
        piece = mel[start - lead : start + block + seen]
        rows.append(runner.run({"mel": piece[None]})["articulators"][0][lead : lead + block])
    grid = np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, len(COLUMNS)))
    holds = holds_of(grid[:, CLOSURE])
    t = np.arange(len(grid)) / GRID_HZ
    grid[:, CLOSURE] = 0.0
    for begin, end in holds:
        near = slice(max(round((begin - 0.2) * GRID_HZ), 0), round((end + 0.2) * GRID_HZ))
        grid[near, CLOSURE] = np.maximum(grid[near, CLOSURE], shut_around(t[near], begin, end))
    return grid, holds


def holds_of(closure: Float[np.ndarray, " g"]) -> Float[np.ndarray, "k 2"]:
    """Stretches in which closure is above SHUT_FROM for at least SHORTEST_HOLD_S, as seconds."""
    shut = np.concatenate([[False], closure >= SHUT_FROM, [False]])
    edges = np.flatnonzero(shut[1:] != shut[:-1]).reshape(-1, 2) / GRID_HZ
    return edges[edges[:, 1] - edges[:, 0] >= SHORTEST_HOLD_S - 1e-9].astype(np.float64)
