"""weights list, where, fetch; the root's own options."""

from __future__ import annotations

from command_line import cli, record, refused

from digidouble import __version__
from digidouble.weights import registry


def test_list_names_every_file_with_its_licence():
    facts = record(cli("weights", "list", "--json"))
    assert [w["name"] for w in facts["weights"]] == [e.name for e in (*registry(), *registry("optional"))]
    assert all(w["licence"] and w["training_data"] and len(w["sha256"]) == 64 for w in facts["weights"])
    assert "yunet" in cli("weights", "list").stdout


def test_optional_weights_are_listed_and_not_fetched_unasked(tmp_path, monkeypatch):
    assert {e.name for e in registry("optional")} == {"depth-anything-v2-small", "raft-large"}
    fetched = []
    monkeypatch.setattr("digidouble.app.weights.fetch", lambda name, progress: fetched.append(name) or tmp_path)
    cli("weights", "fetch")
    assert fetched == [e.name for e in registry()]
    monkeypatch.setenv("DIGIDOUBLE_CACHE", str(tmp_path))
    refused(cli("weights", "where", "raft-large"), 1, "digidouble weights fetch raft-large")


def test_absent_and_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIDOUBLE_CACHE", str(tmp_path))
    refused(cli("weights", "where", "yunet"), 1, "digidouble weights fetch yunet")
    for arguments in (("--offline", "weights", "fetch", "yunet"), ("weights", "fetch", "yunet", "--offline")):
        refused(cli(*arguments), 1, "offline", "face_detection_yunet_2023mar_int8bq.onnx", str(tmp_path))
    refused(cli("weights", "where", "nothing"), 1, "known:", "yunet")


def test_version_and_help():
    assert cli("--version").stdout.strip() == f"digidouble {__version__}"
    for command in (
        (),
        ("persona",),
        ("persona", "build"),
        ("perform",),
        ("faces",),
        ("swap",),
        ("demo",),
        ("weights",),
    ):
        shown = cli(*command, "--help")
        assert shown.exit_code == 0 and "Usage" in shown.stdout
    refused(cli("swop"), 2, "swop")


def test_debug_shows_where_an_error_came_from():
    shown = cli("weights", "where", "nothing", "--debug")
    assert shown.exit_code == 1 and "Traceback" in shown.stderr and "WeightsError" in shown.stderr
