"""Pixels of a plate <-> the one working space: scene-linear float32 RGB in the plate's own primaries.

`linear_from_frame` reads a region of a `Frame`; `frame_with` writes a blended region back by *adding the change* to
the plate's own samples, so that a colour that did not change keeps its exact code, whatever the tables round to, and a
sample that the matte does not touch stays bit-equal. Arithmetic is float until that last rounding.

Scale: 1.0 is SDR reference white; 1.0 = 100 cd/m² for PQ; HLG spans 0..1 (see `schema.transfer`).
Chroma is interpolated bilinearly with MPEG-2 (left) siting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.errors import SettingsError
from digidouble.schema import transfer as tf
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.transfer import srgb_decode, srgb_encode

__all__ = [
    "LUMA",
    "as_signal",
    "display_rgb8",
    "frame_with",
    "lab_from_linear",
    "linear_from_frame",
    "luma_weights",
    "register_space",
    "resolved",
    "rgb8_from_frame",
    "space_of",
    "srgb_decode",
    "srgb_encode",
]

# (Kr, Kb) of the luma equation, by H.273 MatrixCoefficients code.
_LUMA = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470BG
    6: (0.299, 0.114),  # SMPTE 170M
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020 non-constant luminance
}
_XY_WHITE_D65 = (0.3127, 0.3290)
# CIE xy of R, G, B by H.273 ColourPrimaries code; all with white D65.
_XY_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def resolved(tags: ColourTags, layout: PixelLayout, size_wh: tuple[int, int]) -> ColourTags:
    """Tags with every "unspecified" replaced by what such material means in practice.

    Y'CbCr: matrix BT.709 from 720 lines up, else BT.601; primaries and transfer BT.709. RGB and gray: sRGB.
    Float: linear.

    Raises:
        SettingsError: the matrix or the transfer is one that cannot be converted.
    """
    yuv = layout.kind == "yuv"
    matrix = tags.matrix if yuv else 0
    if yuv and matrix in (0, 2, 3):
        matrix = 1 if size_wh[1] >= 720 else 6
    curve = tags.transfer
    if curve in (0, 2, 3):
        curve = tf.LINEAR if layout.is_float else tf.BT709 if yuv else tf.SRGB
    primaries = 1 if tags.primaries in (0, 2, 3) else tags.primaries
    if yuv and matrix not in _LUMA:
        raise SettingsError(f"colour matrix {matrix} (ITU-T H.273) is not supported; known: {sorted(_LUMA)}")
    if curve not in tf.SUPPORTED_TRANSFERS:
        known = sorted(tf.SUPPORTED_TRANSFERS)
        raise SettingsError(f"transfer characteristic {curve} (ITU-T H.273) is not supported; known: {known}")
    return ColourTags(primaries, curve, matrix, tags.full_range or layout.kind == "rgb" or layout.is_float)


def luma_weights(matrix: int) -> tuple[float, float, float]:
    """(Kr, Kg, Kb) of an H.273 matrix code; they sum to 1."""
    kr, kb = _LUMA[matrix]
    return kr, 1 - kr - kb, kb


LUMA = np.array(luma_weights(1), np.float32)
"""Luminance of scene-linear RGB (BT.709 primaries), for judging brightness; conversions use the plate's own matrix."""
LUMA.flags.writeable = False


@lru_cache(maxsize=64)
def _ranges(bits: int, full_range: bool) -> tuple[int, int, int, int]:
    """(y_offset, y_range, c_mid, c_range) in codes: ITU-T H.273 §8.3, equations 20-28."""
    top, unit = (1 << bits) - 1, 1 << (bits - 8) if bits >= 8 else 1
    return (0, top, 1 << (bits - 1), top) if full_range else (16 * unit, 219 * unit, 128 * unit, 224 * unit)


@lru_cache(maxsize=64)
def _matrix(matrix: int, bits: int, full_range: bool) -> Float32[np.ndarray, " 13"]:
    """The constants `k` of `schema.kernels`."""
    kr, kg, kb = luma_weights(matrix)
    y_offset, y_range, c_mid, c_range = _ranges(bits, full_range)
    r_cr, b_cb = 2 * (1 - kr) / c_range, 2 * (1 - kb) / c_range
    to_rgb = [y_offset, 1 / y_range, c_mid, r_cr, -b_cb * kb / kg, -r_cr * kr / kg, b_cb]
    return np.array([*to_rgb, kr, kg, kb, y_range, 1 / b_cb, 1 / r_cr], np.float32)


def _clipped_box(roi: Roi, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    w, h = size_wh
    if roi.empty or roi.x0 < 0 or roi.y0 < 0 or roi.x1 > w or roi.y1 > h:
        raise SettingsError(f"region {roi} is empty or reaches outside the {w}x{h} frame; use Roi.clipped")
    return roi.x0, roi.y0, roi.x1, roi.y1


def linear_from_frame(frame: Frame, roi: Roi) -> Float32[np.ndarray, "h w 3"]:
    """Scene-linear RGB of a region, in the plate's primaries. Negative and above-one values are kept.

    Float plates pass unchanged, except that NaN and infinity become finite (the plate itself keeps them).

    Raises:
        SettingsError: the region is empty or outside the frame, or the colour tags cannot be converted.
    """
    from digidouble.schema import kernels

    if frame.colour.space:
        return space_of(frame.colour).to_linear(linear_from_frame(as_signal(frame), roi))
    box = _clipped_box(roi, frame.size_wh)
    layout, tags = frame.layout, resolved(frame.colour, frame.layout, frame.size_wh)
    out = np.empty((*roi.size_hw, 3), np.float32)
    if layout.is_float:
        part = frame.planes[0][roi.y0 : roi.y1, roi.x0 : roi.x1]
        out[:] = part[..., None] if part.ndim == 2 else part[..., :3]
        np.nan_to_num(out, copy=False, posinf=65504.0, neginf=-65504.0)
        return out if tags.transfer == tf.LINEAR else tf.decode(out, tags.transfer)
    if layout.kind == "yuv":
        k = _matrix(tags.matrix, layout.bits, tags.full_range)
        y, u, v = frame.planes[:3]
        sx, sy = layout.chroma_shift_xy
        kernels.linear_from_yuv(y, u, v, box, sx, sy, k, tf.decode_table(tags.transfer), out)
    elif layout.kind == "rgb":
        kernels.linear_from_rgb(frame.planes[0], box, tf.code_table(tags.transfer, layout.bits), out)
    else:
        offset, span, _, _ = _ranges(layout.bits, tags.full_range)
        part = frame.planes[0][roi.y0 : roi.y1, roi.x0 : roi.x1]
        out[:] = tf.decode((part.astype(np.float32) - offset) / span, tags.transfer)[..., None]
    return out


def frame_with(
    frame: Frame,
    roi: Roi,
    rgb_linear: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    dither: bool = True,
) -> Frame:
    """The frame with a blended region written back into the plate's own samples.

    Args:
        rgb_linear: the finished blend for the region (plate and double already mixed), scene-linear, plate primaries.
        alpha: the matte. Only luma/RGB samples with alpha > 0 change; a chroma sample changes when one of its pixels
            does, by the mean over its whole block of the change each pixel asks for (none where alpha is 0).
        dither: round with a pattern fixed to the pixel instead of at one half, so that slow gradients do not band.
            Colours that equal the plate's are never dithered.

    Returns:
        A new frame; planes that cannot change (alpha of the plate) are shared, the given frame is untouched.
        Non-finite pixels of `rgb_linear` leave the plate as it is. Integer plates are bounded to the signal range 0..1
        (or as far outside as the plate's own pixel already was).

    Raises:
        SettingsError: the region is empty or outside the frame, arrays have another size, or the tags cannot be
            converted.
    """
    from digidouble.schema import kernels

    box = _clipped_box(roi, frame.size_wh)
    if rgb_linear.shape != (*roi.size_hw, 3) or alpha.shape != roi.size_hw:
        raise SettingsError(f"blend {rgb_linear.shape} and matte {alpha.shape} do not fit the region {roi.size_hw}")
    if frame.colour.space:
        return _with_space(frame, roi, rgb_linear, alpha, dither)
    layout, tags = frame.layout, resolved(frame.colour, frame.layout, frame.size_wh)
    if layout.is_float or layout.kind == "gray":
        return _with_planes(frame, [_written_flat(frame, tags, roi, rgb_linear, alpha)])
    rgb = np.ascontiguousarray(rgb_linear, np.float32)
    matte = np.ascontiguousarray(alpha, np.float32)
    mantissa_bits = 7 if layout.bits <= 10 else 10
    table = tf.encode_table(tags.transfer, mantissa_bits)
    top = (1 << layout.bits) - 1
    # Below this the difference is the tables' own error, not a change of colour.
    quiet = max(1 / 64, 6e-6 * top)
    options = (23 - mantissa_bits, quiet, top, dither)
    if layout.kind == "rgb":
        new = frame.planes[0].copy()
        kernels.write_rgb(frame.planes[0], new, box, table, rgb, matte, options)
        return _with_planes(frame, [new])
    y, u, v = frame.planes[:3]
    new_y, new_u, new_v = y.copy(), u.copy(), v.copy()
    k = _matrix(tags.matrix, layout.bits, tags.full_range)
    sx, sy = layout.chroma_shift_xy
    kernels.write_yuv(y, u, v, new_y, new_u, new_v, box, sx, sy, k, table, rgb, matte, options)
    return _with_planes(frame, [new_y, new_u, new_v])


class LightSpace(Protocol):
    """A colour space that is more than a curve: a camera's log, a studio's.

    Attributes: space: its name. working: the name of the space of its light.
    """

    space: str
    working: str

    def to_linear(self, signal: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]: ...

    def from_linear(self, light: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]: ...


_spaces: dict[str, LightSpace] = {}


def register_space(key: str, space: LightSpace) -> None:
    """Make a space known to this process under the key that `ColourTags.space` names."""
    _spaces[key] = space


def space_of(tags: ColourTags) -> LightSpace:
    """The space that tags name.

    Raises:
        SettingsError: it is not known to this process.
    """
    try:
        return _spaces[tags.space]
    except KeyError:
        raise SettingsError(
            f"the plate is in colour space {tags.space}, which is not loaded here: give --ocio and --ocio-plate again"
        ) from None


def as_signal(frame: Frame) -> Frame:
    """The frame as if its signal were light: matrix and range are undone, the curve is not."""
    return replace(frame, colour=replace(frame.colour, space="", transfer=tf.LINEAR))


def _with_space(
    frame: Frame, roi: Roi, rgb_linear: Float32[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], dither: bool
) -> Frame:
    """`frame_with` through a space; what did not change keeps its signal, whatever the way there and back rounds to."""
    signal, space = linear_from_frame(as_signal(frame), roi), space_of(frame.colour)
    changed = (rgb_linear != space.to_linear(signal)).any(axis=-1, keepdims=True)
    new = np.where(changed, space.from_linear(rgb_linear), signal).astype(np.float32)
    return replace(frame_with(as_signal(frame), roi, new, alpha, dither), colour=frame.colour)


def _with_planes(frame: Frame, new: Sequence[np.ndarray]) -> Frame:
    planes = (*new, *frame.planes[len(new) :])
    return Frame(frame.index, frame.pts_seconds, planes, frame.layout, frame.colour)


def _written_flat(frame: Frame, tags: ColourTags, roi: Roi, rgb_linear: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Plane 0 of float and gray frames, written without tables."""
    layout = frame.layout
    # Light that did not change keeps its bits: encode(decode(x)) may be one ulp beside x.
    changed = (rgb_linear != linear_from_frame(frame, roi)).any(axis=-1)
    changed &= (alpha > 0) & np.isfinite(rgb_linear).all(axis=-1)
    new = frame.planes[0].copy()
    part = new[roi.y0 : roi.y1, roi.x0 : roi.x1]
    light = rgb_linear if part.ndim == 3 else rgb_linear.astype(np.float64) @ luma_weights(1)
    signal = tf.encode(light, tags.transfer)
    if not layout.is_float:
        offset, span, _, _ = _ranges(layout.bits, tags.full_range)
        signal = np.clip(np.rint(np.clip(signal, 0, 1) * span + offset), 0, (1 << layout.bits) - 1)
    target, where = (part[..., :3], changed[..., None]) if part.ndim == 3 else (part, changed)
    np.copyto(target, signal.astype(part.dtype), where=where)
    return new


def rgb8_from_frame(frame: Frame, max_side: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Display-referred 8-bit R'G'B' of the whole frame, for perception networks and for looking. Fast, not exact.

    SDR codes pass as they are (BT.709 and sRGB differ little to a network); PQ, HLG and linear plates are tone-mapped
    so that a face is visible. Primaries are not converted.

    Args:
        max_side: reduce (never enlarge) so that the longer side is at most this many pixels.

    Raises:
        SettingsError: max_side < 1 or the colour tags cannot be converted.
    """
    import cv2

    size_wh = _reduced(frame.size_wh, max_side)
    if frame.colour.space:
        w, h = frame.size_wh
        return _shown(np.nan_to_num(_resized(linear_from_frame(frame, Roi(0, 0, w, h)), size_wh)), peak=8.0)
    layout, tags = frame.layout, resolved(frame.colour, frame.layout, frame.size_wh)
    if layout.is_float:
        plane = _resized(frame.planes[0], size_wh)
        rgb = plane[..., None].repeat(3, axis=2) if plane.ndim == 2 else plane[..., :3]
        rgb = np.nan_to_num(rgb, posinf=65504.0, neginf=0.0)
        return _shown(rgb if tags.transfer == tf.LINEAR else tf.decode(rgb, tags.transfer), peak=8.0)
    planes = [
        plane if plane.dtype == np.uint8 else (plane >> (layout.bits - 8)).astype(np.uint8) for plane in frame.planes
    ]
    if layout.kind == "rgb":
        rgb8 = np.ascontiguousarray(_resized(planes[0], size_wh)[..., :3])
    elif layout.kind == "gray":
        gray = _resized(planes[0], size_wh)
        if not tags.full_range:
            gray = cv2.LUT(gray, _limited_to_full())
        rgb8 = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    else:
        rgb8 = _rgb8_from_yuv8(planes, layout, tags, size_wh, frame.size_wh)
    return rgb8 if tags.transfer not in (tf.PQ, tf.HLG, tf.LINEAR) else cv2.LUT(rgb8, _tone_table(tags.transfer))


def _rgb8_from_yuv8(
    planes: Sequence[np.ndarray],
    layout: PixelLayout,
    tags: ColourTags,
    size_wh: tuple[int, int],
    full_wh: tuple[int, int],
) -> np.ndarray:
    from digidouble.schema import kernels

    y, u, v = planes[:3]
    sx, sy = layout.chroma_shift_xy
    if size_wh != full_wh:
        y, u, v = (_resized(plane, size_wh) for plane in (y, u, v))
        sx = sy = 0
    k = _matrix(tags.matrix, 8, tags.full_range)
    fixed = np.rint(k[[0, 1, 3, 4, 5, 6]].astype(np.float64) * [1, *[255 * 65536] * 5]).astype(np.int32)
    out = np.empty((*y.shape, 3), np.uint8)
    kernels.rgb8_from_yuv8(y, u, v, sx, sy, fixed, out)
    return out


def _reduced(size_wh: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    if max_side is None or max(size_wh) <= max_side:
        return size_wh
    if max_side < 1:
        raise SettingsError(f"max_side {max_side}: expected at least 1 pixel")
    scale = max_side / max(size_wh)
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _resized(plane: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    import cv2

    if (plane.shape[1], plane.shape[0]) == size_wh:
        return plane
    shrinks = plane.shape[1] >= size_wh[0] and plane.shape[0] >= size_wh[1]
    return cv2.resize(plane, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@lru_cache(maxsize=1)
def _limited_to_full() -> UInt8[np.ndarray, " 256"]:
    return np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def _shown(linear: np.ndarray, peak: float) -> np.ndarray:
    """Extended Reinhard (Reinhard et al. 2002, eq. 4): identity in the dark, `peak` becomes white; then sRGB."""
    x = np.clip(linear, 0, peak).astype(np.float32)
    return display_rgb8(x * (1 + x / (peak * peak)) / (1 + x) * (1 + 1 / peak))


@lru_cache(maxsize=4)
def _tone_table(transfer: int) -> UInt8[np.ndarray, " 256"]:
    light = tf.decode(np.arange(256) / 255, transfer)
    if transfer == tf.PQ:
        return _shown(light / 2.03, peak=5.0)  # diffuse white is 203 cd/m² (ITU-R BT.2408 table 1)
    if transfer == tf.HLG:
        return _shown(light / 0.265, peak=3.77)  # diffuse white is the 75 % signal (ITU-R BT.2408 table 1)
    return display_rgb8(light)


def display_rgb8(rgb_linear: Float[np.ndarray, "h w 3"] | Float[np.ndarray, " n"]) -> UInt8[np.ndarray, " ..."]:
    """Linear light (1.0 = white) as clipped 8-bit sRGB, for contact sheets and reports. Never fed back into a stage."""
    return np.rint(np.clip(srgb_encode(rgb_linear), 0, 1) * 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _xyz_from_rgb(primaries: int) -> Float[np.ndarray, "3 3"]:
    """SMPTE RP 177-1993 §3.3: columns are the primaries, scaled so that RGB (1, 1, 1) is the white point."""
    xy = np.array(_XY_PRIMARIES.get(primaries, _XY_PRIMARIES[1]))
    columns = np.column_stack([xy, 1 - xy.sum(axis=1)]).T / xy[:, 1]
    return columns * np.linalg.solve(columns, _white_xyz())


def _white_xyz() -> Float[np.ndarray, " 3"]:
    x, y = _XY_WHITE_D65
    return np.array([x / y, 1.0, (1 - x - y) / y])


def lab_from_linear(rgb_linear: Float[np.ndarray, "*shape 3"], primaries: int = 1) -> Float32[np.ndarray, "*shape 3"]:
    """CIELAB (CIE 15:2004 §8.2.1, white D65) of linear RGB: L 0..100, a and b about -128..127. 1.0 is white.

    The Euclidean distance of two such colours is dE*ab (CIE76). Negative light is clipped to none.
    """
    xyz = np.maximum(rgb_linear.astype(np.float64) @ _xyz_from_rgb(primaries).T, 0) / _white_xyz()
    delta = 6 / 29
    f = np.where(xyz > delta**3, np.cbrt(xyz), xyz / (3 * delta**2) + 4 / 29)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
    return lab.astype(np.float32)
