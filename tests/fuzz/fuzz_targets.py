"""What Digidouble does with each kind of file, from opening it to writing a result. A refusal is a `DigidoubleError`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Place:
    """Where one input lies and where its results may go. `good`: the seeds' folder."""

    good: Path
    given: Path
    out: Path


class Faceless:
    """In place of the reader of invisible marks, whose networks see pixels only: it decodes and finds nobody."""

    def read(self, pictures):
        list(pictures)
        return []


def media(place: Place, file: Path, draw: Random) -> None:
    """Open, decode first, last and middle; one in four is written again with its sound."""
    from digidouble.footage import FootageSettings, open_footage
    from digidouble.schema.colour import linear_from_frame, rgb8_from_frame
    from digidouble.schema.frame import Roi

    settings = FootageSettings(allow_damaged=draw.random() < 0.3)
    with open_footage(_as_pattern(file), settings) as footage:
        count = footage.shot.frame_count
        for index in sorted({0, count // 2, count - 1}):
            frame = footage.frame(index)
            rgb8_from_frame(frame, 512)
            if frame.size_wh[0] * frame.size_wh[1] < 1 << 20:
                linear_from_frame(frame, Roi(0, 0, *frame.size_wh))
        if draw.random() < 0.25 and footage.shot.size_wh[0] * footage.shot.size_wh[1] < 1 << 19:
            _copied(footage, place.out / draw.choice(("x.mkv", "x.mov", "x.mp4")))


def _as_pattern(file: Path) -> Path:
    """`s.0001.exr` -> `s.####.exr`."""
    stem, _, number = file.stem.rpartition(".")
    return file.with_name(f"{stem}.####{file.suffix}") if stem and number.isdigit() else file


def _copied(footage, out: Path) -> None:
    from digidouble.deliver.settings import DeliverySettings
    from digidouble.deliver.writer import open_writer
    from digidouble.schema.time import FrameRange

    frames = FrameRange(0, min(2, footage.shot.frame_count))
    with open_writer(out, footage.shot, DeliverySettings(frame_range=frames)) as writer:
        for frame in footage.frames(frames):
            writer.write(frame)
        writer.close()


def delivered(place: Place, file: Path, draw: Random) -> None:
    """`verify`: labels, manifest, log and pictures."""
    from digidouble.deliver.verify import verify

    beside = file.name.removesuffix(".c2pa").removesuffix(".delivery.json").removesuffix(".frames.json")
    name = "d.####.exr" if beside.startswith("d.exr") or beside.endswith(".exr") else beside
    verdict = verify(file.parent / name, reader=Faceless())
    assert verdict.checks


def persona(place: Place, file: Path, draw: Random) -> None:
    """Load, and render a frame of the good plate with its passes."""
    from digidouble.performance import load_performance
    from digidouble.persona import load_persona

    _render(place, load_performance(place.good / "plate.perf"), load_persona(file), draw)


def perf(place: Place, file: Path, draw: Random) -> None:
    """Load, take every sense of the first and last frame, and render one."""
    from digidouble.performance import load_performance
    from digidouble.performance.modalities import KeepsModalities
    from digidouble.persona import load_persona

    performance = load_performance(file)
    for track in performance.tracks:
        for index in {track.frames.start, track.frames.end_exclusive - 1}:
            track.sample(index)
            if isinstance(track.store, KeepsModalities):
                track.store.modalities(track.track_id, index)
    _render(place, performance, load_persona(place.good / "b.persona"), draw)


def _render(place: Place, performance, double, draw: Random) -> None:
    from digidouble.app.quality_report import quality_report
    from digidouble.app.swap import consent_id
    from digidouble.deliver.report import write_report
    from digidouble.deliver.settings import DeliverySettings
    from digidouble.farm import RenderSettings, render_shot
    from digidouble.footage import open_footage
    from digidouble.schema.time import FrameRange

    passes = place.out / "passes" if draw.random() < 0.3 else None
    render = RenderSettings(frame_range=FrameRange(0, 1), workers=1, passes=passes, samples=1)
    delivery = DeliverySettings(consent_ids=(consent_id(double),))
    out = place.out / draw.choice(("x.png", "x.exr", "x.mkv"))
    with open_footage(place.good / "plate.mkv") as plate:
        made = render_shot(plate, performance, {draw.choice(("main", "all")): double}, out, render, delivery)
        if passes:
            write_report(place.out / "r.html", quality_report(made, performance, {"main": double}, {}, ()))


def consent(place: Place, file: Path, draw: Random) -> None:
    from digidouble.capture.consent import read_consent

    read_consent(file).check(date(2026, 11, 22), "film")


def revoked(place: Place, file: Path, draw: Random) -> None:
    from digidouble.capture import read_revocations
    from digidouble.persona import load_persona

    read_revocations(file).check(load_persona(place.good / "b.persona"), date(2026, 11, 22))


def campaign(place: Place, file: Path, draw: Random) -> None:
    """Read and plan; one in five is run."""
    from digidouble.campaign import run_campaign
    from digidouble.campaign.plan import plan_campaign
    from digidouble.campaign.spec import read_campaign

    name = "p.yaml" if file.suffix == ".parquet" else file.name if file.suffix == ".yaml" else "c.yaml"
    spec = file.with_name(name)
    if draw.random() < 0.2:
        run_campaign(spec, place.out / "run", retries=0)
    else:
        plan_campaign(read_campaign(spec))


def edit(place: Place, file: Path, draw: Random) -> None:
    """Find every shot's media and frames, name its result, and write the conform."""
    from digidouble.deliver.conform import Conformed, write_conform
    from digidouble.errors import MediaError, SettingsError
    from digidouble.footage import open_footage
    from digidouble.footage.edit import frames_used, media_of, read_edit, with_handles

    template, made = place.out / "{shot}.mov", {}
    for shot in read_edit(file):
        if len(made) >= 4:
            break
        try:
            found = media_of(shot, file, place.good if draw.random() < 0.5 else None)
            with open_footage(found) as plate:
                used = frames_used(shot, plate.shot)
                target = template.with_name(template.name.replace("{shot}", shot.name))
                target.write_bytes(b"")
                made[shot.number] = Conformed(target, plate.shot, with_handles(used, 8, plate.shot), used)
        except (MediaError, SettingsError):
            continue
    write_conform(file, place.out / f"cut.conform{file.suffix}", made)


TARGETS: dict[str, Callable[[Place, Path, Random], None]] = {
    "media": media, "delivered": delivered, "persona": persona, "perf": perf, "consent": consent, "revoked": revoked, "campaign": campaign, "edit": edit,
}  # fmt: skip
SHARES = {"media": 34, "delivered": 12, "persona": 12, "perf": 12, "consent": 6, "revoked": 6, "campaign": 9, "edit": 9}


def laid_out(place: Place, kind: str, name: str, data: bytes) -> Path:
    """Put the damaged file where its good siblings are, as a user would have them."""
    source = place.good / kind
    shutil.copytree(source, place.given, copy_function=_linked)
    if kind in ("campaign", "edit"):
        for good in ("plate.mkv", "plate.perf", "b.persona"):
            _linked(str(place.good / good), str(place.given / good))
    file = place.given / name
    file.unlink()
    file.write_bytes(data)
    return file


def _linked(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
