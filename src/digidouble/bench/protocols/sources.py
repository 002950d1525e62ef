"""Is a person who gave more recognised more often? The identity protocol's question for personas of few and of many pictures.

Every persona is built from the same capture, of the pictures that it would have kept first. One frame in STEP of a plate is judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.bench.observe import Watched
from digidouble.bench.protocol import Measured, Protocol, Record, Scope
from digidouble.bench.protocols import measures
from digidouble.bench.protocols.pairs import pair_names
from digidouble.bench.workshop import Workshop, cast_at
from digidouble.footage import open_footage
from digidouble.persona import load_persona
from digidouble.pipeline import render_frame
from digidouble.schema.colour import rgb8_from_frame

COUNTS = (1, 3, 10, 60)
STEP = 12  # frames


def row_of(count: int) -> str:
    """What the row of a persona of so many pictures is called."""
    return f"of {count}" if count > 1 else "of 1 picture"


def _doubles(
    shop: Workshop, scope: Scope, item: str, count: int, watched: Watched
) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """Every STEP-th frame (row of `watched`, pixels) with the double of a persona of so many pictures."""
    pair = scope.of_pair(item)
    movie = shop.plate(pair.plate)
    persona = load_persona(shop.persona_file(pair.persona, count))
    casts = cast_at(scope.qualities[0], shop.performance(movie), persona)
    with open_footage(movie) as plate:
        for row in range(0, len(watched.boxes), STEP):
            yield row, rgb8_from_frame(render_frame(casts, plate.frame(watched.first + row))[0])


def judged(
    vectors: Float32[np.ndarray, "k d"], persona: Float32[np.ndarray, "d"], plate: Float32[np.ndarray, "d"]
) -> dict[str, float]:
    """The share of frames nearer to the persona, and by how much in the mean."""
    found = measures.identity(vectors, persona, plate, np.stack([persona, plate]), 0)
    return {k: found[k] for k in ("won", "margin")}


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    pair, see = scope.of_pair(item), shop.observer
    watched = shop.watched(shop.plate(pair.plate))
    persona, plate = shop.likeness(pair.persona), shop.likeness(pair.plate)
    records = []
    for count in COUNTS:
        first, second = [], []
        for row, rgb8 in _doubles(shop, scope, item, count, watched):
            points = see.landmarker.landmarks(rgb8, watched.box(row))
            first.append(see.identity.embed(rgb8, points))
            second.append(see.embed_second(rgb8, points))
        numbers = judged(np.stack(first), persona.first, plate.first)
        if len(persona.second):
            numbers |= {f"{k}_2": v for k, v in judged(np.stack(second), persona.second, plate.second).items()}
        records.append(Record(item, row_of(count), numbers))
    return Measured(tuple(records))


SOURCES = Protocol(
    "sources",
    "Is a person who gave more pictures recognised more often? The judges of identity, one frame in twelve.",
    ("won", "margin", "won_2", "margin_2"), dict.fromkeys(("won", "margin", "won_2", "margin_2"), 1),
    pair_names, _measure, {"won": "of 10 > of 1", "won_2": "of 10 > of 1"},
)  # fmt: skip
