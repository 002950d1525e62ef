"""Render: Persona x Performance -> Layers."""

from __future__ import annotations

from digidouble.render.budget import details, ranks
from digidouble.render.draw import PreparedCast, draw, layer_roi, place
from digidouble.render.light import LookSettings
from digidouble.render.plan import CastPlan, plan_cast
from digidouble.render.surface import draw_with_surface

__all__ = [
    "CastPlan",
    "LookSettings",
    "PreparedCast",
    "details",
    "draw",
    "draw_with_surface",
    "layer_roi",
    "place",
    "plan_cast",
    "ranks",
]
