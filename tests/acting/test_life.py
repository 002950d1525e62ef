"""Blinks, gaze, head: seeded, repeatable, and as often as people do it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digidouble.acting.life import LifeSettings, blink_curve, bursts, gaze_curve, head_curve, rng_of
from digidouble.errors import SettingsError

TIMES = np.arange(0, 300, 0.04)
TALK = (np.sin(TIMES * 3) > -0.3).astype(float)
STILL = np.zeros_like(TIMES)
ONE = np.ones_like(TIMES)


def blinks_of(curve):
    return int(((curve[1:] > 0.5) & (curve[:-1] <= 0.5)).sum())


def test_same_seed_same_bits_another_seed_another_life():
    a, b, c = (gaze_curve(TIMES, TALK, LifeSettings(seed=s)) for s in (3, 3, 4))
    assert (a == b).all() and not np.allclose(a, c)
    assert (blink_curve(TIMES, TALK, ONE, LifeSettings()) == blink_curve(TIMES, TALK, ONE, LifeSettings())).all()


def test_blinks_are_as_many_and_as_long_as_in_the_literature():
    minutes = TIMES[-1] / 60
    talking = np.mean([blinks_of(blink_curve(TIMES, TALK, ONE, LifeSettings(seed=s))) for s in range(6)]) / minutes
    resting = np.mean([blinks_of(blink_curve(TIMES, STILL, ONE, LifeSettings(seed=s))) for s in range(6)]) / minutes
    assert 19 < talking < 33 and 12 < resting < 23 and talking > resting  # Bentivoglio et al. 1997: 26 and 17
    curve = blink_curve(TIMES, STILL, ONE, LifeSettings(seed=1))
    assert curve.min() >= 0 and curve.max() == 1
    assert not blink_curve(TIMES, TALK, ONE, LifeSettings(blinks=0.0)).any()


def test_blinks_choose_pauses():
    pauses = (np.sin(TIMES * 2) < -0.2).astype(float)
    curve = blink_curve(TIMES, 1 - pauses, ONE, LifeSettings(seed=2))
    starts = np.flatnonzero((curve[1:] > 0.5) & (curve[:-1] <= 0.5))
    assert pauses[starts].mean() > pauses.mean() + 0.1


def test_gaze_stays_near_the_camera_and_moves_fast_when_it_moves():
    gaze = gaze_curve(TIMES, TALK, LifeSettings(seed=5))
    away = np.linalg.norm(gaze, axis=1)
    assert away.max() < 14 and np.mean(away < 1.5) > 0.55
    assert np.mean(np.abs(np.diff(gaze, axis=0)).max(1) < 1e-6) > 0.7  # fixations
    assert np.linalg.norm(gaze_curve(TIMES, TALK, LifeSettings(glances=0.0)), axis=1).max() < 2


def test_head_sways_little_smoothly_and_nods_with_stress():
    stress = np.clip(np.sin(TIMES * 4), 0, 1) ** 4
    deg, shift = head_curve(TIMES, stress, TALK, LifeSettings(seed=1))
    assert np.abs(deg).max() < 8 and np.abs(np.diff(deg, axis=0)).max() < 0.8 and np.abs(shift).max() < 0.6
    calm, _ = head_curve(TIMES, STILL, TALK, LifeSettings(seed=1))
    assert np.corrcoef((deg - calm)[:, 1], stress)[0, 1] < -0.4  # stress is down
    still, none = head_curve(TIMES, stress, TALK, LifeSettings(head=0.0))
    assert not still.any() and not none.any()


def test_laughter_has_its_rhythm():
    pulses = bursts(TIMES, 0.21, (4, 8), (0.35, 0.8), rng_of(LifeSettings(), "laughter"))
    spectrum = np.abs(np.fft.rfft(pulses - pulses.mean()))
    hertz = np.fft.rfftfreq(len(TIMES), 0.04)
    band = (hertz > 2.5) & (hertz < 8)
    assert hertz[band][spectrum[band].argmax()] == pytest.approx(1 / 0.21, rel=0.12)


@pytest.mark.parametrize("bad", [{"seed": -1}, {"seed": 2**32}, {"head": 4.0}, {"blinks": -1.0}, {"glances": 9.0}])
def test_bad_settings(bad):
    with pytest.raises(SettingsError, match=next(iter(bad))):
        replace(LifeSettings(), **bad)
