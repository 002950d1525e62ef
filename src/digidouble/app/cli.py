"""`digidouble`: the root of the command line."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, NoReturn

import typer

from digidouble import __version__
from digidouble.app import bench, campaign, demo, perform, persona, speak, swap, verify, weights
from digidouble.app.command import Root
from digidouble.app.show import INTERRUPTED

HELP = """Digital doubles of consenting people.

A double takes its identity from photographs of a person who agreed, and its expression, gaze, light and camera from the plate.

    digidouble persona consent-template -o consent.toml          then fill it in

    digidouble persona build portrait.jpg --name Ada --consent consent.toml -o ada.persona

    digidouble swap plate.mp4 --cast main=ada.persona -o double.mp4

Try it first on public-domain pictures: digidouble demo
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"digidouble {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")] = False,
) -> None:
    ctx.obj = Root(offline, debug)


for part in (persona, perform, swap, speak, verify, campaign, demo, weights, bench):
    part.add_to(app)


class Interrupt(KeyboardInterrupt):
    """Ctrl-C. A class of its own: where a KeyboardInterrupt itself passed through code that an extension module runs,
    CPython ends the process with the signal, whatever exit code was asked for (`_Py_UnhandledKeyboardInterrupt`)."""


def main() -> NoReturn:
    """The `digidouble` command. Exit codes: 0 all was done, 1 an error, 2 wrong usage, 130 interrupted, 143 terminated."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored: a background job of a shell
        signal.signal(signal.SIGINT, _interrupted)
    try:
        app(prog_name="digidouble")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _interrupted(number: int, frame: object) -> NoReturn:
    raise Interrupt


def _terminated(number: int, frame: object) -> NoReturn:
    # An exception, so that half-written files are removed on the way out.
    sys.exit(128 + number)
