"""Composite: Layers over the plate -> frame."""

from __future__ import annotations

from digidouble.composite.blend import composite, hold_out, visible_face

__all__ = ["composite", "hold_out", "visible_face"]
