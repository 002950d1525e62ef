"""Where one shot ends and the next begins, found while the frames go by."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import UInt8

from digidouble.footage.reader import Footage
from digidouble.schema.colour import rgb8_from_frame

SMALL_SIDE = 160
"""pixels of the longer side of the pictures a `CutDetector` wants"""


class CutDetector:
    """Feed every frame of a shot in order, small; learn of each whether it begins a new shot.

    The score is PySceneDetect's content score (mean change of hue, saturation and brightness, 0..255). A cut is a frame
    whose score passes `threshold` and stands out `prominence` times over the scores just before it, so that a shaking
    camera or a strobe, whose scores are high all the time, is not a row of cuts.
    """

    def __init__(self, threshold: float = 27.0, prominence: float = 2.5, min_frames: int = 6, memory: int = 8) -> None:
        from scenedetect import ContentDetector, FrameTimecode

        self._threshold = threshold
        self._prominence = prominence
        self._min_frames = min_frames
        self._recent: deque[float] = deque(maxlen=memory)
        self._content = ContentDetector(threshold=threshold)
        self._timecode = FrameTimecode
        self._index = -1
        self._last_cut = 0

    def push(self, rgb8_small: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether this frame is the first of a new shot. Never true for the first frame pushed."""
        self._index += 1
        self._content.process_frame(self._timecode(self._index, 25.0), np.ascontiguousarray(rgb8_small[..., ::-1]))
        # Its public StatsManager gives the same number but computes an edge map for it at every frame.
        score = float(self._content._frame_score or 0.0)
        usual = float(np.mean(self._recent)) if self._recent else 0.0
        is_cut = (
            self._index > 0
            and self._index - self._last_cut >= self._min_frames
            and score >= self._threshold
            and score >= self._prominence * usual
        )
        if is_cut:
            self._recent.clear()
            self._last_cut = self._index
        elif self._index > 0:
            self._recent.append(score)
        return is_cut


def detect_cuts(footage: Footage) -> tuple[int, ...]:
    """Indices of the first frame of every shot inside the footage after the first. Decodes all of it.

    Raises:
        UnreadableMedia, MissingFrame: as for `Footage.frames`.
    """
    detector = CutDetector()
    return tuple(f.index for f in footage.frames() if detector.push(rgb8_from_frame(f, SMALL_SIDE)))
