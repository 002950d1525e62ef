"""Shots and frames made by hand, with known samples, and readers that use FFmpeg directly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from digidouble.deliver.settings import DeliverySettings
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRate

RATE = FrameRate(Fraction(24000, 1001))
BT709 = ColourTags(1, 1, 1, False)
PQ = ColourTags(9, 16, 9, False)
SRGB = ColourTags(1, 13, 0, True)
YUV8 = PixelLayout("yuv420p", "yuv", 8, (1, 1))
YUV10 = PixelLayout("yuv420p10le", "yuv", 10, (1, 1))
RGB8 = PixelLayout("rgb24", "rgb", 8)
LINEAR = PixelLayout("rgbf32", "rgb", 32, is_float=True)


def shot_of(layout: PixelLayout, colour: ColourTags, count: int, size_wh=(96, 64), **more) -> Shot:
    facts = {"path": "plate.mov", "kind": "movie", "rate": RATE, "sha256": "ab" * 32} | more
    return Shot(size_wh=size_wh, frame_count=count, layout=layout, colour=colour, **facts)


def frames_of(shot: Shot, seed: int = 0, start: int = 0) -> list[Frame]:
    """Noise in every legal code: the hardest thing to keep."""
    rng = np.random.default_rng(seed)
    w, h = shot.size_wh
    layout = shot.layout

    def plane(rows: int, columns: int, *channels: int) -> np.ndarray:
        if layout.is_float:
            return rng.uniform(-0.1, 4.0, (rows, columns, *channels)).astype(np.float32)
        dtype = np.uint8 if layout.bits <= 8 else np.uint16
        return rng.integers(0, 1 << layout.bits, (rows, columns, *channels)).astype(dtype)

    def planes() -> tuple[np.ndarray, ...]:
        if layout.kind == "rgb":
            return (plane(h, w, 4 if layout.has_alpha else 3),)
        if layout.kind == "gray":
            return (plane(h, w),)
        sx, sy = layout.chroma_shift_xy
        chroma = -(-h // (1 << sy)), -(-w // (1 << sx))
        alpha = (plane(h, w),) if layout.has_alpha else ()
        return (plane(h, w), plane(*chroma), plane(*chroma), *alpha)

    return [
        Frame(i, shot.rate.seconds_at(i), planes(), layout, shot.colour) for i in range(start, start + shot.frame_count)
    ]


def smooth_frame(shot: Shot, value: float = 0.5) -> Frame:
    """A plain gray 8- or 10-bit Y'CbCr frame."""
    w, h = shot.size_wh
    sx, sy = shot.layout.chroma_shift_xy
    dtype = np.uint8 if shot.layout.bits == 8 else np.uint16
    top = 1 << shot.layout.bits
    luma = np.full((h, w), round(value * top), dtype)
    chroma = np.full((h >> sy, w >> sx), top // 2, dtype)
    return Frame(0, Fraction(0), (luma, chroma, chroma.copy()), shot.layout, shot.colour)


def waived(**more) -> DeliverySettings:
    """Settings without the visible label, so that samples can be compared."""
    return DeliverySettings(visible_label=False, label_waiver_reason="test of samples", **more)


def packets_of(path: Path, kind: str = "audio", stream: int = 0) -> list[tuple[Fraction, bytes]]:
    """(presentation time in seconds, payload) of every packet of a stream."""
    with av.open(str(path)) as movie:
        source = [s for s in movie.streams if s.type == kind][stream]
        return [(p.pts * p.time_base, bytes(p)) for p in movie.demux(source) if p.pts is not None and p.size]


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as movie:
        return list(movie.decode(video=0))


def planes_in(picture: av.VideoFrame, bits: int) -> list[np.ndarray]:
    """The planes of a decoded frame without the rows' padding."""
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    planes = []
    for plane in picture.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width].copy())
    return planes
