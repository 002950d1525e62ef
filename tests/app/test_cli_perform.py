"""perform and faces."""

from __future__ import annotations

import shutil

import cv2
from command_line import cli, left_behind, record, refused

from digidouble.performance import PerformSettings, load_performance


def test_perform_writes_what_faces_shows(excerpt, tmp_path):
    perf, sheet = tmp_path / "x.perf", tmp_path / "faces.png"
    made = cli("perform", excerpt.plate, "-o", perf, "--json")
    assert made.exit_code == 0, made.stderr
    facts = record(made)
    assert facts["frames"] == 12
    assert facts["tracks"] == [{"id": 1, "start": 0, "end_exclusive": 12, "seen_frames": 12, "weight": 1.0}]
    performance = load_performance(perf)
    assert PerformSettings(**performance.settings) == PerformSettings()  # defaults are the dataclass' own
    drawn = cli("faces", perf, "-o", sheet, "--crops", 3, "--json")
    assert drawn.exit_code == 0, drawn.stderr
    assert record(drawn)["tracks"] == facts["tracks"]
    picture = cv2.imread(str(sheet))
    assert 400 < picture.shape[1] < 900  # three faces beside each other
    assert picture[60:200].std() > 30


def test_faces_draws_every_sense(excerpt, tmp_path):
    """From a performance that does not keep them, and from one that does: the same pictures."""
    perf, names = tmp_path / "x.perf", ["depth", "flow", "matte", "rgb"]
    made = cli("perform", excerpt.plate, "-o", perf, "--modalities", "--json")
    assert made.exit_code == 0, made.stderr
    assert record(made)["modalities"]["flow"] == "dis" and record(made)["modalities"]["depth"].startswith("mesh")
    for source, folder, said in ((excerpt.perf, "now", "measured now"), (perf, "kept", "as kept")):
        drawn = cli("faces", source, "--passes", tmp_path / folder, "--crops", 2, "--json")
        assert drawn.exit_code == 0, drawn.stderr
        assert said in record(drawn)["passes"]["how"]
        assert left_behind(tmp_path / folder / "track-1") == [f"frame-{i:06d}-{n}.png" for i in (0, 11) for n in names]
        sheet = cv2.imread(str(tmp_path / folder / "track-1.png"))
        assert 800 < sheet.shape[1] < 900 and sheet.shape[0] > 450  # four pictures beside each other, two frames
    for name in names:
        now, kept = (
            cv2.imread(str(tmp_path / f / f"track-1/frame-000011-{name}.png")).astype(int) for f in ("now", "kept")
        )
        assert now.shape == (128, 128, 3) and now.std() > 5 and abs(now - kept).mean() < 2
    refused(cli("faces", perf), 2, "--passes")
    refused(cli("faces", perf, "--passes", perf), 1, "is a file")
    refused(cli("perform", excerpt.plate, "-o", perf, "--modalities", "--flow", "raft"), 2, ".onnx")
    refused(
        cli("perform", excerpt.plate, "-o", perf, "--modalities", "--flow", tmp_path / "no.onnx"), 1, "no such model"
    )


def test_settings_reach_the_analysis(excerpt, tmp_path):
    perf = tmp_path / "x.perf"
    assert cli("perform", excerpt.plate, "-o", perf, "--detect-every", 3, "--smoothing", 0.5).exit_code == 0
    assert load_performance(perf).settings["detect_every"] == 3
    refused(cli("perform", excerpt.plate, "-o", perf, "--detect-every", 0), 2, "1..1000")


def test_plate_without_a_face_is_an_answer(faceless_png, tmp_path):
    perf = tmp_path / "x.perf"
    made = cli("perform", faceless_png, "-o", perf, "--json")
    assert made.exit_code == 0 and record(made)["tracks"] == []
    assert "no face" in record(made)["warnings"][0]
    refused(cli("faces", perf, "-o", tmp_path / "x.png"), 1, "no face")


def test_faces_of_a_plate_that_was_moved_or_changed(excerpt, faceless_png, tmp_path):
    plate, perf, sheet = tmp_path / "plate.mp4", tmp_path / "x.perf", tmp_path / "x.png"
    shutil.copy(excerpt.plate, plate)
    assert cli("perform", plate, "-o", perf).exit_code == 0
    moved = plate.rename(tmp_path / "moved.mp4")
    refused(cli("faces", perf, "-o", sheet), 1, "no such file", "--plate")
    assert cli("faces", perf, "-o", sheet, "--plate", moved).exit_code == 0
    sheet.unlink()
    refused(cli("faces", perf, "-o", sheet, "--plate", faceless_png), 1, "another plate")
    assert left_behind(tmp_path) == ["moved.mp4", "x.perf"]


def test_output_that_cannot_be_written(excerpt, tmp_path):
    refused(cli("perform", excerpt.plate, "-o", tmp_path), 1, "is a folder")
    assert left_behind(tmp_path) == []
