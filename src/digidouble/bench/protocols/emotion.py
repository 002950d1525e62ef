"""Are written emotions recognised? Ten emotions on portraits of several people, judged by how real people's landmarks moved.

A portrait is a calm frame of a person's clip, the persona is that person's; every emotion is written at full strength and rendered as `speak`
does. The judge (`bench.emotion_judge`) has seen real clips only, and never the person it judges. Rows: `digidouble QUALITY`; `without cheeks and
eyes`, the same with cheeks, lids and their creases left at rest; and, as item `real people`, how many real takes the judge recognises whose
people it has not seen: what its word is worth. `emotional` is the number to look at: the share recognised of those that are not neutral. Neutral is
right by construction, the change of a face from its own rest being none; `recognised` and `first_two` count it. `as_A_B`: takes of A taken for B.
`cm_A_LENGTH`: how far the lengths of WATCHED go in emotion A, in centimetres of an average head: of a render, and of the real takes
(mean, `least_` and `most_`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.acting import EMOTIONS, face_of
from digidouble.bench.emotion_judge import (
    CALM,
    FEATURES,
    Clip,
    Judge,
    Lengths,
    Shown,
    changes,
    lengths,
    shown,
    train,
    unseen,
    with_brows,
)
from digidouble.bench.emotion_material import PHOTO, TAKES, Spans, wanted
from digidouble.bench.material import evenly, excerpt
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.referees import BROW_VIEWS, VIEWS, Box, Landmarker
from digidouble.bench.workshop import Workshop, cast_at, product_row
from digidouble.errors import NoFace, SettingsError, UnreadableMedia
from digidouble.footage.memory import MemoryFootage
from digidouble.performance import analyse, load_performance
from digidouble.pipeline import render_frame, written_plate
from digidouble.schema.acting import Acting
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRate

REAL_PEOPLE, ABLATION = "real people", "without cheeks and eyes"
WATCHED: dict[str, tuple[str, ...]] = {
    "joy": ("corner_out", "eye"), "laughter": ("open", "corner_out"), "sadness": ("inner_brow", "outer_brow", "smile"),
    "crying": ("corner_out", "smile", "eye"), "anger": ("inner_brow",), "fear": ("eye", "inner_brow"), "surprise": ("chin", "eye", "inner_brow"),
    "disgust": ("upper_lip", "eye"), "contempt": ("corner_uneven",),
}  # fmt: skip
"""Lengths of an emotion that are told in centimetres."""
HEAD_CM = 6.68  # `face_scale` of the mean face (`schema.mesh`): outer eye corners 8.80 cm apart, nose 5.07 cm long
MOST_PEOPLE = 6
MOST_FRAMES = 40  # of a take that the judge looks at
LONGEST_PHOTO = 1500  # pixels
_RGB8, _SRGB = PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True)


def _items(shop: Workshop, scope: Scope) -> list[str]:
    people = list(dict.fromkeys(p.persona for p in scope.pairs))
    return [REAL_PEOPLE, *people[: 1 if scope.quick else MOST_PEOPLE]] if not missing(shop) else []


def missing(shop: Workshop) -> list[str]:
    """Clips and photographs that the judge learns from and that are not here."""
    return [c for c, _ in wanted() if not (_photo(shop, c).is_file() if c.startswith(PHOTO) else c in shop.clips)]


def _photo(shop: Workshop, clip: str) -> Path:
    folder = next(iter(shop.clips.values())).path.parent
    return folder.parent / "photos" / f"{clip.removeprefix(PHOTO)}.jpg"


def _seen(shop: Workshop) -> dict[Clip, Lengths]:
    """Lengths of the real faces, by frame."""
    if "emotion" not in shop.kept:
        shop.kept["emotion"] = {(c, spans): _watched(shop, c, spans) for c, spans in wanted()}
    return shop.kept["emotion"]


def _picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    found = cv2.imread(str(path))
    if found is None:
        raise UnreadableMedia(f"{path}: this picture cannot be read")
    small = min(1.0, LONGEST_PHOTO / max(found.shape[:2]))
    return np.ascontiguousarray(cv2.resize(found, None, fx=small, fy=small, interpolation=cv2.INTER_AREA)[..., ::-1])


def excerpt_name(clip_id: str, frames: list[int]) -> str:
    """An excerpt's file: one name for one choice of frames, whatever chose them."""
    return f"{clip_id}-emotion-{hashlib.sha256(repr(frames).encode()).hexdigest()[:12]}.mkv"


def _watched(shop: Workshop, clip: str, spans: Spans) -> Lengths:
    landmarker = shop.observer.landmarker
    if clip.startswith(PHOTO):
        picture = _picture(_photo(shop, clip))
        boxes = landmarker.boxes(picture)
        if not boxes:
            raise NoFace(f"{clip}: the judge finds no face")
        return _looked(landmarker, [picture], [boxes[0]])
    count = shop.frame_count(clip)
    frames = evenly([i for i in range(count) if any(a <= i <= b for a, b in spans)], MOST_FRAMES)
    if not frames:
        wanted_text = ", ".join(f"{a} to {b}" for a, b in spans)
        raise SettingsError(
            f"{shop.clips[clip].path}: has {count} frames, and the judge learns from {wanted_text} of it: is it the clip of the manifest, whole?"
        )
    name = excerpt_name(shop.clip_id(clip), frames)
    movie = excerpt(shop.clips[clip].path, frames, shop.folder / "excerpts" / name)
    watched = shop.watched(movie)
    rows = np.flatnonzero(watched.detected)
    brows = [
        landmarker.landmarks(picture, watched.box(row), BROW_VIEWS)
        for row, picture in enumerate(shop.pictures(movie, watched.first))
        if row < len(watched.detected) and watched.detected[row]
    ]
    return with_brows(lengths(watched.landmarks[rows]), lengths(np.stack(brows)))


def _looked(landmarker: Landmarker, pictures: list[UInt8[np.ndarray, "h w 3"]], boxes: list[Box]) -> Lengths:
    """Lengths of one face a picture."""
    points, brows = (
        np.stack([landmarker.landmarks(p, b, views) for p, b in zip(pictures, boxes, strict=True)])
        for views in (VIEWS, BROW_VIEWS)
    )
    return with_brows(lengths(points), lengths(brows))


def faces() -> Float[np.ndarray, "20 a"]:
    """Ten emotions whole, then the same without cheeks and eyes."""
    whole = np.stack([face_of(e) for e in EMOTIONS])
    bare = whole.copy()
    bare[:, [k for k, n in enumerate(face_model().action_names) if n.startswith(("cheek_raise", "lid_"))]] = 0
    return np.concatenate([whole, bare])


def _rendered(shop: Workshop, person: str, quality: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """One picture a row of `faces`."""
    picture = shop.photograph(person).rgb8
    h, w = (n & ~1 for n in picture.shape[:2])
    frame = Frame(0, Fraction(0), (np.ascontiguousarray(picture[:h, :w]),), _RGB8, _SRGB)
    plate = MemoryFootage([frame], FrameRate(Fraction(25)), f"{person}.png")
    written, base = shop.scratch / f"{person}-written.perf", shop.scratch / f"{person}-portrait.perf"
    try:
        found = load_performance(analyse(plate, base))
        if not found.tracks:
            raise SettingsError(f"{person}: its calm frame shows no face to the product")
        rows = faces()
        n = len(rows)
        rest = Acting(
            plate.shot.rate, rows, np.zeros(n), np.zeros(n), np.zeros((n, 2)), np.zeros((n, 3)), np.zeros((n, 2))
        )
        acted, performance = written_plate(plate, found, "main", rest, written, {})
        casts = cast_at(quality, performance, shop.persona(person))
        for index in range(n):
            yield rgb8_from_frame(render_frame(casts, acted.frame(index))[0])
    finally:
        base.unlink(missing_ok=True)
        written.unlink(missing_ok=True)


def _numbers(judge: Judge, found: Lengths) -> dict[str, float]:
    """Shares that are recognised: of the nine, of all ten, and among the judge's first two; `as_A_B` what A was taken for."""
    return _shares([(e, judge.ranked(c)) for e, c in zip(EMOTIONS, changes(found, found[0]), strict=True)])


def _shares(verdicts: list[tuple[str, list[str]]]) -> dict[str, float]:
    out = {
        "emotional": float(np.mean([r[0] == e for e, r in verdicts if e != CALM])),
        "recognised": float(np.mean([r[0] == e for e, r in verdicts])),
        "first_two": float(np.mean([e in r[:2] for e, r in verdicts])),
    }
    for emotion, ranked in verdicts:
        key = f"as_{emotion}_{ranked[0]}"
        out[key] = out.get(key, 0.0) + 1.0
    return out


def centimetres(change: Float[np.ndarray, "10 16"]) -> dict[str, float]:
    """`cm_A_LENGTH` of ten faces, in the order of EMOTIONS, over the first one's rest."""
    return {
        f"cm_{e}_{n}": HEAD_CM * float(change[EMOTIONS.index(e), FEATURES.index(n)])
        for e, names in WATCHED.items()
        for n in names
    }


def real_centimetres(people: list[Shown]) -> dict[str, float]:
    """The same of real takes, each by its middle frame: mean, and the `least_` and `most_` of any."""
    out = {}
    for e, names in WATCHED.items():
        takes = np.stack([np.median(s.changes, 0) for s in people if s.take.emotion == e])
        for n in names:
            found = HEAD_CM * takes[:, FEATURES.index(n)]
            key = f"cm_{e}_{n}"
            out |= {key: float(found.mean()), f"least_{key}": float(found.min()), f"most_{key}": float(found.max())}
    return out


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    people = shown(_seen(shop))
    if item == REAL_PEOPLE:
        verdicts = [(take.emotion, ranked) for take, ranked in unseen(people)]
        return Measured(
            (
                Record(
                    item,
                    "unseen people",
                    _shares(verdicts) | {"takes": float(len(verdicts))} | real_centimetres(people),
                ),
            )
        )
    judge, landmarker = train(people, {t.person for t in TAKES if t.clip == item}), shop.observer.landmarker
    records, pictures = [], []
    for quality in scope.qualities:
        found = []
        box = None
        for k, picture in enumerate(_rendered(shop, item, quality)):
            box = box or next(iter(landmarker.boxes(picture)), None)
            if box is None:
                raise NoFace(f"{item}: the judge finds no face in the neutral render")
            found.append(_looked(landmarker, [picture], [box])[0])
            if k < len(EMOTIONS):
                pictures.append(Picture(f"{EMOTIONS[k]}", picture))
        found = np.stack(found)
        ten = len(EMOTIONS)
        records += [
            Record(
                item, product_row(quality), _numbers(judge, found[:ten]) | centimetres(changes(found[:ten], found[0]))
            ),
            Record(item, f"{product_row(quality)} {ABLATION}", _numbers(judge, found[ten:])),
        ]
    return Measured(tuple(records), tuple(pictures))


EMOTION = Protocol(
    "emotion", "Are written emotions recognised? Ten on each portrait, by landmarks learnt from real people; chance is 0.1.",
    ("emotional", "recognised", "first_two", "takes"), {"emotional": 1, "recognised": 1, "first_two": 1}, _items, _measure,
    {"emotional": ">= 0.8"},
)  # fmt: skip
