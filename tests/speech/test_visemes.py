"""What the mouth does for a row of phones whose times are known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from digidouble.errors import SettingsError
from digidouble.perception.shape import LIP_GAP_CM, lips_shut
from digidouble.schema.mesh import face_model
from digidouble.schema.speech import Phone, Speech
from digidouble.schema.time import FrameRate
from digidouble.speech import MouthStyle, mouth_curves
from digidouble.speech.articulation import CLOSURE, GRID_HZ, JAW, OPENING, ROUNDING, SPREAD, TEETH
from digidouble.speech.phones import TARGETS, closes_lips, plain_symbol, targets_of, touches_teeth
from digidouble.speech.visemes import articulate

STYLE = MouthStyle(breath=0.0)


def said(*symbols: str, each_s: float = 0.12, lead_s: float = 0.2) -> tuple[tuple[Phone, ...], float]:
    """Silence, the symbols of equal length, silence."""
    at, out = lead_s, [Phone("", 0.0, lead_s)]
    for s in symbols:
        out.append(Phone(s, at, at + each_s, False, 0))
        at += each_s
    return (*out, Phone("", at, at + 0.2)), at + 0.2


def grid(*symbols: str, style: MouthStyle = STYLE, each_s: float = 0.12) -> np.ndarray:
    phones, duration = said(*symbols, each_s=each_s)
    return articulate(phones, duration, style)[0]


def middle(index: int, each_s: float = 0.12) -> int:
    return round((0.2 + (index + 0.5) * each_s) * GRID_HZ)


def speech_of(*symbols: str) -> Speech:
    phones, duration = said(*symbols)
    return Speech(np.zeros(int(duration * 16000), np.float32), 16000, phones, "", "", "test")


def gap_cm(curves) -> np.ndarray:
    """Between the inner lips of the mean face that does what the curves say."""
    m = face_model()
    shapes = m.mean_cm + np.einsum("na,apc->npc", curves.actions, m.action_fields_cm)
    shapes = lips_shut(shapes, curves.closure)
    return (shapes[:, [13, 82, 312], 1] - shapes[:, [14, 87, 317], 1]).mean(1)


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(24000, 1001), Fraction(25), Fraction(60)])
def test_lips_meet_on_every_bilabial_at_any_rate(fps: Fraction):
    speech = speech_of("a", "p", "a", "b", "i", "m", "u", "p", "s", "a", "m", "b", "ɑ")
    curves = mouth_curves(speech, FrameRate(fps))
    gap = gap_cm(curves)
    for p in speech.phones:
        if closes_lips(p.symbol):
            near = np.abs(curves.times_s - (p.start_s + p.end_s) / 2) <= 0.5 / float(fps) + 1e-9
            assert gap[near].min() < LIP_GAP_CM + 0.02, p
    assert gap.max() > 0.6


def test_vowels_stand_apart():
    a, i, u = (grid(v)[middle(0)] for v in ("a", "i", "u"))
    assert a[OPENING] > 1.6 * i[OPENING] > 0 and a[JAW] > i[JAW]
    assert u[ROUNDING] > 0.5 > 0.15 > a[ROUNDING] and i[SPREAD] > 0.3 > u[SPREAD]
    rounded, spread = (mouth_curves(speech_of(v), FrameRate(Fraction(100))) for v in ("u", "i"))
    m, row = face_model(), middle(0)
    width = [
        float((c.actions[row] @ m.action_fields_cm[:, 291, 0]) - (c.actions[row] @ m.action_fields_cm[:, 61, 0]))
        for c in (rounded, spread)
    ]
    assert width[0] < -0.2 < 0.1 < width[1]  # a pucker is narrower than rest, a spread mouth wider


def test_lower_lip_goes_to_the_teeth():
    row = grid("a", "f", "a")[middle(1)]
    assert row[TEETH] > 0.6 and row[CLOSURE] == 0
    curves = mouth_curves(speech_of("a", "v", "a"), FrameRate(Fraction(100)))
    m, neighbour, at = face_model(), middle(0), middle(1)
    lower = curves.actions @ m.action_fields_cm[:, 14, 1]
    assert lower[at] - lower[neighbour] > 0.15  # centimetres, up
    assert touches_teeth("f") and touches_teeth("v") and not touches_teeth("b")


def test_lips_look_ahead():
    before_u, before_i = (grid("s", v)[middle(0), ROUNDING] for v in ("u", "i"))
    assert before_u > before_i + 0.15
    after_u = grid("u", "s")[middle(1), ROUNDING]
    assert before_u > after_u  # rounding is prepared farther ahead than it lingers


def test_neighbours_pull_and_reach_widens_their_pull():
    # A k does as its vowel does; between open vowels it is more open than between close ones.
    assert grid("a", "k", "a")[middle(1), OPENING] > grid("u", "k", "u")[middle(1), OPENING] + 0.2
    alone = grid("a", each_s=0.3)[middle(0, 0.3), OPENING]
    assert grid("w", "a", "w", each_s=0.08)[middle(1, 0.08), OPENING] < 0.8 * alone
    crisp, wide = (grid("u", "a", "u", style=MouthStyle(reach=r, breath=0.0))[middle(1), OPENING] for r in (0.5, 1.8))
    assert crisp > wide + 0.05


def test_dominance_is_the_published_formula():
    phones, duration = said("a", "t", "i")
    got = articulate(phones, duration, STYLE)[0][:, OPENING]
    for row in (15, 26, 30, 38, 44, 52):
        t, total, weight = row / GRID_HZ, 0.0, 0.02
        for start, end, symbol in (
            (-0.4, 0, ""),
            (duration, duration + 0.4, ""),
            *((p.start_s, p.end_s, p.symbol) for p in phones),
        ):
            target, length = targets_of(symbol)[0][0], end - start
            held = (0.8 if not symbol else 0.3) * length / 2
            outside = max(0.0, abs(t - (start + end) / 2) - held)
            d = target.insists * np.exp(-((outside / (0.032 + 0.30 * min(length, 0.4))) ** 1.6))
            gain = 1.0 if not symbol else 0.92
            total, weight = total + d * target.opening * gain, weight + d
        assert got[row] == pytest.approx(total / weight, abs=2e-3), row


def test_silence_is_rest_and_a_phrase_begins_with_a_breath():
    phones = (Phone("", 0.0, 1.0), Phone("a", 1.0, 1.2, False, 0), Phone("", 1.2, 2.2))
    still, breathing = (articulate(phones, 2.2, MouthStyle(breath=b))[0] for b in (0, 1))
    assert np.abs(still[:60]).max() < 0.02 and np.abs(still[175:]).max() < 0.02
    assert breathing[85, OPENING] > 0.2 and breathing[20, OPENING] < 0.05
    assert breathing[160:, OPENING].max() < 0.05  # none after the last word


def test_effort_and_jaw_move_farther_and_never_open_a_closure():
    speech, rate = speech_of("a", "b", "a"), FrameRate(Fraction(50))
    quiet, loud = (mouth_curves(speech, rate, style=MouthStyle(effort=e)) for e in (0.5, 1.5))
    assert gap_cm(loud).max() > 2 * gap_cm(quiet).max()
    at = int(np.argmax(loud.closure))
    assert gap_cm(loud)[at] < LIP_GAP_CM + 0.02
    jaw = face_model().action_names.index("jaw_drop_AU26/jaw_clench")
    wide = mouth_curves(speech, rate, style=MouthStyle(jaw=1.4)).actions[:, jaw].max()
    assert wide == pytest.approx(1.4 * mouth_curves(speech, rate).actions[:, jaw].max(), rel=1e-6)


def test_frames_are_at_exact_times_and_as_many_as_asked():
    speech, rate = speech_of("a"), FrameRate(Fraction(30000, 1001))
    curves = mouth_curves(speech, rate)
    assert len(curves) == int(np.ceil(speech.duration_s * 30000 / 1001))
    assert curves.times_s[7] == pytest.approx(7 * 1001 / 30000, abs=1e-12)
    longer = mouth_curves(speech, rate, 500)
    assert len(longer) == 500 and np.abs(longer.actions[-100:]).max() == 0
    assert np.allclose(longer.actions[:10], curves.actions[:10])


def test_speech_moves_only_the_mouth():
    names = face_model().action_names
    moved = np.abs(mouth_curves(speech_of("a", "f", "u", "b", "i"), FrameRate(Fraction(25))).actions).max(0) > 0
    for name, did in zip(names, moved, strict=True):
        if any(part in name for part in ("lid_", "brow", "cheek", "nose", "jaw_left")):
            assert not did, name


def test_names_of_phones():
    assert plain_symbol("ˈiː") == ("i", True)
    assert plain_symbol("ˌaɪ") == ("aɪ", False)
    assert plain_symbol("n̩") == ("n", False)
    assert plain_symbol("˥") == ("", False)
    assert (
        plain_symbol("ä") == ("a", False) and plain_symbol("ɯᵝ") == ("ɯ", False) and plain_symbol("kʷ") == ("kʷ", False)
    )
    assert plain_symbol("ç") == ("ç", False) and plain_symbol("(en)") == ("", False)
    assert [round(s, 2) for _, s in targets_of("aɪ")] == [0.55, 0.45]
    assert len(targets_of("ph")) == 1 and closes_lips("ph")  # Mandarin's aspirated p
    assert targets_of("")[0][0].opening == 0
    assert 0 < targets_of("☃")[0][0].opening < 1
    assert all(0 <= t.opening <= 1 and 0 <= t.rounding <= 1 for t in TARGETS.values())


def test_records_refuse_nonsense():
    with pytest.raises(SettingsError, match="not a stretch"):
        Phone("a", 1.0, 0.5)
    with pytest.raises(SettingsError, match="before"):
        Speech(np.zeros(10, np.float32), 16000, (Phone("a", 0.0, 1.0), Phone("b", 0.5, 1.5)), "", "", "")
    with pytest.raises(SettingsError, match="expected"):
        MouthStyle(effort=9)
