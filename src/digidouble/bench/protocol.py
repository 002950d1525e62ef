"""What a protocol is: named items, each measured on its own, so that a stopped run can go on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from digidouble.bench.material import Pair
from digidouble.bench.workshop import Workshop, product_row

QUALITIES: tuple[str, ...] = ("draft",)
"""Qualities that every table has a row for. `standard` renders the same pixels in this version, and `final` differs only for a
persona with a radiance field, which takes minutes to fit: it has its rows in the protocol `persona`."""


@dataclass(frozen=True)
class Record:
    """Numbers of one row (plate, paste, classic, digidouble, ...) of one item (a pair, a clip, a size)."""

    item: str
    row: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Picture:
    """For the contact sheet: display-referred R'G'B'."""

    caption: str
    rgb8: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Case:
    """A stretch of one item where the product is at its worst.

    Attributes:
        first, last: frames of the plate's excerpt, both included. worst: the worst of them.
        severity: see the protocol's `severity`; more is worse. diagnosis: the measured causes that stand out, in words.
        measures: all that was measured there.
    """

    item: str
    row: str
    first: int
    last: int
    worst: int
    severity: float
    diagnosis: str
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What came of one item."""

    records: tuple[Record, ...]
    pictures: tuple[Picture, ...] = ()
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Scope:
    """How much is measured. `quick` keeps every protocol under a minute or so. `threads`: for the generator's comparison."""

    pairs: tuple[Pair, ...]
    quick: bool = False
    threads: int = 2

    @property
    def qualities(self) -> tuple[str, ...]:
        """Qualities that are measured: all there are; the quickest in a quick run."""
        return QUALITIES[:1] if self.quick else QUALITIES

    @property
    def rows(self) -> tuple[str, ...]:
        """Rows of the tables in which output is watched beside its plate."""
        return ("plate", "paste", "classic", *(product_row(q) for q in self.qualities))

    def of_pair(self, item: str) -> Pair:
        return next(p for p in self.pairs if p.name == item)


@dataclass(frozen=True)
class Protocol:
    """One table of docs/bench.md.

    Attributes:
        shown: numbers in the table, in order. better: +1 where more is better, -1 where less is; others are neutral.
        items: what there is to measure. measure: one of them.
        targets: number -> what is to be reached, in words.
        severity: what the worst cases are sorted by, in words; "" where none are sought.
        shares: numbers whose mean over items is the ratio of two others' sums: (counted, of how many).
    """

    name: str
    question: str
    shown: tuple[str, ...]
    better: Mapping[str, int]
    items: Callable[[Workshop, Scope], list[str]]
    measure: Callable[[Workshop, Scope, str], Measured]
    targets: Mapping[str, str] = field(default_factory=dict)
    severity: str = ""
    shares: Mapping[str, tuple[str, str]] = field(default_factory=dict)
