"""Eyes of a portrait that look about: each eyeball as a picture that is complete behind the lids, moved under them.

What the portrait shows between the lids is kept; the hidden top of the iris is its own bottom mirrored, the hidden white is carried on.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.performance.written.mouth import Patch
from digidouble.performance.written.shape import BOTH_IRISES, Written
from digidouble.schema.colour import LUMA, linear_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import face_model

LOOPS = ("right_eye", "left_eye")
AROUND = 0.75  # of an eye's width, kept around its middle
SHADED, TRUSTED = (
    0.08,
    0.26,
)  # of the eye's height: from a lid to where lashes and shadow end, and to where nothing is doubted
SCREWED_UP = 0.65  # of the other eye's opening: below, little of an eyeball is seen
LID_SHADE, LID_SHADE_CM = 0.30, 0.2  # how dark, how far below the upper lid
LASHES_CM = 0.10
SUPER = 2


@dataclass(frozen=True)
class Eyeball:
    """One eye of a portrait. `rgb`: scene-linear, over `roi` of the portrait; `iris_px` where its iris is there (x, y, radius)."""

    roi: Roi
    rgb: Float32[np.ndarray, "h w 3"]
    iris_px: Float[np.ndarray, "3"]


def eyeballs_of(frame: Frame, points_px: Float[np.ndarray, "478 3"]) -> tuple[Eyeball, ...]:
    """Both eyes, the subject's right one first; without one that is too small or shut."""
    out = []
    for loop, ring in zip(LOOPS, BOTH_IRISES, strict=True):
        rim = points_px[face_model().loops[loop], :2].astype(np.float64)
        wide = float(np.ptp(rim[:, 0]))
        radius = float(np.linalg.norm(points_px[ring[1], :2] - points_px[ring[3], :2])) / 2
        middle = points_px[ring[0], :2].astype(np.float64)
        if wide < 8 or radius < 2 or np.ptp(rim[:, 1]) < 0.12 * wide:
            continue
        centre = rim.mean(0)
        low, high = np.floor(centre - AROUND * wide), np.ceil(centre + AROUND * wide) + 1
        roi = Roi(*(int(v) for v in (*low, *high))).clipped(frame.size_wh)
        out.append(Eyeball(roi, _completed(linear_from_frame(frame, roi), rim - [roi.x0, roi.y0], middle - [roi.x0, roi.y0], radius),
                           np.array([*middle, radius])))  # fmt: skip
    return _with_better(out, points_px)


def _with_better(balls: list[Eyeball], points_px: Float[np.ndarray, "478 3"]) -> tuple[Eyeball, ...]:
    """The same; an eye that is screwed up far more than the other one gets the other's eyeball, mirrored."""
    if len(balls) == 2:
        rims = [points_px[face_model().loops[loop], 1] for loop in LOOPS]
        narrow, wide = np.argsort([np.ptp(r) for r in rims])
        if np.ptp(rims[narrow]) < SCREWED_UP * np.ptp(rims[wide]):
            balls[narrow] = _mirrored(balls[wide], balls[narrow].iris_px[:2])
    return tuple(balls)


def _mirrored(ball: Eyeball, at_px: Float[np.ndarray, "2"]) -> Eyeball:
    """The eyeball's mirror image, its iris where `at_px` is, to a pixel's fraction."""
    w = ball.rgb.shape[1]
    x, y = ball.iris_px[0] - ball.roi.x0, ball.iris_px[1] - ball.roi.y0
    x0, y0 = (round(float(v)) for v in (at_px[0] - (w - 1 - x), at_px[1] - y))
    roi = Roi(x0, y0, x0 + w, y0 + ball.rgb.shape[0])
    return Eyeball(roi, np.ascontiguousarray(ball.rgb[:, ::-1]), np.array([x0 + w - 1 - x, y0 + y, ball.iris_px[2]]))


def _completed(
    rgb: Float32[np.ndarray, "h w 3"], rim: Float[np.ndarray, "n 2"], iris: Float[np.ndarray, "2"], radius: float
) -> Float32[np.ndarray, "h w 3"]:
    """The picture with everything outside the lids replaced by what the eyeball would show there."""
    h, w = rgb.shape[:2]
    open_ = np.zeros((h, w), np.uint8)
    cv2.fillPoly(open_, [np.round(rim * 16).astype(np.int32)], 255, lineType=cv2.LINE_8, shift=4)
    inside = cv2.distanceTransform(open_, cv2.DIST_L2, 3)
    height = float(np.ptp(rim[:, 1]))
    # Trusted away from the lids, less and less towards them.
    known = np.clip((inside - SHADED * height) / max((TRUSTED - SHADED) * height, 1.0), 0, 1).astype(np.float32)
    known = known * known * (3 - 2 * known)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    r = np.hypot(x - iris[0], y - iris[1]) / radius
    ball = np.clip((1.12 - r) / 0.16, 0, 1).astype(np.float32)
    # The white: what is seen of it, its darkest and brightest tenth left out, carried on from coarse means.
    luma = rgb @ LUMA
    white = known * (r > 1.2)
    if white.sum() > 4:
        ordered = np.sort(luma[white > 0.5]) if (white > 0.5).any() else np.sort(luma[white > 0])
        white *= (luma >= ordered[int(0.4 * (len(ordered) - 1))]) & (luma <= ordered[int(0.97 * (len(ordered) - 1))])
        mean = (rgb * white[..., None]).sum((0, 1)) / max(float(white.sum()), 1)
    else:
        mean = np.array([0.42, 0.38, 0.36], np.float32) * max(float(np.quantile(luma, 0.8)), 0.02) / 0.4
    soft = 0.35 * radius
    near = cv2.GaussianBlur(rgb * white[..., None], (0, 0), 2 * soft) + 0.05 * mean
    sclera = near / (cv2.GaussianBlur(white, (0, 0), 2 * soft)[..., None] + 0.05)
    keep = known[..., None]
    sclera = sclera + keep * (1 - ball)[..., None] * (rgb - sclera)
    # The iris: itself, else mirrored top to bottom, else the mean at that distance from the pupil.
    mirrored, seen = (cv2.remap(a, x, 2 * np.float32(iris[1]) - y, cv2.INTER_LINEAR) for a in (rgb, known))
    rings = np.clip((r * 6).astype(int), 0, 5)  # from 1 on is the limbus
    by_ring = np.stack(
        [(rgb * known[..., None])[rings == k].sum(0) / max(float(known[rings == k].sum()), 1) for k in range(6)]
    )
    have = np.array([float(known[rings == k].sum()) > 0.5 for k in range(6)])
    if have.any():
        for k in range(6):
            if not have[k]:
                by_ring[k] = by_ring[np.flatnonzero(have)[np.abs(np.flatnonzero(have) - k).argmin()]]
    disc = by_ring[rings].astype(np.float32)
    disc = disc + seen[..., None] * (mirrored - disc)
    disc = disc + keep * (rgb - disc)
    out = sclera + ball[..., None] * (disc - sclera)
    return out.astype(np.float32)


def eye_patches(face: Written, balls: tuple[Eyeball, ...], size_wh: tuple[int, int]) -> list[Patch]:
    """What is seen between the written lids."""
    out = []
    centres = face.source_px[[468, 473], :2]
    for ball in balls:
        side = int(np.argmin(np.linalg.norm(centres - ball.iris_px[:2], axis=1)))
        rim = face.points_px[face_model().loops[LOOPS[side]], :2].astype(np.float64)
        low, high = np.floor(rim.min(0)) - 3, np.ceil(rim.max(0)) + 4
        roi = Roi(*(int(v) for v in (*low, *high))).clipped(size_wh)
        if roi.empty:
            continue
        h, w = roi.size_hw
        big = np.zeros((h * SUPER, w * SUPER), np.uint8)
        cv2.fillPoly(
            big,
            [np.round(((rim - [roi.x0, roi.y0] + 0.5) * SUPER - 0.5) * 16).astype(np.int32)],
            255,
            lineType=cv2.LINE_8,
            shift=4,
        )
        # Right at the lids are lashes: they are skin's, and go with it.
        lashes = LASHES_CM * face.pose.px_per_cm * SUPER
        inner = np.clip(cv2.distanceTransform(big, cv2.DIST_L2, 3) / max(lashes, 1.0) - 0.5, 0, 1).astype(np.float32)
        alpha = np.asarray(cv2.resize(inner, (w, h), interpolation=cv2.INTER_AREA), np.float32)
        if alpha.max() < 0.05:
            continue
        shift = face.points_px[BOTH_IRISES[side][0], :2] - ball.iris_px[:2]
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        at = (x + np.float32(roi.x0 - shift[0] - ball.roi.x0), y + np.float32(roi.y0 - shift[1] - ball.roi.y0))
        rgb = cv2.remap(ball.rgb, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        rgb = np.maximum(rgb, 0) * _shade(alpha, face.pose.px_per_cm)[..., None]
        out.append(Patch(roi, rgb.astype(np.float32), alpha))
    return out


def _shade(alpha: Float32[np.ndarray, "h w"], px_per_cm: float) -> Float32[np.ndarray, "h w"]:
    """Lids and lashes throw a shadow on the eye, the upper one most."""
    reach = max(LID_SHADE_CM * px_per_cm, 1.0)
    above = np.cumsum(alpha, 0)  # pixels of opening above
    return (1 - LID_SHADE * np.clip(1 - above / reach, 0, 1) ** 1.5).astype(np.float32)
