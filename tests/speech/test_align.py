"""Alignment against known truth: readings by other speakers at other speeds, whose phone times the voice itself tells."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from digidouble.schema.mesh import face_model
from digidouble.schema.speech import Phone
from digidouble.schema.time import FrameRate
from digidouble.speech import MouthStyle, SpeechSettings, mouth_curves, read_audio, read_text, write_wav
from digidouble.speech.align import align, costs_of, with_closures
from digidouble.speech.kernels import walk
from digidouble.speech.sound import resampled

ENGLISH = "Please put the big brown box by my front door before five o'clock in the morning."
MANDARIN = "我们明天早上八点半在火车站门口见面，不要忘记带雨伞。"


def starts(phones) -> np.ndarray:
    return np.array([p.start_s for p in phones if p.symbol])


def symbols(phones) -> list[str]:
    return [p.symbol for p in phones if p.symbol]


@pytest.mark.parametrize("text", [ENGLISH, MANDARIN], ids=["english", "mandarin"])
@pytest.mark.parametrize(("variant", "speed", "pitch"), [("f2", 1.25, 1.0), ("m4", 0.8, 0.8), ("f5", 1.5, 1.3)])
def test_another_speaker_at_another_pace(text: str, variant: str, speed: float, pitch: float):
    reading = read_text(text)
    other = read_text(text, SpeechSettings(variant=variant, speed=speed, pitch=pitch))
    found = align(resampled(other.samples, other.rate), resampled(reading.samples, reading.rate), reading.phones)
    assert symbols(found.phones) == symbols(other.phones)
    off = np.abs(starts(found.phones) - starts(other.phones))
    assert np.median(off) < 0.025
    assert np.percentile(off, 90) < 0.08


def test_a_stretched_and_detuned_recording_with_noise():
    speech = read_text(ENGLISH)
    samples = resampled(speech.samples, speech.rate)
    # Played back a tenth slower and lower, with noise 20 dB down: times are known to be 1.1 of the original's.
    n = int(len(samples) * 1.1)
    slow = np.interp(np.linspace(0, len(samples) - 1, n), np.arange(len(samples)), samples)
    slow += 0.1 * slow.std() * np.random.default_rng(0).standard_normal(n)
    found = align(slow.astype(np.float32), samples, speech.phones)
    off = np.abs(starts(found.phones) - 1.1 * starts(speech.phones))
    assert np.median(off) < 0.015 and np.percentile(off, 95) < 0.05


def test_a_pause_of_the_speaker_becomes_a_pause():
    speech = read_text("One two three four.")
    samples = resampled(speech.samples, speech.rate)
    cut = next(p.start_s for p in speech.phones if p.word == 2)
    at = int(cut * 16000)
    paused = np.concatenate([samples[:at], np.zeros(8000, np.float32), samples[at:]])
    found = align(paused, samples, speech.phones)
    third = [p for p in found.phones if p.word == 2]
    assert third[0].start_s == pytest.approx(cut + 0.5, abs=0.06)
    assert any(p.silent and p.end_s - p.start_s > 0.35 for p in found.phones)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in zip(found.phones, found.phones[1:], strict=False))


def test_thewalk_is_the_cheapest_path():
    """Against every path there is, on a case small enough to try them all."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    a_level, b_level, quiet = rng.normal(size=7), rng.normal(size=6), np.array([0, 0, 1, 0, 0, 1, 0], bool)
    pause = np.array([1, 0, 0, 1, 0, 1], bool)
    costs = costs_of()
    stay, skip, silence, voiced, hush, loud = costs

    def local(i: int, j: int) -> float:
        if pause[j]:
            return silence if quiet[i] else voiced
        d = float(np.sqrt(np.sum((a[i] - b[j]) ** 2) / 6)) + loud * abs(a_level[i] - b_level[j])
        return d + (hush if quiet[i] and b_level[j] > -1.2 else 0.0)

    best = {}

    def cheapest(i: int, j: int) -> float:
        if (i, j) in best:
            return best[i, j]
        if i == 0:
            out = local(0, j) if j <= 2 else np.inf
        else:
            ways = []
            for back in range(4):
                if j - back >= 0:
                    extra = stay if back == 0 and not pause[j] else 0.0
                    extra += sum(skip for left in range(1, back) if not pause[j - left])
                    ways.append(cheapest(i - 1, j - back) + extra)
            out = min(ways) + local(i, j)
        best[i, j] = out
        return out

    truth = min(cheapest(6, j) for j in (3, 4, 5)) / 7
    path, cost = walk(a, b, a_level, b_level, quiet, pause, np.full(7, 3), 8, costs)
    assert cost == pytest.approx(truth, rel=1e-5)
    assert (np.diff(path) >= 0).all() and (np.diff(path) <= 3).all() and path[-1] >= 3


def recorded(tmp_path: Path, text: str, **settings) -> Path:
    speech = read_text(text, SpeechSettings(**settings))
    return write_wav(speech, tmp_path / "take.wav")


def test_a_recording_with_its_text(tmp_path: Path):
    truth = read_text(ENGLISH, SpeechSettings(variant="f4", speed=1.2))
    path = write_wav(truth, tmp_path / "take.wav")
    speech = read_audio(path, ENGLISH)
    assert speech.source == path and "aligning" in speech.made_by and speech.notices == ()
    assert np.median(np.abs(starts(speech.phones) - starts(truth.phones))) < 0.025


def test_the_opening_of_a_recording_follows_its_sound_too(tmp_path: Path):
    path, rate = recorded(tmp_path, ENGLISH, variant="f1"), FrameRate(Fraction(25))
    speech = read_audio(path, ENGLISH)
    part = face_model().action_names.index("lips_part_AU25/lips_press_AU24")
    phones, mixed, sound = (mouth_curves(speech, rate, style=MouthStyle(sound=w)) for w in (0.0, 0.5, 1.0))
    free = phones.closure == 0
    between = 0.5 * (phones.actions[free, part] + sound.actions[free, part])
    assert np.allclose(mixed.actions[free, part], between, atol=1e-9)
    assert np.array_equal(mixed.closure, phones.closure) and mixed.made_by == "visemes and audio"
    assert np.abs(phones.actions[:, part] - sound.actions[:, part]).max() > 0.1


def test_another_text_is_noticed(tmp_path: Path):
    path = recorded(tmp_path, ENGLISH, variant="m3")
    wrong = read_audio(
        path, "She never saw the green hills again, and nobody asked her why that was so, in all those years."
    )
    assert any("may not be what is said" in n for n in wrong.notices)


def test_silence_alone_aligns_to_nothing():
    hum = np.full(1600, 0.01, np.float32)
    assert align(hum, hum, (Phone("", 0.0, 0.1),)).phones == ()


@pytest.mark.parametrize("text", ["We lay blue boats.", "Please put it down."])
def test_lips_are_shut_while_nothing_is_heard_before_their_sound(text: str):
    """Silence put before the release of a b or p inside a phrase is the closure's, not the neighbour's; what follows is later by it."""
    speech = read_text(text)
    samples = resampled(speech.samples, speech.rate)
    inner = [
        p for k, p in enumerate(speech.phones) if p.symbol[:1] in ("b", "p") and k and not speech.phones[k - 1].silent
    ]
    stop, more = inner[0], 0.07
    at = int(stop.start_s * 16000)
    held = np.concatenate([samples[:at], np.zeros(int(more * 16000), np.float32), samples[at:]])
    found = align(held, samples, speech.phones).phones
    mine = min((p for p in found if p.symbol == stop.symbol), key=lambda p: abs(p.start_s - stop.start_s))
    assert mine.start_s == pytest.approx(stop.start_s, abs=0.035)
    assert mine.end_s - mine.start_s > 0.6 * more
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(found))


def test_other_sounds_do_not_begin_in_the_silence_before_them():
    speech = read_text("My nose.")
    samples = resampled(speech.samples, speech.rate)
    late = np.concatenate([np.zeros(4800, np.float32), samples])
    first = next(p for p in align(late, samples, speech.phones).phones if not p.silent)
    assert first.start_s == pytest.approx(0.3 + next(p for p in speech.phones if not p.silent).start_s, abs=0.03)


def test_the_made_voices_lips_shut_before_their_burst_too():
    """espeak-ng marks a p at its burst; the silence of its closure, which it does make, is part of it."""
    speech = read_text("Pam and Bob may bump a big map. Put more pepper upon it.")
    held = [p.end_s - p.start_s for k, p in enumerate(speech.phones) if p.symbol == "p" and k]
    assert len(held) >= 5 and np.median(held) > 0.055
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(speech.phones))


def test_without_a_level_closures_stay_where_they_are():
    spoken = [Phone("a", 0.0, 0.1), Phone("p", 0.1, 0.2)]
    assert with_closures(spoken, np.zeros(0)) == spoken
