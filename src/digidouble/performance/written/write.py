"""A written performance: acting over an analysed plate, to a `.perf` like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.assets import AssetWriter
from digidouble.errors import NoFace
from digidouble.perception.matte import px_from_crop
from digidouble.performance.finish import CHUNK
from digidouble.performance.store import shot_facts
from digidouble.performance.written.creases import written_creases
from digidouble.performance.written.plate import Score
from digidouble.performance.written.shape import Written
from digidouble.performance.written.warp import Warp
from digidouble.schema.performance import Performance
from digidouble.schema.shot import Shot
from digidouble.schema.track import MATTE_SIZE, SKIN_GRID, WRINKLE_GRID, TrackSample, wrinkle_log, wrinkle_steps

Progress = Callable[[int, int], None]
CREASE_LAG = 0.6  # of a fold stays from frame to frame: skin is slower than muscle


def write_performance(
    analysed: Performance,
    score: Score,
    shot: Shot,
    out: Path,
    settings: dict[str, Any],
    progress: Progress | None = None,
) -> Path:
    """Write what `score` plays as the performance of the acted plate (`ActedFootage`, whose facts are `shot`).

    Light, skin and matte are the plate's own, frame by frame; mesh, pose, muscle actions, gaze and creases are written. `settings`: kept
    in the file beside the analysis' own.

    Raises:
        NoFace: the plate shows no face in any frame that is played. OutputError: `out` cannot be written.
    """
    n, track = len(score.rows), score.track
    shown = np.array([track.shown_at(i) for i in score.rows], np.float32)
    if not (shown > 0).any():
        raise NoFace(f"{shot.path}: no face is seen in the part of the plate that would speak.")
    source = np.array([np.clip(i - track.frames.start, 0, len(track.frames) - 1) for i in score.rows])
    small = {name: np.asarray(getattr(track, name))[source].astype(np.float32) for name in _KEPT}
    if score.still:
        small["grain"] = np.zeros(n, np.float32)  # the portrait's noise stands still
    small["presence"] = shown
    centres = np.zeros((n, 2))
    last = np.zeros((WRINKLE_GRID, WRINKLE_GRID), np.float32)
    with AssetWriter(out, "performance") as writer:
        for first in range(0, n, CHUNK):
            count = min(CHUNK, n - first)
            big = _empty(count)
            for k in range(count):
                row = first + k
                face = score.at(row)
                index = int(source[row]) + track.frames.start
                sample = track.sample(index)
                if face is None:
                    _copy(big, k, sample)
                    centres[row] = sample.points_px[:, :2].mean(0)
                    continue
                warp = score.warp(face, row, shot.size_wh)
                last = _fill(big, k, sample, face, warp, last)
                centres[row] = face.points_px[:, :2].mean(0)
                small["actions"][row], small["gaze_deg"][row] = face.actions, face.gaze_deg
                small["rotation"][row], small["px_per_cm"][row], small["origin_px"][row] = (
                    face.pose.rotation, face.pose.px_per_cm, face.pose.origin_px,
                )  # fmt: skip
                if progress:
                    progress(row + 1, n)
            writer.add_tensors(f"tracks/1/{first // CHUNK:06d}.safetensors", big)
        motion = np.asarray(np.gradient(centres, axis=0)) if n > 1 else np.zeros_like(centres)
        facts = small | {
            "motion_px": motion.astype(np.float32), "neutral_cm": track.neutral_cm.astype(np.float32),
            "iris_linear": track.iris_linear.astype(np.float32), "identity": track.identity.astype(np.float32), "worn": track.worn,
            "veil": track.veil.astype(np.float32),
            "frames": np.array([0, n], np.int64),
        }  # fmt: skip
        writer.add_tensors("tracks/1/facts.safetensors", facts)
        return writer.finish(
            {
                "shot": shot_facts(shot), "tracks": [{"track_id": 1, "weight": 1.0}],
                "settings": {**analysed.settings, "written": settings}, "weights": analysed.weights,
            }
        )  # fmt: skip


_KEPT = (
    "presence", "visibility", "rotation", "px_per_cm", "origin_px", "actions", "gaze_deg", "light_sh", "sharpness", "grain", "score",
)  # fmt: skip


def _empty(count: int) -> dict[str, np.ndarray]:
    return {
        "points_px": np.zeros((count, 478, 3), np.float32),
        "skin_linear": np.zeros((count, SKIN_GRID, SKIN_GRID, 3), np.float16),
        "skin_weight": np.zeros((count, SKIN_GRID, SKIN_GRID), np.uint8),
        "matte": np.zeros((count, MATTE_SIZE, MATTE_SIZE), np.uint8),
        "matte_px_from_crop": np.zeros((count, 2, 3), np.float32),
        "wrinkles": np.zeros((count, WRINKLE_GRID, WRINKLE_GRID), np.int8),
    }


def _copy(big: dict[str, np.ndarray], k: int, sample: TrackSample) -> None:
    for name in ("points_px", "skin_linear", "skin_weight", "matte", "matte_px_from_crop"):
        big[name][k] = getattr(sample, name)


def _fill(
    big: dict[str, np.ndarray], k: int, sample: TrackSample, face: Written, warp: Warp, last: Float[np.ndarray, "w w"]
) -> Float[np.ndarray, "w w"]:
    """One frame; the folds as they are now, natural log."""
    _copy(big, k, sample)
    big["points_px"][k] = face.points_px
    crop = px_from_crop(face.points_px)
    big["matte"][k], big["matte_px_from_crop"][k] = bent_matte(sample, crop, warp), crop
    now = wrinkle_log(written_creases(face.actions))
    folds = CREASE_LAG * last + (1 - CREASE_LAG) * now if last.any() else now
    big["wrinkles"][k] = wrinkle_steps(folds)
    return folds


def bent_matte(sample: TrackSample, crop: Float[np.ndarray, "2 3"], warp: Warp) -> UInt8[np.ndarray, "m m"]:
    """The plate's matte, moved with the plate, in the crop `crop` (picture from crop pixels)."""
    cells = np.stack(np.meshgrid(np.arange(MATTE_SIZE), np.arange(MATTE_SIZE)), -1).astype(np.float64)
    at = warp.source_of(cells @ crop[:, :2].T.astype(np.float64) + crop[:, 2])
    back = cv2.invertAffineTransform(sample.matte_px_from_crop.astype(np.float64))
    read = (at @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return cv2.remap(
        sample.matte, np.ascontiguousarray(read[..., 0]), np.ascontiguousarray(read[..., 1]), cv2.INTER_LINEAR
    )
