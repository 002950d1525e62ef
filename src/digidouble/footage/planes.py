"""FFmpeg pictures -> planes of our own, sample for sample, turned upright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from jaxtyping import Num

from digidouble.errors import UnreadableMedia
from digidouble.schema.frame import ColourTags, PixelLayout

Planes = tuple[Num[np.ndarray, "..."], ...]

# Packed or interleaved layouts -> the layout with the same samples that we keep. All are rearrangements, none rounds.
_REPACKED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "nv42": "yuv444p",
    "p010le": "yuv420p10le", "p210le": "yuv422p10le", "p410le": "yuv444p10le",
    "p012le": "yuv420p12le", "p212le": "yuv422p12le", "p412le": "yuv444p12le",
    "p016le": "yuv420p16le", "p216le": "yuv422p16le", "p416le": "yuv444p16le",
    "nv20le": "yuv422p10le", "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "uyyvyy411": "yuv411p",
    "y210le": "yuv422p10le", "y212le": "yuv422p12le", "xv30le": "yuv444p10le", "vuyx": "yuv444p", "vuya": "yuva444p",
    "ayuv64le": "yuva444p16le", "xv36le": "yuv444p12le",
    "bgr24": "rgb24", "bgr0": "rgb24", "rgb0": "rgb24", "0rgb": "rgb24", "0bgr": "rgb24",
    "argb": "rgba", "abgr": "rgba", "bgra": "rgba", "pal8": "rgba",
    "bgr48le": "rgb48le", "bgr48be": "rgb48le", "rgb48be": "rgb48le", "rgba64be": "rgba64le", "bgra64le": "rgba64le",
    "x2rgb10le": "gbrp10le", "x2bgr10le": "gbrp10le", "rgb565le": "rgb24", "rgb555le": "rgb24", "bgr8": "rgb24",
    "monow": "gray", "monob": "gray", "ya8": "gray", "ya16le": "gray16le", "ya16be": "gray16le", "gray16be": "gray16le",
}  # fmt: skip
_SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_PACKED_RGB = {"rgb24": (8, 3), "rgba": (8, 4), "rgb48le": (16, 3), "rgba64le": (16, 4)}


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to set a picture upright: transpose, then mirror the rows' and columns' order."""

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    @property
    def clockwise_deg(self) -> int:
        """The rotation in this turn (a mirroring counts by the rotation that remains)."""
        if self.transpose:
            return 90 if self.flip_cols else 270
        return 180 if self.flip_rows else 0

    @property
    def is_none(self) -> bool:
        return self == Turn()

    def applied(self, plane: np.ndarray) -> np.ndarray:
        if self.transpose:
            plane = plane.swapaxes(0, 1)
        return plane[:: -1 if self.flip_rows else 1, :: -1 if self.flip_cols else 1]


def turn_of(frame: VideoFrame) -> Turn:
    """How the container's display matrix wants this picture turned (nearest of the eight)."""
    try:
        side_data = cast("Mapping[SideDataType, SideData]", frame.side_data)
        matrix = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return Turn()
    if matrix.size != 9:
        return Turn()
    # libavutil/display.h: (x, y) of the stored picture goes to (a x + c y, b x + d y), stored as [a b u c d v x y w].
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(True, flip_rows=b < 0, flip_cols=c < 0)
    return Turn(False, flip_rows=d < 0, flip_cols=a < 0)


def planes_of(frame: VideoFrame, where: str) -> tuple[Planes, PixelLayout]:
    """Planes as decoded, contiguous and our own, and their layout.

    Raises:
        UnreadableMedia: the pixel format is one that cannot be kept sample for sample.
    """
    name = frame.format.name
    if name.startswith("yuvj"):
        name = "yuv" + name[4:]
    elif name in _REPACKED:
        name = _REPACKED[name]
        frame = frame.reformat(format=name)
    elif name.endswith("be"):
        name = name[:-2] + "le"
        frame = frame.reformat(format=name)
    if name in _PACKED_RGB:
        bits, channels = _PACKED_RGB[name]
        dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
        plane = _plane(frame, 0, (frame.height, frame.width * channels), dtype)
        plane = plane.reshape(frame.height, frame.width, channels)
        return (plane,), PixelLayout(name, "rgb", bits, has_alpha=channels == 4)
    if name.startswith(("yuv4", "yuva4", "gray", "gbrp", "gbrap")):
        return _planar(frame, name)
    raise UnreadableMedia(f"{where}: pixel format {frame.format.name} is not supported; convert it to yuv, rgb or gray")


def _planar(frame: VideoFrame, name: str) -> tuple[Planes, PixelLayout]:
    components = frame.format.components
    bits = components[0].bits
    is_float = "f32" in name
    dtype = np.dtype("<f4") if is_float else np.dtype(np.uint8 if bits <= 8 else "<u2")
    full = (frame.height, frame.width)
    if not name.startswith("yuv"):
        planes = tuple(_plane(frame, c.plane, full, dtype) for c in components)
        if name.startswith("gray"):
            return planes[:1], PixelLayout(name, "gray", bits, is_float=is_float)
        packed = np.stack(planes, axis=-1)
        return (packed,), PixelLayout(name, "rgb", bits, has_alpha=len(planes) == 4, is_float=is_float)
    sx, sy = _SUBSAMPLING[name.removeprefix("yuva").removeprefix("yuv")[:3]]
    chroma = ((full[0] + (1 << sy) - 1) >> sy, (full[1] + (1 << sx) - 1) >> sx)
    planes = tuple(_plane(frame, c.plane, chroma if c.is_chroma else full, dtype) for c in components)
    return planes, PixelLayout(name, "yuv", bits, (sx, sy), has_alpha=len(planes) == 4)


def _plane(frame: VideoFrame, index: int, shape_hw: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """A copy without the decoder's row padding."""
    plane = frame.planes[index]
    h, w = shape_hw
    stride = abs(plane.line_size) // dtype.itemsize
    return np.frombuffer(memoryview(plane), dtype, count=stride * h).reshape(h, stride)[:, :w].copy()


def turned(planes: Planes, layout: PixelLayout, turn: Turn) -> tuple[Planes, PixelLayout]:
    """The picture set upright. Chroma whose blocks would no longer line up is first spread to every pixel."""
    if turn.is_none:
        return planes, layout
    sx, sy = layout.chroma_shift_xy
    h, w = planes[0].shape[:2]
    # Mirroring moves block borders when that side is not whole blocks; and 4:2:2 on its side is no layout.
    stored_flip_rows, stored_flip_cols = (
        (turn.flip_cols, turn.flip_rows) if turn.transpose else (turn.flip_rows, turn.flip_cols)
    )
    ragged = (stored_flip_rows and h % (1 << sy)) or (stored_flip_cols and w % (1 << sx))
    if layout.kind == "yuv" and ((turn.transpose and sx != sy) or ragged):
        planes = (planes[0], *(_spread(p, sx, sy, (h, w)) for p in planes[1:3]), *planes[3:])
        name = layout.name
        for old in _SUBSAMPLING:
            name = name.replace(old, "444")
        layout = PixelLayout(name, "yuv", layout.bits, (0, 0), layout.has_alpha)
    return tuple(np.ascontiguousarray(turn.applied(p)) for p in planes), layout


def _spread(plane: np.ndarray, sx: int, sy: int, shape_hw: tuple[int, int]) -> np.ndarray:
    h, w = shape_hw
    return plane.repeat(1 << sy, axis=0)[:h].repeat(1 << sx, axis=1)[:, :w]


def tags_of(frame: VideoFrame, layout: PixelLayout) -> ColourTags:
    """H.273 code points of a decoded picture. FFmpeg's own numbers are those of H.273; range 2 is full (JPEG)."""
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj") or layout.kind == "rgb"
    if layout.kind == "gray" and int(frame.color_range) == 0:
        full = True
    matrix = 0 if layout.kind == "rgb" else int(frame.colorspace)
    return ColourTags(int(frame.color_primaries), int(frame.color_trc), matrix, full)
