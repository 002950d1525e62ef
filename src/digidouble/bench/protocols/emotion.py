"""Are written emotions recognised? Ten emotions on portraits of several people, judged by how real people's landmarks moved.

A portrait is a calm frame of a person's clip, the persona is that person's; every emotion is written at full strength and rendered as `speak`
does. The judge (`bench.emotion_judge`) has seen real clips only. Rows: `digidouble QUALITY`; `without cheeks and eyes`, the same with cheeks, lids and
creases left at rest; and, as item `real people`, how many real clips the judge recognises that it has not seen: what its word is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.acting import EMOTIONS, face_of
from digidouble.bench.emotion_judge import REAL, Judge, features, missing, train, unseen
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.workshop import Workshop, cast_at, product_row
from digidouble.errors import NoFace, SettingsError
from digidouble.footage.memory import MemoryFootage
from digidouble.performance import analyse, load_performance
from digidouble.pipeline import render_frame, written_plate
from digidouble.schema.acting import Acting
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRate

REAL_PEOPLE, ABLATION = "real people", "without cheeks and eyes"
MOST_PEOPLE = 6
MOST_FRAMES = 90
_RGB8, _SRGB = PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True)


def _items(shop: Workshop, scope: Scope) -> list[str]:
    people = list(dict.fromkeys(p.persona for p in scope.pairs))
    return [REAL_PEOPLE, *people[: 1 if scope.quick else MOST_PEOPLE]] if not missing(shop.clips) else []


def _seen(shop: Workshop) -> dict[str, Float[np.ndarray, "n 15"]]:
    """Features of the real clips."""
    if "emotion" not in shop.kept:
        out = {}
        for clip in (c for clips in REAL.values() for c in clips):
            try:
                points = shop.watched(shop.plate(clip)).landmarks
            except NoFace:
                continue
            out[clip] = features(points[:: max(len(points) // MOST_FRAMES, 1)])
        shop.kept["emotion"] = out
    return shop.kept["emotion"]


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


def _numbers(judge: Judge, found: Float[np.ndarray, "10 15"]) -> dict[str, float]:
    """Shares of the ten that are recognised, at once and among the judge's first two."""
    ranked = [judge.ranked(f - found[0]) for f in found]
    hit = [r[0] == e for r, e in zip(ranked, EMOTIONS, strict=True)]
    return {
        "recognised": float(np.mean(hit)), "first_two": float(np.mean([e in r[:2] for r, e in zip(ranked, EMOTIONS, strict=True)])),
        **{f"as_{e}": float(h) for e, h in zip(EMOTIONS, hit, strict=True)},
    }  # fmt: skip


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    seen = _seen(shop)
    if item == REAL_PEOPLE:
        right = unseen(seen)
        return Measured(
            (
                Record(
                    item,
                    "unseen clips",
                    {"recognised": float(np.mean(list(right.values()))), "clips": float(len(right))},
                ),
            )
        )
    judge, landmarker = train(seen), shop.observer.landmarker
    records, pictures = [], []
    for quality in scope.qualities:
        points = []
        box = None
        for k, picture in enumerate(_rendered(shop, item, quality)):
            box = box or next(iter(landmarker.boxes(picture)), None)
            if box is None:
                raise NoFace(f"{item}: the judge finds no face in the neutral render")
            points.append(landmarker.landmarks(picture, box))
            if k < len(EMOTIONS):
                pictures.append(Picture(f"{EMOTIONS[k]}", picture))
        found = features(np.stack(points))
        ten = len(EMOTIONS)
        records += [
            Record(item, product_row(quality), _numbers(judge, found[:ten])),
            Record(item, f"{product_row(quality)} {ABLATION}", _numbers(judge, found[ten:])),
        ]
    return Measured(tuple(records), tuple(pictures))


EMOTION = Protocol(
    "emotion", "Are written emotions recognised? Ten on each portrait, by prototypes from real clips; chance is 0.1.",
    ("recognised", "first_two", "clips"), {"recognised": 1, "first_two": 1}, _items, _measure,
)  # fmt: skip
