"""Voices: text to sound with the time of every phone. Each voice enters through `say`.

espeak-ng (GPL-3.0-or-later) is an optional extra and runs in a process of its own (`espeak_worker`): its licence stays there, and
neither a crash nor a hang of it reaches us.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from digidouble.errors import SettingsError, VoiceError
from digidouble.schema.speech import Phone
from digidouble.speech.phones import plain_symbol
from digidouble.speech.settings import SpeechSettings
from digidouble.speech.text import Run

WORDS_PER_MINUTE = 160  # espeak-ng's own 175 is brisk for a face
MANDARIN_SINCE = (1, 52)
GAP_S = 0.03  # kept of the silence between two runs that no punctuation separates
START_TIMEOUT_S, TIMEOUT_S_PER_CHARACTER = 20.0, 0.02
_WORKER = Path(__file__).with_name("espeak_worker.py")
_INSTALL = "install the extra: pip install 'digidouble[speech]' (or Debian's libespeak-ng1, which in Debian 12 has no Mandarin)"


@dataclass(frozen=True)
class Spoken:
    """Sound of a text, -1..1, and when every phone of it is heard."""

    samples: Float32[np.ndarray, " n"]
    rate: int
    phones: tuple[Phone, ...]
    made_by: str


def say(runs: Sequence[Run], settings: SpeechSettings) -> Spoken:
    """The runs in the voice of the settings.

    Raises:
        VoiceError: the voice is not installed, or its process died or hung. SettingsError: it does not know a language.
    """
    if settings.voice != "espeak":
        from digidouble.speech.neural_voice import say_neural

        return say_neural(runs, settings)
    return say_espeak(runs, settings)


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """Languages that the installed espeak-ng reads.

    Raises:
        VoiceError: there is none installed.
    """
    header, _ = _ask({"list": True}, START_TIMEOUT_S)
    return tuple(header["languages"])


def espeak_library() -> tuple[str, str]:
    """(shared library, its data folder or "-"): the Python package's, else the system's.

    Raises:
        VoiceError: neither is there.
    """
    found = importlib.util.find_spec("espeakng_loader")
    if found is not None and found.origin:
        folder = Path(found.origin).parent
        for name in ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll"):
            if (folder / name).is_file():
                return str(folder / name), str(folder / "espeak-ng-data")
    if system := ctypes.util.find_library("espeak-ng"):
        return system, "-"
    raise VoiceError(f"the voice espeak is not installed: {_INSTALL}")


def voice_installed() -> bool:
    """Whether the embedded voice is there."""
    try:
        espeak_library()
    except VoiceError:
        return False
    return True


def check_language(language: str) -> None:
    """Raises SettingsError when the voice does not know a language, with those that look like it."""
    known = languages()
    if language.lower() in known:
        return
    near = get_close_matches(language.lower(), known, 4, 0.3) or ["en-us", "cmn"]
    raise SettingsError(
        f"language {language!r} is not one of the {len(known)} that espeak-ng reads; near it: {', '.join(near)}"
    )


def say_espeak(runs: Sequence[Run], settings: SpeechSettings) -> Spoken:
    """The runs in the embedded voice; raises as `say` does."""
    header, sound = _synthesised(runs, settings)
    rate, pieces, phones = int(header["rate"]), [], []
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    taken, offset, words = 0, 0, 0
    for run, told in zip(runs, header["runs"], strict=True):
        piece = samples[taken : taken + told["samples"]]
        taken += told["samples"]
        heard, count = _phones_of(told["events"], len(piece), rate, words)
        words += count
        if not run.pauses and run is not runs[-1]:  # the voice pauses at every end of a text, a sentence need not
            spoken_until = max((p.end_s for p in heard if not p.silent), default=len(piece) / rate)
            piece = piece[: round((spoken_until + GAP_S) * rate)]
        end_s = len(piece) / rate
        for p in heard:
            if p.start_s < end_s:
                phones.append(
                    Phone(p.symbol, p.start_s + offset / rate, min(p.end_s, end_s) + offset / rate, p.stressed, p.word)
                )
        pieces.append(piece)
        offset += len(piece)
    whole = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(whole):
        raise VoiceError("espeak-ng made no sound of the text; give other words or another --language")
    return Spoken(whole, rate, tuple(phones), "espeak-ng's voice and its own phone times")


def phone_names(runs: Sequence[Run], settings: SpeechSettings) -> list[str]:
    """espeak-ng's names of the text's phones, stress and length with them, " " between words and ", " at pauses."""
    header, _ = _synthesised(runs, settings)
    out: list[str] = []
    for told in header["runs"]:
        for kind, _, name in told["events"]:
            if str(name).startswith("("):  # a change of language
                continue
            mark = str(name) if kind == "p" and name else ", " if kind == "p" else " "
            if mark.strip(" ,") or (out and out[-1].strip(" ,")):
                out.append(mark)
    return out


def _synthesised(runs: Sequence[Run], settings: SpeechSettings) -> tuple[dict[str, Any], bytes]:
    for language in {r.language for r in runs}:
        check_language(language)
    request = {
        "runs": [{"text": r.text, "language": r.language, "variant": settings.variant if settings.voice == "espeak" else ""} for r in runs],
        "wpm": round(WORDS_PER_MINUTE * settings.speed),
        "pitch": int(np.clip(50 * settings.pitch, 0, 99)),
    }  # fmt: skip
    characters = sum(len(r.text) for r in runs)
    header, sound = _ask(request, START_TIMEOUT_S + TIMEOUT_S_PER_CHARACTER * characters)
    if any(r.language.startswith("cmn") for r in runs) and _before(str(header.get("version", "")), MANDARIN_SINCE):
        raise VoiceError(
            f"espeak-ng {header['version']} reads Mandarin's tones out as English numbers; newer ones do not: {_INSTALL}"
        )
    return header, sound


def _before(version: str, wanted: tuple[int, int]) -> bool:
    """Whether a version such as "1.51.1" or "1.52-dev" is older than the wanted one; one that cannot be read is not."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < wanted


def _phones_of(events: list[list[object]], samples: int, rate: int, first_word: int) -> tuple[list[Phone], int]:
    """Phones between the events' starts. Phones that start together share the time until the next."""
    words, starts = 0, []
    for kind, sample, name in events:
        if kind == "w":
            words += 1
            continue
        symbol, stressed = plain_symbol(str(name))
        if symbol or not name:
            at = min(max(int(str(sample)), 0), samples)
            starts.append((at, symbol, stressed, first_word + max(words - 1, 0)))
    starts.sort(key=lambda s: s[0])  # stable: those at the same sample keep their order
    out: list[Phone] = []
    i = 0
    while i < len(starts):
        j = i
        while j < len(starts) and starts[j][0] == starts[i][0]:
            j += 1
        begin, end = starts[i][0] / rate, (starts[j][0] if j < len(starts) else samples) / rate
        group = [s for s in starts[i:j] if s[1]] or [starts[i]]
        for k, (_, symbol, stressed, word) in enumerate(group):
            a, b = (begin + (end - begin) * t / len(group) for t in (k, k + 1))
            if b > a:
                out.append(Phone(symbol, a, b, stressed, word if symbol else -1))
        i = j
    return out, words


def _ask(request: Mapping[str, object], timeout_s: float) -> tuple[dict[str, Any], bytes]:
    """One request to a fresh worker: (its header, the samples)."""
    library, data = espeak_library()
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_WORKER), library, data],
            input=json.dumps(dict(request)).encode(), capture_output=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise VoiceError(
            f"espeak-ng did not answer within {timeout_s:.0f} s and was stopped; try shorter text"
        ) from error
    except OSError as error:
        raise VoiceError(f"the process for espeak-ng cannot be started: {error}") from error
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise VoiceError(f"espeak-ng's process ended with code {done.returncode}: {last[0]}; reinstall it: {_INSTALL}")
    line, _, sound = done.stdout.partition(b"\n")
    try:
        header = json.loads(line)
        expected = 2 * sum(int(r["samples"]) for r in header.get("runs", ()))
    except (ValueError, KeyError, TypeError) as error:
        raise VoiceError(f"espeak-ng's process answered with something else than expected: {error}") from error
    if len(sound) != expected:
        raise VoiceError(f"espeak-ng's process sent {len(sound)} bytes of sound where {expected} were announced")
    return header, sound
