"""Heads that turn away: the track goes on where the mesh network no longer knows the face.

From about 45 degrees on the network reads every turn as that, and past 70 it guesses. What still tells the turn is how the skin of
the near half moves: from frame to frame its points are followed in the picture (`skin_motion.followed_px`), and the change of
pose is what moves the person's own shape (of the most frontal frame so far) along with them. In the first pass (`Turning`) this runs
forward; afterwards `unfolded` ties the same steps, in least squares, to the looks of the network before and after the turn, so that
what drifts on the way out is taken back on the way in.

A reading of the network counts by how well its looks agree and by the turn it reads. One that reads less than the head has turned
counts least (it saturates); one that reads more counts fully.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.shape import ACTION_PRIOR, NOISE_CM
from digidouble.perception.view import change_between, facing, fit_view, moved
from digidouble.performance.skin_motion import SkinView, followed_px, placed, skin_view
from digidouble.performance.smooth import convolved
from digidouble.schema.mesh import face_model
from digidouble.schema.pose import Pose, fit_pose
from digidouble.schema.ramp import smoothstep

START_DEG, FULL_DEG = 38.0, 50.0  # turn from which the person's shape shares in the mesh, and from which it is the mesh
SURE_DEG, SATURATED_DEG = 27.0, 38.0  # turns the network reads: believed, and only as a lower bound
AWAY_DEG = 24.0  # from here on steps are followed
NEARLY_FRONTAL_DEG = 12.0  # up to here depth and picture agree
LEAST_SURE = 0.004
STEP_NOISE = 0.03  # variance of a step against that of a sure reading
SHIFT_DEG = (8.0, 18.0)  # reading and pose this far apart: the mesh is no longer the network's
LEAST_POINTS, MANY_POINTS = 4.0, 20.0  # followed points, weighted: lost below, well known above
LOOSE_CM = 0.12  # rms of followed points about the moved shape at which a step is half believed
STEP_KEEPS, LOST_KEEPS = 0.998, 0.8  # of the certainty a carried frame inherits
BELL = np.exp(-0.5 * (np.arange(-4, 5) / 2.0) ** 2)
BELL /= BELL.sum()
BRIEF = np.array([0.06, 0.24, 0.4, 0.24, 0.06])  # mouths are fast


def turn_deg(pose: Pose) -> float:
    """How far a head looks away from the camera, to the side."""
    return float(np.degrees(np.arctan2(abs(pose.rotation[0, 2]), pose.rotation[2, 2])))


def eased(x: float) -> float:
    """0 below 0, 1 above 1, cubic between."""
    return float(smoothstep(np.asarray(x)))


def sureness(read_deg: float, believed_deg: float, steady: float) -> float:
    """0..1, how far a reading of the network counts against what the skin's motion says."""
    sure = 1 - (1 - LEAST_SURE) * eased((read_deg - SURE_DEG) / (SATURATED_DEG - SURE_DEG))
    if read_deg > believed_deg:  # it never reads more than there is
        sure = max(sure, 0.5)
    return float(steady * sure)


def near_weight(pose: Pose, shape_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478"]:
    """0..1, which of the network's points tell the turn: skin that faces the camera, away from the contour."""
    out = np.clip((facing(pose, shape_cm) - 0.1) / 0.3, 0, 1) * np.clip((face_model().rim_cm - 0.3) / 1.0, 0.05, 1)
    out[468:] = 0
    return out


@dataclass(frozen=True)
class Carried:
    """One frame of a turned head.

    share: 0..1 of the person's shape in `points`. read: the network's mesh (or `points`). sure: of the reading.
    step: see `perception.view.moved`, from the frame before to this
    one; tied: 0..1, how sure the step is. score: what the track's certainty becomes.
    """

    points: Float32[np.ndarray, "478 3"]
    read: Float32[np.ndarray, "478 3"]
    score: float
    share: float
    sure: float
    step: Float[np.ndarray, "6"]
    tied: float


class Turning:
    """A run's pose from frame to frame. Frontal frames only refresh the shape."""

    def __init__(self, points_px: Float32[np.ndarray, "478 3"]) -> None:
        self.pose = fit_pose(points_px, face_model().mean_cm)
        self.shape: Float[np.ndarray, "478 3"] = self.pose.head_from_px(points_px)
        self._least_deg = turn_deg(self.pose)
        self._motion = np.zeros(6)
        self._variance, self._certainty = 1.0, 1.0

    @property
    def away(self) -> bool:
        """Whether the head is turned so far that steps must be followed."""
        return turn_deg(self.pose) >= AWAY_DEG and self._least_deg < SATURATED_DEG

    def seen(self, points_px: Float32[np.ndarray, "478 3"], score: float) -> None:
        """A frame in which the network is believed."""
        pose = fit_pose(points_px, self.shape)
        read, deg = pose, turn_deg(pose)
        if deg > NEARLY_FRONTAL_DEG:
            read, _ = fit_view(points_px[:, :2], self.shape, near_weight(pose, self.shape), pose)
            deg = turn_deg(read)
        if score > 0.9 and deg < max(self._least_deg, NEARLY_FRONTAL_DEG):
            self.shape, self._least_deg = pose.head_from_px(points_px), deg
            read = pose
        self._motion, self.pose = change_between(self.pose, read), read
        self._variance, self._certainty = 1.0, score

    def guess(self) -> Float32[np.ndarray, "478 3"]:
        """Where the head is heading: its points in the next frame."""
        return self._ahead().px_from_head(self.shape).astype(np.float32)

    def _ahead(self) -> Pose:
        motion = 0.8 * self._motion
        return moved(self.pose, np.clip(motion, -0.25, 0.25))

    def carried(
        self, before: SkinView, rgb8: np.ndarray, read_px: Float32[np.ndarray, "478 3"] | None, score: float
    ) -> Carried | None:
        """The next frame of a turned head; None where neither network nor skin knows where it is.

        `read_px`: the network's mesh where it is plausible, `score` its certainty.
        """
        ahead = self._ahead()
        here = self.pose.px_from_head(self.shape).astype(np.float32)
        after = skin_view(rgb8, self.guess())
        px, weight = followed_px(placed(before, here), after)
        weight = weight * np.clip((facing(self.pose, self.shape) - 0.1) / 0.3, 0, 1)
        by_skin, loose = fit_view(px, self.shape, weight, ahead, stiff=2.0)
        known = float(np.clip((weight.sum() - LEAST_POINTS) / (MANY_POINTS - LEAST_POINTS), 0, 1))
        tied = known / (1 + (loose / LOOSE_CM) ** 4)
        if tied < 0.02 and read_px is None:
            return None
        step = change_between(self.pose, by_skin)
        spread = self._variance + STEP_NOISE / max(tied, 0.02)
        pose, sure, share = by_skin, 0.0, 1.0
        if read_px is not None:
            start = fit_pose(read_px, self.shape)
            read, _ = fit_view(read_px[:, :2], self.shape, near_weight(by_skin, self.shape), start)
            off = change_between(by_skin, read)
            apart = float(np.degrees(np.linalg.norm(off[:3])))
            sure = sureness(turn_deg(read), turn_deg(by_skin), score)
            gain = spread * sure / (spread * sure + 1)
            pose, spread = moved(by_skin, gain * off), spread * (1 - gain)
            beyond = eased((apart * (1 - gain) - SHIFT_DEG[0]) / (SHIFT_DEG[1] - SHIFT_DEG[0]))
            share = max(eased((turn_deg(pose) - START_DEG) / (FULL_DEG - START_DEG)), beyond)
        inherited = self._certainty * (LOST_KEEPS + (STEP_KEEPS - LOST_KEEPS) * min(4 * tied, 1.0))
        self._certainty = max(inherited, score * (1 - share) if read_px is not None else 0.0)
        self._motion, self.pose, self._variance = change_between(self.pose, pose), pose, min(spread, 50.0)
        own = pose.px_from_head(self.shape).astype(np.float32)
        points = own if read_px is None else (share * own + (1 - share) * _level(read_px, own)).astype(np.float32)
        return Carried(points, points if read_px is None else read_px, self._certainty, share, sure, step, tied)

    def covered(self) -> None:
        """Something stands in front of the near half: what is followed may be it."""
        self._certainty *= LOST_KEEPS


def _level(px: Float[np.ndarray, "478 3"], like: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """A mesh with its mean depth moved to another's: only differences within a mesh mean anything."""
    return px + np.array([0.0, 0.0, float(like[:, 2].mean() - px[:, 2].mean())])


# --- afterwards, both ways -------------------------------------------------------------------------------------------


def unfolded(records: np.ndarray, neutral_cm: Float[np.ndarray, "478 3"]) -> np.ndarray:
    """Records of consecutive frames with the meshes of turned heads made anew from both sides; others are left as they are.

    pose: least squares over readings (`sure`) and steps (`tied`). shape: the person's neutral under the muscle actions that explain the
    near half of what the network saw, steadied over time. `carried` is corrected for what the points moved.
    """
    share = convolved(records["share"].astype(np.float64), BELL).clip(0, 1)
    share[share < 1e-3] = 0
    if not share.any():
        return records
    poses = _poses(records, neutral_cm)
    reach = len(BELL) // 2
    around = np.convolve(share > 0, np.ones(2 * reach + 1), "same") > 0
    shapes = _shapes(records, poses, neutral_cm, set(np.flatnonzero(around).tolist()))
    out = records.copy()
    for i in np.flatnonzero(share > 0):
        own = poses[i].px_from_head(shapes[i])
        seen = _level(records["seen"][i].astype(np.float64), own) if records["sure"][i] > 0 else own
        out["points"][i] = share[i] * own + (1 - share[i]) * seen
    slipped = (out["points"] - records["points"])[..., :2]
    steps = np.diff(slipped, axis=0, prepend=slipped[:1])
    out["carried"] = np.clip(records["carried"] - steps, -999, 999)
    return out


def _poses(records: np.ndarray, neutral_cm: Float[np.ndarray, "478 3"]) -> list[Pose]:
    """Poses against the neutral that readings and steps agree upon."""
    forward: list[Pose] = []
    off, sure = np.zeros((len(records), 6)), np.zeros(len(records))
    for i, r in enumerate(records):
        start = fit_pose(r["points"], neutral_cm)
        pose, _ = fit_view(r["points"][:, :2], neutral_cm, near_weight(start, neutral_cm), start)
        forward.append(pose)
        if r["share"] <= 0:
            sure[i] = 1.0
        elif r["sure"] > 0:
            read, _ = fit_view(r["seen"][:, :2], neutral_cm, near_weight(pose, neutral_cm), pose)
            off[i] = change_between(pose, read)
            sure[i] = sureness(turn_deg(read), turn_deg(pose), 1.0) * min(1.0, float(r["sure"]) / LEAST_SURE)
    step, link = np.zeros((len(records), 6)), np.zeros(len(records))
    for i in range(1, len(records)):
        if records["tied"][i] > 0:
            step[i] = records["step"][i] - change_between(forward[i - 1], forward[i])
            link[i] = records["tied"][i] / STEP_NOISE
        elif records["share"][i] <= 0:
            link[i] = 0.05
    u = _agreed(off, sure + 1e-4, step, link)
    return [moved(p, c) for p, c in zip(forward, u, strict=True)]


def _agreed(
    at: Float[np.ndarray, "n c"],
    weight: Float[np.ndarray, "n"],
    step: Float[np.ndarray, "n c"],
    link: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n c"]:
    """u of min sum weight |u_t - at_t|^2 + link_t |u_t - u_(t-1) - step_t|^2 (tridiagonal)."""
    later = np.append(link[1:], 0.0)
    right = weight[:, None] * at + link[:, None] * step
    right[:-1] -= link[1:, None] * step[1:]
    return np.linalg.solve(np.diag(weight + link + later) - np.diag(link[1:], 1) - np.diag(link[1:], -1), right)


def _shapes(
    records: np.ndarray, poses: list[Pose], neutral_cm: Float[np.ndarray, "478 3"], wanted: set[int]
) -> Float[np.ndarray, "n 478 3"]:
    """The neutral under the actions that the near half shows; where the network guesses, its neighbours in time say."""
    fields = face_model().action_fields_cm.astype(np.float64)
    ridge = (NOISE_CM / ACTION_PRIOR) ** 2 * np.eye(len(fields))
    actions, trust = np.zeros((len(records), len(fields))), np.zeros(len(records))
    for i, (r, pose) in enumerate(zip(records, poses, strict=True)):
        if i not in wanted or (r["sure"] <= 0 and r["share"] > 0):
            continue
        seen = r["seen"] if r["share"] > 0 else r["points"]
        weight = near_weight(pose, neutral_cm)
        # The network's own idea of the turn is taken out first: what is left is the face.
        read, _ = fit_view(seen[:, :2], neutral_cm, weight, pose)
        off = (seen[:, :2] - read.origin_px[:2]) * [1, -1] / read.px_per_cm - (neutral_cm @ read.rotation.T)[:, :2]
        use = np.flatnonzero(weight > 0)
        root = np.sqrt(weight[use])[:, None]
        flat = ((fields[:, use].reshape(-1, 3) @ read.rotation[:2].T).reshape(-1, len(use), 2) * root).reshape(
            len(fields), -1
        )
        actions[i] = np.linalg.solve(np.dot(flat, flat.T) + ridge, np.dot(flat, (off[use] * root).reshape(-1)))
        trust[i] = (
            float(np.clip(r["score"], 0.05, 1))
            if r["share"] <= 0
            else min(1.0, 0.05 + float(r["sure"]) / (4 * LEAST_SURE))
        )
    known = convolved(trust, BRIEF).clip(1e-3)
    steady = convolved(actions * trust[:, None], BRIEF) / known[:, None]
    return neutral_cm + np.dot(np.clip(steady, -1.5, 1.5), fields.reshape(len(fields), -1)).reshape(
        -1, *neutral_cm.shape
    )
