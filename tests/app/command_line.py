"""Running `digidouble` inside the test, and in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from digidouble.app.cli import app

CONSENT = """\
subject = "Eileen Collins"
granted_by = "the tests"
scope = ["demo"]
expires = {expires}
evidence = "public domain"
"""


def cli(*arguments: object):
    """`.exit_code`, `.stdout`, `.stderr` of a command."""
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def record(result) -> dict[str, Any]:
    """The one JSON object on standard output."""
    return json.loads(result.stdout)


def refused(result, code: int, *words: str) -> None:
    """The command failed with that code and said all of these words, without a traceback."""
    said = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == code, said
    for word in words:
        assert word in said, (word, said)
    assert "Traceback" not in said


def process(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    """The command as a process of its own, which Ctrl-C reaches even where the tests themselves run in the background."""
    command = [sys.executable, "-m", "digidouble", *map(str, arguments)]
    more.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def left_behind(folder: Path) -> list[str]:
    """Everything in a folder, half-written files included."""
    return sorted(p.name for p in folder.iterdir())


def consent_file(folder: Path, expires: str = "2999-01-01") -> Path:
    path = folder / "consent.toml"
    path.write_text(CONSENT.format(expires=expires), "utf-8")
    return path


def verified(code: int, *arguments: object) -> dict[str, str]:
    """State of every check of `verify`, which has to end with `code`."""
    result = cli("verify", *arguments, "--json")
    assert result.exit_code == code, result.stdout + result.stderr
    return {name: check["state"] for name, check in record(result)["checks"].items()}


def copied(delivery: Path, folder: Path) -> Path:
    """A delivery and its log, in another folder."""
    for file in (delivery, delivery.with_name(f"{delivery.name}.delivery.json")):
        shutil.copy(file, folder)
    return folder / delivery.name
