"""A YAML file as values that know where they stand, read so that a stranger's file can do no harm.

Only the safe core of YAML: mappings, lists, texts, numbers, true, false, null. No tags, no anchors or aliases (what "billion laughs"
are made of), no key twice, bounded size, depth and number of values. Every value keeps its line and column for messages.
`no`, `12:30` and `2026-01-31` are texts here, as people expect, and not False, 750 and a date as in YAML 1.1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digidouble.errors import CampaignError

MAX_BYTES = 1 << 20
MAX_DEPTH = 12
MAX_VALUES = 50_000
_NUMBER = re.compile(r"[-+]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})([eE][-+]?\d{1,2})?")


@dataclass(frozen=True)
class Spot:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def error(self, message: str) -> CampaignError:
        return CampaignError(f"{self.file}:{self.line}:{self.column}: {message}")


@dataclass(frozen=True)
class Item:
    """A value: dict[str, Item], list[Item], str, int, float, bool or None. `keys`: where each key of a mapping stands."""

    value: Any
    spot: Spot
    keys: dict[str, Spot]

    def error(self, message: str) -> CampaignError:
        return self.spot.error(message)

    def _expect(self, kind: type | tuple[type, ...], what: str) -> Any:
        if not isinstance(self.value, kind) or (isinstance(self.value, bool) and kind is not bool):
            raise self.error(f"expected {what}, got {_shown(self.value)}")
        return self.value

    def fields(self, *known: str, need: tuple[str, ...] = ()) -> dict[str, Item]:
        """The mapping, all of whose keys are known and which has those needed."""
        found = self.mapping()
        for name in found:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise self.keys[name].error(f"{name!r} is not known here; expected some of {', '.join(known)}.{hint}")
        for name in need:
            if name not in found:
                raise self.error(f"{name} is missing")
        return found

    def mapping(self) -> dict[str, Item]:
        return self._expect(dict, "names with values (name: value)")

    def items(self) -> list[Item]:
        return self._expect(list, "a list (- value)")

    def text(self, longest: int = 500) -> str:
        """A text; numbers and true/false are read as they are written."""
        if isinstance(self.value, (bool, int, float)):
            return str(self.value).lower()
        text = self._expect(str, "a text")
        if not text.strip() or len(text) > longest:
            raise self.error(f"expected a text of 1 to {longest} characters, got {len(text)}")
        return text

    def number(self, low: float, high: float) -> float:
        value = self._expect((int, float), "a number")
        if not low <= value <= high:
            raise self.error(f"expected {low:g} to {high:g}, got {value:g}")
        return float(value)

    def integer(self, low: int, high: int) -> int:
        value = self.number(low, high)
        if value != int(value):
            raise self.error(f"expected a whole number, got {value:g}")
        return int(value)

    def boolean(self) -> bool:
        return self._expect(bool, "true or false")

    def one_of(self, words: tuple[str, ...]) -> str:
        text = self.text()
        if text not in words:
            raise self.error(f"{text!r}: expected one of {', '.join(words)}")
        return text


def read_document(path: Path) -> Item:
    """The file's one document.

    Raises:
        CampaignError: with line and column: not YAML, not safe, too large. Also when the file cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CampaignError(f"{path}: larger than {MAX_BYTES >> 20} MiB; a campaign file lists rules, not viewers")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise CampaignError(f"{path}: is not UTF-8 text (byte {e.start}); save it as UTF-8") from e
    except OSError as e:
        raise CampaignError(f"{path}: cannot be read ({e.strerror})") from e
    return _parsed(text, str(path))


def _parsed(text: str, file: str) -> Item:
    yaml = _yaml()
    try:
        events = _Events(yaml, yaml.parse(text, Loader=yaml.SafeLoader), file)
        events.expect(yaml.StreamStartEvent)
        if isinstance(events.peek(), yaml.StreamEndEvent):
            raise CampaignError(f"{file}: is empty")
        events.expect(yaml.DocumentStartEvent)
        item = events.value(1)
        events.expect(yaml.DocumentEndEvent)
        if not isinstance(events.peek(), yaml.StreamEndEvent):
            raise events.spot(events.peek()).error("a second document starts here; a campaign file holds one")
        return item
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        said = " ".join(part for part in (e.context, e.problem) if part)
        spot = Spot(file, mark.line + 1, mark.column + 1) if mark else Spot(file, 1, 1)
        raise spot.error(f"this is not YAML: {said}") from e
    except yaml.YAMLError as e:  # characters that YAML does not allow
        raise CampaignError(f"{file}: this is not YAML: {str(e).splitlines()[0]}") from e


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as e:
        raise CampaignError("campaigns need PyYAML: pip install 'digidouble[campaign]'") from e
    return yaml


class _Events:
    """Values from a stream of parser events. Nothing is composed or constructed, so nothing can be expanded."""

    def __init__(self, yaml: Any, events: Iterator[Any], file: str) -> None:
        self._yaml, self._events, self._file = yaml, events, file
        self._next: Any = None
        self._count = 0

    def peek(self) -> Any:
        if self._next is None:
            self._next = next(self._events)
        return self._next

    def take(self) -> Any:
        event, self._next = self.peek(), None
        return event

    def expect(self, kind: type) -> None:
        event = self.take()
        if not isinstance(event, kind):
            raise self.spot(event).error("this is not one YAML document")

    def spot(self, event: Any) -> Spot:
        return Spot(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def value(self, depth: int) -> Item:
        yaml, event = self._yaml, self.take()
        spot = self.spot(event)
        self._count += 1
        if self._count > MAX_VALUES:
            raise spot.error(f"more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise spot.error(f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise spot.error("anchors (&) and aliases (*) are not allowed; write the value out")
        if getattr(event, "tag", None):
            raise spot.error(f"tags are not allowed ({event.tag[:60]}); write the plain value")
        if isinstance(event, yaml.ScalarEvent):
            return Item(_scalar(event.value, event.implicit[0]), spot, {})
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(self.peek(), yaml.SequenceEndEvent):
                items.append(self.value(depth + 1))
            self.take()
            return Item(items, spot, {})
        return self._mapping(spot, depth)

    def _mapping(self, spot: Spot, depth: int) -> Item:
        yaml = self._yaml
        values: dict[str, Item] = {}
        keys: dict[str, Spot] = {}
        while not isinstance(self.peek(), yaml.MappingEndEvent):
            if not isinstance(self.peek(), (yaml.ScalarEvent, yaml.AliasEvent)):
                raise self.spot(self.peek()).error("expected a name before the colon")
            written = self.peek().value if isinstance(self.peek(), yaml.ScalarEvent) else ""
            key = self.value(depth + 1)
            if written in values:
                raise key.error(f"{written!r} is given twice (first in line {keys[written].line})")
            if not written or len(written) > 200:
                raise key.error("expected a name of 1 to 200 characters before the colon")
            keys[written] = key.spot
            values[written] = self.value(depth + 1)
        self.take()
        return Item(values, spot, keys)


def _scalar(text: str, plain: bool) -> str | int | float | bool | None:
    if not plain:
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text) and not re.match(r"[-+]?0\d", text):  # 007 is a code, not seven
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    return text


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "names with values"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)[:80]
