"""Protocols that watch plate and output side by side: identity, expression, pose, gaze, flicker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from digidouble.bench.gaze import gaze_deg
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.observe import Seen, Watched, Window
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.protocols import measures
from digidouble.bench.referees import SAME_PERSON
from digidouble.bench.statistics import finite_mean
from digidouble.bench.workshop import ROWS, Workshop
from digidouble.errors import NoFace

Numbers = Callable[[Watched, Seen, Seen], dict[str, float]]


def _items(_: Workshop, scope: Scope) -> list[str]:
    return [p.name for p in scope.pairs]


def _table(numbers: Numbers) -> Callable[[Workshop, Scope, str], Measured]:
    """A protocol from numbers of (plate as watched, plate row, row)."""

    def measure(shop: Workshop, scope: Scope, item: str) -> Measured:
        pair = scope.of_pair(item)
        watched, plate = shop.watched(shop.plate(pair.plate)), shop.seen(pair, "plate")
        return Measured(tuple(Record(item, row, numbers(watched, plate, shop.seen(pair, row))) for row in ROWS))

    return measure


def _expression(shop: Workshop, scope: Scope, item: str) -> Measured:
    """`reduction` is 1 - error / error of the frozen paste, the article's first experiment."""
    pair = scope.of_pair(item)
    plate = channels(shop.watched(shop.plate(pair.plate)).landmarks)
    found = {row: measures.expression(plate, channels(shop.seen(pair, row).landmarks)) for row in ROWS}
    frozen = found["paste"]["error"]
    return Measured(
        tuple(Record(item, row, {**n, "reduction": 1 - n["error"] / max(frozen, 1e-9)}) for row, n in found.items())
    )


def _pose(watched: Watched, _: Seen, row: Seen) -> dict[str, float]:
    return measures.pose(poses_deg(watched.landmarks), poses_deg(row.landmarks))


def _gaze(watched: Watched, plate: Seen, row: Seen) -> dict[str, float]:
    # Eyes are sought inside each row's own landmarks, as a viewer judges a look against the lids around it.
    return measures.gaze(gaze_deg(plate.landmarks, plate.pupils), gaze_deg(row.landmarks, row.pupils))


def _flicker(_: Watched, plate: Seen, row: Seen) -> dict[str, float]:
    numbers = measures.flicker(plate.face_warp, plate.seam_warp, row.face_warp, row.seam_warp)
    return numbers | {"seam_step": finite_mean(row.step), "detail": finite_mean(row.detail) / finite_mean(plate.detail)}


def gallery(shop: Workshop, scope: Scope) -> tuple[list[str], np.ndarray]:
    """Names and vectors of the people in the run; clips that show one person are one entry."""
    names: list[str] = []
    vectors: list[np.ndarray] = []
    for name in dict.fromkeys(n for p in scope.pairs for n in (p.persona, p.plate)):
        try:
            v = shop.likeness(name)
        except NoFace:
            continue
        if not any(float(v @ u) > 0.5 * (1 + SAME_PERSON) for u in vectors):
            names.append(name)
            vectors.append(v)
    return names, np.stack(vectors)


def _identity(shop: Workshop, scope: Scope, item: str) -> Measured:
    pair = scope.of_pair(item)
    persona, plate = shop.likeness(pair.persona), shop.likeness(pair.plate)
    _, people = gallery(shop, scope)
    answer = int((people @ persona).argmax())
    records = tuple(
        Record(item, row, measures.identity(shop.seen(pair, row).identity, persona, plate, people, answer))
        for row in ROWS
    )
    return Measured(records, _pictures(shop, scope, item))


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
    for row in ("plate", "paste", "classic", "digidouble"):
        rgb8 = shop.row_picture(pair, row, watched, at)
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
    "Who is the output taken for? dlib's ResNet against held-out pictures of the persona and of the plate's person.",
    ("won", "margin", "persona", "plate", "top1", "swing"),
    {"won": 1, "margin": 1, "persona": 1, "plate": -1, "top1": 1, "swing": -1},
    _items, _identity, {"won": ">= 0.95"},
)  # fmt: skip
EXPRESSION = Protocol(
    "expression",
    "Does the output do what the plate does? dlib's landmarks: openings and lifts of mouth, eyes and brows over time.",
    ("r", "error", "reduction", "lag", "amplitude", "jerk", "channels"),
    {"r": 1, "error": -1, "reduction": 1},
    _items, _expression, {"r": ">= 0.95", "lag": "0", "reduction": ">= 0.82"},
)  # fmt: skip
POSE = Protocol(
    "pose", "Does the head stay where the plate's is? PnP on dlib's rigid points, degrees.",
    ("error", "moving", "yaw", "pitch", "roll"), dict.fromkeys(("error", "moving", "yaw", "pitch", "roll"), -1),
    _items, _table(_pose), {"error": "<= 1.5"},
)  # fmt: skip
GAZE = Protocol(
    "gaze", "Does the output look where the plate looks? Pupils by means of gradients, degrees.",
    ("error", "moving", "seen"), {"error": -1, "moving": -1}, _items, _table(_gaze),
)  # fmt: skip
FLICKER = Protocol(
    "flicker", "Is the output as steady as the plate? Flow-warp error along the plate's flow, in the face and in the seam band.",
    ("face_ratio", "seam_ratio", "face", "seam", "seam_step", "detail"),
    {"face_ratio": -1, "seam_ratio": -1, "face": -1, "seam": -1, "seam_step": -1},
    _items, _table(_flicker), {"face_ratio": "<= 1.10", "seam_ratio": "<= 1.10", "seam_step": "<= 2"},
)  # fmt: skip
