"""The film on one page.

photos, videos ──capture──► CaptureSet ──persona──► Persona ─────┐
                                                                 ├─render─► Layer ─refine─► composite ─► frame
plate ──footage──► Shot ──performance──► Performance ────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from digidouble.composite import composite, hold_out
from digidouble.errors import CastingError
from digidouble.refine import add_grain, match_sharpness, motion_blur
from digidouble.render import LookSettings, PreparedCast, details, draw, layer_roi, place, plan_cast, ranks
from digidouble.schema.clock import StageClock
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.layers import Layer
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona


def prepare(
    performance: Performance,
    casting: Mapping[str, Persona],
    look: LookSettings | None = None,
    today: date | None = None,
    purpose: str | None = None,
) -> list[PreparedCast]:
    """Decide everything that couples frames. `casting`: track id, "main" or "all" -> persona.

    Raises:
        CastingError: a track is not there, or is cast twice.
        ConsentError: a persona's consent has expired or does not cover `purpose`.
    """
    look = look or LookSettings()
    chosen: dict[int, Persona] = {}
    for name, persona in casting.items():
        persona.consent.check(today or date.today(), purpose)
        tracks = performance.tracks if name == "all" else (performance.track(name),)
        for t in tracks:
            if t.track_id in chosen:
                raise CastingError(
                    f"track {t.track_id} is cast twice ({chosen[t.track_id].name} and {persona.name}); give each track one persona."
                )
            chosen[t.track_id] = persona
    tracks = [performance.track(str(i)) for i in sorted(chosen)]
    bought = zip(tracks, details(tracks), ranks(tracks), strict=True)
    plans = [plan_cast(t, chosen[t.track_id], detail, rank) for t, detail, rank in bought]
    return [PreparedCast(plan, look) for plan in plans]


def render_frame(casts: list[PreparedCast], frame: Frame, clock: StageClock | None = None) -> tuple[Frame, list[Layer]]:
    """One finished frame and its layers: a pure function of (casts, frame). `clock` learns where the time went."""
    clock = clock or StageClock()
    clock.start()
    layers: list[Layer] = []
    plates = {}
    for cast in casts:
        track = cast.plan.track
        shown = track.shown_at(frame.index)
        if shown <= 0:
            continue
        points = place(cast, frame.index)
        row = track.row(frame.index)
        roi = layer_roi(points, frame.size_wh, float(np.hypot(*track.motion_px[row])))
        if roi.empty:
            continue
        clock.lap("place")
        plate = linear_from_frame(frame, roi)
        clock.lap("convert")
        layer = draw(cast, frame.index, plate, roi, points)
        clock.lap("draw")
        sharp = float(track.sharpness[row]) if cast.look.detail_match else 0.0
        if cast.look.motion_blur:
            layer = motion_blur(layer, track.motion_px[row], sharp)
        if cast.look.detail_match:
            layer = match_sharpness(layer, sharp)
        if cast.look.grain:
            layer = add_grain(layer, float(track.grain[row]), (frame.index, track.track_id))
        clock.lap("refine")
        layers.append(hold_out(layer, track.sample(frame.index), shown, plate))
        plates[track.track_id] = plate
    out = composite(frame, layers, plates)
    clock.lap("composite")
    return out, layers
