"""Sound files to one channel at ANALYSIS_HZ, whatever they hold; and a made voice to a file.

The file itself is never changed: what is read here only drives the face.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from digidouble.errors import NoSound, OutputError, SettingsError, UnreadableMedia
from digidouble.schema.speech import Speech

ANALYSIS_HZ = 16_000
SILENT = 10 ** (-60 / 20)  # root mean square under which a whole recording counts as silent


def read_sound(path: Path, max_seconds: float) -> Float32[np.ndarray, " n"]:
    """The first sound stream of a recording or movie, mono, -1..1, at ANALYSIS_HZ.

    Sample 0 is the time of the first picture if there are pictures (sound that starts later is preceded by silence, sound before it is left
    out), else the first sample.

    Raises:
        UnreadableMedia: no such file, empty, damaged, or no media. NoSound: it has no sound stream, or no sample in it.
        SettingsError: longer than `max_seconds`.
    """
    import av
    from av.error import FFmpegError

    if not path.is_file():
        raise UnreadableMedia(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UnreadableMedia(
            f"{path}: the file is empty (0 bytes); expected a recording such as .wav, .flac, .mp3, .m4a"
        )
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise NoSound(f"{path}: no sound stream in it; give a recording or a movie with sound")
            if container.duration and container.duration / 1e6 > max_seconds * 1.02 + 1:
                raise _too_long(path, container.duration / 1e6, max_seconds)
            samples = _decode(container, path, max_seconds)
    except FFmpegError as error:
        raise UnreadableMedia(f"{path}: not a sound file that can be read ({error})") from error
    if not len(samples):
        raise NoSound(f"{path}: its sound stream holds no samples")
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1, 1)


def _too_long(path: Path, seconds: float, limit: float) -> SettingsError:
    return SettingsError(
        f"{path}: {seconds / 60:.1f} minutes or more of sound, the limit is {limit / 60:.1f}: cut it into parts, or raise max_seconds"
    )


def _decode(container, path: Path, max_seconds: float) -> Float32[np.ndarray, " n"]:
    import av
    from av.error import EOFError as EndOfFile
    from av.error import InvalidDataError
    from av.stream import Disposition

    stream = container.streams.audio[0]
    pictures = [v for v in container.streams.video if not v.disposition & Disposition.attached_pic]
    resampler = av.AudioResampler("flt", "mono", ANALYSIS_HZ)
    pieces: list[Float32[np.ndarray, " n"]] = []
    count, limit = 0, int((max_seconds + 1) * ANALYSIS_HZ)
    first: float | None = None
    damaged = False
    try:
        for frame in container.decode(stream):
            if first is None:
                first = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else 0.0
            for out in resampler.resample(frame):
                pieces.append(out.to_ndarray()[0])
                count += len(pieces[-1])
            if count > limit:
                raise _too_long(path, count / ANALYSIS_HZ, max_seconds)
        for out in resampler.resample(None):
            pieces.append(out.to_ndarray()[0])
    except (InvalidDataError, EndOfFile):
        damaged = True  # what was decoded until there is used
    if damaged and not count:
        raise UnreadableMedia(f"{path}: its sound is damaged from the start")
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not pictures or first is None:
        return samples
    origin = float((pictures[0].start_time or 0) * (pictures[0].time_base or 1))
    shift = round((first - origin) * ANALYSIS_HZ)
    if shift >= 0:
        return np.concatenate([np.zeros(min(shift, limit), np.float32), samples])
    return samples[-shift:]


def is_silent(samples: Float32[np.ndarray, " n"]) -> bool:
    """Whether nothing can be heard in it."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) < SILENT


def write_wav(speech: Speech, path: Path) -> Path:
    """The samples as a 16-bit WAV file.

    Raises:
        OutputError: it cannot be written.
    """
    data = np.round(np.clip(speech.samples, -1, 1) * 32767).astype("<i2")
    try:
        with path.open("wb") as file, wave.open(file, "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(2)
            f.setframerate(speech.rate)
            f.writeframes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: the voice cannot be written: {error}") from error
    return path


def resampled(samples: Float32[np.ndarray, " n"], rate: int, wanted: int = ANALYSIS_HZ) -> Float32[np.ndarray, " m"]:
    """The same sound at another rate (FFmpeg's resampler, band-limited)."""
    import av

    if rate == wanted:
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("flt", "mono", wanted)
    out = [o.to_ndarray()[0] for f in (frame, None) for o in resampler.resample(f)]
    return np.concatenate(out) if out else np.zeros(0, np.float32)
