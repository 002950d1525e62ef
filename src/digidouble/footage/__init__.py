"""Footage: a file, a picture or a numbered sequence, opened as a `Shot` and read as `Frame`s in its own samples.

with open_footage("plate.mov") as footage:
    print(footage.shot)
    for frame in footage.frames(FrameRange(0, 48)):
        ...
"""

from __future__ import annotations

from digidouble.footage.cuts import CutDetector, detect_cuts
from digidouble.footage.door import open_footage
from digidouble.footage.memory import MemoryFootage
from digidouble.footage.reader import Footage
from digidouble.footage.settings import FootageSettings

__all__ = ["CutDetector", "Footage", "FootageSettings", "MemoryFootage", "detect_cuts", "open_footage"]
