"""The visible label: "AI合成 AI-generated" in a corner of the first pictures.

GB 45438-2025 (5.4) wants text holding "AI" or 人工智能 and 生成 or 合成, at an edge or corner of the starting picture,
no lower than 5 % of the shortest side, for two seconds or more. The text is a mask shipped with the package, so that
every machine draws the same pixels whatever fonts it has.

The label is blended into the frame's own samples; those outside its rectangle keep their exact values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Num

from digidouble.errors import SettingsError
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.shot import Shot

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
CORNERS: tuple[Corner, ...] = ("top_left", "top_right", "bottom_left", "bottom_right")
TEXT = "AI合成 AI-generated"

_CAP_ROWS = 96  # height of a capital letter in the shipped mask
_BOX_DARKNESS = 0.45  # opacity of the dark box behind the letters
_TEXT_OPACITY = 0.92


@dataclass(frozen=True)
class VisibleLabel:
    """What to draw. `height_fraction`: height of a capital over the shortest side of the picture, 0.05 or more."""

    corner: Corner = "top_left"
    height_fraction: float = 0.052
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.corner not in CORNERS:
            raise SettingsError(f"label corner: expected one of {', '.join(CORNERS)}, got {self.corner!r}")
        if not 0.05 <= self.height_fraction <= 0.2:
            raise SettingsError(f"label height: expected 0.05 to 0.2 of the shortest side, got {self.height_fraction}")
        if not self.seconds >= 2.0:
            raise SettingsError(f"label duration: expected 2 s or more (GB 45438 5.4), got {self.seconds}")


def label_roi(size_wh: tuple[int, int], label: VisibleLabel) -> Roi:
    """Where the label lies in a picture, on even coordinates."""
    (box_h, box_w), margin = _box_size(size_wh, label)
    w, h = size_wh
    x0 = margin if label.corner.endswith("left") else max(0, w - margin - box_w)
    y0 = margin if label.corner.startswith("top") else max(0, h - margin - box_h)
    return Roi(x0, y0, x0 + box_w, y0 + box_h).clipped(size_wh)


def choose_corner(size_wh: tuple[int, int], label: VisibleLabel, keep_clear: Sequence[Roi]) -> VisibleLabel:
    """The label moved to the corner that covers least of the `keep_clear` boxes (faces); its own corner wins ties."""

    def covered(corner: Corner) -> int:
        roi = label_roi(size_wh, replace(label, corner=corner))
        return sum(
            max(0, min(roi.x1, box.x1) - max(roi.x0, box.x0)) * max(0, min(roi.y1, box.y1) - max(roi.y0, box.y0))
            for box in keep_clear
        )

    return replace(label, corner=min((label.corner, *CORNERS), key=covered))


def labelled_frames(shot: Shot, label: VisibleLabel | None) -> int:
    """How many of a delivery's first frames carry the label: two seconds of a movie, the whole of a still, none when waived."""
    if label is None:
        return 0
    return 1 if shot.kind == "image" else math.ceil(label.seconds * shot.rate.fps)


def label_frame(frame: Frame, label: VisibleLabel) -> Frame:
    """A copy of the frame with the label in it. Samples outside `label_roi` are bit-equal; alpha inside grows."""
    roi = label_roi(frame.size_wh, label)
    letters, cover = _matte(roi.size_hw)
    return draw_letters(frame, roi, letters, cover)


def draw_letters(
    frame: Frame, roi: Roi, letters: Float[np.ndarray, "roi_h roi_w"], cover: Float[np.ndarray, "roi_h roi_w"]
) -> Frame:
    """A copy of the frame with a picture of black and white in it. Samples outside `roi` are bit-equal; alpha inside grows.

    Args:
        roi: where, on even coordinates, inside the frame.
        letters: 0 black .. 1 white. cover: 0..1, how much of the picture is hidden.
    """
    black, white, neutral = _codes(frame.layout, frame.colour)
    planes = [plane.copy() for plane in frame.planes]
    if frame.layout.kind == "yuv":
        _blend(planes[0], roi, cover, black + (white - black) * letters, frame.layout)
        for plane in planes[1:3]:
            _blend_chroma(plane, roi, cover, neutral, frame.layout)
        if frame.layout.has_alpha:
            _blend(planes[3], roi, cover, np.full_like(letters, _full_scale(frame.layout)), frame.layout)
    else:
        picture = planes[0] if planes[0].ndim == 3 else planes[0][..., None]
        colours = 3 if picture.shape[2] >= 3 else 1
        for channel in range(picture.shape[2]):
            alpha = channel >= colours
            value = np.full_like(letters, _full_scale(frame.layout)) if alpha else black + (white - black) * letters
            _blend(picture[..., channel], roi, cover, value, frame.layout)
    return replace(frame, planes=tuple(planes))


def _box_size(size_wh: tuple[int, int], label: VisibleLabel) -> tuple[tuple[int, int], int]:
    """(height, width) of the box and its margin to the edge, in pixels."""
    mask = _mask()
    cap = label.height_fraction * min(size_wh)
    pad = 0.45 * cap
    box_h = int(np.ceil(mask.shape[0] * cap / _CAP_ROWS + 2 * pad))
    box_w = int(np.ceil(mask.shape[1] * cap / _CAP_ROWS + 2 * pad))
    even_h, even_w = box_h + (box_h & 1), box_w + (box_w & 1)
    return (min(even_h, size_wh[1]), min(even_w, size_wh[0])), round(0.025 * min(size_wh)) & ~1


@lru_cache(maxsize=1)
def _mask() -> Float[np.ndarray, "h w"]:
    data = resources.files("digidouble.deliver").joinpath("assets/label.png").read_bytes()
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise RuntimeError("digidouble/deliver/assets/label.png is damaged: install the package again")
    return mask.astype(np.float32) / 255.0


@lru_cache(maxsize=4)
def _matte(size_hw: tuple[int, int]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Letters (0 black .. 1 white, the colour of the label) and cover (0..1, how much of the picture it hides)."""
    mask = _mask()
    cap = size_hw[0] / (mask.shape[0] / _CAP_ROWS + 0.9)  # inverse of _box_size: height is letters plus twice the pad
    pad = round(0.45 * cap)
    inner_wh = max(1, size_hw[1] - 2 * pad), max(1, size_hw[0] - 2 * pad)
    letters = np.zeros(size_hw, np.float32)
    shrink = inner_wh[1] < mask.shape[0]
    text = cv2.resize(mask, inner_wh, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    letters[pad : pad + inner_wh[1], pad : pad + inner_wh[0]] = np.clip(text, 0.0, 1.0)
    ink = _TEXT_OPACITY * letters
    cover = ink + (1.0 - ink) * _BOX_DARKNESS
    return ink / cover, cover


def _full_scale(layout: PixelLayout) -> float:
    return 1.0 if layout.is_float else float((1 << layout.bits) - 1)


def _codes(layout: PixelLayout, colour: ColourTags) -> tuple[float, float, float]:
    """Sample values of black, label white and neutral chroma.

    HDR white is diffuse white as in ITU-R BT.2408: 203 cd/m2, PQ signal 0.58, HLG signal 0.75; full PQ would dazzle.
    """
    white = {16: 0.58, 18: 0.75}.get(colour.transfer, 1.0)
    full = _full_scale(layout)
    if layout.is_float:
        return 0.0, white, 0.0
    if layout.kind == "rgb" or colour.full_range:
        return 0.0, white * full, float(1 << (layout.bits - 1))
    step = 1 << (layout.bits - 8)  # H.273 equations 26, 27: limited range scales with the bit depth
    return 16.0 * step, (16.0 + 219.0 * white) * step, 128.0 * step


def _blend(
    plane: Num[np.ndarray, "h w"],
    roi: Roi,
    cover: Float[np.ndarray, "roi_h roi_w"],
    value: Float[np.ndarray, "roi_h roi_w"],
    layout: PixelLayout,
) -> None:
    """Blend in place: plane := plane (1 - cover) + value cover inside the rectangle."""
    view = plane[roi.y0 : roi.y1, roi.x0 : roi.x1]
    cover, value = cover[: view.shape[0], : view.shape[1]], value[: view.shape[0], : view.shape[1]]
    mixed = view + (value - view.astype(np.float32)) * cover
    view[...] = mixed if layout.is_float else np.rint(np.clip(mixed, 0.0, _full_scale(layout)))


def _blend_chroma(
    plane: Num[np.ndarray, "h w"],
    roi: Roi,
    cover: Float[np.ndarray, "roi_h roi_w"],
    neutral: float,
    layout: PixelLayout,
) -> None:
    sx, sy = layout.chroma_shift_xy
    chroma_w, chroma_h = -(-roi.size_wh[0] // (1 << sx)), -(-roi.size_wh[1] // (1 << sy))  # rounded up, as planes are
    small = cv2.resize(cover, (chroma_w, chroma_h), interpolation=cv2.INTER_AREA)
    chroma_roi = Roi(roi.x0 >> sx, roi.y0 >> sy, (roi.x0 >> sx) + chroma_w, (roi.y0 >> sy) + chroma_h)
    _blend(plane, chroma_roi, small, np.full_like(small, neutral), layout)
