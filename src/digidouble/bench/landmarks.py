"""What 68 landmarks say about a face: expression channels, head pose, and the masks that the picture metrics use.

Landmarks are numbered as in the 300-W annotation (Sagonas et al. 2013): 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes,
48-67 lips; pixels, x right, y down. The subject's right is the picture's left.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

CHANNELS = ("mouth_open", "mouth_width", "smile", "eye_right", "eye_left", "brow_right", "brow_left")

# Points that expression hardly moves, and an average head in centimetres: x the subject's left, y up, z out of the face.
RIGID = np.array([27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45])
HEAD_CM = np.array(
    [
        [0.0, 0.29, 1.64], [0.0, -1.29, 2.48], [0.0, -2.71, 3.48], [0.0, -3.58, 3.68], [-1.62, -4.55, 1.12], [0.0, -4.79, 1.90],
        [1.62, -4.55, 1.12], [-4.40, -0.03, -0.55], [-1.73, -0.28, 0.0], [1.73, -0.28, 0.0], [4.40, -0.03, -0.55],
    ]
)  # fmt: skip
FAR = 12.0  # camera distance in head units of 10 cm: long enough that perspective does not matter
FOREHEAD = 0.55  # the mask reaches this share of the brow-to-nose-base distance above the brows
SEAM = 0.09  # half width of the seam band, of the face's width


def face_scale(points: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n"]:
    """Size of each face in pixels: geometric mean of outer-eye-corner distance and nose length, which no expression changes."""
    eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    nose = np.linalg.norm(points[:, 27] - points[:, 33], axis=1)
    return np.sqrt(np.maximum(eyes * nose, 1e-6))


# The point of the other side, of dlib's 68.
MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)  # fmt: skip


def channels(points: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n 7"]:
    """Openings and lifts in units of `face_scale`, in the order of CHANNELS. Invariant to shift, roll and size."""
    p = points

    def apart(a: int, b: int) -> Float[np.ndarray, "n"]:
        return np.linalg.norm(p[:, a] - p[:, b], axis=1)

    def opening(pairs: tuple[tuple[int, int], ...]) -> Float[np.ndarray, "n"]:
        return np.mean([apart(a, b) for a, b in pairs], axis=0)

    up = p[:, 27] - p[:, 33]
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    corners, centre = (p[:, 48] + p[:, 54]) / 2, (p[:, 51] + p[:, 57]) / 2
    brow_right = p[:, 17:22].mean(1) - (p[:, 36] + p[:, 39]) / 2
    brow_left = p[:, 22:27].mean(1) - (p[:, 42] + p[:, 45]) / 2
    out = np.stack(
        [
            opening(((61, 67), (62, 66), (63, 65))),
            apart(48, 54),
            ((corners - centre) * up).sum(1),
            opening(((37, 41), (38, 40))),
            opening(((43, 47), (44, 46))),
            (brow_right * up).sum(1),
            (brow_left * up).sum(1),
        ],
        axis=1,
    )
    return out / face_scale(p)[:, None]


def head_rotation(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "3 3"]:
    """Camera axes (x right, y up, z to the viewer) from head axes, by PnP on the RIGID points with a far camera."""
    seen = points[RIGID].astype(np.float64)
    centre, size = seen.mean(0), float(np.ptp(seen, axis=0).max())
    focal = FAR * 10 * size / 8.8  # a head of 8.8 cm between the eye corners then stands FAR * 10 cm away
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    # OpenCV's camera looks along +z with y down; start face-on, or the solver may settle on the mirrored pose.
    start = np.diag([1.0, -1.0, -1.0])
    rotation_vector, _ = cv2.Rodrigues(start)
    place = np.array([[0.0], [0.0], [FAR * 10]])
    model = HEAD_CM - HEAD_CM.mean(0)
    _, rotation_vector, _ = cv2.solvePnP(
        model, seen, camera, np.zeros(4), rotation_vector, place, useExtrinsicGuess=True, flags=cv2.SOLVEPNP_ITERATIVE
    )
    return start @ cv2.Rodrigues(rotation_vector)[0]


def euler_deg(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """(yaw to the subject's left, pitch up, roll) in degrees; rotation = Rz(roll) Rx(-pitch) Ry(yaw)."""
    pitch = np.arcsin(np.clip(-rotation[2, 1], -1, 1))
    yaw = np.arctan2(-rotation[2, 0], rotation[2, 2])
    roll = np.arctan2(-rotation[0, 1], rotation[1, 1])
    return np.degrees(np.array([yaw, pitch, roll]))


def poses_deg(points: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n 3"]:
    """(yaw, pitch, roll) of every frame."""
    return np.array([euler_deg(head_rotation(p)) for p in points]).reshape(-1, 3)


def face_outline(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "m 2"]:
    """Jaw line and forehead: the brows moved up by FOREHEAD of the distance from the brows to the base of the nose."""
    brows = points[17:27]
    lift = FOREHEAD * (brows.mean(0) - points[33])
    return cv2.convexHull(np.vstack([points[:17], brows, brows + lift]).astype(np.float32))[:, 0]


def face_mask(points: Float[np.ndarray, "68 2"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The face as every picture metric takes it: `face_outline`, filled."""
    page = np.zeros(size_hw, np.uint8)
    cv2.fillConvexPoly(page, np.round(face_outline(points) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return page.astype(bool)


def seam_mask(points: Float[np.ndarray, "68 2"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A band SEAM of the face's width to both sides of `face_outline`, where doubles are joined to plates."""
    reach = max(1, round(SEAM * float(np.ptp(points[:17, 0]))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inside = face_mask(points, size_hw).astype(np.uint8)
    outside = np.zeros_like(inside)
    outside[...] = 1 - inside
    return (cv2.dilate(inside, kernel) > 0) & (cv2.dilate(outside, kernel) > 0)


def skin_mask(points: Float[np.ndarray, "68 2"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """`face_mask` without eyes and the opening of the mouth, shrunk by half a seam: the skin a double replaces."""
    page = face_mask(points, size_hw).astype(np.uint8)
    width = float(np.ptp(points[:17, 0]))
    kernel = np.ones((2 * max(1, round(SEAM * width / 2)) + 1,) * 2, np.uint8)
    page = cv2.erode(page, kernel, borderValue=0)
    holes = np.zeros_like(page)
    for ring in (slice(36, 42), slice(42, 48), slice(60, 68)):
        cv2.fillConvexPoly(holes, cv2.convexHull(np.round(points[ring] * 16).astype(np.int32)), 1, cv2.LINE_8, 4)
    holes = cv2.dilate(holes, np.ones((2 * max(1, round(0.02 * width)) + 1,) * 2, np.uint8))
    return (page > 0) & (holes == 0)
