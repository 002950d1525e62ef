"""Timelines: what is read, what is refused, and how strengths run."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.acting import parse, text_of
from digidouble.acting.timeline import Beat, strengths
from digidouble.errors import SettingsError


def test_forms():
    assert parse("joy") == (Beat(0.0, "joy", 1.0),)
    assert parse("joy:0.8") == (Beat(0.0, "joy", 0.8),)
    assert parse("0:neutral 1.2:joy 3.0:laughter") == (Beat(0.0, "neutral"), Beat(1.2, "joy"), Beat(3.0, "laughter"))
    assert parse("3:laugh:0.5, 0:Sad") == (Beat(0.0, "sadness"), Beat(3.0, "laughter", 0.5))
    assert parse(text_of(parse("0:fear:0.25 2.5:joy"))) == parse("0:fear:0.25 2.5:joy")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"), ("glee", "glee.*joy"), ("joy:1.5", "0..1"), ("joy:-1", "cannot read"), ("joy:x", "cannot read"),
        ("0:joy sadness", "no time"), ("1:joy 1:fear", "both start"), ("0:joy:1:2", "cannot read"), ("1e9:joy", "cannot read"),
        ("999999:joy", "start"), ("joy sadness", "no time"), ("<speak>joy", "not known|cannot read"),
    ],
)  # fmt: skip
def test_refused_in_words(text, says):
    with pytest.raises(SettingsError, match=says):
        parse(text)


def test_strengths_rise_and_fall_and_stay_in_bounds():
    times = np.arange(0, 6, 0.04)
    s = strengths(parse("0:neutral 1:joy:0.8 4:sadness"), times)
    joy = s["joy"]
    assert joy[times < 0.8].max() == 0
    assert joy[(times > 1.6) & (times < 3.5)] == pytest.approx(0.8)
    assert joy[times > 5].max() == 0 and s["sadness"][-1] == pytest.approx(1)
    assert np.abs(np.diff(joy)).max() < 0.16  # nothing jumps
    assert strengths(parse("joy"), times)["joy"].min() == 1  # there from the first frame on
