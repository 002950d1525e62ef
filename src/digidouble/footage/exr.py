"""OpenEXR pictures: float32 planes in the display window. The only importer of OpenEXR for reading."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from digidouble.errors import UnreadableMedia
from digidouble.footage.pictures import Picture, check_size
from digidouble.schema.frame import ColourTags, PixelLayout

# CIE xy of red, green, blue -> H.273 code (chromaticities attribute; compared to three decimals).
_PRIMARIES = {
    (0.640, 0.330, 0.300, 0.600, 0.150, 0.060): 1,
    (0.708, 0.292, 0.170, 0.797, 0.131, 0.046): 9,
    (0.680, 0.320, 0.265, 0.690, 0.150, 0.060): 12,
}


def read_exr(path: Path, max_pixels: int) -> Picture:
    """Read R, G, B (and A), or Y alone, of the first part that has them.

    The picture is the display window; data outside it is dropped, display pixels without data are black. Scene-linear.

    Raises:
        UnreadableMedia: damaged, too large, deep, or without such channels (the message lists those there are).
    """
    import OpenEXR

    try:
        with OpenEXR.File(str(path), header_only=True) as file:
            headers = [dict(part.header) for part in file.parts]
        windows = [_windows(header) for header in headers]
        for data, display in windows:
            check_size(path, _size_wh(data), max_pixels)
            check_size(path, _size_wh(display), max_pixels)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            for part, header, (data, display) in zip(file.parts, headers, windows, strict=True):
                names = _wanted(part.channels)
                if names:
                    return _picture(path, part.channels, names, header, data, display)
            there = sorted(name for part in file.parts for name in part.channels)
    except UnreadableMedia:
        raise
    except (RuntimeError, ValueError, TypeError, OSError, KeyError, AttributeError, IndexError, MemoryError) as error:
        raise UnreadableMedia(f"{path}: not an OpenEXR picture that can be read ({error})") from error
    raise UnreadableMedia(f"{path}: no R, G, B or Y channels; there are {', '.join(there) or 'none'}")


def _windows(header: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Data and display window as [[x0, y0], [x1, y1]], inclusive."""
    data = np.array(header["dataWindow"], np.int64)
    return data, np.array(header.get("displayWindow", header["dataWindow"]), np.int64)


def _size_wh(window: np.ndarray) -> tuple[int, int]:
    return int(window[1, 0] - window[0, 0] + 1), int(window[1, 1] - window[0, 1] + 1)


def _wanted(channels: dict[str, Any]) -> list[str]:
    """Channel names of the picture: plain RGB(A), else the first layer that has R, G and B, else Y."""
    for prefix in ["", *sorted({name.rpartition(".")[0] + "." for name in channels if "." in name})]:
        if all(prefix + c in channels for c in "RGB"):
            return [prefix + c for c in "RGBA" if prefix + c in channels]
    return ["Y"] if "Y" in channels and "RY" not in channels else []


def _picture(
    path: Path,
    channels: dict[str, Any],
    names: list[str],
    header: dict[str, Any],
    data: np.ndarray,
    display: np.ndarray,
) -> Picture:
    w, h = _size_wh(data)
    planes = [np.asarray(channels[name].pixels) for name in names]
    for name, plane in zip(names, planes, strict=True):
        if plane.shape != (h, w):
            raise UnreadableMedia(f"{path}: channel {name} is {plane.shape[1:]} subsampled; expected {w}x{h}")
    half = all(plane.dtype == np.float16 for plane in planes)
    pixels = np.stack([plane.astype(np.float32) for plane in planes], axis=-1)
    pixels = _in_window(pixels, data, display)
    bits = 16 if half else 32
    if len(names) == 1:
        layout = PixelLayout("exr_half_y" if half else "exr_float_y", "gray", bits, is_float=True)
        pixels = np.ascontiguousarray(pixels[..., 0])
    else:
        name = f"exr_{'half' if half else 'float'}_{'rgba' if len(names) == 4 else 'rgb'}"
        layout = PixelLayout(name, "rgb", bits, has_alpha=len(names) == 4, is_float=True)
    tags = ColourTags(primaries=_primaries(header), transfer=8, matrix=0, full_range=True)
    return Picture((pixels,), layout, tags, rate=_rate(header), timecode=_timecode(header))


def _in_window(pixels: np.ndarray, data: np.ndarray, display: np.ndarray) -> np.ndarray:
    if np.array_equal(data, display):
        return pixels
    w, h = _size_wh(display)
    out = np.zeros((h, w, pixels.shape[2]), np.float32)
    low, high = np.maximum(data[0], display[0]), np.minimum(data[1], display[1]) + 1
    if (high > low).all():
        (x0, y0), (x1, y1) = low - display[0], high - display[0]
        (u0, v0), (u1, v1) = low - data[0], high - data[0]
        out[y0:y1, x0:x1] = pixels[v0:v1, u0:u1]
    return out


def _primaries(header: dict[str, Any]) -> int:
    given = header.get("chromaticities")
    if given is None:
        return 2
    key = tuple(round(float(v), 3) for v in np.ravel(np.array(given, float))[:6])
    return _PRIMARIES.get(key, 2)  # type: ignore[arg-type]


def _timecode(header: dict[str, Any]) -> str | None:
    code = header.get("timeCode")
    if code is None or not hasattr(code, "dropFrame"):
        return None
    fields = (code.hours, code.minutes, code.seconds, code.frame)
    if any(not 0 <= v < most for v, most in zip(fields, (24, 60, 60, 60), strict=True)):
        return None
    h, m, s, f = fields
    return f"{h:02d}:{m:02d}:{s:02d}{';' if code.dropFrame else ':'}{f:02d}"


def _rate(header: dict[str, Any]) -> Fraction | None:
    rate = header.get("framesPerSecond")
    if rate is None:
        return None
    fps = (
        Fraction(rate.n, rate.d)
        if hasattr(rate, "n") and rate.d
        else Fraction(str(rate))
        if not hasattr(rate, "n")
        else None
    )
    return fps if fps and 0 < fps <= 1000 else None
