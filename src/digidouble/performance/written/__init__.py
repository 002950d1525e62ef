"""Written performances: acting (`schema.acting`) over an analysed plate, and the plate bent to it."""

from __future__ import annotations

from digidouble.performance.written.plate import ActedFootage, Layers, Score, acted_shot, layers_of, played
from digidouble.performance.written.write import Progress, write_performance

__all__ = ["ActedFootage", "Layers", "Progress", "Score", "acted_shot", "layers_of", "played", "write_performance"]
