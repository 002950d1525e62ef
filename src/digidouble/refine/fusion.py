"""How this person's skin creases, shades and slides in a moment that nobody filmed: the door of the fusion network.

A vision transformer with two token streams (`training/fusion/model.py`): what a persona's key atlas shows, read once, and what the plate
does now, frame by frame; the second asks the first by cross-attention. It answers on the 128-texel UV grid where to read the key and
with which gain. `FusedSkin` is that answer for one persona in one track, as the renderer takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.session import Runner, Session, Tensors
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mesh import camera_normals, face_model
from digidouble.schema.persona import KeyAtlas, Persona
from digidouble.schema.track import RATIO_GRID, RATIO_STEPS, SLIDE_STEPS, FaceTrack, TrackSample, wrinkle_log
from digidouble.schema.transfer import srgb_decode, srgb_encode

SIZE = RATIO_GRID
TONE_SIGMA = 8.8  # texels: the band that render.light takes from the plate, which a gain must leave alone
GAMMA = 2.2  # a gain of linear light over that of display luma, in logarithms
MOST_GAIN = 1.2  # natural log, display-referred
NETWORKS = ("fusion-keys", "fusion-moment")


@dataclass(frozen=True)
class FusionKey:
    """A key atlas as the network reads it.

    Attributes:
        skin: display-referred sRGB 0..1. seen: 0..1, confidence.
        shift_cm: the mesh of the key's own moment minus the persona's neutral, head frame.
    """

    skin: Float32[np.ndarray, "128 128 3"]
    seen: Float32[np.ndarray, "128 128"]
    shift_cm: Float[np.ndarray, "478 3"]

    @classmethod
    def of_atlas(cls, key: KeyAtlas) -> FusionKey:
        """From an atlas of any size. Its mesh is what its muscle actions say: a persona keeps no more of it."""
        side = (SIZE, SIZE)
        skin = cv2.resize(np.ascontiguousarray(key.albedo, np.float32), side, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(key.confidence.astype(np.float32) / 255, side, interpolation=cv2.INTER_AREA)
        shift = np.tensordot(key.actions.astype(float), face_model().action_fields_cm, 1)
        return cls(srgb_encode(np.clip(skin, 0, 1)).astype(np.float32), np.clip(seen, 0, 1), shift)

    def channels(self) -> Float32[np.ndarray, "7 128 128"]:
        """The network's input."""
        return np.concatenate([self.skin.transpose(2, 0, 1), self.seen[None], _carried(self.shift_cm)]).astype(
            np.float32
        )


@dataclass(frozen=True)
class Moment:
    """What the face does in one frame.

    Attributes:
        shift_cm: the track's shape minus its neutral, head frame. points_px: the double's mesh (for its normals and depth).
        px_per_cm: its scale. actions, gaze_deg: the track's.
        slide: texels of 128, where in the plate's relaxed skin this frame's lies. ratio: natural log of display luma over the relaxed.
    """

    shift_cm: Float[np.ndarray, "478 3"]
    points_px: Float[np.ndarray, "478 3"]
    px_per_cm: float
    actions: Float[np.ndarray, "26"]
    gaze_deg: Float[np.ndarray, "2"]
    slide: Float32[np.ndarray, "2 128 128"]
    ratio: Float32[np.ndarray, "128 128"]

    @classmethod
    def of_track(
        cls, track: FaceTrack, row: int, points_px: Float[np.ndarray, "478 3"], strength: float = 1.0
    ) -> Moment:
        """Frame `row` of a track. `strength`: of the plate's shade, 0..2."""
        index = track.frames.start + row
        sample = track.sample(index)
        shift = track.pose(index).head_from_px(sample.points_px) - track.neutral_cm
        slide, ratio = _plate_skin(sample)
        scale = float(track.px_per_cm[row])
        return cls(
            shift, points_px.astype(float), scale, track.actions[row].astype(float), track.gaze_deg[row].astype(float), slide,
            np.float32(strength) * ratio,
        )  # fmt: skip

    def inputs(self) -> dict[str, Float32[np.ndarray, "..."]]:
        """The network's inputs `dynamic` and `facts`."""
        away = self.points_px[:, 2:]  # pixels, like x and y
        depth = (away.mean() - away) / max(self.px_per_cm, 1e-6)
        maps = np.concatenate([self.shift_cm, camera_normals(self.points_px), depth], 1)
        carried = _carried(maps)
        dynamic = np.concatenate([carried[:6], self.ratio[None], self.slide, carried[6:]])
        facts = np.concatenate([self.actions, self.gaze_deg])
        return {"dynamic": dynamic.astype(np.float32)[None], "facts": facts.astype(np.float32)[None]}


@dataclass(frozen=True)
class FusionAnswer:
    """gain: natural log, display-referred. flow: texels of the 128 grid, where to read the key. bias: display-referred, in the openings
    only. offset: centimetres on a grid of 16, what the person's mesh does otherwise. visible: 0..1 on a grid of 64."""

    gain: Float32[np.ndarray, "128 128 3"]
    flow: Float32[np.ndarray, "128 128 2"]
    bias: Float32[np.ndarray, "128 128 3"]
    offset: Float32[np.ndarray, "16 16 3"]
    visible: Float32[np.ndarray, "64 64 1"]

    def linear_gain(self, skin: Float32[np.ndarray, "128 128 3"]) -> Float32[np.ndarray, "128 128 3"]:
        """Factor for scene-linear albedo whose display-referred colour is `skin`, with the tone band taken out; 1 off the face."""
        weight, total = _tone_weight()
        soft = cv2.GaussianBlur(self.gain * weight[..., None], (0, 0), TONE_SIGMA) / total[..., None]
        base = np.maximum(skin, 0.02)
        out = srgb_decode(base * np.exp(np.clip(self.gain - soft, -MOST_GAIN, MOST_GAIN))) / srgb_decode(base)
        return np.where(weight[..., None] > 0, out, 1).astype(np.float32)


class Fusion:
    """The fusion network behind its door; threads may share it.

    Args:
        runners: what answers instead of the shipped networks, the half that reads keys and the half that answers.

    Raises:
        WeightsError: a file is missing or cannot be loaded.
    """

    def __init__(self, runners: tuple[Runner, Runner] | None = None, *, threads: int = 1) -> None:
        self._keys, self._moment = runners or (
            Session(NETWORKS[0], threads=threads),
            Session(NETWORKS[1], threads=threads),
        )

    def read(self, key: FusionKey) -> Tensors:
        """What the network keeps of a key, for `answer`."""
        channels = key.channels()
        return {**self._keys.run({"keys": channels[None, None]}), "first": channels[None, 4:]}

    def answer(self, read: Mapping[str, Float32[np.ndarray, "..."]], moment: Moment) -> FusionAnswer:
        """What the key's skin does in this moment."""
        out = self._moment.run({**read, **moment.inputs()})
        return FusionAnswer(*(out[k][0].transpose(1, 2, 0) for k in ("gain", "flow", "bias", "offset", "visible")))


class FusedSkin:
    """What fusion does to one persona's keys in one track: the renderer calls it with (key, row, points).

    Keys are read when they are first used, once.
    """

    def __init__(self, fusion: Fusion, persona: Persona, track: FaceTrack, strength: float = 1.0) -> None:
        self._fusion, self._persona, self._track, self._strength = fusion, persona, track, strength
        self._read: dict[int, tuple[FusionKey, Tensors]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: int, row: int, points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "128 128 5"]:
        """Per texel of the grid: where to read the atlas beside its own place (x, y as shares of its side), and the factor r g b of its
        scene-linear colour."""
        seen, read = self._key(key)
        answer = self._fusion.answer(read, Moment.of_track(self._track, row, points_px, self._strength))
        return np.concatenate([answer.flow / np.float32(SIZE), answer.linear_gain(seen.skin)], 2)

    def _key(self, number: int) -> tuple[FusionKey, Tensors]:
        with self._lock:
            if number not in self._read:
                key = FusionKey.of_atlas(self._persona.keys[number])
                self._read[number] = key, self._fusion.read(key)
            return self._read[number]


def _plate_skin(sample: TrackSample) -> tuple[Float32[np.ndarray, "2 128 128"], Float32[np.ndarray, "128 128"]]:
    """Slide in texels and ratio in natural log. A performance without them (and a written one) has its creases; its skin stays at the mesh."""
    side = (SIZE, SIZE)
    if sample.slide is None or sample.ratio is None:
        shade = cv2.resize(wrinkle_log(sample.wrinkles), side, interpolation=cv2.INTER_AREA)
        return np.zeros((2, SIZE, SIZE), np.float32), shade / np.float32(GAMMA)
    small = sample.slide.astype(np.float32).transpose(1, 2, 0) / SLIDE_STEPS
    slide = cv2.resize(small, side, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    return slide, sample.ratio.astype(np.float32) / np.float32(RATIO_STEPS)


@lru_cache(maxsize=1)
def _tone_weight() -> tuple[Float32[np.ndarray, "128 128"], Float32[np.ndarray, "128 128"]]:
    weight = uv_grid(SIZE).covered.astype(np.float32)
    return weight, cv2.GaussianBlur(weight, (0, 0), TONE_SIGMA) + np.float32(1e-3)


def _carried(values: Float[np.ndarray, "478 c"]) -> Float32[np.ndarray, "c 128 128"]:
    return uv_grid(SIZE).carried(values.astype(np.float32)).transpose(2, 0, 1)
