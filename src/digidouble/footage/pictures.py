"""One picture file -> planes. 16-bit stays 16-bit, EXR stays float; nothing is decoded before its size is known."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from digidouble.errors import UnreadableMedia
from digidouble.footage.planes import Planes, Turn
from digidouble.footage.tiff import without_orientation
from digidouble.schema.frame import ColourTags, PixelLayout

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 1 << 31
_SRGB = ColourTags(primaries=1, transfer=13, matrix=0, full_range=True)
_LINEAR = ColourTags(primaries=1, transfer=8, matrix=0, full_range=True)
# Exif orientation (CIPA DC-008 §4.6.5) -> how to set the picture upright.
_EXIF_TURNS = {
    2: Turn(flip_cols=True),
    3: Turn(flip_rows=True, flip_cols=True),
    4: Turn(flip_rows=True),
    5: Turn(transpose=True),
    6: Turn(transpose=True, flip_cols=True),
    7: Turn(transpose=True, flip_rows=True, flip_cols=True),
    8: Turn(transpose=True, flip_rows=True),
}


@dataclass(frozen=True)
class Picture:
    """A decoded, upright picture file."""

    planes: Planes
    layout: PixelLayout
    colour: ColourTags
    rotation_deg: int = 0
    rate: Fraction | None = None
    """frames per second, where the file says (EXR sequences)"""
    timecode: str | None = None


def read_picture(path: Path, max_pixels: int) -> Picture:
    """Read a PNG, JPEG, TIFF, WebP, BMP or OpenEXR file.

    Raises:
        UnreadableMedia: damaged, larger than `max_pixels` or 16384 a side, or of a kind not kept (CMYK, Lab).
    """
    if path.suffix.lower() == ".exr":
        from digidouble.footage.exr import read_exr

        return read_exr(path, max_pixels)
    return _read_coded(path, max_pixels)


def check_size(path: Path, size_wh: tuple[int, int], max_pixels: int) -> None:
    w, h = size_wh
    if w < 1 or h < 1 or w * h > max_pixels or max(w, h) > 16384:
        raise UnreadableMedia(
            f"{path}: a picture of {w}x{h}; expected 1 to 16384 a side and at most {max_pixels} pixels"
        )


# What Pillow raises for damaged files, by the ten thousand: its parsers take much on trust (12.0: a TypeError in `getexif` for a TIFF whose
# XMP is a text).
PILLOW_TROUBLE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError, struct.error,
)  # fmt: skip


def _read_coded(path: Path, max_pixels: int) -> Picture:
    from PIL import Image, UnidentifiedImageError

    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnreadableMedia(f"{path}: {path.stat().st_size} bytes; a picture may have {MAX_FILE_BYTES}")
    data, orientation = without_orientation(path.read_bytes())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size decides
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "WEBP", "BMP")) as image:
                check_size(path, image.size, max_pixels)
                turn = _EXIF_TURNS.get(image.getexif().get(0x0112, 1) if orientation == 1 else orientation, Turn())
                primaries = _primaries_of(image.info.get("icc_profile"))
                samples = _read_deep(path, data) if _is_deep(data, image) else _samples8(path, image)
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"{path}: larger than a picture may be ({error})") from error
    except UnidentifiedImageError as error:
        raise UnreadableMedia(f"{path}: not a picture of a known kind; it may be damaged or mislabelled") from error
    except PILLOW_TROUBLE as error:
        if isinstance(error, UnreadableMedia):
            raise
        raise UnreadableMedia(f"{path}: the picture does not decode ({error})") from error
    plane = np.ascontiguousarray(turn.applied(samples))
    tags = _LINEAR if plane.dtype == np.float32 else ColourTags(primaries, _SRGB.transfer, 0, True)
    return Picture((plane,), _layout_of(plane), tags, turn.clockwise_deg)


def _is_deep(data: bytes, image: Image) -> bool:
    """More than 8 bits a channel. Pillow silently reduces such RGB to 8, so it must not decode them."""
    if image.format == "PNG":
        return data[24] == 16  # after signature, IHDR length and name, width, height (PNG §11.2.2)
    if image.format == "TIFF":
        tags: dict[int, tuple[int, ...]] = vars(image).get("tag_v2", {})
        return max(tags.get(258, (8,))) > 8  # BitsPerSample (TIFF 6.0 §8)
    return False


def _read_deep(path: Path, data: bytes) -> np.ndarray:
    import cv2

    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise UnreadableMedia(f"{path}: the picture does not decode; it may be damaged")
    if samples.dtype not in (np.uint16, np.float32, np.uint8):
        raise UnreadableMedia(
            f"{path}: samples of type {samples.dtype}; expected 8- or 16-bit integers or 32-bit floats"
        )
    if samples.ndim == 3 and samples.shape[2] >= 3:
        order = [2, 1, 0, 3][: samples.shape[2]]
        return samples[..., order]
    return samples[..., 0] if samples.ndim == 3 else samples


def _samples8(path: Path, image: Image) -> np.ndarray:
    mode = image.mode
    if mode == "P":
        mode = "RGBA" if "transparency" in image.info else "RGB"
    elif mode in ("1", "LA"):
        mode = "L"
    if mode not in ("L", "RGB", "RGBA"):
        raise UnreadableMedia(
            f"{path}: a {mode} picture; convert it to RGB first (its inks have no single RGB meaning)"
        )
    return np.asarray(image.convert(mode))


def _layout_of(plane: np.ndarray) -> PixelLayout:
    bits = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16, np.dtype(np.float32): 32}[plane.dtype]
    is_float = bits == 32
    if plane.ndim == 2:
        return PixelLayout({8: "gray", 16: "gray16le", 32: "grayf32le"}[bits], "gray", bits, is_float=is_float)
    alpha = plane.shape[2] == 4
    names = {8: ("rgb24", "rgba"), 16: ("rgb48le", "rgba64le"), 32: ("rgbf32le", "rgbaf32le")}
    return PixelLayout(names[bits][alpha], "rgb", bits, has_alpha=alpha, is_float=is_float)


def _primaries_of(icc_profile: bytes | None) -> int:
    """BT.709/sRGB unless the profile's text names Display P3 or BT.2020."""
    if icc_profile:
        text = icc_profile[:4096].replace(b"\0", b"")
        if b"Display P3" in text:
            return 12
        if b"2020" in text and b"Rec" in text:
            return 9
    return 1
