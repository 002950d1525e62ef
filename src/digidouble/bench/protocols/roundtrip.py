"""Round trip: A into B's plate, then B, built from other footage, back into the result; compared with the plate itself.

Each row does both ways with its own means: the baselines with one photograph of A and one of B, the product with their
personas and, on the way back, an analysis of its own result. `there_` is the first half alone. The row `plate` is the plate
through JPEG 85.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from digidouble.bench.landmarks import skin_mask
from digidouble.bench.material import Pair, write_lossless
from digidouble.bench.observe import Watched, remeasured
from digidouble.bench.pictures import gradient_error, lab, psnr_db, ssim
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import BASELINES, Workshop, cast_at, quality_of
from digidouble.footage import open_footage
from digidouble.pipeline import render_frame
from digidouble.schema.colour import rgb8_from_frame

EVERY = 4
LEAST_FRAMES = 200  # of the plate's clip, so that there is other footage to build from
MOST_ITEMS = 4
Rgb8 = UInt8[np.ndarray, "h w 3"]


def _items(shop: Workshop, scope: Scope) -> list[str]:
    """Pairs whose plate's person can be built from other footage: the plate is the second held-out block of that clip."""
    pairs = [p for p in scope.pairs if shop.frame_count(p.plate) >= LEAST_FRAMES]
    return [p.name for p in pairs[: 1 if scope.quick else MOST_ITEMS]]


def _likeness(rgb8: Rgb8, truth: Rgb8, mask: np.ndarray) -> dict[str, float]:
    away = float(np.linalg.norm(lab(rgb8) - lab(truth), axis=2)[mask].mean()) if mask.any() else float("nan")
    return {"psnr_db": psnr_db(rgb8, truth, mask), "ssim": ssim(rgb8, truth, mask), "gradient": gradient_error(rgb8, truth, mask), "lab": away}  # fmt: skip


def _ways(shop: Workshop, pair: Pair, row: str, watched: Watched, indices: list[int]) -> Iterator[tuple[Rgb8, Rgb8]]:
    """(swapped, returned) of a row in frames of the plate."""
    plate = shop.held_out_movie(pair.plate, 1)
    quality = quality_of(row)
    if quality is not None:
        yield from _doubled(shop, pair, quality, indices)
        return
    there, back = (
        (BASELINES[row](shop.photograph(n)) for n in (pair.persona, pair.plate)) if row != "plate" else (None, None)
    )
    with open_footage(plate) as footage:
        for index in indices:
            truth, k = rgb8_from_frame(footage.frame(index)), index - watched.first
            if there is None or back is None:
                yield remeasured(truth), remeasured(truth)
                continue
            swapped = there.frame(truth, watched.landmarks[k].astype(np.float64))
            points = shop.observer.landmarker.landmarks(swapped, watched.box(k)).astype(np.float64)
            yield swapped, back.frame(swapped, points)


def _doubled(shop: Workshop, pair: Pair, quality: str, indices: list[int]) -> Iterator[tuple[Rgb8, Rgb8]]:
    plate = shop.held_out_movie(pair.plate, 1)
    # The name says all that the pixels depend on besides the code, so the analysis of it may be kept under that name.
    out = shop.scratch / f"{plate.stem}-as-{shop.clip_id(pair.persona)}-{quality}.mkv"
    casts = cast_at(quality, shop.performance(plate), shop.persona(pair.persona))
    with open_footage(plate) as footage:
        write_lossless((render_frame(casts, f)[0] for f in footage.frames()), footage.shot.rate.fps, out)
    try:
        back = cast_at(quality, shop.performance(out), shop.persona(pair.plate))
        with open_footage(out) as swapped:
            for index in indices:
                once = swapped.frame(index)
                yield rgb8_from_frame(once), rgb8_from_frame(render_frame(back, once)[0])
    finally:
        out.unlink()


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    pair = scope.of_pair(item)
    plate = shop.held_out_movie(pair.plate, 1)
    watched = shop.watched(plate)
    indices = [watched.first + k for k in range(0, len(watched.boxes), EVERY)]
    with open_footage(plate) as footage:
        truths = [rgb8_from_frame(footage.frame(i)) for i in indices]
    masks = [skin_mask(watched.landmarks[i - watched.first].astype(np.float64), t.shape[:2]) for i, t in zip(indices, truths, strict=True)]  # fmt: skip
    middle = len(indices) // 2
    ys, xs = np.nonzero(masks[middle]) if masks[middle].any() else np.indices(masks[middle].shape).reshape(2, -1)
    box = slice(max(0, ys.min() - 30), ys.max() + 30), slice(max(0, xs.min() - 30), xs.max() + 30)
    pictures = [Picture("plate", np.ascontiguousarray(truths[middle][box]))]
    records = []
    for row in scope.rows:
        found: list[dict[str, float]] = []
        for k, (swapped, returned) in enumerate(_ways(shop, pair, row, watched, indices)):
            once = {f"there_{n}": v for n, v in _likeness(swapped, truths[k], masks[k]).items()}
            found.append(_likeness(returned, truths[k], masks[k]) | once)
            if k == middle and row != "plate":
                pictures += [Picture(f"{row}: {n}", np.ascontiguousarray(v[box])) for n, v in (("swapped", swapped), ("returned", returned))]  # fmt: skip
        records.append(Record(item, row, {n: finite_mean([f[n] for f in found]) for n in found[0]}))
    return Measured(tuple(records), tuple(pictures))


ROUNDTRIP = Protocol(
    "roundtrip", "What is lost? A into B's plate and B back again, against the plate, in the skin mask.",
    ("psnr_db", "ssim", "gradient", "lab", "there_psnr_db", "there_lab"), {"psnr_db": 1, "ssim": 1, "gradient": -1, "lab": -1},
    _items, _measure,
)  # fmt: skip
