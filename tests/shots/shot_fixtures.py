"""Shots made once and read by many tests; a folder's conftest imports the fixtures it wants."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
from scenes import person, persona_of, talking_shot
from synthetic import TruthPerceiver

from digidouble.performance import analyse
from digidouble.persona import save_persona

_talk = lru_cache(talking_shot)
_persona = lru_cache(lambda: persona_of(person(7), "b"))


@pytest.fixture(scope="session")
def talk():
    """One person, 40 frames: turns, talks, smiles, blinks."""
    return _talk()


@pytest.fixture(scope="session")
def talk_perf(talk, tmp_path_factory) -> Path:
    """Its performance; truth and 0.4 px of noise stand in for the networks."""
    return analyse(talk.footage(), tmp_path_factory.mktemp("talk") / "talk.perf", perceiver=TruthPerceiver(talk, 0.4))


@pytest.fixture(scope="session")
def persona_b():
    """A persona of another person, from three looks under even light."""
    return _persona()


@pytest.fixture(scope="session")
def persona_file(persona_b, tmp_path_factory) -> Path:
    return save_persona(persona_b, tmp_path_factory.mktemp("persona") / "b.persona")
