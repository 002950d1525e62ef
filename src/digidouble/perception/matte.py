"""Occlusion matte: how much of the face is visible, with nothing in front, in a crop aligned to the face.

The crop is square: its horizontal is the face's own (`upright_angle`), its centre and side come from the box of the face
oval in those axes, `MARGIN` times the larger extent. `training/matte` trains the network on the same framing.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.perception.session import Runner, Session
from digidouble.schema.colour import LUMA
from digidouble.schema.kernels import fill_triangles
from digidouble.schema.mesh import BROWS, LEFT_IRIS, OUTER_LIPS, RIGHT_IRIS, face_model, upright_angle
from digidouble.schema.track import MATTE_SIZE

MARGIN = 1.3
# Strands: natural log of skin over pixel from which it begins to be, and surely is, as dark as hair; how far, of the face's width, a
# strand is followed from what is known to be in front; over which the skin's own light is averaged; widest gap between strands that is closed.
DARKER, STRAND_REACH, SKIN_REACH, BRIDGE = (0.5, 0.9), 0.18, 0.12, 0.13
EDGE = (0.35, 0.6)  # natural log, within five pixels: where hair ends it is sharper
THIN = 7  # pixels of the crop: what is thinner leads nowhere
BLACK = 0.004  # added to linear luma before the logarithm
# The nose sticks out of the oval when the head is turned: its hull is added to the oval's area.
NOSE = np.array(
    [168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 48, 278, 64, 294, 129, 358, 45, 275, 44, 274, 193, 417]
)


def px_from_crop(points_px: Float[np.ndarray, "478 3"], size: int = MATTE_SIZE) -> Float32[np.ndarray, "2 3"]:
    """2x3 similarity from crop pixels (centre of the first pixel is 0, 0) to picture pixels."""
    points = points_px[:, :2].astype(np.float64)
    angle = upright_angle(points_px)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    upright = points[face_model().loops["oval"]] @ turn
    low, high = upright.min(0), upright.max(0)
    scale = MARGIN * max(float((high - low).max()), 1.0) / size
    linear = scale * turn
    offset = turn @ ((low + high) / 2) - linear @ np.full(2, (size - 1) / 2)
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)


def matte_at(
    matte: UInt8[np.ndarray, "m m"], px_from_crop: Float[np.ndarray, "2 3"], px: Float[np.ndarray, "a b 2"]
) -> Float32[np.ndarray, "a b"]:
    """A matte (0..1) at places in the picture."""
    inverse = cv2.invertAffineTransform(px_from_crop.astype(np.float64))
    crop = (px @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
    return cv2.remap(matte, crop[..., 0], crop[..., 1], cv2.INTER_LINEAR).astype(np.float32) / 255


def hull(points_crop: Float[np.ndarray, "478 2"], size: int = MATTE_SIZE) -> UInt8[np.ndarray, "m m"]:
    """Area of the mesh in crop pixels, anti-aliased by four-fold supersampling, 0..255.

    The oval, and every triangle: on a profile the far half of the oval runs inside the face, over eye and mouth.
    """
    big = np.zeros((size * 4, size * 4), np.uint8)
    points = (points_crop + 0.5) * 4 - 0.5
    fixed = np.round(np.clip(points, -8.0 * size, 12.0 * size) * 16).astype(np.int32)
    cv2.fillPoly(big, [fixed[face_model().loops["oval"]]], 255, shift=4)
    for part in (NOSE, OUTER_LIPS):
        cv2.fillConvexPoly(big, cv2.convexHull(fixed[part]), 255, shift=4)
    fill_triangles(np.clip(points, -8.0 * size, 12.0 * size).astype(np.float64), face_model().triangles, big)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA)


def strands(
    crop: UInt8[np.ndarray, "m m 3"], area: Float32[np.ndarray, "m m"], alpha: Float32[np.ndarray, "m m"],
    points_crop: Float[np.ndarray, "478 2"],
) -> Float32[np.ndarray, "m m"]:  # fmt: skip
    """0..1: hair along the edge of the matte that the network took for face.

    What is far darker than the skin beside it and hangs together with the hair above the eyes outside the mesh, or with what of that is
    known to be in front of the face, belongs to that; but only a little way in, and never eyes or brows. `area`: 0..1, of the mesh. `alpha`: the network's.
    """
    log = np.log(((crop / np.float32(255)) ** np.float32(2.2)) @ LUMA.astype(np.float32) + np.float32(BLACK))
    skin = cv2.erode((alpha * area > 0.8).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if skin.sum() < 0.01 * skin.size:
        return np.zeros_like(alpha)
    usual, width = np.float32(np.median(log[skin])), float(np.ptp(points_crop[:468, 0]))
    known = (skin & (log > usual - DARKER[1])).astype(np.float32)
    sigma = SKIN_REACH * width
    beside = (cv2.GaussianBlur(log * known, (0, 0), sigma) + 1e-3 * usual) / (
        cv2.GaussianBlur(known, (0, 0), sigma) + np.float32(1e-3)
    )
    rows = np.arange(len(log), dtype=np.float32)[:, None]
    eyes, mouth, chin = (float(points_crop[i, 1].mean()) for i in ([RIGHT_IRIS[0], LEFT_IRIS[0]], [13, 14], [152]))
    dark = np.clip((beside - log - DARKER[0]) / (DARKER[1] - DARKER[0]), 0, 1)
    spared = _eyes_and_brows(points_crop, len(log)) > 0
    dark[spared] = 0
    inside = cv2.erode(area, np.ones((5, 5), np.uint8)) > 0.9
    front = cv2.morphologyEx((alpha < 0.4).astype(np.uint8), cv2.MORPH_OPEN, _disc(THIN)) > 0  # no rims of glasses
    hair = _connected((dark > 0.5) & (front | (area < 0.05)), (area < 0.05) & (rows < eyes))
    reached = np.zeros_like(alpha)
    # A beard is as dark as hair, hangs together with it before the ears, and is the performer's face.
    for begin, low, lowest in ((hair & inside, mouth, chin), (hair & (area < 0.05), eyes, mouth)):
        cap = dark * np.clip((lowest - rows) / max(lowest - low, 1.0), 0, 1)
        reached = np.maximum(reached, _grown(np.where(begin & (rows < low), cap, 0), cap, round(STRAND_REACH * width)))
    # A brow's end or the corner of an eye that strands go around lies under them.
    around = cv2.morphologyEx(reached, cv2.MORPH_CLOSE, _disc(2 * round(0.5 * BRIDGE * width) + 1))
    return _edged(np.where(spared, around, reached), (alpha > 0.4) & (area > 0.3), log)


def _connected(mask: Bool[np.ndarray, "m m"], start: Bool[np.ndarray, "m m"]) -> Bool[np.ndarray, "m m"]:
    """The parts of a mask that have something of `start`."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    part, keep = np.asarray(parts, np.int64), np.zeros(count, bool)
    keep[part[start & mask]] = True
    return keep[part] & mask


def _edged(
    found: Float32[np.ndarray, "m m"], face: Bool[np.ndarray, "m m"], log: Float32[np.ndarray, "m m"]
) -> Float32[np.ndarray, "m m"]:
    """What ends in an edge: the dark side of a face before a dark wall turns into skin little by little, and is skin."""
    soft = cv2.GaussianBlur(log, (0, 0), 0.7)
    step = cv2.dilate(soft, np.ones((5, 5), np.uint8)) - cv2.erode(soft, np.ones((5, 5), np.uint8))
    count, parts = cv2.connectedComponents(((found > 0.2) & face).astype(np.uint8))
    part = np.asarray(parts, np.int64)
    skin = (face & (found <= 0.2)).astype(np.uint8)
    rim = np.where(cv2.dilate(skin, np.ones((3, 3), np.uint8)) > 0, part, 0).ravel()
    mean = np.bincount(rim, step.ravel(), count) / np.maximum(np.bincount(rim, minlength=count), 1)
    sharp = np.clip((mean - EDGE[0]) / (EDGE[1] - EDGE[0]), 0, 1)
    sharp[0] = 1
    return (found * sharp[part]).astype(np.float32)


def _disc(size: int) -> UInt8[np.ndarray, "n n"]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.uint8)


def _grown(start: Float[np.ndarray, "m m"], cap: Float[np.ndarray, "m m"], steps: int) -> Float32[np.ndarray, "m m"]:
    """Greyscale reconstruction by dilation (Vincent 1993), broken off after so many pixels."""
    now, cross = start.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    cap = cap.astype(np.float32)
    for _ in range(steps):
        now = np.minimum(cv2.dilate(now, cross), cap)
    return now


def _eyes_and_brows(points_crop: Float[np.ndarray, "478 2"], size: int) -> UInt8[np.ndarray, "m m"]:
    out, (right, left) = np.zeros((size, size), np.uint8), np.split(BROWS, 2)
    for part in (face_model().loops["right_eye"], face_model().loops["left_eye"], right, left):
        at = np.round(np.clip(points_crop[part], -8.0 * size, 9.0 * size)).astype(np.int32)
        cv2.fillConvexPoly(out, cv2.convexHull(at), 1)
    return cv2.dilate(out, np.ones((3, 3), np.uint8))


class Matter:
    """Places mattes; holds the network and nothing of the pictures it saw."""

    def __init__(self, *, hair: bool = True, runner: Runner | None = None) -> None:
        """`hair`: look for `strands`. They may take the wing of a made-up eye for hair: a plate shows its own there, a persona would lose it."""
        self._runner, self._hair = runner or Session("matte"), hair

    def matte(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> tuple[UInt8[np.ndarray, "m m"], Float32[np.ndarray, "2 3"]]:
        """The matte (0..255: 255 is the performer's own face, 0 something in front or no face) and its placement."""
        to_px = px_from_crop(points_px)
        to_crop = cv2.invertAffineTransform(to_px.astype(np.float64))
        points_crop = points_px[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
        area = hull(points_crop)
        crop = sample_affine(rgb8, to_px, MATTE_SIZE)
        pixels = np.concatenate([crop.astype(np.float32).transpose(2, 0, 1), area[None].astype(np.float32)]) / 255
        alpha = self._runner.run({"crop": pixels[None]})["alpha"][0, 0]
        alpha = np.clip(alpha, 0, 1)
        if self._hair:
            alpha = alpha * (1 - strands(crop, pixels[3], alpha, points_crop))
        return np.round(255 * alpha).astype(np.uint8), to_px
