"""Creases that come and go: the expression ratio image of a track (Liu, Shan & Zhang 2001).

    ratio(t) = band(log luma(t) - log light(t)) - band(log luma(rest) - log light(rest))        on the UV grid

It is what a performer's skin does beyond itself at rest: crow's feet, frowns, folds of the cheek. Applied to a persona it makes
*that* face crease where the plate's does. Rest is found texel by texel: it is the skin of those frames in which the neighbourhood
is smoothest. A neutral face would be one pose for all of it, and who cries or grins from the first frame to the last shows none:
against a mean of half-deep folds, both the deeper and the shallower ones would come out as creases.

Taken naively a ratio also carries bright and dark rims wherever features, moles or hair slipped by a fraction of a pixel. So it
has to be larger than what such a slip would make of the rest's own edges, and larger than the frames at rest differ among
themselves, before it counts; near features it never does. Creases are dark: a bright ridge beside one is allowed a third of its
depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int8, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.perception.light import shading
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import BROWS, NOSTRILS, OUTER_LIPS, camera_normals, face_model, surface_distance
from digidouble.schema.track import WRINKLE_GRID, WRINKLE_RANGE

LUMA_SIDE = 192  # side of the kept luma crop
MARGIN = 1.1  # of the crop over the mesh's box
BAND = 0.035  # of the face's width: what varies more slowly is light
SLIP_TEXELS = 0.25  # how far the mesh may be off without anything counting as a crease
FLOOR = 0.015  # natural log: smaller differences are noise
DEEPEST, BRIGHTEST = 0.9, 0.3  # natural log
OVER_TIME = np.array([0.1, 0.2, 0.4, 0.2, 0.1], np.float32)
REST_SHARE = 0.15  # of the frames, by the smoothness of a texel's neighbourhood: those at rest there
REST_TEXELS = 4.0  # sigma of that neighbourhood
SEEN_SHARE = 0.25  # of the frames in which skin must be visible to count as seen
NOSE_HALF_CM, NOSE_CM = 1.7, (0.8, -4.9)  # half its width, and from where to where it reaches, above the eyes
LIPS_CM = (3.0, 1.5)  # half axes of the ellipse around the mouth that does not fold
LIDS_CM = (3.2, 1.9, 1.15)  # of an eye: how far out, and half axes
BLACK = 0.004  # added to linear luma before the logarithm


def luma_placement(points_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "2 3"]:
    """Plate pixels from pixels of the luma crop: an upright square around the mesh."""
    low, high = points_px[:, :2].min(0), points_px[:, :2].max(0)
    step = max(float((high - low).max()) * MARGIN, 8.0) / LUMA_SIDE
    start = (low + high) / 2 - step * (LUMA_SIDE - 1) / 2
    return np.array([[step, 0, start[0]], [0, step, start[1]]])


def luma_crop(rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "l l"]:
    """Display luma of the face, LUMA_SIDE square: all that the second pass needs to find creases."""
    return cv2.cvtColor(sample_affine(rgb8, luma_placement(points_px), LUMA_SIDE), cv2.COLOR_RGB2GRAY)


@lru_cache(maxsize=1)
def gate() -> Float32[np.ndarray, "w w"]:
    """1 where skin may crease, 0 at eyes, brows, nose, lips and the oval, smooth between.

    The nose and the skin right at lids and lips do not fold in an expression, they move: what a ratio finds there is the shape of the
    performer's own features. Let through, it cost a fifth of the identity margin (docs/architecture.md).
    """
    m, grid = face_model(), uv_grid(WRINKLE_GRID)
    features = np.concatenate([BROWS, OUTER_LIPS, NOSTRILS])
    near = np.minimum(surface_distance(m.mean_cm, m.triangles, features), m.hole_cm)
    allowed = np.clip((near - 0.15) / 0.35, 0, 1) * np.clip((m.rim_cm - 0.3) / 0.7, 0, 1)
    place = grid.carried(m.mean_cm)
    x, y = np.abs(place[..., 0]), place[..., 1]
    nose = (x < NOSE_HALF_CM) & (y < NOSE_CM[0]) & (y > NOSE_CM[1])
    lips = (x / LIPS_CM[0]) ** 2 + ((y - m.mean_cm[OUTER_LIPS, 1].mean()) / LIPS_CM[1]) ** 2 < 1
    lids = ((x - LIDS_CM[0]) / LIDS_CM[1]) ** 2 + (y / LIDS_CM[2]) ** 2 < 1
    folds = cv2.GaussianBlur((~(nose | lips | lids)).astype(np.float32), (0, 0), 2)
    return grid.carried(allowed[:, None].astype(np.float32))[..., 0] * folds


@lru_cache(maxsize=1)
def _linear_log() -> Float32[np.ndarray, "256"]:
    """Natural log of linear light by 8-bit display value."""
    return np.log((np.arange(256) / 255) ** 2.2 + BLACK).astype(np.float32)


def _blurred(values: Float32[np.ndarray, "w w"], sigma: float) -> Float32[np.ndarray, "w w"]:
    return cv2.GaussianBlur(values, (0, 0), sigma)


@dataclass(frozen=True)
class Look:
    """One frame as the ratio needs it: the mesh that its luma was cut by, the mesh to read at, light, visibility on the UV grid."""

    luma: UInt8[np.ndarray, "l l"]
    taken_at_px: Float[np.ndarray, "478 3"]
    points_px: Float[np.ndarray, "478 3"]
    light_sh: Float[np.ndarray, "9 3"]
    visible: Float[np.ndarray, "w w"]

    def luma_on(self, side: int) -> UInt8[np.ndarray, "s s"]:
        """Display luma on the UV grid of `side` texels."""
        crop = luma_placement(self.taken_at_px)
        at = uv_grid(side).carried(((self.points_px[:, :2] - crop[:, 2]) / crop[0, 0]).astype(np.float32))
        read = cv2.remap(self.luma, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(read, np.uint8)

    def band(self) -> Float32[np.ndarray, "w w"]:
        """Log luma with the light divided out, without what varies slowly."""
        lit = shading(self.light_sh, camera_normals(self.points_px)).astype(np.float32) @ LUMA
        light = uv_grid(WRINKLE_GRID).carried(np.log(lit + 1e-5)[:, None])[..., 0]
        flat = _linear_log()[self.luma_on(WRINKLE_GRID)] - light
        weight = self.visible.astype(np.float32) * gate() + np.float32(1e-3)
        sigma = BAND * WRINKLE_GRID
        return flat - _blurred(flat * weight, sigma) / _blurred(weight, sigma)


def at_rest(bands: Float32[np.ndarray, "n w w"], visible: Float32[np.ndarray, "n w w"]) -> Float32[np.ndarray, "n w w"]:
    """Weight of every frame for every texel: `visible` in the REST_SHARE of the frames that see it and are smoothest around it,
    next to nothing in the others."""
    inside = visible * gate()
    energy = (_blurred(b * b * w, REST_TEXELS) for b, w in zip(bands, inside, strict=True))
    rough = np.stack([e / (_blurred(w, REST_TEXELS) + np.float32(1e-2)) for e, w in zip(energy, inside, strict=True)])
    order = np.sort(np.where(visible > 0.05, rough, np.float32(np.inf)), axis=0)
    seeing = np.isfinite(order).sum(0)
    last = np.clip(np.ceil(REST_SHARE * seeing).astype(int) - 1, 0, len(bands) - 1)
    limit = np.take_along_axis(order, last[None], 0)
    return np.where((rough <= limit) & (visible > 0.05), visible, np.float32(1e-3) * visible) + np.float32(1e-6)


@dataclass(frozen=True)
class Rest:
    """Attributes: band: of the skin at rest, every texel by itself. least: what a ratio must exceed (energy, natural log squared).
    seen: 0..1, whether the skin was seen often enough; what was not has nothing to be compared with."""

    band: Float32[np.ndarray, "w w"]
    least: Float32[np.ndarray, "w w"]
    seen: Float32[np.ndarray, "w w"]

    @classmethod
    def of(cls, looks: list[Look]) -> Rest:
        """From looks spread over a track."""
        bands = np.stack([k.band() for k in looks])
        visible = np.stack([k.visible for k in looks]).astype(np.float32)
        weight = at_rest(bands, visible)
        total = weight.sum(0)
        mean = (bands * weight).sum(0) / total
        spread = (weight * (bands - mean) ** 2).sum(0) / total
        soft = _blurred(mean, 1.0)
        slope = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8))
        seen = np.clip(visible.sum(0) / (SEEN_SHARE * len(looks)), 0, 1)
        return cls(mean, _blurred((FLOOR + SLIP_TEXELS * slope) ** 2 + spread, 2.0), cv2.erode(seen, np.ones((5, 5))))

    def change(self, look: Look) -> Float32[np.ndarray, "w w"]:
        """One frame's band over that at rest, nothing where something is in front of the skin."""
        return (look.band() - self.band) * look.visible.astype(np.float32)

    def ratio(
        self, changes: Float32[np.ndarray, "5 w w"], visible: Float[np.ndarray, "w w"]
    ) -> Int8[np.ndarray, "w w"]:
        """Crease gain of the middle one of five frames, in steps of WRINKLE_RANGE / 127 natural log."""
        change = _blurred(np.tensordot(OVER_TIME, changes, 1), 0.7)
        allowed = gate() * self.seen * visible.astype(np.float32)
        energy = _blurred(change**2 * allowed, 3.0) / (_blurred(allowed, 3.0) + np.float32(1e-2))
        keep = np.clip((energy - self.least) / (energy + np.float32(1e-6)), 0, 1) * allowed
        limit = np.where(change > 0, np.float32(BRIGHTEST), np.float32(DEEPEST))
        gain = limit * np.tanh(change / limit) * keep
        return np.round(127 / WRINKLE_RANGE * np.clip(gain, -WRINKLE_RANGE, WRINKLE_RANGE)).astype(np.int8)
