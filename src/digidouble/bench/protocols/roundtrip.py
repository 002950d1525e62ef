"""Round trip: A into B's plate, then B, built from other footage, back into the result; compared with the plate itself."""

from __future__ import annotations

import numpy as np

from digidouble.bench.landmarks import skin_mask
from digidouble.bench.material import write_lossless
from digidouble.bench.pictures import gradient_error, lab, psnr_db, ssim
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop
from digidouble.footage import open_footage
from digidouble.pipeline import prepare, render_frame
from digidouble.schema.colour import rgb8_from_frame

FRAMES = 48
EVERY = 4


def _items(shop: Workshop, scope: Scope) -> list[str]:
    """Pairs whose plate's person can be built from other footage: the plate is the second held-out block of that clip."""
    pairs = [p for p in scope.pairs if shop.frame_count(p.plate) >= 200]
    return [p.name for p in pairs[: 1 if scope.quick else 4]]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    pair = scope.of_pair(item)
    plate = shop.held_out_movie(pair.plate, 1)
    # The name says all that the pixels depend on besides the code, so the analysis of it may be kept under that name.
    out = shop.scratch / f"{plate.stem}-as-{shop.clip_id(pair.persona)}.mkv"
    performance = shop.performance(plate)
    casts = prepare(performance, {"main": shop.persona(pair.persona)})
    with open_footage(plate) as footage:
        write_lossless((render_frame(casts, f)[0] for f in footage.frames()), footage.shot.rate.fps, out)
    back = prepare(shop.performance(out), {"main": shop.persona(pair.plate)})
    watched = shop.watched(plate)
    found: dict[str, list[list[float]]] = {"swapped": [], "returned": []}
    pictures: list[Picture] = []
    rows = range(0, len(watched.boxes), EVERY)
    with open_footage(plate) as original, open_footage(out) as swapped:
        for row in rows:
            index = watched.first + row
            truth, once = rgb8_from_frame(original.frame(index)), swapped.frame(index)
            mask = skin_mask(watched.landmarks[row].astype(np.float64), truth.shape[:2])
            shown = {"swapped": rgb8_from_frame(once), "returned": rgb8_from_frame(render_frame(back, once)[0])}
            for name, rgb8 in shown.items():
                away = np.linalg.norm(lab(rgb8) - lab(truth), axis=2)[mask].mean() if mask.any() else np.nan
                found[name].append([psnr_db(rgb8, truth, mask), ssim(rgb8, truth, mask), gradient_error(rgb8, truth, mask), float(away)])  # fmt: skip
            if row == rows[len(rows) // 2]:
                ys, xs = np.nonzero(mask)
                box = slice(max(0, ys.min() - 30), ys.max() + 30), slice(max(0, xs.min() - 30), xs.max() + 30)
                pictures = [Picture(k, np.ascontiguousarray(v[box])) for k, v in {"plate": truth, **shown}.items()]
    out.unlink()
    names = ("psnr_db", "ssim", "gradient", "lab")
    return Measured(
        tuple(
            Record(item, row, {n: finite_mean([v[i] for v in values]) for i, n in enumerate(names)})
            for row, values in found.items()
        ),
        tuple(pictures),
    )


ROUNDTRIP = Protocol(
    "roundtrip", "What is lost? A into B's plate and B back again, against the plate, in the skin mask.",
    ("psnr_db", "ssim", "gradient", "lab"), {"psnr_db": 1, "ssim": 1, "gradient": -1, "lab": -1}, _items, _measure,
)  # fmt: skip
