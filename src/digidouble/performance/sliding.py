"""What a plate's skin does beside its mesh: where it slides, and how its shade changes. The fusion network reads both.

The mesh says where a brow is; the picture says where it is really. Both are found on the UV grid against the skin of the track's
most relaxed frames: `slide`, by dense inverse search (Kroeger et al. 2016), is where in the relaxed skin this frame's skin lies, and
`ratio` is the log of its display luma over the relaxed one's with everything slow taken out. Unlike `wrinkles`, nothing is held back
here: a network that has seen both people weighs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int8

from digidouble.perception.uvgrid import uv_grid
from digidouble.performance.wrinkles import Look
from digidouble.schema.mesh import face_model
from digidouble.schema.track import RATIO_GRID, RATIO_STEPS, SLIDE_GRID, SLIDE_STEPS

RELAXED_LOOKS = 8
EPS = 0.02  # floor of display luma under a logarithm
TONE_SIGMA = 8.8  # texels of 128: what varies more slowly is light
FARTHEST = 6.0  # texels
SMOOTH = 1.5
LARGEST_LOG, LARGEST_KEPT = 0.8, 0.6


def relaxed_first(effort: Float[np.ndarray, "n"]) -> np.ndarray:
    """Indices of the at most RELAXED_LOOKS looks of least effort."""
    return np.argsort(effort, kind="stable")[:RELAXED_LOOKS]


@dataclass(frozen=True)
class Relaxed:
    """The relaxed skin. Attributes: luma: display-referred 0..1 on the UV grid. seen: 0..1."""

    luma: Float32[np.ndarray, "g g"]
    seen: Float32[np.ndarray, "g g"]

    @classmethod
    def of(cls, looks: list[Look]) -> Relaxed:
        """The median of a track's most relaxed looks."""
        return cls(
            np.median([_unwrapped(k) for k in looks], axis=0).astype(np.float32),
            np.mean([_seen(k) for k in looks], axis=0).astype(np.float32),
        )

    def change(self, look: Look) -> Float32[np.ndarray, "3 g g"]:
        """Slide x, y in texels, and ratio in natural log, of one frame; zero where it is not seen."""
        now = np.log(_unwrapped(look) + EPS)
        rest = np.log(self.luma + EPS)
        weight = np.minimum(_seen(look), 0.25 + 0.75 * self.seen)
        both = [_grey(now), _grey(rest + _slow(now - rest, weight))]
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*both, None)  # type: ignore[call-overload]
        flow = np.clip(flow, -FARTHEST, FARTHEST) * weight[..., None]
        flow = _soft(flow, SMOOTH) / (_soft(weight, SMOOTH) + 0.05)[..., None] * weight[..., None]
        skin = weight * _skin()
        log = np.clip(now - rest, -LARGEST_LOG, LARGEST_LOG)
        ratio = _soft((log - _slow(log, skin)) * skin, 1.0)
        return np.concatenate([flow.transpose(2, 0, 1), ratio[None]]).astype(np.float32)


def stored(change: Float32[np.ndarray, "3 g g"]) -> tuple[Int8[np.ndarray, "2 s s"], Int8[np.ndarray, "g g"]]:
    """`TrackSample.slide` and `TrackSample.ratio` of a change."""
    small = cv2.resize(change[:2].transpose(1, 2, 0), (SLIDE_GRID, SLIDE_GRID), interpolation=cv2.INTER_AREA)
    slide = np.clip(np.round(small * SLIDE_STEPS), -127, 127).astype(np.int8).transpose(2, 0, 1)
    ratio = np.round(RATIO_STEPS * np.clip(change[2], -LARGEST_KEPT, LARGEST_KEPT)).astype(np.int8)
    return slide, ratio


def _unwrapped(look: Look) -> Float32[np.ndarray, "g g"]:
    return look.luma_on(RATIO_GRID).astype(np.float32) / 255


def _seen(look: Look) -> Float32[np.ndarray, "g g"]:
    side = (RATIO_GRID, RATIO_GRID)
    return cv2.resize(look.visible.astype(np.float32), side, interpolation=cv2.INTER_AREA) * _covered()


@lru_cache(maxsize=1)
def _covered() -> Float32[np.ndarray, "g g"]:
    return uv_grid(RATIO_GRID).covered.astype(np.float32)


@lru_cache(maxsize=1)
def _skin() -> Float32[np.ndarray, "g g"]:
    """1 on skin, 0 in the openings: what shows there is no crease."""
    grid = uv_grid(RATIO_GRID)
    return (grid.covered & (grid.triangle < len(face_model().triangles))).astype(np.float32)


def _grey(log: Float32[np.ndarray, "g g"]) -> np.ndarray:
    return np.round(np.clip(np.exp(log) - EPS, 0, 1) * 255).astype(np.uint8)


def _soft(values: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma)


def _slow(values: Float32[np.ndarray, "g g"], weight: Float32[np.ndarray, "g g"]) -> Float32[np.ndarray, "g g"]:
    """The renderer's tone band, a quarter of the resolution: it is wide."""
    side = (RATIO_GRID // 4, RATIO_GRID // 4)
    small = [cv2.resize(x, side, interpolation=cv2.INTER_AREA) for x in (values * weight, weight)]
    band = _soft(small[0], TONE_SIGMA / 4) / (_soft(small[1], TONE_SIGMA / 4) + np.float32(0.02))
    return cv2.resize(band, (RATIO_GRID, RATIO_GRID), interpolation=cv2.INTER_LINEAR)
