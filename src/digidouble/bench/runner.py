"""Running protocols: item by item, each kept as soon as it is measured, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from digidouble.bench.machine import machine, versions
from digidouble.bench.material import code_fingerprint, finished, sha256_of
from digidouble.bench.protocol import Case, Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols.creases import CREASES
from digidouble.bench.protocols.emotion import EMOTION
from digidouble.bench.protocols.follow import FOLLOW
from digidouble.bench.protocols.lighting import LIGHTING
from digidouble.bench.protocols.multitrack import MULTITRACK
from digidouble.bench.protocols.occlusion import OCCLUSION
from digidouble.bench.protocols.pairs import EXPRESSION, FLICKER, GAZE, IDENTITY, POSE
from digidouble.bench.protocols.persona import PERSONA
from digidouble.bench.protocols.roundtrip import ROUNDTRIP
from digidouble.bench.protocols.sources import SOURCES
from digidouble.bench.protocols.speech import SPEECH
from digidouble.bench.protocols.speed import SPEED
from digidouble.bench.referees import fingerprints, installed
from digidouble.bench.report import BenchReport, definitions, write_report
from digidouble.bench.workshop import Workshop
from digidouble.bench.worst import as_facts, worst_of, write_worst
from digidouble.errors import DigidoubleError, OutputError

PROTOCOLS: tuple[Protocol, ...] = (
    SPEED, MULTITRACK, IDENTITY, SOURCES, EXPRESSION, POSE, GAZE, FLICKER, CREASES, FOLLOW, OCCLUSION, PERSONA, LIGHTING, EMOTION, ROUNDTRIP, SPEECH,
)  # fmt: skip
Progress = Callable[[int, int], None]


def protocol(name: str) -> Protocol:
    """A protocol by name."""
    return next(p for p in PROTOCOLS if p.name == name)


def work_folder(report: Path) -> Path:
    """Where everything measured for a report is kept: beside it."""
    return report.with_name(report.stem + ".bench")


def run(
    protocols: Iterable[Protocol], shop: Workshop, scope: Scope, out: Path, progress: Progress | None = None
) -> BenchReport:
    """Measure what is not measured yet, then write `out`, and beside it the contact sheet (.png) and the worst cases (.worst.png).

    Items are kept under the hash of the code and of the clips: a change of either measures anew. An item that fails is noted
    with its reason and tried again by the next run; the others go on.

    Raises:
        OutputError: `out` cannot be written.
    """
    chosen = list(protocols)
    try:
        work_folder(out).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{out}: cannot be written ({e.strerror or e}); choose a folder you may write to") from e
    todo = [(p, item) for p in chosen for item in p.items(shop, scope)]
    todo.sort(key=lambda t: _turn(*t, scope))
    records: dict[str, list[Record]] = {p.name: [] for p in chosen}
    failures: dict[str, dict[str, str]] = {p.name: {} for p in chosen}
    pictures: dict[str, list[tuple[str, Picture]]] = {p.name: [] for p in chosen}
    cases: dict[str, list[Case]] = {p.name: [] for p in chosen if p.severity}
    for done, (p, item) in enumerate(todo):
        if progress:
            progress(done, len(todo))
        try:
            measured = _kept(p, item, shop, scope)
        except DigidoubleError as e:
            failures[p.name][item] = f"{type(e).__name__}: {e}"
            shop.tell(f"{p.name}, {item}: not measured ({e})")
            continue
        records[p.name] += measured.records
        pictures[p.name] += [(item, k) for k in measured.pictures]
        if measured.cases:
            cases[p.name] += measured.cases
    if progress:
        progress(len(todo), len(todo))
    worst = {name: worst_of(found) for name, found in cases.items() if found}
    facts = {**_facts(shop, scope, [i for _, i in todo]), "worst": as_facts(worst)}
    report = BenchReport(facts, {k: tuple(v) for k, v in records.items()}, failures)
    write_report(report, out)
    write_sheet(pictures, out.with_suffix(".png"))
    write_worst(shop, scope, worst, out.with_suffix(".worst.png"))
    return report


def _turn(p: Protocol, item: str, scope: Scope) -> int:
    """Timings first, while the machine is cool; then pair by pair, so that a plate's flow serves all protocols that watch it."""
    if p in (SPEED, MULTITRACK):
        return -1
    names = [q.name for q in scope.pairs]
    return names.index(item) if item in names and p is not ROUNDTRIP else len(names)


def _facts(shop: Workshop, scope: Scope, items: list[str]) -> dict[str, object]:
    from digidouble.weights import registry

    names = _clips(shop, scope, items)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "versions": versions(),
        "code": {"bench": code_fingerprint(False), "product": code_fingerprint(True)},
        "weights": {e.name: e.raw_sha256 for e in registry()}, "referees": fingerprints(shop.second) if installed() else {},
        "clips": {n: sha256_of(shop.clips[n].path) for n in names}, "pairs": [p.name for p in scope.pairs],
        "definitions": definitions(shop.frames), "settings": {"quick": scope.quick, "frames": shop.frames, "threads": scope.threads},
    }  # fmt: skip


def _clips(shop: Workshop, scope: Scope, items: list[str]) -> list[str]:
    """Clips that a result depends on: those of the pairs, and items that are clips themselves."""
    return list(
        dict.fromkeys([*(n for p in scope.pairs for n in (p.persona, p.plate)), *(i for i in items if i in shop.clips)])
    )


def _key(p: Protocol, item: str, shop: Workshop, scope: Scope) -> str:
    clips = {n: sha256_of(shop.clips[n].path) for n in _clips(shop, scope, [item])}
    facts = [
        p.name,
        item,
        code_fingerprint(True),
        clips,
        [q.name for q in scope.pairs],
        scope.quick,
        scope.threads,
        shop.frames,
        shop.second is not None,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _kept(p: Protocol, item: str, shop: Workshop, scope: Scope) -> Measured:
    """From the folder, or measured now."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", item)[:80]
    folder = shop.folder / "results" / p.name / f"{readable}-{_key(p, item, shop, scope)}"
    done = folder / "records.json"
    if done.exists():
        return _read(folder)
    shop.tell(f"{p.name}: {item}")
    measured = p.measure(shop, scope, item)
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(measured.pictures):
        cv2.imwrite(str(folder / f"{i}.png"), picture.rgb8[..., ::-1])
    facts = {
        "captions": [k.caption for k in measured.pictures],
        "records": [[r.item, r.row, {k: float(v) for k, v in r.numbers.items()}] for r in measured.records],
        "cases": [vars(c) for c in measured.cases],
    }
    partial = finished(done)
    partial.write_text(json.dumps(facts), "utf-8")  # Python's own NaN: this file is ours alone
    partial.replace(done)
    return measured


def _read(folder: Path) -> Measured:
    facts = json.loads((folder / "records.json").read_text("utf-8"))
    pictures = tuple(
        Picture(caption, np.ascontiguousarray(np.asarray(cv2.imread(str(folder / f"{i}.png")))[..., ::-1]))
        for i, caption in enumerate(facts["captions"])
    )
    cases = tuple(Case(**c) for c in facts["cases"])
    return Measured(tuple(Record(a, b, n) for a, b, n in facts["records"]), pictures, cases)


def write_sheet(pictures: dict[str, list[tuple[str, Picture]]], out: Path) -> None:
    """Every item's pictures in a row, protocol after protocol; nothing is written where there are none."""
    from digidouble.deliver.sheets import contact_sheet

    rows, captions, titles = [], [], []
    for name, found in pictures.items():
        for item in dict.fromkeys(i for i, _ in found):
            row = [k for i, k in found if i == item]
            rows.append([k.rgb8 for k in row])
            captions.append([k.caption for k in row])
            titles.append(f"{name}: {item}")
    if rows:
        sheet = contact_sheet(rows, captions, titles, 220)
        partial = finished(out)
        partial.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
        partial.replace(out)
