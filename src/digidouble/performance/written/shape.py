"""The written face over a plate's: one frame of acting and one frame of a track to a mesh in plate pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32

from digidouble.perception.lids import lid_gaps, with_lid_gaps
from digidouble.perception.shape import LIP_GAP_CM, lips_shut
from digidouble.schema.acting import Acting
from digidouble.schema.mesh import EYE_CORNERS, face_model
from digidouble.schema.pose import Pose
from digidouble.schema.track import FaceTrack

NECK_CM = np.array([0.0, -9.5, -8.5])  # about which a head turns, from between the eyes: the joint under the skull
EYEBALL_CM = 1.2
UPPER_LID = 0.85  # of a blink's way
LIP_REACH_CM = 1.3
LEAST_SHUT_CM = 0.0
LEAST_AREA, UNFOLD_ROUNDS = 0.12, 10  # of a triangle's area in the neutral face
WIDEST_EYE, EYE_CM = 1.32, 0.25  # of the plate's opening, which is at least EYE_CM
PLATE_BROWS = 0.3  # of a footage plate's own brow movements that stay
UPPER_LIP = np.array([191, 80, 81, 82, 13, 312, 311, 310, 415])
LOWER_LIP = np.array([95, 88, 178, 87, 14, 317, 402, 318, 324])
BOTH_IRISES = (np.arange(468, 473), np.arange(473, 478))


@dataclass(frozen=True)
class Written:
    """One frame: `points_px` the mesh on the plate, `source_px` the plate's own mesh that it takes the place of, `pose`, and the
    muscle actions it stands for."""

    points_px: Float32[np.ndarray, "478 3"]
    source_px: Float32[np.ndarray, "478 3"]
    pose: Pose
    actions: Float[np.ndarray, " a"]
    gaze_deg: Float[np.ndarray, "2"]


@lru_cache(maxsize=1)
def of_lids() -> Bool[np.ndarray, " a"]:
    """Columns that move the lids."""
    return np.array(["lid_" in n for n in face_model().action_names])


@lru_cache(maxsize=1)
def of_brows() -> Bool[np.ndarray, " a"]:
    """Columns that move the brows."""
    return np.array(["brow" in n for n in face_model().action_names])


def written(track: FaceTrack, index: int, acting: Acting, row: int, still: bool) -> Written:
    """Frame `row` of the acting over plate frame `index`. `still`: the plate is a portrait, its eyes and head are moved too;
    footage keeps its own gaze, blinks and head.
    """
    model, r = face_model(), track.row(index)
    source = track.sample(index).points_px
    pose = track.pose(index)
    seen = pose.head_from_px(source.astype(np.float64))
    own = track.actions[r].astype(np.float64)
    asked = acting.actions[row].astype(np.float64).copy()
    if not still:
        asked[of_lids()] += own[of_lids()]
        asked[of_brows()] += PLATE_BROWS * own[of_brows()]
    # What the basis does not explain is the person (a portrait) or the tracker's noise; both stay.
    shape = seen + np.tensordot(asked - own, model.action_fields_cm.astype(np.float64), 1)
    neutral = track.neutral_cm.astype(np.float64)
    shape = unfolded(shape, neutral, corners())
    shape = _with_lids(shape, seen, asked, float(acting.blink[row]) if still else 0.0)
    shape = with_lips(shape, float(acting.closure[row]))
    shape = unfolded(shape, neutral, rims())
    gaze = track.gaze_deg[r].astype(np.float64)
    if still:
        turned = gaze + acting.gaze_deg[row]
        for ring, ends in zip(BOTH_IRISES, EYE_CORNERS, strict=True):
            corners_at = list(ends)  # muscle actions move the corners a little; the eyeball goes with them
            socket = (shape[corners_at] - seen[corners_at]).mean(0)[:2]
            shape[ring, :2] = (
                seen[ring, :2] + socket + EYEBALL_CM * (np.sin(np.radians(turned)) - np.sin(np.radians(gaze)))
            )
        gaze, pose = turned, moved(pose, acting.head_deg[row], acting.head_cm[row])
    else:
        for ring in BOTH_IRISES:
            shape[ring] = seen[ring]
    return Written(pose.px_from_head(shape).astype(np.float32), source, pose, asked, gaze)


def _with_lids(
    shape: Float[np.ndarray, "478 3"], seen: Float[np.ndarray, "478 3"], asked: Float[np.ndarray, " a"], blink: float
) -> Float[np.ndarray, "478 3"]:
    """Lids that never cross, and shut as far as a blink wants. `asked` 1 for lid_close is an eye shut by itself."""
    gaps = np.maximum(lid_gaps(shape), 0.0)
    names = face_model().action_names
    for side, stem in ((0, "lid_close_R"), (1, "lid_close_L")):
        (column,) = [k for k, n in enumerate(names) if n.startswith(stem)]
        shut = float(np.clip((asked[column] - 0.5) / 0.45, 0, 1))
        gaps[7 * side : 7 * side + 7] *= 1 - shut * shut * (3 - 2 * shut)
    gaps = np.minimum(gaps, widest_gaps(seen))
    out = with_lid_gaps(shape, gaps)
    return with_lid_gaps(out, gaps * (1 - blink), UPPER_LID) if blink > 0 else out


def widest_gaps(seen: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "14"]:
    """How far eyes may open: somewhat further than both on the plate on the mean. Where a portrait screws up one eye, fear would else tear
    open the other alone."""
    gaps = np.maximum(lid_gaps(seen), EYE_CM).reshape(2, -1)
    wide = gaps.max(1, keepdims=True)
    return np.maximum(WIDEST_EYE * gaps * wide.mean() / wide, gaps).reshape(-1)


@lru_cache(maxsize=1)
def rims() -> Bool[np.ndarray, "478"]:
    """Points on the contours of lids and inner lips, and the irises: where they are is settled."""
    model, out = face_model(), np.zeros(478, bool)
    for loop in ("inner_lips", "left_eye", "right_eye"):
        out[model.loops[loop]] = True
    out[468:] = True
    return out | corners()


@lru_cache(maxsize=1)
def corners() -> Bool[np.ndarray, "478"]:
    """The corners of the mouth: what is around them gives way to them, not they to it."""
    out = np.zeros(478, bool)
    out[[61, 76, 62, 78, 291, 306, 292, 308]] = True
    return out


@lru_cache(maxsize=1)
def _neighbours() -> Float[np.ndarray, "478 478"]:
    """Row: the mean over a point's neighbours and itself, along the skin."""
    near = np.eye(478)
    for a, b, c in face_model().triangles:
        for i, j in ((a, b), (b, c), (c, a)):
            near[i, j] = near[j, i] = 1.0
    return near / near.sum(1, keepdims=True)


def _areas(shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " t"]:
    """Twice the area of every triangle as seen from in front, below 0 where it is seen from behind."""
    p = shape_cm[face_model().triangles][..., :2]
    u, v = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def unfolded(
    shape_cm: Float[np.ndarray, "478 3"],
    neutral_cm: Float[np.ndarray, "478 3"],
    fixed: Bool[np.ndarray, "478"] | None = None,
) -> Float[np.ndarray, "478 3"]:
    """The shape without triangles that fold over or shrink to nothing: around them, points move as their neighbours do.

    Muscle actions are linear and several together can push a ring of points past the next one; what folds shades black.
    """
    rest, triangles = _areas(neutral_cm), face_model().triangles
    front = rest > 0.004
    out = shape_cm
    for _ in range(UNFOLD_ROUNDS):
        bad = front & (_areas(out) < LEAST_AREA * rest)
        if not bad.any():
            break
        touched = np.zeros(478)
        touched[np.unique(triangles[bad])] = 1.0
        touched = np.minimum(_neighbours() @ touched * 4, 1.0)
        if fixed is not None:
            touched = touched * ~fixed
        change = out - neutral_cm
        out = out + touched[:, None] * (_neighbours() @ change - change)
    return out


@lru_cache(maxsize=1)
def _lip_weights() -> Float32[np.ndarray, "478 9"]:
    """How far each point goes with each pair of inner-lip points: above 0 with the upper lip, below with the lower one."""
    m = face_model()
    place = m.mean_cm
    out = np.zeros((478, 9), np.float32)
    for lip, sign in ((UPPER_LIP, 1.0), (LOWER_LIP, -1.0)):
        far = np.linalg.norm(place[:468, None] - place[None, lip], axis=2)
        # A point belongs to the lip it is nearer to.
        mine = far.min(1) <= np.linalg.norm(
            place[:468, None] - place[None, UPPER_LIP if sign < 0 else LOWER_LIP], axis=2
        ).min(1)
        reach = np.clip(1 - far.min(1) / LIP_REACH_CM, 0, 1) * mine
        w = np.exp(-0.5 * (np.abs(place[:468, None, 0] - place[None, lip, 0]) / 0.3) ** 2)
        out[:468] += (
            sign
            * (reach * reach * (3 - 2 * reach))[:, None]
            * (w / (w.sum(1, keepdims=True) + 1e-3)).astype(np.float32)
        )
    return out


def lip_gaps(shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "9"]:
    """Between inner-lip points above each other, the subject's right to left; below 0 where lips cross."""
    return shape_cm[UPPER_LIP, 1] - shape_cm[LOWER_LIP, 1]


def with_lips(shape_cm: Float[np.ndarray, "478 3"], closure: float) -> Float[np.ndarray, "478 3"]:
    """Lips that never cross, and are shut as far as `closure` (0..1) wants: the jaw gives way first, then the lips meet."""
    out = shape_cm.astype(np.float64)
    if closure > 0:
        out = lips_shut(out[None], np.array([closure]))[0]
    for _ in range(2):
        gaps = lip_gaps(out)
        wanted = np.maximum(gaps, LEAST_SHUT_CM)
        wanted = wanted + closure * (np.minimum(wanted, LIP_GAP_CM * 0.6) - wanted)
        out[:, 1] += 0.5 * _lip_weights() @ (wanted - gaps)
    return out


def moved(pose: Pose, head_deg: Float[np.ndarray, "3"], head_cm: Float[np.ndarray, "2"]) -> Pose:
    """A pose turned by (yaw, pitch, roll) about the neck, in the head's own axes, and shifted."""
    yaw, pitch, roll = np.radians(head_deg)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(-pitch), np.sin(-pitch), np.cos(roll), np.sin(roll)
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turn = turn_z @ turn_x @ turn_y
    offset = NECK_CM - turn @ NECK_CM + np.array([head_cm[0], head_cm[1], 0.0])
    origin = pose.px_from_head(offset[None].astype(np.float64))[0]
    return Pose(pose.rotation @ turn, pose.px_per_cm, origin)
