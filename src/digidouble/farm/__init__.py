"""Farm: frame ranges on the threads of this machine, or on a Ray cluster; a run that was cut off goes on where it stopped."""

from __future__ import annotations

from digidouble.farm.local import prepare_shot, render_shot
from digidouble.farm.settings import RenderResult, RenderSettings, Sample

__all__ = ["RenderResult", "RenderSettings", "Sample", "prepare_shot", "render_shot"]
