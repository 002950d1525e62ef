"""`digidouble persona`: make a double, look at it, and write the consent record it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from digidouble.app.command import command
from digidouble.app.options import Options
from digidouble.app.show import Show
from digidouble.app.swap import consent_id
from digidouble.capture import TEMPLATE, CaptureSettings, capture, read_consent
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import OutputError, SettingsError
from digidouble.persona import PersonaSettings, build_persona, load_persona, save_persona
from digidouble.persona.radiance_fit import FitSettings, torch_or_raise
from digidouble.persona.views import seen_share
from digidouble.schema.persona import LeftOut, Persona

CAPTURE = Options(CaptureSettings, ("face", "looks", "video_samples", "min_face_px"), "Choosing looks")
BUILD = Options(PersonaSettings, ("atlas_px", "keys"), "The double")
FIT = Options(
    FitSettings, ("steps", "frames", "device", "threads", "seed"), "Fitting a radiance field (--level radiance)"
)
LEVELS = ("atlas", "radiance")
EXPIRES_SOON_DAYS = 30


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="Make a double of a consenting person.", no_args_is_help=True)
    command(
        group, "build", {"looks": CAPTURE, "settings": BUILD, "fit": FIT},
        "Example: digidouble persona build portrait.jpg interview.mov --name Ada --consent consent.toml -o ada.persona",
    )(build)  # fmt: skip
    command(
        group, "show",
        epilog="Example: digidouble persona show ada.persona -o ada.png --turntable ada_turn.mp4 --expressions ada_actions.png",
    )(show_persona)  # fmt: skip
    command(group, "consent-template", epilog="Example: digidouble persona consent-template -o consent.toml")(
        consent_template
    )
    app.add_typer(group, name="persona")


def _level(level: str) -> str:
    if level not in LEVELS:
        raise typer.BadParameter(f"{level!r}: expected one of {', '.join(LEVELS)}")
    return level


def build(
    show: Show,
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Photographs, videos, or folders of them, of one person.")
    ],
    name: Annotated[str, typer.Option("--name", help="The double's name.")],
    consent: Annotated[
        Path,
        typer.Option("--consent", metavar="FILE.toml", help="Consent record; see: digidouble persona consent-template"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="X.persona", help="File to write.")],
    looks: CaptureSettings,
    settings: PersonaSettings,
    fit: FitSettings,
    level: Annotated[
        str,
        typer.Option(
            "--level", callback=_level, metavar="|".join(LEVELS),
            help="What the double is made of. radiance adds a field that knows how skin changes with expression and view, "
            "for --quality final; it is fitted with torch (minutes), and goes on where it was when run again.",
        ),
    ] = "atlas",
    detail: Annotated[
        bool,
        typer.Option(
            "--detail/--no-detail", rich_help_panel="The double",
            help="Make up pores and fine lines where the sources are too small to show them: a face of at most 256 px gets atlases of twice "
            "its resolution. Nicer on close-ups, but nobody's own skin (docs/persona.md); 1 to 10 s an atlas. Not together with --atlas-px. With "
            "--level radiance the atlases get it, the field does not.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Make a double from photographs and videos of one consenting person. One good portrait is enough; more are better."""
    record = read_consent(consent)
    record.check(date.today())
    if detail and settings.atlas_px:
        raise SettingsError(
            f"--detail chooses the size of the atlases itself, --atlas-px asks for {settings.atlas_px}: leave one of them out."
        )
    if level == "radiance":
        torch_or_raise()  # before minutes of work
    with show.progress("looking", "sources") as progress:
        captured = capture(sources, record, looks, progress)
    for note in left_out_notes(captured.rejected):
        show.warn(note)
    show.say(f"building from {len(captured.looks)} look(s)")
    built, lines = build_persona(captured, name, settings), [f"{out}: ready to cast"]
    if level == "radiance":
        from digidouble.app.radiance import add_radiance, fit_sheet_path

        built, _ = add_radiance(built, sources, out, fit, show)
        lines.append(f"{fit_sheet_path(out)}: how the fit went")
    if detail:
        from digidouble.pipeline import with_detail

        with show.progress("adding detail", "atlases") as progress:
            built = with_detail(built, progress)
        if built.detail is None:
            lines.append("no detail was added: the sources are sharp enough")
    persona = load_persona(save_persona(built, out))
    _show_facts(show, persona)
    show.done({"out": out, **_record(persona)}, *lines)


def left_out_notes(left_out: Sequence[LeftOut]) -> list[str]:
    """One line per file and reason, with the frames of videos."""
    frames: dict[tuple[str, str], list[int]] = {}
    for note in left_out:
        frames.setdefault((note.name, note.reason.split(" (")[0]), []).append(note.frame)
    out = []
    for (name, reason), seen in frames.items():
        few = ", ".join(map(str, seen[:6])) + (f" and {len(seen) - 6} more" if len(seen) > 6 else "")
        out.append(f"{name}: {reason}" if seen == [0] else f"{name} frame{'s' * (len(seen) > 1)} {few}: {reason}")
    return out


def show_persona(
    show: Show,
    persona: Annotated[Path, typer.Argument(metavar="X.persona")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="SHEET.png", help="Picture to write: face, shape, atlases, confidence, coverage."),
    ] = None,
    turn: Annotated[
        Path | None,
        typer.Option("--turntable", metavar="OUT.mp4|.png", help="The head turning to both sides: a movie, or a sheet of nine views."),
    ] = None,
    actions: Annotated[
        Path | None,
        typer.Option("--expressions", metavar="OUT.mp4|.png", help="Every muscle action, named: a movie, or a sheet."),
    ] = None,
) -> None:  # fmt: skip
    """Say what a double is made of, what its sources covered and whose consent it carries; draw it by itself, without a plate."""
    from digidouble.app.sheets import check_sheet, persona_sheet, write_sheet
    from digidouble.app.studio import check_studio, expressions, turntable
    from digidouble.persona.coverage import coverage

    if out is not None:
        check_sheet(out)
    wanted = [(path, make) for path, make in ((turn, turntable), (actions, expressions)) if path is not None]
    for path, _ in wanted:
        check_studio(path)
    double = load_persona(persona)
    if wanted:
        double.consent.check(date.today())
    covered = coverage(double)
    _show_facts(show, double)
    show.facts({"still to photograph": "; ".join(covered.advice) or "nothing is missing"})
    if date.today() > double.consent.expires:
        show.warn(f"consent expired on {double.consent.expires}: this persona does not render any more")
    elif (double.consent.expires - date.today()).days <= EXPIRES_SOON_DAYS:
        show.warn(f"consent expires on {double.consent.expires}")
    if out is not None:
        write_sheet(out, persona_sheet(double))
    delivered = []
    for path, make in wanted:
        with show.progress(f"drawing {path.name}", "pictures") as progress:
            delivered.append(make(double, path, DeliverySettings(consent_ids=(consent_id(double),)), progress))
    show.done(
        {
            "out": out,
            **_record(double),
            "coverage": covered.to_record(),
            "delivered": [f.path for d in delivered for f in d.files],
        },
        *([f"{out}: sheet written"] if out else []),
        *(f"{f.path}: written, labelled as AI-generated" for d in delivered for f in d.files),
    )


def consent_template(
    show: Show,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="CONSENT.toml", help="File to write; without it the template is printed."),
    ] = None,
) -> None:
    """Write an empty consent record to fill in. A persona cannot be built, and does not render, without one."""
    if out is None:
        show.done({"template": TEMPLATE}, TEMPLATE.rstrip())
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as e:
        raise OutputError(f"{out}: already exists and may hold a real record; remove it or choose another name") from e
    except OSError as e:
        raise OutputError(f"{out}: cannot be written ({e.strerror})") from e
    show.done(
        {"out": out},
        f"{out}: fill in every field, then: digidouble persona build SOURCE --name NAME --consent {out} -o NAME.persona",
    )


def _record(persona: Persona) -> dict[str, Any]:
    """A persona for machines."""
    consent = persona.consent
    return {
        "name": persona.name,
        "sha256": persona.sha256,
        "level": persona.level,
        "radiance": dict(persona.radiance.quality) if persona.radiance else None,
        "atlas_px": persona.keys[0].albedo.shape[0],
        "detail": asdict(persona.detail) if persona.detail else None,
        "keys": len(persona.keys),
        "seen_share": round(seen_share(persona), 3),
        "left_out": [{"name": n.name, "frame": n.frame, "reason": n.reason} for n in persona.left_out],
        "sources": [{"name": s.name, "frame": s.frame, "sha256": s.sha256} for s in persona.sources],
        "consent": {
            "subject": consent.subject, "granted_by": consent.granted_by, "scope": consent.scope,
            "expires": consent.expires.isoformat(), "evidence": consent.evidence, "evidence_sha256": consent.evidence_sha256,
        },
    }  # fmt: skip


def _show_facts(show: Show, persona: Persona) -> None:
    """A persona for people."""
    consent = persona.consent
    files = sorted({s.name for s in persona.sources})
    show.facts(
        {
            "name": persona.name,
            "made from": f"{len(persona.sources)} look(s) in {', '.join(files[:6])}{' ...' if len(files) > 6 else ''}",
            "atlases": f"{len(persona.keys)} of {persona.keys[0].albedo.shape[0]} px",
            "added detail": f"made up, finer than the sources' own by {persona.detail.factor:.1f}"
            if persona.detail
            else "none",
            "radiance field": _field_text(persona),
            "skin seen": f"{100 * seen_share(persona):.0f} % (the rest is mirrored or filled in)",
            "subject": consent.subject,
            "consent by": consent.granted_by,
            "scope": ", ".join(consent.scope),
            "expires": str(consent.expires),
            "evidence": consent.evidence,
        }
    )


def _field_text(persona: Persona) -> str:
    """What the field is and how well it was fitted."""
    if persona.radiance is None:
        return "none (make one with --level radiance)"
    q = persona.radiance.quality
    text = (
        f"{persona.radiance.planes.shape[0]} planes, {persona.radiance.side} px, from {q.get('frames', 0):.0f} frames"
    )
    if q.get("unseen_psnr_db", 0) > 0:
        text += f"; {q['unseen_psnr_db']:.1f} dB on poses and expressions left out"
    return text
