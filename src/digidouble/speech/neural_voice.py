"""The doors for better voices: piper and kokoro, whose ONNX files are yours to bring. Nothing here downloads.

piper    VITS voices of the Piper project (its code MIT; every voice has a licence of its own: read its MODEL_CARD). VOICE.onnx with
         VOICE.onnx.json beside it. Inputs input [1, n] int64, input_lengths [1], scales [3] (noise, length, noise of durations),
         sid [1] where it has several speakers; output samples.
kokoro   Kokoro-82M (Apache-2.0) as exported for kokoro-onnx. VOICE.onnx with config.json (its `vocab`) and a voices file (.bin or .npz of
         style arrays [k, 1, 256]) beside it. Inputs tokens [1, n] int64, style [1, 256], speed [1]; output samples at 24 kHz.

Both speak espeak-ng's phones, and neither says when a phone is heard: espeak-ng's own reading is aligned to their sound.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from digidouble.errors import SettingsError, VoiceError, WeightsError
from digidouble.perception.session import Session
from digidouble.speech.align import align
from digidouble.speech.settings import SpeechSettings
from digidouble.speech.sound import resampled
from digidouble.speech.text import Run
from digidouble.speech.voice import Spoken, phone_names, say_espeak

LICENCES = {"piper": "the voice's own (see its MODEL_CARD)", "kokoro": "Apache-2.0 (hexgrad, Kokoro-82M)"}
KOKORO_HZ, KOKORO_MOST = 24_000, 510
CONFIG_BYTES = 4_000_000
MOST_PHONES = 600  # spoken at a time


def say_neural(runs: Sequence[Run], settings: SpeechSettings) -> Spoken:
    """The runs in a better voice.

    Raises:
        VoiceError: its files are missing, or not what such a voice has; espeak-ng, which reads the text for it, is not installed.
        SettingsError: a language that is not known.
    """
    path = Path(settings.voice_file)
    if not settings.voice_file or not path.is_file():
        where = f"{path}: no such file" if settings.voice_file else "no voice_file is given"
        raise VoiceError(
            f"voice {settings.voice}: {where}. Its files are not part of the product and are not downloaded: get a voice's .onnx and what "
            f"belongs beside it, mind its licence ({LICENCES[settings.voice]}), and name the .onnx with --voice-file; "
            "or use the embedded voice, espeak"
        )
    try:
        session = Session(path)
    except WeightsError as error:
        raise VoiceError(f"voice {settings.voice}: {error}") from error
    speak = _piper if settings.voice == "piper" else _kokoro
    pieces, rate = [], 0
    for sentence in _sentences(phone_names(runs, settings)):
        sound, rate = speak(session, path, sentence, settings)
        pieces.append(np.asarray(sound, np.float32).reshape(-1))
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples) or not np.isfinite(samples).all():
        raise VoiceError(
            f"voice {settings.voice}: {path.name} made no sound of the text; is it a {settings.voice} voice?"
        )
    reading = say_espeak(runs, settings)
    found = align(resampled(samples, rate), resampled(reading.samples, reading.rate), reading.phones)
    made_by = f"voice {settings.voice} ({path.name}, licence: {LICENCES[settings.voice]}); phone times by aligning espeak-ng's reading"
    return Spoken(np.clip(samples, -1, 1), rate, found.phones, made_by)


def _sentences(names: Sequence[str]) -> list[str]:
    """Names of phones as text, cut at pauses when it grows long."""
    out, part = [], ""
    for name in names:
        part += name
        if len(part) > MOST_PHONES or (name == ", " and len(part) > MOST_PHONES // 2):
            out.append(part.strip(" ,"))
            part = ""
    return [s for s in (*out, part.strip(" ,")) if s]


def _json(path: Path, voice: str) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > CONFIG_BYTES:
        raise VoiceError(
            f"voice {voice}: {path} is missing (or larger than {CONFIG_BYTES} bytes); it belongs beside the .onnx"
        )
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise VoiceError(f"voice {voice}: {path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise VoiceError(f"voice {voice}: {path} holds no object")
    return found


def _run(session: Session, inputs: dict[str, Any], voice: str) -> Float32[np.ndarray, "..."]:
    if missing := set(session.input_names) - set(inputs):
        raise VoiceError(f"voice {voice}: {session.path.name} wants {sorted(missing)}, which no {voice} voice does")
    try:
        return session.run({k: v for k, v in inputs.items() if k in session.input_names})[session.output_names[0]]
    except Exception as error:  # onnxruntime's errors have no common class below Exception
        raise VoiceError(f"voice {voice}: {session.path.name} failed: {error}") from error


def _piper(
    session: Session, path: Path, phones: str, settings: SpeechSettings
) -> tuple[Float32[np.ndarray, "..."], int]:
    config = _json(path.with_name(path.name + ".json"), "piper")
    try:
        table = {str(k): [int(i) for i in v] for k, v in config["phoneme_id_map"].items()}
        rate = int(config["audio"]["sample_rate"])
        pad, start, end = table["_"], table["^"], table["$"]
        scales = config.get("inference", {})
        noise, length, duration = (
            float(scales.get(k, d)) for k, d in (("noise_scale", 0.667), ("length_scale", 1.0), ("noise_w", 0.8))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VoiceError(f"voice piper: {path.name}.json is not a Piper voice's: {error!r}") from error
    ids = [*start, *pad]
    for c in phones + ".":
        ids += [*table[c], *pad] if c in table else []
    tokens: Int64[np.ndarray, "1 n"] = np.array([[*ids, *end]], np.int64)
    inputs = {
        "input": tokens, "input_lengths": np.array([tokens.shape[1]], np.int64),
        "scales": np.array([noise, length / settings.speed, duration], np.float32), "sid": np.zeros(1, np.int64),
    }  # fmt: skip
    return _run(session, inputs, "piper"), rate


def _kokoro(
    session: Session, path: Path, phones: str, settings: SpeechSettings
) -> tuple[Float32[np.ndarray, "..."], int]:
    vocab = _json(path.with_name("config.json"), "kokoro").get("vocab", {})
    files = sorted(p for p in path.parent.iterdir() if p.suffix in (".bin", ".npz"))
    if not isinstance(vocab, dict) or not vocab or not files:
        raise VoiceError(
            f"voice kokoro: config.json with a vocab and a voices file (.bin or .npz) belong beside {path.name}"
        )
    tokens = [int(vocab[c]) for c in phones if c in vocab][:KOKORO_MOST]
    try:
        with np.load(files[0], allow_pickle=False) as voices:
            name = settings.variant or voices.files[0]
            if name not in voices.files:
                raise SettingsError(f"variant {name!r}: {files[0].name} has {', '.join(voices.files)}")
            style = np.asarray(voices[name], np.float32).reshape(-1, 256)
    except (ValueError, OSError) as error:
        if isinstance(error, SettingsError):
            raise
        raise VoiceError(f"voice kokoro: {files[0].name} is no file of voices: {error}") from error
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64), "style": style[min(len(tokens), len(style) - 1)][None],
        "speed": np.array([settings.speed], np.float32),
    }  # fmt: skip
    return _run(session, inputs, "kokoro"), KOKORO_HZ
