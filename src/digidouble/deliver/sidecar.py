"""What a frame's doubles are, in numbers: one JSON file a frame, beside its passes.

Pixels: origin at the top left of the plate, whole numbers are pixel centres. Centimetres and camera axes as in `schema.pose`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from digidouble.perception.hair import HairLook
from digidouble.schema.layers import FacePasses, FramePasses
from digidouble.schema.mesh import face_model
from digidouble.schema.shot import Shot
from digidouble.schema.timecode import timecode_at
from digidouble.schema.track import FaceTrack

SCHEMA = "digidouble.frame/1"
FOCAL_LENGTH = 1.2  # of the longer side, about 45 degrees: plates do not tell theirs


@dataclass(frozen=True)
class PassTrack:
    """A cast track: the layer its passes go by, whose double it is, and the performer's hair (None: none was found)."""

    track: FaceTrack
    layer: str
    persona: str
    persona_sha256: str = ""
    hair: HairLook | None = None


def focal_px(size_wh: tuple[int, int]) -> float:
    """The focal length that depth and camera matrix take for granted, in pixels."""
    return FOCAL_LENGTH * max(size_wh)


def frame_json(passes: FramePasses, shot: Shot, tracks: Sequence[PassTrack], picture: str) -> str:
    """The sidecar of a frame. `picture`: name of the file with the passes."""
    drawn = {face.layer.track_id: face for face in passes.faces}
    record = {
        "schema": SCHEMA,
        "frame": shot.start_number + passes.index,
        "index": passes.index,
        "timecode": str(timecode_at(shot.timecode, shot.rate, passes.index)) if shot.timecode else None,
        "rate": str(shot.rate),
        "size": list(shot.size_wh),
        "passes": picture,
        "plate": {"name": Path(shot.path).name, "sha256": shot.sha256},
        "camera": {"focal_px": focal_px(shot.size_wh), "assumed": True},
        "doubles": [
            _double(t, passes.index, drawn[t.track.track_id], shot) for t in tracks if t.track.track_id in drawn
        ],
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _double(cast: PassTrack, index: int, face: FacePasses, shot: Shot) -> dict[str, object]:
    track, roi = cast.track, face.layer.roi
    row, pose = track.row(index), track.pose(index)
    yaw, pitch, roll = pose.euler_deg
    actions = face_model().named_actions(track.actions[row])
    return {
        "track": track.track_id,
        "layer": cast.layer,
        "persona": {"name": cast.persona, "sha256": cast.persona_sha256},
        "roi": [roi.x0, roi.y0, roi.x1, roi.y1],
        "cam_from_head": _numbers(pose.cam_from_head(focal_px(shot.size_wh), shot.size_wh)),
        "pose": {
            "yaw_pitch_roll_deg": [round(v, 4) for v in (yaw, pitch, roll)],
            "px_per_cm": round(pose.px_per_cm, 5),
            "origin_px": _numbers(pose.origin_px),
        },
        "landmarks_px": _numbers(track.sample(index).points_px, 3),
        "double_px": _numbers(face.points_px, 3),
        "expression": {name: round(value, 4) for name, value in actions.items() if value > 0},
        "gaze_deg": _numbers(track.gaze_deg[row], 3),
        "light_sh": _numbers(track.light_sh[row]),
        "motion_px": _numbers(track.motion_px[row], 3),
        "presence": round(float(track.presence[row]), 4),
        "confidence": round(float(track.score[row]), 4),
        "hair_known": cast.hair is not None,
    }


def _numbers(values: Float[np.ndarray, "..."], digits: int = 6) -> list[object]:
    return np.nan_to_num(np.asarray(values, np.float64)).round(digits).tolist()
