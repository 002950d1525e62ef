"""Shots made once and read by many tests. `synthetic` (tests/shots) is importable from every test folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "shots"))


@pytest.fixture(scope="session")
def talk():
    """One person, 40 frames: turns, talks, smiles, blinks; trackers err by half a pixel."""
    from scenes import talking_shot

    return talking_shot()


@pytest.fixture(scope="session")
def talk_perf(talk, tmp_path_factory) -> Path:
    """Its performance, analysed with truth and noise in place of networks."""
    from synthetic import TruthPerceiver

    from digidouble.performance import analyse

    return analyse(talk.footage(), tmp_path_factory.mktemp("talk") / "talk.perf", perceiver=TruthPerceiver(talk, 0.4))


@pytest.fixture(scope="session")
def persona_b():
    """A persona of another person, from three looks under even light."""
    from scenes import person, persona_of

    return persona_of(person(7), "b")


@pytest.fixture(scope="session")
def persona_file(persona_b, tmp_path_factory) -> Path:
    from digidouble.persona import save_persona

    return save_persona(persona_b, tmp_path_factory.mktemp("persona") / "b.persona")
