"""`campaign.yaml` as it is meant: plates, personas, viewers, overlays, rules, output, budget. docs/campaign.md has the schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digidouble.campaign.document import Item, read_document
from digidouble.campaign.naming import read_template
from digidouble.campaign.rules import Rule, Test, Use, read_tests
from digidouble.campaign.table import Table, read_table
from digidouble.deliver.overlay import MAX_TEXT, PLACES, TextOverlay
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import DigidoubleError, SettingsError
from digidouble.render import LookSettings
from digidouble.schema.time import FrameRange

PURPOSE = "advertising"
MAX_RULES = 1000
MAX_AT_ONCE = 64
OWN_FIELDS = ("row", "key", "variant", "plate", "language")
_NAME = re.compile(r"[\w][\w .-]{0,63}")
_FIELD = re.compile(r"\{([^{}]*)\}")
LOOK = ("keep_tone", "wrinkles", "detail_match", "grain", "motion_blur")
DELIVERY = ("codec", "crf", "audio", "visible_label", "label_corner", "content_producer")


@dataclass(frozen=True)
class PlateSource:
    """A plate: file, analysis if there is one already, part of it that is used."""

    name: str
    file: Path
    performance: Path | None = None
    frame_range: FrameRange | None = None


@dataclass(frozen=True)
class OverlaySource:
    """An overlay whose text has fields, in one language ("") or several; `style` is an example with everything but the text."""

    name: str
    texts: Mapping[str, str]
    style: TextOverlay


@dataclass(frozen=True)
class Budget:
    """What a run may spend.

    Attributes:
        variants: unique renders; more are refused before anything is rendered.
        seconds: of rendering in one run; what does not fit is left for the next.
        price_per_hour: of this machine, for the estimate.
    """

    variants: int = 10_000
    seconds: float | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Campaign:
    """A campaign file, checked. Paths are absolute; `viewers` is the table read."""

    file: Path
    name: str
    viewers: Table
    plates: Mapping[str, PlateSource]
    personas: Mapping[str, Path]
    overlays: Mapping[str, OverlaySource]
    rules: tuple[Rule, ...]
    defaults: Use
    weighted: bool
    seed: str
    template: str
    place: str
    budget: Budget = field(default_factory=Budget)
    at_once: int = 8
    workers: int = 0
    look: LookSettings = field(default_factory=LookSettings)
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


def read_campaign(path: Path) -> Campaign:
    """The campaign in a file, with its table of viewers.

    Raises:
        CampaignError: with line and column.
    """
    path = path.absolute()
    top = read_document(path).fields(
        "campaign", "viewers", "plates", "personas", "overlays", "rules", "match", "seed", "defaults", "output",
        "budget", "concurrency", "look", "delivery", need=("viewers", "plates", "personas", "output"),
    )  # fmt: skip
    folder = path.parent
    table_of = top["viewers"].fields("table", "key", need=("table", "key"))
    file = _file(table_of["table"], folder)
    table = read_table(file, table_of["key"].text())
    plates = {n: _plate(n, i, folder) for n, i in _named(top["plates"]).items()}
    personas = {n: _file(i, folder) for n, i in _named(top["personas"]).items()}
    overlays = (
        {n: _overlay(n, i, folder, table) for n, i in _named(top["overlays"]).items()} if "overlays" in top else {}
    )
    reader = _Uses(plates, personas, overlays)
    rules = _rules(top["rules"], reader, table) if "rules" in top else ()
    defaults = reader.read(top["defaults"]) if "defaults" in top else Use()
    template, place = _output(top["output"], table)
    at_once, workers = _concurrency(top.get("concurrency"))
    name = top["campaign"].text(100) if "campaign" in top else path.stem
    return Campaign(
        file=path, name=name, viewers=table, plates=plates, personas=personas, overlays=overlays, rules=rules,
        defaults=defaults, weighted="match" in top and top["match"].one_of(("first", "weighted")) == "weighted",
        seed=top["seed"].text(100) if "seed" in top else name, template=template, place=place,
        budget=_budget(top.get("budget")), at_once=at_once, workers=workers,
        look=_settings(LookSettings, LOOK, top.get("look"), {}), delivery=_delivery(top.get("delivery")),
    )  # fmt: skip


def filled(text: str, cells: Mapping[str, str]) -> str:
    """A text with its {fields} filled in; blanks are collapsed."""
    return " ".join(_FIELD.sub(lambda m: cells[m[1]], text).split())


def _named(item: Item) -> dict[str, Item]:
    found = item.mapping()
    for name in found:
        if not _NAME.fullmatch(name):
            raise item.keys[name].error(f"{name!r}: expected a name of letters, digits, blank, dot, dash, up to 64")
    if not found:
        raise item.error("expected at least one name with its value")
    return found


def _file(item: Item, folder: Path) -> Path:
    path = folder / item.text(1000)
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name that no file system would take
        there = False
    if not there:
        raise item.error(f"{path}: there is no such file")
    return path


def _plate(name: str, item: Item, folder: Path) -> PlateSource:
    if not isinstance(item.value, dict):
        return PlateSource(name, _pattern(item, folder))
    fields = item.fields("file", "performance", "range", need=("file",))
    performance = _file(fields["performance"], folder) if "performance" in fields else None
    wanted = _said(fields["range"], lambda i: FrameRange.parse(i.text())) if "range" in fields else None
    return PlateSource(name, _pattern(fields["file"], folder), performance, wanted)


def _pattern(item: Item, folder: Path) -> Path:
    """A plate's file; a numbered sequence is looked for when it is opened."""
    return folder / item.text(1000) if "#" in item.text(1000) else _file(item, folder)


def _overlay(name: str, item: Item, folder: Path, table: Table) -> OverlaySource:
    if not isinstance(item.value, dict):
        item = Item({"text": item}, item.spot, {"text": item.spot})
    fields = item.fields("text", "place", "height", "show", "box", "font", need=("text",))
    given = fields["text"]
    texts = {"": given} if not isinstance(given.value, dict) else given.mapping()
    for text in texts.values():
        for column in _FIELD.findall(text.text(MAX_TEXT)):
            if column not in (*table.columns, "key"):
                raise text.error(f"{{{column}}}: the table of viewers has no such column")
    more: dict[str, Any] = {}
    if "place" in fields:
        more["place"] = fields["place"].one_of(PLACES)
    if "height" in fields:
        more["height"] = fields["height"].number(0.02, 0.3)
    if "box" in fields:
        more["box"] = fields["box"].boolean()
    if "font" in fields:
        more["font"] = str(_file(fields["font"], folder))
    if "show" in fields:
        seconds = fields["show"].fields("from", "to")
        more["start_s"] = seconds["from"].number(0, 1e5) if "from" in seconds else 0.0
        more["end_s"] = seconds["to"].number(0, 1e5) if "to" in seconds else None
    style = _said(item, lambda _: TextOverlay("x", **more))
    return OverlaySource(name, {language: text.text(MAX_TEXT) for language, text in texts.items()}, style)


@dataclass(frozen=True)
class _Uses:
    """Reads `use:` and `defaults:`, whose names must be known."""

    plates: Mapping[str, Any]
    personas: Mapping[str, Any]
    overlays: Mapping[str, Any]

    def read(self, item: Item) -> Use:
        fields = item.fields("plate", "cast", "language", "overlay")
        overlay = fields.get("overlay")
        overlays = None
        if overlay is not None:
            many = overlay.items() if isinstance(overlay.value, list) else [] if overlay.value is None else [overlay]
            overlays = tuple(self._known(i, self.overlays, "overlay") for i in many[:8])
        return Use(
            self._known(fields["plate"], self.plates, "plate") if "plate" in fields else None,
            self._cast(fields["cast"]) if "cast" in fields else None,
            fields["language"].text(35) if "language" in fields else None,
            overlays,
        )

    def _cast(self, item: Item) -> tuple[tuple[str, str], ...]:
        if not isinstance(item.value, dict):
            return (("main", self._known(item, self.personas, "persona")),)
        cast = {}
        for track, who in item.mapping().items():
            if not (track in ("main", "all") or re.fullmatch(r"[1-9]\d{0,5}", track)):
                raise item.keys[track].error(f"{track!r}: expected main, all or the id of a track (digidouble faces)")
            cast[track] = self._known(who, self.personas, "persona")
        if not cast:
            raise item.error("expected TRACK: persona, for example main: ada")
        return tuple(sorted(cast.items()))

    @staticmethod
    def _known(item: Item, names: Mapping[str, Any], what: str) -> str:
        name = item.text()
        if name not in names:
            raise item.error(f"no {what} is called {name!r}; there is {', '.join(names) or 'none'}")
        return name


def _rules(item: Item, reader: _Uses, table: Table) -> tuple[Rule, ...]:
    rules = []
    for number, entry in enumerate(item.items(), 1):
        if number > MAX_RULES:
            raise entry.error(f"more than {MAX_RULES} rules")
        fields = entry.fields("name", "when", "use", "weight", need=("use",))
        tests: tuple[Test, ...] = ()
        if "when" in fields:
            tests = read_tests(fields["when"])
            for test in tests:
                if test.column not in table.columns:
                    raise (
                        fields["when"]
                        .keys[test.column]
                        .error(
                            f"the table of viewers has no column {test.column!r}; it has {', '.join(table.columns[:20])}"
                        )
                    )
        name = fields["name"].text(100) if "name" in fields else f"rule {number}"
        weight = fields["weight"].number(0, 1e9) if "weight" in fields else 1.0
        rules.append(Rule(name, tests, reader.read(fields["use"]), weight))
    return tuple(rules)


def _output(item: Item, table: Table) -> tuple[str, str]:
    fields = item.fields("name", "place", need=("name",))
    for own in OWN_FIELDS[:1] + OWN_FIELDS[2:]:
        if f"{{{own}}}" in fields["name"].text(300) and own in table.columns:
            raise fields["name"].error(f"{{{own}}} is a column of the table and a name of ours; rename the column")
    template = read_template(fields["name"], tuple(dict.fromkeys((*OWN_FIELDS, *table.columns))))
    place = fields["place"].one_of(("link", "copy", "none")) if "place" in fields else "link"
    return template, place


def _budget(item: Item | None) -> Budget:
    fields = item.fields("variants", "seconds", "price_per_hour") if item else {}
    return Budget(
        fields["variants"].integer(1, 10_000_000) if "variants" in fields else Budget.variants,
        fields["seconds"].number(0, 1e9) if "seconds" in fields else None,
        fields["price_per_hour"].number(0, 1e6) if "price_per_hour" in fields else None,
    )


def _concurrency(item: Item | None) -> tuple[int, int]:
    fields = item.fields("at_once", "workers") if item else {}
    return (
        fields["at_once"].integer(1, MAX_AT_ONCE) if "at_once" in fields else 8,
        fields["workers"].integer(0, 256) if "workers" in fields else 0,
    )


def _delivery(item: Item | None) -> DeliverySettings:
    """One encoder thread: variants are encoded beside each other, and the bits do not hang on the machine."""
    fixed: dict[str, Any] = {"quality": "draft", "threads": 1}
    if item and "reason" in item.mapping():
        fixed["label_waiver_reason"] = item.mapping()["reason"].text(500)
        item = Item({k: v for k, v in item.value.items() if k != "reason"}, item.spot, item.keys)
    return _settings(DeliverySettings, DELIVERY, item, fixed)


def _settings(kind: type, known: tuple[str, ...], item: Item | None, fixed: dict[str, Any]) -> Any:
    """A settings dataclass from a mapping; each value is read as the kind of the default."""
    values = dict(fixed)
    example = kind()
    for name, entry in (item.fields(*known) if item else {}).items():
        default = getattr(example, name)
        if isinstance(default, bool):
            values[name] = entry.boolean()
        elif isinstance(default, str):
            values[name] = entry.text(200)
        else:
            values[name] = entry.integer(0, 51) if name == "crf" else entry.number(-1e6, 1e6)
    if item is None:
        return kind(**values)
    return _said(item, lambda _: kind(**values))


def _said(item: Item, make: Any) -> Any:
    """What `make` gives; what it refuses is said with the place."""
    try:
        return make(item)
    except (SettingsError, ValueError) as e:
        if isinstance(e, DigidoubleError) and not isinstance(e, SettingsError):
            raise
        raise item.error(str(e)) from e
