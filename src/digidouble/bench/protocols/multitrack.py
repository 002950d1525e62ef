"""Three faces in one frame: one pass against three, and against what a per-face generator would take.

The plate is composed of three clips side by side. A pass decodes, analyses, renders and encodes; "three passes" is what a tool
does that knows one face at a time. The generator is the bare network of `baselines.oneshot` at 512 pixels, once a face. `weight`
is the share of the quality budget that the analysis gives each face (lead, then support).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.bench.baselines.oneshot import OneShot
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.referees import FaceFollower
from digidouble.bench.workshop import Workshop, product_row
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import NoFace
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona

FACES = ("emotion_happy", "crying_man", "happy_talk")
HEIGHT, FRAMES, QUICK_FRAMES = 360, 75, 16
EVERY = 5
Rgb8 = UInt8[np.ndarray, "h w 3"]


def _clips(shop: Workshop, scope: Scope) -> list[str]:
    """Three clips: the usual ones, or plates of the run."""
    here = [c for c in FACES if c in shop.clips]
    return (here + [p.plate for p in scope.pairs if p.plate not in here] * 3)[:3]


def side_by_side(pictures: list[Rgb8]) -> Rgb8:
    """Pictures at HEIGHT, next to each other, cut to even width."""
    parts = [cv2.resize(p, (2 * round(p.shape[1] * HEIGHT / p.shape[0] / 2), HEIGHT), interpolation=cv2.INTER_AREA) for p in pictures]  # fmt: skip
    return np.hstack(parts)


def _compose(shop: Workshop, clips: list[str], frames: int, out: Path) -> list[float]:
    """Write the plate; returns where each face's clip has its middle, as a share of the width."""
    import av

    streams = [shop.pictures(shop.clips[c].path) for c in clips]
    with av.open(str(out), "w") as movie:
        stream, widths = None, [0]
        for index, pictures in enumerate(zip(*streams, strict=False)):
            if index == frames:
                break
            page = side_by_side(list(pictures))
            if stream is None:
                stream = movie.add_stream("libx264", rate=Fraction(25), options={"crf": "10", "preset": "veryfast"})
                stream.width, stream.height, stream.pix_fmt = page.shape[1], page.shape[0], "yuv420p"
                widths = [2 * round(p.shape[1] * HEIGHT / p.shape[0] / 2) for p in pictures]
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(page), "rgb24")))
        if stream is None:
            raise NoFace("the clips of the three-face plate hold no frames")
        movie.mux(stream.encode(None))
    edges = np.cumsum([0, *widths])
    return [float((a + b) / 2 / edges[-1]) for a, b in pairwise(edges)]


def _tracks(performance: Performance, places: list[float]) -> list[str]:
    """The longest track nearest to each place.

    Raises:
        NoFace: fewer tracks than faces.
    """
    w = performance.shot.size_wh[0]
    out: list[str] = []
    for x in places:
        near = [
            t for t in performance.tracks if abs(float(t.origin_px[len(t.frames) // 2, 0]) / w - x) < 0.5 / len(places)
        ]
        if not near:
            raise NoFace(f"{performance.shot.path}: no track near {x:.2f} of the width; {performance.tracks}")
        out.append(str(max(near, key=lambda t: len(t.frames)).track_id))
    return out


def _pass(
    plate: Path, personas: dict[int, Persona], places: list[float], out: Path, quality: str
) -> tuple[float, Performance]:
    """Seconds of one whole pass with the given faces cast (index of place -> persona)."""
    started = time.perf_counter()
    perf = out.with_suffix(".perf")
    with open_footage(plate) as footage:
        performance = load_performance(analyse(footage, perf))
        names = _tracks(performance, places)
        casting = {names[i]: p for i, p in personas.items()}
        settings = DeliverySettings(
            quality=quality,  # type: ignore[arg-type]
            visible_label=False,
            label_waiver_reason="measurement, removed at once",
        )
        render_shot(footage, performance, casting, out, RenderSettings(quality=quality, samples=0), settings)  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    perf.unlink()
    return seconds, performance


def _vectors(
    shop: Workshop, pictures: Iterator[Rgb8], plate: Iterator[Rgb8], place: float
) -> tuple[np.ndarray, np.ndarray]:
    """Identity of one face of the output, found on the plate, by both judges."""
    follower, first, second = FaceFollower(shop.observer.landmarker, place), [], []
    for index, (rgb8, original) in enumerate(zip(pictures, plate, strict=False)):
        found = follower.step(original)
        if found and index % EVERY == 0:
            points = shop.observer.landmarker.landmarks(rgb8, found[0])
            first.append(shop.observer.identity.embed(rgb8, points))
            second.append(shop.observer.embed_second(rgb8, points))
    if not first:
        raise NoFace("the referee finds no face at one place of the three-face plate")
    return np.stack(first), np.stack(second)


def _generator_seconds(shop: Workshop, scope: Scope) -> float:
    """One face through the bare network of a one-shot generator, median of three."""
    network = OneShot(512, scope.threads, shop.scratch)
    picture = np.zeros((1, 3, 512, 512), np.float32)
    network.run(picture)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        network.run(picture)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _face_records(
    shop: Workshop, item: str, faces: list[tuple[str, str]], performance: Performance, movies: tuple[Path, Path], places: list[float]
) -> list[Record]:  # fmt: skip
    """One row a face of `faces` (persona, clip): its identity and its weight, the heaviest being the lead. `movies`: plate, output."""
    weights = [performance.track(t).weight for t in _tracks(performance, places)]
    out = []
    for i, (persona, clip) in enumerate(faces):
        part = "lead" if weights[i] == max(weights) else "support"
        mine, other = shop.likeness(persona), shop.likeness(clip)
        first, second = _vectors(shop, shop.pictures(movies[1]), shop.pictures(movies[0]), places[i])
        margin = first @ mine.first - first @ other.first
        numbers = {"won": float((margin > 0).mean()), "margin": float(margin.mean()), "weight": weights[i]}
        if second.shape[1]:
            numbers["won_2"] = float((second @ mine.second > second @ other.second).mean())
        out.append(Record(item, f"face {i + 1} ({part}): {persona} for {clip}", numbers))
    return out


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    clips = item.split(" ")[0].split("+")
    plate, out = shop.scratch / "three.mp4", shop.scratch / "three-out.mp4"
    places = _compose(shop, clips, QUICK_FRAMES if scope.quick else FRAMES, plate)
    names = [n for n in dict.fromkeys(p.persona for p in scope.pairs) if n not in clips]
    cast = {i: names[i % len(names)] for i in range(3)}
    personas = {i: shop.persona(n) for i, n in cast.items()}
    first, *others = scope.qualities
    # A whole pass first: compiling kernels and loading networks is not what is compared.
    _pass(plate, personas, places, out, first)
    three = sum(_pass(plate, {i: personas[i]}, places, out, first)[0] for i in range(3))
    one, performance = _pass(plate, personas, places, out, first)
    generator = 3 * performance.shot.frame_count * _generator_seconds(shop, scope)
    records = [
        Record(item, f"one pass, {product_row(first)}", {"seconds": one, "of_three_passes": one / three}),
        Record(item, f"three passes, {product_row(first)}", {"seconds": three, "of_three_passes": 1.0}),
        Record(item, "one-shot 512, network alone", {"seconds": generator, "of_three_passes": generator / three, "over_one_pass": generator / one}),
    ]  # fmt: skip
    for quality in others:
        seconds, performance = _pass(plate, personas, places, out, quality)
        records.append(Record(item, f"one pass, {product_row(quality)}", {"seconds": seconds}))
    faces = [(cast[i], clips[i]) for i in range(3)]
    records += _face_records(shop, item, faces, performance, (plate, out), places)
    middle = performance.shot.frame_count // 2
    pictures = tuple(
        Picture(name, rgb8) for name, f in (("plate", plate), ("one pass", out)) for rgb8 in [_frame(f, middle)]
    )
    for f in shop.scratch.glob("three*"):
        f.unlink()
    return Measured(tuple(records), pictures)


def _frame(movie: Path, index: int) -> Rgb8:
    from digidouble.schema.colour import rgb8_from_frame

    with open_footage(movie) as footage:
        return rgb8_from_frame(footage.frame(index))


def _items(shop: Workshop, scope: Scope) -> list[str]:
    return ["+".join(_clips(shop, scope)) + " (composed side by side)"]


MULTITRACK = Protocol(
    "multitrack", "What do three faces cost in one pass, and does each win?",
    ("seconds", "of_three_passes", "over_one_pass", "won", "won_2", "margin", "weight"),
    {"seconds": -1, "of_three_passes": -1, "over_one_pass": 1, "won": 1, "won_2": 1, "margin": 1},
    _items, _measure, {"of_three_passes": "<= 0.45", "over_one_pass": ">= 4.3"},
)  # fmt: skip
