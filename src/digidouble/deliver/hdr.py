"""HDR static metadata: what the mastering display was (SMPTE ST 2086) and how bright the content gets (CTA-861.3), carried from plate to delivery.

Both travel as side data of a decoded frame, in FFmpeg's own structures (`libavutil/mastering_display_metadata.h`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_CHROMATICITY, _LUMINANCE = 50_000, 10_000  # x265's units: 0.00002 of xy, 0.0001 cd/m2


@dataclass(frozen=True)
class StaticHdr:
    """xy: red, green, blue, white. Luminance (max, min) in cd/m2. light: (MaxCLL, MaxFALL) in cd/m2. None where the plate does not say."""

    xy: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None

    @property
    def x265(self) -> str:
        """As x265 parameters, each with a leading colon; "" when nothing is known."""
        out = ""
        if self.xy is not None and self.luminance is not None:
            r, g, b, w = ((round(x * _CHROMATICITY), round(y * _CHROMATICITY)) for x, y in self.xy)
            most, least = (round(v * _LUMINANCE) for v in self.luminance)
            out += f":master-display=G({g[0]},{g[1]})B({b[0]},{b[1]})R({r[0]},{r[1]})WP({w[0]},{w[1]})L({most},{least})"
        if self.light is not None:
            out += f":max-cll={self.light[0]},{self.light[1]}"
        return out


def static_hdr(path: Path) -> StaticHdr:
    """What a movie's first frame says; nothing where it says nothing, does not decode, or is no movie."""
    import av
    from av.error import FFmpegError

    from digidouble.footage.movie import LOCAL_ONLY

    try:
        with av.open(str(path), options=LOCAL_ONLY, metadata_errors="replace") as movie:
            frame = next(movie.decode(video=0), None)
            if frame is None:
                return StaticHdr()
            return _parsed({item.type.name: bytes(item) for item in side_data(frame)})
    except (FFmpegError, OSError, IndexError, ValueError):
        return StaticHdr()


def side_data(frame: object) -> list:
    """A frame's side data, one by one: PyAV's mapping breaks where a type occurs twice (18.1)."""
    held = frame.side_data  # type: ignore[attr-defined]
    return [held[n] for n in range(len(held))]


def _parsed(data: dict[str, bytes]) -> StaticHdr:
    xy = luminance = light = None
    display = data.get("MASTERING_DISPLAY_METADATA", b"")
    if len(display) >= 88:
        numbers = struct.unpack("=22i", display[:88])
        pairs = list(zip(numbers[:20:2], numbers[1:20:2], strict=True))
        if all(d != 0 for _, d in pairs):
            values = [Fraction(n, d) for n, d in pairs]
            if numbers[20] and all(0 <= v <= 1 for v in values[:8]):
                xy = tuple(zip(values[0:8:2], values[1:8:2], strict=True))
            if numbers[21] and 0 <= values[8] < values[9] <= 10_000:
                luminance = (values[9], values[8])
    level = data.get("CONTENT_LIGHT_LEVEL", b"")
    if len(level) >= 8:
        most, mean = struct.unpack("=II", level[:8])
        if max(most, mean) <= 0xFFFF and most:
            light = (most, mean)
    return StaticHdr(xy, luminance, light)
