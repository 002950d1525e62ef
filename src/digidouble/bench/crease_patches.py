"""Where a face creases, as patches placed by 68 landmarks, and how much of a crease each holds, frame by frame.

A patch is SIDE_PX wide and SIDE_CM high on a face of average size, upright to the face, cut by a similarity: its scale and
turn come from eye corners and nose, its place from the landmarks that its crease lies between. Energy is the root mean square,
under a round window that fades before the patch's edge, of a band of log luma (difference of Gaussians): folds of about one to
four millimetres, whatever the light. A crease of twice the depth has twice the energy. Lids with their lashes, brows, lips, nostrils and what
lies outside the face are left out with a margin, where the plate has them: they move, and are no creases.

Skin has a texture and a picture has noise that are always there. Both are taken out as power, for every patch of every row by
itself: the FLOOR quantile over time. What is left is the energy that comes and goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.bench.landmarks import face_outline, face_scale

SIDE_PX, SIDE_CM = 48, 2.4
SCALE_CM = 6.7  # `face_scale` of an average head
FINE_PX, COARSE_PX = 1.0, 4.0
WINDOW_PX = 8.0  # sigma of the round window: it fades to a hundredth at the patch's edge
# Margins around eyes, lips and nostrils, brows, and inside the outline: twice the band's coarse sigma and what a landmark is off.
EYE_CM, LIP_CM, BROW_CM, RIM_CM = 0.55, 0.6, 0.5, 0.4
FEATURES = (
    (slice(36, 42), EYE_CM), (slice(42, 48), EYE_CM), (slice(48, 60), LIP_CM), (slice(31, 36), LIP_CM),
    (slice(17, 22), BROW_CM), (slice(22, 27), BROW_CM),
)  # fmt: skip
LEAST_CLEAR = 0.35  # of the window's weight that must be skin
BLACK = 0.004  # added to linear luma before the logarithm
FLOOR = 0.1
OVER_FRAMES = 5  # power is the mean over so many frames: the detail of one frame is mostly noise
AWAY_DEG, TURNED_DEG = 12.0, 30.0  # a side patch counts until the head turns it away so far; the others, either way


@dataclass(frozen=True)
class Place:
    """Attributes: anchors: landmarks whose mean is the origin. offset_cm: from there, x to the picture's right and y up along the
    face. side: -1 on the picture's left, 0 in the middle, 1 on its right."""

    name: str
    anchors: tuple[int, ...]
    offset_cm: tuple[float, float]
    side: int


PLACES = (
    Place("eye_right", (36,), (-1.3, -0.3), -1), Place("eye_left", (45,), (1.3, -0.3), 1),
    Place("glabella", (21, 22), (0.0, 0.0), 0),
    Place("fold_right", (31, 48), (-0.9, 0.2), -1), Place("fold_left", (35, 54), (0.9, 0.2), 1),
    Place("forehead", (27,), (0.0, 3.9), 0),
)  # fmt: skip


def steadied(landmarks: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n 68 2"]:
    """Landmarks averaged over three frames, so that patches do not tremble."""
    padded = np.concatenate([landmarks[:1], landmarks, landmarks[-1:]]).astype(np.float64)
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def patch_from_picture(points: Float[np.ndarray, "68 2"], place: Place) -> Float[np.ndarray, "2 3"]:
    """Plate pixels from patch pixels."""
    across = points[42:48].mean(0) - points[36:42].mean(0)
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]])
    px_per_cm = float(face_scale(points[None])[0]) / SCALE_CM
    x, y = place.offset_cm
    centre = points[list(place.anchors)].mean(0) + px_per_cm * (x * across - y * down)
    turn = np.stack([across, down], axis=1) * px_per_cm * SIDE_CM / SIDE_PX
    return np.column_stack([turn, centre - turn @ np.full(2, (SIDE_PX - 1) / 2)])


def band(rgb8: UInt8[np.ndarray, "h w 3"], px_from_patch: Float[np.ndarray, "2 3"]) -> Float32[np.ndarray, "s s"]:
    """The crease band of log luma in a patch; NaN where the patch leaves the picture."""
    corners = (
        px_from_patch[:, :2] @ (np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).T * (SIDE_PX - 1)) + px_from_patch[:, 2:]
    )
    low, high = np.floor(corners.min(1)).astype(int) - 2, np.ceil(corners.max(1)).astype(int) + 3
    if (low < 0).any() or high[0] > rgb8.shape[1] or high[1] > rgb8.shape[0]:
        return np.full((SIDE_PX, SIDE_PX), np.nan, np.float32)
    part = np.ascontiguousarray(rgb8[low[1] : high[1], low[0] : high[0]])
    luma = _linear_log()[np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8)]
    step = float(np.linalg.norm(px_from_patch[:, 0]))
    if step > 1:
        luma = cv2.GaussianBlur(luma, (0, 0), 0.5 * step)  # larger faces are brought down: without aliases
    moved = px_from_patch - np.column_stack([np.zeros((2, 2)), low])
    patch = cv2.warpAffine(luma, moved, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    fine, coarse = (cv2.GaussianBlur(patch, (0, 0), sigma) for sigma in (FINE_PX, COARSE_PX))
    return np.asarray(fine - coarse, np.float32)


def _linear_log() -> Float32[np.ndarray, "256"]:
    return np.log((np.arange(256) / 255) ** 2.2 + BLACK).astype(np.float32)


def _window() -> Float32[np.ndarray, "s s"]:
    away = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    one = np.exp(-0.5 * (away / WINDOW_PX) ** 2)
    return (np.outer(one, one) / one.sum() ** 2).astype(np.float32)


def skin(points: Float[np.ndarray, "68 2"], px_from_patch: Float[np.ndarray, "2 3"]) -> Float32[np.ndarray, "s s"]:
    """The round window where a patch shows skin, 0 elsewhere; sums to 1 where all of it does."""
    patch_from_px = cv2.invertAffineTransform(px_from_patch)
    px_per_cm = SIDE_PX / SIDE_CM

    def filled(outline: Float[np.ndarray, "n 2"], margin_cm: float) -> UInt8[np.ndarray, "s s"]:
        page = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        placed = outline.astype(np.float64) @ patch_from_px[:, :2].T + patch_from_px[:, 2]
        at = np.round(np.clip(placed, -1000, 1000) * 16).astype(np.int32)  # drawing far outside is lost time
        cv2.fillConvexPoly(page, cv2.convexHull(at), 1, cv2.LINE_8, 4)
        if margin_cm > 0:
            cv2.polylines(page, [cv2.convexHull(at)], True, 1, max(1, round(2 * margin_cm * px_per_cm)), cv2.LINE_8, 4)
        return page

    clear = cv2.erode(filled(face_outline(points), 0), _disc(RIM_CM * px_per_cm), borderValue=1)
    for part, margin in FEATURES:
        clear &= 1 - filled(points[part], margin)
    return _window() * clear


def _disc(radius_px: float) -> UInt8[np.ndarray, "k k"]:
    side = 2 * round(radius_px) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def powers(rgb8: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "p"]:
    """Mean square of the band over the skin under the window, natural log squared, in the order of PLACES; NaN outside the
    picture and where there is hardly any skin."""
    found = []
    for place in PLACES:
        at = patch_from_picture(points, place)
        weight = skin(points, at)
        total = float(weight.sum())
        square = band(rgb8, at) ** 2
        found.append(float((weight * square).sum()) / total if total > LEAST_CLEAR else np.nan)
    return np.array(found)


def visible(poses_deg: Float[np.ndarray, "n 3"], detected: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n p"]:
    """Where a patch is judged: frames in which the detector saw the face itself and the head does not turn the patch away."""
    yaw = poses_deg[:, 0]
    # Yaw is positive to the subject's left, the picture's right: that turns the picture's right side of the face away.
    sides = [(yaw * p.side < AWAY_DEG) & (np.abs(yaw) < TURNED_DEG) for p in PLACES]
    return np.stack(sides, axis=1) & detected[:, None]


def energies(power: Float[np.ndarray, "n p"], use: Bool[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
    """Energy beyond what is always there (natural log), NaN in frames that are not used.

    Power is averaged over the used frames among OVER_FRAMES, then loses its FLOOR quantile over time.
    """
    known = use & np.isfinite(power)
    kernel = np.ones(OVER_FRAMES)
    out = np.full(power.shape, np.nan)
    for k in range(power.shape[1]):
        at = known[:, k]
        if at.any():
            total = np.convolve(np.where(at, power[:, k], 0.0), kernel, "same")
            mean = (total / np.maximum(np.convolve(at, kernel, "same"), 1))[at]
            out[at, k] = np.sqrt(np.maximum(mean - np.quantile(mean, FLOOR), 0))
    return out
