"""Do wrinkles come and go where the plate's do? Crow's feet, frown, nasolabial folds, forehead (see `bench.crease_patches`).

Patches are placed by dlib's landmarks of the plate, the same for every row. A patch of a plate whose energy moves by more than
MOVES is followed or not (`r`, `amplitude`); in one whose energy does not, whatever a row adds is `false`. `digidouble QUALITY
without creases` is the same render with the plate's creases left out: what is left of `r` there is light, mouth and lids
that reach into the patches, and the persona's own captured looks; the difference to the row above it is what the creases bring.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.crease_patches import PLACES, SIDE_PX, energies, patch_from_picture, powers, steadied, visible
from digidouble.bench.landmarks import poses_deg
from digidouble.bench.material import NAMED_PAIRS, Pair
from digidouble.bench.observe import Watched
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols.measures import correlation
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop, cast_at, quality_of
from digidouble.footage import open_footage
from digidouble.pipeline import render_frame
from digidouble.render import LookSettings
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.time import FrameRange

CREASING = (
    "wide_turns_lamp", "grimaces_long", "emotion_happy", "crying_man", "rage_fast", "puffed_cheeks", "expressions_tilt",
)  # fmt: skip
MOVES = 0.012  # natural log: standard deviation over time from which a plate's patch is said to crease
STILL = 0.008  # and below which it is said not to
LEAST_FRAMES = 20
ZONES = {
    "eye": "eyes",
    "glabella": "frown",
    "fold": "folds",
    "forehead": "forehead",
}  # both sides together in the table
WITHOUT = " without creases"
Rgb8 = UInt8[np.ndarray, "h w 3"]


def followed(plate: Float[np.ndarray, "n p"], row: Float[np.ndarray, "n p"]) -> dict[str, float]:
    """How energies of a row follow the plate's (both as of `crease_patches.energies`).

    `r` and `amplitude` (deviation over the plate's) are means over patches that move; `false` is the mean over still patches of
    what the row has more than the plate, at least 0, natural log. NaN where there is no such patch. `patches` and `still` count.
    """
    rs, amplitudes, false = [], [], []
    numbers: dict[str, float] = {}
    for place, p, o in zip(PLACES, plate.T, row.T, strict=True):
        both = np.isfinite(p) & np.isfinite(o)
        if both.sum() < LEAST_FRAMES:
            continue
        a, b = p[both], o[both]
        if a.std() > MOVES:
            rs.append(correlation(a, b))
            amplitudes.append(float(b.std() / a.std()))
            numbers |= {f"r_{place.name}": rs[-1], f"amplitude_{place.name}": amplitudes[-1]}
        elif a.std() < STILL:
            false.append(max(float((b - a).mean()), 0.0))
            numbers[f"false_{place.name}"] = false[-1]
    for begins, zone in ZONES.items():
        sides = [v for k, v in numbers.items() if k.startswith(f"r_{begins}")]
        numbers |= {f"r_{zone}": finite_mean(sides)} if sides else {}
    counts = {"patches": float(len(rs)), "still": float(len(false))}
    return numbers | {"r": finite_mean(rs), "amplitude": finite_mean(amplitudes), "false": finite_mean(false)} | counts


def rows_of(scope: Scope) -> tuple[str, ...]:
    """The rows of every table, and the product's without creases."""
    return scope.rows + tuple(f"{row}{WITHOUT}" for row in scope.rows if quality_of(row))


def _pictures(shop: Workshop, pair: Pair, row: str, watched: Watched) -> Iterator[Rgb8]:
    """Frames of a row from `watched.first`."""
    movie = shop.plate(pair.plate)
    quality = quality_of(row.removesuffix(WITHOUT))
    if not row.endswith(WITHOUT) or quality is None:
        yield from shop.row_pictures(pair, row, watched)
        return
    casts = cast_at(quality, shop.performance(movie), shop.persona(pair.persona), LookSettings(wrinkles=0))
    with open_footage(movie) as footage:
        for frame in footage.frames(FrameRange(watched.first, 10**9)):
            yield rgb8_from_frame(render_frame(casts, frame)[0])


def _series(
    frames: Iterator[Rgb8], points: Float[np.ndarray, "n 68 2"], shown: int
) -> tuple[Float[np.ndarray, "n p"], Rgb8]:
    """(powers of every frame, the patches of frame `shown` side by side)."""
    power = np.full((len(points), len(PLACES)), np.nan)
    patches = np.zeros((SIDE_PX, SIDE_PX * len(PLACES), 3), np.uint8)
    for row, rgb8 in zip(range(len(points)), frames, strict=False):
        power[row] = powers(rgb8, points[row])
        if row == shown:
            patches = np.hstack([_patch(rgb8, points[row], k) for k in range(len(PLACES))])
    return power, patches


def _patch(rgb8: Rgb8, points: Float[np.ndarray, "68 2"], place: int) -> Rgb8:
    import cv2

    at = patch_from_picture(points, PLACES[place])
    return np.asarray(cv2.warpAffine(rgb8, at, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))


def _items(_: Workshop, scope: Scope) -> list[str]:
    """The named pairs and those whose plates crease; where a run has none of them, all its pairs."""
    those = [p.name for p in scope.pairs if (p.persona, p.plate) in NAMED_PAIRS or p.plate in CREASING]
    return those or [p.name for p in scope.pairs]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    pair = scope.of_pair(item)
    movie = shop.plate(pair.plate)
    watched = shop.watched(movie)
    points = steadied(watched.landmarks)
    use = visible(poses_deg(watched.landmarks), watched.detected)
    filmed, _ = _series(shop.pictures(movie, watched.first), points, -1)
    plate = energies(filmed, use)
    total = np.nan_to_num(plate).sum(1)
    most, records, pictures = int(total.argmax()), [], []
    for row in rows_of(scope):
        power, patches = _series(_pictures(shop, pair, row, watched), points, most)
        records.append(Record(item, row, followed(plate, energies(power, use))))
        pictures.append(Picture(f"{row}, frame {watched.first + most}", patches))
    return Measured(tuple(records), tuple(pictures))


CREASES = Protocol(
    "creases",
    "Do wrinkles come and go where the plate's do? Energy of folds at eye corners, between the brows, beside the nose, on the forehead.",
    ("r", "amplitude", "false", *(f"r_{zone}" for zone in ZONES.values()), "patches", "still"),
    {"r": 1, "false": -1, **{f"r_{zone}": 1 for zone in ZONES.values()}},
    _items, _measure, {"r": ">= 0.8", "false": "<= 0.01"},
)  # fmt: skip
