"""Speech to mouth curves at a frame rate."""

from __future__ import annotations

import numpy as np

from digidouble.schema.speech import MouthCurves, Speech
from digidouble.schema.time import FrameRate
from digidouble.speech.articulation import COLUMNS, JAW, OPENING, at_frames, frame_times
from digidouble.speech.network import articulate_sound
from digidouble.speech.settings import MouthStyle
from digidouble.speech.sound import is_silent, resampled
from digidouble.speech.visemes import articulate


def mouth_curves(
    speech: Speech, rate: FrameRate, frames: int | None = None, style: MouthStyle | None = None
) -> MouthCurves:
    """What the mouth does at frames 0, 1, ... of a movie that begins with the sound: as many as asked for, or as many as the sound
    lasts. From the phones of a made voice; from phones and sound of a recording whose text is known; else from the sound alone."""
    style = style or MouthStyle()
    times = frame_times(speech.duration_s, rate, frames)
    samples = resampled(speech.samples, speech.rate)
    if not speech.phones and is_silent(samples):
        return at_frames(np.zeros((1, len(COLUMNS))), times, np.zeros((0, 2)), style, "audio")
    if not speech.phones:
        grid, holds = articulate_sound(samples, breath=style.breath)
        return at_frames(grid, times, holds, style, "audio")
    grid, holds = articulate(speech.phones, speech.duration_s, style)
    if speech.source is None or style.sound == 0:
        return at_frames(grid, times, holds, style, "visemes")
    # Phones say which mouth, the sound says how much of it: their errors are of different kinds, and their mean has less of both.
    heard, _ = articulate_sound(samples, breath=style.breath)
    both, columns = slice(min(len(grid), len(heard))), [OPENING, JAW]
    grid[both, columns] += style.sound * (heard[both, columns] - grid[both, columns])
    return at_frames(grid, times, holds, style, "visemes and audio")
