"""Speech: what is said, when every sound of it is heard, and what the mouth does meanwhile.

Times are seconds from the first sample of the sound. Symbols are of the International Phonetic Alphabet, without stress and tone
marks; "" is silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError


@dataclass(frozen=True)
class Phone:
    """One sound, heard from `start_s` up to `end_s`. `word`: index of its word in the text, counted from 0; -1 in silence."""

    symbol: str
    start_s: float
    end_s: float
    stressed: bool = False
    word: int = -1

    def __post_init__(self) -> None:
        if not 0 <= self.start_s <= self.end_s < float("inf"):
            raise SettingsError(f"phone {self.symbol!r}: {self.start_s}..{self.end_s} s is not a stretch of time")

    @property
    def silent(self) -> bool:
        return not self.symbol


@dataclass(frozen=True)
class Speech:
    """Sound, and what is known about it.

    Attributes:
        samples: mono, -1..1. rate: samples a second.
        phones: in order, without overlap; empty when nobody knows what is said (`made_by` says so).
        language: as espeak-ng names it ("en-gb", "cmn"), "" when unknown; text: what was asked for, after cleaning.
        made_by: where sound and times come from, in words, for reports.
        source: the user's own file, whose sound is to be delivered untouched; None for a made voice.
        notices: what a user should be told (emoji left out, ...).
    """

    samples: Float32[np.ndarray, " n"]
    rate: int
    phones: tuple[Phone, ...]
    language: str
    text: str
    made_by: str
    source: Path | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 4000 <= self.rate <= 384_000:
            raise SettingsError(f"speech: {self.rate} samples a second; expected 4000 to 384000")
        if self.samples.ndim != 1 or not len(self.samples):
            raise SettingsError(f"speech: samples have shape {self.samples.shape}; expected one channel, not empty")
        for a, b in zip(self.phones, self.phones[1:], strict=False):
            if b.start_s < a.end_s - 1e-6:
                raise SettingsError(f"speech: {b.symbol!r} starts at {b.start_s} s, before {a.symbol!r} ends")

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    def __repr__(self) -> str:
        return f"Speech({self.duration_s:.2f} s at {self.rate} Hz, {len(self.phones)} phones, {self.made_by})"


@dataclass(frozen=True)
class Prosody:
    """How it is said. Rows are frames.

    Attributes:
        times_s: when each row is shown. loudness: 0 silence, 1 the speech's own loud sounds. pitch_hz: fundamental
            frequency, 0 where there is none. stress: 0..1, highest in the middle of stressed syllables; 0 without phones.
    """

    times_s: Float[np.ndarray, " n"]
    loudness: Float[np.ndarray, " n"]
    pitch_hz: Float[np.ndarray, " n"]
    stress: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class MouthCurves:
    """What the mouth does, frame by frame.

    Attributes:
        times_s: when each row is shown, rising.
        actions: signed coefficients in the order of `face_model().action_names`, 1 the 99th percentile of real clips; zero for
            what speech does not move (lids, brows, cheeks).
        closure: 0..1, how far the lips must be shut there whatever else the face does: 1 leaves no gap (p, b, m), see
            `perception.shape.lips_shut`.
        made_by: "visemes" (from phone times), "audio" (from the sound alone) or "visemes and audio", for reports.
    """

    times_s: Float[np.ndarray, " n"]
    actions: Float[np.ndarray, "n a"]
    closure: Float[np.ndarray, " n"]
    made_by: str

    def __post_init__(self) -> None:
        n = len(self.times_s)
        if len(self.actions) != n or len(self.closure) != n:
            raise SettingsError(
                f"mouth curves: {n} times, {len(self.actions)} rows of actions, {len(self.closure)} of closure"
            )
        if n and not (np.isfinite(self.actions).all() and self.closure.min() >= 0 and self.closure.max() <= 1):
            raise SettingsError("mouth curves: actions must be finite and closure within 0..1")

    def __len__(self) -> int:
        return len(self.times_s)

    def with_actions(self, actions: Float[np.ndarray, "n a"]) -> MouthCurves:
        """The same curves, moved: for emotion laid over speech. Closures stay."""
        return replace(self, actions=actions)
