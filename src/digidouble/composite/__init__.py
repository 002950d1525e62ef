"""Composite: Layers over the plate -> frame."""

from __future__ import annotations

from digidouble.composite.blend import (
    composite,
    composite_linear,
    farthest_first,
    hold_out,
    matte_of,
    visible_face,
)

__all__ = ["composite", "composite_linear", "farthest_first", "hold_out", "matte_of", "visible_face"]
