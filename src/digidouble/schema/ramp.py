"""The one soft step that weights, fades and easings are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def smoothstep(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """0 below 0, 1 above 1, cubic between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
