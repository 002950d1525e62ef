"""persona show --turntable, --expressions, and the coverage it reports."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from command_line import cli, left_behind, record, refused

sys.path.insert(0, str(Path(__file__).parents[1] / "shots"))
from scenes import consent, person, persona_of

from digidouble.app import studio
from digidouble.app.coverage_panel import coverage_panel
from digidouble.deliver.labels import read_labels
from digidouble.persona import save_persona
from digidouble.persona.coverage import coverage
from digidouble.schema.mesh import face_model


@pytest.fixture(scope="module")
def double():
    return persona_of(person(6), "Ada", yaws=(0.0, 25.0), atlas_px=128)


@pytest.fixture(scope="module")
def double_file(double, tmp_path_factory) -> Path:
    return save_persona(double, tmp_path_factory.mktemp("double") / "ada.persona")


@pytest.fixture
def small(monkeypatch):
    """Pictures a test can afford."""
    monkeypatch.setattr(studio, "MOVIE_PX", 128)
    monkeypatch.setattr(studio, "CELL_PX", 64)
    monkeypatch.setattr(studio, "TURN_FRAMES", 16)
    monkeypatch.setattr(studio, "ACTION_FRAMES", 2)


def test_sheets_are_labelled_deliveries(double_file, small, tmp_path):
    turn, actions = tmp_path / "turn.png", tmp_path / "actions.jpg"
    shown = cli("persona", "show", double_file, "--turntable", turn, "--expressions", actions, "--json")
    assert shown.exit_code == 0, shown.stderr
    facts = record(shown)
    assert [Path(p).name for p in facts["delivered"]] == ["turn.png", "actions.jpg"]
    assert any("turn right" in text for text in facts["coverage"]["advice"])
    assert not any("turn left" in text for text in facts["coverage"]["advice"])
    for path in (turn, actions):
        assert read_labels(path).complete
        assert path.with_name(path.name + ".delivery.json").is_file()
    # The visible label: white letters at the top left, above the first cell.
    page = cv2.imread(str(turn), cv2.IMREAD_GRAYSCALE)
    head = int(np.ceil(0.13 * page.shape[0]))
    assert page[:head, : page.shape[1] // 3].max() > 200


def test_movies_are_labelled_and_loop(double_file, small, tmp_path):
    turn, actions = tmp_path / "turn.mp4", tmp_path / "actions.mp4"
    shown = cli("persona", "show", double_file, "--turntable", turn, "--expressions", actions)
    assert shown.exit_code == 0, shown.stderr
    assert read_labels(turn).complete and read_labels(actions).complete
    with av.open(str(turn)) as movie:
        assert movie.streams.video[0].average_rate == 24
        frames = [f.to_ndarray(format="rgb24") for f in movie.decode(video=0)]
    assert len(frames) == 16 and frames[0].shape == (128, 128, 3)
    with av.open(str(actions)) as movie:
        count = sum(1 for _ in movie.decode(video=0))
    assert count == 2 * 2 * len(face_model().action_names)


def test_every_action_has_its_name():
    named = studio.named_actions()
    assert len(named) == 52 and len({n for n, _ in named}) == 52
    both = dict(named)
    assert both["jaw_drop_AU26"].sum() == 1 and both["jaw_clench"].sum() == -1


def test_expired_consent_is_refused_before_anything_is_written(double, tmp_path):
    import dataclasses

    old = dataclasses.replace(double, consent=consent(expires=date(2001, 1, 1)))
    path = save_persona(old, tmp_path / "old.persona")
    refused(cli("persona", "show", path, "--turntable", tmp_path / "turn.mp4"), 1, "expired on 2001-01-01")
    assert left_behind(tmp_path) == ["old.persona"]


@pytest.mark.parametrize(
    ("name", "word"), [("turn.gif", ".mp4"), ("turn", "without suffix"), ("t.####.png", "without #"), ("no/turn.png", "does not exist")]
)  # fmt: skip
def test_names_that_cannot_be_written(double_file, tmp_path, name, word):
    refused(cli("persona", "show", double_file, "--turntable", tmp_path / name), 1, word)
    assert left_behind(tmp_path) == []


def test_panel_shows_where_looks_were_taken_from(double):
    covered = coverage(double)
    panel = coverage_panel(double, covered, 1500)
    assert panel.shape[1] == 1500 and panel.dtype == np.uint8
    dots = (np.abs(panel.astype(int) - [236, 196, 84]).max(-1) < 12)[:, :540]
    columns = np.flatnonzero(dots.any(0))
    # One look straight ahead (the middle of the map) and one 25 degrees to the left (the right of the map).
    assert abs(columns.min() - (12 + 260)) < 20 and abs(columns.max() - (12 + 260 + 260 * 25 / 60)) < 30
