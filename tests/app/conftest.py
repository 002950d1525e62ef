"""Public-domain people and a clip, analysed once for every test that needs them. Nothing here needs ../shared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from public_pictures import carphone, carphone_excerpt, package_file

from digidouble.app import analysed
from digidouble.capture import capture
from digidouble.errors import WeightsError
from digidouble.footage import open_footage
from digidouble.performance import analyse
from digidouble.persona import build_persona, save_persona
from digidouble.schema.persona import Consent
from digidouble.weights import set_offline

EXCERPT_FRAMES = 12


@dataclass(frozen=True)
class Excerpt:
    """A few frames of a man who talks in a car (176x144), and their analysis."""

    plate: Path
    perf: Path


@pytest.fixture(scope="session")
def astronaut_png() -> Path:
    """512x512, one face."""
    return package_file("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def faceless_png() -> Path:
    """A cup of coffee."""
    return package_file("skimage", "data/coffee.png")


@pytest.fixture(scope="session")
def carphone_mp4() -> Path:
    """120 frames of 176x144, a man who talks in a car."""
    return carphone()


@pytest.fixture(scope="session")
def excerpt(tmp_path_factory) -> Excerpt:
    folder = tmp_path_factory.mktemp("excerpt")
    plate = carphone_excerpt(folder / "carphone.mp4", EXCERPT_FRAMES)
    try:
        with open_footage(plate) as footage:
            return Excerpt(plate, analyse(footage, folder / "carphone.perf"))
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")


@pytest.fixture(scope="session")
def astronaut_persona(astronaut_png, tmp_path_factory) -> Path:
    """Consent: scope demo and film, until 2999."""
    consent = Consent("Eileen Collins", "the tests", ("demo", "film"), date(2999, 1, 1), "public domain: NASA portrait")
    try:
        looks = capture([astronaut_png], consent)
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")
    return save_persona(build_persona(looks, "Collins"), tmp_path_factory.mktemp("persona") / "collins.persona")


@pytest.fixture(autouse=True)
def analyses_cached_here(tmp_path_factory, monkeypatch):
    """Analyses are cached in a folder of the test, not of the person who runs it. Weights stay where they are."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(analysed, "cache_folder", lambda: folder)
    yield folder
    set_offline(None)
