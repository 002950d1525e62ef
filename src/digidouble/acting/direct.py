"""Speech, emotion and life, put together: what the whole face does (`schema.acting.Acting`)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from digidouble.acting.emotion import columns, face_of, recipe
from digidouble.acting.life import (
    LAUGH_NOTE_S,
    SOB_NOTE_S,
    LifeSettings,
    blink_curve,
    bursts,
    gaze_curve,
    head_curve,
    rng_of,
    smooth_noise,
)
from digidouble.acting.timeline import Beat, strengths
from digidouble.schema.acting import Acting
from digidouble.schema.mesh import face_model
from digidouble.schema.speech import MouthCurves, Prosody
from digidouble.schema.time import FrameRate

# Share of an emotion that stays in the mouth while it speaks, by action: corners keep their place (a smile is heard), what opens
# and shuts the lips is speech's alone.
WHILE_SPEAKING = {
    "jaw_drop_AU26": 0.15, "lips_part_AU25": 0.15, "upper_lip_raise_AU10": 0.6, "lower_lip_drop_AU16": 0.3, "lip_funnel_AU22": 0.3,
    "jaw_thrust_AD29": 0.2, "jaw_left_AD30L": 1.0, "lip_corner_pull_AU12": 0.75, "lip_stretch_AU20": 0.45,
}  # fmt: skip
LAUGH_JAW, LAUGH_HEAD_CM, LAUGH_PITCH_DEG = 0.3, 0.10, 1.6
SOB_JAW, SOB_HEAD_CM, SOB_PITCH_DEG = 0.22, 0.12, 1.8
DRIFT = 0.10  # an emotion is never held quite still
STRESS_BROWS = 0.22  # brows rise with stressed syllables (Ekman 1979, "About brows": batons)


def act(
    rate: FrameRate,
    mouth: MouthCurves | None,
    prosody: Prosody | None,
    beats: tuple[Beat, ...],
    life: LifeSettings,
    frames: int,
) -> Acting:
    """The acting of `frames` frames. Without `mouth` the face only lives and feels.

    Mouth curves shorter than `frames` end in rest.
    """
    times = np.arange(frames) / float(rate.fps)
    loud = _fitted(prosody.loudness if prosody else None, frames)
    stress = _fitted(prosody.stress if prosody else None, frames)
    said = _fitted(mouth.actions if mouth else None, frames, len(face_model().action_names))
    closure = _fitted(mouth.closure if mouth else None, frames)
    levels = strengths(beats, times)
    felt, notes = _felt(times, levels, life)
    speaking = _speaking(said, closure)
    share = 1 - speaking[:, None] * (1 - _kept())
    actions = felt * share + said * _room(felt, speaking)
    for name in ("inner_brow_raise_AU1", "outer_brow_raise_AU2"):
        actions[:, columns()[name]] += STRESS_BROWS * (life.head * _held(stress))[:, None]
    total = sum(levels.values(), np.zeros(frames))
    blinks = sum((v * recipe(k).blinks for k, v in levels.items()), np.zeros(frames)) + np.clip(1 - total, 0, 1)
    head, shift = head_curve(times, stress, loud, life)
    gaze = gaze_curve(times, loud, life)
    for name, level in levels.items():
        head = head + level[:, None] * np.array(recipe(name).head_deg) * min(life.head, 1.0)
        gaze = gaze + level[:, None] * np.array(recipe(name).gaze_deg) * min(life.glances, 1.0)
    head[:, 1] += life.head * (LAUGH_PITCH_DEG * notes[0] - SOB_PITCH_DEG * notes[1])
    shift[:, 1] += life.head * (SOB_HEAD_CM * notes[1] - LAUGH_HEAD_CM * notes[0])
    # Eyes stay on the camera while the head moves (vestibulo-ocular reflex), but for what the emotion turns away.
    gaze = gaze - head[:, :2]
    return Acting(rate, actions, closure, blink_curve(times, loud, blinks, life), gaze, head, shift)


def _fitted(values: Float[np.ndarray, "..."] | None, frames: int, width: int = 0) -> Float[np.ndarray, "..."]:
    """Rows for every frame: zeros where nothing is given or given no longer."""
    out = np.zeros((frames, width) if width else frames)
    if values is not None:
        n = min(frames, len(values))
        out[:n] = values[:n]
    return out


def _felt(
    times: Float[np.ndarray, " n"], levels: dict[str, Float[np.ndarray, " n"]], life: LifeSettings
) -> tuple[Float[np.ndarray, "n a"], tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]:
    """(what the emotions do to the face; the pulses of laughter and of sobbing, 0..1)."""
    felt = np.zeros((len(times), len(face_model().action_names)))
    rng = rng_of(life, "emotion")
    for name, level in levels.items():
        drift = 1 + DRIFT * smooth_noise(times, 0.7, rng).clip(-1.5, 1.0)
        felt += (level * drift)[:, None] * face_of(name)
    laugh = levels.get("laughter", np.zeros_like(times)) * bursts(
        times, LAUGH_NOTE_S, (4, 8), (0.35, 0.8), rng_of(life, "laughter")
    )
    sob = levels.get("crying", np.zeros_like(times)) * bursts(
        times, SOB_NOTE_S, (2, 3), (0.9, 2.2), rng_of(life, "sobs")
    )
    c = columns()
    # Notes open the mouth around what laughter does at rest between them, half above and half below.
    level = levels.get("laughter", np.zeros_like(times))
    felt[:, c["jaw_drop_AU26"]] += (LAUGH_JAW * (laugh - 0.5 * level) + SOB_JAW * sob)[:, None]
    felt[:, c["lips_part_AU25"]] += (0.1 * laugh + 0.25 * sob)[:, None]
    felt[:, c["cheek_raise_AU6"]] += (0.15 * laugh + 0.25 * sob)[:, None]
    felt[:, c["inner_brow_raise_AU1"]] += (0.2 * sob)[:, None]
    trembling = levels.get("crying", np.zeros_like(times)) * 0.10 * smooth_noise(times, 7.0, rng_of(life, "tremble"))
    felt[:, c["lower_lip_drop_AU16"]] -= np.abs(trembling)[:, None]  # the chin boss quivers
    return felt, (laugh, sob)


def _kept() -> Float[np.ndarray, " a"]:
    """Share of an emotion that stays while the mouth speaks, by column."""
    out = np.ones(len(face_model().action_names))
    for name, share in WHILE_SPEAKING.items():
        out[list(columns()[name])] = share
    return out


def _speaking(said: Float[np.ndarray, "n a"], closure: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """0..1, whether the mouth is at work: shut lips between two sounds are, silence is not."""
    if not len(closure):
        return np.zeros(0)
    busy = np.maximum(np.clip(np.abs(said).max(1) / 0.15, 0, 1), closure)
    reach = 5
    wide = np.pad(busy, reach, mode="edge")
    wide = np.max(np.stack([wide[k : k + len(busy)] for k in range(2 * reach + 1)]), 0)
    bell = np.hanning(2 * reach + 3)
    return np.convolve(np.pad(wide, reach + 1, mode="edge"), bell / bell.sum(), mode="valid").clip(0, 1)


def _room(felt: Float[np.ndarray, "n a"], speaking: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n a"]:
    """How far speech moves a mouth that an emotion has drawn already: rounding pulls less on drawn corners, and the other way round."""
    out = np.ones_like(felt)
    for name in ("lip_stretch_AU20", "lip_corner_pull_AU12"):
        for k in columns()[name]:
            out[:, k] = 1 - 0.3 * np.clip(np.abs(felt[:, k]), 0, 1) * speaking
    return out


def _held(stress: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Stress as brows follow it: slower."""
    bell = np.hanning(13)
    return np.convolve(np.pad(stress, 6, mode="edge"), bell / bell.sum(), mode="valid") if len(stress) else stress
