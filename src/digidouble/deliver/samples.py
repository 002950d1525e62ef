"""Frames as the encoders want them: pixel format names, plane copies, and signal values for stills.

Nothing is converted unless the codec cannot hold the plate's own samples. "Signal" means display-encoded R'G'B' (0..1
or codes), as opposed to scene-linear light.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from digidouble.errors import OutputError
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.shot import Shot

if TYPE_CHECKING:
    import av

LINEAR, SRGB = 8, 13

_SUBSAMPLING = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}


def native_format(layout: PixelLayout) -> str:
    """FFmpeg's name of the pixel format that holds this layout's samples unchanged.

    The name is built from the facts, not taken from `layout.name`: decoders call the same samples yuvj420p or yuv420p.

    Raises:
        OutputError: float samples, or a subsampling FFmpeg has no name for.
    """
    deep = "" if layout.bits == 8 else f"{layout.bits}le"
    if layout.is_float:
        raise OutputError(f"{layout.name}: float samples have no movie pixel format; encode them first")
    if layout.kind == "yuv":
        subsampling = _SUBSAMPLING.get(layout.chroma_shift_xy)
        if subsampling is None:
            raise OutputError(f"{layout.name}: chroma subsampling {layout.chroma_shift_xy} is not supported")
        return f"yuv{'a' if layout.has_alpha else ''}{subsampling}p{deep}"
    if layout.kind == "gray":
        return f"gray{deep}"
    if layout.bits == 8:
        return "rgba" if layout.has_alpha else "rgb24"
    return f"gbr{'a' if layout.has_alpha else ''}p{deep}"  # planar: packed RGB exists at 8 and 16 bits only


def video_frame(frame: Frame) -> av.VideoFrame:
    """The frame's samples in an FFmpeg frame of `native_format`, bit for bit.

    Raises:
        OutputError: the planes do not match the layout.
    """
    import av

    w, h = frame.size_wh
    name = native_format(frame.layout)
    picture = av.VideoFrame(w, h, name)
    planes = list(frame.planes)
    if name.startswith("gbr"):  # ours is packed R, G, B(, A); FFmpeg's planes are G, B, R(, A)
        planes = [planes[0][..., i] for i in ((1, 2, 0, 3) if frame.layout.has_alpha else (1, 2, 0))]
    if len(planes) != len(picture.planes):
        raise OutputError(f"{frame!r}: {name} has {len(picture.planes)} planes, the frame has {len(planes)}")
    for source, target in zip(planes, picture.planes, strict=True):
        samples = source.reshape(source.shape[0], -1)
        rows = np.frombuffer(memoryview(target), samples.dtype).reshape(-1, target.line_size // samples.itemsize)
        rows[: samples.shape[0], : samples.shape[1]] = samples
    full = frame.colour.full_range or frame.layout.kind == "rgb"
    picture.colorspace, picture.color_range = frame.colour.matrix, 2 if full else 1
    return picture


def put_alpha(picture: av.VideoFrame, matte: Float[np.ndarray, "h w"] | None) -> None:
    """Write a matte (0..1; None: nothing anywhere) into the alpha of a planar FFmpeg frame, at that plane's own depth."""
    component = picture.format.components[-1]
    plane = picture.planes[-1]
    dtype = np.uint8 if component.bits <= 8 else np.uint16
    rows = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
    codes = 0 if matte is None else np.rint(np.clip(matte, 0, 1) * ((1 << component.bits) - 1))
    rows[: picture.height, : picture.width] = codes


def encoded_tags(shot: Shot) -> ColourTags:
    """The tags of a shot's signal: its own, sRGB for RGB that does not say, and for light that has to be encoded."""
    from digidouble.schema.colour import resolved

    tags = resolved(shot.colour, shot.layout, shot.size_wh)
    return replace(tags, transfer=SRGB) if tags.transfer == LINEAR else tags


def encoded_if_linear(frame: Frame) -> Frame:
    """A float frame as 16-bit RGB signal, clipped to 0..1 as a movie's samples are; others unchanged."""
    if not frame.layout.is_float:
        return frame
    codes = signal_codes(frame)
    layout = PixelLayout(
        "rgba64le" if frame.layout.has_alpha else "rgb48le", "rgb", 16, has_alpha=frame.layout.has_alpha
    )
    return replace(frame, planes=(codes,), layout=layout, colour=replace(frame.colour, full_range=True))


def signal_codes(frame: Frame) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]:
    """Full-range R'G'B'(A) codes of a frame for a still: 8 bits from 8-bit plates, 16 from deeper and float ones.

    8- and 16-bit RGB passes as it is, bit for bit. Y'CbCr is converted by the matrix of its tags and keeps its transfer
    curve. Float that is tagged linear gets the sRGB curve. Alpha, where there is one, is the last channel.
    """
    from digidouble.schema.colour import as_signal, linear_from_frame, resolved
    from digidouble.schema.transfer import encode

    layout, (w, h) = frame.layout, frame.size_wh
    dtype, top = (np.uint8, 255) if layout.bits == 8 and not layout.is_float else (np.uint16, 65535)
    if layout.kind == "rgb" and not layout.is_float:
        return _widened(frame.planes[0], layout.bits, dtype)
    if frame.colour.space:  # the plate's own signal, whatever it is
        frame = as_signal(frame)
        signal = linear_from_frame(frame, Roi(0, 0, w, h))
        codes = np.rint(np.clip(signal, 0.0, 1.0) * top).astype(dtype)
        return np.dstack([codes, _widened(frame.planes[-1], layout.bits, dtype)]) if layout.has_alpha else codes
    curve = resolved(frame.colour, layout, frame.size_wh).transfer
    linear = linear_from_frame(frame, Roi(0, 0, w, h))
    signal = encode(np.clip(linear, 0.0, None), SRGB if curve == LINEAR else curve)
    codes = np.rint(np.clip(signal, 0.0, 1.0) * top).astype(dtype)
    if not layout.has_alpha:
        return codes
    if layout.is_float:
        alpha = np.rint(np.clip(np.nan_to_num(frame.planes[0][..., 3]), 0.0, 1.0) * top).astype(dtype)
    else:
        alpha = _widened(frame.planes[-1], layout.bits, dtype)
    return np.dstack([codes, alpha])


def _widened(codes: np.ndarray, bits: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Full-range codes of `bits` bits in the whole range of the type: 10-bit 1023 becomes 65535."""
    top, wide = (1 << bits) - 1, np.iinfo(dtype).max
    if top == wide:
        return np.ascontiguousarray(codes, dtype)
    return ((codes.astype(np.uint64) * wide + top // 2) // top).astype(dtype)
