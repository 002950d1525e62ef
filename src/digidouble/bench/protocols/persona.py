"""The persona alone: held-out frames of its own clip, drawn without a pixel of the plate, against what was filmed.

Geometry and pose come from the performance. Light is the nine harmonics of the track, held at their median over the block;
the per-texel light that a render takes from the plate is switched off. One gain per colour channel is fitted over the block,
because exposure is no property of a persona. Eyes and the opening of the mouth, which a double takes from the plate, are
left out of the mask. Baselines: `nearest-key warp`, the capture frame nearest in landmark shape, bent onto the held-out
landmarks; `classic`, the one neutral photograph bent in the same way; `paste`, that photograph placed by similarity; `plate`,
what was filmed through JPEG 85, the most that can be had.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.baselines.classic import delaunay, piecewise_warp, warp_points
from digidouble.bench.landmarks import RIGID, skin_mask
from digidouble.bench.observe import remeasured
from digidouble.bench.pictures import gradient_error, psnr_db, ssim
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.referees import similarity_onto
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop, cast_at, product_row
from digidouble.footage import open_footage
from digidouble.render import LookSettings, draw, layer_roi, place
from digidouble.render.draw import PreparedCast
from digidouble.schema.colour import display_rgb8, rgb8_from_frame, srgb_decode
from digidouble.schema.track import TrackSample, TrackStore
from digidouble.schema.transfer import srgb_encode

Rgb8 = UInt8[np.ndarray, "h w 3"]
FRAMES = 16


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
    light = np.broadcast_to(np.median(track.light_sh, axis=0), track.light_sh.shape)
    blind = replace(track, store=_WithoutPlateLight(track.store), light_sh=np.ascontiguousarray(light))
    return PreparedCast(replace(cast.plan, track=blind), cast.look)


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


def _drawn(shop: Workshop, name: str, rows: list[int], first: int, quality: str) -> list[tuple[Rgb8, np.ndarray]]:
    """(picture, where it was drawn) of the persona in held-out frames."""
    movie = shop.held_out_movie(name, 0)
    look = LookSettings(detail_match=False, grain=False, motion_blur=False, keep_tone=0.0)
    cast = _plate_free(cast_at(quality, shop.performance(movie), shop.persona(name), look)[0])
    out = []
    with open_footage(movie) as footage:
        for row in rows:
            frame = footage.frame(first + row)
            points = place(cast, frame.index)
            roi = layer_roi(points, frame.size_wh)
            layer = draw(cast, frame.index, np.zeros((*roi.size_hw, 3), np.float32), roi, points)
            page, drawn = np.zeros((*frame.size_hw, 3), np.float32), np.zeros(frame.size_hw, bool)
            page[roi.y0 : roi.y1, roi.x0 : roi.x1] = layer.rgb
            drawn[roi.y0 : roi.y1, roi.x0 : roi.x1] = (layer.triangle >= 0) & (layer.alpha > 0.9)
            out.append((display_rgb8(page), drawn))
    return out


def _nearest_key(shop: Workshop, name: str, rows: list[int]) -> list[Rgb8]:
    """The baseline's pictures."""
    capture = shop.capture_movie(name)
    keys, held = shop.watched(capture), shop.watched(shop.held_out_movie(name, 0))
    every = max(1, len(keys.boxes) // 40)
    pictures = {r: p for r, p in enumerate(shop.pictures(capture, keys.first)) if r % every == 0}

    def shape(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 2"]:
        centred = points - points[RIGID].mean(0)
        return centred / np.linalg.norm(centred[RIGID])

    shapes = {r: shape(keys.landmarks[r]) for r in pictures}
    out = []
    for row in rows:
        target = held.landmarks[row].astype(np.float64)
        wanted = shape(target)
        best = min(shapes, key=lambda r: float(np.linalg.norm(shapes[r] - wanted)))
        source = warp_points(keys.landmarks[best].astype(np.float64))
        size = pictures[best].shape[:2]
        out.append(piecewise_warp(pictures[best], source, warp_points(target), delaunay(source), size))
    return out


def _photograph(shop: Workshop, name: str, rows: list[int], size_hw: tuple[int, int]) -> tuple[list[Rgb8], list[Rgb8]]:
    """The neutral photograph (placed by similarity, bent onto the landmarks) for held-out frames."""
    photo, held = shop.photograph(name), shop.watched(shop.held_out_movie(name, 0))
    source = warp_points(photo.points)
    triangles = delaunay(source)
    placed, bent = [], []
    for row in rows:
        target = held.landmarks[row].astype(np.float64)
        onto = similarity_onto(photo.points[RIGID], target[RIGID])
        placed.append(cv2.warpAffine(photo.rgb8, onto, size_hw[::-1], borderMode=cv2.BORDER_REPLICATE))
        bent.append(piecewise_warp(photo.rgb8, source, warp_points(target), triangles, size_hw))
    return placed, bent


def _items(shop: Workshop, scope: Scope) -> list[str]:
    names = list(dict.fromkeys(p.persona for p in scope.pairs))
    return names[:1] if scope.quick else names


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    movie = shop.held_out_movie(item, 0)
    watched = shop.watched(movie)
    track = shop.performance(movie).track("main")
    usable = [r for r in range(len(watched.boxes)) if track.shown_at(watched.first + r) > 0.5]
    rows = [usable[int(k)] for k in np.linspace(0, len(usable) - 1, min(FRAMES, len(usable))).round()]
    with open_footage(movie) as footage:
        truth = [rgb8_from_frame(footage.frame(watched.first + r)) for r in rows]
    ours = {product_row(q): _drawn(shop, item, rows, watched.first, q) for q in scope.qualities}
    warped = _nearest_key(shop, item, rows)
    placed, bent = _photograph(shop, item, rows, truth[0].shape[:2])
    drawn = next(iter(ours.values()))
    masks = [
        skin_mask(watched.landmarks[r].astype(np.float64), t.shape[:2]) & d & w.any(2) & b.any(2)
        for r, t, (_, d), w, b in zip(rows, truth, drawn, warped, bent, strict=True)
    ]
    all_rows = {
        "plate": [remeasured(t) for t in truth], "paste": placed, "classic": bent, "nearest-key warp": warped,
        **{name: [p for p, _ in found] for name, found in ours.items()},
    }  # fmt: skip
    scored = {name: _scores(pictures, truth, masks) for name, pictures in all_rows.items()}
    warp_db = scored["nearest-key warp"][0]["psnr_db"]
    records = tuple(Record(item, n, s | {"over_warp_db": s["psnr_db"] - warp_db}) for n, (s, _) in scored.items())
    middle = len(rows) // 2
    ys, xs = np.nonzero(masks[middle])
    box = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    show = {"filmed": truth[middle], **{n: lit[middle] for n, (_, lit) in scored.items() if n != "plate"}}
    pictures = tuple(Picture(f"{k}, {item}", np.ascontiguousarray(v[box])) for k, v in show.items())
    return Measured(records, pictures)


PERSONA = Protocol(
    "persona", "Is the persona the person, without help from the plate? Held-out frames drawn without plate pixels.",
    ("psnr_db", "ssim", "gradient", "over_warp_db"), {"psnr_db": 1, "ssim": 1, "gradient": -1, "over_warp_db": 1},
    _items, _measure, {"over_warp_db": ">= 1.5 (radiance persona)"},
)  # fmt: skip
