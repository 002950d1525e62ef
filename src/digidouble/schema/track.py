"""One face through a shot. Small per-frame facts are arrays over the track's frames; large ones are read frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, UInt8

from digidouble.errors import SettingsError
from digidouble.schema.pose import Pose
from digidouble.schema.time import FrameRange

SKIN_GRID = 32  # side of the UV grid in which a track's low-frequency skin radiance is kept
MATTE_SIZE = 128  # side of the stored occlusion matte
WRINKLE_GRID = 160  # side of the UV grid of creases
WRINKLE_RANGE = 1.5  # natural log of the gain that +-127 stands for
WRINKLE_POWER = 1.5  # of the share of 127: shallow folds have fine steps (a tenth of a percent), deep ones, two percent
RATIO_GRID = 128  # side of the UV grid of shade, and what a slide's texels are counted on
RATIO_STEPS = 50  # a natural logarithm
SLIDE_GRID = 64  # side of the UV grid in which a slide is kept
SLIDE_STEPS = 16  # a texel


def wrinkle_log(steps: Int8[np.ndarray, "*s"]) -> Float32[np.ndarray, "*s"]:
    """Natural log of the gain that kept creases stand for."""
    share = np.arange(-128, 128, dtype=np.float32) / 127
    return (np.sign(share) * np.abs(share) ** WRINKLE_POWER * np.float32(WRINKLE_RANGE)).astype(np.float32)[
        steps.astype(np.int16) + 128
    ]


def wrinkle_steps(log_gain: Float[np.ndarray, "*s"]) -> Int8[np.ndarray, "*s"]:
    """Inverse of `wrinkle_log`, to the nearest step; what is beyond WRINKLE_RANGE is held to it."""
    share = np.clip(np.abs(log_gain) / WRINKLE_RANGE, 0, 1) ** (1 / WRINKLE_POWER)
    return np.round(127 * np.sign(log_gain) * share).astype(np.int8)


@dataclass(frozen=True)
class TrackSample:
    """The large facts of one frame.

    Attributes:
        points_px: smoothed mesh in plate pixels.
        skin_linear: scene-linear radiance of the face on the UV grid, steadied over a few frames.
        skin_weight: 0..255, how far each texel shows skin that faces the camera with nothing in front.
        matte: 0..255, visible face (nothing in front), in the aligned crop `matte_px_from_crop`.
        wrinkles: -127..127, crease gain on a UV grid: the skin's luminance over the track's own neutral face is
            exp(wrinkle_log(wrinkles)), creases only (see `performance.wrinkles`).
        slide: -127..127, where in the track's relaxed skin this frame's skin lies, beside the mesh's motion: x and y in steps of
            1 / SLIDE_STEPS texel of RATIO_GRID (see `performance.sliding`). None where the performance does not keep it, as `ratio`.
        ratio: log of display luma over the relaxed skin's, without what varies slowly, in steps of 1 / RATIO_STEPS; +-30 at most.
        matte_px_from_crop: 2x3, plate pixels from crop pixels (crop is MATTE_SIZE square, whole numbers are pixel centres).
    """

    points_px: Float[np.ndarray, "478 3"]
    skin_linear: Float[np.ndarray, "g g 3"]
    skin_weight: UInt8[np.ndarray, "g g"]
    matte: UInt8[np.ndarray, "m m"]
    matte_px_from_crop: Float[np.ndarray, "2 3"]
    wrinkles: Int8[np.ndarray, "w w"]
    slide: Int8[np.ndarray, "2 s s"] | None = None
    ratio: Int8[np.ndarray, "r r"] | None = None


@runtime_checkable
class TrackStore(Protocol):
    """Where a track's samples lie; reading is random access with bounded memory."""

    def sample(self, track_id: int, index: int) -> TrackSample: ...


@dataclass(frozen=True)
class FaceTrack:
    """One person's face in one plate.

    Arrays run over `frames`; rows where `presence` is 0 hold the nearest known values.

    Attributes:
        track_id: from 1, in the order of screen time and size.
        presence: 0..1, how much of the double is shown; fades at losses, never steps.
        visibility: 0..1, how much of each region (`schema.regions.REGIONS`) may be shown: less where it is turned away or not sure.
        rotation, px_per_cm, origin_px: pose (see `Pose`).
        actions: signed muscle-action coefficients in the order of `FaceModel.action_names`.
        gaze_deg: (yaw, pitch) of the eyes in the head, both eyes' mean; positive to the subject's left and up.
        light_sh: second-order spherical-harmonic irradiance over camera axes (Ramamoorthi & Hanrahan 2001), per channel.
        motion_px: picture motion of the face from the frame before to the frame after, per frame.
        sharpness: ratio of fine to coarse detail in the face (see `perception.detail`).
        grain: standard deviation of plate noise in display-referred 0..1.
        score: 0..1, the mesh's own confidence times how well its looks at one frame agree.
        neutral_cm: the track's own neutral face.
        iris_linear: scene-linear colour of the irises relative to the skin, median over the track; zero when unknown.
        veil: light that lies over the face like fog, in units of its skin's linear colour (`perception.veil`); mostly zero.
        worn: 0..255 over the UV grid of creases, how far glasses cover the skin, for the whole track.
        identity: unit vector of the identity embedder, mean over the track.
        weight: share of the shot's quality budget, from attention; the weights of a performance sum to 1.
        attention: 0..1 per frame, the face's share of what a viewer looks at (`performance.attention`); None when not known.
    """

    track_id: int
    frames: FrameRange
    presence: Float[np.ndarray, "n"]
    visibility: Float[np.ndarray, "n r"]
    rotation: Float[np.ndarray, "n 3 3"]
    px_per_cm: Float[np.ndarray, "n"]
    origin_px: Float[np.ndarray, "n 3"]
    actions: Float[np.ndarray, "n a"]
    gaze_deg: Float[np.ndarray, "n 2"]
    light_sh: Float[np.ndarray, "n 9 3"]
    motion_px: Float[np.ndarray, "n 2"]
    sharpness: Float[np.ndarray, "n"]
    grain: Float[np.ndarray, "n"]
    score: Float[np.ndarray, "n"]
    neutral_cm: Float[np.ndarray, "478 3"]
    iris_linear: Float[np.ndarray, "3"]
    veil: Float[np.ndarray, "3"]
    worn: UInt8[np.ndarray, "w w"]
    identity: Float[np.ndarray, "d"]
    weight: float
    store: TrackStore
    attention: Float[np.ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        n = len(self.frames)
        for name in (
            "presence",
            "visibility",
            "rotation",
            "px_per_cm",
            "origin_px",
            "actions",
            "gaze_deg",
            "light_sh",
            "motion_px",
            "sharpness",
            "grain",
        ):
            if len(getattr(self, name)) != n:
                raise SettingsError(f"track {self.track_id}: {name} has {len(getattr(self, name))} rows for {n} frames")

    def row(self, index: int) -> int:
        """Row of a plate frame. Raises IndexError outside the track."""
        if index not in self.frames:
            raise IndexError(
                f"frame {index} is outside track {self.track_id} ({self.frames.start}:{self.frames.end_exclusive})"
            )
        return index - self.frames.start

    def shown_at(self, index: int) -> float:
        """0..1, how much of a double is shown in a plate frame."""
        return float(self.presence[index - self.frames.start]) if index in self.frames else 0.0

    def attention_at(self, index: int) -> float:
        """0..1, the face's share of a plate frame; where attention is not known, the track's weight."""
        if index not in self.frames:
            return 0.0
        return self.weight if self.attention is None else float(self.attention[index - self.frames.start])

    def pose(self, index: int) -> Pose:
        r = self.row(index)
        return Pose(self.rotation[r], float(self.px_per_cm[r]), self.origin_px[r])

    def sample(self, index: int) -> TrackSample:
        return self.store.sample(self.track_id, index)

    @property
    def seen(self) -> Bool[np.ndarray, "n"]:
        return self.presence > 0

    def __repr__(self) -> str:
        return f"FaceTrack({self.track_id}, frames {self.frames.start}:{self.frames.end_exclusive}, weight {self.weight:.2f})"
