"""Protocols that watch plate and output side by side: identity, expression, pose, gaze, flicker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from digidouble.bench import severity
from digidouble.bench.diagnosis import diagnose
from digidouble.bench.evidence import Evidence, gather
from digidouble.bench.gaze import gaze_deg
from digidouble.bench.landmarks import CHANNELS, channels, poses_deg
from digidouble.bench.material import Pair
from digidouble.bench.observe import Seen, Watched, Window
from digidouble.bench.protocol import Case, Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols import measures
from digidouble.bench.referees import SAME_PERSON
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import Workshop, quality_of
from digidouble.bench.worst import CASES
from digidouble.errors import NoFace

Numbers = Callable[[Watched, Seen, Seen], dict[str, float]]
Severity = Callable[[Watched, Seen, Seen], Float[np.ndarray, "n"]]
Extra = Callable[[int, int], tuple[str, dict[str, float]]]
More = Callable[[Seen, Seen, slice], dict[str, float]]


def pair_names(_: Workshop, scope: Scope) -> list[str]:
    """An item for every pair of the run."""
    return [p.name for p in scope.pairs]


def _table(name: str, numbers: Numbers, severe: Severity, more: More) -> Callable[[Workshop, Scope, str], Measured]:
    """A protocol from numbers, and a severity a frame, of (plate as watched, plate row, row), and what else is measured in
    a bad stretch of (plate row, row)."""

    def measure(shop: Workshop, scope: Scope, item: str) -> Measured:
        pair = scope.of_pair(item)
        watched, plate = shop.watched(shop.plate(pair.plate)), shop.seen(pair, "plate")
        records = tuple(Record(item, row, numbers(watched, plate, shop.seen(pair, row))) for row in scope.rows)
        worst = scope.rows[-1]
        seen = shop.seen(pair, worst)
        levels = severe(watched, plate, seen), severe(watched, plate, plate)

        def extra(first: int, last: int) -> tuple[str, dict[str, float]]:
            return "", more(plate, seen, slice(first, last + 1))

        return Measured(records, cases=_cases(name, shop, pair, worst, *levels, extra))

    return measure


def _cases(
    name: str, shop: Workshop, pair: Pair, row: str, level: Float[np.ndarray, "n"], noise: Float[np.ndarray, "n"],
    extra: Extra,
) -> tuple[Case, ...]:  # fmt: skip
    """The worst stretches of a row. `noise`: the plate row's severity. `extra`: more of a stretch: (how to begin, measures)."""
    evidence = _evidence(shop, pair, row)
    first = shop.watched(shop.plate(pair.plate)).first
    out = []
    for s in severity.worst_stretches(level, CASES):
        found = evidence.over(s.first, s.last)
        if name != "identity":  # the plate is the plate's person: that is no noise
            found["noise_share"] = finite_mean(noise[s.first : s.last + 1]) / max(s.severity, 1e-6)
        found["shot_share"] = float(np.nanmedian(level)) / max(s.severity, 1e-6)
        lead, more = extra(s.first, s.last)
        found |= more
        if "offset" in found:
            found["offset_share"] = found["offset"] / max(s.severity, 1e-6)
        said = diagnose(name, found, lead)
        out.append(Case(pair.name, row, first + s.first, first + s.last, first + s.worst, s.severity, said, found))
    return tuple(out)


def _evidence(shop: Workshop, pair: Pair, row: str) -> Evidence:
    """Kept for the pair at hand: five protocols ask for it in turn."""
    key = (pair, row)
    if key not in shop.kept:
        shop.kept.clear()
        shop.kept[key] = gather(shop, pair, quality_of(row) or "", shop.seen(pair, "plate"))
    return shop.kept[key]


def _expression(shop: Workshop, scope: Scope, item: str) -> Measured:
    """`reduction` is 1 - error / error of the frozen paste, the article's first experiment; `_clean` without the judge's noise.
    Row `plate mirrored`: how well the judge agrees with itself about one performance on two looks."""
    pair = scope.of_pair(item)
    movie = shop.plate(pair.plate)
    plate, other = channels(shop.watched(movie).landmarks), channels(shop.mirrored(movie).landmarks)
    seen = {row: channels(shop.seen(pair, row).landmarks) for row in scope.rows}
    found = {row: measures.expression(plate, out) for row, out in seen.items()}
    clean = {row: measures.clean_error(plate, out, seen["plate"]) for row, out in seen.items()}
    records = []
    for row, numbers in found.items():
        more = {"reduction": 1 - numbers["error"] / max(found["paste"]["error"], 1e-9)}
        if row != "plate":  # its noise is what is taken out, so it would score 0 by definition
            more |= {"error_clean": clean[row], "reduction_clean": 1 - clean[row] / max(clean["paste"], 1e-9)}
        records.append(Record(item, row, {**numbers, **more}))
    records.insert(1, Record(item, "plate mirrored", dict(measures.expression(plate, other))))
    worst = scope.rows[-1]

    def extra(first: int, last: int) -> tuple[str, dict[str, float]]:
        return _worst_channel(plate, seen[worst], first, last)

    level, noise = severity.expression(plate, seen[worst]), severity.expression(plate, seen["plate"])
    return Measured(tuple(records), cases=_cases("expression", shop, pair, worst, level, noise, extra))


def _worst_channel(
    plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"], first: int, last: int
) -> tuple[str, dict[str, float]]:
    """Which channel is furthest away in a stretch, by how many deviations of the plate, and how much of its movement there is."""
    use = np.flatnonzero(measures.moving(plate))
    p, o = plate - plate.mean(0), out - out.mean(0)
    part = slice(first, last + 1)
    away = (o - p)[part].mean(0) / np.maximum(plate.std(0), 1e-9)
    size = np.sqrt((((o - p)[part] / np.maximum(plate.std(0), 1e-9)) ** 2).mean(0))
    worst = int(use[size[use].argmax()])
    ratio = float(out[:, worst].std() / max(plate[:, worst].std(), 1e-9))
    side = "too high" if away[worst] > 0 else "too low"
    lead = f"{CHANNELS[worst].replace('_', ' ')} is {size[worst]:.1f} deviations off, {side}"
    amplitude = {"amplitude_low": ratio, "amplitude_high": ratio}
    return lead, {"channel": float(worst), "off": float(size[worst]), "amplitude": ratio, **amplitude}


def _pose(watched: Watched, _: Seen, row: Seen) -> dict[str, float]:
    return measures.pose(poses_deg(watched.landmarks), poses_deg(row.landmarks))


def _gaze(watched: Watched, plate: Seen, row: Seen) -> dict[str, float]:
    # Eyes are sought inside each row's own landmarks, as a viewer judges a look against the lids around it.
    return measures.gaze(gaze_deg(plate.landmarks, plate.pupils), gaze_deg(row.landmarks, row.pupils))


def _flicker(_: Watched, plate: Seen, row: Seen) -> dict[str, float]:
    numbers = measures.flicker(plate.face_warp, plate.seam_warp, row.face_warp, row.seam_warp)
    return numbers | {"seam_step": finite_mean(row.step), "detail": finite_mean(row.detail) / finite_mean(plate.detail)}


def _pose_severity(watched: Watched, _: Seen, row: Seen) -> Float[np.ndarray, "n"]:
    return severity.pose(poses_deg(watched.landmarks), poses_deg(row.landmarks))


def _gaze_severity(_: Watched, plate: Seen, row: Seen) -> Float[np.ndarray, "n"]:
    return severity.gaze(gaze_deg(plate.landmarks, plate.pupils), gaze_deg(row.landmarks, row.pupils))


def _flicker_severity(_: Watched, plate: Seen, row: Seen) -> Float[np.ndarray, "n"]:
    return severity.flicker(plate.face_warp, row.face_warp)


def _pose_more(plate: Seen, row: Seen, _: slice) -> dict[str, float]:
    away = (poses_deg(row.landmarks) - poses_deg(plate.landmarks) + 180) % 360 - 180
    return {"offset": float(np.abs(np.median(away, axis=0)).mean())}


def _gaze_more(plate: Seen, row: Seen, _: slice) -> dict[str, float]:
    away = gaze_deg(row.landmarks, row.pupils) - gaze_deg(plate.landmarks, plate.pupils)
    known = away[np.isfinite(away).all(1)]
    return {"offset": float(np.linalg.norm(np.median(known, axis=0))) if len(known) else float("nan")}


def _flicker_more(plate: Seen, row: Seen, part: slice) -> dict[str, float]:
    return {"detail_ratio": finite_mean(row.detail[part]) / max(finite_mean(plate.detail[part]), 1e-9)}


def gallery(shop: Workshop, scope: Scope) -> list[str]:
    """Clips of the people in the run, one for each person, by the first judge."""
    names: list[str] = []
    vectors: list[np.ndarray] = []
    for name in dict.fromkeys(n for p in scope.pairs for n in (p.persona, p.plate)):
        try:
            v = shop.likeness(name).first
        except NoFace:
            continue
        if not any(float(v @ u) > 0.5 * (1 + SAME_PERSON) for u in vectors):
            names.append(name)
            vectors.append(v)
    return names


def _identity(shop: Workshop, scope: Scope, item: str) -> Measured:
    """Numbers of the first judge, and of the second under names that end in `_2`."""
    pair = scope.of_pair(item)
    persona, plate = shop.likeness(pair.persona), shop.likeness(pair.plate)
    people = [shop.likeness(n) for n in gallery(shop, scope)]
    first = np.stack([p.first for p in people])
    answer = int((first @ persona.first).argmax())
    records = []
    for row in scope.rows:
        seen = shop.seen(pair, row)
        numbers = measures.identity(seen.identity, persona.first, plate.first, first, answer)
        if len(persona.second):
            second = np.stack([p.second for p in people])
            more = measures.identity(seen.second, persona.second, plate.second, second, answer)
            numbers |= {f"{k}_2": v for k, v in more.items()}
        records.append(Record(item, row, numbers))
    worst = scope.rows[-1]
    seen = shop.seen(pair, worst)
    judged = [(seen.identity, persona.first, plate.first)]
    if len(persona.second):
        judged.append((seen.second, persona.second, plate.second))
    each = [severity.identity(len(seen.landmarks), seen.identity_at, [j]) for j in judged]
    alike = float(persona.first @ plate.first)

    def extra(first: int, last: int) -> tuple[str, dict[str, float]]:
        levels = [finite_mean(e[first : last + 1]) for e in each]
        more = {"alike": alike, "first_judge": levels[0]}
        if len(levels) > 1:
            more |= {"second_judge": levels[1], "judges_apart": abs(levels[0] - levels[1])}
        return ("", more)

    level = severity.identity(len(seen.landmarks), seen.identity_at, judged)
    cases = _cases("identity", shop, pair, worst, level, np.zeros(len(level)), extra)
    return Measured(tuple(records), _pictures(shop, scope, item), cases)


def _pictures(shop: Workshop, scope: Scope, item: str) -> tuple[Picture, ...]:
    """The persona's photograph and every row at the frame where the plate's mouth is most open."""
    pair = scope.of_pair(item)
    watched = shop.watched(shop.plate(pair.plate))
    at = int(channels(watched.landmarks)[:, 0].argmax())
    photo = shop.photograph(pair.persona)
    low, high = photo.points.min(0), photo.points.max(0)
    pad = 0.35 * (high - low)
    x0, y0 = np.maximum(low - pad, 0).astype(int)
    x1, y1 = (high + pad).astype(int)
    out = [Picture(f"persona: {pair.persona}", photo.rgb8[y0:y1, x0:x1])]
    for row in scope.rows:
        rgb8 = shop.row_frames(pair, row, watched, [at])[0]
        window = Window(watched.landmarks[at : at + 1], rgb8.shape[:2])
        out.append(
            Picture(
                f"{row}, frame {watched.first + at}",
                rgb8[window.low[1] : window.high[1], window.low[0] : window.high[0]],
            )
        )
    return tuple(out)


IDENTITY = Protocol(
    "identity",
    "Who is the output taken for? dlib's ResNet, and MobileFaceNet-192 (_2), against held-out pictures of both people.",
    ("won", "margin", "top1", "won_2", "margin_2", "top1_2", "persona", "plate", "swing"),
    {"won": 1, "margin": 1, "persona": 1, "plate": -1, "top1": 1, "swing": -1, "won_2": 1, "margin_2": 1, "top1_2": 1},
    pair_names, _identity, {"won": ">= 0.95", "won_2": ">= 0.95"},
    "0: the persona, 1: half way, 2: the plate's person; mean of the judges",
)  # fmt: skip
EXPRESSION = Protocol(
    "expression",
    "Does the output do what the plate does? dlib's landmarks: openings and lifts of mouth, eyes and brows over time.",
    ("r", "error", "reduction", "error_clean", "reduction_clean", "lag", "amplitude", "jerk", "channels"),
    {"r": 1, "error": -1, "reduction": 1, "error_clean": -1, "reduction_clean": 1},
    pair_names, _expression, {"r": ">= 0.95", "lag": "0", "reduction": ">= 0.82"},
    "difference in deviations of the plate's channels, root mean square over channels",
)  # fmt: skip
POSE = Protocol(
    "pose", "Does the head stay where the plate's is? PnP on dlib's rigid points, degrees.",
    ("error", "moving", "yaw", "pitch", "roll"), dict.fromkeys(("error", "moving", "yaw", "pitch", "roll"), -1),
    pair_names, _table("pose", _pose, _pose_severity, _pose_more), {"error": "<= 1.5"}, "mean difference of yaw, pitch and roll, degrees",
)  # fmt: skip
GAZE = Protocol(
    "gaze", "Does the output look where the plate looks? Pupils by means of gradients, degrees.",
    ("error", "moving", "seen"), {"error": -1, "moving": -1}, pair_names, _table("gaze", _gaze, _gaze_severity, _gaze_more),
    severity="angle between the looks, degrees",
)  # fmt: skip
FLICKER = Protocol(
    "flicker", "Is the output as steady as the plate? Flow-warp error along the plate's flow, in the face and in the seam band.",
    ("face_ratio", "seam_ratio", "face", "seam", "seam_step", "detail"),
    {"face_ratio": -1, "seam_ratio": -1, "face": -1, "seam": -1, "seam_step": -1},
    pair_names, _table("flicker", _flicker, _flicker_severity, _flicker_more), {"face_ratio": "<= 1.10", "seam_ratio": "<= 1.10", "seam_step": "<= 2"},
    "flow-warp error added in the face, in means of the plate's own",
)  # fmt: skip
