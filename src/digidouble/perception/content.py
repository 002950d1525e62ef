"""The content gate: is a picture pornographic? Yahoo's Open-NSFW, with its own preprocessing.

What it knows is what it was trained on: photographs of pornography, by Yahoo's judgement of 2016. It does not know violence, drawings
well, or anybody's age. docs/labels.md says so to users.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.errors import ContentRefused
from digidouble.perception.session import Runner, Session

MODEL = "open-nsfw"
THRESHOLD = 0.8
"""Yahoo's own reading: below 0.2 safe, above 0.8 pornographic."""
SIDE, CROP = 256, 224
_MEAN_BGR = np.array([104.0, 117.0, 123.0], np.float32)


@dataclass(frozen=True)
class Score:
    """One look: "plate" or "result", frame index, 0..1."""

    where: str
    frame: int
    score: float


class ContentGate:
    """Looks at pictures and refuses adult ones; remembers every score. Safe to call from several threads.

    Raises:
        WeightsError: the network is not here and may not be fetched; the message says where to put it.
    """

    def __init__(self, *, threshold: float = THRESHOLD, runner: Runner | None = None) -> None:
        self.threshold = threshold
        self._runner = runner or Session(MODEL)
        self._scores: list[Score] = []
        self._lock = threading.Lock()

    def apart(self) -> ContentGate:
        """A gate with this one's network that has seen what this one has, and from here on sees and decides by itself."""
        other = ContentGate(threshold=self.threshold, runner=self._runner)
        other._scores = list(self.scores)
        return other

    def look(self, where: str, frame: int, rgb8: UInt8[np.ndarray, "h w 3"]) -> float:
        """Score a picture.

        Raises:
            ContentRefused: the score is at or above the threshold.
        """
        score = content_score(self._runner, rgb8)
        with self._lock:
            self._scores.append(Score(where, frame, score))
        if score >= self.threshold:
            raise ContentRefused(
                f"the {where}'s frame {frame} looks like adult content (score {score:.2f}, limit {self.threshold:g}); "
                "Digidouble makes no doubles for that. Nothing was written."
            )
        return score

    @property
    def scores(self) -> tuple[Score, ...]:
        """Every look so far."""
        with self._lock:
            return tuple(self._scores)

    def record(self) -> dict[str, object]:
        """What was looked at and decided, for log and report."""
        scores = sorted(self.scores, key=lambda s: (s.where, s.frame))
        refused = any(s.score >= self.threshold for s in scores)
        return {
            "model": MODEL,
            "threshold": self.threshold,
            "decision": "refused" if refused else "passed",
            "frames": [{"where": s.where, "frame": s.frame, "score": round(s.score, 4)} for s in scores],
        }


def content_score(runner: Runner, rgb8: UInt8[np.ndarray, "h w 3"]) -> float:
    """0..1. The JPEG round trip belongs to the network: it was trained on files (open_nsfw, classify_nsfw.py)."""
    from PIL import Image

    if min(rgb8.shape[:2]) > 4 * SIDE:  # near the size first: faster than Pillow's filter over a whole film frame
        rgb8 = cv2.resize(rgb8, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(rgb8).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(buffer, "JPEG")
    picture = np.asarray(Image.open(buffer).convert("RGB"), np.float32)
    edge = (SIDE - CROP) // 2
    bgr = picture[edge : edge + CROP, edge : edge + CROP, ::-1] - _MEAN_BGR
    output = next(iter(runner.run({"input_0": np.ascontiguousarray(bgr[None])}).values()))
    return float(np.asarray(output).reshape(-1)[-1])
