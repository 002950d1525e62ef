"""What a set of meshes of one person says about the person (neutral shape) and about each moment (muscle actions).

Model: shape = mean + identity modes * a + action fields * e + noise, Gaussian priors on a and e (fitted by `training/shape`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import IRIS_DIAMETER_CM, face_model
from digidouble.schema.pose import Pose, fit_pose, umeyama

NOISE_CM = 0.12  # of a mesh point, about its place under the model
ACTION_PRIOR = 0.35  # standard deviation of a coefficient; 1 is the 99th percentile of real clips
FEW_LOOKS = 6  # from as many on habits are told from the face, from twice as many they are in full
JAW = "jaw_drop_AU26/jaw_clench"
CLENCH = 0.6  # the share of a jaw shut beyond rest that is the person's: with all of it corners of lips hang
HABITS = ("brow", "lid_", "lip_corner", "lip_stretch", "cheek", "nose")  # a mouth that is never shut is no habit
LIP_GAP_CM = 0.05  # inner lips of a closed mouth, as the tracker sees them


def head_shapes(
    points_px: Float[np.ndarray, "n 478 3"], neutral_cm: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "n 478 3"]:
    """Every mesh in the head frame of a given neutral, pose and size removed."""
    return np.stack([fit_pose(p, neutral_cm).head_from_px(p) for p in points_px])


def actions_of(
    shapes: Float[np.ndarray, "n 478 3"], neutral_cm: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "n a"]:
    """Muscle-action coefficients (signed, about -1..1): ridge projection on the action fields."""
    fields = face_model().action_fields_cm.astype(np.float64)
    e = fields.reshape(len(fields), -1)
    gram = e @ e.T + (NOISE_CM / ACTION_PRIOR) ** 2 * np.eye(len(e))
    d = (shapes - neutral_cm).reshape(len(shapes), -1)
    return np.linalg.solve(gram, e @ d.T).T


def _map_neutral(shapes: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "478 3"]:
    """Maximum a posteriori neutral with a free residual: identity first, then what the actions do not explain."""
    m = face_model()
    b = m.identity_modes_cm.reshape(len(m.identity_modes_cm), -1).astype(np.float64)
    e = m.action_fields_cm.reshape(len(m.action_fields_cm), -1).astype(np.float64)
    d = (shapes - m.mean_cm).reshape(len(shapes), -1).mean(0)
    inner = np.linalg.inv(e @ e.T + (NOISE_CM / ACTION_PRIOR) ** 2 * np.eye(len(e)))

    def without_actions(v: Float[np.ndarray, "r c"]) -> Float[np.ndarray, "r c"]:
        return v - (v @ e.T) @ inner @ e

    db = without_actions(b)
    a = np.linalg.solve(b @ db.T + NOISE_CM**2 / len(shapes) * np.eye(len(b)), db @ d)
    rest = d - a @ b
    return m.mean_cm + (d - (rest @ e.T) @ inner @ e).reshape(-1, 3)


def neutral_from(points_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "478 3"]:
    """The neutral face of one person in centimetres from meshes in any pose and expression.

    The most relaxed third of the meshes decides; lips are closed by what faces do when lips close. Size: the tracker's
    iris diameter against the anatomical one, median over the meshes.
    """
    m = face_model()
    points = points_px.astype(np.float64)
    neutral = m.mean_cm.astype(np.float64)
    chosen = points
    for _ in range(3):
        shapes = head_shapes(points, neutral)
        if len(points) > 8:
            effort = np.abs(actions_of(shapes, neutral)).mean(1)
            shapes = shapes[np.argsort(effort, kind="stable")[: max(8, len(points) // 3)]]
        chosen = shapes
        neutral = _shut(_map_neutral(chosen))
    return (neutral * iris_scale(points, neutral)).astype(np.float32)


def _shut(neutral_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """With LIP_GAP_CM between its lips."""
    gap = float((neutral_cm[[13, 82, 312], 1] - neutral_cm[[14, 87, 317], 1]).mean()) - LIP_GAP_CM
    return neutral_cm + gap * face_model().closing_field_cm


def lips_shut(shapes: Float[np.ndarray, "n 478 3"], closure: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 478 3"]:
    """Head-frame meshes whose lips are brought together by what faces do when lips close: `closure` 1 leaves LIP_GAP_CM between the inner
    lips, 0 all there was. Lips that are closer than that stay as they are."""
    gap = (shapes[:, [13, 82, 312], 1] - shapes[:, [14, 87, 317], 1]).mean(1) - LIP_GAP_CM
    by = np.maximum(gap, 0) * np.clip(closure, 0, 1)
    return (shapes + by[:, None, None] * face_model().closing_field_cm).astype(shapes.dtype)


def without_habit(
    neutral_cm: Float[np.ndarray, "478 3"], points_px: Float[np.ndarray, "n 478 3"]
) -> Float[np.ndarray, "478 3"]:
    """The neutral with that part of an expression which no look is without, and with jaws no further shut than teeth allow.

    A jaw that every look, even a single one, reads as shut beyond rest (lips thinner, chin higher) is the person's, for the most part:
    nothing closes a closed mouth. Taken for an action, it gave a thin-lipped sitter lips a third thicker.
    One look does not tell high brows from raised ones, and `neutral_from` calls both raised. Over many looks the level to which
    a muscle always comes back is the person's face. Only for personas: a shot may well be one emotion from end to end.
    """
    trust = float(np.clip((len(points_px) - FEW_LOOKS) / FEW_LOOKS, 0, 1))
    actions = actions_of(head_shapes(points_px.astype(np.float64), neutral_cm), neutral_cm)
    low, high = np.quantile(actions, [0.1, 0.9], axis=0)
    m = face_model()
    habits = [any(part in name for part in HABITS) for name in m.action_names]
    level = trust * np.where(habits, np.clip(0, low, high), 0)
    face, jaw = neutral_cm + np.tensordot(level, m.action_fields_cm, 1), m.action_names.index(JAW)
    clench = CLENCH * min(float(high[jaw]), 0.0)
    if trust == 0 and clench == 0:
        return neutral_cm
    return (_shut(face + clench * m.action_fields_cm[jaw]) if clench else face).astype(np.float32)


def iris_scale(points_px: Float[np.ndarray, "n 478 3"], neutral_cm: Float[np.ndarray, "478 3"]) -> float:
    """Factor that makes a neutral metric: anatomical iris diameter over the one it has now; kept within 15 %."""
    sizes = []
    for p in points_px:
        iris_px = 0.5 * (np.linalg.norm(p[469, :2] - p[471, :2]) + np.linalg.norm(p[474, :2] - p[476, :2]))
        pose = fit_pose(p, neutral_cm)
        across = np.hypot(pose.rotation[0, 0], pose.rotation[1, 0])  # foreshortening of the iris by yaw
        sizes.append(iris_px / pose.px_per_cm / max(across, 0.5))
    return float(np.clip(IRIS_DIAMETER_CM / np.median(sizes), 0.85, 1.15))


def proportions_onto(
    persona_cm: Float[np.ndarray, "478 3"], plate_cm: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "478 3"]:
    """The persona's neutral moved, turned and scaled to sit best on the plate's: proportions differ, place and size do not."""
    skin = np.ones(468)
    rotation, scale, offset = umeyama(persona_cm[:468].astype(np.float64), plate_cm[:468].astype(np.float64), skin)
    return scale * persona_cm @ rotation.T + offset


def pose_and_shape(
    points_px: Float[np.ndarray, "478 3"], neutral_cm: Float[np.ndarray, "478 3"]
) -> tuple[Pose, Float[np.ndarray, "478 3"]]:
    """Pose of a mesh, and the mesh in that head frame."""
    pose = fit_pose(points_px, neutral_cm)
    return pose, pose.head_from_px(points_px)
