"""`digidouble campaign`: many versions of a plate from a table of viewers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digidouble.app.command import command
from digidouble.app.options import parse_workers
from digidouble.app.show import Show

if TYPE_CHECKING:
    from digidouble.campaign import CampaignResult, Estimate

FILE_HELP = "The campaign: plates, personas, table of viewers, rules (docs/campaign.md)."
WORKERS_HELP = "Frames in work at a time on this machine (0 takes its cores), or a Ray cluster: ray://HOST:PORT, ray://local. Not given: as the file says."
LISTED = 20


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Many versions of a plate, from a table of viewers.", no_args_is_help=True)
    command(group, "run", epilog="Example: digidouble campaign run autumn.yaml -o autumn")(run)
    command(group, "check", epilog="Example: digidouble campaign check autumn.yaml -o autumn")(check)
    app.add_typer(group, name="campaign")


def run(
    show: Show,
    file: Annotated[Path, typer.Argument(metavar="C.yaml", help=FILE_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into; what is there from an earlier run is kept.")],
    workers: Annotated[str | None, typer.Option("--workers", metavar="N|ray://...", help=WORKERS_HELP)] = None,
    retries: Annotated[int, typer.Option("--retries", min=0, max=10, help="How often a variant is tried again after an error that may pass.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and estimate; render nothing. The same as campaign check.")] = False,
) -> None:  # fmt: skip
    """Make every version that a campaign asks for. Run again: only what is missing or changed is made.

    Exit code 0 when every viewer has a file, 1 when any has not.
    """
    from digidouble.campaign import run_campaign

    if dry_run:
        _check(show, file, out, workers, True)
        return
    with show.progress("campaign") as progress:
        result = run_campaign(file, out, parse_workers(workers), retries, progress, show.say)
    _tell(show, result)
    if not result.ok:
        raise typer.Exit(1)


def check(
    show: Show,
    file: Annotated[Path, typer.Argument(metavar="C.yaml", help=FILE_HELP)],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="The folder it will go to; what is there is counted as done.")] = None,
    workers: Annotated[str | None, typer.Option("--workers", metavar="N|ray://...", help=WORKERS_HELP)] = None,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Measure a few frames of each plate for the estimate.")] = True,
) -> None:  # fmt: skip
    """A dry run: check the file and the table, count variants, estimate time, cost and disk. Renders nothing.

    Exit code 0 when every row can be made, 1 when any cannot.
    """
    _check(show, file, out, workers, probe)


def _check(show: Show, file: Path, out: Path | None, workers: str | None, probe: bool) -> None:
    from digidouble.campaign import check_campaign

    found = check_campaign(file, out, parse_workers(workers), probe)
    _rows(show, [(str(row), key, why) for row, key, why in found.failed])
    show.facts(_estimate_facts(found))
    record: dict[str, Any] = {
        "viewers": found.viewers, "variants": found.variants, "to_render": found.to_render, "frames": found.frames,
        "seconds": found.seconds, "analysis_s": found.analysis_s, "disk_bytes": found.disk_bytes, "cost": found.cost,
        "basis": found.basis, "failed": [{"row": r, "viewer": k, "error": e} for r, k, e in found.failed],
    }  # fmt: skip
    show.done(record | {"ok": not found.failed})
    if found.failed:
        raise typer.Exit(1)


def _estimate_facts(found: Estimate) -> dict[str, str]:
    facts = {
        "viewers": f"{found.viewers}, of them {len(found.failed)} that cannot be made",
        "variants": f"{found.variants} unique, {found.to_render} to render ({found.frames} frames)",
        "time": "not known" if found.seconds is None else f"about {_time(found.seconds)}, of them {_time(found.analysis_s)} analysis",
        "disk": f"about {found.disk_bytes / 1e6:.1f} MB",
    }  # fmt: skip
    if found.cost is not None:
        facts["cost"] = f"about {found.cost:.2f} at the price per hour given"
    return facts | {"measured": "; ".join(found.basis) or "nothing is left to render"}


def _tell(show: Show, result: CampaignResult) -> None:
    count = Counter(r.status for r in result.rows)
    bad = [r for r in result.rows if r.error]
    _rows(show, [(str(r.row), r.viewer, r.error) for r in bad])
    record = {
        "ok": result.ok, "rows": len(result.rows), **{f"rows_{k}": v for k, v in sorted(count.items())},
        "variants_rendered": result.rendered, "variants_reused": result.reused, "wall_s": result.wall_s,
        "analysis_s": result.analysis_s, "results": result.results, "report": result.report,
        "failed": [{"row": r.row, "viewer": r.viewer, "status": r.status, "error": r.error} for r in bad],
    }  # fmt: skip
    show.done(
        record,
        f"{len(result.rows)} viewer(s): " + ", ".join(f"{v} {k}" for k, v in count.items()),
        f"{result.rendered} variant(s) rendered, {result.reused} there already, in {_time(result.wall_s)}",
        f"{result.results}: results table",
        f"{result.report}: report",
    )


def _rows(show: Show, rows: list[tuple[str, str, str]]) -> None:
    if rows:
        show.table("Rows without a file", ("row", "viewer", "why"), rows[:LISTED], numbers=(0,))
    if len(rows) > LISTED:
        show.say(f"and {len(rows) - LISTED} more")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
