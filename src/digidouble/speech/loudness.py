"""The oldest lip sync there is: the louder, the wider. The baseline that everything else has to beat."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from digidouble.speech.articulation import COLUMNS, JAW, OPENING
from digidouble.speech.features import loudness_db

RANGE_DB = 30.0
WIDEST = 0.75


def articulate_loudness(samples: Float32[np.ndarray, " n"]) -> Float[np.ndarray, "g c"]:
    """Articulators on the grid: opening and jaw follow the level over RANGE_DB, smoothed over 70 ms."""
    level = loudness_db(samples)
    loud = max(float(np.percentile(level, 95)), -55.0)
    open_ = np.clip(1 + (level - loud) / RANGE_DB, 0, 1)
    kernel = np.hanning(9)[1:-1] / np.hanning(9)[1:-1].sum()
    out = np.zeros((len(level), len(COLUMNS)))
    out[:, OPENING] = out[:, JAW] = WIDEST * np.convolve(np.pad(open_, 3, mode="edge"), kernel, "valid")
    return out
