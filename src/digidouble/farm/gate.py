"""Which frames of a shot the content gate sees, on the plate and on the result."""

from __future__ import annotations

import numpy as np

from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.time import FrameRange

LEAST_LOOKS = 8  # at a plate or a result, unless it is shorter
GATE_SIDE = 1024  # the gate's network sees 256 pixels; no need to convert a whole film frame


def default_gate() -> ContentGate:
    """The content gate of every render that names no other."""
    return ContentGate()


def frames_to_look_at(frames: FrameRange, fps: float) -> frozenset[int]:
    """Frames that the content gate sees: one in five seconds, at least 8, at most 60, first and last included."""
    count = min(len(frames), max(LEAST_LOOKS, min(60, round(len(frames) / fps / 5))))
    return frozenset(int(i) for i in np.linspace(frames.start, frames.end_exclusive - 1, count).round())


def look_at_plate(gate: ContentGate, plate: Footage, indices: frozenset[int]) -> None:
    """Show the gate a plate before anything else is done with it; a gate that has seen one is not asked again.

    Of a long plate it sees the key frames before `indices` (what lies between two of them takes long to decode, and it sees the result
    at `indices` themselves), of one with fewer than LEAST_LOOKS such frames `indices`.

    Raises:
        ContentRefused: it has adult content.
    """
    if any(score.where == "plate" for score in gate.scores):
        return
    near = {plate.near(index).index for index in indices} if len(indices) >= LEAST_LOOKS else set[int]()
    for index in sorted(near if len(near) >= LEAST_LOOKS else indices):
        gate.look("plate", index, rgb8_from_frame(plate.frame(index), GATE_SIDE))
