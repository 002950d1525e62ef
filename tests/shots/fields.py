"""A person whose skin is known for every view and expression: exposures drawn straight in UV."""

from __future__ import annotations

import numpy as np

from digidouble.perception.radiance import slant_of
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.exposures import Exposures
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.radiance import COARSE, CONDITIONS

SMILE, FROWN, YAW = 11, 15, 26  # conditions: lip corner, inner brow, view x


def skin_at(side: int, smile: float, frown: float, view: float) -> np.ndarray:
    """Display-referred colour: mottled skin, a cheek fold that deepens, a crease between the brows, a sheen that wanders."""
    at = (np.arange(side) + 0.5) / side
    u, v = np.meshgrid(at, at)
    base = 0.55 + 0.05 * np.sin(23 * u + 3 * np.sin(9 * v)) * np.cos(19 * v)
    fold = smile * np.exp(-(((u - 0.3 - 0.02 * smile) / 0.02) ** 2) - ((v - 0.62) / 0.12) ** 2)
    crease = frown * np.exp(-(((u - 0.5) / 0.015) ** 2) - ((v - 0.3) / 0.08) ** 2)
    sheen = np.exp(-(((u - 0.5 - 0.15 * view) / 0.06) ** 2) - ((v - 0.5) / 0.2) ** 2)
    grey = base - 0.25 * fold - 0.2 * crease + 0.15 * sheen
    return np.clip(np.stack([grey, 0.8 * grey, 0.7 * grey], -1), 0.02, 0.98)


def filmed(moments: np.ndarray, side: int = 128, noise: float = 0.01, seed: int = 0) -> Exposures:
    """Exposures of moments [n, 3] (smile, frown, view), under even light, the head turned by the view."""
    rng, n = np.random.default_rng(seed), len(moments)
    conditions = rng.normal(0, 0.02, (n, CONDITIONS)).astype(np.float32)
    conditions[:, [SMILE, FROWN, YAW]] = moments
    mean = face_model().mean_cm.astype(np.float64)
    points, slant = [], []
    for view in moments[:, 2]:
        a = 0.3 * view
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        points.append((10.0 * mean @ turn.T * FLIP_YZ + [100, 100, 0]).astype(np.float32))
        slant.append(slant_of(points[-1], 10.0))
    display = np.stack([skin_at(side, *m) for m in moments]) + rng.normal(0, noise, (n, side, side, 3))
    return Exposures(
        display.astype(np.float16), np.repeat(uv_grid(side).covered[None].astype(np.float16), n, 0),
        np.ones((n, COARSE, COARSE, 3), np.float16), np.stack(slant), conditions, np.stack(points), (0,) * n,
    )  # fmt: skip


def session(count: int = 48, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(moments filmed, moments never filmed): who smiles never looked left, who looked left never smiled; asked for both."""
    rng = np.random.default_rng(seed)
    smile, frown, view = rng.uniform(0, 1, count), rng.uniform(0, 1, count), rng.uniform(-1, 1, count)
    both = (smile > 0.55) & (view > 0.2)
    seen = np.stack([np.where(both, 0.2 * smile, smile), frown, view], 1)
    asked = np.stack([rng.uniform(0.6, 0.9, 8), rng.uniform(0, 1, 8), rng.uniform(0.3, 0.8, 8)], 1)
    return seen, asked


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    use = uv_grid(a.shape[0]).covered
    return float(-10 * np.log10(((a.astype(float) - b.astype(float))[use] ** 2).mean()))
