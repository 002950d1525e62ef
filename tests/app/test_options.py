"""Options are the settings dataclasses: same names, defaults and help."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

import pytest
import typer

from digidouble.app.options import Options, attribute_help
from digidouble.app.perform import ANALYSIS, FOOTAGE
from digidouble.app.persona import BUILD, CAPTURE
from digidouble.app.swap import DELIVERY, LOOK, RENDER, cast_files

EVERY = (ANALYSIS, FOOTAGE, BUILD, CAPTURE, DELIVERY, LOOK, RENDER)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: o.settings.__name__)
def test_an_option_is_its_field(options: Options):
    known = {f.name: f for f in fields(options.settings)}
    for parameter in options.parameters():
        assert parameter.default == known[parameter.name].default
        assert len(get_args(parameter.annotation)[1].help) > 10
    values = {p.name: p.default for p in options.parameters()}
    assert options.build(values) == options.settings()
    assert values == {}


@dataclass(frozen=True)
class Sample:
    """Something.

    Attributes:
        first: a number. second: a word,
            over two lines.
        third, fourth: both of them.
    """

    first: int = 1
    second: str = "a"
    third: bool = True
    fourth: bool = False


def test_help_is_read_from_the_docstring():
    assert attribute_help(Sample) == {
        "first": "A number.",
        "second": "A word, over two lines.",
        "third": "Both of them.",
        "fourth": "Both of them.",
    }


def test_a_field_without_help_is_a_bug():
    @dataclass(frozen=True)
    class Silent:
        """Nothing said."""

        first: int = 1

    with pytest.raises(KeyError):
        Options(Silent, ("first",), "x").parameters()


@pytest.mark.parametrize("text", ["ada.persona", "=ada.persona", "main=", "someone=ada.persona", "-1=ada.persona"])
def test_casts_that_are_none(text):
    with pytest.raises(typer.BadParameter, match=r"TRACK=|not an id"):
        cast_files([text])


def test_casts():
    assert {k: str(v) for k, v in cast_files(["main=a=b.persona", "2=c.persona"]).items()} == {
        "main": "a=b.persona",
        "2": "c.persona",
    }
    with pytest.raises(typer.BadParameter, match="twice"):
        cast_files(["1=a.persona", "1=b.persona"])
