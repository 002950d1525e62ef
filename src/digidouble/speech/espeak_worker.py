"""The process that runs espeak-ng (GPL-3.0-or-later), and nothing else: the product talks to it through pipes.

Run as a program with the library's path and its data folder (or "-") as arguments. Standard input: one JSON object,
{"runs": [{"text", "language", "variant"}], "wpm", "pitch"} or {"list": true}. Standard output: one line of JSON, then little-endian 16-bit samples.
It imports nothing of Digidouble and only the standard library, so that it can be run, replaced or left out on its own.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

_SYNCHRONOUS, _WORD, _PHONEME = 2, 1, 7
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x1, 0x2, 0x8000
_UTF8 = 1  # plain text: neither SSML (0x10) nor phoneme mnemonics (0x100) are switched on
_RATE, _PITCH = 1, 3


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _languages(library: ctypes.CDLL) -> dict[str, str]:
    """Language -> the file of the voice that puts it first."""
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    voices = library.espeak_ListVoices(None)
    found: dict[str, tuple[int, str]] = {}
    i = 0
    while voices[i]:
        voice = voices[i].contents
        at, file = voice.languages or 0, voice.identifier.decode("utf-8", "replace")
        # A list of (priority byte, zero-terminated name), closed by a zero priority; a low number is a high priority.
        while at and (priority := ctypes.cast(at, ctypes.POINTER(ctypes.c_ubyte))[0]):
            name = ctypes.string_at(at + 1)
            language = name.decode("utf-8", "replace").lower()
            found[language] = min(found.get(language, (256, "")), (priority, file))
            at += len(name) + 2
        i += 1
    return {language: file for language, (_, file) in sorted(found.items())}


def _say(library: ctypes.CDLL, text: str) -> tuple[bytes, list[list[object]]]:
    """Samples of a text, and events [kind, sample, IPA]: kind "w" starts a word, "p" a phone (IPA empty: a pause)."""
    sound, events = bytearray(), []

    def take(samples: Any, count: int, event: Any) -> int:
        if samples and count > 0:
            sound.extend(ctypes.string_at(samples, count * 2))
        i = 0
        while event[i].type:
            e = event[i]
            if e.type == _WORD:
                events.append(["w", e.sample, ""])
            elif e.type == _PHONEME:
                name = bytes(e.id.string)
                events.append(["p", e.sample, name.split(b"\0")[0].decode("utf-8", "ignore")])
            i += 1
        return 0

    keep = _CALLBACK(take)
    library.espeak_SetSynthCallback(keep)
    raw = text.encode("utf-8")
    status = library.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if status:
        raise RuntimeError(f"espeak_Synth returned {status}")
    return bytes(sound), events


def main() -> int:
    library_path, data_path = sys.argv[1], sys.argv[2]
    request = json.loads(sys.stdin.buffer.read())
    library = ctypes.CDLL(library_path)
    library.espeak_Initialize.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    library.espeak_Synth.argtypes = (
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    data = None if data_path == "-" else data_path.encode()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT)
    if rate <= 0:
        raise RuntimeError("espeak_Initialize failed: its data folder is missing or of another version")
    known = _languages(library)
    library.espeak_Info.restype = ctypes.c_char_p
    version = library.espeak_Info(None).decode("utf-8", "replace")
    if request.get("list"):
        sys.stdout.buffer.write(json.dumps({"languages": list(known), "version": version}).encode() + b"\n")
        return 0
    runs, sounds = [], []
    for run in request["runs"]:
        voice = f"{known.get(run['language'].lower(), run['language'])}{'+' if run['variant'] else ''}{run['variant']}"
        if library.espeak_SetVoiceByName(voice.encode()):
            raise RuntimeError(f"no voice {voice}")
        library.espeak_SetParameter(_RATE, int(request["wpm"]), 0)
        library.espeak_SetParameter(_PITCH, int(request["pitch"]), 0)
        sound, events = _say(library, run["text"])
        runs.append({"samples": len(sound) // 2, "events": events})
        sounds.append(sound)
    out = sys.stdout.buffer
    out.write(json.dumps({"rate": rate, "runs": runs, "version": version}).encode() + b"\n")
    for sound in sounds:
        out.write(sound)
    return 0


if __name__ == "__main__":
    sys.exit(main())
