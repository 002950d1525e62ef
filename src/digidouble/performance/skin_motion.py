"""How skin moved between two frames, measured in the pixels: what keeps tracked points from swimming on the face.

Both frames are cut to one upright crop by their own meshes, so that what is left to measure is small even when the head
is fast. Every mesh point is followed by pyramidal Lucas-Kanade (Bouguet 2001) to the later frame and back; a point that
does not come back, has no texture around it, or faces away says nothing. Neighbours help each other: the displacement
of a point is the mean of those around it, weighted by how well each is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.schema.mesh import camera_normals, face_model, upright_angle
from digidouble.schema.pose import umeyama

SIDE = 256  # of the crop; a face is about 150 of these pixels wide
MARGIN = 1.3  # crop side over the longer side of the mesh
WINDOW = 17
LEVELS = 2
SKIN_POINTS = 468  # irises slide under lids: they are left to the mesh
POINTS, NOSE_TIP = 478, 4
TIP_CM = 1.2
NEAR_CM, FAR_CM, FAR_SHARE = 0.7, 1.8, 0.02
FAR_TRUST = 0.6  # at most, in what the mesh errs around a point that is not measured itself
BACK_PX = 0.35  # crop pixels: a point that comes back this far from where it started counts 1/e
FAR_OFF_PX, ODD_PX = 1.2, 0.5  # crop pixels from where the mesh has a point, from what its neighbours do: counts half
TEXTURE = 2.0e-4  # smallest eigenvalue (OpenCV's normalisation, 0..255 grey over 255) at which a point counts half
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.01)


@dataclass(frozen=True)
class SkinView:
    """One frame of a face made comparable. px_from_crop: 2x3 similarity."""

    grey: UInt8[np.ndarray, "s s"]
    texture: Float32[np.ndarray, "s s"]
    px_from_crop: Float[np.ndarray, "2 3"]
    points_px: Float[np.ndarray, "478 3"]
    at: Float32[np.ndarray, "478 2"]


def skin_view(rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "478 3"]) -> SkinView:
    """The upright crop of a face and where its points lie in it."""
    low, high = points_px[:, :2].min(0), points_px[:, :2].max(0)
    angle = upright_angle(points_px)
    scale = max(float((high - low).max()), 1.0) * MARGIN / SIDE
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[c, -s], [s, c]])
    offset = (low + high) / 2 - linear @ np.full(2, (SIDE - 1) / 2)
    to_px = np.column_stack([linear, offset])
    grey = cv2.cvtColor(sample_affine(rgb8, to_px, SIDE), cv2.COLOR_RGB2GRAY)
    texture = cv2.cornerMinEigenVal(grey, WINDOW, ksize=3)
    return SkinView(grey, texture, to_px, points_px, _in_crop(points_px, to_px))


@lru_cache(maxsize=1)
def _near() -> Float32[np.ndarray, "p p"]:
    """How much the motion of one point says about that of another."""
    return _bell(NEAR_CM)


@lru_cache(maxsize=1)
def _far() -> Float32[np.ndarray, "478 p"]:
    """How much the error of the mesh at one point says about that at another: it changes slowly over the face."""
    return _bell(FAR_CM, POINTS) + FAR_SHARE


def _bell(sigma_cm: float, rows: int = SKIN_POINTS) -> Float32[np.ndarray, "r p"]:
    m = face_model().mean_cm
    d2 = ((m[:rows, None] - m[None, :SKIN_POINTS]) ** 2).sum(-1)
    return np.exp(-0.5 * d2 / sigma_cm**2).astype(np.float32)


@lru_cache(maxsize=1)
def firmness() -> Float32[np.ndarray, "p"]:
    """1 on skin that can be followed, down to 0 where its picture is not its own.

    Lids and inner lips slide, fold and vanish; at the contour the window is full of background; the highlight on the
    tip of the nose stays where the light is while the nose turns.
    """
    m = face_model()
    inner, outer = m.hole_cm[:SKIN_POINTS], m.rim_cm[:SKIN_POINTS]
    tip = np.exp(-0.5 * ((m.mean_cm[:SKIN_POINTS] - m.mean_cm[NOSE_TIP]) ** 2).sum(1) / TIP_CM**2)
    return np.clip((inner - 0.3) / 0.7, 0, 1) * np.clip((outer - 0.2) / 0.8, 0, 1) * (1 - 0.9 * tip)


def skin_motion(before: SkinView, after: SkinView) -> tuple[Float32[np.ndarray, "478 2"], Float32[np.ndarray, "478"]]:
    """(offset_px, weight): where the pixels say each point of `before` went, less where the mesh of `after` has it.

    weight: 0..1, how far the pixels are to be believed.
    """
    prior = firmness() * np.clip((camera_normals(before.points_px)[:SKIN_POINTS, 2] - 0.2) / 0.3, 0, 1)
    used = np.flatnonzero(prior > 0)
    offset, weight = np.zeros((POINTS, 2), np.float32), np.zeros(POINTS, np.float32)
    if len(used) < 8:
        return offset, weight
    start, turned = before.at[used], _turned(before, after)[used]
    there, ok_there = _followed(before.grey, after.grey, start, turned)
    back, ok_back = _followed(after.grey, before.grey, there, there + start - turned)
    miss = np.linalg.norm(back - start, axis=1)
    inside = np.clip(np.round(start), 0, SIDE - 1).astype(int)
    texture = before.texture[inside[:, 1], inside[:, 0]]
    own = (ok_there & ok_back) * np.exp(-miss / BACK_PX) * texture / (texture + TEXTURE) * prior[used]
    own = own / (1 + (np.linalg.norm(there - after.at[used], axis=1) / FAR_OFF_PX) ** 4)
    near, beyond = _near()[np.ix_(used, used)], there - turned
    around = _pooled(near, own, beyond)
    own = own / (1 + (np.linalg.norm(beyond - around, axis=1) / ODD_PX) ** 4)
    known, beyond = near @ own, _pooled(near, own, beyond)
    error = turned + beyond - after.at[used]  # crop pixels: the mesh's own change of error between the two frames
    trust = np.zeros(POINTS, np.float32)
    trust[used] = np.minimum(known / 0.5, 1) * prior[used]
    far = _far()[:, used]
    spread, offset = far @ own, _pooled(far, own, error)
    offset[used] += trust[used, None] * (error - offset[used])
    weight = np.maximum(trust, FAR_TRUST * np.minimum(spread / 3.0, 1))
    return (offset @ after.px_from_crop[:, :2].T).astype(np.float32), weight.astype(np.float32)


def placed(view: SkinView, points_px: Float[np.ndarray, "478 3"]) -> SkinView:
    """The same picture with the points elsewhere."""
    return replace(view, points_px=points_px, at=_in_crop(points_px, view.px_from_crop))


def followed_px(before: SkinView, after: SkinView) -> tuple[Float[np.ndarray, "478 2"], Float[np.ndarray, "478"]]:
    """(places in plate pixels, weight): where the pixels of every point of `before` are in the picture of `after`, whose points are
    only the guess to start from. weight: 0..1."""
    prior = firmness() * np.clip((camera_normals(before.points_px)[:SKIN_POINTS, 2] - 0.1) / 0.3, 0, 1)
    inside = ((before.at[:SKIN_POINTS] > 2) & (before.at[:SKIN_POINTS] < SIDE - 3)).all(1)
    used = np.flatnonzero((prior > 0) & inside)
    px, weight = np.zeros((POINTS, 2)), np.zeros(POINTS)
    if len(used) < 8:
        return px, weight
    start, guess = np.ascontiguousarray(before.at[used]), np.ascontiguousarray(after.at[used])
    there, ok_there = _followed(before.grey, after.grey, start, guess)
    back, ok_back = _followed(after.grey, before.grey, there, there + start - guess)
    miss = np.linalg.norm(back - start, axis=1)
    cell = np.clip(np.round(start), 0, SIDE - 1).astype(int)
    texture = before.texture[cell[:, 1], cell[:, 0]]
    weight[used] = (ok_there & ok_back) * np.exp(-miss / BACK_PX) * texture / (texture + TEXTURE) * prior[used]
    px[used] = there @ after.px_from_crop[:, :2].T + after.px_from_crop[:, 2]
    return px, weight


def _pooled(
    near: Float32[np.ndarray, "a b"], weight: Float[np.ndarray, "b"], x: Float32[np.ndarray, "b 2"]
) -> Float[np.ndarray, "a 2"]:
    return (near @ (weight[:, None] * x)) / np.maximum(near @ weight, 1e-6)[:, None]


def _turned(before: SkinView, after: SkinView) -> Float32[np.ndarray, "478 2"]:
    """Where the points would be in the later crop had the head moved without the face: what remains varies slowly."""
    a, b = before.points_px.astype(np.float64), after.points_px.astype(np.float64)
    rotation, scale, offset = umeyama(a, b, np.ones(len(a)))
    return _in_crop(scale * a @ rotation.T + offset, after.px_from_crop)


def _in_crop(points_px: Float[np.ndarray, "n 3"], px_from_crop: Float[np.ndarray, "2 3"]) -> Float32[np.ndarray, "n 2"]:
    linear, offset = px_from_crop[:, :2], px_from_crop[:, 2]
    return ((points_px[:, :2] - offset) @ np.linalg.inv(linear).T).astype(np.float32)


def _followed(
    a: UInt8[np.ndarray, "s s"],
    b: UInt8[np.ndarray, "s s"],
    points: Float32[np.ndarray, "p 2"],
    guess: Float32[np.ndarray, "p 2"],
) -> tuple[Float32[np.ndarray, "p 2"], Bool[np.ndarray, " p"]]:
    size, flags = (WINDOW, WINDOW), cv2.OPTFLOW_USE_INITIAL_FLOW
    found, ok, _ = cv2.calcOpticalFlowPyrLK(
        a, b, points, guess.copy(), winSize=size, maxLevel=LEVELS, criteria=_CRITERIA, flags=flags
    )
    return found, ok[:, 0] > 0
