"""What a tracked face looks like in every sense, in one small aligned crop: for networks that read a performance, and for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.schema.track import MATTE_SIZE

MODAL_SIZE = MATTE_SIZE // 2  # side of depth and flow; cell k is centred at 2 k + 1/2 of the crop's pixels
LONGEST_FLOW_PX = 16_000.0  # kept as 16-bit floats


@dataclass(frozen=True)
class Modalities:
    """One frame of one track, in the crop of its matte.

    Attributes:
        px_from_crop: 2x3, plate pixels from crop pixels, as `TrackSample.matte_px_from_crop`.
        rgb8: the plate, MATTE_SIZE square, in its own encoding.
        depth_cm: MODAL_SIZE square, larger is farther, 0 at the head's origin (see `perception.depth`).
        flow_next_px, flow_last_px: MODAL_SIZE square, motion in plate pixels (x, y) to the same thing in the next and in the last
            frame; None where a run begins or ends, or a cut lies between.
    """

    px_from_crop: Float[np.ndarray, "2 3"]
    rgb8: UInt8[np.ndarray, "m m 3"]
    depth_cm: Float[np.ndarray, "s s"]
    flow_next_px: Float[np.ndarray, "s s 2"] | None
    flow_last_px: Float[np.ndarray, "s s 2"] | None
