"""Which frames of a shot the content gate sees, on the plate and on the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import Frame
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


def has_seen_plate(gate: ContentGate) -> bool:
    """Whether a gate has been shown a plate; it is not asked again."""
    return any(score.where == "plate" for score in gate.scores)


def look_at(gate: ContentGate, where: str, frame: Frame) -> None:
    """Show the gate a frame of the "plate" or the "result". Raises ContentRefused: it has adult content."""
    gate.look(where, frame.index, rgb8_from_frame(frame, GATE_SIDE))


def plate_shown(gate: ContentGate, indices: frozenset[int]) -> Callable[[Frame], None]:
    """What shows the gate these frames of a plate as somebody else reads them. It raises as `look_at`."""

    def shown(frame: Frame) -> None:
        if frame.index in indices:
            look_at(gate, "plate", frame)

    return shown


def look_at_plate(gate: ContentGate, plate: Footage, indices: frozenset[int]) -> None:
    """Show the gate a plate before anything else is done with it, unless it has seen one. (One that is analysed or rendered for a single
    result is shown as its frames pass.)

    Of a long plate it sees the key frames before `indices` (what lies between two of them takes long to decode, and it sees the result
    at `indices` themselves), of one with fewer than LEAST_LOOKS such frames `indices`, decoded in one go.

    Raises:
        ContentRefused: it has adult content.
    """
    if has_seen_plate(gate):
        return
    near = {plate.near(index).index for index in indices} if len(indices) >= LEAST_LOOKS else set[int]()
    if len(near) >= LEAST_LOOKS:
        frames = map(plate.frame, sorted(near))
    else:
        every = plate.frames(FrameRange(min(indices), max(indices) + 1))
        frames = (frame for frame in every if frame.index in indices)
    for frame in frames:
        look_at(gate, "plate", frame)
