"""Where a tracked face, or a part of it, is in the plate: for sheets that people look at."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from digidouble.schema.frame import Roi
from digidouble.schema.mesh import LID_PAIRS, OUTER_LIPS

Part = Literal["face", "eyes", "mouth"]
_EYES = np.array(LID_PAIRS).ravel()
# part -> (mesh points, margin around them as a share of their width)
_PARTS: dict[Part, tuple[np.ndarray | slice, float]] = {
    "face": (slice(0, 468), 0.3),
    "eyes": (_EYES, 0.25),
    "mouth": (OUTER_LIPS, 0.45),
}


def part_roi(points_px: Float[np.ndarray, "478 3"], part: Part, size_wh: tuple[int, int]) -> Roi:
    """The rectangle around a part of a face, margin included, clipped to the picture; empty when outside it."""
    points, margin = _PARTS[part]
    at = points_px[points, :2]
    low, high = at.min(0), at.max(0)
    pad = margin * float(high[0] - low[0])
    return Roi(*(int(v) for v in (*(low - pad), *(high + pad + 1)))).clipped(size_wh)
