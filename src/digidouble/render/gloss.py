"""The shine of skin: one specular lobe over the light match (Blinn 1977, normals halfway between lamp and eye).

    shine(n) = strength x plate skin x max(n . h, 0) ^ exponent            h = unit(key direction + view)

The light match (`render.light`) follows the plate down to a tenth of the face's width; highlights of nose, cheek bones and
forehead are finer. What they lack is measured: plate minus persona as relit, both over their mean and without what varies
slowly, against lobes of many directions and exponents that lost the same. A persona with highlights baked into its skin lacks
less, and gets less; a nose that is brighter than a cheek in any light is so in both, and cancels. One lobe a track: lamps stand still, and
nothing flickers; it is scaled by the skin's brightness in every frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.light import dominant_direction, shading
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import camera_normals
from digidouble.schema.track import SKIN_GRID, FaceTrack

VIEW = np.array([0.0, 0.0, 1.0])  # towards the camera
LOOKS = 12  # frames of the track that are asked
SLOW_TEXELS = 5.0  # as `light.INSIDE_TEXELS`: what varies more slowly the light match has brought along
DOUBLINGS = (3, 4, 5)  # exponents 8, 16, 32: skin at the grid's resolution
MOST = 0.3  # of the skin's mean radiance
LEAST_LIKE, SURELY_LIKE = 0.2, 0.4  # correlation of what is missing with the lobe: none below, all from there on
LEAST_KEY, SURELY_KEY = 0.15, 0.35  # order-1 over order-0 light: a plate lit flatly has no key
NEAR_DEG, FAR_DEG = 35.0, 60.0  # from the diffuse light's direction: a lamp counts in full, not at all
LOWEST_Z = -0.25  # a lamp further behind the face leaves no highlight to the camera but at the rim


@dataclass(frozen=True)
class Lobe:
    """Attributes: key: unit vector to the lamp, camera axes (x right, y up, z to the viewer). doublings: the exponent is 2 to
    this. strength: peak over the plate skin's mean radiance, per channel; zero is no lobe."""

    key: Float[np.ndarray, "3"]
    doublings: int
    strength: Float[np.ndarray, "3"]

    @property
    def half(self) -> Float[np.ndarray, "3"]:
        """Halfway between the lamp and the camera, unit length."""
        h = self.key + VIEW
        return h / max(float(np.linalg.norm(h)), 1e-9)

    @property
    def shines(self) -> bool:
        return bool(self.strength.max() > 0.01)

    def shape(self, normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """0..1 at unit normals."""
        return np.maximum(normals @ self.half, 0) ** (2**self.doublings)


NONE = Lobe(VIEW, DOUBLINGS[0], np.zeros(3))


@lru_cache(maxsize=1)
def _directions() -> Float[np.ndarray, "d 3"]:
    """Unit vectors over the half sphere before the face, about 8 degrees apart (a Fibonacci spiral)."""
    n = 420
    z = 1 - (np.arange(n) + 0.5) / n * (1 - LOWEST_Z)
    a = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(a), r * np.sin(a), z], -1)


def _quick(values: Float32[np.ndarray, "g g c"], weight: Float32[np.ndarray, "g g"]) -> Float32[np.ndarray, "g g c"]:
    """What the light match does not bring along, times weight."""
    soft = cv2.GaussianBlur(values * weight[..., None], (0, 0), SLOW_TEXELS, borderType=cv2.BORDER_CONSTANT)
    norm = cv2.GaussianBlur(weight, (0, 0), SLOW_TEXELS, borderType=cv2.BORDER_CONSTANT)
    return (values - soft.reshape(values.shape) / (norm[..., None] + np.float32(0.02))) * weight[..., None]


@dataclass(frozen=True)
class Missing:
    """One frame: normals on the skin grid, weight of its texels, and what the double lacks there, over the skin's mean."""

    normals: Float[np.ndarray, "g g 3"]
    weight: Float32[np.ndarray, "g g"]
    lacks: Float32[np.ndarray, "g g 3"]


def missing(
    skin: Float32[np.ndarray, "g g 3"],
    weight: Float32[np.ndarray, "g g"],
    relit: Float32[np.ndarray, "g g 3"],
    normals: Float[np.ndarray, "g g 3"],
) -> Missing:
    """From the plate's skin and the persona's under the plate's diffuse light."""
    total = max(float(weight.sum()), 1e-3)
    plate, double = (
        _quick(x / np.maximum((x * weight[..., None]).sum((0, 1)) / total, 1e-5), weight) for x in (skin, relit)
    )
    return Missing(normals, weight, (plate - double).astype(np.float32))


def fit_lobe(frames: list[Missing], towards: Float[np.ndarray, "3"]) -> Lobe:
    """The lobe that explains most of what is missing. `towards`: direction of the diffuse light, camera axes.

    Strength is by least squares, scaled down as the fit gets worse, within 0..MOST.
    """
    if not frames:
        return NONE
    lacks = np.concatenate([f.lacks.reshape(-1, 3) for f in frames])
    luma = lacks @ LUMA.astype(np.float32)
    energy = max(float(luma @ luma), 1e-9)

    def tried(
        keys: Float[np.ndarray, "d 3"], doublings: int
    ) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "t d"]]:
        halves = keys + VIEW
        halves /= np.linalg.norm(halves, axis=1, keepdims=True)
        shapes = [
            _quick((np.maximum(f.normals @ halves.T, 0) ** (2**doublings)).astype(np.float32), f.weight).reshape(-1, len(keys))
            for f in frames
        ]  # fmt: skip
        shape = np.concatenate(shapes)
        like = luma @ shape / np.sqrt(np.maximum((shape * shape).sum(0), 1e-9) * energy)
        away = np.degrees(np.arccos(np.clip(keys @ towards, -1, 1)))
        near = np.clip((FAR_DEG - away) / (FAR_DEG - NEAR_DEG), 0, 1)
        return np.maximum(like, 0) * near, shape

    coarse = [
        (*_best(tried(_directions()[k : k + 60], d)[0], k), d)
        for d in DOUBLINGS
        for k in range(0, len(_directions()), 60)
    ]
    _, start, doublings = max(coarse)
    around = _around(_directions()[start])
    scores, shape = tried(around, doublings)
    best = int(scores.argmax())
    column = shape[:, best]
    own = max(float(column @ column), 1e-9)
    like = float(luma @ column) / np.sqrt(own * energy)
    sure = np.clip((like - LEAST_LIKE) / (SURELY_LIKE - LEAST_LIKE), 0, 1)
    strength = np.maximum(sure * (lacks.T @ column) / own, 0).astype(np.float64)
    return Lobe(around[best], doublings, strength * min(1.0, MOST / max(float(strength.max()), 1e-9)))


def _best(scores: Float[np.ndarray, "d"], first: int) -> tuple[float, int]:
    k = int(scores.argmax())
    return float(scores[k]), first + k


def _around(key: Float[np.ndarray, "3"]) -> Float[np.ndarray, "d 3"]:
    """Directions up to 8 degrees from one, 2 degrees apart."""
    side = np.cross(key, [0.0, 1.0, 0.0] if abs(key[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    up = np.cross(side, key)
    a, b = np.meshgrid(*[np.tan(np.radians(np.arange(-8, 9, 2.0)))] * 2)
    out = key + a.reshape(-1, 1) * side + b.reshape(-1, 1) * up
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def key_share(light_sh: Float[np.ndarray, "9 3"]) -> float:
    """0..1, how far a light has a direction at all."""
    ratio = float(np.linalg.norm(light_sh[1:4] @ LUMA)) / max(float(light_sh[0] @ LUMA), 1e-6)
    return float(np.clip((ratio - LEAST_KEY) / (SURELY_KEY - LEAST_KEY), 0, 1))


def plate_lobe(track: FaceTrack, albedo_of_row: Callable[[int], Float32[np.ndarray, "g g 3"]]) -> Lobe:
    """The lobe of a track for a persona, `albedo_of_row` on the skin grid; `NONE` where the light is flat or the face hidden."""
    shown = np.flatnonzero(track.presence > 0.5)
    if not len(shown):
        return NONE
    rows = shown[np.linspace(0, len(shown) - 1, min(LOOKS, len(shown))).round().astype(int)]
    light = track.light_sh[rows].astype(np.float64).mean(0)
    share = key_share(light)
    if share <= 0:
        return NONE
    frames, grid = [], uv_grid(SKIN_GRID)
    for r in rows:
        sample = track.sample(track.frames.start + int(r))
        weight = sample.skin_weight.astype(np.float32) / 255
        if weight.sum() < 20:
            continue
        normals = camera_normals(sample.points_px)
        relit = albedo_of_row(int(r)) * grid.carried(shading(track.light_sh[r], normals).astype(np.float32))
        skin, facing = np.maximum(sample.skin_linear.astype(np.float32), 0), grid.carried(normals.astype(np.float32))
        frames.append(missing(skin, weight, relit, _unit(facing)))
    lobe = fit_lobe(frames, dominant_direction(light))
    return Lobe(lobe.key, lobe.doublings, share * lobe.strength)


def _unit(v: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6)
