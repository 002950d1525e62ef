"""How this person's skin creases and shades in an expression nobody filmed: the door of the fusion network.

A vision transformer with two token streams (`training/fusion/model.py`): the persona's key atlases, and what the face does now.
It answers on the 128-texel UV grid with a gain, a residual flow of the first key and a bias inside the openings. The network
that was trained does not yet beat the keys by enough (`training/fusion/MODEL_CARD.md`), so no weights are shipped and nothing
calls this door by itself: give it the file of a trained one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError, WeightsError
from digidouble.perception.session import Runner, Session
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mesh import FLIP_YZ, face_model, vertex_normals
from digidouble.schema.transfer import srgb_decode, srgb_encode

SIZE = 128
ACTIONS = 26
TONE_SIGMA = 8.8  # texels: the band that render.light takes from the plate, which a gain must leave alone
MOST_GAIN = 1.2  # natural log, display-referred


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
    def of_atlas(
        cls,
        albedo: Float32[np.ndarray, "s s 3"],
        confidence: Float32[np.ndarray, "s s"],
        shift_cm: Float[np.ndarray, "478 3"],
    ) -> FusionKey:
        """From a scene-linear atlas and confidence 0..1 of any size."""
        skin = cv2.resize(np.ascontiguousarray(albedo, np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(np.ascontiguousarray(confidence, np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cls(srgb_encode(np.clip(skin, 0, 1)), np.clip(seen, 0, 1), shift_cm)


@dataclass(frozen=True)
class Moment:
    """What the face does in one frame: `shift_cm` is the track's shape minus its neutral in the head frame, `points_px` the
    double's mesh (for its normals), `actions` and `gaze_deg` are the track's, `ratio` the plate's band-limited log luminance
    over its own neutral, None when unknown."""

    shift_cm: Float[np.ndarray, "478 3"]
    points_px: Float[np.ndarray, "478 3"]
    actions: Float[np.ndarray, "26"]
    gaze_deg: Float[np.ndarray, "2"]
    ratio: Float32[np.ndarray, "128 128"] | None = None


@dataclass(frozen=True)
class FusionAnswer:
    """gain: natural log, display-referred. flow: texels of the 128 grid, where to read the key. bias: display-referred, in the
    openings only."""

    gain: Float32[np.ndarray, "128 128 3"]
    flow: Float32[np.ndarray, "128 128 2"]
    bias: Float32[np.ndarray, "128 128 3"]

    def linear_gain(self, skin: Float32[np.ndarray, "128 128 3"]) -> Float32[np.ndarray, "128 128 3"]:
        """Factor for scene-linear albedo whose display-referred colour is `skin`, with the tone band taken out; 1 off the face."""
        covered = uv_grid(SIZE).covered
        weight = covered.astype(np.float32)
        soft = cv2.GaussianBlur(self.gain * weight[..., None], (0, 0), TONE_SIGMA)
        soft /= cv2.GaussianBlur(weight, (0, 0), TONE_SIGMA)[..., None] + 1e-3
        base = np.maximum(skin, 0.02)
        out = srgb_decode(base * np.exp(np.clip(self.gain - soft, -MOST_GAIN, MOST_GAIN))) / srgb_decode(base)
        return np.where(covered[..., None], out, 1).astype(np.float32)


class Fusion:
    """The fusion network behind its door.

    Args:
        source: an ONNX file of the contract in `training/fusion/model.py`.
        runner: something else that answers, for tests.

    Raises:
        WeightsError: the file is missing or cannot be loaded.
    """

    def __init__(self, source: Path | None = None, *, runner: Runner | None = None, threads: int = 1) -> None:
        if runner is None and source is None:
            raise WeightsError(
                "no fusion network is shipped; train one with training/fusion/train.py and give its file"
            )
        self._runner = runner or Session(source or Path(), threads=threads)

    def answer(self, keys: Sequence[FusionKey], moment: Moment) -> FusionAnswer:
        """What the first key's skin does in this moment; the other keys are only looked at.

        Raises:
            SettingsError: there is no key, or an array has the wrong size.
        """
        if not keys:
            raise SettingsError("fusion needs at least one key atlas")
        out = self._runner.run(
            {
                "keys": np.stack([_key_channels(k) for k in keys])[None],
                "dynamic": _moment_channels(moment)[None],
                "facts": np.concatenate([moment.actions, moment.gaze_deg]).astype(np.float32)[None],
            }
        )
        return FusionAnswer(*(out[k][0].transpose(1, 2, 0) for k in ("gain", "flow", "bias")))


def _carried(values: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "3 128 128"]:
    if values.shape != (478, 3):
        raise SettingsError(f"fusion: mesh values of shape {values.shape}, expected (478, 3)")
    return uv_grid(SIZE).carried(values.astype(np.float32)).transpose(2, 0, 1)


def _key_channels(key: FusionKey) -> Float32[np.ndarray, "7 128 128"]:
    if key.skin.shape != (SIZE, SIZE, 3) or key.seen.shape != (SIZE, SIZE):
        raise SettingsError(
            f"fusion: a key of {key.skin.shape} and {key.seen.shape}, expected 128 x 128 (FusionKey.of_atlas)"
        )
    return np.concatenate([key.skin.transpose(2, 0, 1), key.seen[None], _carried(key.shift_cm)]).astype(np.float32)


def _moment_channels(moment: Moment) -> Float32[np.ndarray, "7 128 128"]:
    if moment.actions.shape != (ACTIONS,) or moment.gaze_deg.shape != (2,):
        raise SettingsError(
            f"fusion: {moment.actions.shape} actions and {moment.gaze_deg.shape} gaze, expected (26,) and (2,)"
        )
    normals = vertex_normals(moment.points_px * FLIP_YZ, face_model().triangles)
    ratio = np.zeros((SIZE, SIZE), np.float32) if moment.ratio is None else moment.ratio
    return np.concatenate([_carried(moment.shift_cm), _carried(normals), ratio[None]]).astype(np.float32)
