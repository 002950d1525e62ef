"""A single picture as footage of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2

from digidouble.footage.fingerprint import sha256_of
from digidouble.footage.pictures import read_picture
from digidouble.footage.reader import Footage
from digidouble.footage.settings import FootageSettings
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate


class StillFootage(Footage):
    """One picture.

    Raises (on opening):
        UnreadableMedia: see `read_picture`.
    """

    def __init__(self, path: Path, settings: FootageSettings) -> None:
        self.settings = settings
        picture = read_picture(path, settings.max_pixels)
        self._frame = Frame(0, Fraction(0), picture.planes, picture.layout, picture.colour)
        self.shot = Shot(
            str(path), "image", self._frame.size_wh,
            FrameRate(picture.rate) if picture.rate else settings.sequence_rate,
            1, picture.layout, picture.colour, rotation_deg=picture.rotation_deg, timecode=picture.timecode,
            sha256=sha256_of(path) if settings.fingerprint else "",
        )  # fmt: skip

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        return iter([self._frame][frame_range.start : frame_range.end_exclusive])

    def _seek(self, index: int) -> Frame:
        return self._frame


class ScaledStill(Footage):
    """A picture made smaller. Its shot tells of the same file."""

    def __init__(self, footage: Footage, size_wh: tuple[int, int]) -> None:
        frame = footage.frame(0)
        planes = tuple(cv2.resize(p, size_wh, interpolation=cv2.INTER_AREA) for p in frame.planes)
        self._frame = replace(frame, planes=planes)
        self.shot, self.warnings = replace(footage.shot, size_wh=size_wh), footage.warnings

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        return iter([self._frame][frame_range.start : frame_range.end_exclusive])

    def _seek(self, index: int) -> Frame:
        return self._frame


LONGEST_SIDE = 1920


def scaled_still(footage: Footage, longest: int = LONGEST_SIDE) -> Footage:
    """A still no larger than `longest` pixels on its longer side, of even size (a movie's chroma needs that); itself where it is."""
    w, h = footage.shot.size_wh
    share = min(1.0, longest / max(w, h))
    size = max(round(w * share) & ~1, 2), max(round(h * share) & ~1, 2)
    return footage if size == (w, h) or footage.shot.layout.kind == "yuv" else ScaledStill(footage, size)
