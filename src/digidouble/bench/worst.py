"""The worst cases of a run: which they are, and their pictures: source, plate and result over consecutive frames, eyes, mouth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.landmarks import face_scale
from digidouble.bench.material import Pair, finished
from digidouble.bench.observe import Window
from digidouble.bench.protocol import Case, Scope
from digidouble.bench.workshop import Workshop

CASES = 3
AROUND = 1  # frames between the pictures of a case
CELL_PX = 230
EYES, MOUTH = slice(17, 48), slice(48, 68)
ASPECT = 1.9  # of the zooms
Rgb8 = UInt8[np.ndarray, "h w 3"]


def worst_of(cases: Iterable[Case], count: int = CASES) -> list[Case]:
    """The `count` most severe; from as many items as possible, so that one bad clip does not hide the others."""
    order = sorted(cases, key=lambda c: -c.severity)
    first = {c.item: c for c in reversed(order)}  # the worst of each item
    spread = [c for c in order if first[c.item] is c]
    rest = [c for c in order if first[c.item] is not c]
    return sorted((spread + rest)[:count], key=lambda c: -c.severity)


def as_facts(cases: Mapping[str, list[Case]]) -> dict[str, list[dict[str, Any]]]:
    """For the report."""
    return {
        name: [
            {
                "item": c.item, "row": c.row, "frames": [c.first, c.last], "worst": c.worst,
                "severity": round(c.severity, 4), "diagnosis": c.diagnosis,
                "measures": {k: round(v, 4) for k, v in c.measures.items() if np.isfinite(v)},
            }
            for c in found
        ]
        for name, found in cases.items()
    }  # fmt: skip


def zoomed(rgb8: Rgb8, points: Float[np.ndarray, "68 2"], part: slice) -> Rgb8:
    """Eyes or mouth, in a window that depends on the points' place and the face's size only."""
    centre = points[part].mean(0)
    half_w = (1.25 if part == EYES else 0.85) * float(face_scale(points[None])[0])
    half = np.array([half_w, half_w / ASPECT])
    x0, y0 = np.maximum(np.floor(centre - half), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(centre + half), 1).astype(int)
    cut = rgb8[y0:y1, x0:x1]
    return np.ascontiguousarray(cut) if cut.size else np.zeros((8, 16, 3), np.uint8)


def case_rows(shop: Workshop, pair: Pair, case: Case) -> tuple[list[list[Rgb8]], list[list[str]]]:
    """Two rows of pictures (plate above, result below) and their captions."""
    watched = shop.watched(shop.plate(pair.plate))
    middle = case.worst - watched.first
    at = [int(np.clip(middle + k * AROUND, 0, len(watched.boxes) - 1)) for k in (-1, 0, 1)]
    plate = shop.row_frames(pair, "plate", watched, at)
    result = shop.row_frames(pair, case.row, watched, at)
    window = Window(watched.landmarks[at], plate[0].shape[:2])
    photo = shop.photograph(pair.persona)
    around = Window(photo.points[None].astype(np.float32), photo.rgb8.shape[:2])
    source = _cut(photo.rgb8, around)
    points = watched.landmarks[middle].astype(np.float64)
    rows = [[source, *_strip(p, window, points)] for p in (plate, result)]
    rows[1][0] = zoomed(photo.rgb8, photo.points, MOUTH)
    frames = [str(watched.first + k) for k in at]
    names = [f"source: {pair.persona}", *(f"plate, frame {f}" for f in frames), "plate, eyes", "plate, mouth"]
    below = ["source, mouth", *(f"result, frame {f}" for f in frames), "result, eyes", "result, mouth"]
    return rows, [names, below]


def _cut(rgb8: Rgb8, window: Window) -> Rgb8:
    return np.ascontiguousarray(rgb8[window.low[1] : window.high[1], window.low[0] : window.high[0]])


def _strip(pictures: list[Rgb8], window: Window, points: Float[np.ndarray, "68 2"]) -> list[Rgb8]:
    middle = pictures[len(pictures) // 2]
    return [*(_cut(p, window) for p in pictures), zoomed(middle, points, EYES), zoomed(middle, points, MOUTH)]


def write_worst(shop: Workshop, scope: Scope, cases: Mapping[str, list[Case]], out: Path) -> None:
    """The sheet of all cases; nothing is written where there are none."""
    from digidouble.deliver.sheets import contact_sheet

    rows, captions, titles = [], [], []
    for name, found in cases.items():
        for rank, case in enumerate(found, 1):
            pictures, below = case_rows(shop, scope.of_pair(case.item), case)
            rows += pictures
            captions += below
            titles += [
                f"{name}, worst {rank}: {case.item}, frames {case.first}-{case.last}, severity {case.severity:.2f} ({case.row})",
                case.diagnosis,
            ]
    if not rows:
        return
    sheet = contact_sheet(rows, captions, titles, CELL_PX)
    partial = finished(out)
    partial.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    partial.replace(out)
