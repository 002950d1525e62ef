"""What a person sees, and what a machine reads.

People: results on standard output, progress, notes and errors on standard error. Machines (`--json`): exactly one JSON object
on standard output, whatever happens; everything else stays on standard error.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from digidouble.app import stop
from digidouble.errors import DigidoubleError


class _Rate(ProgressColumn):
    """Things a second, once there is something to divide."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._unit}/s" if speed else "", style="progress.data.speed")


class Show:
    """One command's voice."""

    def __init__(self, as_json: bool = False, debug: bool = False) -> None:
        self.as_json, self.debug = as_json, debug
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self.warnings: list[str] = []

    @contextmanager
    def progress(self, what: str, unit: str = "frames") -> Iterator[Callable[[int, int], None]]:
        """A bar with rate and time left; yields the callback that moves it: (done, in all). Without a terminal, a line."""
        if not self.err.is_terminal:
            self.say(what)
            yield lambda done, total: stop.check()
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(what, total=None)

            def step(done: int, total: int) -> None:
                stop.check()
                bar.update(task, completed=done, total=total)

            yield step

    def say(self, text: str) -> None:
        """A line on standard error."""
        self.err.print(Text(text, style="dim"))

    def warn(self, text: str) -> None:
        """A line a person should read; it is part of the JSON record."""
        self.warnings.append(text)
        self.err.print(Text.assemble(("Note: ", "yellow"), text))

    def table(
        self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
    ) -> None:
        """A table on standard output (people only). `numbers`: columns set flush right."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left", header_style="bold")
        for i, head in enumerate(heads):
            table.add_column(head, justify="right" if i in numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.out.print(table)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values on standard output (people only)."""
        if self.as_json:
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in facts.items():
            grid.add_row(Text(name, style="dim"), Text(value))
        self.out.print(grid)

    def done(self, record: Mapping[str, Any], *lines: str) -> None:
        """The end of a command: `record` for machines, `lines` for people."""
        if self.as_json:
            self._json({"ok": True, **record, "warnings": self.warnings})
        for line in () if self.as_json else lines:
            self.out.print(Text(line))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Errors as messages and exit codes: 1 for what a user can mend, 130 for Ctrl-C.

        Raises:
            typer.Exit: with that code.
        """
        try:
            with stop.unmasked():
                yield
        except (DigidoubleError, OSError) as e:
            said = str(e)
            if not isinstance(e, DigidoubleError):
                if e.filename is None:
                    raise
                said = f"{str(e.filename)[:300]}: {e.strerror}"  # a path that the system refuses to look at: name too long, no permission
            if self.debug:
                self.err.print(Text("".join(traceback.format_exception(e)), style="dim"))
            self.err.print(Text.assemble(("Error: ", "bold red"), (said, "red")))
            if self.as_json:
                self._json(
                    {"ok": False, "error": {"kind": type(e).__name__, "message": said}, "warnings": self.warnings}
                )
            raise typer.Exit(1) from e
        except KeyboardInterrupt:
            self.err.print(
                Text(
                    "Interrupted; nothing half-written was left behind. Run the same command again to continue a render.",
                    style="yellow",
                )
            )
            if self.as_json:
                self._json(
                    {"ok": False, "error": {"kind": "Interrupted", "message": "interrupted"}, "warnings": self.warnings}
                )
            raise typer.Exit(stop.INTERRUPTED) from None

    def _json(self, record: Mapping[str, Any]) -> None:
        typer.echo(json.dumps(record, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} in a JSON record")
