"""Command-line options made from the frozen settings: names, types, defaults and help have one home, the dataclass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from fractions import Fraction
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from digidouble.deliver.settings import Quality
from digidouble.errors import SettingsError
from digidouble.farm.settings import check_workers
from digidouble.schema.persona import SCOPES
from digidouble.schema.time import FrameRange, FrameRate


@dataclass(frozen=True)
class Options:
    """Some fields of a settings dataclass as options of a command.

    Attributes:
        settings: the dataclass.
        only: the fields offered, in this order.
        named: field -> option, where they differ (`frame_range` -> `--range`).
        panel: heading of these options in the help.
        defaults: field -> default, where the command's differs from the dataclass'.
    """

    settings: type
    only: tuple[str, ...]
    panel: str
    named: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self) -> list[inspect.Parameter]:
        """One keyword parameter for each field, in the form that typer reads."""
        hints, help_of = get_type_hints(self.settings), attribute_help(self.settings)
        known = {f.name: f for f in fields(self.settings)}
        return [self._parameter(known[name], hints[name], help_of[name]) for name in self.only]

    def _parameter(self, f: Field[Any], hint: Any, text: str) -> inspect.Parameter:
        default = self.defaults.get(f.name, f.default)
        if default is MISSING:
            raise TypeError(f"{self.settings.__name__}.{f.name} has no plain default")
        flag = self.named.get(f.name, "--" + f.name.replace("_", "-"))
        if hint is bool:
            flag = f"{flag}/--no-{flag.removeprefix('--')}"
        kind, extra = _cli_type(f.name, hint)
        option = typer.Option(flag, help=re.sub(r"\bNone\b", "not given", text), rich_help_panel=self.panel, **extra)
        return inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )

    def build(self, values: dict[str, Any], more: Mapping[str, Any] | None = None) -> Any:
        """The settings from a command's values (which are taken out of `values`).

        Raises:
            typer.BadParameter: a value is outside its range.
        """
        chosen = {name: values.pop(name) for name in self.only}
        try:
            return self.settings(**chosen, **(more or {}))
        except SettingsError as e:
            raise typer.BadParameter(str(e)) from e


def attribute_help(settings: type) -> dict[str, str]:
    """Field -> its sentence in the `Attributes:` section of the class docstring."""
    section = (inspect.getdoc(settings) or "").partition("Attributes:")[2]
    text = " ".join(section.split())
    names = "|".join(f.name for f in fields(settings))
    found: dict[str, str] = {}
    marks = list(re.finditer(rf"(?:(?<=\s)|^)((?:{names})(?:, (?:{names}))*): ", text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        sentence = text[mark.end() : end].strip()
        for name in mark.group(1).split(", "):
            found[name] = sentence[:1].upper() + sentence[1:]
    return found


def parse_workers(text: str | None) -> int | str | None:
    """`--workers`: a number of workers on this machine, or a Ray cluster; None when it is not given.

    Raises:
        typer.BadParameter: neither.
    """
    if text is None:
        return None
    workers = _count_or_address(text)
    try:
        check_workers(workers)
    except SettingsError as e:
        raise typer.BadParameter(str(e), param_hint="--workers") from e
    return workers


def _cli_type(name: str, hint: Any) -> tuple[Any, dict[str, Any]]:
    """The annotation typer understands and what else it must be told."""
    optional = get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    inner = next(a for a in get_args(hint) if a is not NoneType) if optional else hint
    if name == "purpose":
        return hint, {"parser": _one_of(SCOPES, "purpose"), "metavar": "|".join(SCOPES)}
    if name == "workers":
        return str, {"parser": _workers, "metavar": "N|ray://HOST:PORT|ray://local"}
    if name == "quality":
        return str, {"parser": _one_of(get_args(Quality), "quality"), "metavar": "|".join(get_args(Quality))}
    if inner is FrameRange:
        return hint, {"parser": _saying_why(FrameRange.parse), "metavar": "A:B"}
    if inner is FrameRate:
        return hint, {
            "parser": _saying_why(lambda text: FrameRate(Fraction(text))),
            "metavar": "FPS",
            "show_default": "24",
        }
    return hint, {}


def _saying_why(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def parsed(text: Any) -> Any:
        if not isinstance(text, str):  # typer parses defaults too
            return text
        try:
            return parse(text)
        except (ValueError, ZeroDivisionError) as e:
            raise typer.BadParameter(str(e)) from e

    return parsed


def _one_of(words: tuple[str, ...], what: str) -> Callable[[Any], Any]:
    def parse(text: str) -> str:
        if text not in words:
            raise SettingsError(f"{what} {text!r}: expected one of {', '.join(words)}")
        return text

    return _saying_why(parse)


def _count_or_address(text: str) -> int | str:
    return int(text[:9]) if text.isascii() and text.isdecimal() else text


_workers = _saying_why(_count_or_address)
