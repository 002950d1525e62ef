"""`digidouble verify`: what labels a file carries, and whether they are what was delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from digidouble.app.command import command
from digidouble.app.show import Show
from digidouble.errors import SettingsError

EXIT_CODES = {"intact": 0, "altered": 3, "incomplete": 4}
MAX_PEM_BYTES = 1 << 20


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(
        app, "verify", None,
        "Exit codes: 0 intact; 3 something was altered; 4 nothing contradicts, but a label is missing; 1 it could not be checked. "
        "Example: digidouble verify double.mp4 --json",
    )(verify)  # fmt: skip


def verify(
    show: Show,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A movie, a picture, or a sequence (double.####.exr); of any tool.")],
    persona: Annotated[Path | None, typer.Option("--persona", metavar="X.persona", help="The persona that should be in it.")] = None,
    trust: Annotated[Path | None, typer.Option("--trust", metavar="ROOTS.pem", help="Root certificates that the signer must lead to.")] = None,
    log: Annotated[Path | None, typer.Option("--log", metavar="FILE", help="The delivery log, if it is not beside OUT.")] = None,
) -> None:  # fmt: skip
    """Read every label back: C2PA, AIGC, IPTC, visible label, invisible mark, hashes on record."""
    from digidouble.deliver.verify import verify as check

    wanted = _persona_sha256(persona) if persona else None
    with show.progress("verifying"):
        verdict = check(out, wanted, _anchors(trust) if trust else (), log)
    rows = [(c.name, c.state, c.said) for c in verdict.checks]
    show.table(f"{out}: {verdict.state}", ("label", "state", "what was found"), rows)
    checks: dict[str, Any] = {c.name: {"state": c.state, "said": c.said, **c.facts} for c in verdict.checks}
    show.done({"path": out, "state": verdict.state, "checks": checks})
    if code := EXIT_CODES[verdict.state]:
        raise typer.Exit(code)


def _persona_sha256(path: Path) -> str:
    from digidouble.persona import load_persona

    return load_persona(path).sha256


def _anchors(path: Path) -> tuple[bytes, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); expected root certificates as PEM") from error
    if len(data) > MAX_PEM_BYTES or b"BEGIN CERTIFICATE" not in data:
        raise SettingsError(f"{path}: expected root certificates as PEM, at most {MAX_PEM_BYTES} bytes")
    return (data,)
