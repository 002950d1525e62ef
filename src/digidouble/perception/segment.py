"""Where are people: a soft matte by MediaPipe's selfie segmentation, hair and clothes included.

The network sees the whole picture squeezed to 256x256 (it was trained so), hence edges are no finer than 1/256 of the
picture: good for holding out a background, not for cutting hair.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.perception.session import Provider, Runner, Session

SIDE = 256


class PersonSegmenter:
    """Makes person mattes; holds the network and nothing of the pictures it saw."""

    def __init__(
        self, *, threads: int = 1, providers: Sequence[Provider] = ("cpu",), runner: Runner | None = None
    ) -> None:
        self._runner = runner or Session("selfie-segmentation", providers=providers, threads=threads)

    def matte(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
        """Probability of "person" for every pixel, 0..1, bilinear between the network's 256x256 values."""
        height, width = rgb8.shape[:2]
        return np.clip(cv2.resize(self.matte_256(rgb8), (width, height), interpolation=cv2.INTER_LINEAR), 0.0, 1.0)

    def matte_256(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "256 256"]:
        """The network's own values, over the whole picture."""
        shrinks = rgb8.shape[0] * rgb8.shape[1] > SIDE * SIDE
        small = cv2.resize(rgb8, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        outputs = self._runner.run({"input_1": small[None].astype(np.float32) * np.float32(1 / 255)})
        return outputs["activation_10"].reshape(SIDE, SIDE)
