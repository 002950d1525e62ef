"""Creases that come and go: the expression ratio image of a track (Liu, Shan & Zhang 2001).

    change(t) = band(log luma(t) - log light(t)) - band(log luma(rest) - log light(rest))        on the UV grid
    ratio(t) = band(log luma(t) - log light(t)) where there is change, 1 (log 0) elsewhere

It is what a performer's skin does beyond itself at rest: crow's feet, frowns, folds of the cheek. Applied to a persona it makes
*that* face crease where the plate's does. Rest is found texel by texel: it is the skin of those frames in which the neighbourhood
is smoothest. A neutral face would be one pose for all of it, and who cries or grins from the first frame to the last shows none:
against a mean of half-deep folds, both the deeper and the shallower ones would come out as creases.

Who cries throughout has folds in his smoothest frames too. They are told from skin by what they do: moles, pores and the lines
of a face have no reason to look like that which comes and goes there. So what rest has in common with the change from the
smoothest to the roughest frames, in a neighbourhood, is a shallower fold and no rest (`without_folds`).

Taken naively a ratio also carries bright and dark rims wherever features, moles or hair slipped by a fraction of a pixel. So the
change has to be larger than what such a slip would make of the rest's own edges, and larger than the frames at rest differ among
themselves, before it counts; near features it never does. Where it counts, the skin is taken as it is filmed, not what rest
leaves of it: a fold that lies a little further on than at rest is one fold, not a dark one beside a bright one. Creases are
dark: a bright ridge beside one is allowed a quarter of its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.perception.light import shading
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import BROWS, NOSTRILS, OUTER_LIPS, camera_normals, face_model, surface_distance
from digidouble.schema.track import WRINKLE_GRID, wrinkle_steps

LUMA_SIDE = 192  # side of the kept luma crop
MARGIN = 1.1  # of the crop over the mesh's box
BAND = 0.035  # of the face's width: what varies more slowly is light
SLIP_TEXELS = 0.25  # how far the mesh may be off without anything counting as a crease
FLOOR = 0.015  # natural log: smaller differences are noise
SURE = 1 / 3  # of a change's energy beyond what a slip makes: from there on the skin is taken as it is filmed
DEEPEST, BRIGHTEST = 1.5, 0.35  # natural log
OVER_TIME = np.array([0.1, 0.2, 0.4, 0.2, 0.1], np.float32)
REST_SHARE = 0.15  # of the frames, by the smoothness of a texel's neighbourhood: those at rest there
REST_TEXELS = 4.0  # sigma of that neighbourhood
CREASED_SHARE = 0.3  # of the frames, the roughest: those that show how a texel's neighbourhood folds
FOLD_TEXELS = 5.0  # sigma of the neighbourhood in which rest is compared with a fold
SHALLOW = 2.0  # a fold at rest is at most so many times what it deepens by
SEEN_SHARE = 0.25  # of the frames in which skin must be visible to count as seen
NOSE_HALF_CM, NOSE_CM = 2.4, (0.8, -4.9)  # half its width, and from where to where it reaches, above the eyes
LIPS_CM = (2.7, 1.3)  # half axes of the ellipse around the mouth that does not fold
LIDS_CM = (3.05, 1.75, 2.2)  # of an eye with what is under it: how far out, and half axes
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


def smoothest(
    bands: Float32[np.ndarray, "n w w"], visible: Float32[np.ndarray, "n w w"]
) -> tuple[Float32[np.ndarray, "n w w"], Float32[np.ndarray, "n w w"]]:
    """Weight of every frame for every texel: `visible` in the REST_SHARE of the frames that see it and are smoothest around it,
    next to nothing in the others; and the same for the CREASED_SHARE that are roughest."""
    inside = visible * gate()
    energy = (_blurred(b * b * w, REST_TEXELS) for b, w in zip(bands, inside, strict=True))
    rough = np.stack([e / (_blurred(w, REST_TEXELS) + np.float32(1e-2)) for e, w in zip(energy, inside, strict=True)])
    sees = visible > 0.05
    order = np.sort(np.where(sees, rough, np.float32(np.inf)), axis=0)

    def ranked(share: float) -> Float32[np.ndarray, "w w"]:
        at = np.clip(np.ceil(share * sees.sum(0)).astype(int) - 1, 0, len(bands) - 1)
        return np.take_along_axis(order, at[None], 0)[0]

    def weight(use: Bool[np.ndarray, "n w w"]) -> Float32[np.ndarray, "n w w"]:
        return np.where(use & sees, visible, np.float32(1e-3) * visible) + np.float32(1e-6)

    return weight(rough <= ranked(REST_SHARE)), weight(rough > ranked(1 - CREASED_SHARE))


def without_folds(
    rest: Float32[np.ndarray, "w w"], creased: Float32[np.ndarray, "w w"], noise: Float32[np.ndarray, "w w"],
    seen: Float32[np.ndarray, "w w"],
) -> Float32[np.ndarray, "w w"]:  # fmt: skip
    """The band at rest without what of it is a shallower fold of those that `creased` has deeper. `noise`: energy of differences that
    say nothing."""
    fold, inside = creased - rest, gate() * seen
    alike = _blurred(rest * fold * inside, FOLD_TEXELS)
    share = np.clip(alike / (_blurred((fold**2 + noise) * inside, FOLD_TEXELS) + np.float32(1e-8)), 0, SHALLOW)
    return rest - _blurred(share * inside, 2.0) / (_blurred(inside, 2.0) + np.float32(1e-2)) * fold


def _least(band: Float32[np.ndarray, "w w"], spread: Float32[np.ndarray, "w w"]) -> Float32[np.ndarray, "w w"]:
    """Energy of what a slip and the frames at rest themselves make."""
    soft = _blurred(band, 1.0)
    slope = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8))
    return _blurred((FLOOR + SLIP_TEXELS * slope) ** 2 + spread, 2.0)


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
        smooth, rough = smoothest(bands, visible)
        total = smooth.sum(0)
        mean = (bands * smooth).sum(0) / total
        spread = (smooth * (bands - mean) ** 2).sum(0) / total
        creased = (bands * rough).sum(0) / rough.sum(0)
        seen = cv2.erode(np.clip(visible.sum(0) / (SEEN_SHARE * len(looks)), 0, 1), np.ones((5, 5)))
        skin = without_folds(mean, creased, _least(mean, spread), seen)
        return cls(skin, _least(skin, spread), seen)

    def change(self, look: Look) -> Float32[np.ndarray, "w w"]:
        """One frame's band over that at rest, nothing where something is in front of the skin."""
        return (look.band() - self.band) * look.visible.astype(np.float32)

    def ratio(
        self, changes: Float32[np.ndarray, "5 w w"], visible: Float[np.ndarray, "w w"]
    ) -> Int8[np.ndarray, "w w"]:
        """Crease gain of the middle one of five frames, as `wrinkle_steps` keeps it."""
        change = _blurred(np.tensordot(OVER_TIME, changes, 1), 0.7)
        allowed = gate() * self.seen * visible.astype(np.float32)
        energy = _blurred(change**2 * allowed, 3.0) / (_blurred(allowed, 3.0) + np.float32(1e-2))
        keep = np.clip((energy - self.least) / (energy + np.float32(1e-6)), 0, 1) * allowed
        fold = change + np.clip(keep / SURE, 0, 1) * _blurred(self.band, 0.7) * visible.astype(np.float32)
        limit = np.where(fold > 0, np.float32(BRIGHTEST), np.float32(DEEPEST))
        return wrinkle_steps(limit * np.tanh(fold / limit) * keep)
