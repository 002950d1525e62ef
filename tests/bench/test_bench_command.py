"""The command line of the bench."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from digidouble import weights
from digidouble.app.cli import app
from digidouble.bench import referees


@pytest.mark.parametrize(
    ("before", "after", "offline"), [([], [], False), (["--offline"], [], True), ([], ["--offline"], True)]
)
def test_offline_reaches_the_second_judge(monkeypatch, tmp_path, before, after, offline):
    asked: list[bool] = []
    monkeypatch.delenv("DIGIDOUBLE_OFFLINE", raising=False)
    monkeypatch.setattr(referees, "fingerprints", lambda *_: {})
    monkeypatch.setattr(referees, "second_network", lambda tell: asked.append(weights.is_offline()))
    try:
        done = CliRunner().invoke(app, [*before, "bench", "identity", "--clips", str(tmp_path / "none"), *after])
    finally:
        weights.set_offline(None)
    assert done.exit_code == 1 and asked == [offline]


def test_speed_needs_no_second_judge(monkeypatch, tmp_path):
    monkeypatch.setattr(referees, "fingerprints", lambda *_: {})
    monkeypatch.setattr(referees, "second_network", lambda tell: pytest.fail("asked for"))
    done = CliRunner().invoke(app, ["bench", "speed", "--clips", str(tmp_path / "none")])
    assert done.exit_code == 1
