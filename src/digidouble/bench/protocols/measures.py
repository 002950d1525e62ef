"""Plate against output, as numbers: expression, pose, gaze, flicker, identity. Pure functions of what the referees saw."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from digidouble.bench.landmarks import CHANNELS
from digidouble.bench.statistics import finite_mean

MOVES = (
    0.012  # standard deviation, in face scales, from which a channel counts as moving: about twice the tracker's noise
)
MAX_LAG = 8
Numbers = dict[str, float]


def correlation(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> float:
    """Pearson's r; 0 where either does not move."""
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size > 1e-12 else 0.0


def lag_frames(plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"]) -> float:
    """Frames by which the output is late (negative: early): peak of the summed cross-correlation, refined by a parabola."""
    n = len(plate)
    reach = min(MAX_LAG, n // 4)
    if reach < 1 or not plate.shape[1]:
        return 0.0
    lags = np.arange(-reach, reach + 1)
    total = [
        sum(correlation(plate[max(0, -k) : n - max(0, k), c], out[max(0, k) : n - max(0, -k), c]) for c in range(plate.shape[1]))
        for k in lags
    ]  # fmt: skip
    k = int(np.argmax(total))
    if k in (0, len(lags) - 1):
        return float(lags[k])
    left, top, right = total[k - 1], total[k], total[k + 1]
    bend = left - 2 * top + right
    return float(lags[k] + (0.5 * (left - right) / bend if abs(bend) > 1e-9 else 0.0))


def jerk(signal: Float[np.ndarray, "n"]) -> float:
    """Mean absolute third difference."""
    return float(np.abs(np.diff(signal, 3)).mean()) if len(signal) > 3 else float("nan")


def moving(plate: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, "c"]:
    """Channels in which the plate moves enough to be followed."""
    return plate.std(0) > MOVES


def expression(plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"]) -> Numbers:
    """How the output follows the plate.

    Every channel has its own mean taken out first: a double has other proportions, and those are no error. `error` is the
    root mean square over moving channels of (deviation of the difference / deviation of the plate): 0 is perfect, a frozen
    face scores 1. `r`, `amplitude` and `jerk` are means over moving channels.
    """
    use = moving(plate)
    result: Numbers = {"channels": float(use.sum())}
    p, o = plate - plate.mean(0), out - out.mean(0)
    names = CHANNELS if plate.shape[1] == len(CHANNELS) else tuple(f"channel_{i}" for i in range(plate.shape[1]))
    for i in np.flatnonzero(use):
        result[f"r_{names[i]}"] = correlation(p[:, i], o[:, i])
        result[f"amplitude_{names[i]}"] = float(o[:, i].std() / p[:, i].std())
    if not use.any():
        return result | dict.fromkeys(("r", "error", "lag", "amplitude", "jerk"), float("nan"))
    relative = (o - p)[:, use].std(0) / p[:, use].std(0)
    return result | {
        "r": float(np.mean([correlation(p[:, i], o[:, i]) for i in np.flatnonzero(use)])),
        "error": float(np.sqrt((relative**2).mean())),
        "lag": lag_frames(p[:, use], o[:, use]),
        "amplitude": float((o[:, use].std(0) / p[:, use].std(0)).mean()),
        "jerk": finite_mean([jerk(o[:, i]) / max(jerk(p[:, i]), 1e-9) for i in np.flatnonzero(use)]),
    }


def clean_error(
    plate: Float[np.ndarray, "n c"], out: Float[np.ndarray, "n c"], again: Float[np.ndarray, "n c"]
) -> float:
    """`error` of `expression` without the judge's noise, for which `again`, the plate measured a second time, stands.

    Per moving channel var(out - plate) - var(again - plate), never below zero, over var(plate) - var(again - plate) / 2;
    root of the mean. It takes the judge's noise to be as strong on an output as on the plate and independent of what the
    output does wrong; the difference of two measurements holds it twice, the plate's own variance once. Noise that both
    measurements of the plate have in common is not seen, so rather too little is taken out. NaN where nothing moves.
    """
    use = moving(plate)
    if not use.any():
        return float("nan")
    p, o, a = plate[:, use], out[:, use], again[:, use]
    noise = (a - p).var(0)
    left = np.maximum((o - p).var(0) - noise, 0)
    return float(np.sqrt((left / np.maximum(p.var(0) - noise / 2, 1e-12)).mean()))


def pose(plate_deg: Float[np.ndarray, "n 3"], out_deg: Float[np.ndarray, "n 3"]) -> Numbers:
    """Degrees between the heads. `error` is the mean absolute difference over yaw, pitch and roll; `moving` the same with each
    angle's constant offset, which other proportions cause in a tracker with one average head, taken out."""
    d = (out_deg - plate_deg + 180) % 360 - 180
    still = np.abs(d - np.median(d, axis=0))
    names = ("yaw", "pitch", "roll")
    each = {n: float(np.abs(d[:, i]).mean()) for i, n in enumerate(names)}
    return {"error": float(np.abs(d).mean()), "moving": float(still.mean()), **each}


def gaze(plate_deg: Float[np.ndarray, "n 2"], out_deg: Float[np.ndarray, "n 2"]) -> Numbers:
    """Mean angle between the looks in degrees, over frames where both have an eye open; `moving` without the constant offset."""
    both = np.isfinite(plate_deg).all(1) & np.isfinite(out_deg).all(1)
    if both.sum() < 3:
        return {"error": float("nan"), "moving": float("nan"), "seen": float(both.mean())}
    d = (out_deg - plate_deg)[both]
    still = d - np.median(d, axis=0)
    return {
        "error": float(np.linalg.norm(d, axis=1).mean()),
        "moving": float(np.linalg.norm(still, axis=1).mean()),
        "seen": float(both.mean()),
    }


def flicker(
    plate_face: Float[np.ndarray, "n"], plate_seam: Float[np.ndarray, "n"], face: Float[np.ndarray, "n"], seam: Float[np.ndarray, "n"]
) -> Numbers:  # fmt: skip
    """Flow-warp error of the output in the face and in the seam band, absolute and as a multiple of the plate's own."""
    return {
        "face": finite_mean(face),
        "seam": finite_mean(seam),
        "face_ratio": finite_mean(face) / max(finite_mean(plate_face), 1e-6),
        "seam_ratio": finite_mean(seam) / max(finite_mean(plate_seam), 1e-6),
    }


def identity(
    out: Float[np.ndarray, "k d"], persona: Float[np.ndarray, "d"], plate: Float[np.ndarray, "d"], gallery: Float[np.ndarray, "g d"], answer: int
) -> Numbers:  # fmt: skip
    """Who the output is taken for. All vectors are units.

    `margin` is the cosine to the persona's held-out pictures minus the cosine to the plate's person; `won` the share of
    frames where it is positive; `top1` the share whose nearest of all people in `gallery` is `answer`; `swing` the
    standard deviation of the cosine to the persona over time.
    """
    to_persona, to_plate = out @ persona, out @ plate
    return {
        "persona": float(to_persona.mean()),
        "plate": float(to_plate.mean()),
        "margin": float((to_persona - to_plate).mean()),
        "won": float((to_persona > to_plate).mean()),
        "top1": float(((out @ gallery.T).argmax(1) == answer).mean()),
        "swing": float(to_persona.std()),
    }
