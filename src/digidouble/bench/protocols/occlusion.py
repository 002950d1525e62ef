"""Do hands, hair, glasses, microphones and food stay in front of the double? Composited truth.

Things with known coverage (`bench.occluders`) are put in front of the face of a clip, one kind after the other, moving; the covered clip
is analysed as the program analyses any plate, and its matte is compared with the truth at the plate's resolution, after the
guided filter: what the compositor holds out. The things are placed by the mesh of the clip as it was filmed. The hair matte of the passes
is judged where the matte sees a thing: locks and fringes are hair, hands, microphones, food and masks are not.

What counts. Truth is known on the core of the mesh (a twelfth of the face inside its hull, from the brows down: no hair of the
performer's own) and wherever a thing covers the hull. `mesh hull` is the same double with the hull for a matte: what a tool does that
knows the mesh only.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.bench.occluders import Layer, layers_of, moment_of, put_in_front
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols.follow import SRGB, Altered, same_face, shown_frames, stand_in
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop, cast_at
from digidouble.composite import visible_face
from digidouble.errors import NoFace
from digidouble.footage import Footage, open_footage
from digidouble.perception.hair import HairLook, hair_in_region
from digidouble.perception.matte import hull
from digidouble.performance import analyse, load_performance
from digidouble.performance.store import PerfStore
from digidouble.pipeline import hair_looks, render_frame
from digidouble.render import PreparedCast, layer_roi
from digidouble.schema.colour import linear_from_frame, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange
from digidouble.schema.track import FaceTrack, TrackSample, TrackStore

FACES = ("emotion_sad", "grid_talk_3", "grimaces_long", "crying_man", "emotion_fear")
"""Bare faces that the matte's training never saw; where a run has none of them, plates of its pairs stand in."""
QUICK_CLIPS = 1
LEAST_FRAMES = 20
RENDERED_EVERY = 3  # frames between renders: `over` needs fewer than the matte
SHORT = {"photographed hand": "photo", "microphone": "mic"}
HULL, PRODUCT = "mesh hull", "digidouble"
SOLID, HIDDEN = 0.9, 0.5  # coverage
HAIR, NO_HAIR = ("lock", "fringe"), ("hand", "photographed hand", "microphone", "food", "mask")
LEAST_PX = 30


@dataclass(frozen=True)
class Scene:
    """A clip with things in front of its face. track: of the clip as filmed, which places them."""

    track: FaceTrack
    frames: list[int]
    layers: dict[str, Layer]

    def kind(self, index: int) -> str:
        return moment_of(list(self.layers), self.frames.index(index), len(self.frames)).kind

    def covered(
        self, index: int, rgb8: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """The frame with its thing in front, and the thing's coverage."""
        if index not in self.frames:
            return rgb8, np.zeros(rgb8.shape[:2], np.float32)
        moment = moment_of(list(self.layers), self.frames.index(index), len(self.frames))
        return put_in_front(rgb8, self.layers[moment.kind], moment, self.track.sample(index).points_px)

    def cover(self, index: int, size_wh: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        """Coverage of the thing alone."""
        return self.covered(index, np.zeros((size_wh[1], size_wh[0], 3), np.uint8))[1]

    def change(self, frame: Frame) -> Frame:
        """The covered frame, as a plate."""
        return Frame(frame.index, frame.pts_seconds, (self.covered(frame.index, rgb8_from_frame(frame))[0],), *SRGB)


@dataclass(frozen=True)
class HullStore:
    """Samples whose matte is the mesh hull: the baseline."""

    store: TrackStore

    def sample(self, track_id: int, index: int) -> TrackSample:
        return bare(self.store.sample(track_id, index))


def bare(sample: TrackSample) -> TrackSample:
    """The sample with the mesh hull for a matte."""
    inverse = cv2.invertAffineTransform(sample.matte_px_from_crop.astype(np.float64))
    points = sample.points_px[:, :2].astype(np.float64) @ inverse[:, :2].T + inverse[:, 2]
    return replace(sample, matte=hull(points))


def areas(points_px: Float[np.ndarray, "478 3"], roi: Roi) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """(hull of a mesh, its core) in a region. The core: a twelfth of the face inside, from just above the brows down."""
    h, w = roi.size_hw
    local = points_px[:, :2].astype(np.float64) - (roi.x0, roi.y0)
    whole = hull(local, max(h, w))[:h, :w] > 127
    tall = float(np.ptp(local[face_model().loops["oval"], 1]))
    r = max(int(tall / 12), 1)
    padded = cv2.copyMakeBorder(whole.astype(np.uint8), r, r, r, r, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)))[r:-r, r:-r] > 0
    core[: max(int(local[[105, 334], 1].min() - 0.06 * tall), 0)] = False
    return whole, core


def scores(
    visible: Float32[np.ndarray, "h w"],
    cover: Float32[np.ndarray, "h w"],
    whole: Bool[np.ndarray, "h w"],
    core: Bool[np.ndarray, "h w"],
) -> dict[str, float]:
    """Of one frame: IoU of the visible face, IoU of what is hidden (NaN where nothing is), share of the face that is eaten."""
    front = (cover > HIDDEN) & whole
    known = core | front
    face, seen = known & ~front, known & (visible > 0.5)
    said = known & ~seen
    numbers = {"iou": float((face & seen).sum() / max((face | seen).sum(), 1))}
    numbers["hidden"] = float((front & said).sum() / (front | said).sum()) if front.sum() > LEAST_PX else float("nan")
    return numbers | {"eaten": float((face & said).sum() / max(face.sum(), 1))}


def drawn_over(
    alpha: Float32[np.ndarray, "h w"], cover: Float32[np.ndarray, "h w"], whole: Bool[np.ndarray, "h w"]
) -> float:
    """Share of the pixels that something surely covers in which more than half of the result is double. NaN where none is covered."""
    front = (cover > SOLID) & whole
    return float((alpha[front] > 0.5).mean()) if front.sum() > LEAST_PX else float("nan")


def hair_scores(
    hair: Bool[np.ndarray, "h w"],
    hidden: Bool[np.ndarray, "h w"],
    cover: Float32[np.ndarray, "h w"],
    areas: tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]],
    kind: str,
) -> dict[str, float]:
    """Share of what is seen of a thing in front that is taken for hair (NaN where hardly any is seen); for hair also its IoU.

    areas: the mesh's hull and its core, as from `areas`. hair, hidden: what the double is held out of, and the part of it that is hair.
    """
    whole, core = areas
    front = (cover > HIDDEN) & whole
    seen, said = front & hidden, hair & (core | front)
    share = float((seen & hair).sum() / seen.sum()) if seen.sum() > LEAST_PX else float("nan")
    if kind in NO_HAIR:
        return {"taken": share}
    if kind not in HAIR:
        return {}
    iou = float((said & front).sum() / (said | front).sum()) if front.sum() > LEAST_PX else float("nan")
    return {"hair": share, "hair_iou": iou}


@dataclass
class Tally:
    """Numbers of one row, kept by kind."""

    by_kind: dict[str, dict[str, list[float]]]
    before: tuple[int, Float32[np.ndarray, "h w"]] | None = None

    def add(self, kind: str, **numbers: float) -> None:
        for name, value in numbers.items():
            self.by_kind.setdefault(kind, {}).setdefault(name, []).append(value)

    def numbers(self) -> dict[str, float]:
        """Means over kinds, each kind's over frames; IoU and `over` of every kind too."""
        mean = {kind: {n: finite_mean(v) for n, v in found.items()} for kind, found in self.by_kind.items()}
        names = list(dict.fromkeys(n for found in mean.values() for n in found))
        out = {n: finite_mean([found.get(n, float("nan")) for found in mean.values()]) for n in names}
        short = {kind: SHORT.get(kind, kind) for kind in mean}
        return out | {
            f"{n}_{short[k]}": found[n]
            for k, found in mean.items()
            for n in ("iou", "over", "hair", "taken")
            if n in found
        }


def _items(shop: Workshop, scope: Scope) -> list[str]:
    """Bare faces, or plates."""
    names = [c for c in FACES if c in shop.clips] or list(dict.fromkeys(p.plate for p in scope.pairs))[:3]
    return names[:QUICK_CLIPS] if scope.quick else names


def _folder(shop: Workshop, clip: str) -> Path:
    """`occluders/` beside the clips, or beside their folder."""
    place = shop.clips[clip].path.parent
    return next((p for p in (place / "occluders", place.parent / "occluders") if p.is_dir()), place / "occluders")


def _skin(track: FaceTrack, index: int, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """Colour of the cheeks."""
    at = track.sample(index).points_px[[50, 280, 205, 425], :2].round().astype(int)
    x, y = np.clip(at, 0, np.array(rgb8.shape[1::-1]) - 1).T
    return rgb8[y, x].astype(np.float64).mean(0)


def _flicker(tally: Tally, index: int, error: Float32[np.ndarray, "m m"]) -> float:
    """Change of the matte's error from the frame before, mean over the crop's known pixels, in percent; NaN at the first."""
    last, tally.before = tally.before, (index, error)
    if last is None or last[0] != index - 1:
        return float("nan")
    known = np.isfinite(error) & np.isfinite(last[1])
    return float(100 * np.abs(error - last[1])[known].mean()) if known.any() else float("nan")


def _error(
    sample: TrackSample, cover: Float32[np.ndarray, "h w"], core: Bool[np.ndarray, "h w"], roi: Roi
) -> Float32[np.ndarray, "m m"]:
    """Matte less truth in the crop of the matte; NaN where truth is not known."""
    inverse = cv2.invertAffineTransform(sample.matte_px_from_crop.astype(np.float64))
    inverse[:, 2] += inverse[:, :2] @ (roi.x0, roi.y0)
    both = np.dstack([cover, (core | (cover > HIDDEN)).astype(np.float32)])
    truth, known = cv2.split(cv2.warpAffine(both, inverse, sample.matte.shape[::-1], flags=cv2.INTER_LINEAR))
    area = bare(sample).matte.astype(np.float32) / 255
    error = sample.matte.astype(np.float32) / 255 - (1 - truth) * area
    return np.where((known > 0.5) & (area > 0.5), error, np.nan).astype(np.float32)


def _casts(performance: Performance, track: FaceTrack, persona: Persona, without: bool) -> list[PreparedCast]:
    """One double for the face, with its matte or with the hull for one."""
    alone = replace(track, store=HullStore(track.store)) if without else track
    return cast_at("draft", replace(performance, tracks=(alone,)), persona)


def measure_scene(
    scene: Scene, covered: Footage, found: FaceTrack | None, casts: dict[str, list[PreparedCast]], look: HairLook | None = None
) -> tuple[dict[str, Tally], dict[str, Picture]]:  # fmt: skip
    """Tallies by row, and of every kind the frame in which the product is worst.

    covered: the scene's plate, as it was analysed. found: the face in that analysis. casts: by row. look: of the performer's hair; None: no hair.
    """
    tallies = {row: Tally({}) for row in (HULL, PRODUCT)}
    worst: dict[str, tuple[float, Picture]] = {}
    wanted = set(scene.frames)
    for frame in covered.frames(FrameRange(scene.frames[0], scene.frames[-1] + 1)):
        if frame.index not in wanted:
            continue
        kind = scene.kind(frame.index)
        shown = found is not None and found.shown_at(frame.index) > 0
        for tally in tallies.values():
            tally.add(kind, lost=float(not shown))
        if found is None or not shown:
            continue
        for row, tally in tallies.items():
            sample = found.sample(frame.index)
            numbers, picture = _one(scene, frame, bare(sample) if row == HULL else sample, tally, casts[row])
            tally.add(kind, **numbers)
            if row == PRODUCT and picture:
                tally.add(kind, **_hair(scene, frame, sample, look))
            if row == PRODUCT and picture and numbers["iou"] < worst.get(kind, (2.0,))[0]:
                worst[kind] = numbers["iou"], picture
    return tallies, {kind: picture for kind, (_, picture) in worst.items()}


def _one(
    scene: Scene, frame: Frame, sample: TrackSample, tally: Tally, casts: list[PreparedCast]
) -> tuple[dict[str, float], Picture | None]:
    """Numbers of one frame of one row; a picture where it was rendered."""
    points = scene.track.sample(frame.index).points_px
    roi = layer_roi(points, frame.size_wh)
    cover = scene.cover(frame.index, frame.size_wh)[roi.y0 : roi.y1, roi.x0 : roi.x1]
    whole, core = areas(points, roi)
    visible = visible_face(sample, roi, linear_from_frame(frame, roi))
    numbers = scores(visible, cover, whole, core)
    numbers["flicker"] = _flicker(tally, frame.index, _error(sample, cover, core, roi))
    if frame.index % RENDERED_EVERY:
        return numbers, None
    out, layers = render_frame(casts, frame)
    alpha = in_region(layers[0].alpha, layers[0].roi, roi) if layers else np.zeros(roi.size_hw, np.float32)
    numbers["over"] = drawn_over(alpha, cover, whole)
    return numbers, _picture(scene.kind(frame.index), frame, out, roi, visible)


def _hair(scene: Scene, frame: Frame, sample: TrackSample, look: HairLook | None) -> dict[str, float]:
    """`hair_scores` of one frame, by the hair matte that passes are given."""
    points = scene.track.sample(frame.index).points_px
    roi = layer_roi(points, frame.size_wh)
    cover = scene.cover(frame.index, frame.size_wh)[roi.y0 : roi.y1, roi.x0 : roi.x1]
    hidden = visible_face(sample, roi, linear_from_frame(frame, roi)) < 0.5
    hair = np.zeros_like(hidden) if look is None else hair_in_region(look, rgb8_from_frame(frame), sample, roi) > 0.5
    return hair_scores(hair & hidden, hidden, cover, areas(points, roi), scene.kind(frame.index))


def in_region(a: Float32[np.ndarray, "h w"], has: Roi, wanted: Roi) -> Float32[np.ndarray, "k l"]:
    """Values of one region of a picture in another; 0 where the first does not reach."""
    out = np.zeros(wanted.size_hw, np.float32)
    x0, y0, x1, y1 = max(has.x0, wanted.x0), max(has.y0, wanted.y0), min(has.x1, wanted.x1), min(has.y1, wanted.y1)
    if x1 > x0 and y1 > y0:
        part = a[y0 - has.y0 : y1 - has.y0, x0 - has.x0 : x1 - has.x0]
        out[y0 - wanted.y0 : y1 - wanted.y0, x0 - wanted.x0 : x1 - wanted.x0] = part
    return out


def _picture(kind: str, frame: Frame, out: Frame, roi: Roi, visible: Float32[np.ndarray, "h w"]) -> Picture:
    """Plate, matte and result side by side."""
    part = np.s_[roi.y0 : roi.y1, roi.x0 : roi.x1]
    plate, result = rgb8_from_frame(frame)[part], rgb8_from_frame(out)[part]
    matte = np.repeat(np.round(255 * visible).astype(np.uint8)[..., None], 3, axis=2)
    return Picture(f"{kind}, frame {frame.index}", np.hstack([plate, matte, result]))


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    movie = shop.plate(item)
    filmed = shop.performance(movie)
    frames = [int(i) for i in shown_frames(filmed.track("main"))] if filmed.tracks else []
    if len(frames) < LEAST_FRAMES:
        raise NoFace(f"{item}: the product shows no double in {LEAST_FRAMES} frames, so there is nothing to cover")
    track = filmed.track("main")
    first = next(shop.pictures(movie, frames[0]))
    seed = sum(item.encode())
    scene = Scene(track, frames, layers_of(_folder(shop, item), _skin(track, frames[0], first), seed))
    persona = shop.persona(stand_in(scope, item))
    with tempfile.TemporaryDirectory(dir=shop.scratch) as folder, open_footage(movie) as plate:
        covered = Altered(plate, scene.change, SRGB)
        performance = load_performance(analyse(covered, Path(folder) / "covered.perf"))
        try:
            found = same_face(track, performance)
            casts = {row: _casts(performance, found, persona, row == HULL) for row in (HULL, PRODUCT)} if found else {}
            looks = hair_looks(casts[PRODUCT], covered) if found else {}
            tallies, pictures = measure_scene(
                scene, covered, found, casts, looks.get(found.track_id) if found else None
            )
        finally:
            for t in performance.tracks:
                if isinstance(t.store, PerfStore):
                    t.store.close()
    records = tuple(Record(item, row, tally.numbers()) for row, tally in tallies.items())
    return Measured(records, tuple(pictures.values()))


KIND_COLUMNS = tuple(f"iou_{k}" for k in ("hand", "photo", "lock", "fringe", "glasses", "mic", "food", "mask"))
OCCLUSION = Protocol(
    "occlusion",
    "Do hands, hair, glasses, microphones and food stay in front? Composited truth, at the plate's resolution.",
    ("iou", "over", "hidden", "eaten", "flicker", "hair", "hair_iou", "taken", *KIND_COLUMNS),
    {"iou": 1, "over": -1, "hidden": 1, "eaten": -1, "flicker": -1, "hair": 1, "hair_iou": 1, "taken": -1, **dict.fromkeys(KIND_COLUMNS, 1)},
    _items, _measure,
    {"iou": ">= 0.93", "over": "<= 0.03", "hair": ">= 0.7", "taken": "<= 0.1", **dict.fromkeys(KIND_COLUMNS, ">= 0.93")},
)  # fmt: skip
