"""Do wrinkles come and go where the plate's do? Crow's feet, frown, nasolabial folds, forehead (see `bench.crease_patches`).

Patches are placed by dlib's landmarks of the plate, the same for every row but `plate`, whose pictures the judge looks at anew:
what is missing to 1 there is his noise. A patch of a plate whose energy moves by more than MOVES is followed or not (`r`,
`amplitude`); in one whose energy does not, whatever a row adds is `false`. Patches that were looked at and seen to hold hair, lashes
or spectacles that pass through (NOT_SKIN) count in `r_all` alone. Two more rows: `digidouble QUALITY without creases`, the same
render with the plate's creases left out: what is left of `r` there is light, mouth and lids that reach into the patches, and the
persona's own captured looks. `ceiling QUALITY`: a double of even skin that wears the whole crease band of the plate's skin, at
the grid and in the bytes that a performance keeps: more than any choice of what is a crease could reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.crease_patches import PLACES, SIDE_PX, energies, patch_from_picture, powers, steadied, visible
from digidouble.bench.landmarks import poses_deg
from digidouble.bench.material import NAMED_PAIRS, Pair
from digidouble.bench.observe import Watched, remeasured, watch
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols.measures import correlation
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop, cast_at, quality_of
from digidouble.footage import open_footage
from digidouble.perception.uvgrid import uv_grid
from digidouble.performance.wrinkles import Look, luma_crop
from digidouble.pipeline import render_frame
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange
from digidouble.schema.track import WRINKLE_GRID, FaceTrack, TrackSample, wrinkle_steps

CREASING = (
    "wide_turns_lamp", "grimaces_long", "emotion_happy", "crying_man", "rage_fast", "puffed_cheeks", "expressions_tilt",
)  # fmt: skip
MOVES = 0.012  # natural log: standard deviation over time from which a plate's patch is said to crease
STILL = 0.008  # and below which it is said not to
LEAST_FRAMES = 20
# Seen in pictures of the patches: hair, false lashes, rims of spectacles and a mole that come and go there, and no crease does.
NOT_SKIN = {
    "grimaces_long": ("eye_right", "eye_left"),
    "puffed_cheeks": ("eye_right", "eye_left"),
    "expressions_tilt": ("eye_right", "eye_left"),
    "wide_turns_lamp": ("eye_right",),
}
ZONES = {
    "eye": "eyes",
    "glabella": "frown",
    "fold": "folds",
    "forehead": "forehead",
}  # both sides together in the table
WITHOUT, CEILING = " without creases", "ceiling "
Rgb8 = UInt8[np.ndarray, "h w 3"]


def followed(
    plate: Float[np.ndarray, "n p"], row: Float[np.ndarray, "n p"], not_skin: tuple[str, ...] = ()
) -> dict[str, float]:
    """How energies of a row follow the plate's (both as of `crease_patches.energies`).

    `r` and `amplitude` (deviation over the plate's) are means over patches that move; `false` is the mean over still patches of
    what the row has more than the plate, at least 0, natural log. NaN where there is no such patch. `patches` and `still` count.
    Places in `not_skin` count in `r_all`, the mean over all that moves, and nowhere else.
    """
    rs, amplitudes, false, every = [], [], [], []
    numbers: dict[str, float] = {}
    for place, p, o in zip(PLACES, plate.T, row.T, strict=True):
        both = np.isfinite(p) & np.isfinite(o)
        if both.sum() < LEAST_FRAMES:
            continue
        a, b = p[both], o[both]
        if a.std() > MOVES:
            every.append(correlation(a, b))
        if place.name in not_skin:
            continue
        if a.std() > MOVES:
            rs.append(every[-1])
            amplitudes.append(float(b.std() / a.std()))
            numbers |= {f"r_{place.name}": rs[-1], f"amplitude_{place.name}": amplitudes[-1]}
        elif a.std() < STILL:
            false.append(max(float((b - a).mean()), 0.0))
            numbers[f"false_{place.name}"] = false[-1]
    for begins, zone in ZONES.items():
        sides = [v for k, v in numbers.items() if k.startswith(f"r_{begins}")]
        numbers |= {f"r_{zone}": finite_mean(sides)} if sides else {}
    counts = {"patches": float(len(rs)), "still": float(len(false))}
    return (
        numbers
        | {
            "r": finite_mean(rs),
            "amplitude": finite_mean(amplitudes),
            "false": finite_mean(false),
            "r_all": finite_mean(every),
        }
        | counts
    )


def rows_of(scope: Scope) -> tuple[str, ...]:
    """The rows of every table, the product's without creases, and what its creases could reach."""
    ours = [row for row in scope.rows if quality_of(row)]
    return (*scope.rows, *(f"{row}{WITHOUT}" for row in ours), *(f"{CEILING}{quality_of(row)}" for row in ours))


def even(persona: Persona) -> Persona:
    """The persona with skin that has no mark and no fold: its mean colour."""
    flat = np.broadcast_to(persona.skin_linear, persona.keys[0].albedo.shape).astype(persona.keys[0].albedo.dtype)
    return replace(persona, keys=(replace(persona.keys[0], albedo=flat),))


class WholeBand:
    """A track's samples whose wrinkles are everything that the crease band of the plate's skin holds."""

    def __init__(self, track: FaceTrack, frame: Callable[[int], Rgb8]) -> None:
        self._track, self._frame = track, frame

    def sample(self, track_id: int, index: int) -> TrackSample:
        sample = self._track.store.sample(track_id, index)
        points = sample.points_px.astype(np.float64)
        light = self._track.light_sh[self._track.row(index)]
        seen = np.ones((WRINKLE_GRID, WRINKLE_GRID))
        band = Look(luma_crop(self._frame(index), points), points, points, light, seen).band()
        return replace(sample, wrinkles=np.where(uv_grid(WRINKLE_GRID).covered, wrinkle_steps(band), np.int8(0)))


def _pictures(shop: Workshop, pair: Pair, row: str, watched: Watched) -> Iterator[Rgb8]:
    """Frames of a row from `watched.first`."""
    movie = shop.plate(pair.plate)
    quality = quality_of(row.removesuffix(WITHOUT))
    ceiling = row.startswith(CEILING)
    if not ceiling and (not row.endswith(WITHOUT) or quality is None):
        yield from shop.row_pictures(pair, row, watched)
        return
    performance, persona, now = shop.performance(movie), shop.persona(pair.persona), {}
    look = LookSettings() if ceiling else LookSettings(wrinkles=0)
    if ceiling:
        quality, persona, main = row.removeprefix(CEILING), even(persona), performance.track("main")
        whole = replace(main, store=WholeBand(main, lambda _: now["rgb8"]))
        performance = replace(performance, tracks=tuple(whole if t is main else t for t in performance.tracks))
    with open_footage(movie) as footage:
        casts: list[PreparedCast] = []
        for frame in footage.frames(FrameRange(watched.first, 10**9)):
            now["rgb8"] = rgb8_from_frame(frame)
            casts = casts or cast_at(quality or "", performance, persona, look)
            yield rgb8_from_frame(render_frame(casts, frame)[0])


def _looked_again(shop: Workshop, movie: Path, watched: Watched) -> Float[np.ndarray, "n 68 2"]:
    """Where the judge puts his landmarks in the plate through JPEG 85."""
    again = watch((remeasured(f) for f in shop.pictures(movie)), shop.observer.landmarker, movie.stem)
    found, wanted = again.landmarks[max(watched.first - again.first, 0) :], watched.landmarks
    return steadied(found if found.shape == wanted.shape else wanted)


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
        at = _looked_again(shop, movie, watched) if row == "plate" else points
        power, patches = _series(_pictures(shop, pair, row, watched), at, most)
        records.append(Record(item, row, followed(plate, energies(power, use), NOT_SKIN.get(pair.plate, ()))))
        pictures.append(Picture(f"{row}, frame {watched.first + most}", patches))
    return Measured(tuple(records), tuple(pictures))


CREASES = Protocol(
    "creases",
    "Do wrinkles come and go where the plate's do? Energy of folds at eye corners, between the brows, beside the nose, on the forehead.",
    ("r", "amplitude", "false", *(f"r_{zone}" for zone in ZONES.values()), "r_all", "patches", "still"),
    {"r": 1, "false": -1, **{f"r_{zone}": 1 for zone in ZONES.values()}},
    _items, _measure, {"r": ">= 0.8", "false": "<= 0.01"},
)  # fmt: skip
