"""Sound as it comes: layouts, rates, movies, and files that are none."""

from __future__ import annotations

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from digidouble.errors import NoSound, OutputError, SettingsError, UnreadableMedia
from digidouble.schema.time import FrameRate
from digidouble.speech import mouth_curves, prosody, read_audio, read_text, write_wav
from digidouble.speech.sound import ANALYSIS_HZ, read_sound, resampled

SECONDS = 1.5


def tone(rate: int, hz: float = 200.0, seconds: float = SECONDS) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int, codec: str, layout: str, fmt: str) -> Path:
    """`samples`: [channels, n]."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
        frame.sample_rate = rate
        for f in av.AudioResampler(fmt, layout, rate).resample(frame):
            out.mux(stream.encode(f))
        out.mux(stream.encode(None))
    return path


def write_movie(path: Path, samples: np.ndarray | None, late_s: float = 0.0) -> Path:
    """A second and a half of grey pictures, and perhaps sound that starts `late_s` after them."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono") if samples is not None else None
        for k in range(int(SECONDS * 25)):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            picture.pts = k
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
            frame.pts = round(late_s * 16000)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def dominant_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * ANALYSIS_HZ / len(samples))


@pytest.mark.parametrize(
    ("rate", "codec", "layout", "fmt", "suffix"),
    [
        (8000, "pcm_s16le", "mono", "s16", ".wav"), (48000, "pcm_s24le", "stereo", "s32", ".wav"), (44100, "flac", "stereo", "s16", ".flac"),
        (96000, "pcm_f32le", "stereo", "flt", ".wav"), (48000, "aac", "stereo", "fltp", ".m4a"), (22050, "pcm_u8", "mono", "u8", ".wav"),
    ],
)  # fmt: skip
def test_whatever_a_recording_is(rate: int, codec: str, layout: str, fmt: str, suffix: str, tmp_path: Path):
    one = tone(rate)
    channels = np.stack([one, 0.5 * one]) if layout == "stereo" else one[None]
    samples = read_sound(write_audio(tmp_path / f"a{suffix}", channels, rate, codec, layout, fmt), 60.0)
    assert samples.dtype == np.float32 and abs(len(samples) / ANALYSIS_HZ - SECONDS) < 0.1
    assert dominant_hz(samples[4000:20000]) == pytest.approx(200, abs=2)
    assert 0.1 < np.abs(samples).max() <= 1


def test_a_movies_sound_counts_from_its_first_picture(tmp_path: Path):
    click = np.zeros(8000, np.float32)
    click[4000] = 0.9
    at = [
        int(np.argmax(np.abs(read_sound(write_movie(tmp_path / f"{k}.mkv", click, late), 60.0))))
        for k, late in enumerate((0.0, 0.3))
    ]
    assert at[0] == pytest.approx(4000, abs=40)
    assert at[1] == pytest.approx(4000 + 0.3 * 16000, abs=40)


def test_files_that_hold_no_sound(tmp_path: Path):
    with pytest.raises(UnreadableMedia, match="no such file"):
        read_sound(tmp_path / "none.wav", 60.0)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(UnreadableMedia, match="0 bytes"):
        read_sound(tmp_path / "empty.wav", 60.0)
    (tmp_path / "text.wav").write_text("once upon a time " * 100)
    with pytest.raises(UnreadableMedia, match="not a sound file"):
        read_sound(tmp_path / "text.wav", 60.0)
    with pytest.raises(NoSound, match="no sound stream"):
        read_sound(write_movie(tmp_path / "mute.mkv", None), 60.0)
    with wave.open(str(tmp_path / "header.wav"), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
    with pytest.raises((NoSound, UnreadableMedia)):
        read_sound(tmp_path / "header.wav", 60.0)


def test_a_truncated_recording_gives_what_it_has(tmp_path: Path):
    whole = write_audio(tmp_path / "a.flac", tone(16000, seconds=3.0)[None], 16000, "flac", "mono", "s16").read_bytes()
    (tmp_path / "half.flac").write_bytes(whole[: len(whole) // 2])
    samples = read_sound(tmp_path / "half.flac", 60.0)
    assert 0.5 < len(samples) / ANALYSIS_HZ < 3.0


def test_three_hours_are_refused_before_they_are_decoded(tmp_path: Path):
    path = tmp_path / "long.wav"
    size = 3 * 3600 * 8000
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    path.write_bytes(head + b"data" + struct.pack("<I", size))
    with path.open("r+b") as f:  # sparse: it takes no room
        f.truncate(44 + size)
    with pytest.raises(SettingsError, match=r"180\.0 minutes or more of sound, the limit is 30\.0"):
        read_audio(path)


def test_a_limit_holds_where_the_file_does_not_say_its_length(tmp_path: Path):
    whole = write_audio(tmp_path / "a.mp3", tone(16000, seconds=8.0)[None], 16000, "mp3", "mono", "fltp")
    with pytest.raises(SettingsError, match="the limit is"):
        read_sound(whole, 3.0)


def test_silence_keeps_the_mouth_shut(tmp_path: Path):
    path = write_audio(tmp_path / "s.wav", np.zeros((1, 32000), np.float32), 16000, "pcm_s16le", "mono", "s16")
    for text in ("", "hello there"):
        speech = read_audio(path, text)
        assert any("silent" in n for n in speech.notices)
        curves = mouth_curves(speech, FrameRate(Fraction(25)))
        assert len(curves) == 50 and np.abs(curves.actions).max() == 0


def test_noise_is_noticed(tmp_path: Path):
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 8000 * 3)).astype(np.float32)
    speech = read_audio(write_audio(tmp_path / "n.wav", noise, 8000, "pcm_s16le", "mono", "s16"))
    assert any("hardly a voice" in n for n in speech.notices)
    voice = read_text("There is a voice in this one.")
    assert read_audio(write_wav(voice, tmp_path / "v.wav")).notices == ()


def test_a_written_voice_reads_back(tmp_path: Path):
    speech = read_text("hello")
    back = read_sound(write_wav(speech, tmp_path / "v.wav"), 60.0)
    assert abs(len(back) / ANALYSIS_HZ - speech.duration_s) < 0.01
    assert np.corrcoef(back[:8000], resampled(speech.samples, speech.rate)[:8000])[0, 1] > 0.999
    with pytest.raises(OutputError, match="cannot be written"):
        write_wav(speech, tmp_path / "no" / "v.wav")


def test_pitch_loudness_and_stress(tmp_path: Path):
    rate = FrameRate(Fraction(50))
    for hz in (110.0, 240.0):
        t = np.arange(32000) / 16000
        buzz = np.sign(np.sin(2 * np.pi * hz * t)) * 0.3 * (t < 1.5)
        path = write_audio(tmp_path / "b.wav", buzz[None], 16000, "pcm_s16le", "mono", "s16")
        found = prosody(read_audio(path), rate)
        assert np.median(found.pitch_hz[10:60]) == pytest.approx(hz, rel=0.02)
        assert (
            found.loudness[10:60].min() > 0.9 and found.loudness[85:].max() < 0.05 and (found.pitch_hz[85:] == 0).all()
        )
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32)
    path = write_audio(tmp_path / "n.wav", noise, 16000, "pcm_s16le", "mono", "s16")
    assert (prosody(read_audio(path), rate).pitch_hz > 0).mean() < 0.1
    speech = read_text("Banana.")
    stressed = next(p for p in speech.phones if p.stressed)
    found = prosody(speech, rate, 200)
    assert len(found.times_s) == 200
    assert abs(found.times_s[int(np.argmax(found.stress))] - (stressed.start_s + stressed.end_s) / 2) < 0.03
