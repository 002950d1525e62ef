"""`digidouble perform` and `digidouble faces`: analyse a plate once, and see whom it shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from digidouble.app.analysed import open_plate, plate_of
from digidouble.app.command import command
from digidouble.app.options import Options
from digidouble.app.show import Show
from digidouble.footage import Footage, FootageSettings
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.schema.performance import Performance

FOOTAGE = Options(
    FootageSettings, ("rate_policy", "sequence_rate", "allow_damaged", "ocio", "ocio_plate"), "Reading the plate"
)
ANALYSIS = Options(
    PerformSettings,
    (
        "detect_every",
        "mesh_jitters",
        "min_face_px",
        "max_faces",
        "fade_frames",
        "smoothing",
        "slides",
        "modalities",
        "flow",
        "depth",
    ),
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
            "modalities": performance.modalities,
            "tracks": track_records(performance),
        },
        f"{out}: {frames} frames analysed in {seconds:.1f} s ({frames / seconds:.1f} frames/s)",
    )


def faces(
    show: Show,
    perf: Annotated[Path, typer.Argument(metavar="X.perf", help="Made by: digidouble perform")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="SHEET.png", help="Contact sheet to write.")
    ] = None,
    passes: Annotated[
        Path | None,
        typer.Option(
            "--passes", metavar="DIR", help="Folder for each track's RGB, depth, flow and matte, as pictures."
        ),
    ] = None,
    plate: Annotated[Path | None, typer.Option("--plate", help="Where the plate is now, if it was moved.")] = None,
    crops: Annotated[int, typer.Option("--crops", min=1, max=24, help="Pictures of each track.")] = 8,
) -> None:
    """Draw a contact sheet of the faces on a plate: the ids that `swap --cast` names, their frames and their weights.

    With --passes, also what is known of every track in all senses; measured now where the performance does not keep it.
    """
    from digidouble.app.sheets import check_sheet, faces_sheet, write_sheet
    from digidouble.errors import NoFace

    if out is None and passes is None:
        raise typer.BadParameter(
            "name a sheet to write (-o SHEET.png), a folder for the passes (--passes DIR), or both"
        )
    if out is not None:
        check_sheet(out)
    performance = load_performance(perf)
    if not performance.tracks:
        raise NoFace(f"{perf}: no face was found on {performance.shot.path}, so there is nothing to show.")
    with plate_of(performance, perf, plate, FootageSettings(), show) as opened:
        if out is not None:
            write_sheet(out, faces_sheet(performance, opened, crops))
        drawn = _passes(show, performance, opened, passes, crops) if passes is not None else {}
    show_tracks(show, performance)
    lines = [f"{out}: {len(performance.tracks)} track(s)"] if out is not None else []
    lines += [f"{passes}: {len(drawn['sheets'])} sheet(s); {drawn['how']}"] if drawn else [kept_modalities(performance)]
    record = {"out": out, "tracks": track_records(performance), "modalities": performance.modalities}
    show.done(record | ({"passes": drawn} if drawn else {}), *lines)


def _passes(show: Show, performance: Performance, plate: Footage, folder: Path, crops: int) -> dict[str, Any]:
    """Write the passes; what was written, and what measured them."""
    from digidouble.app.passes import write_passes

    with show.progress("drawing passes", "pictures") as progress:
        return write_passes(performance, plate, folder, crops, progress)


def kept_modalities(performance: Performance) -> str:
    """Which senses a performance keeps, and what measured them, in a sentence."""
    kept = performance.modalities
    if not kept:
        return (
            "modalities: not kept (digidouble perform --modalities keeps them; faces --passes measures them when asked)"
        )
    return f"modalities kept: flow by {kept.get('flow')}; depth from {kept.get('depth')}"


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
