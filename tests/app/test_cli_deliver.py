"""`swap` for compositors and editors: passes, a colour config, an edit in and its conform out."""

from __future__ import annotations

import json

import av
import pytest
from command_line import cli, record, refused

from digidouble.footage import open_footage
from digidouble.footage.edit import frames_used, media_of, read_edit


def test_passes(excerpt, astronaut_persona, tmp_path):
    done = cli(
        "swap", excerpt.perf, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mov", "--range", "2:4",
        "--passes", tmp_path / "passes", "--codec", "prores4444", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    names = {p.name for p in (tmp_path / "passes").iterdir()}
    assert names == {"x.0002.exr", "x.0003.exr", "x.0002.json", "x.0003.json", "x.nk", "x.exr.delivery.json"}
    assert len(record(done)["passes"]) == 5
    with av.open(str(tmp_path / "x.mov")) as movie:
        alpha = next(movie.decode(video=0)).to_ndarray(format="yuva444p16le")
    assert alpha.ndim == 3 and alpha[3].max() > 60000 and alpha[3].min() == 0


def test_an_edit(excerpt, astronaut_persona, tmp_path):
    """Two shots of one plate and one that is not there; handles; a conform that finds what was made."""
    (tmp_path / "out").mkdir()
    line = "{0:03d}  A001  V  C  00:00:00:{1:02d} 00:00:00:{2:02d} 00:00:00:00 00:00:00:04\n* FROM CLIP NAME: {3}\n"
    text = (
        line.format(1, 3, 6, "carphone.mp4") + line.format(2, 9, 11, "carphone.mp4") + line.format(3, 0, 2, "gone.mov")
    )
    (tmp_path / "cut.edl").write_text(text)
    arguments = ("swap", tmp_path / "cut.edl", "--media", excerpt.plate.parent, "--cast", f"main={astronaut_persona}")
    done = cli(*arguments, "-o", tmp_path / "out" / "{shot}.mkv", "--handles", 2, "--no-report", "--json")
    assert done.exit_code == 0, done.stderr
    shots = record(done)["shots"]
    assert [s["shot"] for s in shots] == ["carphone", "carphone_2", "gone"] and "no file gone.mov" in shots[2]["why"]
    assert [s.get("frames") for s in shots[:2]] == [[1, 8], [7, 12]]
    with open_footage(tmp_path / "out" / "carphone.mkv") as made:
        assert made.shot.frame_count == 7
        conform = tmp_path / "out" / "cut.conform.edl"
        first = read_edit(conform)[0]
        assert frames_used(first, made.shot).start == 2 and len(frames_used(first, made.shot)) == 3
        assert media_of(first, conform, None).samefile(tmp_path / "out" / "carphone.mkv")
    refused(cli(*arguments, "-o", tmp_path / "out" / "x.mkv"), 2, "{shot}")
    refused(cli(*arguments, "-o", tmp_path / "out" / "{shot}.mkv", "--range", "0:2"), 2, "its own ranges")
    refused(
        cli(
            "swap", excerpt.plate, "--media", tmp_path, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mkv"
        ),
        2,
        "--media",
    )


def test_a_colour_config(excerpt, astronaut_persona, tmp_path):
    pytest.importorskip("PyOpenColorIO")
    arguments = ("--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mkv", "--range", "0:2", "--json")
    space = ("--ocio", "ocio://default", "--ocio-plate", "Gamma 2.4 Encoded Rec.709")
    done = cli("swap", excerpt.plate, *arguments, *space)
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "x.mkv.delivery.json").read_text())["frames"] == 2
    refused(cli("swap", excerpt.plate, *arguments, "--ocio", "ocio://default"), 2, "go together")
    refused(cli("swap", excerpt.plate, *arguments, *space[:3], "Nothing"), 1, "no colour space")
    refused(cli("swap", excerpt.perf, *arguments, *space), 1, "give the same --ocio")
