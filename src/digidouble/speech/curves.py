"""Speech to mouth curves at a frame rate."""

from __future__ import annotations

import numpy as np

from digidouble.schema.speech import MouthCurves, Speech
from digidouble.schema.time import FrameRate
from digidouble.speech.articulation import COLUMNS, at_frames, frame_times
from digidouble.speech.network import articulate_sound
from digidouble.speech.settings import MouthStyle
from digidouble.speech.sound import is_silent, resampled
from digidouble.speech.visemes import articulate


def mouth_curves(
    speech: Speech, rate: FrameRate, frames: int | None = None, style: MouthStyle | None = None
) -> MouthCurves:
    """What the mouth does at frames 0, 1, ... of a movie that begins with the sound: as many as asked for, or as many as the sound
    lasts. From the phones where there are any, else from the sound alone."""
    style = style or MouthStyle()
    times = frame_times(speech.duration_s, rate, frames)
    if speech.phones:
        grid, holds = articulate(speech.phones, speech.duration_s, style)
        return at_frames(grid, times, holds, style, "visemes")
    samples = resampled(speech.samples, speech.rate)
    if is_silent(samples):
        return at_frames(np.zeros((1, len(COLUMNS))), times, np.zeros((0, 2)), style, "audio")
    grid, holds = articulate_sound(samples, breath=style.breath)
    return at_frames(grid, times, holds, style, "audio")
