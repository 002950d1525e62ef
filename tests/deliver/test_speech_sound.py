"""Speech as the sound of a delivery: copied where it can be, encoded where it must be."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from digidouble.deliver.audio import storable
from digidouble.errors import MediaError


def wav(path: Path, seconds=1.0, rate=22050) -> Path:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype("<i2")
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(rate)
        f.writeframes(tone.tobytes())
    return path


def decoded(path: Path) -> tuple[str, np.ndarray, int]:
    with av.open(str(path)) as f:
        s = f.streams.audio[0]
        return s.codec_context.name, np.concatenate([a.to_ndarray().reshape(-1) for a in f.decode(s)]), s.rate


def test_a_made_voice_is_aac_in_mp4_and_pcm_in_mov(tmp_path):
    source = wav(tmp_path / "v.wav")
    made, said = storable(source, tmp_path / "x.mp4", tmp_path, keep=False)
    codec, samples, rate = decoded(made)
    assert codec == "aac" and "aac" in said and abs(len(samples) / rate - 1) < 0.1
    made, _ = storable(source, tmp_path / "x.mov", tmp_path, keep=False)
    codec, samples, rate = decoded(made)
    assert codec == "pcm_s16le" and len(samples) == 22050
    assert (samples == decoded(source)[1]).all()


def test_a_recording_is_kept_where_the_container_holds_it(tmp_path):
    source = wav(tmp_path / "v.wav")
    kept, said = storable(source, tmp_path / "x.mov", tmp_path, keep=True)
    assert kept == source and "copied" in said
    aac, _ = storable(source, tmp_path / "x.mp4", tmp_path, keep=False)
    assert storable(aac, tmp_path / "y.mp4", tmp_path / "no", keep=True)[0] == aac
    made, said = storable(source, tmp_path / "x.mp4", tmp_path, keep=True)
    assert made != source and ".mp4 does not hold" in said


def test_no_sound_is_said(tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFFnonsense")
    with pytest.raises(MediaError, match=r"bad\.wav"):
        storable(bad, tmp_path / "x.mp4", tmp_path, keep=True)
