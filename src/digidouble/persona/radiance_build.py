"""A persona with a radiance field: its neutral shape from all exposures, its skin fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from digidouble.perception.shape import neutral_from, without_habit
from digidouble.persona.exposures import Exposures
from digidouble.persona.radiance_fit import FitSettings, Fitted, Progress, fit_radiance
from digidouble.persona.radiance_start import skin_only
from digidouble.schema.persona import Persona

MOST_SHAPES = 120


def with_radiance(
    persona: Persona,
    exposures: Exposures,
    settings: FitSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
) -> tuple[Persona, Fitted]:
    """The persona with a field, and how its fit went. Raises as `fit_radiance`."""
    fitted = fit_radiance(
        skin_only(exposures), persona.keys[0].albedo.astype(np.float32), settings, progress, checkpoint
    )
    some = np.unique(np.linspace(0, len(exposures) - 1, min(MOST_SHAPES, len(exposures))).round().astype(int))
    # A dozen looks chosen for being different know the shape less well than a track does.
    neutral, points = persona.neutral_cm, exposures.points_px[some]
    if len(some) > len(persona.keys):
        neutral = without_habit(neutral_from(points), points)
    return replace(persona, neutral_cm=neutral, radiance=fitted.radiance, sha256=""), fitted
