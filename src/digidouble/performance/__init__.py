"""Performance: what the faces on a plate do, frame by frame, solved once."""

from __future__ import annotations

from digidouble.performance.analyse import analyse
from digidouble.performance.settings import PerformSettings
from digidouble.performance.store import load_performance

__all__ = ["PerformSettings", "analyse", "load_performance"]
