"""Where the eyes look, from pixels: pupil centres by the means of gradients (Timm & Barth 2011), and degrees from them."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.landmarks import face_scale

EYES = (slice(36, 42), slice(42, 48))
PATCH_W = 48  # width to which an eye is brought before its pupil is sought
EYEBALL_RADIUS = 0.196  # of `face_scale`: 1.2 cm where the scale is about 6.1 cm
OPEN = 0.14  # height over width below which an eye is taken as shut


def pupil_px(gray: UInt8[np.ndarray, "h w"], eye: Float[np.ndarray, "6 2"]) -> Float[np.ndarray, "2"]:
    """Centre of the pupil in pixels of `gray`, NaN where the eye is shut, outside the picture or too small.

    The centre c maximises the mean of max(0, d.g)^2, weighted with darkness, where g is the unit gradient at a pixel and d
    the unit vector from c to it (Timm & Barth 2011, eq. 2-3).
    """
    low, high = eye.min(0), eye.max(0)
    width, height = high - low
    lids = np.linalg.norm(eye[[1, 2]] - eye[[5, 4]], axis=1).mean()
    across = float(np.linalg.norm(eye[0] - eye[3]))
    if across < 8 or lids < OPEN * across:
        return np.full(2, np.nan)
    margin = np.array([0.05 * width, 0.25 * height])
    x0, y0 = np.floor(low - margin).astype(int)
    x1, y1 = np.ceil(high + margin).astype(int) + 1
    if x0 < 0 or y0 < 0 or x1 > gray.shape[1] or y1 > gray.shape[0]:
        return np.full(2, np.nan)
    scale = PATCH_W / (x1 - x0)
    patch = cv2.resize(gray[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    patch = cv2.GaussianBlur(patch, (0, 0), 1.0).astype(np.float32)
    outline = np.round((eye - [x0, y0]) * scale).astype(np.int32)
    inside = np.zeros(patch.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(outline), 1)
    gx, gy = cv2.Sobel(patch, cv2.CV_32F, 1, 0), cv2.Sobel(patch, cv2.CV_32F, 0, 1)
    strength = np.hypot(gx, gy)
    edge = (strength > strength.mean() + 0.3 * strength.std()) & (cv2.dilate(inside, np.ones((5, 5), np.uint8)) > 0)
    ey, ex = np.nonzero(edge)
    cy, cx = np.nonzero(inside)
    if len(ex) < 12 or len(cx) < 12:
        return np.full(2, np.nan)
    unit = np.stack([gx[edge], gy[edge]]) / np.maximum(strength[edge], 1e-6)
    dx, dy = ex[None] - cx[:, None], ey[None] - cy[:, None]
    away = np.maximum(np.hypot(dx, dy), 1e-6)
    aligned = np.maximum((dx * unit[0] + dy * unit[1]) / away, 0) ** 2
    score = aligned.mean(1) * (255 - patch[cy, cx])
    best = score >= 0.97 * score.max()
    at = np.array([(cx[best] * score[best]).sum(), (cy[best] * score[best]).sum()]) / score[best].sum()
    return (at + 0.5) / scale - 0.5 + [x0, y0]


def pupils_px(gray: UInt8[np.ndarray, "h w"], points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "2 2"]:
    """Pupil centres of the subject's right and left eye."""
    return np.array([pupil_px(gray, points[ring]) for ring in EYES])


def gaze_deg(points: Float[np.ndarray, "n 68 2"], pupils: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, "n 2"]:
    """(yaw to the picture's right, pitch down) of the eyes in the head, mean of both, NaN where neither eye is open.

    The pupil's way from the middle of the eye corners, over the eyeball's radius, is the sine of the angle.
    """
    middle = np.stack([(points[:, 36] + points[:, 39]) / 2, (points[:, 42] + points[:, 45]) / 2], axis=1)
    along = points[:, 45] - points[:, 36]
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    off = pupils - middle
    radius = EYEBALL_RADIUS * face_scale(points)[:, None]
    each = np.stack([(off * along[:, None]).sum(2), (off * down[:, None]).sum(2)], axis=2) / radius[..., None]
    valid = np.isfinite(each).all(2, keepdims=True)
    count = valid.sum(1)
    mean = np.where(valid, each, 0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, np.degrees(np.arcsin(np.clip(mean, -1, 1))), np.nan)
