"""The campaign's page to look at: what was made, what failed, and a sheet of variants."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from digidouble.campaign.plan import CampaignPlan
from digidouble.campaign.results import STATUSES, ResultRow
from digidouble.campaign.store import Store
from digidouble.deliver.report import Report, Sheet, write_report
from digidouble.deliver.report_words import Theirs
from digidouble.deliver.sheets import contact_sheet

SHOWN = 48
COLUMNS = 4
LISTED = 100
MAX_THUMB_BYTES = 1 << 20


def write_page(
    path: Path, plan: CampaignPlan, store: Store, rows: tuple[ResultRow, ...], wall_s: float, analysis_s: float, rendered: int
) -> None:  # fmt: skip
    """Write `report.html`. Raises OutputError."""
    count = Counter(r.status for r in rows)
    facts = {
        "Campaign": Theirs(plan.campaign.file.name),
        "Viewers": f"{len(rows)}: " + ", ".join(f"{count[s]} {s}" for s in STATUSES if count[s]),
        "Variants": f"{len(plan.variants)} unique, {rendered} rendered in this run",
        "Time": f"{wall_s:.1f} s, of them {analysis_s:.1f} s analysis",
        "Plates": Theirs(", ".join(f"{n} ({len(p.frames)} frames)" for n, p in plan.plates.items())),
        "Rules": Theirs(
            ", ".join(f"{rule}: {n}" for rule, n in Counter(r.rule for r in rows if r.rule).most_common(20))
        ),
    }
    bad = [r for r in rows if r.error]
    warnings = [f"row {r.row} ({r.viewer or 'no key'}): {r.status}: {r.error}" for r in bad[:LISTED]]
    if len(bad) > LISTED:
        warnings.append(f"and {len(bad) - LISTED} more rows; the results table has them all")
    c = {p.consent.subject: p for p in plan.personas.values()}
    consent: dict[str, str] = {
        Theirs(who): p.refused
        or f"granted by {p.consent.granted_by} for {', '.join(p.consent.scope)} until {p.consent.expires}; {p.consent.evidence}"
        for who, p in c.items()
    }
    page = Report(plan.campaign.name, facts, _sheets(plan, store, rows), warnings=tuple(warnings), consent=consent)
    write_report(path, page)


def _sheets(plan: CampaignPlan, store: Store, rows: tuple[ResultRow, ...]) -> tuple[Sheet, ...]:
    """The first SHOWN variants that are there."""
    viewers = Counter(r.variant for r in rows if r.file)
    cells: list[np.ndarray] = []
    captions: list[str] = []
    for variant in plan.variants.values():
        picture = _thumb(store.folder / "thumbs" / f"{variant.variant_id}.jpg") if viewers[variant.variant_id] else None
        if picture is None:
            continue
        cells.append(picture)
        who = ", ".join(name for _, name in variant.cast)
        captions.append(f"{who}, {variant.plate}, {viewers[variant.variant_id]} viewer(s)")
        if len(cells) == SHOWN:
            break
    if not cells:
        return ()
    starts = range(0, len(cells), COLUMNS)
    sheet = contact_sheet(
        [cells[i : i + COLUMNS] for i in starts], [captions[i : i + COLUMNS] for i in starts], None, 200
    )
    return (Sheet(f"{len(cells)} of {len(plan.variants)} variants, at their middle frame", sheet),)


def _thumb(path: Path) -> np.ndarray | None:
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_THUMB_BYTES else b""
    except OSError:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])
