"""Who sees what: rules from a viewer's attributes to a choice.

`match: first` takes the first rule whose conditions hold; `match: weighted` draws one of all that hold, by weight. The draw is a
hash of the campaign's seed and the viewer's key: the same viewer gets the same version in every run, whatever else is in the table.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from digidouble.campaign.document import Item
from digidouble.campaign.table import Viewer

_TIME = re.compile(r"(?:\d{4}-\d{2}-\d{2}[T ])?([01]\d|2[0-3]):([0-5]\d)(?::[0-5]\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?")
_NUMBER = re.compile(r"[-+]?\d{1,15}(\.\d{1,15})?")
TAGS = ("has", "has_any", "has_all", "has_none")


@dataclass(frozen=True)
class Test:
    """One condition on one attribute. `kind`: in, range, has_any, has_all, has_none or empty."""

    column: str
    kind: str
    values: tuple[Any, ...]
    parse: str = ""

    def holds(self, cell: str) -> bool:
        """Raises ValueError: the cell is not what a range compares (a word where a number belongs)."""
        if self.kind == "in":
            return cell.casefold() in self.values
        if self.kind == "empty":
            return (cell == "") is self.values[0]
        if self.kind == "range":
            return cell != "" and _inside(
                _value(self.parse, cell, self.column), *self.values, wraps=self.parse == "time"
            )
        tags = {t.strip().casefold() for t in re.split(r"[;|,]", cell)}
        wanted = set(self.values)
        return {"has_any": bool(tags & wanted), "has_all": wanted <= tags, "has_none": not tags & wanted}[self.kind]


@dataclass(frozen=True)
class Use:
    """What a rule (or the defaults) decides; None leaves it to the defaults."""

    plate: str | None = None
    cast: tuple[tuple[str, str], ...] | None = None
    language: str | None = None
    overlays: tuple[str, ...] | None = None

    def over(self, other: Use) -> Use:
        """This, and the other's where this says nothing."""
        names = ("plate", "cast", "language", "overlays")
        return Use(*(getattr(other if getattr(self, n) is None else self, n) for n in names))


@dataclass(frozen=True)
class Rule:
    """Conditions (all must hold), what then is used, and its weight."""

    name: str
    tests: tuple[Test, ...]
    use: Use
    weight: float = 1.0

    def holds(self, viewer: Viewer) -> bool:
        return all(t.holds(viewer.cells[t.column]) for t in self.tests)


def choose(rules: tuple[Rule, ...], weighted: bool, seed: str, viewer: Viewer) -> Rule | None:
    """The rule for a viewer; None when none holds.

    Raises:
        ValueError: a cell cannot be compared; the message names it.
    """
    if not weighted:
        return next((r for r in rules if r.holds(viewer)), None)
    fitting = [r for r in rules if r.holds(viewer)]
    total = sum(r.weight for r in fitting)
    if total <= 0:
        return None
    digest = hashlib.sha256(f"{seed}\0{viewer.key}".encode()).digest()
    drawn = int.from_bytes(digest[:8], "big") / 2**64 * total
    for rule in fitting:
        drawn -= rule.weight
        if drawn < 0:
            return rule
    return fitting[-1]


def read_tests(when: Item) -> tuple[Test, ...]:
    """The conditions of a `when:`. Raises CampaignError with the place."""
    return tuple(_test(column, item) for column, item in when.mapping().items())


def _test(column: str, item: Item) -> Test:
    if isinstance(item.value, list):
        return Test(column, "in", tuple(i.text().casefold() for i in item.items()))
    if not isinstance(item.value, dict):
        return Test(column, "in", (item.text().casefold(),))
    fields = item.fields("from", "below", "empty", *TAGS)
    if len(fields) == 1 and "empty" in fields:
        return Test(column, "empty", (fields["empty"].boolean(),))
    tags = [name for name in fields if name in TAGS]
    if len(fields) == 1 and tags:
        given = fields[tags[0]]
        words = given.items() if isinstance(given.value, list) else [given]
        kind = "has_any" if tags[0] == "has" else tags[0]
        return Test(column, kind, tuple(w.text().casefold() for w in words))
    if fields and set(fields) <= {"from", "below"}:
        return _range(column, item, fields)
    raise item.error("expected from and/or below, or one of empty, " + ", ".join(TAGS))


def _range(column: str, item: Item, fields: dict[str, Item]) -> Test:
    kinds = {name: _kind(f.text()) for name, f in fields.items()}
    for name, kind in kinds.items():
        if not kind:
            raise fields[name].error(
                f"{fields[name].text()!r}: expected a number, a time (06:30) or a date (2026-01-31)"
            )
    if len(set(kinds.values())) != 1:
        raise item.error(f"from and below are of two kinds ({' and '.join(kinds.values())})")
    parse = next(iter(kinds.values()))
    low, high = (_value(parse, fields[n].text(), column) if n in fields else None for n in ("from", "below"))
    if low is not None and high is not None and low >= high and parse != "time":
        raise item.error("from is not below `below`: nobody is in there")
    return Test(column, "range", (low, high), parse)


def _kind(text: str) -> str:
    for kind, pattern in (("number", _NUMBER), ("time", _TIME), ("date", _DATE)):
        if pattern.fullmatch(text):
            return kind
    return ""


def _value(kind: str, text: str, column: str) -> Any:
    """Something that compares: a number, minutes of the day, or an ISO date."""
    pattern = {"number": _NUMBER, "time": _TIME, "date": _DATE}[kind]
    match = pattern.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{column}: {text[:60]!r} is not a {kind}")
    if kind == "number":
        return float(text)
    return 60.0 * int(match[1]) + int(match[2]) if kind == "time" else match[1]


def _inside(value: Any, low: Any, high: Any, wraps: bool) -> bool:
    if wraps and low is not None and high is not None and low > high:  # 22:00 to 06:00
        return value >= low or value < high
    return (low is None or value >= low) and (high is None or value < high)
