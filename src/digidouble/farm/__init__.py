"""Frame ranges on the workers of this machine or of a Ray cluster."""

from __future__ import annotations

from digidouble.farm.local import render_shot
from digidouble.farm.prepared import left_out, prepare_shot
from digidouble.farm.settings import RenderResult, RenderSettings, Sample

__all__ = ["RenderResult", "RenderSettings", "Sample", "left_out", "prepare_shot", "render_shot"]
