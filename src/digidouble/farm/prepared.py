"""What a shot is rendered from, as settings ask: casts, the plan of its passes, and what cannot be kept of a promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from digidouble.capture import read_revocations
from digidouble.deliver.passes import PassesPlan, layer_names, pass_stem
from digidouble.deliver.segments import SegmentPlan
from digidouble.deliver.sidecar import PassTrack
from digidouble.farm.settings import RenderSettings
from digidouble.footage import Footage
from digidouble.perception.hair import HairLook
from digidouble.pipeline import prepare
from digidouble.render import PreparedCast
from digidouble.schema.frame import Roi
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona

Assets = tuple[Footage, Performance, Mapping[str, Persona]]


def prepare_shot(
    performance: Performance, casting: Mapping[str, Persona], settings: RenderSettings
) -> list[PreparedCast]:
    """What the frames of a shot are rendered from, as the settings ask. Raises as `pipeline.prepare`."""
    revocations, today = read_revocations(settings.revoked), date.today()
    for persona in casting.values():
        revocations.check(persona, today)
    return casts_of(performance, casting, settings)


def casts_of(performance: Performance, casting: Mapping[str, Persona], settings: RenderSettings) -> list[PreparedCast]:
    """`prepare_shot` without asking for revocations. Raises as `pipeline.prepare`, which checks consent itself."""
    final = settings.quality == "final"
    return prepare(
        performance, casting, settings.look, purpose=settings.purpose, radiance=final, fusion=settings.fusion
    )


def passes_plan(
    performance: Performance, casts: list[PreparedCast], plan: SegmentPlan, settings: RenderSettings
) -> PassesPlan | None:
    """How the passes are written, when any were asked for; nobody's hair is known yet. Raises OutputError: they cannot go there."""
    if settings.passes is None:
        return None
    names = layer_names([(c.plan.track.track_id, c.plan.persona.name) for c in casts])
    tracks = tuple(
        PassTrack(c.plan.track, names[c.plan.track.track_id], c.plan.persona.name, c.plan.persona.sha256) for c in casts
    )
    first = tuple(faces_in(performance, plan.frames.start))
    stem = pass_stem(plan.out)
    return PassesPlan(
        settings.passes, stem, plan.shot, plan.frames, tracks, plan.settings, settings.passes_format, first
    )


def with_hair(passes: PassesPlan | None, hair: Mapping[int, HairLook]) -> PassesPlan | None:
    """The plan with what is known of the performers' hair, as from `pipeline.hair_looks`."""
    if passes is None:
        return None
    return replace(passes, tracks=tuple(replace(t, hair=hair.get(t.track.track_id)) for t in passes.tracks))


def left_out(casting: Mapping[str, Persona], quality: str) -> list[str]:
    """What a quality promises and this cast or this version cannot keep, for people."""
    plain = sorted({p.name for p in casting.values() if p.radiance is None})
    notes = []
    if quality == "final" and plain:
        notes.append(
            f"final: {', '.join(plain)} {'has' if len(plain) == 1 else 'have'} no radiance field and "
            f"{'is' if len(plain) == 1 else 'are'} drawn from atlases; make one with: digidouble persona build ... --level radiance"
        )
    if quality == "final":
        notes.append("final: detail is not made up while rendering, only by persona build --detail")
    return notes


def faces_in(performance: Performance, index: int) -> list[Roi]:
    """Where faces are in a frame, for the visible label to keep clear of."""
    shown = [t for t in performance.tracks if t.shown_at(index) > 0]
    boxes = [t.sample(index).points_px[:, :2] for t in shown]
    return [Roi(*(int(v) for v in (*b.min(0), *b.max(0)))) for b in boxes]
