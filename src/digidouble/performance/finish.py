"""Second pass, without pixels: chains of observations to finished tracks, in windows so that memory does not grow.

How a double fades (`presence`, one number a frame, `visibility`, one a region and frame, and the matte): it ramps over
`fade_frames` where a face is lost or found inside a shot, is gone from behind, and sinks with the certainty of the track. A region
fades by itself as it turns away or as mesh and skin disagree about it (`regions`). Within a frame, what lies in front of the face and what lies beyond
its contour is left to the plate by the matte, and skin that turns edge-on carries no weight. A face that comes back is
the same track if it is the same person (`join`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int8

from digidouble.assets import AssetWriter
from digidouble.perception.light import fit_light
from digidouble.perception.matte import matte_at
from digidouble.perception.shape import actions_of, neutral_from, pose_and_shape
from digidouble.perception.uvgrid import uv_grid
from digidouble.perception.veil import veil_share
from digidouble.performance.join import Chain
from digidouble.performance.matte_flow import steady_mattes
from digidouble.performance.regions import region_alpha, region_sureness, region_view
from digidouble.performance.settings import PerformSettings
from digidouble.performance.sliding import Relaxed, relaxed_first, stored
from digidouble.performance.smooth import REACH, SMOOTH_REACH, convolved, smooth_points, stuck
from digidouble.performance.tracklets import MIN_SCORE, RECORD, Tracklet
from digidouble.performance.turns import unfolded
from digidouble.performance.worn import LOOKS, worn_of
from digidouble.performance.wrinkles import OVER_TIME, Look, Rest
from digidouble.schema.mesh import EYE_CORNERS, FLIP_YZ, camera_normals, face_model, vertex_normals
from digidouble.schema.regions import REGIONS
from digidouble.schema.track import RATIO_GRID, SKIN_GRID, SLIDE_GRID, WRINKLE_GRID

CHUNK = 64  # frames stored and processed together
BRIDGE = 3  # gaps up to this are interpolated, longer ones fade
NEUTRAL_SAMPLES = 240
REST_LOOKS = 60  # at most, of the samples: the frames in which skin at rest is looked for
LEAST_FRONTAL = 8  # samples without which the turned ones have to do
EYEBALL_CM = 1.2
SHOWN_SCORE = 0.7  # from here on a double is shown in full
GRID_BELL = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
GRID_BELL /= GRID_BELL.sum()
BRIEF = np.array([0.25, 0.5, 0.25])


@dataclass(frozen=True)
class Span:
    """An unbroken stretch of a chain, small gaps bridged: frames start .. end_exclusive."""

    start: int
    end_exclusive: int


def spans_of(chain: Chain, cuts: tuple[int, ...]) -> list[Span]:
    """Stretches between gaps longer than BRIDGE and between cuts."""
    out: list[Span] = []
    for t in chain.tracklets:
        cut_between = out and any(out[-1].end_exclusive <= c <= t.start for c in cuts)
        if out and t.start - out[-1].end_exclusive <= BRIDGE and not cut_between:
            out[-1] = Span(out[-1].start, t.end_exclusive)
        else:
            out.append(Span(t.start, t.end_exclusive))
    return out


def window(chain: Chain, first: int, end_exclusive: int) -> np.ndarray:
    """Observations of a stretch within one span; bridged frames are interpolated between their neighbours."""
    parts = np.zeros(end_exclusive - first, RECORD)
    known = np.zeros(end_exclusive - first, bool)
    for t in chain.tracklets:
        a, b = max(first - BRIDGE, t.start), min(end_exclusive + BRIDGE, t.end_exclusive)
        if a >= b:
            continue
        inner_a, inner_b = max(a, first), min(b, end_exclusive)
        if inner_a < inner_b:
            parts[inner_a - first : inner_b - first] = t.records(inner_a - t.start, inner_b - inner_a)
            known[inner_a - first : inner_b - first] = True
    rows = np.flatnonzero(known)
    for r in np.flatnonzero(~known):
        before, after = rows[rows < r], rows[rows > r]
        a = parts[before[-1]] if len(before) else parts[after[0]]
        b = parts[after[0]] if len(after) else a
        k = (r - before[-1]) / (after[0] - before[-1]) if len(before) and len(after) else 0.0
        parts[r] = a if k < 0.5 else b
        parts[r]["index"], parts[r]["trust"], parts[r]["tied"] = first + r, 0, 0
        for name in ("points", "crop", "seen"):
            parts[r][name] = (1 - k) * a[name] + k * b[name]
        parts[r]["luma"] = 0  # nothing was seen: it must not be read at a place it was not taken at
    return parts


@dataclass(frozen=True)
class Spread:
    """Observations spread evenly over all runs of a chain: where each one is, and its mesh. An observation whole is 100 KB, so
    only those that are asked for are read."""

    at: tuple[tuple[Tracklet, int], ...]
    points: Float[np.ndarray, "n 478 3"]

    def records(self, which: Int[np.ndarray, "k"]) -> np.ndarray:
        return np.concatenate([t.records(r, 1) for t, r in (self.at[int(k)] for k in which)])


def evenly(total: int, count: int) -> Int[np.ndarray, "k"]:
    """At most `count` row numbers of `total`, evenly spread."""
    return np.arange(0, total, -(-total // count))


def spread_over(chain: Chain, count: int = NEUTRAL_SAMPLES) -> Spread:
    """At most `count` observations; only frontal ones where there are enough, for a turned mesh is flat, or made of the neutral."""
    total = sum(t.frames for t in chain.tracklets)
    step = -(-total // count)
    at: list[tuple[Tracklet, int]] = []
    points, frontal = [], []
    before = 0
    for t in chain.tracklets:
        for r in range(-before % step, t.frames, step):
            record = t.records(r, 1)[0]
            at.append((t, r))
            points.append(record["points"].copy())  # a view would keep the whole observation
            frontal.append(record["share"] <= 0)
        before += t.frames
    use = np.flatnonzero(frontal) if sum(frontal) >= LEAST_FRONTAL else np.arange(len(at))
    return Spread(tuple(at[k] for k in use), np.stack([points[k] for k in use]))


def looks_at_rest(samples: Spread) -> list[Look]:
    """At most REST_LOOKS of a chain's samples, among which its skin at rest is looked for."""
    some = samples.records(evenly(len(samples.at), REST_LOOKS))
    skin, weight = some["skin"].astype(np.float32), _skin_weight(some, some["points"])
    lights = [light_of(r["points"], s, w) for r, s, w in zip(some, skin, weight, strict=True)]
    return looks_of(some, some["points"], np.stack(lights))


def relaxed_skin(looks: list[Look], neutral: Float[np.ndarray, "478 3"]) -> Relaxed:
    """The skin of the looks nearest to the neutral face, seen from the front."""
    posed = [pose_and_shape(k.points_px, neutral) for k in looks]
    effort = [np.linalg.norm(shape - neutral, axis=1).mean() + 1 - pose.rotation[2, 2] for pose, shape in posed]
    return Relaxed.of([looks[k] for k in relaxed_first(np.array(effort))])


def looks_of(
    records: np.ndarray, points: Float[np.ndarray, "n 478 3"], lights: Float[np.ndarray, "n 9 3"]
) -> list[Look]:
    """Observations as the crease ratio needs them."""
    visible = _visible(records, points, WRINKLE_GRID) * _facing(points, WRINKLE_GRID)
    return [
        Look(r["luma"], r["points"], p, light, v)
        for r, p, light, v in zip(records, points, lights, visible, strict=True)
    ]


def presence_of(
    chain: Chain, spans: list[Span], cuts: tuple[int, ...], shot_frames: int, fade: int
) -> Float[np.ndarray, "n"]:
    """0..1 over the chain's frames: ramps where a face is lost or found inside a shot, none at cuts and at the plate's ends."""
    start = chain.start
    out = np.zeros(chain.end_exclusive - start, np.float32)
    hard = {0, shot_frames, *cuts}
    for s in spans:
        t = np.arange(s.start, s.end_exclusive)
        up = np.ones(len(t)) if s.start in hard else (t - s.start + 1) / (fade + 1)
        down = np.ones(len(t)) if s.end_exclusive in hard else (s.end_exclusive - t) / (fade + 1)
        ramp = np.clip(np.minimum(up, down), 0, 1)
        out[s.start - start : s.end_exclusive - start] = ramp * ramp * (3 - 2 * ramp)
    return out


def certainty(score: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """0..1, how much of a double is shown by how sure the mesh is: none where the face is about to be lost. Changes slowly."""
    sure = np.clip((convolved(score, GRID_BELL) - MIN_SCORE) / (SHOWN_SCORE - MIN_SCORE), 0, 1)
    return convolved(sure, np.ones(5) / 5).clip(0, 1)


def gaze_of(shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "2"]:
    """(yaw, pitch) in degrees from where the irises sit between the eye corners, mean of both eyes."""
    out = []
    for iris, (outer, inner) in zip((468, 473), EYE_CORNERS, strict=True):
        off = (shape_cm[iris] - 0.5 * (shape_cm[outer] + shape_cm[inner])) / EYEBALL_CM
        out.append(np.degrees(np.arcsin(np.clip(off[:2], -0.95, 0.95))))
    return np.mean(out, 0)


@dataclass
class Finished:
    """Small arrays of a track under construction, one row a frame of the chain (grow with the plate, about 700 bytes a frame)."""

    arrays: dict[str, np.ndarray]

    @classmethod
    def empty(cls, frames: int) -> Finished:
        shapes = {
            "rotation": (3, 3), "px_per_cm": (), "origin_px": (3,), "actions": (len(face_model().action_names),),
            "gaze_deg": (2,), "iris": (3,), "dark": (3,), "view": (len(REGIONS),), "sure": (len(REGIONS),),
            "light_sh": (9, 3), "motion_px": (2,), "sharpness": (), "grain": (), "score": (),
        }  # fmt: skip
        return cls({k: np.zeros((frames, *s), np.float32) for k, s in shapes.items()})


def finish_chain(
    chain: Chain, track_id: int, cuts: tuple[int, ...], shot_frames: int, settings: PerformSettings, out: AssetWriter
) -> None:
    """Smooth, solve and write one track: `tracks/ID/facts` and `tracks/ID/CHUNK` members."""
    samples = spread_over(chain)
    neutral = neutral_from(samples.points)
    looks = looks_at_rest(samples)
    rest = Rest.of(looks), relaxed_skin(looks, neutral) if settings.slides else None
    some = samples.records(evenly(len(samples.at), LOOKS))
    worn = worn_of(
        1 - _visible(some, some["points"], WRINKLE_GRID), _facing(some["points"].astype(np.float64), WRINKLE_GRID)
    )
    spans = spans_of(chain, cuts)
    n = chain.end_exclusive - chain.start
    done = Finished.empty(n)
    for first in range(0, n, CHUNK):
        a, b = chain.start + first, min(chain.start + first + CHUNK, chain.end_exclusive)
        big = {
            "points_px": np.zeros((b - a, 478, 3), np.float32),
            "skin_linear": np.zeros((b - a, SKIN_GRID, SKIN_GRID, 3), np.float16),
            "skin_weight": np.zeros((b - a, SKIN_GRID, SKIN_GRID), np.uint8),
            "matte": np.zeros((b - a, *RECORD["matte"].shape), np.uint8),
            "matte_px_from_crop": np.zeros((b - a, 2, 3), np.float32),
            "wrinkles": np.zeros((b - a, WRINKLE_GRID, WRINKLE_GRID), np.int8),
        }
        if settings.slides:
            big["slide"] = np.zeros((b - a, 2, SLIDE_GRID, SLIDE_GRID), np.int8)
            big["ratio"] = np.zeros((b - a, RATIO_GRID, RATIO_GRID), np.int8)
        for span in spans:
            lo, hi = max(a, span.start), min(b, span.end_exclusive)
            if lo < hi:
                _finish_window(chain, span, (lo, hi), neutral, rest, settings, done, big, a)
        out.add_tensors(f"tracks/{track_id}/{first // CHUNK:06d}.safetensors", big)
    _hold(done, spans, chain.start)
    presence = presence_of(chain, spans, cuts, shot_frames, settings.fade_frames)
    yaw = np.degrees(np.arccos(np.clip(done.arrays["rotation"][:, 2, 2], -1, 1)))
    presence *= np.clip((104 - yaw) / 10, 0, 1)  # up to a profile the near half stays; no face is seen from behind
    for s in spans:  # a doubtful face before a cut says nothing about the one after it
        rows = slice(s.start - chain.start, s.end_exclusive - chain.start)
        presence[rows] *= certainty(done.arrays["score"][rows])
    view, sure = done.arrays.pop("view"), done.arrays.pop("sure")
    visibility = np.ones_like(view)
    for s in spans:
        rows = slice(s.start - chain.start, s.end_exclusive - chain.start)
        visibility[rows] = region_alpha(view[rows], sure[rows])
    least = done.arrays.pop("dark").min(0).astype(np.float64)
    iris = done.arrays.pop("iris")
    known = iris[(iris > 0).all(1)]
    iris_linear = np.median(known, 0) if len(known) else np.zeros(3)
    facts = done.arrays | {
        "iris_linear": iris_linear,
        "veil": veil_share(least, np.ones(3)) if np.isfinite(least).all() else np.zeros(3),
        "presence": presence,
        "visibility": visibility,
        "neutral_cm": neutral,
        "worn": worn,
        "identity": chain.identity.astype(np.float32),
    }
    facts["frames"] = np.array([chain.start, chain.end_exclusive], np.int64)
    out.add_tensors(
        f"tracks/{track_id}/facts.safetensors",
        {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in facts.items()},
    )


def _finish_window(
    chain: Chain, span: Span, frames: tuple[int, int], neutral: Float[np.ndarray, "478 3"], rest: tuple[Rest, Relaxed | None], settings: PerformSettings,
    done: Finished, big: dict[str, np.ndarray], chunk_start: int,
) -> None:  # fmt: skip
    lo, hi = frames
    first, end = max(span.start, lo - REACH), min(span.end_exclusive, hi + REACH)
    records = unfolded(window(chain, first, end), neutral)
    # Only what ties points to the skin looks as far as REACH.
    inner = slice(max(lo - SMOOTH_REACH, first) - first, min(hi + SMOOTH_REACH, end) - first)
    points = _followed(records, inner, settings.smoothing)
    records, first = records[inner], first + inner.start
    skin, weight = _steady_skin(records, points)
    keep = slice(lo - first, hi - first)
    row, at = lo - chain.start, slice(lo - chunk_start, hi - chunk_start)
    big["points_px"][at], big["skin_linear"][at] = points[keep], skin[keep]
    big["skin_weight"][at] = np.round(255 * weight[keep])
    big["matte"][at], big["matte_px_from_crop"][at] = steady_mattes(records)[keep], records["crop"][keep]
    centre = points[..., :2].mean(1)
    motion = np.gradient(centre, axis=0) if len(centre) > 1 else np.zeros_like(centre)
    # Blur comes and goes with motion from frame to frame; noise is the camera's.
    for name, over_time in (("sharpness", BRIEF), ("grain", GRID_BELL)):
        done.arrays[name][row : row + hi - lo] = convolved(records[name].astype(np.float32), over_time)[keep].clip(0)
    done.arrays["score"][row : row + hi - lo] = records["score"][keep]
    done.arrays["dark"][row : row + hi - lo] = records["dark"][keep]
    done.arrays["view"][row : row + hi - lo] = region_view(points[keep])
    width = np.ptp(points[..., 0], axis=1)
    slips = region_sureness(records["carried"].astype(np.float32), records["trust"] / np.float32(255), width)
    done.arrays["sure"][row : row + hi - lo] = slips[keep]
    done.arrays["motion_px"][row : row + hi - lo] = motion[keep]
    shapes = []
    lights = np.stack([light_of(p, s, w) for p, s, w in zip(points, skin, weight, strict=True)])
    done.arrays["light_sh"][row : row + hi - lo] = lights[keep]
    looks = looks_of(records, points, lights)
    creased, relaxed = rest
    big["wrinkles"][at] = creases(looks, creased)[keep]
    if relaxed is not None:
        big["slide"][at], big["ratio"][at] = (a[keep] for a in slides(looks, relaxed))
    for i, p in enumerate(points[keep]):
        pose, shape = pose_and_shape(p, neutral)
        r = row + i
        done.arrays["rotation"][r], done.arrays["px_per_cm"][r], done.arrays["origin_px"][r] = (
            pose.rotation,
            pose.px_per_cm,
            pose.origin_px,
        )
        done.arrays["gaze_deg"][r] = gaze_of(shape)
        done.arrays["iris"][r] = _iris_over_skin(records["iris"][keep][i], skin[keep][i], weight[keep][i])
        shapes.append(shape)
    done.arrays["actions"][row : row + hi - lo] = actions_of(np.stack(shapes), neutral)


def creases(looks: list[Look], rest: Rest) -> Int8[np.ndarray, "n w w"]:
    """Crease gains of consecutive frames; none where nothing was seen."""
    changes = np.stack([rest.change(k) if k.luma.any() else np.zeros_like(rest.band) for k in looks])
    return np.stack([rest.ratio(changes[rows], k.visible) for rows, k in zip(_around(len(looks)), looks, strict=True)])


def slides(looks: list[Look], relaxed: Relaxed) -> tuple[Int8[np.ndarray, "n 2 s s"], Int8[np.ndarray, "n r r"]]:
    """`TrackSample.slide` and `TrackSample.ratio` of consecutive frames; none where nothing was seen."""
    nothing = np.zeros((3, RATIO_GRID, RATIO_GRID), np.float32)
    changes = np.stack([relaxed.change(k) if k.luma.any() else nothing for k in looks])
    kept = [stored(np.tensordot(OVER_TIME, changes[rows], 1)) for rows in _around(len(looks))]
    return np.stack([slide for slide, _ in kept]), np.stack([ratio for _, ratio in kept])


def _around(count: int) -> Int[np.ndarray, "n 5"]:
    """The rows that OVER_TIME averages."""
    reach = len(OVER_TIME) // 2
    return np.clip(np.arange(count)[:, None] + np.arange(-reach, reach + 1), 0, count - 1)


def _followed(records: np.ndarray, inner: slice, smoothing: float) -> Float[np.ndarray, "n 478 3"]:
    """The mesh of the inner frames tied to the skin, then steadied. What lies in front of the face has no say in how the skin moves."""
    seen = np.stack([matte_at(r["matte"], r["crop"], r["points"][None, :, :2])[0] for r in records])
    trust = records["trust"].astype(np.float32) / 255 * np.clip(2 * seen - 1, 0, 1)
    points = stuck(records["points"], records["carried"], trust, smoothing)
    return smooth_points(points[inner], smoothing, trust[inner])


def _iris_over_skin(
    iris: Float[np.ndarray, "3"], skin: Float[np.ndarray, "g g 3"], weight: Float[np.ndarray, "g g"]
) -> Float[np.ndarray, "3"]:
    use = weight > 0.3
    return iris / np.maximum(skin[use].mean(0), 1e-4) if use.any() else np.zeros(3)


def _facing(points: Float[np.ndarray, "n 478 3"], side: int) -> Float[np.ndarray, "n g g"]:
    """0..1 on a UV grid: edge-on or worse, to well in view."""
    facing = np.stack([uv_grid(side).carried(camera_normals(p)[:, 2:3])[..., 0] for p in points])
    return np.clip((facing - 0.1) / 0.3, 0, 1)


def _visible(records: np.ndarray, points: Float[np.ndarray, "n 478 3"], side: int) -> Float[np.ndarray, "n g g"]:
    """The stored matte looked up at a UV grid carried by `points`."""
    grid = uv_grid(side)
    return np.stack(
        [matte_at(r["matte"], r["crop"], grid.carried(p[:, :2])) for r, p in zip(records, points, strict=True)]
    )


def _skin_weight(records: np.ndarray, points: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n g g"]:
    """0..1 on the skin grid: skin that faces the camera, with nothing in front."""
    grid = uv_grid(SKIN_GRID)
    facing = np.stack([grid.carried(camera_normals(p)[:, 2:3])[..., 0] for p in points])
    seen = np.clip(_visible(records, records["points"], SKIN_GRID) * 1.5 - 0.5, 0, 1)
    return grid.skin * np.clip((facing - 0.1) / 0.4, 0, 1) * seen


def _steady_skin(
    records: np.ndarray, points: Float[np.ndarray, "n 478 3"]
) -> tuple[Float[np.ndarray, "n g g 3"], Float[np.ndarray, "n g g"]]:
    """Radiance on the grid averaged over a few frames where it is seen, and how much to trust each texel (0..1)."""
    weight = _skin_weight(records, points)
    log_skin = np.log(records["skin"].astype(np.float32) + 1e-4)
    trust = weight + 1e-4
    mean = convolved(log_skin * trust[..., None], GRID_BELL) / np.maximum(convolved(trust, GRID_BELL), 1e-5)[..., None]
    # Point-symmetric ends can overshoot where trust changes fast: stay within what was seen.
    mean = np.clip(mean, _running(log_skin, np.minimum), _running(log_skin, np.maximum))
    return np.exp(mean) - 1e-4, np.clip(weight, 0, 1)


def _running(x: Float[np.ndarray, "n g g 3"], extreme: np.ufunc) -> Float[np.ndarray, "n g g 3"]:
    """Minimum or maximum over the frames that GRID_BELL averages."""
    out, reach = x.copy(), len(GRID_BELL) // 2
    for k in range(1, min(reach, len(x) - 1) + 1):
        out[k:] = extreme(out[k:], x[:-k])
        out[:-k] = extreme(out[:-k], x[k:])
    return out


def light_of(
    points_px: Float[np.ndarray, "478 3"], skin: Float[np.ndarray, "g g 3"], weight: Float[np.ndarray, "g g"]
) -> Float[np.ndarray, "9 3"]:
    """SH light of one frame from its skin grid."""
    grid = uv_grid(SKIN_GRID)
    normals = grid.carried(vertex_normals(points_px * FLIP_YZ, face_model().triangles).astype(np.float32))
    use = weight > 0.02
    if use.sum() < 40:
        use = grid.skin
    n = normals[use]
    n = n / (np.linalg.norm(n, axis=1, keepdims=True) + 1e-6)
    return fit_light(np.maximum(skin[use], 0), n, np.maximum(weight[use], 0.02)).astype(np.float32)


def _hold(done: Finished, spans: list[Span], start: int) -> None:
    """Rows outside every span repeat the nearest known row."""
    n = len(done.arrays["score"])
    known: Int[np.ndarray, "k"] = np.array(sorted(_rows(spans, start)), np.int64)
    rows = np.arange(n)
    after = known[np.searchsorted(known, rows).clip(0, len(known) - 1)]
    before = known[(np.searchsorted(known, rows, side="right") - 1).clip(0)]
    nearest = np.where(np.abs(rows - before) <= np.abs(after - rows), before, after)
    for name, a in done.arrays.items():
        done.arrays[name] = a[nearest]


def _rows(spans: list[Span], start: int) -> Iterator[int]:
    for s in spans:
        yield from range(s.start - start, s.end_exclusive - start)
