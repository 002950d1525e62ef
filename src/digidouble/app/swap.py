"""`digidouble swap`: put doubles on a plate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from digidouble.app.analysed import analysed, at_plate, is_performance, open_plate, plate_of
from digidouble.app.command import command
from digidouble.app.options import Options
from digidouble.app.perform import FOOTAGE, track_records
from digidouble.app.quality_report import quality_report, report_path, timings
from digidouble.app.show import Show
from digidouble.capture import read_revocations
from digidouble.deliver.report import write_report
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import SettingsError
from digidouble.farm import RenderResult, RenderSettings, left_out, render_shot
from digidouble.farm.gate import default_gate, frames_to_look_at, plate_shown
from digidouble.footage import Footage, FootageSettings
from digidouble.footage.edit import is_edit
from digidouble.perception.content import ContentGate
from digidouble.performance import PerformSettings, load_performance
from digidouble.persona import load_persona
from digidouble.render import LookSettings
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

RENDER = Options(
    RenderSettings,
    ("quality", "fusion", "frame_range", "workers", "purpose", "revoked", "samples", "passes", "passes_format"),
    "Rendering",
    {"frame_range": "--range"},
)
LOOK = Options(LookSettings, ("keep_tone", "wrinkles", "detail_match", "grain", "motion_blur"), "Look")
DELIVERY = Options(
    DeliverySettings,
    (
        "codec",
        "crf",
        "audio",
        "visible_label",
        "label_waiver_reason",
        "label_corner",
        "content_producer",
        "produce_id",
        "certificate",
        "private_key",
    ),
    "Delivery",
    {"label_waiver_reason": "--reason"},
)

CAST_HELP = "Who stands in for whom; may be repeated. TRACK is an id (see: digidouble faces), main, or all."
OUT_HELP = "The suffix picks the format: .mp4 .mov .mkv, .png .jpg .tif .exr, or a sequence double.####.exr. For an edit, with {shot} in it: out/{shot}.mov."


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(
        app, "swap", {"render": RENDER, "look": LOOK, "delivery": DELIVERY, "footage": FOOTAGE},
        "Examples: digidouble swap plate.mp4 --cast main=ada.persona -o double.mp4; "
        "digidouble swap plate.perf --cast 1=ada.persona --cast 2=ben.persona --range 0:48 --purpose film -o shot.####.exr",
    )(swap)  # fmt: skip


@dataclass(frozen=True)
class Plate:
    """A plate ready to be rendered: pixels, analysis, and how the analysis was come by."""

    footage: Footage
    performance: Performance
    analysis: dict[str, Any]


def swap(
    show: Show,
    plate: Annotated[Path, typer.Argument(metavar="PLATE|X.perf|EDIT", help="A movie, a picture, a sequence (plate.####.exr), its analysis, or an edit.")],
    cast: Annotated[list[str], typer.Option("--cast", metavar="TRACK=X.persona", help=CAST_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help=OUT_HELP)],
    render: RenderSettings,
    look: LookSettings,
    delivery: DeliverySettings,
    footage: FootageSettings,
    plate_at: Annotated[Path | None, typer.Option("--plate", help="Where the plate of X.perf is now, if it was moved.")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write OUT's report.html: contact sheet, curves, timings, labels, consent.")] = True,
    media: Annotated[Path | None, typer.Option("--media", help="Where the media of an edit are, if not where it says.", rich_help_panel="Edits")] = None,
    handles: Annotated[int, typer.Option("--handles", min=0, max=1000, help="Frames rendered around each shot of an edit.", rich_help_panel="Edits")] = 8,
    profile: Annotated[bool, typer.Option("--profile", help="Print the time spent in each stage.")] = False,
) -> None:  # fmt: skip
    """Put doubles on a plate: identity from the personas; expression, gaze, light and camera from the plate.

    A plate is analysed on first use; the analysis is kept in the cache, so that the next cast starts at once. A render that
    was cut off (Ctrl-C, a crash, a lost machine) goes on where it stopped when the same command is run again.
    """
    files = cast_files(cast)
    loaded = {path: load_persona(path) for path in dict.fromkeys(files.values())}
    casting = {track: loaded[path] for track, path in files.items()}
    revocations = read_revocations(render.revoked)
    for persona in casting.values():  # before the plate is analysed: a refusal should not take minutes
        persona.consent.check(date.today(), render.purpose)
        revocations.check(persona, date.today())
    for note in left_out(casting, render.quality):
        show.warn(note)
    delivery = replace(delivery, quality=render.quality, consent_ids=tuple(consent_id(p) for p in loaded.values()))
    render = replace(render, look=look)
    if is_edit(plate):
        from digidouble.app.edit import swap_edit

        if plate_at is not None:
            raise typer.BadParameter("goes with an X.perf; an edit names its media (--media)", param_hint="--plate")
        swap_edit(show, Edit(plate, media, handles), out, Job(casting, render, delivery, footage, report))
        return
    if media is not None:
        raise typer.BadParameter("goes with an edit (.edl, .otio)", param_hint="--media")
    result, ready, page = swap_one(show, plate, plate_at, out, Job(casting, render, delivery, footage, report))
    if profile:
        show_profile(show, result, ready.analysis)
    speed = (result.frames - result.continued) / result.wall_s
    megabytes = sum(f.size_bytes for f in result.delivered.files) / 1e6
    show.done(
        _record(result, ready, page),
        f"{out}: {result.frames} frame(s) in {result.wall_s:.1f} s ({speed:.1f} frames/s), {megabytes:.1f} MB",
        *([f"{page}: report"] if page else []),
        *([f"{render.passes}: passes of {result.passes.frame_count} frame(s)"] if result.passes else []),
        f"{result.delivered.log}: delivery log",
    )


@dataclass(frozen=True)
class Job:
    """What is done to a plate, whichever it is."""

    casting: Mapping[str, Persona]
    render: RenderSettings
    delivery: DeliverySettings
    footage: FootageSettings
    report: bool = True


@dataclass(frozen=True)
class Edit:
    """An edit instead of a plate: the file, where its media are, and how many frames more are rendered around each shot."""

    path: Path
    media: Path | None
    handles: int


def swap_one(
    show: Show, plate: Path, plate_at: Path | None, out: Path, job: Job
) -> tuple[RenderResult, Plate, Path | None]:
    """Analyse and render one plate. Returns the result, the plate, and its report."""
    render, delivery, gate = job.render, job.delivery, default_gate()
    with (
        _ready(plate, plate_at, out, (render, gate), delivery, job.footage, show) as ready,
        show.progress("rendering") as progress,
    ):
        result = render_shot(ready.footage, ready.performance, job.casting, out, render, delivery, progress, gate)
    for note in result.notes:
        show.say(note)
    for warning in result.delivered.warnings:
        show.warn(warning)
    page = report_path(out) if job.report else None
    if page is not None:
        facts = {"Analysis": _analysis_text(ready.analysis), "Quality": render.quality, "Look": str(render.look)}
        write_report(page, quality_report(result, ready.performance, job.casting, facts, tuple(ready.footage.warnings)))
    return result, ready, page


def cast_files(cast: list[str]) -> dict[str, Path]:
    """Track -> persona file.

    Raises:
        typer.BadParameter: not TRACK=FILE, or a track named twice.
    """
    files: dict[str, Path] = {}
    for text in cast:
        track, equals, path = text.partition("=")
        if not (equals and track and path):
            raise typer.BadParameter(
                f"{text!r}: expected TRACK=X.persona, for example main=ada.persona", param_hint="--cast"
            )
        if not (track in ("main", "all") or track.isdecimal()):
            raise typer.BadParameter(f"{text!r}: track {track!r} is not an id, main or all", param_hint="--cast")
        if track in files:
            raise typer.BadParameter(f"track {track} is cast twice; give each track one persona", param_hint="--cast")
        files[track] = Path(path)
    return files


def consent_id(persona: Persona) -> str:
    """What the delivery log says of the consent behind a persona."""
    consent = persona.consent
    return f"{consent.subject}: {consent.evidence} (granted by {consent.granted_by}, until {consent.expires}; persona {persona.sha256[:16]})"


@contextmanager
def _ready(
    plate: Path,
    plate_at: Path | None,
    out: Path,
    rendering: tuple[RenderSettings, ContentGate],
    delivery: DeliverySettings,
    footage: FootageSettings,
    show: Show,
) -> Iterator[Plate]:
    """Open and analyse. What can be refused is refused before the analysis, or as its frames are read."""
    render, gate = rendering
    if is_performance(plate):
        performance = load_performance(plate)
        with plate_of(performance, plate, plate_at, footage, show) as opened:
            _can_write(out, opened, render.frame_range, delivery)
            yield Plate(opened, at_plate(performance, opened), {"reused": True, "wall_s": 0.0, "path": plate})
        return
    if plate_at is not None:
        raise typer.BadParameter("goes with an X.perf; the plate is named already", param_hint="--plate")
    with open_plate(plate, footage, show) as opened:
        _can_write(out, opened, render.frame_range, delivery)
        frames = (render.frame_range or FrameRange(0, opened.shot.frame_count)).clipped(opened.shot.frame_count)
        shown = plate_shown(gate, frames_to_look_at(frames, float(opened.shot.rate.fps)))
        found = analysed(opened, PerformSettings(slides=render.fusion), show, shown)
        yield Plate(opened, found.performance, {"reused": found.reused, "wall_s": found.seconds, "path": found.path})


def _can_write(out: Path, plate: Footage, wanted: FrameRange | None, delivery: DeliverySettings) -> None:
    """Open the output and drop it again.

    Raises:
        OutputError: it cannot be written. SettingsError: the range is empty, or one picture is named for several frames.
    """
    if wanted is not None:
        frames = wanted.clipped(plate.shot.frame_count)
        if len(frames) == 0:
            raise SettingsError(
                f"--range {wanted.start}:{wanted.end_exclusive} holds no frame; {plate.shot.path} has frames 0:{plate.shot.frame_count}"
            )
        delivery = replace(delivery, frame_range=frames)
    open_writer(out, plate.shot, delivery).abort()


def show_profile(show: Show, result: RenderResult, analysis: dict[str, Any]) -> None:
    """The stage table."""
    rows = [
        (t.stage, f"{t.ms_per_frame * result.frames / 1000:.2f}", f"{t.ms_per_frame:.2f}", f"{100 * t.share:.1f}")
        for t in timings(result)
    ]
    show.table("Render, by stage (added up over threads)", ("stage", "s", "ms/frame", "%"), rows, numbers=(1, 2, 3))
    whole = result.wall_s + analysis["wall_s"]
    show.facts(
        {
            "render": f"{result.wall_s:.2f} s, {result.frames / result.wall_s:.1f} frames/s",
            "analysis": _analysis_text(analysis),
            "both": f"{whole:.2f} s, {result.frames / whole:.1f} frames/s",
        }
    )


def _analysis_text(analysis: dict[str, Any]) -> str:
    return "reused" if analysis["reused"] else f"made in {analysis['wall_s']:.2f} s"


def _record(result: RenderResult, ready: Plate, page: Path | None) -> dict[str, Any]:
    """The result for machines."""
    delivered = result.delivered
    return {
        "files": [{"path": f.path, "bytes": f.size_bytes, "sha256": f.sha256} for f in delivered.files],
        "log": delivered.log,
        "report": page,
        "frames": result.frames,
        "continued_frames": result.continued,
        "wall_s": result.wall_s,
        "frames_per_second": (result.frames - result.continued) / result.wall_s,
        "stages_s": result.stages,
        "analysis": ready.analysis,
        "tracks": track_records(ready.performance),
        "cast": list(result.tracks),
        "encoding": delivered.encoding,
        "passes": [f.path for f in result.passes.files] if result.passes else [],
        "visible_label_frames": delivered.visible_label_frames,
        "source_type": delivered.labels.source_type,
        "provenance": delivered.provenance,
        "sidecars": [f.path for f in delivered.sidecars],
        "content_gate": result.gate,
    }
