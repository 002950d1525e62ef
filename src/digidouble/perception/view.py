"""Pose from where points are in the picture alone: for turned heads, whose depth the mesh network flattens.

The network's z shrinks as a head turns, so a fit in three dimensions reads 45 degrees where a head has turned 60. The picture
does not lie in that way: with the person's own shape given, x and y of the near half say how far it is turned.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import face_model, vertex_normals
from digidouble.schema.pose import Pose

STEPS = 8
# Standard deviations of what is assumed about a change when the picture says nothing: radians, log of the size, cm.
TURN_PRIOR, SIZE_PRIOR, PLACE_PRIOR = 0.25, 0.12, 1.5
POINT_CM = 0.12  # of a point about its place; what the priors are weighed against
FURTHEST_CM = 0.25  # a point this far off counts a quarter (Geman & McClure 1987)


def moved(pose: Pose, change: Float[np.ndarray, "6"]) -> Pose:
    """`change`: rotation vector in camera axes, log of the size, centimetres to the right and up at the pose's own size."""
    rotation = cv2.Rodrigues(np.asarray(change[:3], np.float64))[0] @ pose.rotation
    place = pose.origin_px + pose.px_per_cm * np.array([change[4], -change[5], 0.0])
    return Pose(rotation, float(pose.px_per_cm * np.exp(change[3])), place)


def change_between(first: Pose, second: Pose) -> Float[np.ndarray, "6"]:
    """The change that makes the second pose of the first (inverse of `moved`)."""
    turn = cv2.Rodrigues(second.rotation @ first.rotation.T)[0][:, 0]
    place = (second.origin_px - first.origin_px)[:2] * [1, -1] / first.px_per_cm
    return np.array([*turn, np.log(second.px_per_cm / first.px_per_cm), *place])


def facing(pose: Pose, shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478"]:
    """Cosine between the skin's normals and the direction to the camera."""
    return vertex_normals(shape_cm @ pose.rotation.T, face_model().triangles)[:, 2]


def fit_view(
    px: Float[np.ndarray, "478 2"],
    shape_cm: Float[np.ndarray, "478 3"],
    weight: Float[np.ndarray, "478"],
    start: Pose,
    stiff: float = 0.05,
) -> tuple[Pose, float]:
    """(pose, rms residual in cm) of a shape from its points' places in the picture: Gauss-Newton, re-weighted robustly.

    `weight`: 0 for points that are hidden or unknown. `stiff`: how much the start is believed, in points; what the picture does
    not determine stays there.
    """
    prior = stiff * POINT_CM**2 / np.array([TURN_PRIOR] * 3 + [SIZE_PRIOR] + [PLACE_PRIOR] * 2) ** 2
    pose, use = start, np.flatnonzero(weight > 0)
    if len(use) < 6:
        return start, 9.0
    shape, seen, base = shape_cm[use].astype(np.float64), px[use].astype(np.float64), weight[use].astype(np.float64)
    off = np.zeros(len(use))
    for step in range(STEPS):
        x, y, z = (shape @ pose.rotation.T).T
        error = (seen - pose.origin_px[:2]) * [1, -1] / pose.px_per_cm - np.stack([x, y], -1)
        off = np.linalg.norm(error, axis=1)
        # From far away to near: the first steps must not throw out what a wrong start puts far off.
        limit = FURTHEST_CM * max(1.0, 4.0 - step)
        w = base / (1 + (off / limit) ** 2) ** 2
        zero, one = np.zeros_like(x), np.ones_like(x)
        across = np.stack([zero, z, -y, x, one, zero], -1)
        up = np.stack([-z, zero, x, y, zero, one], -1)
        gram = (across * w[:, None]).T @ across + (up * w[:, None]).T @ up + np.diag(prior)
        pull = (across * w[:, None]).T @ error[:, 0] + (up * w[:, None]).T @ error[:, 1]
        pull = pull - prior * change_between(start, pose)
        change = np.linalg.solve(gram, pull)
        change = change * min(1.0, 0.3 / max(float(np.abs(change[:4]).max()), 1e-9))
        pose = moved(pose, change)
        if np.abs(change).max() < 1e-4:
            break
    inner = base / (1 + (off / FURTHEST_CM) ** 2) ** 2
    return pose, float(np.sqrt((inner * off**2).sum() / max(float(inner.sum()), 1e-9)))
