"""What all commands share: `--json`, `--offline`, `--debug`, settings as options, errors as exit codes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from digidouble.app.options import Options
from digidouble.app.show import Show
from digidouble.weights import set_offline

Flag = inspect.Parameter.KEYWORD_ONLY
PANEL = "Everywhere"


@dataclass(frozen=True)
class Root:
    """What was said before the command's name."""

    offline: bool = False
    debug: bool = False


def command(
    app: typer.Typer, name: str, settings: Mapping[str, Options] | None = None, epilog: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command.

    The function takes `show: Show`, its own annotated parameters, and one parameter for each entry of `settings`, which
    receives the finished dataclass.
    """
    groups = dict(settings or {})

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        kept = [p.replace(kind=Flag) for p in own.values() if p.name != "show" and p.name not in groups]
        offered = [p for group in groups.values() for p in group.parameters()]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            root = values.pop("ctx").find_root().obj or Root()
            show = Show(values.pop("json"), values.pop("debug") or root.debug)
            set_offline(True if values.pop("offline") or root.offline else None)
            built = {key: group.build(values) for key, group in groups.items()}
            with show.failures():
                function(show=show, **values, **built)

        context = inspect.Parameter("ctx", Flag, annotation=typer.Context)
        signature = inspect.Signature([context, *kept, *offered, *_common()])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        del run.__wrapped__
        app.command(name, epilog=epilog, no_args_is_help=any(p.default is inspect.Parameter.empty for p in kept))(run)
        return function

    return register


def _common() -> list[inspect.Parameter]:
    def flag(name: str, text: str) -> inspect.Parameter:
        option = typer.Option(f"--{name}", help=text, rich_help_panel=PANEL)
        return inspect.Parameter(name, Flag, default=False, annotation=Annotated[bool, option])

    return [
        flag("json", "Print one JSON object on standard output; everything else goes to standard error."),
        flag("offline", "Never touch the network; say which model file is missing instead."),
        flag("debug", "Show where in the program an error came from."),
    ]
