"""`digidouble`: the root of the command line."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from digidouble import __version__
from digidouble.app import bench, campaign, demo, perform, persona, speak, stop, swap, verify, weights
from digidouble.app.command import Root

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


def main() -> NoReturn:
    """The `digidouble` command. Exit codes: 0 all was done, 1 an error, 2 wrong usage, 130 interrupted, 143 terminated."""
    stop.listen()
    try:
        app(prog_name="digidouble")
    except KeyboardInterrupt:
        sys.exit(stop.INTERRUPTED)
    sys.exit(0)
