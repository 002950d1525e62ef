"""What a user may choose about voice and mouth."""

from __future__ import annotations

import re
from dataclasses import dataclass

from digidouble.errors import SettingsError

VOICES = ("espeak", "piper", "kokoro")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")
_VARIANT = re.compile(r"[A-Za-z0-9_-]{0,24}")


@dataclass(frozen=True)
class SpeechSettings:
    """How words become sound, and how much of either is taken.

    Attributes:
        voice: who speaks: "espeak" (embedded, extra [speech]), or the better voices "piper" and "kokoro", whose files are yours to bring.
        voice_file: the .onnx of such a voice; what belongs beside it is said in docs/speech.md.
        language: as espeak-ng names it ("en-us", "cmn", "de", ...); empty: guessed from the script of each part of the text.
        variant: the voice's speaker (espeak-ng: "m3", "f2", ...; kokoro: a name of its voices file); empty: the language's own.
        speed: 1 is an unhurried reading.
        pitch: 1 is the voice's own.
        max_characters: longer texts are refused.
        max_seconds: longer sound is refused before it is decoded whole.
    """

    voice: str = "espeak"
    voice_file: str = ""
    language: str = ""
    variant: str = ""
    speed: float = 1.0
    pitch: float = 1.0
    max_characters: int = 20_000
    max_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.voice not in VOICES:
            raise SettingsError(f"voice {self.voice!r}: expected one of {', '.join(VOICES)}")
        if self.language and not _LANGUAGE.fullmatch(self.language):
            raise SettingsError(f"language {self.language!r}: expected a code such as en-us, cmn or de")
        if not _VARIANT.fullmatch(self.variant):
            raise SettingsError(f"variant {self.variant!r}: expected a name such as m3 or f2")
        if self.voice_file and self.voice == "espeak":
            raise SettingsError(f"voice_file {self.voice_file!r}: expected only with voice piper or kokoro")
        for name, low, high in (
            ("speed", 0.5, 2.5),
            ("pitch", 0.5, 2.0),
            ("max_characters", 1, 200_000),
            ("max_seconds", 0.1, 7200.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected {low} to {high}")


@dataclass(frozen=True)
class MouthStyle:
    """How a person speaks.

    Attributes:
        effort: 0.5 mumbles, 1 is ordinary, 1.5 is for the last row; closures are complete at any.
        jaw: how far this person's jaw and lips open, 1 being the average of the people the tracker was fitted to.
        reach: how far ahead and behind a sound shapes its neighbours (co-articulation); 1 is ordinary, less is crisper.
        sound: of a recording with its text, how far the opening follows the sound itself (0: phones only; 0.5: their mean).
        breath: how far lips part for the breath before a phrase, before anything is heard; 0 leaves it out.
    """

    effort: float = 1.0
    jaw: float = 1.0
    reach: float = 1.0
    sound: float = 0.5
    breath: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("effort", 0.2, 2.0),
            ("jaw", 0.3, 2.0),
            ("reach", 0.3, 2.0),
            ("sound", 0.0, 1.0),
            ("breath", 0.0, 2.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected {low} to {high}")
