"""The persona alone: frames of its own clip whose poses and expressions it has not seen, drawn without a pixel of the plate,
against what was filmed.

Whole clusters of pose and expression are held out (`bench.unseen`). Geometry and pose come from the performance. Light is the
nine harmonics of the track, held at their median over the clip; the per-texel light that a render takes from the plate
is switched off. One gain per colour channel is fitted over all of them, because exposure is no property of a persona. Eyes and
the opening of the mouth with their borders and lids that come down, which a double takes from the plate, and what lies in front of the face by the
product's matte (hair, hands) or is no skin by the product's unrolling (strands of hair, hair at the outline), which it leaves to the plate or replaces,
are left out of the mask, for every row alike. Rows: `radiance` (quality `final`, with
a field fitted to up to 160 frames of the other clusters; `radiance, N` to N of them), `digidouble draft` (key atlases), `single
atlas` (the fused one alone). Baselines: `nearest-key warp`, the frame of the other clusters nearest in landmark shape, bent onto
the held-out landmarks; `classic`, the one neutral photograph bent in the same way; `paste`, that photograph placed by similarity;
`plate`, what was filmed through JPEG 85, the most that can be had. Without torch the rows of the field are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from digidouble.bench.baselines.classic import delaunay, piecewise_warp, warp_points
from digidouble.bench.landmarks import RIGID, skin_mask
from digidouble.bench.observe import remeasured
from digidouble.bench.pictures import gradient_error, psnr_db, ssim
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.referees import similarity_onto
from digidouble.bench.statistics import finite_mean
from digidouble.bench.unseen import LEARNT, QUICK_STEPS, STEPS, Unseen, torch_is_there
from digidouble.bench.workshop import Workshop, cast_at, product_row
from digidouble.errors import NoFace
from digidouble.footage import open_footage
from digidouble.render import LookSettings, draw, layer_roi, place
from digidouble.render.draw import PreparedCast
from digidouble.render.geometry import plate_share
from digidouble.render.surface import over_pixels
from digidouble.schema.colour import display_rgb8, srgb_decode
from digidouble.schema.layers import Layer
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import Persona
from digidouble.schema.track import TrackSample, TrackStore
from digidouble.schema.transfer import srgb_encode

Rgb8 = UInt8[np.ndarray, "h w 3"]
Drawn = list[tuple[Rgb8, Bool[np.ndarray, "h w"]]]
WARP, RADIANCE, SINGLE = "nearest-key warp", "radiance", "single atlas"
BORROWED = 0.1  # interpolated share of the plate that the renderer's own smoothing turns into less than 3 %
COUNTS = (1, 3, 10, 60)  # frames of the table of quality against sources
PEOPLE = 10


class _WithoutPlateLight:
    """A track's store whose skin radiance is never trusted."""

    def __init__(self, store: TrackStore) -> None:
        self._store = store

    def sample(self, track_id: int, index: int) -> TrackSample:
        return replace(
            sample := self._store.sample(track_id, index), skin_weight=np.zeros_like(sample.skin_weight),
            skin_linear=np.zeros_like(sample.skin_linear),
        )  # fmt: skip


def _plate_free(cast: PreparedCast) -> PreparedCast:
    track = cast.plan.track
    light = np.broadcast_to(np.median(track.light_sh[track.seen], axis=0), track.light_sh.shape)
    blind = replace(track, store=_WithoutPlateLight(track.store), light_sh=np.ascontiguousarray(light))
    out = PreparedCast(replace(cast.plan, track=blind), cast.look, cast.field is not None)
    return out


def fitted_gain(
    rendered: list[Float[np.ndarray, "n 3"]], truth: list[Float[np.ndarray, "n 3"]]
) -> Float[np.ndarray, "3"]:
    """Least squares of linear light, one factor a channel for the whole block."""
    a, b = np.concatenate(rendered), np.concatenate(truth)
    return (a * b).sum(0) / np.maximum((a * a).sum(0), 1e-9)


def _scores(pictures: list[Rgb8], truth: list[Rgb8], masks: list[np.ndarray]) -> tuple[dict[str, float], list[Rgb8]]:
    """Means over frames after the gain is fitted, and the pictures with that gain."""
    light = [srgb_decode(p.astype(np.float32) / 255) for p in pictures]
    real = [srgb_decode(p.astype(np.float32) / 255) for p in truth]
    gain = fitted_gain(
        [a[m] for a, m in zip(light, masks, strict=True)], [b[m] for b, m in zip(real, masks, strict=True)]
    )
    shown = [(np.clip(srgb_encode(a * gain.astype(np.float32)), 0, 1) * 255 + 0.5).astype(np.uint8) for a in light]
    triples = list(zip(shown, truth, masks, strict=True))
    scores = {
        "psnr_db": finite_mean([psnr_db(a, b, m) for a, b, m in triples]),
        "ssim": finite_mean([ssim(a, b, m) for a, b, m in triples]),
        "gradient": finite_mean([gradient_error(a, b, m) for a, b, m in triples]),
    }
    return scores, shown


def _drawn(person: Unseen, persona: Persona, quality: str) -> Drawn:
    """(picture, where it was drawn) of a persona in the held-out frames."""
    look = LookSettings(wrinkles=0.0, detail_match=False, grain=False, motion_blur=False, keep_tone=0.0)
    cast = _plate_free(cast_at(quality, person.performance, persona, look)[0])
    out = []
    with open_footage(person.movie) as footage:
        for row in person.held:
            frame = footage.frame(person.frame_of(row))
            points = place(cast, frame.index)
            roi = layer_roi(points, frame.size_wh)
            layer = draw(cast, frame.index, np.zeros((*roi.size_hw, 3), np.float32), roi, points)
            page, drawn = np.zeros((*frame.size_hw, 3), np.float32), np.zeros(frame.size_hw, bool)
            page[roi.y0 : roi.y1, roi.x0 : roi.x1] = layer.rgb
            skin = (layer.alpha > 0.9) & own_skin(layer, person.lids_down(row)) & in_uv(layer, person.skin_shown(row))
            drawn[roi.y0 : roi.y1, roi.x0 : roi.x1] = skin
            out.append((display_rgb8(page), drawn))
    return out


def own_skin(layer: Layer, down: Float[np.ndarray, "2"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that take nothing from the plate: around eyes and lips a double fades into what the plate shows inside them, and lids
    that come down (`down`, see `geometry.lids_down`) are the plate's."""
    model = face_model()
    borrowed = over_pixels(plate_share(down)[:, None], layer)[..., 0]
    return (layer.triangle >= 0) & (layer.triangle < len(model.triangles)) & (borrowed < BORROWED)


def in_uv(layer: Layer, where: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose place on the face is inside a mask over UV."""
    at = over_pixels(face_model().uv, layer) * len(where) - 0.5
    return cv2.remap(where.astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR) > 0.5


def _nearest_key(person: Unseen, pictures: dict[int, Rgb8]) -> list[Rgb8]:
    """The baseline's pictures."""

    def shape(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 2"]:
        centred = points - points[RIGID].mean(0)
        return centred / np.linalg.norm(centred[RIGID])

    shapes = {r: shape(person.landmarks(r)) for r in pictures}
    out = []
    for row in person.held:
        target = person.landmarks(row)
        wanted = shape(target)
        best = min(shapes, key=lambda r: float(np.linalg.norm(shapes[r] - wanted)))
        source = warp_points(person.landmarks(best))
        size = pictures[best].shape[:2]
        out.append(piecewise_warp(pictures[best], source, warp_points(target), delaunay(source), size))
    return out


def _photograph(person: Unseen, pictures: dict[int, Rgb8]) -> tuple[list[Rgb8], list[Rgb8]]:
    """The neutral photograph (placed by similarity, bent onto the landmarks) for held-out frames."""
    photo = person.photograph(pictures)
    source, size_hw = warp_points(photo.points), photo.rgb8.shape[:2]
    triangles = delaunay(source)
    placed, bent = [], []
    for row in person.held:
        target = person.landmarks(row)
        onto = similarity_onto(photo.points[RIGID], target[RIGID])
        placed.append(cv2.warpAffine(photo.rgb8, onto, size_hw[::-1], borderMode=cv2.BORDER_REPLICATE))
        bent.append(piecewise_warp(photo.rgb8, source, warp_points(target), triangles, size_hw))
    return placed, bent


def _products(person: Unseen, quick: bool) -> dict[str, Callable[[], Drawn]]:
    """Row -> how to draw it."""
    atlas = person.atlas_persona()
    single = replace(atlas, keys=atlas.keys[:1])
    rows: dict[str, Callable[[], Drawn]] = {
        SINGLE: lambda: _drawn(person, single, "draft"),
        product_row("draft"): lambda: _drawn(person, atlas, "draft"),
    }
    if torch_is_there():
        steps = QUICK_STEPS if quick else STEPS
        rows[RADIANCE] = lambda: _drawn(person, person.radiance_persona(LEARNT, steps), "final")
        for count in () if quick else COUNTS:
            rows[f"{RADIANCE}, {count}"] = lambda n=count: _drawn(person, person.radiance_persona(n, steps), "final")
    return rows


def _items(shop: Workshop, scope: Scope) -> list[str]:
    people = dict.fromkeys([*(p.persona for p in scope.pairs), *(p.plate for p in scope.pairs)])
    return list(people)[: 1 if scope.quick else PEOPLE]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    person = Unseen(shop, item)
    if not person.held or not person.seen_keys():
        raise NoFace(f"{item}: the referee sees the face in no held-out frame or in no key")
    truth = list(person.pictures(person.held).values())
    pictures = person.pictures(person.seen_keys())
    ours = {name: make() for name, make in _products(person, scope.quick).items()}
    warped = _nearest_key(person, pictures)
    placed, bent = _photograph(person, pictures)
    masks = []
    for k, (row, t) in enumerate(zip(person.held, truth, strict=True)):
        mask = skin_mask(person.landmarks(row), t.shape[:2]) & warped[k].any(2) & bent[k].any(2)
        mask &= person.face_visible(row, t.shape[:2])
        for found in ours.values():
            mask &= found[k][1]
        masks.append(mask)
    all_rows = {
        "plate": [remeasured(t) for t in truth], "paste": placed, "classic": bent, WARP: warped,
        **{name: [p for p, _ in found] for name, found in ours.items()},
    }  # fmt: skip
    scored = {name: _scores(drawn, truth, masks) for name, drawn in all_rows.items()}
    warp_db = scored[WARP][0]["psnr_db"]
    records = tuple(Record(item, n, s | {"over_warp_db": s["psnr_db"] - warp_db}) for n, (s, _) in scored.items())
    middle = len(masks) // 2
    ys, xs = np.nonzero(masks[middle])
    box = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    show = {"filmed": truth[middle], **{n: lit[middle] for n, (_, lit) in scored.items() if n != "plate"}}
    sheet = tuple(Picture(f"{k}, {item}", np.ascontiguousarray(v[box])) for k, v in show.items())
    return Measured(records, sheet)


PERSONA = Protocol(
    "persona", "Is the persona the person, without help from the plate? Unseen poses and expressions drawn without plate pixels.",
    ("psnr_db", "ssim", "gradient", "over_warp_db"), {"psnr_db": 1, "ssim": 1, "gradient": -1, "over_warp_db": 1},
    _items, _measure, {"over_warp_db": ">= 1.5 (radiance)"},
)  # fmt: skip
