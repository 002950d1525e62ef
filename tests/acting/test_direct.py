"""Speech, emotion and life together: closures stay, corners stay, the same seed is the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from digidouble.acting import LifeSettings, act, parse
from digidouble.acting.emotion import columns, face_of
from digidouble.errors import SettingsError
from digidouble.schema.acting import Acting
from digidouble.schema.mesh import face_model
from digidouble.schema.speech import MouthCurves, Prosody
from digidouble.schema.time import FrameRate

RATE = FrameRate(Fraction(25))
N = 100
JAW, PULL = columns()["jaw_drop_AU26"][0], list(columns()["lip_corner_pull_AU12"])


def curves(n=N):
    actions = np.zeros((n, len(face_model().action_names)))
    actions[20:60, JAW] = 0.5
    closure = np.zeros(n)
    closure[40:43] = 1
    return MouthCurves(np.arange(n) / 25, actions, closure, "visemes")


def prosody(n=N):
    return Prosody(np.arange(n) / 25, np.full(n, 0.5), np.full(n, 120.0), np.zeros(n))


def test_speech_keeps_its_jaw_and_closures_under_a_smile():
    acting = act(RATE, curves(), prosody(), parse("joy"), LifeSettings(), N)
    assert (acting.closure == curves().closure).all()
    assert acting.actions[25:55, JAW] == pytest.approx(0.5, abs=0.05)
    assert acting.actions[30:50][:, PULL].mean() > 0.6 * face_of("joy")[PULL].mean()


def test_without_words_the_emotion_is_whole():
    acting = act(RATE, None, None, parse("sadness:0.5"), LifeSettings(), N)
    middle = acting.actions[N // 2]
    wanted = 0.5 * face_of("sadness")
    strong = np.abs(wanted) > 0.2
    assert middle[strong] == pytest.approx(wanted[strong], rel=0.25)


def test_repeatable_and_bounded_by_frames():
    a, b = (act(RATE, curves(), prosody(), parse("laughter"), LifeSettings(seed=9), N) for _ in range(2))
    for name in ("actions", "blink", "gaze_deg", "head_deg", "head_cm"):
        assert (getattr(a, name) == getattr(b, name)).all()
    longer = act(RATE, curves(), prosody(), parse("joy"), LifeSettings(), N + 20)
    assert len(longer) == N + 20 and not longer.closure[N:].any()
    assert len(act(RATE, curves(), prosody(), parse("joy"), LifeSettings(), 0)) == 0


def test_laughter_moves_jaw_and_crying_sobs():
    laugh = act(RATE, None, None, parse("laughter"), LifeSettings(), 200).actions[:, JAW]
    joy = act(RATE, None, None, parse("joy"), LifeSettings(), 200).actions[:, JAW]
    assert laugh.std() > 0.08 and joy.std() < 0.02
    sob = act(RATE, None, None, parse("crying"), LifeSettings(), 200)
    assert sob.actions[:, JAW].std() > 0.02 and np.ptp(sob.head_cm[:, 1]) > 0.1


def test_eyes_stay_on_the_camera_while_the_head_moves():
    acting = act(RATE, None, prosody(400), parse("neutral"), LifeSettings(glances=0.0), 400)
    assert np.abs(acting.gaze_deg + acting.head_deg[:, :2]).max() < 2.0


def test_acting_refuses_what_is_not_finite():
    good = act(RATE, None, None, parse("joy"), LifeSettings(), 5)
    broken = good.actions.copy()
    broken[2, 3] = np.nan
    with pytest.raises(SettingsError, match="actions"):
        Acting(RATE, broken, good.closure, good.blink, good.gaze_deg, good.head_deg, good.head_cm)
    with pytest.raises(SettingsError, match="blink"):
        Acting(RATE, good.actions, good.closure, good.blink + 2, good.gaze_deg, good.head_deg, good.head_cm)
