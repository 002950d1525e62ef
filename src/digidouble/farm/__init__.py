"""Farm: frame ranges on workers. Local threads for now."""

from __future__ import annotations

from digidouble.farm.local import RenderResult, RenderSettings, Sample, left_out, prepare_shot, render_shot

__all__ = ["RenderResult", "RenderSettings", "Sample", "left_out", "prepare_shot", "render_shot"]
