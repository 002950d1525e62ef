"""OpenEXR: scene-linear layers with the header attributes a compositor expects.

A file is a list of `ExrLayer`. The layer named "" holds the picture (`R G B A`); any other layer's channels are written
as `layer.channel`, which is how Nuke, Fusion and Blender group them. Half floats unless a layer asks for 32 bits (depth
does). Compression is ZIP: lossless, and fast to read by scanline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from digidouble.deliver.labels import IPTC_SOURCE_TYPES, Labels
from digidouble.errors import OutputError, SettingsError
from digidouble.schema.time import FrameRate
from digidouble.schema.timecode import Timecode

HALF_MAX = 65504.0

# CIE xy of red, green, blue and white by H.273 colour primaries (table 2 there).
_D65 = (0.3127, 0.3290)
_XY_FROM_PRIMARIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}


@dataclass(frozen=True)
class ExrLayer:
    """Channels that belong together.

    Attributes:
        name: "" for the picture, else for example "anna" or "anna_matte".
        channels: one name per plane of `pixels`, such as ("R", "G", "B", "A").
        pixels: scene-linear, premultiplied where there is an alpha.
        full_float: 32-bit samples instead of half.
    """

    name: str
    channels: tuple[str, ...]
    pixels: Float[np.ndarray, "h w c"]
    full_float: bool = False

    def __post_init__(self) -> None:
        if self.name and not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", self.name):
            raise SettingsError(f"EXR layer {self.name!r}: expected letters, digits, '_', '-', '.', at most 64")
        if self.pixels.ndim != 3 or self.pixels.shape[2] != len(self.channels):
            raise SettingsError(f"EXR layer {self.name!r}: {self.channels} does not match pixels {self.pixels.shape}")


@dataclass(frozen=True)
class ExrInfo:
    """Header attributes. `primaries` is an H.273 code; an unknown one writes BT.709 chromaticities, None writes none. `more`: text attributes."""

    rate: FrameRate | None = None
    timecode: Timecode | None = None
    primaries: int | None = 1
    labels: Labels | None = None
    comments: str = ""
    owner: str = field(default="")
    more: Mapping[str, str] = field(default_factory=dict)


def write_exr(path: Path, layers: Sequence[ExrLayer], info: ExrInfo) -> None:
    """Write one frame.

    Raises:
        SettingsError: no layer, two channels of one name, or layers of different sizes.
        OutputError: the file cannot be written.
    """
    import OpenEXR

    channels: dict[str, np.ndarray] = {}
    sizes = {layer.pixels.shape[:2] for layer in layers}
    if len(sizes) != 1:
        raise SettingsError(f"{path}: layers of one EXR need one size, got {sorted(sizes)}")
    for layer in layers:
        for index, channel in enumerate(layer.channels):
            name = f"{layer.name}.{channel}" if layer.name else channel
            if name in channels:
                raise SettingsError(f"{path}: channel {name} is given twice")
            channels[name] = _samples(layer.pixels[..., index], layer.full_float)
    try:
        with OpenEXR.File(_header(info), {name: OpenEXR.Channel(plane) for name, plane in channels.items()}) as file:
            file.write(str(path))
    except (OSError, RuntimeError) as error:  # OpenEXR reports a full disk or a missing folder as RuntimeError
        raise OutputError(f"{path}: the EXR cannot be written: {error}") from error


def _samples(plane: Float[np.ndarray, "h w"], full_float: bool) -> Float[np.ndarray, "h w"]:
    if full_float:
        return np.ascontiguousarray(plane, np.float32)
    # clipped first: a specular beyond half's range would become infinity and poison every filter after it. Infinities and what is
    # no number are the plate's own, and stay.
    bounded = np.where(np.isinf(plane), plane, np.clip(plane, -HALF_MAX, HALF_MAX))
    return np.ascontiguousarray(bounded.astype(np.float16))


def _header(info: ExrInfo) -> dict[str, object]:
    import OpenEXR

    header: dict[str, object] = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
    }
    if info.primaries is not None:
        header["chromaticities"] = _XY_FROM_PRIMARIES.get(info.primaries, _XY_FROM_PRIMARIES[1])
    if info.rate is not None:
        header["framesPerSecond"] = info.rate.fps  # a Fraction: OpenEXR's own Rational is refused here (3.5)
    if info.timecode is not None:
        code = info.timecode
        flags = (code.drop, *(False,) * 5)  # drop frame, colour frame, field phase, bgf0, bgf1, bgf2
        header["timeCode"] = OpenEXR.TimeCode(code.hours, code.minutes, code.seconds, code.frames, *flags, *(0,) * 8)
    if info.labels is not None and info.labels.aigc is not None:
        header["AIGC"] = info.labels.aigc.to_json()
    if info.labels is not None and info.labels.source_type:
        header["digitalSourceType"] = IPTC_SOURCE_TYPES + info.labels.source_type
    for key, text in (("comments", info.comments), ("owner", info.owner)):
        if text:
            header[key] = text
    return header | dict(info.more)
