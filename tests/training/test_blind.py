"""Blind sheets: every picture lies where the key says, the sides are balanced, and answers are counted for the right side."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import recipes

COUNT = 22
OLD, NEW, TRUTH = 40, 200, 120  # grey levels


@pytest.fixture
def blind() -> ModuleType:
    return recipes.load("ablation", "blind")[0]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Flat pictures; the red channel says which moment it is."""
    found = {}
    for name, level in (("old", OLD), ("new", NEW), ("truth", TRUTH)):
        found[name] = tmp_path / name
        found[name].mkdir()
        for k in range(COUNT):
            picture = np.full((100, 80, 3), level, np.uint8)
            picture[..., 2] = 10 * k
            cv2.imwrite(str(found[name] / f"m{k:02d}.png"), picture)
    return found


def rows_of(blind: ModuleType, out: Path) -> list[np.ndarray]:
    """The sheets cut into pairs, in their order."""
    sheets = sorted(out.glob("sheet_*.png"), key=lambda p: int(p.stem.split("_")[1]))
    return [cv2.imread(str(s))[y : y + blind.HEIGHT] for s in sheets for y in range(0, len(cv2.imread(str(s))), blind.HEIGHT + 6)]  # fmt: skip


def test_pictures_lie_where_the_key_says(blind, folders, tmp_path):
    out = tmp_path / "blind"
    assert blind.make(folders["old"], folders["new"], out, truth=folders["truth"]) == COUNT
    key = json.loads((out / "key.json").read_text())["pairs"]
    rows = rows_of(blind, out)
    assert len(rows) == len(key) == COUNT
    wide = blind.HEIGHT * 80 // 100
    for entry, row in zip(key, rows, strict=True):
        places = [row[150, blind.STRIP + k * (wide + 6) + wide // 2].astype(int) for k in range(3)]
        moment = int(entry["picture"][1:3])
        assert all(abs(p[2] - 10 * moment) <= 1 for p in places), "one moment a row"
        wanted = [OLD, TRUTH, NEW] if entry["left"] == "old" else [NEW, TRUTH, OLD]
        assert [p[0] for p in places] == wanted
    lefts = [e["left"] for e in key]
    assert lefts.count("new") == COUNT // 2
    assert [e["picture"] for e in key] != sorted(e["picture"] for e in key)
    assert len(set(itertools.pairwise(lefts))) == 4, "sides do not simply alternate"


def test_answers_count_for_the_side_they_name(blind, folders, tmp_path):
    out = tmp_path / "blind"
    blind.make(folders["old"], folders["new"], out, seed=4)
    key = {e["pair"]: e["left"] for e in json.loads((out / "key.json").read_text())["pairs"]}
    worse = {}
    for (
        pair,
        left,
    ) in (
        key.items()
    ):  # of the first ten the new one is worse, four times without a reason; then the old one; two are equal
        right = {"new": "old", "old": "new"}[left]
        bad = "new" if pair <= 10 else "old"
        worse[pair] = "=" if pair > 20 else "L" if left == bad else "R"
        assert bad in (left, right)
    lines = [f"{p},{w},{'' if p <= 4 else 'soft'}" for p, w in worse.items()]
    (out / "answers.csv").write_text("pair,worse,why\n" + "\n".join(lines) + "\n")
    found = blind.score(out)
    assert (found.pairs, found.new_worse, found.unexplained, found.old_worse, found.equal) == (22, 10, 4, 10, 2)
    assert found.chance == 1
    assert blind.Counts(10, 10, 0, 0, 0).chance == pytest.approx(2 / 1024)


def test_too_few_pairs_and_missing_answers_are_refused(blind, folders, tmp_path):
    out = tmp_path / "blind"
    blind.make(folders["old"], folders["new"], out)
    (out / "answers.csv").write_text("pair,worse,why\n1,L,soft\n")
    with pytest.raises(SystemExit, match="22 pairs"):
        blind.score(out)
    for k in range(3):
        (folders["new"] / f"m{k:02d}.png").unlink()
    with pytest.raises(SystemExit, match="19 pictures"):
        blind.make(folders["old"], folders["new"], out)
