"""Which face a viewer looks at: every frame's attention, shared among the faces that are in it.

A face's claim in a frame is a sum of logarithms and of facts between 0 and 1, so that its share is a product of what speaks for it:

    claim = AREA ln(area of the face in the picture) + FOCUS ln(sharpness) - CENTRE r^2 + SPEECH s + TIME ln(screen time so far)

r is the distance from the middle of the picture over half its diagonal, s how much the mouth moves within a second (0..1), screen
time so far the share of the shot in which the face has been seen. Claims are smoothed in both directions within a scene
(there is no lag: nothing is rendered yet), and a softmax over the faces present, faded by presence, makes shares of them:
they sum to 1 in every frame that shows a face, change slowly, and do not jump when a face comes or goes.

The constants are set by hand so that the usual setting - a lead in the middle who talks and stands a step nearer than two silent
supports - comes out at three fifths and two fifths; they are no fit to gaze data. A track's weight is its share of all attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.schema.mesh import face_model
from digidouble.schema.shot import Shot
from digidouble.schema.track import FaceTrack

AREA, FOCUS, CENTRE, SPEECH, TIME = 0.7, 0.25, 1.0, 0.6, 0.25
SMOOTH_SECONDS = 0.5  # standard deviation of the window in which claims are averaged
SPEECH_SECONDS = 0.4
FULL_SPEECH = 0.12  # standard deviation of jaw and lips (muscle units) that counts as talking all the time
KNOWN_SECONDS = 2.0  # of screen time that a face is granted when it is first seen
LEAST_SHARPNESS = 0.02
_MOUTH = ("jaw_drop", "lips_part", "lower_lip_drop", "lip_funnel", "lip_stretch")


def with_attention(tracks: Sequence[FaceTrack], shot: Shot) -> tuple[FaceTrack, ...]:
    """The tracks with their attention and weights, heaviest first (the lower id first where they are equal)."""
    if not tracks:
        return ()
    shares = attention(tracks, shot)
    total = sum(float(s.sum()) for s in shares) or 1.0
    out = [replace(t, attention=s, weight=float(s.sum()) / total) for t, s in zip(tracks, shares, strict=True)]
    return tuple(sorted(out, key=lambda t: (-t.weight, t.track_id)))


def attention(tracks: Sequence[FaceTrack], shot: Shot) -> list[Float[np.ndarray, "n"]]:
    """0..1 for every row of every track; the formula of this module."""
    first, last = min(t.frames.start for t in tracks), max(t.frames.end_exclusive for t in tracks)
    claims = np.zeros((len(tracks), last - first))
    present = np.zeros_like(claims)
    for k, t in enumerate(tracks):
        rows = slice(t.frames.start - first, t.frames.end_exclusive - first)
        claims[k, rows], present[k, rows] = claim(t, shot), np.clip(t.presence, 0, 1)
    scenes = [first, *(c for c in shot.cuts if first < c < last), last]
    for a, b in pairwise(scenes):
        part = slice(a - first, b - first)
        for k in range(len(tracks)):
            claims[k, part] = _smooth(claims[k, part], present[k, part] > 0, SMOOTH_SECONDS * float(shot.rate.fps))
    top = np.where(present > 0, claims, -np.inf).max(0)
    power = present * np.exp(np.where(present > 0, claims - np.where(np.isfinite(top), top, 0), 0))
    shares = power / np.maximum(power.sum(0), 1e-12)
    return [
        shares[k, t.frames.start - first : t.frames.end_exclusive - first].astype(np.float32)
        for k, t in enumerate(tracks)
    ]


def claim(track: FaceTrack, shot: Shot) -> Float[np.ndarray, "n"]:
    """What speaks for a face in each of its frames, before smoothing."""
    fps, (w, h) = float(shot.rate.fps), shot.size_wh
    seen = track.presence > 0
    off = np.linalg.norm(track.origin_px[:, :2] - [(w - 1) / 2, (h - 1) / 2], axis=1) / (0.5 * np.hypot(w, h))
    passed = np.arange(track.frames.start, track.frames.end_exclusive) + 1
    known = KNOWN_SECONDS * fps
    time = (np.cumsum(seen) + known) / (passed + known)
    return (
        AREA * 2 * np.log(np.maximum(track.px_per_cm, 1e-3))
        + FOCUS * np.log(np.maximum(track.sharpness, LEAST_SHARPNESS))
        - CENTRE * np.minimum(off, 1.5) ** 2
        + SPEECH * speech(track, fps)
        + TIME * np.log(time)
    ).astype(np.float64)


def speech(track: FaceTrack, fps: float) -> Float[np.ndarray, "n"]:
    """0..1: how much jaw and lips move around each frame, whatever they look like at rest."""
    columns = [i for i, name in enumerate(face_model().action_names) if name.startswith(_MOUTH)]
    seen, sigma = track.presence > 0, SPEECH_SECONDS * fps
    variance = np.zeros(len(track.frames))
    for c in columns:
        x = track.actions[:, c].astype(np.float64)
        mean = _smooth(x, seen, sigma)
        variance += np.maximum(_smooth(x * x, seen, sigma) - mean**2, 0)
    return np.clip(np.sqrt(variance) / FULL_SPEECH, 0, 1)


def _smooth(x: Float[np.ndarray, "n"], known: np.ndarray, sigma: float) -> Float[np.ndarray, "n"]:
    """A Gaussian mean of the known values; the ends, and what is unknown, have fewer neighbours, not zeros."""
    side = 2 * max(int(3 * sigma), 1) + 1

    def blurred(v: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(
            v.astype(np.float64)[None], (side, 1), max(sigma, 1e-3), borderType=cv2.BORDER_CONSTANT
        )[0]

    share = blurred(known.astype(np.float64))
    return np.where(share > 1e-9, blurred(np.where(known, x, 0)) / np.maximum(share, 1e-9), x)
