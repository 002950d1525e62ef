"""Shots made once and read by many tests. `synthetic` (tests/shots) is importable from every test folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The same examples each time and no limit on a busy machine's milliseconds: a failure is a fault, and can be had again.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")
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


class CleanPictures:
    """In place of the content gate's network: everything scores 0.01."""

    def run(self, inputs):
        return {"scores": np.array([[0.99, 0.01]], np.float32)}


@pytest.fixture(autouse=True)
def gate_that_passes(request, monkeypatch):
    """Renders of tests do not load the content gate's 24 MB network, except those marked `real_gate`."""
    if "real_gate" not in request.keywords:
        monkeypatch.setattr("digidouble.perception.content.Session", lambda *_, **__: CleanPictures())


@pytest.fixture(autouse=True, scope="session")
def own_certificate(tmp_path_factory):
    """Deliveries of tests are signed by a chain of the tests, not of the person who runs them."""
    before = os.environ.get("DIGIDOUBLE_CONFIG")
    os.environ["DIGIDOUBLE_CONFIG"] = str(tmp_path_factory.mktemp("config"))
    yield
    if before is None:
        del os.environ["DIGIDOUBLE_CONFIG"]
    else:
        os.environ["DIGIDOUBLE_CONFIG"] = before
