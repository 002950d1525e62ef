"""A campaign on ten frames of a public clip, with two synthetic people who agreed to advertising and one who did not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from public_pictures import carphone_excerpt

from digidouble.errors import WeightsError
from digidouble.footage import open_footage
from digidouble.performance import analyse
from digidouble.persona import save_persona
from digidouble.schema.persona import Consent

FRAMES = 10
VIEWERS = """id,name,age,region,tags
v1,Ada,22,north,sport;music
v2,Bo,41,south,travel
v3,Cy,30,cn,
v4,Di,25,north,sport
"""
CAMPAIGN = """\
campaign: Autumn
viewers: {table: viewers.csv, key: id}
plates:
  car: {file: car.mp4, performance: car.perf}
personas: {b: b.persona, c: c.persona, film: film.persona}
overlays:
  hello: {text: {en: "Hello {name}", de: "Hallo {name}"}, place: bottom}
rules:
  - name: sporty
    when: {age: {from: 18, below: 30}, tags: {has: sport}}
    use: {cast: c}
defaults: {cast: b, language: en}
output: {name: "{region}/{id}.mp4"}
concurrency: {at_once: 2, workers: 2}
"""


@pytest.fixture(scope="session")
def car(tmp_path_factory) -> Path:
    """A folder with the plate and its analysis."""
    folder = tmp_path_factory.mktemp("car")
    carphone_excerpt(folder / "car.mp4", FRAMES)
    try:
        with open_footage(folder / "car.mp4") as footage:
            analyse(footage, folder / "car.perf")
    except WeightsError as error:
        pytest.skip(f"weights cannot be had here: {error}")
    return folder


@pytest.fixture(scope="session")
def people(persona_b, tmp_path_factory) -> Path:
    """A folder with three personas."""
    from scenes import person, persona_of

    folder = tmp_path_factory.mktemp("people")
    agreed = Consent("Someone", "the tests", ("advertising",), date(2999, 1, 1), "synthetic")
    save_persona(replace(persona_b, consent=agreed), folder / "b.persona")
    save_persona(replace(persona_of(person(5), "c"), consent=agreed), folder / "c.persona")
    save_persona(replace(persona_b, consent=replace(agreed, scope=("film",))), folder / "film.persona")
    return folder


@pytest.fixture
def campaign(car, people, tmp_path) -> Callable[..., Path]:
    """Write a campaign: `campaign(viewers=..., **{text: replacement})` -> its file."""

    def write(viewers: str = VIEWERS, swaps: dict[str, str] | None = None) -> Path:
        for source in (*car.iterdir(), *people.iterdir()):
            if not (tmp_path / source.name).exists():
                shutil.copy2(source, tmp_path / source.name)
        (tmp_path / "viewers.csv").write_text(viewers, "utf-8")
        text = CAMPAIGN
        for old, new in (swaps or {}).items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "campaign.yaml").write_text(text, "utf-8")
        return tmp_path / "campaign.yaml"

    return write
