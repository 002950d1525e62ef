"""Refine: Layers -> Layers, so that the double shares the plate's sharpness, motion blur and grain."""

from __future__ import annotations

from digidouble.refine.detail import add_grain, match_sharpness, motion_blur
from digidouble.refine.mark import add_mark

__all__ = ["add_grain", "add_mark", "match_sharpness", "motion_blur"]
