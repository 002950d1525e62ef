"""The ablation's own parts: its sources are its own, and the table averages."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import recipes


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return recipes.load("ablation", "run")[0]


def test_a_persona_is_made_of_this_runs_pictures_only(run, talk, tmp_path, monkeypatch):
    """Pictures that another run left in the folder are gone."""
    shop = SimpleNamespace(folder=tmp_path, capture_movie=lambda name: name)
    monkeypatch.setattr(run, "open_footage", lambda movie: talk.footage())
    monkeypatch.setattr(run, "capture", lambda folders, consent: sorted(p.name for p in folders[0].iterdir()))
    monkeypatch.setattr(run, "build_persona", lambda found, name: found)
    left = tmp_path / "sources" / "a-0.4" / "9999.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another run")
    found = run.persona_at(shop, "a", 0.4)
    assert len(found) == run.LOOKS and "9999.png" not in found


def test_the_table_holds_means_over_pairs(run):
    numbers = dict.fromkeys(("identity", "margin", "r", "detail", "flicker", "flicker_full"), 0.25) | {"ms": 10.0}
    text = run.table({"a": {"product": numbers}, "b": {"product": dict.fromkeys(numbers, 0.75) | {"ms": 30.0}}})
    assert text.splitlines()[-1] == "| product | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 20 |"


def test_pictures_are_kept_of_the_same_frames_and_boxes_for_every_row(run, tmp_path):
    """A face box of 40 by 60 px whose centre moves by 3 px a frame; 0.7 of its longer side to every side, cut at the picture's rim."""
    count = 20
    done = [np.full((100, 165, 3), k, np.uint8) for k in range(count)]
    for k, picture in enumerate(done):
        picture[50, 100 + 3 * k - 30] = (255, 0, 0)
    centre = 100 + 3 * np.arange(count) - 30.0
    watched = SimpleNamespace(box=lambda k: (centre[k] - 20, 20.0, centre[k] + 20, 80.0))
    run.save_pictures(tmp_path / "row", "a-b", done, watched)
    names = sorted(p.name for p in (tmp_path / "row").iterdir())
    assert len(names) == run.PICTURES and names[0] == "a-b-0000.png" and names[-1] == "a-b-0019.png"
    for name in names:
        kept, k = cv2.imread(str(tmp_path / "row" / name)), int(name[4:8])
        assert kept.shape == (84, min(84, 165 - (28 + 3 * k)), 3)
        assert kept[42, 42].tolist() == [0, 0, 255], "its middle is the face's, red stays red"
        assert kept[0, 0].tolist() == [k] * 3
