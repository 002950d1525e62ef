"""What is seen between lips that a plate never parted: teeth, tongue and the dark behind, painted in the head's own axes.

Upper teeth sit on the skull, lower ones on the jaw. Sizes are those of adult incisors and canines (Nelson & Ash 2010, Wheeler's dental
anatomy: widths 8.5, 6.5, 7.5 mm above, 5.0, 5.5, 7.0 mm below, crowns 10.5 and 9 mm); at rest 1 to 3 mm of the upper ones show
(Vig & Brundo 1978). Light: the plate's skin, dimmed with the depth behind the lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.performance.written.shape import LOWER_LIP, UPPER_LIP, Written
from digidouble.schema.colour import LUMA
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.ramp import smoothstep

UPPER_WIDTHS_CM = (0.85, 0.66, 0.76, 0.7, 0.66, 0.9)  # from the middle outwards
LOWER_WIDTHS_CM = (0.52, 0.57, 0.68, 0.7, 0.7, 1.0)
UPPER_EDGE_CM, LOWER_EDGE_CM = -0.30, -0.24  # of the biting edges below the line of shut lips, jaw shut
UPPER_CROWN_CM, LOWER_CROWN_CM = 1.0, 0.85
BEHIND_CM = 0.75  # teeth behind the lips
ARCH_CM = 2.55  # half width over which teeth turn away into the dark
JAW_SHARE = 0.8  # of the chin's way that lower teeth go
TOOTH = np.array([1.09, 0.985, 0.85])  # over skin lit alike (luminance 1): warm white
BRIGHT, SKIN_THERE, BRIGHTER = (
    0.80,
    0.38,
    0.85,
)  # teeth beside skin of luminance SKIN_THERE; how they follow skin and light, as a power
MOST = 1.75  # of skin luminance
GUM, TONGUE, DARK = np.array([0.62, 0.25, 0.23]), np.array([0.55, 0.22, 0.20]), np.array([0.045, 0.016, 0.014])
LINE, LINE_CM, LINE_DEPTH = (
    np.array([0.20, 0.065, 0.055]),
    0.07,
    0.85,
)  # between shut lips: colour over skin luminance, width, cover
SUPER = 2  # samples a pixel and axis


@dataclass(frozen=True)
class Patch:
    """Pixels to lay over a frame: scene-linear colour and cover 0..1 over `roi`."""

    roi: Roi
    rgb: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]


def mouth_patch(
    face: Written, neutral_cm: Float[np.ndarray, "478 3"], skin_linear: Float[np.ndarray, "3"], size_wh: tuple[int, int]
) -> Patch | None:
    """The inside of the mouth of one frame, and the dark line between lips that touch; None outside the picture."""
    loop = face_model().loops["inner_lips"]
    rim = face.points_px[loop, :2].astype(np.float64)
    gap_px = float((face.points_px[LOWER_LIP, 1] - face.points_px[UPPER_LIP, 1])[3:6].mean())
    open_cm = max(gap_px / face.pose.px_per_cm, 0.0)
    low, high = np.floor(rim.min(0)) - 3, np.ceil(rim.max(0)) + 4
    roi = Roi(*(int(v) for v in (*low, *high))).clipped(size_wh)
    if roi.empty:
        return None
    h, w = roi.size_hw
    big = np.zeros((h * SUPER, w * SUPER), np.uint8)
    at = ((rim - [roi.x0, roi.y0] + 0.5) * SUPER - 0.5) * 16
    cv2.fillPoly(big, [np.round(at).astype(np.int32)], 255, lineType=cv2.LINE_8, shift=4)
    thick = max(round(LINE_CM * face.pose.px_per_cm * SUPER), SUPER)
    middle = (face.points_px[UPPER_LIP, :2] + face.points_px[LOWER_LIP, :2]) / 2
    ends = face.points_px[[78, 308], :2]
    middle = np.concatenate([ends[:1], middle, ends[1:]])
    line = np.zeros_like(big)
    cv2.polylines(
        line,
        [np.round(((middle - [roi.x0, roi.y0] + 0.5) * SUPER - 0.5) * 16).astype(np.int32)],
        False,
        255,
        thick,
        cv2.LINE_8,
        4,
    )
    depth_px = cv2.distanceTransform(big, cv2.DIST_L2, 3) / SUPER
    y, x = np.mgrid[0 : h * SUPER, 0 : w * SUPER].astype(np.float64)
    px = np.stack([(x + 0.5) / SUPER - 0.5 + roi.x0, (y + 0.5) / SUPER - 0.5 + roi.y0], -1)
    luma = float(skin_linear @ LUMA)
    light = min((luma / SKIN_THERE) ** BRIGHTER * SKIN_THERE, luma * MOST * SKIN_THERE / BRIGHT)
    rgb = _painted(px, face, neutral_cm, depth_px / face.pose.px_per_cm, open_cm) * light
    tint = skin_linear / max(float(skin_linear @ LUMA), 1e-6)
    # Teeth take the light's colour, not the skin's: half of what sets the skin apart from grey is the light (no more is known).
    rgb *= (tint / np.array([1.32, 0.93, 0.72])) ** 0.5
    cover = (big > 0).astype(np.float32)
    light = cv2.resize((rgb * cover[..., None]).astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(cover, (w, h), interpolation=cv2.INTER_AREA)
    rgb = light / np.maximum(alpha, 1e-4)[..., None]
    soft = max(0.02 * face.pose.px_per_cm, 0.5)
    # As far as the rim reaches, painted colour is carried out: the double's lips never look past it.
    around = cv2.GaussianBlur(light, (0, 0), 1.0) / np.maximum(cv2.GaussianBlur(alpha, (0, 0), 1.0), 1e-4)[..., None]
    rgb = np.where(alpha[..., None] > 0.05, rgb, around)
    seen = float(np.clip(open_cm / 0.10, 0, 1))
    alpha = seen * np.maximum(alpha, cv2.GaussianBlur(alpha, (0, 0), soft))
    shut = (
        LINE_DEPTH
        * (1 - seen)
        * cv2.GaussianBlur(
            cv2.resize(line, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255, (0, 0), soft
        )
    )
    both = np.maximum(alpha, shut)
    rgb = rgb + (shut / np.maximum(alpha + shut, 1e-4))[..., None] * (luma * LINE - rgb)
    return Patch(roi, rgb.astype(np.float32), both.astype(np.float32))


def _painted(
    px: Float[np.ndarray, "h w 2"],
    face: Written,
    neutral_cm: Float[np.ndarray, "478 3"],
    inside_cm: Float[np.ndarray, "h w"],
    open_cm: float,
) -> Float[np.ndarray, "h w 3"]:
    """Colour over skin luminance 1 at every sample."""
    line = neutral_cm[[13, 14]].astype(np.float64).mean(0)
    shape = face.pose.head_from_px(face.points_px[[152, 13]].astype(np.float64))
    jaw = JAW_SHARE * min(float(shape[0, 1] - neutral_cm[152, 1]), 0.0)
    z = line[2] - BEHIND_CM
    x, y = _on_plane(px, face, z)
    x, y = x - line[0], y - line[1]
    curve = 0.05 * (x / 1.5) ** 2  # edges rise towards the corners: the curve of a smile
    # Dark behind, a little red where light comes in.
    out = np.broadcast_to(DARK, (*x.shape, 3)) * (0.6 + 0.8 * np.clip(inside_cm / 0.5, 0, 1))[..., None]
    lower = LOWER_EDGE_CM + jaw - 0.6 * curve
    bed = _soft(lower - 0.15 - y, 0.25) * _soft(1.5 - np.abs(x), 0.4)
    tongue = _soft(-(y - (lower + 0.12 - 0.25 * (x / 1.2) ** 2)), 0.2) * _soft(1.45 - np.abs(x), 0.35)
    out = _over(out, TONGUE * 0.42, tongue * np.clip((open_cm - 0.25) / 0.5, 0, 1))
    out = _over(out, GUM * 0.35, bed)
    out = _teeth(out, x, y, lower, -1, 0.52)
    out = _teeth(out, x, y, UPPER_EDGE_CM + curve, 1, 1.0)
    # Lips shade what is behind them, the upper one most.
    edge = np.clip(inside_cm / 0.22, 0, 1)
    under = np.clip(np.cumsum(inside_cm > 0, 0) / (SUPER * face.pose.px_per_cm * 0.32), 0, 1)
    out = out * ((0.7 + 0.3 * edge) * (0.55 + 0.45 * under) * (0.6 + 0.4 * min(open_cm / 0.5, 1.0)))[..., None]
    # Where the opening is a slit it is as dark as the line between lips, not darker.
    slit = np.clip(1 - inside_cm / 0.07, 0, 1)[..., None]
    return out + slit * 0.7 * (LINE - out)


def _teeth(
    under: Float[np.ndarray, "h w 3"],
    x: Float[np.ndarray, "h w"],
    y: Float[np.ndarray, "h w"],
    edge: Float[np.ndarray, "h w"],
    up: int,
    light: float,
) -> Float[np.ndarray, "h w 3"]:
    """A row of teeth from its biting edge, upwards (1) or downwards (-1), gums behind its other end."""
    widths, crown = (UPPER_WIDTHS_CM, UPPER_CROWN_CM) if up > 0 else (LOWER_WIDTHS_CM, LOWER_CROWN_CM)
    ends = np.concatenate([[0.0], np.cumsum(widths)])
    # Around the arch: a tooth at angle a stands at ARCH sin(a), and turns away.
    arc = ARCH_CM * np.arcsin(np.clip(np.abs(x) / ARCH_CM, 0, 0.999))
    facing = np.sqrt(np.clip(1 - (x / ARCH_CM) ** 2, 0, 1))
    tooth = np.clip(np.searchsorted(ends, arc, side="right") - 1, 0, len(widths) - 1)
    place = (arc - ends[tooth]) / np.asarray(widths)[tooth]
    middle = 1 - np.abs(2 * place - 1)
    scallop = (
        np.array([0.0, 0.05, -0.02, 0.06, 0.08, 0.1])[tooth]
        if up > 0
        else np.array([0.0, 0.02, -0.02, 0.04, 0.06, 0.08])[tooth]
    )
    biting = edge + up * (scallop + 0.06 * np.clip(0.25 - middle, 0, 1) / 0.25)
    height = up * (y - biting)  # above the biting edge of this tooth
    cover = _soft(height, 0.03) * np.clip((0.985 - np.abs(x) / ARCH_CM) / 0.05, 0, 1)
    between = 1 - 0.38 * np.exp(-((middle / 0.16) ** 2))
    shade = (
        light
        * between
        * (0.12 + 0.88 * facing**3)
        * (0.82 + 0.18 * np.clip(height / 0.25, 0, 1))
        * np.array([1.0, 0.9, 0.86, 0.8, 0.76, 0.7])[tooth]
    )
    colour = TOOTH * (BRIGHT / SKIN_THERE) * shade[..., None]
    gum = _soft(height - crown * (0.92 - 0.10 * (1 - middle) ** 2), 0.06)
    colour = colour + gum[..., None] * (GUM * (0.7 * light * facing)[..., None] - colour)
    return _over(under, colour, cover)


def _on_plane(
    px: Float[np.ndarray, "h w 2"], face: Written, z: float
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Head x and y, centimetres, of where pixels look through a plane at depth z."""
    pose = face.pose
    m = pose.px_per_cm * (pose.rotation[:2] * np.array([[1.0], [-1.0]]))
    rest = (px - pose.origin_px[:2] - m[:, 2] * z) @ np.linalg.inv(m[:, :2]).T
    return rest[..., 0], rest[..., 1]


def _soft(x: Float[np.ndarray, "h w"], width: float) -> Float[np.ndarray, "h w"]:
    """0 below -width, 1 above width."""
    return smoothstep(0.5 + 0.5 * x / width)


def _over(
    under: Float[np.ndarray, "h w 3"], colour: Float[np.ndarray, "..."], cover: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    return under + cover[..., None] * (colour - under)
