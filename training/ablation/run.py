"""What each learned part adds to a double: keys only / the product / + fusion / + detail / all, by the bench's judges.

    python training/ablation/run.py --clips DATA/clips --out WORK [--pairs A:B ...] [--scale .4] [--frames 40]

The persona of clip A is built from eight of its frames, scaled down so that the plate shows the face larger than the source did; it stands in for the
person of clip B. `real` is the product with the same frames unscaled: what a truly sharper source would give. Judges: dlib's ResNet (identity),
dlib's landmarks (expression), fine detail over the plate's, and the flow-warp error over that of `product`, in a picture of 160 px and at
full size. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from digidouble.bench import observe
from digidouble.bench.landmarks import channels
from digidouble.bench.material import CONSENT, evenly, find_clips
from digidouble.bench.observe import PlateMotion, Seen, Watched
from digidouble.bench.protocols.measures import expression
from digidouble.bench.workshop import Workshop
from digidouble.capture import capture
from digidouble.footage import open_footage
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.persona import build_persona
from digidouble.pipeline import prepare, render_frame
from digidouble.refine.atlases import detailed
from digidouble.refine.diffusion import SkinDetail
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona

PAIRS = (
    "wide_turns_lamp:grimaces_long",
    "laugh_15fps:expressions_tilt",
    "emotion_happy:wide_turns_lamp",
)  # test people only
LOOKS = 8
PICTURES = 8
"""Frames of every pair and row that are kept to be looked at."""
FULL_PX = 10_000
"""No face is wider: flow-warp error at full size."""


@dataclass(frozen=True)
class Row:
    """One way of rendering: which persona, with the plate's creases or not, with fusion or not."""

    name: str
    persona: str
    creases: bool
    fusion: bool


ROWS = (
    Row("keys only", "own", False, False),
    Row("product", "own", True, False),
    Row("+ fusion", "own", True, True),
    Row("+ detail", "fine", True, False),
    Row("all", "fine", True, True),
    Row("real", "real", True, False),
)


def persona_at(shop: Workshop, name: str, scale: float) -> Persona:
    """A persona from LOOKS of a clip's capture frames, scaled."""
    folder = shop.folder / "sources" / f"{name}-{scale:g}"
    shutil.rmtree(folder, ignore_errors=True)  # pictures of another run would be looks of this persona
    folder.mkdir(parents=True)
    movie = shop.capture_movie(name)
    with open_footage(movie) as footage:
        for k in evenly(list(range(footage.shot.frame_count)), LOOKS):
            rgb8 = rgb8_from_frame(footage.frame(k))
            small = rgb8 if scale == 1 else cv2.resize(rgb8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{k:04d}.png"), small[..., ::-1])
    return build_persona(capture([folder], CONSENT), name)


def with_slides(shop: Workshop, movie: Path) -> Performance:
    """The plate's analysis with what fusion reads; the rest of it is the bench's own."""
    path = shop.folder / "slides" / f"{movie.stem}.perf"
    path.parent.mkdir(exist_ok=True)
    with open_footage(movie) as footage:
        return load_performance(analyse(footage, path, PerformSettings(slides=True)))


def pictures(frames: list[Frame], casts: list[PreparedCast]) -> Iterator[np.ndarray]:
    """Finished frames."""
    for frame in frames:
        yield rgb8_from_frame(render_frame(casts, frame)[0])


def measured(shop: Workshop, persona: str, plate: str, scale: float) -> dict[str, dict[str, float]]:
    """row -> numbers of one pair."""
    movie = shop.plate(plate)
    watched, performance = shop.watched(movie), with_slides(shop, movie)
    with open_footage(movie) as footage:
        frames = list(footage.frames())[watched.first :]
    plain = [rgb8_from_frame(f) for f in frames]
    save_pictures(shop.folder / "frames" / "plate", f"{persona}-{plate}", plain, watched)
    motions = []
    for width in (observe.CROP_FACE_PX, FULL_PX):
        kept, observe.CROP_FACE_PX = observe.CROP_FACE_PX, width
        try:
            motions.append(PlateMotion(iter(plain), watched))
        finally:
            observe.CROP_FACE_PX = kept
    people = {"own": persona_at(shop, persona, scale), "real": persona_at(shop, persona, 1.0)}
    people["fine"] = detailed(people["own"], SkinDetail(threads=1))
    likeness, plates = shop.likeness(persona).first, shop.likeness(plate).first
    before = shop.observer.see(iter(plain), watched, motions[0])
    found: dict[str, dict[str, float]] = {}
    warps: dict[str, list[float]] = {}
    for row in ROWS:
        look = LookSettings(wrinkles=1.0 if row.creases else 0.0)
        cast = prepare(performance, {"main": people[row.persona]}, look, today=date.today(), fusion=row.fusion)[0]
        began = time.perf_counter()
        done = list(pictures(frames, [cast]))
        seconds = time.perf_counter() - began
        seen = [shop.observer.see(iter(done), watched, m) for m in motions]
        warps[row.name] = [float(s.face_warp.mean()) for s in seen]
        found[row.name] = numbers(seen[0], before, likeness, plates) | {"ms": 1000 * seconds / len(frames)}
        save_pictures(shop.folder / "frames" / row.name.replace(" ", ""), f"{persona}-{plate}", done, watched)
        print(f"{persona}->{plate} {row.name}: {found[row.name]}", flush=True)
    for name, (small, full) in warps.items():
        found[name] |= {"flicker": small / warps["product"][0], "flicker_full": full / warps["product"][1]}
    return found


def numbers(seen: Seen, plate: Seen, likeness: np.ndarray, plates: np.ndarray) -> dict[str, float]:
    """Identity, expression and detail of one row."""
    follow = expression(channels(plate.landmarks.astype(float)), channels(seen.landmarks.astype(float)))
    toward = float((seen.identity @ likeness).mean())
    return {
        "identity": toward, "margin": toward - float((seen.identity @ plates).mean()), "r": follow["r"],
        "detail": float(np.mean(seen.detail) / max(np.mean(plate.detail), 1e-9)),
    }  # fmt: skip


def save_pictures(folder: Path, pair: str, done: list[np.ndarray], watched: Watched) -> None:
    """The face in PICTURES frames, evenly over the shot, for eyes: the same frames and boxes for every row (`blind.py`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in evenly(list(range(len(done))), PICTURES):
        x0, y0, x1, y1 = watched.box(k)
        side, height, width = 0.7 * max(x1 - x0, y1 - y0), *done[k].shape[:2]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        top, left = max(0, round(y - side)), max(0, round(x - side))
        crop = done[k][top : min(height, round(y + side)), left : min(width, round(x + side))]
        cv2.imwrite(str(folder / f"{pair}-{k:04d}.png"), crop[..., ::-1])


def table(every: dict[str, dict[str, dict[str, float]]]) -> str:
    """Means over the pairs as a table."""
    columns = ("identity", "margin", "r", "detail", "flicker", "flicker_full", "ms")
    lines = ["| row | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in next(iter(every.values())):
        mean = [np.mean([pair[row][c] for pair in every.values()]) for c in columns]
        lines.append(
            f"| {row} | "
            + " | ".join(f"{v:.0f}" if c == "ms" else f"{v:.3f}" for c, v in zip(columns, mean, strict=True))
            + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every pair, print the table, keep all numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="PERSONA:PLATE")
    parser.add_argument("--scale", type=float, default=0.4, help="of the source pictures")
    parser.add_argument("--frames", type=int, default=40)
    args = parser.parse_args()
    pairs = [tuple(p.split(":")) for p in args.pairs]
    clips = find_clips([args.clips / f"{n}.mp4" for n in sorted({n for p in pairs for n in p})])
    shop = Workshop(args.out, clips, args.frames, print)
    every = {f"{a}->{b}": measured(shop, a, b, args.scale) for a, b in pairs}
    (args.out / "ablation.json").write_text(json.dumps(every, indent=1))
    print(table(every))


if __name__ == "__main__":
    main()
