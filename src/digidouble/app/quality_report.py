"""What `swap` says about a render in `report.html`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digidouble.deliver.report import Curve, Report, Series, Sheet, Timing
from digidouble.deliver.report_words import Theirs
from digidouble.schema.mark import payload_of

if TYPE_CHECKING:
    from digidouble.farm import RenderResult
    from digidouble.schema.performance import Performance
    from digidouble.schema.persona import Persona

# chart -> (unit, curves of `RenderResult.curves` drawn in it)
_CHARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Mouth opening": ("0..1", ("jaw drop", "lips part")),
    "Smile, brow, lid": ("0..1", ("lip corner pull (left)", "inner brow raise (left)", "lid close (left)")),
    "Gaze": ("degrees to the subject's left", ("gaze yaw (degrees)",)),
    "Light on the face": ("scene-linear luminance", ("light (linear)",)),
    "Presence of the double": ("0..1", ("presence",)),
    "Key atlas": ("index", ("key",)),
}


def report_path(out: Path) -> Path:
    """`shot.mp4` -> `shot.report.html`; a sequence's frame field is left out of the name."""
    return out.with_name((re.sub(r"[._-]?(#+|%0?\d*d)", "", out.stem) or "frames") + ".report.html")


def quality_report(
    result: RenderResult,
    performance: Performance,
    personas: Mapping[str, Persona],
    facts: Mapping[str, str],
    warnings: tuple[str, ...],
) -> Report:
    """The report of a render. `personas`: track as cast -> persona; `facts`: what the command adds to the table."""
    from digidouble.app.sheets import samples_sheet

    shot, delivered = performance.shot, result.delivered
    w, h = shot.size_wh
    rows = {
        "Plate": Theirs(f"{Path(shot.path).name} ({w}x{h}, {shot.rate} frames/s, {shot.layout.name})"),
        "Cast": Theirs(", ".join(f"track {track}: {persona.name}" for track, persona in personas.items())),
        "Frames": f"{result.frames} in {result.wall_s:.1f} s ({(result.frames - result.continued) / result.wall_s:.1f} frames/s)",
        **({"Continued": "; ".join(result.notes)} if result.notes else {}),
        "Encoding": delivered.encoding,
        **facts,
        "File": Theirs("; ".join(f"{f.path.name} (sha256 {f.sha256[:16]}...)" for f in delivered.files[:3])),
        "Log": Theirs(delivered.log.name),
    }
    sheets = (Sheet("Plate above, result below", samples_sheet(result.samples)),) if result.samples else ()
    return Report(
        title=delivered.files[0].path.name,
        facts=rows,
        sheets=sheets,
        curves=_curves(result) if result.frames > 1 else (),
        timings=timings(result),
        warnings=(*warnings, *delivered.warnings),
        labels=_labels(result),
        consent=_consent(personas),
        gate=_gate(result),
    )


def timings(result: RenderResult) -> tuple[Timing, ...]:
    """Stages by cost. Time is added up over threads, so the sum may exceed the wall clock."""
    total = sum(result.stages.values()) or 1.0
    by_cost = sorted(result.stages.items(), key=lambda item: -item[1])
    return tuple(Timing(name, 1000 * seconds / result.frames, seconds / total) for name, seconds in by_cost)


def _curves(result: RenderResult) -> tuple[Curve, ...]:
    drawn = {name for _, names in _CHARTS.values() for name in names}
    shares = tuple(name for name in result.curves if name.startswith("attention"))
    others = {name: ("", (name,)) for name in result.curves if name not in drawn and name not in shares}
    charts = {**_CHARTS, "Attention": ("share of the frame's faces", shares), **others}
    return tuple(
        Curve(title, unit, tuple(Series(name, *result.curves[name]) for name in names if name in result.curves))
        for title, (unit, names) in charts.items()
        if any(name in result.curves and result.curves[name][0] for name in names)
    )


def _labels(result: RenderResult) -> dict[str, str]:
    labels, shown = result.delivered.labels, result.delivered.visible_label_frames
    return {
        "Visible label": f"first {shown} frame(s)" if shown else "waived; the reason is in the log",
        "AIGC (GB 45438)": labels.aigc.to_json() if labels.aigc else "none",
        "IPTC digital source type": labels.source_type or "none",
        "C2PA manifest": result.delivered.provenance or "none",
        "Invisible mark": f"{payload_of(labels.aigc.produce_id):06x}" if labels.aigc else "none",
    }


def _gate(result: RenderResult) -> dict[str, str]:
    gate: dict[str, Any] = dict(result.gate)
    looks = gate.get("frames", [])
    highest = max(looks, key=lambda look: look["score"], default=None)
    return {
        "Content gate": f"{gate.get('model')}, limit {gate.get('threshold')}: {gate.get('decision')}",
        "Frames looked at": str(len(looks)),
        "Highest score": f"{highest['score']:.3f} ({highest['where']}, frame {highest['frame']})"
        if highest
        else "none",
        "Revocation list": Theirs(result.revocation_list) if result.revocation_list else "none given",
    }


def _consent(personas: Mapping[str, Persona]) -> dict[str, str]:
    return {
        Theirs(
            p.consent.subject
        ): f"granted by {p.consent.granted_by} for {', '.join(p.consent.scope)} until {p.consent.expires}; {p.consent.evidence}"
        for p in personas.values()
    }
