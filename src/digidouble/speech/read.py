"""Text or a recording to `Speech`: the sound, and when every phone of it is heard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from digidouble.errors import SettingsError
from digidouble.schema.speech import Phone, Speech
from digidouble.speech.align import DOUBTFUL, Alignment, align, doubt, with_closures
from digidouble.speech.features import HOP_S, loudness_db
from digidouble.speech.prosody import pitch_hz
from digidouble.speech.settings import SpeechSettings
from digidouble.speech.sound import ANALYSIS_HZ, is_silent, read_sound, resampled
from digidouble.speech.text import clean, guess_language, runs
from digidouble.speech.voice import say, say_espeak

READERS = ("", "f2")  # speakers whose readings are tried on a recording: the voice's own and a woman
LEAST_VOICE = 0.05  # of the loud frames that have a pitch
FASTEST, SLOWEST = 2.2, 0.55  # of an ordinary reading


def read_text(text: str, settings: SpeechSettings | None = None) -> Speech:
    """The text in a made voice.

    Raises:
        SettingsError: the text is empty, too long, or in a language the voice does not know. VoiceError: the voice is not
            installed, or failed.
    """
    settings = settings or SpeechSettings()
    said = clean(text, settings.max_characters)
    parts = runs(said.text, settings.language)
    spoken = say(parts, settings)
    if len(spoken.samples) / spoken.rate > settings.max_seconds:
        raise SettingsError(
            f"the text takes {len(spoken.samples) / spoken.rate:.0f} s to say, the limit is {settings.max_seconds:.0f} s: "
            "split it, or raise max_seconds"
        )
    notices = said.notices
    if len({p.language for p in parts}) > 1:
        notices += (f"the text is read in {len(parts)} parts: {', '.join(dict.fromkeys(p.language for p in parts))}",)
    language = settings.language or guess_language(said.text)
    phones = spoken.phones
    if settings.voice == "espeak":
        # Its own marks, in which a stop begins with its burst; the readings of other voices are aligned already.
        phones = tuple(with_closures(phones, loudness_db(resampled(spoken.samples, spoken.rate))))
    return Speech(spoken.samples, spoken.rate, phones, language, said.text, spoken.made_by, notices=notices)


def read_audio(path: Path, text: str = "", settings: SpeechSettings | None = None) -> Speech:
    """A recording, or the sound of a movie; with what is said in it, its phones are timed. `source` is the file, untouched; the samples
    are its first sound stream at ANALYSIS_HZ, from the first picture on where it has pictures.

    Raises:
        UnreadableMedia, NoSound: see `sound.read_sound`. SettingsError: too long, or see `read_text`. VoiceError: a text is
            given and the voice that must read it is not installed.
    """
    settings = settings or SpeechSettings()
    path = Path(path)
    samples = read_sound(path, settings.max_seconds)
    settings = replace(
        settings, voice="espeak", voice_file=""
    )  # which voice would read a text is no matter to a recording
    heard = Speech(samples, ANALYSIS_HZ, (), settings.language, "", "the sound alone", source=path)
    if is_silent(samples):
        return replace(heard, notices=(f"{path.name}: the sound is silent; the mouth will stay shut",))
    if not voice_share(samples) > LEAST_VOICE:
        heard = replace(
            heard,
            notices=(
                f"{path.name}: hardly a voice is heard in it (noise, whisper or music?); see what the mouth does",
            ),
        )
    return _aligned(heard, text, settings) if text.strip() else heard


def _aligned(heard: Speech, text: str, settings: SpeechSettings) -> Speech:
    said = clean(text, settings.max_characters)
    parts = runs(said.text, settings.language)
    heard_s = spoken_seconds(heard.samples)
    first = say_espeak(parts, settings)
    ordinary_s = sum(p.end_s - p.start_s for p in first.phones if not p.silent) * settings.speed
    # A reading at the speaker's own pace: warping then has little to do.
    pace = float(np.clip(ordinary_s / max(heard_s, 0.1), SLOWEST, FASTEST))
    readers = (settings.variant,) if settings.variant else READERS
    best: tuple[Alignment, tuple[Phone, ...], Float32[np.ndarray, " m"]] | None = None
    for variant in readers:
        spoken = say_espeak(parts, replace(settings, speed=pace, variant=variant, pitch=1.0))
        reading = resampled(spoken.samples, spoken.rate)
        found = align(heard.samples, reading, spoken.phones)
        if best is None or found.cost < best[0].cost:
            best = (found, spoken.phones, reading)
    if best is None or not best[0].phones:
        raise SettingsError("the text has no sound to align to the recording; give what is said, or no text at all")
    alignment, phones, reading = best
    share = doubt(alignment, heard.samples, reading, phones)
    notices = heard.notices + said.notices
    if share > DOUBTFUL:
        notices += (
            f"the text may not be what is said: it explains the recording hardly better than the same sounds in another order "
            f"({share:.2f} of their cost); mouth and sound may disagree",
        )
    return replace(
        heard,
        phones=alignment.phones,
        language=settings.language or guess_language(said.text),
        text=said.text,
        made_by=f"the recording; phone times by aligning espeak-ng's reading of the text (doubt {share:.2f})",
        notices=notices,
    )


def spoken_seconds(samples: Float32[np.ndarray, " n"]) -> float:
    """How long somebody is heard in a recording: frames within 28 dB of its loud ones."""
    level = loudness_db(samples)
    return float((level > np.percentile(level, 95) - 28).sum() * HOP_S)


def voice_share(samples: Float32[np.ndarray, " n"]) -> float:
    """Share of the loud frames that have a pitch, over the first two minutes of what is heard."""
    part = samples[: 120 * ANALYSIS_HZ]
    level = loudness_db(part)
    loud = level > np.percentile(level, 95) - 15
    return float((pitch_hz(part)[: len(level)] > 0)[loud].mean())
