"""Decoded frames in the plate's own samples. Nothing is converted on the way in, so nothing is lost on the way out.

A `Frame` keeps the planes exactly as the decoder gave them. The double is blended into a region of interest (`Roi`) of
those planes; every sample that the matte does not touch stays bit-equal to the plate.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Num


@dataclass(frozen=True)
class ColourTags:
    """Colour description by ITU-T H.273 code points, as in a `colr`/nclx atom.

    primaries: 1 BT.709, 5 BT.470BG, 6 SMPTE 170M, 9 BT.2020, 12 Display-P3. transfer: 1 BT.709, 8 linear, 13 sRGB,
    16 PQ, 18 HLG. matrix: 0 RGB (identity), 1 BT.709, 5/6 BT.601, 9 BT.2020 non-constant. 2 means unspecified.
    space: key of a colour space that replaces primaries and transfer (`schema.colour.register_space`); "" is none.
    """

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False
    space: str = ""


@dataclass(frozen=True)
class PixelLayout:
    """How samples lie in memory.

    kind "yuv": planes Y, U, V (, A). kind "rgb": one packed plane (h, w, 3 or 4). kind "gray": one plane (h, w).
    Samples are uint8 (bits <= 8), uint16 (8 < bits <= 16, right-aligned) or float32 (is_float; scene-linear unless tagged).
    """

    name: str
    kind: Literal["yuv", "rgb", "gray"]
    bits: int
    chroma_shift_xy: tuple[int, int] = (0, 0)
    has_alpha: bool = False
    is_float: bool = False


@dataclass(frozen=True)
class Roi:
    """A rectangle of pixels, half-open, origin at the top left of the frame."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.x1 - self.x0, self.y1 - self.y0

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    def clipped(self, size_wh: tuple[int, int]) -> Roi:
        """This rectangle within a frame of the given size, grown outwards to even coordinates (4:2:0 blocks)."""
        w, h = size_wh
        x0, y0 = max(0, self.x0) & ~1, max(0, self.y0) & ~1
        return Roi(x0, y0, max(x0, min(w, self.x1 + (self.x1 & 1))), max(y0, min(h, self.y1 + (self.y1 & 1))))


@dataclass(frozen=True)
class Frame:
    """One frame as decoded and turned upright. `index` counts from 0 within the shot."""

    index: int
    pts_seconds: Fraction
    planes: tuple[Num[np.ndarray, "..."], ...]
    layout: PixelLayout
    colour: ColourTags

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.planes[0].shape[1], self.planes[0].shape[0]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.planes[0].shape[0], self.planes[0].shape[1]

    def __repr__(self) -> str:
        w, h = self.size_wh
        return f"Frame({self.index}, {w}x{h} {self.layout.name}, t={float(self.pts_seconds):.3f}s)"
