"""`digidouble perform` and `digidouble faces`: analyse a plate once, and see whom it shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from digidouble.app.analysed import open_plate, plate_of
from digidouble.app.command import command
from digidouble.app.options import Options
from digidouble.app.show import Show
from digidouble.footage import FootageSettings
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.schema.performance import Performance

FOOTAGE = Options(FootageSettings, ("rate_policy", "sequence_rate", "allow_damaged"), "Reading the plate")
ANALYSIS = Options(
    PerformSettings,
    ("detect_every", "mesh_jitters", "min_face_px", "max_faces", "fade_frames", "smoothing"),
    "Analysis",
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    command(
        app, "perform", {"footage": FOOTAGE, "analysis": ANALYSIS},
        "Example: digidouble perform plate.mov -o plate.perf && digidouble faces plate.perf -o faces.png",
    )(perform)  # fmt: skip
    command(app, "faces", epilog="Example: digidouble faces plate.perf -o faces.png")(faces)


def perform(
    show: Show,
    plate: Annotated[
        Path, typer.Argument(metavar="PLATE", help="A movie, a picture, or a sequence such as plate.####.exr.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="X.perf", help="File to write.")],
    footage: FootageSettings,
    analysis: PerformSettings,
) -> None:
    """Analyse a plate once: who is in it, how they move, how they are lit. Any number of doubles can then be cast on it."""
    started = time.perf_counter()
    with open_plate(plate, footage, show) as opened, show.progress("analysing") as progress:
        analyse(opened, out, analysis, progress)
    performance = load_performance(out)
    seconds = time.perf_counter() - started
    show_tracks(show, performance)
    if not performance.tracks:
        show.warn(f"no face was found in {plate}; nothing can be cast on it")
    frames = performance.shot.frame_count
    show.done(
        {
            "out": out,
            "frames": frames,
            "wall_s": seconds,
            "cuts": performance.shot.cuts,
            "tracks": track_records(performance),
        },
        f"{out}: {frames} frames analysed in {seconds:.1f} s ({frames / seconds:.1f} frames/s)",
    )


def faces(
    show: Show,
    perf: Annotated[Path, typer.Argument(metavar="X.perf", help="Made by: digidouble perform")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="SHEET.png", help="Contact sheet to write.")],
    plate: Annotated[Path | None, typer.Option("--plate", help="Where the plate is now, if it was moved.")] = None,
    crops: Annotated[int, typer.Option("--crops", min=1, max=24, help="Pictures of each track.")] = 8,
) -> None:
    """Draw a contact sheet of the faces on a plate: the ids that `swap --cast` names, their frames and their weights."""
    from digidouble.app.sheets import check_sheet, faces_sheet, write_sheet
    from digidouble.errors import NoFace

    check_sheet(out)
    performance = load_performance(perf)
    if not performance.tracks:
        raise NoFace(f"{perf}: no face was found on {performance.shot.path}, so there is nothing to show.")
    with plate_of(performance, perf, plate, FootageSettings(), show) as opened:
        write_sheet(out, faces_sheet(performance, opened, crops))
    show_tracks(show, performance)
    show.done({"out": out, "tracks": track_records(performance)}, f"{out}: {len(performance.tracks)} track(s)")


def track_records(performance: Performance) -> list[dict[str, object]]:
    """The tracks for machines."""
    return [
        {
            "id": t.track_id, "start": t.frames.start, "end_exclusive": t.frames.end_exclusive,
            "seen_frames": int(t.seen.sum()), "weight": round(t.weight, 4),
        }
        for t in performance.tracks
    ]  # fmt: skip


def show_tracks(show: Show, performance: Performance) -> None:
    """The tracks for people."""
    rows = [
        (str(t.track_id), f"{t.frames.start}:{t.frames.end_exclusive}", str(int(t.seen.sum())), f"{t.weight:.2f}")
        for t in performance.tracks
    ]
    if rows:
        show.table(f"Faces of {performance.shot.path}", ("track", "frames", "seen", "weight"), rows, numbers=(0, 2, 3))
