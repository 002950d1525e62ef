"""Render: Persona x Performance -> Layers."""

from __future__ import annotations

from digidouble.render.budget import details, ranks
from digidouble.render.draw import PreparedCast, draw, layer_roi, place
from digidouble.render.light import LookSettings
from digidouble.render.plan import CastPlan, plan_cast

__all__ = ["CastPlan", "LookSettings", "PreparedCast", "details", "draw", "layer_roi", "place", "plan_cast", "ranks"]
