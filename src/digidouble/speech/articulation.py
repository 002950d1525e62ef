"""How a mouth moves: its articulators over time, on a grid of GRID_HZ rows a second, and what that is in muscle actions.

Columns (COLUMNS): opening between the lips, jaw, rounding, spread, teeth (lower lip at the upper teeth), closure. All 0..1, rest is 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import face_model
from digidouble.schema.speech import MouthCurves
from digidouble.schema.time import FrameRate
from digidouble.speech.settings import MouthStyle

GRID_HZ = 100
COLUMNS = ("opening", "jaw", "rounding", "spread", "teeth", "closure")
OPENING, JAW, ROUNDING, SPREAD, TEETH, CLOSURE = range(len(COLUMNS))

# What speaking people's muscle actions do when lips open (regression over tracked speech, 360 frames of four people, on lips_part):
# jaw_drop .55, jaw_thrust -.84, upper_lip_raise .33, lower_lip_drop .58, lip_funnel -.28, corners -.2. Rounding and spread: from what the
# actions' fields do to the mouth's width and depth.
_MIX: dict[str, dict[int, float]] = {
    "lips_part_AU25/lips_press_AU24": {OPENING: 1.0},
    "jaw_drop_AU26/jaw_clench": {JAW: 0.62},
    "jaw_thrust_AD29/jaw_retract": {JAW: -0.62, ROUNDING: 0.10},
    "upper_lip_raise_AU10/upper_lip_tuck_AU28": {OPENING: 0.33, ROUNDING: -0.10, TEETH: 0.22},
    "lower_lip_drop_AU16/chin_raise_AU17": {OPENING: 0.50, TEETH: -0.55, ROUNDING: -0.08},
    "lip_funnel_AU22/lip_flatten": {OPENING: -0.12, ROUNDING: 0.60, SPREAD: -0.12},
    "lip_corner_pull_L_AU12/lip_corner_drop_L_AU15": {OPENING: -0.16, ROUNDING: -0.10, SPREAD: 0.12},
    "lip_corner_pull_R_AU12/lip_corner_drop_R_AU15": {OPENING: -0.16, ROUNDING: -0.10, SPREAD: 0.12},
    "lip_stretch_L_AU20/lip_pucker_L_AU18": {SPREAD: 0.34, ROUNDING: -0.62},
    "lip_stretch_R_AU20/lip_pucker_R_AU18": {SPREAD: 0.34, ROUNDING: -0.62},
}
PRESS = 0.04  # lips_press of a complete closure
SHUT = 0.97  # a closure that reaches this within a frame's time is one
EASE_S = 0.045  # lips come together and part over this long


def mix_matrix() -> Float[np.ndarray, "c a"]:
    """Muscle actions (order of `face_model().action_names`) for 1 of every articulator."""
    names = face_model().action_names
    out = np.zeros((len(COLUMNS), len(names)))
    for name, parts in _MIX.items():
        for column, weight in parts.items():
            out[column, names.index(name)] = weight
    return out


def actions_from(articulation: Float[np.ndarray, "n c"], style: MouthStyle) -> Float[np.ndarray, "n a"]:
    """Signed muscle actions; effort moves everything, the person's jaw range jaw and opening. Closed lips do not part."""
    moved = articulation * style.effort
    moved[:, [OPENING, JAW]] *= style.jaw
    shut = articulation[:, CLOSURE]
    moved[:, OPENING] *= 1 - shut
    moved[:, TEETH] = np.minimum(articulation[:, TEETH], 1.0)
    moved[:, CLOSURE] = 0
    actions = moved @ mix_matrix()
    names = face_model().action_names
    actions[:, names.index("lips_part_AU25/lips_press_AU24")] -= PRESS * shut
    return np.clip(actions, -1.3, 1.3)


def shut_around(t: Float[np.ndarray, " n"], start: float, end: float) -> Float[np.ndarray, " n"]:
    """Closure of one hold."""
    return around(t, start, end, EASE_S)


def around(t: Float[np.ndarray, " n"], start: float, end: float, ease_s: float) -> Float[np.ndarray, " n"]:
    """1 from start to end, eased in and out over `ease_s` by half a cosine."""
    outside = np.clip(np.maximum(start - t, t - end) / ease_s, 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * outside)


def frame_times(duration_s: float, rate: FrameRate, frames: int | None) -> Float[np.ndarray, " n"]:
    """Exact times of frames 0, 1, ... in seconds: as many as asked for, or as many as touch the sound."""
    fps = rate.fps
    count = frames if frames is not None else max(1, -int(-duration_s * float(fps) // 1))
    return np.arange(count) * fps.denominator / fps.numerator


def at_frames(
    grid: Float[np.ndarray, "g c"],
    times_s: Float[np.ndarray, " n"],
    holds_s: Float[np.ndarray, "k 2"],
    style: MouthStyle,
    made_by: str,
) -> MouthCurves:
    """Curves at the frames' times. Every hold (start, end of a closure) gets at least one frame in which the lips are shut.

    Past the end of the grid the mouth is at rest. A closure shorter than a frame would fall between two: the nearest frame takes it.
    """
    at = np.arange(len(grid)) / GRID_HZ
    rows = (
        np.stack([np.interp(times_s, at, c, right=0.0) for c in grid.T], 1)
        if len(grid)
        else np.zeros((len(times_s), len(COLUMNS)))
    )
    for start, end in holds_s:
        if not len(times_s) or start > times_s[-1] + EASE_S:
            continue
        inside = (times_s >= start) & (times_s <= end) & (rows[:, CLOSURE] >= SHUT)
        if not inside.any():
            rows[int(np.argmin(np.abs(times_s - (start + end) / 2))), CLOSURE] = 1.0
    rows[:, CLOSURE] = np.clip(rows[:, CLOSURE], 0, 1)
    return MouthCurves(times_s, actions_from(rows, style), rows[:, CLOSURE], made_by)
