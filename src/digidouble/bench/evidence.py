"""What may explain a bad stretch, frame by frame: facts of the plate, of the judge, and of what the product knew and planned."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.bench.gaze import gaze_deg
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.material import Pair
from digidouble.bench.observe import Seen
from digidouble.bench.workshop import Workshop, cast_at
from digidouble.render import CastPlan
from digidouble.render.plan import VIEW_SCALE_DEG, view_of
from digidouble.schema.track import FaceTrack

FACE_VERTICES = 468  # of the 478 points of a track's mesh; the rest are the irises


@dataclass(frozen=True)
class Evidence:
    """One number a row of the plate as watched; NaN where the product has no track.

    Attributes:
        turn_deg: larger of |yaw| and |pitch| of the plate's head, by the judge.
        face_px: width of the plate's face. undetected: 1 where the judge's detector did not see it.
        lids: opening of the plate's eyes over its median.
        motion: way of the face from frame to frame over its width. sharpness: the plate's, over the shot's median.
        shown: 0..1, how much of the double is on the plate. hidden: share of the face that the matte says is covered.
        key_distance: from the plate's expression and view to the nearest key of the persona, in the planner's unit (action
            coefficients; a turn of 25 degrees counts 1). key_fade: 1 where two keys are cross-faded.
        tracker_deg, tracker_gaze_deg: the product's own head pose and gaze on the plate against the judge's, constant offset
            taken out, degrees.
    """

    turn_deg: Float[np.ndarray, "n"]
    face_px: Float[np.ndarray, "n"]
    undetected: Float[np.ndarray, "n"]
    lids: Float[np.ndarray, "n"]
    motion: Float[np.ndarray, "n"]
    sharpness: Float[np.ndarray, "n"]
    shown: Float[np.ndarray, "n"]
    hidden: Float[np.ndarray, "n"]
    key_distance: Float[np.ndarray, "n"]
    key_fade: Float[np.ndarray, "n"]
    tracker_deg: Float[np.ndarray, "n"]
    tracker_gaze_deg: Float[np.ndarray, "n"]

    def over(self, first: int, last: int) -> dict[str, float]:
        """Means over rows `first` to `last`, both included, and of the key distance over the whole shot."""
        out = {f.name: _mean(getattr(self, f.name)[first : last + 1]) for f in fields(self)}
        return out | {"key_distance_shot": _mean(self.key_distance)}


def _mean(values: Float[np.ndarray, "n"]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def hidden_share(
    points_px: Float[np.ndarray, "478 3"], matte: UInt8[np.ndarray, "m m"], px_from_crop: Float[np.ndarray, "2 3"]
) -> float:
    """Share of the mesh's face that the matte (0..255, visible face, in its aligned crop) says is covered."""
    inverse = cv2.invertAffineTransform(px_from_crop.astype(np.float64))
    at = points_px[:FACE_VERTICES, :2] @ inverse[:, :2].T + inverse[:, 2]
    return 1 - float(_sampled(matte, at).mean()) / 255


def _sampled(picture: UInt8[np.ndarray, "h w"], at: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    """Nearest pixels, clamped to the border."""
    h, w = picture.shape
    x, y = np.clip(np.round(at), 0, [w - 1, h - 1]).astype(int).T
    return picture[y, x].astype(np.float64)


def key_distances(
    actions: Float[np.ndarray, "r a"], view_deg: Float[np.ndarray, "r 2"], key_actions: Float[np.ndarray, "k a"],
    key_view_deg: Float[np.ndarray, "k 2"],
) -> Float[np.ndarray, "r"]:  # fmt: skip
    """From each row's expression and view to the nearest key, as the planner measures (without its surcharge for soft keys)."""
    turn = (view_deg[:, None] - key_view_deg) / VIEW_SCALE_DEG
    return np.sqrt(((actions[:, None] - key_actions) ** 2).sum(-1) + (turn**2).sum(-1)).min(1)


def _from_keys(track: FaceTrack, plan: CastPlan) -> Float[np.ndarray, "r"]:
    keys = (
        plan.persona.keys[1:] if len(plan.persona.keys) > 2 else plan.persona.keys[:1]
    )  # those the planner may choose
    actions, views = np.stack([k.actions for k in keys]), np.stack([k.view_deg for k in keys])
    return key_distances(track.actions, view_of(track), actions, views)


def gather(shop: Workshop, pair: Pair, quality: str, plate: Seen) -> Evidence:
    """The evidence of a pair. `plate`: its plate row."""
    movie = shop.plate(pair.plate)
    watched, performance = shop.watched(movie), shop.performance(movie)
    n = len(watched.boxes)
    cast = cast_at(quality, performance, shop.persona(pair.persona))[0]
    track = cast.plan.track
    frames = [watched.first + k for k in range(n)]
    rows = np.array([track.row(f) if f in track.frames else -1 for f in frames])
    there = rows >= 0

    def of_track(values: Float[np.ndarray, "r"]) -> Float[np.ndarray, "n"]:
        return np.where(there, np.asarray(values, np.float64)[np.maximum(rows, 0)], np.nan)

    judged, looks = poses_deg(watched.landmarks), gaze_deg(plate.landmarks, plate.pupils)
    width = np.ptp(watched.landmarks[:, :17, 0], axis=1).astype(np.float64)
    eyes = channels(watched.landmarks)[:, 3:5].mean(1)
    view, gaze = view_of(track), track.gaze_deg * [1, -1]  # the judge counts downward looks
    mine = np.stack([of_track(view[:, 0]), of_track(view[:, 1])], 1)
    mine_gaze = np.stack([of_track(gaze[:, 0]), of_track(gaze[:, 1])], 1)
    middles = watched.landmarks.mean(1).astype(np.float64)
    steps = np.linalg.norm(np.diff(middles, axis=0, prepend=middles[:1]), axis=1)
    hidden = [_hidden(track, f) if track.shown_at(f) > 0 else np.nan for f in frames]
    sharp = track.sharpness / max(float(np.median(track.sharpness[track.seen])) if track.seen.any() else 1.0, 1e-9)
    return Evidence(
        turn_deg=np.abs(judged[:, :2]).max(1), face_px=width, undetected=1.0 - watched.detected,
        lids=eyes / max(float(np.median(eyes)), 1e-6), motion=steps / np.maximum(width, 1), sharpness=of_track(sharp),
        shown=np.array([track.shown_at(f) for f in frames]), hidden=np.array(hidden),
        key_distance=of_track(_from_keys(track, cast.plan)), key_fade=of_track((cast.plan.key_a != cast.plan.key_b).astype(float)),
        tracker_deg=_apart(mine, judged[:, :2]), tracker_gaze_deg=_apart(mine_gaze, looks),
    )  # fmt: skip


def _hidden(track: FaceTrack, frame: int) -> float:
    sample = track.sample(frame)
    return hidden_share(sample.points_px, sample.matte, sample.matte_px_from_crop)


def _apart(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    """Length of the difference without its median."""
    away = a - b
    known = np.isfinite(away).all(1)
    if not known.any():
        return np.full(len(a), np.nan)
    return np.linalg.norm(away - np.median(away[known], axis=0), axis=1)
