"""Sound alone to articulators, in any language: a small network trained by `training/audio_mouth` (see its MODEL_CARD.md)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.session import Runner, Session
from digidouble.speech.articulation import CLOSURE, GRID_HZ, JAW, OPENING, around, shut_around
from digidouble.speech.features import MELS, levelled, log_mel, loudness_db
from digidouble.speech.visemes import BREATH_AFTER_S, BREATH_OPENING, BREATH_S

NAME = "audio-mouth"
BLOCK_S, SEEN_S = 60.0, 1.0  # run at a time, and what a row sees before and after itself (0.65 s), with some to spare
QUIET = -3.5  # levelled log-mel of a silent studio
HEARD_DB, PHRASE_S, BREATH_EASE_S, MEETS_S = 25.0, 0.06, 0.2, 0.06
SHUT_FROM = (
    0.4  # closure from which lips meet: of held-out readings 94 % of p, b, m are found, 80 % of what is found is one
)
SHORTEST_HOLD_S = 0.02


@lru_cache(maxsize=1)
def shipped() -> Runner:
    """The network that comes with the product."""
    return Session(NAME)


def articulate_sound(
    samples: Float32[np.ndarray, " n"], runner: Runner | None = None, breath: float = 1.0
) -> tuple[Float[np.ndarray, "g c"], Float[np.ndarray, "k 2"]]:
    """Articulators on the grid, and the closures' holds (start, end) in seconds, of sound at `sound.ANALYSIS_HZ`.
    `breath`: see `MouthStyle`.

    Runs in blocks, so memory grows with the log-mel only: 32 kB a second.
    """
    runner = runner or shipped()
    # Silence around: convolutions would take the end of the recording for a loud sound.
    quiet = np.full((round(SEEN_S * GRID_HZ), MELS), QUIET, np.float32)
    mel = np.concatenate([quiet, levelled(log_mel(samples)), quiet])
    block, seen = round(BLOCK_S * GRID_HZ), round(SEEN_S * GRID_HZ)
    rows = []
    for start in range(0, len(mel), block):
        lead = min(start, seen)
        piece = mel[start - lead : start + block + seen]
        rows.append(runner.run({"mel": piece[None]})["articulators"][0][lead : lead + block])
    grid = np.concatenate(rows)[len(quiet) : -len(quiet)].astype(np.float64)
    holds = holds_of(grid[:, CLOSURE])
    t = np.arange(len(grid)) / GRID_HZ
    grid[:, CLOSURE] = 0.0
    for begin, end in holds:
        near = slice(max(round((begin - 0.2) * GRID_HZ), 0), round((end + 0.2) * GRID_HZ))
        grid[near, CLOSURE] = np.maximum(grid[near, CLOSURE], shut_around(t[near], begin, end))
    t_of_onset = breaths_at(loudness_db(samples))
    for onset in t_of_onset if breath > 0 else ():
        near = slice(max(round((onset - 0.8) * GRID_HZ), 0), round((onset + 0.3) * GRID_HZ))
        shape = np.minimum(
            around(t[near], onset - BREATH_S, onset, BREATH_EASE_S), around(t[near], 0.0, onset, MEETS_S)
        )
        lifted = breath * BREATH_OPENING * shape
        for column, share in ((OPENING, 1.0), (JAW, 0.6)):
            grid[near, column] = np.maximum(grid[near, column], share * lifted)
    return grid, holds


def breaths_at(level_db: Float[np.ndarray, " t"]) -> list[float]:
    """When phrases begin, in seconds: PHRASE_S of sound within HEARD_DB of the loud parts, after BREATH_AFTER_S with next to none."""
    heard = level_db > max(float(np.percentile(level_db, 95)), -55.0) - HEARD_DB
    before, after = round(BREATH_AFTER_S * GRID_HZ), round(PHRASE_S * GRID_HZ)
    count = np.concatenate([np.zeros(before + 1), np.cumsum(heard), np.full(after, heard.sum())])
    k = np.arange(len(heard))
    quiet = count[k + before] - count[k] <= 0.1 * before
    begins = heard & quiet & (count[k + before + after] - count[k + before] >= 0.8 * after)
    onsets = np.flatnonzero(begins & ~np.concatenate([[False], begins[:-1]]))
    # What begins with the recording began before it: nobody can tell.
    return [float(o) / GRID_HZ for o in onsets if o > after]


def holds_of(closure: Float[np.ndarray, " g"]) -> Float[np.ndarray, "k 2"]:
    """Stretches in which closure is above SHUT_FROM for at least SHORTEST_HOLD_S, as seconds."""
    shut = np.concatenate([[False], closure >= SHUT_FROM, [False]])
    edges = np.flatnonzero(shut[1:] != shut[:-1]).reshape(-1, 2) / GRID_HZ
    return edges[edges[:, 1] - edges[:, 0] >= SHORTEST_HOLD_S - 1e-9].astype(np.float64)
