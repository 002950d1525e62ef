"""The bench's JSON: what was measured, on what, with what; read back, summed up, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digidouble.bench.landmarks import FOREHEAD, SEAM
from digidouble.bench.material import BLOCKS, HELD_OUT, MAX_CAPTURE_FRAMES, finished
from digidouble.bench.observe import CROP_FACE_PX, CROP_MARGIN
from digidouble.bench.protocol import Protocol, Record
from digidouble.bench.severity import SPAN
from digidouble.bench.statistics import Interval, finite_mean, paired
from digidouble.errors import SettingsError, UnreadableMedia

SCHEMA = 1
MAX_JSON_BYTES = 64 << 20


def definitions(frames: int) -> dict[str, str]:
    """Crop, masks and splits, in words: without them no number can be repeated."""
    return {
        "face mask": f"convex hull of dlib's jaw line and of the brows moved up by {FOREHEAD} of brow-to-nose-base",
        "seam band": f"{SEAM} of the face's width to both sides of the face mask's outline",
        "skin mask": "face mask shrunk by half a seam band, without eyes and mouth opening (persona, roundtrip)",
        "crop": f"one rectangle an excerpt: all landmarks, {CROP_MARGIN} of the face's width around them; faces brought down to {CROP_FACE_PX} px, never up",
        "plates": f"the first {frames} frames of a clip, in the plate's own samples, results taken before the encoder and without label",
        "personas": f"up to {MAX_CAPTURE_FRAMES} frames of a clip without blocks {HELD_OUT} of {BLOCKS}, which are held out",
        "worst cases": f"stretches of {SPAN} frames with the highest mean severity in the last row of each table, at most one an item while there are others",
        "plate row": "the plate again, through JPEG 85 and with the referee's box moved by 2 %: what a perfect double would score in expression and pose",
    }


@dataclass(frozen=True)
class BenchReport:
    """One run of the bench.

    Attributes:
        facts: machine, versions, code, weights, referees, clips (name -> sha256), definitions, when, settings.
        records: protocol -> records. failures: protocol -> item -> why it could not be measured.
    """

    facts: Mapping[str, Any]
    records: Mapping[str, tuple[Record, ...]]
    failures: Mapping[str, Mapping[str, str]]

    def rows(self, protocol: str) -> list[str]:
        """Rows of a protocol in the order of their first record."""
        return list(dict.fromkeys(r.row for r in self.records.get(protocol, ())))

    def mean(self, protocol: str, row: str, number: str) -> float:
        """Mean over items."""
        return finite_mean([r.numbers.get(number, math.nan) for r in self.records.get(protocol, ()) if r.row == row])

    def summed(self, protocol: Protocol, row: str, number: str) -> float:
        """What a table shows of a number over items: the mean, or the ratio of two sums where the protocol says so."""
        if number not in protocol.shares:
            return self.mean(protocol.name, row, number)
        counted, among = (self.mean(protocol.name, row, n) for n in protocol.shares[number])
        return counted / among if among > 0 else math.nan


def write_report(report: BenchReport, path: Path) -> None:
    """As JSON; NaN becomes null."""
    data = {
        "schema": SCHEMA,
        **report.facts,
        "protocols": {
            name: {
                "records": [{"item": r.item, "row": r.row, "numbers": _plain(r.numbers)} for r in records],
                "failures": dict(report.failures.get(name, {})),
            }
            for name, records in report.records.items()
        },
    }
    partial = finished(path)
    partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)


def read_report(path: Path) -> BenchReport:
    """Inverse of `write_report`.

    Raises:
        UnreadableMedia: no such file. SettingsError: it is no report of this bench.
    """
    if not path.is_file():
        raise UnreadableMedia(f"{path}: no such file; make one with: digidouble bench all --json {path}")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB, so it is no report of the bench")
    try:
        data = json.loads(path.read_text("utf-8"))
        if data.pop("schema") != SCHEMA:
            raise SettingsError(f"{path}: written by another version of the bench; expected schema {SCHEMA}")
        protocols = data.pop("protocols")
        records = {
            name: tuple(Record(str(r["item"]), str(r["row"]), _numbers(r["numbers"])) for r in p["records"])
            for name, p in protocols.items()
        }
        failures = {name: {str(k): str(v) for k, v in p["failures"].items()} for name, p in protocols.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        if isinstance(e, SettingsError):
            raise
        raise SettingsError(f"{path}: not a report of the bench ({type(e).__name__}: {e})") from e
    return BenchReport(data, records, failures)


def _plain(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {k: round(float(v), 6) if math.isfinite(v) else None for k, v in numbers.items()}


def _numbers(raw: Mapping[str, Any]) -> dict[str, float]:
    return {str(k): math.nan if v is None else float(v) for k, v in raw.items()}


def text(value: float) -> str:
    """A number for a table: three significant places, "-" for none."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def summary_table(report: BenchReport, protocol: Protocol) -> tuple[list[str], list[list[str]]]:
    """(heads, rows) of means over items; items whose rows differ (sizes, faces) are listed one by one."""
    records = report.records.get(protocol.name, ())
    shown = [n for n in protocol.shown if any(math.isfinite(r.numbers.get(n, math.nan)) for r in records)]
    items = list(dict.fromkeys(r.item for r in records))
    alike = len({tuple(r.row for r in records if r.item == i) for i in items}) == 1 and protocol.name != "speed"
    heads = ["row", *shown] if alike else ["item", "row", *shown]
    if alike:
        body = [[row, *(text(report.summed(protocol, row, n)) for n in shown)] for row in report.rows(protocol.name)]
    else:
        body = [[r.item, r.row, *(text(r.numbers.get(n, math.nan)) for n in shown)] for r in records]
    if protocol.targets and shown:
        goal = [protocol.targets.get(n, "") for n in shown]
        body.append((["to reach"] if alike else ["to reach", ""]) + goal)
    return heads, body


def worst_table(report: BenchReport, protocol: Protocol) -> tuple[list[str], list[list[str]]] | None:
    """(heads, rows) of the worst cases; None where a protocol has none."""
    found = report.facts.get("worst", {}).get(protocol.name, [])
    body = [[c["item"], f"{c['frames'][0]}-{c['frames'][1]}", text(c["severity"]), c["diagnosis"]] for c in found]
    return (["pair", "frames", "severity", "diagnosis"], body) if body else None


def markdown(heads: list[str], body: Iterable[list[str]]) -> str:
    """A table for docs/bench.md."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


@dataclass(frozen=True)
class Change:
    """How a number of one row moved between two reports, paired by item; `verdict` is better, worse, changed or none."""

    protocol: str
    row: str
    number: str
    before: float
    change: Interval
    verdict: str


def compare(before: BenchReport, after: BenchReport, protocols: Iterable[Protocol]) -> list[Change]:
    """Every number that both reports have for the same items, with a paired bootstrap interval of its change."""
    out = []
    for p in protocols:
        a = {(r.item, r.row): r.numbers for r in before.records.get(p.name, ())}
        b = {(r.item, r.row): r.numbers for r in after.records.get(p.name, ())}
        for row in dict.fromkeys(row for _, row in a):
            both = [k for k in a if k[1] == row and k in b]
            for number in p.shown:
                x, y = ([t[k].get(number, math.nan) for k in both] for t in (a, b))
                change = paired(x, y)
                if change.count:
                    finite = [v for v, w in zip(x, y, strict=True) if math.isfinite(v) and math.isfinite(w)]
                    out.append(
                        Change(
                            p.name, row, number, finite_mean(finite), change, _verdict(change, p.better.get(number, 0))
                        )
                    )
    return out


def _verdict(change: Interval, better: int) -> str:
    # One item has no spread to speak of: it is reported, not judged.
    if change.count < 2 or not change.clear:
        return ""
    if better == 0:
        return "changed"
    return "better" if change.mean * better > 0 else "worse"
