"""Emotions over time: "joy", "joy:0.8", "0:neutral 1.2:joy 3.0:laughter:0.6"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from digidouble.acting.emotion import EMOTIONS, recipe
from digidouble.errors import SettingsError
from digidouble.schema.ramp import smoothstep

LONGEST_S = 86_400.0
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,6})?")
_WORDS = {
    "laugh": "laughter",
    "sad": "sadness",
    "happy": "joy",
    "cry": "crying",
    "angry": "anger",
    "afraid": "fear",
    "surprised": "surprise",
}
FORM = "expected EMOTION, EMOTION:INTENSITY, or a timeline such as '0:neutral 1.2:joy 3.0:laughter:0.6'"


@dataclass(frozen=True)
class Beat:
    """From `start_s` on, `emotion` at `intensity` (0..1)."""

    start_s: float
    emotion: str
    intensity: float = 1.0

    def __post_init__(self) -> None:
        recipe(self.emotion)
        if not 0 <= self.intensity <= 1:
            raise SettingsError(f"emotion {self.emotion}: intensity {self.intensity} is outside 0..1")
        if not 0 <= self.start_s <= LONGEST_S:
            raise SettingsError(f"emotion {self.emotion}: it cannot start at {self.start_s} s")


def parse(text: str) -> tuple[Beat, ...]:
    """Beats in order of time.

    Raises:
        SettingsError: it is of another form, names an emotion that is not known, or two beats start together.
    """
    parts = text.replace(",", " ").split()
    if not parts:
        raise SettingsError(f"the emotion is empty; {FORM}, with one of {', '.join(EMOTIONS)}")
    timed = [p for p in parts if p[0].isdigit()]
    if len(parts) > 1 and len(timed) < len(parts):
        odd = next(p for p in parts if not p[0].isdigit())
        raise SettingsError(f"emotion {text!r}: {odd!r} has no time; {FORM}")
    beats = sorted((_beat(p, text) for p in parts), key=lambda b: b.start_s)
    for a, b in pairwise(beats):
        if a.start_s == b.start_s:
            raise SettingsError(f"emotion {text!r}: {a.emotion} and {b.emotion} both start at {a.start_s:g} s")
    return tuple(beats)


def _beat(part: str, text: str) -> Beat:
    fields = part.split(":")
    start = fields.pop(0) if fields[0][:1].isdigit() else "0"
    if (
        not 1 <= len(fields) <= 2
        or not _NUMBER.fullmatch(start)
        or (len(fields) == 2 and not _NUMBER.fullmatch(fields[1]))
    ):
        raise SettingsError(f"emotion {text!r}: cannot read {part!r}; {FORM}")
    name = fields[0].lower()
    try:
        return Beat(float(start), _WORDS.get(name, name), float(fields[1]) if len(fields) == 2 else 1.0)
    except SettingsError as e:
        raise SettingsError(f"emotion {text!r}: {e}") from e


def text_of(beats: tuple[Beat, ...]) -> str:
    """The beats as `parse` reads them."""
    return " ".join(f"{b.start_s:g}:{b.emotion}:{b.intensity:.2g}" for b in beats)


def strengths(beats: tuple[Beat, ...], times_s: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Emotion -> 0..1 over time. An emotion rises over its recipe's `rise_s` (it begins a third of that early, as faces lead the
    voice), stays, and falls over `fall_s` when the next one comes."""
    out: dict[str, Float[np.ndarray, " n"]] = {}
    for k, beat in enumerate(beats):
        r = recipe(beat.emotion)
        begin = -np.inf if beat.start_s <= 0 else beat.start_s - r.rise_s / 3
        # The first emotion is there from the first frame on: nobody sees it come.
        level = np.ones_like(times_s) if not np.isfinite(begin) else smoothstep((times_s - begin) / r.rise_s)
        if k + 1 < len(beats):
            follower = beats[k + 1]
            gone = follower.start_s - recipe(follower.emotion).rise_s / 3
            level = level * (1 - smoothstep((times_s - gone) / r.fall_s))
        before = out.get(beat.emotion, np.zeros_like(times_s))
        out[beat.emotion] = np.maximum(before, beat.intensity * level)
    return out
