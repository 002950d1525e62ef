"""Creases of written faces: where skin folds when a muscle pulls, on the UV grid of creases.

A plate's creases are measured (`performance.wrinkles`); a written face has none to measure, so each muscle brings its own: crow's feet with
AU6 and 12, forehead lines with AU1 and 2, the frown with AU4, the fold beside the nose with AU12 and 10, the bridge with AU9, the pouch under
the lid with AU6 and 7, the chin with AU17. Anatomy after Hjortsjö 1970 ("Man's face and mimic language") and Lemperle et al. 2001 (wrinkle
assessment scale: where they lie). Lines are drawn in head centimetres on the mean face and carried by the mesh; a fold is a dark groove with
a fainter bright bank beside it, broken by fixed noise, so that it looks like skin and not like paint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int8

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mesh import face_model
from digidouble.schema.track import WRINKLE_GRID, wrinkle_steps

GROOVE_CM, BANK_CM = 0.075, 0.2  # half widths
BANK = 0.22  # of a groove's depth
DEEPEST, BRIGHTEST = 0.6, 0.14  # natural log, all folds together


def _line(points_cm: list[tuple[float, float]], depth: float, width: float = 1.0) -> tuple[np.ndarray, float, float]:
    return np.array(points_cm, np.float64), depth, width


# Polylines (x, y) on the mean face, centimetres: x away from the middle on either side, y up from between the eyes.
LINES: dict[str, tuple[tuple[np.ndarray, float, float], ...]] = {
    "crows_feet": (
        _line([(4.75, 0.25), (5.25, 0.65), (5.7, 1.0)], 0.26),
        _line([(4.85, -0.1), (5.4, 0.08), (5.9, 0.2)], 0.32),
        _line([(4.8, -0.45), (5.35, -0.55), (5.85, -0.65)], 0.3),
        _line([(4.6, -0.8), (5.1, -1.15), (5.5, -1.5)], 0.22),
    ),
    "under_eye": (_line([(1.75, -0.95), (2.4, -1.3), (3.2, -1.42), (4.0, -1.2), (4.6, -0.8)], 0.32, 1.3),),
    "cheek": (
        _line([(2.1, -3.6), (2.4, -4.1), (2.8, -4.9), (3.15, -5.7), (3.35, -6.5)], 0.38, 2.0),
        _line([(3.3, -5.9), (3.75, -6.6), (3.85, -7.2)], 0.22, 1.5),
    ),
    "frown": (_line([(0.62, 0.7), (0.72, 1.5), (0.68, 2.3)], 0.54, 1.2), _line([(0.0, -0.3), (0.35, -0.15)], 0.26, 1.0)),
    "forehead": (
        _line([(0.0, 3.0), (1.2, 3.1), (2.4, 3.05), (3.6, 2.7)], 0.26, 1.2),
        _line([(0.0, 3.75), (1.3, 3.85), (2.6, 3.75), (3.8, 3.35)], 0.32, 1.2),
        _line([(0.0, 4.45), (1.3, 4.5), (2.5, 4.35), (3.5, 4.0)], 0.22, 1.2),
    ),
    "forehead_inner": (_line([(0.0, 3.05), (0.8, 3.2), (1.5, 2.9)], 0.32, 1.2), _line([(0.0, 3.8), (0.9, 3.9), (1.7, 3.5)], 0.27, 1.2)),
    "nose": (
        _line([(0.15, -0.55), (0.75, -0.75), (1.15, -1.05)], 0.48, 1.0),
        _line([(0.1, -0.95), (0.75, -1.2), (1.2, -1.55)], 0.45, 1.0),
        _line([(1.45, -1.8), (1.8, -2.5), (2.0, -3.2)], 0.32, 1.3),
    ),
    "chin": (_line([(0.0, -8.25), (0.8, -8.35), (1.5, -8.7)], 0.45, 1.6),),
    "mouth_corner": (_line([(2.75, -7.0), (2.95, -7.6), (2.9, -8.3)], 0.42, 1.6),),
}  # fmt: skip


@lru_cache(maxsize=1)
def _fields() -> dict[str, Float32[np.ndarray, "2 w w"]]:
    """Log gain of every fold at full strength, the subject's right (x < 0) and left side."""
    grid, m = uv_grid(WRINKLE_GRID), face_model()
    place = grid.carried(m.mean_cm.astype(np.float32))
    rng = np.random.Generator(np.random.PCG64(45))
    rough = cv2.GaussianBlur(rng.standard_normal((WRINKLE_GRID, WRINKLE_GRID)).astype(np.float32), (0, 0), 2.5)
    rough = np.clip(1 + 0.35 * rough / rough.std(), 0.3, 1.5)
    near = np.clip(m.hole_cm / 0.35 - 0.35, 0, 1) * np.clip((m.rim_cm - 0.2) / 0.5, 0, 1)
    allowed = grid.carried(near[:, None].astype(np.float32))[..., 0] * grid.covered
    out = {}
    for name, lines in LINES.items():
        sides = []
        for sign in (-1.0, 1.0):
            x, y = sign * place[..., 0], place[..., 1]
            field = np.zeros_like(x)
            for points, depth, width in lines:
                far, along = _distance(x, y, points)
                ends = (
                    np.clip(np.minimum(along, 1 - along) / 0.25, 0, 1)
                    if points[0, 0] > 0.3
                    else np.clip((1 - along) / 0.3, 0, 1)
                )
                groove = np.exp(-((far / (GROOVE_CM * width)) ** 2)) - BANK * np.exp(
                    -((far / (BANK_CM * width) - 1.2) ** 2)
                )
                field = field - depth * ends * groove
            half = np.clip(0.5 + x / 0.2, 0, 1)  # each side its own half
            sides.append((cv2.GaussianBlur(field * rough, (0, 0), 0.6) * allowed * half).astype(np.float32))
        out[name] = np.stack(sides)
    return out


def _distance(
    x: Float[np.ndarray, "w w"], y: Float[np.ndarray, "w w"], points: Float[np.ndarray, "k 2"]
) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """(centimetres to a smoothed polyline, 0..1 along it)."""
    t = np.linspace(0, len(points) - 1, 40)
    knots = np.arange(len(points))
    line = np.stack(
        [
            np.convolve(np.pad(np.interp(t, knots, points[:, k]), 4, mode="edge"), np.ones(9) / 9, "valid")
            for k in (0, 1)
        ],
        1,
    )
    far = np.hypot(x[..., None] - line[:, 0], y[..., None] - line[:, 1])
    best = far.argmin(-1)
    return np.take_along_axis(far, best[..., None], -1)[..., 0], best / (len(line) - 1)


def strengths(actions: Float[np.ndarray, " a"]) -> dict[str, tuple[float, float]]:
    """Fold -> 0..1 on the subject's right and left, from muscle actions."""
    column = _column

    def at(side: str) -> Callable[[str], float]:
        return lambda stem: float(actions[column(stem, side)])

    out: dict[str, list[float]] = {name: [] for name in LINES}
    for side in ("R", "L"):
        a = at(side)
        smile, cheek, tighten = a("lip_corner_pull"), max(a("cheek_raise"), 0.0), max(a("lid_tighten"), 0.0)
        inner, outer, draw = a("inner_brow_raise"), a("outer_brow_raise"), max(a("brow_draw"), 0.0)
        nose, raised = max(a("nose_wrinkle"), 0.0), max(a("upper_lip_raise"), 0.0)
        out["crows_feet"].append(cheek * min(max(0.35 + 0.65 * smile, 0.4), 1.2) + 0.15 * tighten)
        out["under_eye"].append(0.6 * cheek + 0.35 * tighten)
        out["cheek"].append(0.8 * max(smile, 0) + 0.45 * raised + 0.3 * nose + 0.2 * max(a("lip_stretch"), 0))
        out["frown"].append(0.75 * draw + 0.55 * max(-inner, 0))
        out["forehead"].append(max(min(inner, 1.2 * outer + 0.1), 0.0))
        out["forehead_inner"].append(max(inner - max(outer, 0.0), 0.0) * (0.5 + 0.5 * min(draw, 1.0)))
        out["nose"].append(max(nose - 0.5 * max(smile, 0.0), 0.0))  # nostrils that a smile lifts fold no bridge
        out["chin"].append(max(-a("lower_lip_drop"), 0.0) + 0.3 * max(-smile, 0.0))
        out["mouth_corner"].append(max(-smile, 0.0))
    return {k: (min(max(v[0], 0.0), 1.4), min(max(v[1], 0.0), 1.4)) for k, v in out.items()}


@lru_cache(maxsize=64)
def _column(stem: str, side: str) -> int:
    """Column of an action on a side; of one without sides, the same for both."""
    names = [n.split("/")[0] for n in face_model().action_names]
    return next(
        k
        for k, n in enumerate(names)
        if n.startswith(f"{stem}_{side}_") or (n.startswith(stem) and f"{stem}_R_" not in " ".join(names))
    )


def written_creases(actions: Float[np.ndarray, " a"]) -> Int8[np.ndarray, "w w"]:
    """Crease gain of a written face, as `TrackSample.wrinkles`."""
    gain = np.zeros((WRINKLE_GRID, WRINKLE_GRID), np.float32)
    for name, (right, left) in strengths(actions).items():
        field = _fields()[name]
        for k, value in enumerate((right, left)):
            if value > 0.02:
                gain += np.float32(value) * field[k]
    limit = np.where(gain > 0, np.float32(BRIGHTEST), np.float32(DEEPEST))
    return wrinkle_steps(limit * np.tanh(gain / limit))
