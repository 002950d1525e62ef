"""Sound alone: the shipped network on readings whose phones are known, and what it must not depend on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from digidouble.schema.time import FrameRate
from digidouble.speech import MouthStyle, SpeechSettings, mouth_curves, read_audio, read_text, write_wav
from digidouble.speech import network as net
from digidouble.speech.articulation import CLOSURE, GRID_HZ, OPENING, ROUNDING
from digidouble.speech.features import HOP, levelled, log_mel
from digidouble.speech.loudness import articulate_loudness
from digidouble.speech.sound import resampled
from digidouble.speech.visemes import articulate


def reading(text: str, **settings) -> tuple[np.ndarray, np.ndarray]:
    """(samples at 16 kHz, the articulators its own phones give)."""
    speech = read_text(text, SpeechSettings(**settings))
    samples = resampled(speech.samples, speech.rate)
    return samples, articulate(speech.phones, speech.duration_s, MouthStyle(breath=0.0))[0]


def r(a: np.ndarray, b: np.ndarray) -> float:
    n = min(len(a), len(b))
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("Maybe the old farmer would move both boats away from the river before the summer.", {"variant": "f2"}),
        ("我的爸爸明天晚上要坐飞机去北京，妈妈不去。", {"language": "cmn", "variant": "m3"}),
        ("Wir haben am Montag zwei gute Bücher über Vögel gekauft.", {"language": "de", "variant": "m5"}),
    ],
    ids=["english", "mandarin", "german"],
)
def test_it_knows_what_the_phones_know(text: str, settings: dict):
    samples, truth = reading(text, **settings)
    grid, holds = net.articulate_sound(samples, breath=0.0)
    loud = articulate_loudness(samples)
    assert r(grid[:, OPENING], truth[:, OPENING]) > 0.75
    assert r(grid[:, OPENING], truth[:, OPENING]) > r(loud[:, OPENING], truth[:, OPENING]) + 0.1
    assert r(grid[:, ROUNDING], truth[:, ROUNDING]) > 0.4
    assert len(holds) > 0


def test_gain_does_not_matter():
    samples, _ = reading("How loud is this?")
    loud, quiet = (net.articulate_sound((samples * g).astype(np.float32))[0] for g in (1.0, 0.2))
    assert np.abs(loud - quiet)[:, OPENING].mean() < 0.02


def test_blocks_give_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch):
    samples, _ = reading("One block after another, and nobody can tell where one of them ends and the next begins.")
    whole, _ = net.articulate_sound(samples)
    monkeypatch.setattr(net, "BLOCK_S", 0.7)
    pieces, _ = net.articulate_sound(samples)
    assert len(whole) == -(-len(samples) // HOP)
    assert np.abs(whole - pieces).max() < 1e-4


def test_a_phrase_begins_with_a_breath_and_silence_is_rest():
    samples, _ = reading("After a while.")
    lead = np.zeros(2 * 16000, np.float32)
    grid, _ = net.articulate_sound(np.concatenate([lead, samples, lead]))
    still, _ = net.articulate_sound(np.concatenate([lead, samples, lead]), breath=0.0)
    assert grid[int(1.85 * GRID_HZ), OPENING] > still[int(1.85 * GRID_HZ), OPENING] + 0.15
    assert grid[: int(1.0 * GRID_HZ), OPENING].max() < 0.15
    assert grid[-int(1.0 * GRID_HZ) :, OPENING].max() < 0.15


def test_holds_are_stretches_of_closure():
    closure = np.zeros(100)
    closure[10:15] = 0.9
    closure[40] = 0.9  # too short
    closure[95:] = 0.8
    assert net.holds_of(closure).tolist() == [[0.10, 0.15], [0.95, 1.0]]
    assert net.holds_of(np.zeros(5)).shape == (0, 2)


def test_breaths_come_before_phrases():
    level = np.full(600, -90.0)
    level[100:180] = -20  # after a second of silence
    level[190:260] = -20  # a short gap: no breath
    level[400:403] = -20  # a click
    level[480:560] = -22
    assert net.breaths_at(level) == pytest.approx([1.0, 4.8], abs=0.02)


def test_sound_features_are_what_they_say():
    t = np.arange(16000) / 16000
    mel = log_mel((0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32))
    assert mel.shape == (100, 80)
    mels = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (50, 7600)), 82)[1:-1]
    assert abs(int(np.argmax(mel[50])) - int(np.argmin(np.abs(mels - 2595 * np.log10(1 + 1000 / 700))))) <= 1
    noise = log_mel((0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32))
    assert np.percentile(levelled(noise).mean(1), 95) == pytest.approx(0, abs=0.01)
    assert np.allclose(levelled(noise), levelled(noise - 3), atol=1e-5)


def test_the_whole_way_from_a_file(tmp_path: Path):
    path = write_wav(read_text("Bob moved away, and my mother phoned him."), tmp_path / "take.wav")
    curves = mouth_curves(read_audio(path), FrameRate(Fraction(25)))
    assert curves.made_by == "audio" and curves.closure.max() == 1.0
    assert CLOSURE == 5 and np.isfinite(curves.actions).all() and np.abs(curves.actions).max() <= 1.3
