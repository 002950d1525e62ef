"""The film on one page.

photos, videos ──capture──► CaptureSet ──persona──► Persona ─────┐
                                                                 ├─render─► Layer ─refine─► composite ─► frame
plate ──footage──► Shot ──performance──► Performance ────────────┘
words, sound, emotion ──speech, acting──► Acting ──performance.written──► Performance, and the plate bent to it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from digidouble.composite import composite, composite_linear, farthest_first, hold_out, matte_of
from digidouble.errors import CastingError
from digidouble.footage import Footage
from digidouble.perception.hair import HairLook, hair_in_region, hair_look, hair_view
from digidouble.perception.segment import PersonSegmenter
from digidouble.performance import load_performance
from digidouble.performance.written import (
    ActedFootage,
    Progress,
    Score,
    acted_shot,
    layers_of,
    played,
    write_performance,
)
from digidouble.refine import add_grain, add_mark, match_sharpness, motion_blur
from digidouble.refine.atlases import detailed, pays
from digidouble.refine.diffusion import SkinDetail
from digidouble.refine.fusion import FusedSkin, Fusion
from digidouble.render import (
    LookSettings,
    PreparedCast,
    details,
    draw,
    draw_with_surface,
    layer_roi,
    place,
    plan_cast,
    ranks,
)
from digidouble.schema.acting import Acting
from digidouble.schema.clock import StageClock
from digidouble.schema.colour import linear_from_frame, rgb8_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.layers import FacePasses, FramePasses, Layer, Surface
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.track import FaceTrack

HAIR_FRAMES = 12  # of a track that are looked at to learn what its hair looks like


def prepare(
    performance: Performance,
    casting: Mapping[str, Persona],
    look: LookSettings | None = None,
    today: date | None = None,
    purpose: str | None = None,
    radiance: bool = False,
    fusion: bool = False,
) -> list[PreparedCast]:
    """Decide everything that couples frames. `casting`: track id, "main" or "all" -> persona. `radiance`: draw skin from
    the radiance fields of those personas that have one. `fusion`: bend key atlases to every frame with the fusion network (`refine.fusion`).

    Raises:
        WeightsError: the fusion network is missing.
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
    network = Fusion() if fusion else None
    bends = [FusedSkin(network, p.persona, p.track, look.wrinkles) if network else None for p in plans]
    return [PreparedCast(plan, look, radiance, bend) for plan, bend in zip(plans, bends, strict=True)]


def with_detail(persona: Persona, progress: Callable[[int, int], None] | None = None, threads: int = 2) -> Persona:
    """The persona with made-up fine detail in its atlases (`refine.atlases`); as it was where that does not pay."""
    return detailed(persona, SkinDetail(threads=threads), progress=progress) if pays(persona) else persona


def render_frame(
    casts: list[PreparedCast], frame: Frame, clock: StageClock | None = None, mark: int | None = None
) -> tuple[Frame, list[Layer]]:
    """One finished frame and its layers: a pure function of (casts, frame, mark). `clock` learns where the time went.

    `mark`: number of the delivery, hidden in the doubles' pixels (`schema.mark`). Every delivery has one; only measurements go without.
    """
    out, faces = _rendered(casts, frame, clock, mark, with_surface=False)
    return out, [face.layer for face in faces]


def render_passes(
    casts: list[PreparedCast], frame: Frame, clock: StageClock | None = None, mark: int | None = None,
    hair: Mapping[int, HairLook] | None = None,
) -> tuple[Frame, list[Layer], FramePasses]:  # fmt: skip
    """The frame and layers of `render_frame`, bit for bit, and the passes they were made from. `hair`: from `hair_looks`."""
    out, faces = _rendered(casts, frame, clock, mark, with_surface=True)
    layers = [face.layer for face in faces]
    near = {id(layer): n for n, layer in enumerate(farthest_first(layers))}
    rgb8 = rgb8_from_frame(frame) if hair and faces else None
    tracks = {cast.plan.track.track_id: cast.plan.track for cast in casts}

    def in_front(layer: Layer) -> Float32[np.ndarray, "h w"]:
        look = hair.get(layer.track_id) if hair else None
        if look is None or rgb8 is None:
            return np.zeros(layer.roi.size_hw, np.float32)
        return hair_in_region(look, rgb8, tracks[layer.track_id].sample(frame.index), layer.roi)

    passes = [
        FacePasses(replace(f.layer, alpha=matte_of(f.layer)), f.core, in_front(f.layer), f.surface, f.points_px)
        for f in sorted(faces, key=lambda f: -near[id(f.layer)])
        if f.surface is not None
    ]
    return out, layers, FramePasses(frame.index, composite_linear(frame, layers), tuple(passes))


def hair_looks(casts: list[PreparedCast], plate: Footage) -> dict[int, HairLook]:
    """The hair of everybody who is stood in for, by track, from a few frames of the whole shot; without those who show none.

    Raises:
        MediaError: the plate cannot be read. WeightsError: the network that finds people is missing.
    """
    wanted: dict[int, list[FaceTrack]] = {}
    for cast in casts:
        track = cast.plan.track
        shown = track.frames.start + np.flatnonzero(track.seen)
        shown = shown[shown < plate.shot.frame_count]
        for at in np.unique(np.linspace(0, len(shown) - 1, HAIR_FRAMES).round().astype(int)) if len(shown) else ():
            wanted.setdefault(int(shown[at]), []).append(track)
    people, views = PersonSegmenter() if wanted else None, {cast.plan.track.track_id: [] for cast in casts}
    for index, tracks in sorted(wanted.items()):
        assert people is not None
        rgb8 = rgb8_from_frame(plate.frame(index))
        person = people.matte_256(rgb8)
        for track in tracks:
            views[track.track_id].append(hair_view(rgb8, track.sample(index), person))
    found = {track_id: hair_look(seen) for track_id, seen in views.items()}
    return {track_id: look for track_id, look in found.items() if look is not None}


def written_plate(
    plate: Footage, analysed: Performance, track: str, acting: Acting, out: Path, settings: dict[str, Any],
    progress: Progress | None = None,
) -> tuple[Footage, Performance]:  # fmt: skip
    """Lay acting over one face of a plate: (the plate as acted, its performance, kept in `out`). Both go wherever a plate and its
    performance go. A plate of one picture comes to life whole; footage keeps its head, eyes and everything around the face.

    Raises:
        CastingError: there is no such track. NoFace: the plate shows no face. WeightsError: a network is missing (portraits).
    """
    frames, still = len(acting), plate.shot.frame_count == 1
    score = Score(analysed.track(track), acting, tuple(played(plate.shot.frame_count, frames)), still)
    shot = acted_shot(plate.shot, frames, acting)
    layers = None
    if still:
        picture = plate.frame(0)
        layers = layers_of(picture, PersonSegmenter().matte(rgb8_from_frame(picture)))
    write_performance(analysed, score, shot, out, settings, progress)
    return ActedFootage(plate, score, shot, layers), load_performance(out)


@dataclass(frozen=True)
class _Face:
    layer: Layer
    core: Float32[np.ndarray, "h w"]
    surface: Surface | None
    points_px: Float32[np.ndarray, "478 3"]


def _rendered(
    casts: list[PreparedCast], frame: Frame, clock: StageClock | None, mark: int | None, with_surface: bool
) -> tuple[Frame, list[_Face]]:
    clock = clock or StageClock()
    clock.start()
    faces: list[_Face] = []
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
        surface = None
        if with_surface:
            layer, surface = draw_with_surface(cast, frame.index, plate, roi, points)
        else:
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
        if mark is not None:
            layer = add_mark(layer, mark)
            clock.lap("mark")
        held = hold_out(layer, track.sample(frame.index), shown, plate)
        faces.append(_Face(held, layer.alpha, surface, points))
        plates[track.track_id] = plate
    out = composite(frame, [face.layer for face in faces], plates)
    clock.lap("composite")
    return out, faces
