"""Head pose. `px_from_head` is a scaled-orthographic camera, which is what a 478-point mesh can tell; `cam_from_head` states the
same pose for a pinhole camera of a given focal length.

Camera axes are those of a compositor: x right, y up, z towards the viewer. Euler angles: yaw > 0 turns to the subject's left,
pitch > 0 looks up, roll > 0 tilts towards the subject's right shoulder as seen turning counter-clockwise in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import FLIP_YZ, RIGID


@dataclass(frozen=True)
class Pose:
    """rotation: camera axes from head axes. px_per_cm: scale at the head. origin_px: where the head's origin is, z included."""

    rotation: Float[np.ndarray, "3 3"]
    px_per_cm: float
    origin_px: Float[np.ndarray, "3"]

    def px_from_head(self, head_cm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Head centimetres to pixels (z in the scale of x, smaller is nearer)."""
        return self.origin_px + self.px_per_cm * (head_cm @ self.rotation.T) * FLIP_YZ

    def head_from_px(self, px: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Inverse of `px_from_head`."""
        return ((px - self.origin_px) * FLIP_YZ / self.px_per_cm) @ self.rotation

    def cam_from_head(self, f_px: float, size_wh: tuple[int, int]) -> Float[np.ndarray, "4 4"]:
        """4x4 in centimetres for a pinhole camera with focal length `f_px` and its axis through the picture's centre."""
        distance = f_px / self.px_per_cm
        x = (self.origin_px[0] - size_wh[0] / 2) / self.px_per_cm
        y = -(self.origin_px[1] - size_wh[1] / 2) / self.px_per_cm
        out = np.eye(4)
        out[:3, :3] = self.rotation
        out[:3, 3] = x, y, -distance
        return out

    @property
    def euler_deg(self) -> tuple[float, float, float]:
        """(yaw, pitch, roll) in degrees; rotation = Rz(roll) Rx(-pitch) Ry(yaw)."""
        r = self.rotation
        pitch = np.arcsin(np.clip(-r[2, 1], -1, 1))
        yaw = np.arctan2(-r[2, 0], r[2, 2])
        roll = np.arctan2(-r[0, 1], r[1, 1])
        return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def umeyama(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "3 3"], float, Float[np.ndarray, "3"]]:
    """Rotation, scale, offset of the similarity target ~ scale * rotation @ source + offset (Umeyama 1991, weighted)."""
    w = weights / weights.sum()
    ms, mt = w @ source, w @ target
    a, b = source - ms, target - mt
    u, s, vt = np.linalg.svd((b * w[:, None]).T @ a)
    d = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * d) @ vt
    scale = float((s * d).sum() / (w @ (a**2).sum(1)))
    return rotation, scale, mt - scale * rotation @ ms


def fit_pose(points_px: Float[np.ndarray, "478 3"], neutral_cm: Float[np.ndarray, "478 3"]) -> Pose:
    """Pose of a tracked mesh against a neutral face: similarity on the least moving points, re-weighted (Huber, 3 rounds)."""
    seen = (points_px * FLIP_YZ)[RIGID].astype(np.float64)
    model = neutral_cm[RIGID].astype(np.float64)
    rotation, scale, offset = umeyama(model, seen, np.ones(len(RIGID)))
    for _ in range(2):
        error = np.linalg.norm(seen - scale * model @ rotation.T - offset, axis=1) / max(scale, 1e-6)
        weights = 1 / np.maximum(1, error / 0.25)  # a quarter of a centimetre is the noise of a rigid point
        rotation, scale, offset = umeyama(model, seen, weights)
    return Pose(rotation, scale, offset * FLIP_YZ)
