"""Tiny media with known samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SHAPES = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}


def smooth_planes(pix_fmt: str, size_wh: tuple[int, int], index: int) -> list[np.ndarray]:
    """Planes with a gradient that differs in every frame and plane; lossless codecs can be held to its integers."""
    w, h = size_wh
    layout = av.VideoFormat(pix_fmt, w, h)
    bits = layout.components[0].bits
    planes = []
    for number, component in enumerate(layout.components):
        cw, ch = w, h
        if component.is_chroma:
            sx, sy = SHAPES[pix_fmt.removeprefix("yuva").removeprefix("yuvj").removeprefix("yuv")[:3]]
            cw, ch = (w + (1 << sx) - 1) >> sx, (h + (1 << sy) - 1) >> sy
        yy, xx = np.mgrid[:ch, :cw]
        value = (20 + number * 15 + index * 7 + 2 * xx + 3 * yy) % 200 + 20
        low_bits = number + 1 if bits > 8 else 0  # so that a lost low bit shows
        planes.append((value << (bits - 8) | low_bits).astype(np.uint8 if bits == 8 else np.uint16))
    return planes


def av_frame(pix_fmt: str, planes: list[np.ndarray]) -> av.VideoFrame:
    h, w = planes[0].shape
    frame = av.VideoFrame(w, h, pix_fmt)
    components = frame.format.components
    for component, samples in zip(components, planes, strict=True):
        plane = frame.planes[component.plane]
        stride = plane.line_size // samples.dtype.itemsize
        padded = np.zeros((plane.buffer_size // plane.line_size, stride), samples.dtype)
        padded[: samples.shape[0], : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    return frame


def write_movie(
    path: Path,
    frames: list[av.VideoFrame],
    codec: str = "libx264",
    rate: Fraction = Fraction(25),
    options: dict[str, str] | None = None,
    ticks: list[int] | None = None,
    display_matrix: list[int] | None = None,
) -> Path:
    """`ticks`: frame times in 1/1000 of a frame, for uneven movies."""
    with av.open(str(path), "w") as movie:
        stream = movie.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        stream.codec_context.thread_count = 1
        base = 1 / rate / 1000 if ticks else 1 / rate
        stream.codec_context.time_base = base
        if display_matrix:
            stream.set_display_matrix(display_matrix)
        for i, frame in enumerate(frames):
            frame.pts, frame.time_base = ticks[i] if ticks else i, base
            movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    return path


LOSSLESS_H264 = {"qp": "0", "preset": "ultrafast", "g": "5"}


def numbered_movie(
    path: Path, count: int, pix_fmt: str = "yuv420p", size_wh: tuple[int, int] = (64, 48), **more
) -> Path:
    more.setdefault("options", LOSSLESS_H264)
    frames = [av_frame(pix_fmt, smooth_planes(pix_fmt, size_wh, i)) for i in range(count)]
    return write_movie(path, frames, **more)
