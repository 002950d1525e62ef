"""Skin contrast and hues: how much the colour and the brightness of skin vary from place to place, and what no light makes of hair.

A source lit by a warm lamp has almost no blue to tell skin tones apart with; relit for a bright plate its blotches would be
amplified. So the persona's skin takes no more chroma variation than the plate's own skin shows at the same scale. Brightness
detail (wrinkles, moles) is identity: it is only held back where a hard print would look burnt into a soft picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import OUTER_LIPS, face_model
from digidouble.schema.track import SKIN_GRID, FaceTrack

LOOKS = 8  # frames of the track that are asked
LEAST_CHROMA = 0.25  # share of chroma variation that always stays
LEAST_LUMA = 0.55  # share of brightness variation that always stays
FREE_LUMA = 1.6  # times the plate's own brightness variation is nobody's business
# Natural log: folds any deeper are those of a hard light, and red with it.
MOST_DETAIL = np.array([0.1, 0.1, 0.1, 0.4], np.float32)
MOST_RED, ORANGE = 0.2, 0.5  # natural log of red over green, and of green over blue, against the skin's
SPOT = 0.06  # of the face's width: the widest mole
PORES, FOLDS = 0.005, 0.035  # of the face's width: folds of a key lie between
MOST_CREASE = 0.7  # natural log
SCALE = 0.07  # of the face's width: what varies more slowly is light, and matched elsewhere


def _chroma(linear: Float32[np.ndarray, "s s 3"], floor: float) -> Float32[np.ndarray, "s s 3"]:
    """Log of each channel over luminance."""
    x = np.maximum(linear, 0) + floor
    return np.log(x) - np.log(x @ LUMA)[..., None]


def _detail(
    values: Float32[np.ndarray, "s s 4"], weight: Float32[np.ndarray, "s s"], sigma: float
) -> Float32[np.ndarray, "s s 4"]:
    """What varies faster than `sigma` texels where the weight is, zero elsewhere."""
    soft = cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma)
    norm = cv2.GaussianBlur(weight, (0, 0), sigma)
    return (values - soft / (norm[..., None] + 1e-3)) * weight[..., None]


def _floor(linear: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"]) -> float:
    """What is added before a logarithm: 3 % of the skin's mean brightness."""
    return 0.03 * float((linear @ LUMA * weight).sum() / max(float(weight.sum()), 1e-3)) + 1e-5


def _parts(linear: Float32[np.ndarray, "s s 3"], floor: float) -> Float32[np.ndarray, "s s 4"]:
    """Three chroma channels and log brightness."""
    return np.dstack([_chroma(linear, floor), np.log(np.maximum(linear @ LUMA, 0) + floor)])


def _spread(linear: Float32[np.ndarray, "g g 3"], weight: Float32[np.ndarray, "g g"]) -> Float[np.ndarray, "4"]:
    """Standard deviation of chroma and brightness detail on the coarse grid."""
    d = _detail(_parts(linear, _floor(linear, weight)), weight, SCALE * SKIN_GRID)
    return np.sqrt((d**2 * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-3))


@dataclass(frozen=True)
class PlateSkin:
    """What the plate's skin is like over a track. `spread`: of red, green, blue chroma and of brightness. `linear`: its mean colour.
    `veil`: see `FaceTrack.veil`."""

    spread: Float[np.ndarray, "4"]
    linear: Float[np.ndarray, "3"]
    veil: Float[np.ndarray, "3"]


def plate_skin(track: FaceTrack) -> PlateSkin | None:
    """Medians over a few frames of a track; None when its skin is never to be seen."""
    shown = np.flatnonzero(track.presence > 0.5)
    if not len(shown):
        return None
    spread, colour = [], []
    for r in shown[np.linspace(0, len(shown) - 1, min(LOOKS, len(shown))).round().astype(int)]:
        sample = track.sample(track.frames.start + int(r))
        weight, skin = sample.skin_weight.astype(np.float32) / 255, sample.skin_linear.astype(np.float32)
        if weight.sum() > 1:  # a plate that shows no skin does not ask for skin without detail
            spread.append(_spread(skin, weight))
            colour.append((skin * weight[..., None]).sum((0, 1)) / weight.sum())
    return PlateSkin(np.median(spread, 0), np.median(colour, 0), track.veil) if spread else None


def contrast_share(plate: PlateSkin | None, albedo_grid: Float32[np.ndarray, "g g 3"]) -> Float[np.ndarray, "4"]:
    """Share of the persona's skin detail to keep, in the order of `PlateSkin.spread`; at most 1."""
    if plate is None:
        return np.ones(4)
    own = _spread(albedo_grid, uv_grid(SKIN_GRID).skin.astype(np.float32))
    share = np.array([1.15, 1.15, 1.15, FREE_LUMA]) * plate.spread / np.maximum(own, 1e-4)
    return np.clip(share, [LEAST_CHROMA, LEAST_CHROMA, LEAST_CHROMA, LEAST_LUMA], 1)


@lru_cache(maxsize=4)
def _skin_mask(size: int) -> Float32[np.ndarray, "s s"]:
    """1 on skin away from features, soft."""
    return cv2.GaussianBlur(uv_grid(size).skin.astype(np.float32), (0, 0), max(size / 100, 1))


def with_contrast(atlas: Float32[np.ndarray, "s s 3"], share: Float[np.ndarray, "4"]) -> Float32[np.ndarray, "s s 3"]:
    """The atlas with its skin's detail scaled and deep folds made shallower; moles, features and slow changes stay as they are."""
    size = atlas.shape[0]
    mask = _skin_mask(size)
    parts = _parts(atlas, _floor(atlas, mask))
    detail = _detail(parts, mask, SCALE * size) * mask[..., None]
    wanted = share.astype(np.float32) * detail
    fold = _folds(parts[..., 3])[..., None]
    change = wanted + fold * (MOST_DETAIL * np.tanh(wanted / MOST_DETAIL) - wanted) - detail
    out = atlas * np.exp(change[..., :3])
    # Chroma must not change brightness; brightness then changes all channels alike.
    same = (atlas @ LUMA) / np.maximum(out @ LUMA, 1e-6)
    return out * (same * np.exp(change[..., 3]))[..., None]


def _folds(log_luma: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """0..1, where skin is dark in a line rather than in a spot: closing along a line does not fill it, whereas any line fills a spot."""
    size, side = log_luma.shape[0], 256
    small = cv2.erode(cv2.resize(log_luma, (side, side), interpolation=cv2.INTER_AREA), np.ones((3, 3), np.uint8))
    length = int(SPOT * side) | 1
    lines = []
    for angle in np.arange(0, 180, 22.5):
        bar, c, turn = np.zeros((length, length), np.uint8), length // 2, np.radians(angle)
        end = np.round(c * np.array([np.cos(turn), np.sin(turn)])).astype(int)
        cv2.line(bar, tuple(int(v) for v in c - end), tuple(int(v) for v in c + end), 1)
        lines.append(cv2.morphologyEx(small, cv2.MORPH_CLOSE, bar) - small)
    across, along = np.max(lines, 0), np.min(lines, 0)
    share = 1 - np.clip(2 * along / (across + 0.02), 0, 1)
    return cv2.resize(share.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=4)
def _lips(size: int) -> Float32[np.ndarray, "s s"]:
    """1 on the lips and between them, soft outwards."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(face_model().uv[OUTER_LIPS] * size - 0.5).astype(np.int32)], 255)
    reach = 2 * (size // 80) + 1
    return cv2.blur(cv2.dilate(mask, np.ones((reach, reach), np.uint8)).astype(np.float32) / 255, (reach, reach))


def with_calm_reds(atlas: Float32[np.ndarray, "s s 3"], skin: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "s s 3"]:
    """The atlas with no shadow much redder than its skin (`skin`) but on the lips, as bright as before: a limit on hue.

    In the warm light of one lamp the bottom of a fold has hardly any colour but red; in the plate's light it would be a cut.
    Ginger hair and freckles are orange, with less blue than skin has, and stay.
    """
    floor = np.float32(0.03 * float(skin @ LUMA) + 1e-5)
    red, blue = (
        np.log((np.maximum(atlas[..., c], 0) + floor) / (np.maximum(atlas[..., 1], 0) + floor))
        - np.float32(np.log((skin[c] + floor) / (skin[1] + floor)))
        for c in (0, 2)
    )
    dark = np.clip(2 * (1 - (atlas @ LUMA) / (skin @ LUMA + floor)), 0, 1)
    orange = np.clip(-blue / ORANGE, 0, 1)
    red = np.maximum(red, 0)
    less = (MOST_RED * np.tanh(red / MOST_RED) - red) * dark * (1 - orange) * (1 - _lips(atlas.shape[0]))
    out = atlas.copy()
    out[..., 0] = np.maximum((out[..., 0] + floor) * np.exp(less) - floor, 0)
    return out * ((atlas @ LUMA + floor) / (out @ LUMA + floor))[..., None]


def without_blue(
    atlas: Float32[np.ndarray, "s s 3"], skin: Float[np.ndarray, "3"], plate: PlateSkin | None
) -> Float32[np.ndarray, "s s 3"]:
    """The atlas with nothing in it that turns blue when its skin (`skin`) takes the plate's colour: a limit on hue, as for shadows.

    One gain per channel turns the orange skin of a warm room into a pale one, and black brows into blue ones, lips into violet
    ones: phones and grades leave shadows neutral whatever the lamp. What is neither bluer than grey nor than the plate's skin
    nor than it was photographed stays as it is; the rest is brought there, as bright as before.
    """
    if plate is None:
        return atlas
    gain = np.maximum(plate.linear, 1e-5) / np.maximum(skin, 1e-5)
    floor = np.float32(1e-3 * float(np.mean(skin)) + 1e-6)
    x = np.maximum(atlas, 0) + floor
    out = x * gain.astype(np.float32)
    before = out @ LUMA
    for low, high in ((0, 1), (1, 2)):  # green over red, blue over green
        more = float(np.log(gain[high] / gain[low]))
        if more <= 0:
            continue
        own = np.log(x[..., high] / x[..., low])
        most = np.maximum(own, max(0.0, float(np.log(plate.linear[high] / max(plate.linear[low], 1e-5)))))
        out[..., high:] *= np.exp(np.minimum(most - own - more, 0))[..., None]
    return np.maximum(out * (before / (out @ LUMA))[..., None] / gain - floor, 0).astype(np.float32)


def suited(
    atlas: Float32[np.ndarray, "s s 3"], skin: Float[np.ndarray, "3"], plate: PlateSkin | None, share: Float[np.ndarray, "4"]
) -> Float32[np.ndarray, "s s 3"]:  # fmt: skip
    """An atlas whose contrast and hues the plate could show. skin: the persona's; share: from `contrast_share`."""
    skin = skin.astype(np.float32)
    return with_veil(without_blue(with_calm_reds(with_contrast(atlas, share), skin), skin, plate), skin, plate)


def with_veil(
    atlas: Float32[np.ndarray, "s s 3"], skin: Float32[np.ndarray, "3"], plate: PlateSkin | None
) -> Float32[np.ndarray, "s s 3"]:
    """The atlas behind the plate's veil: nothing in it is darker than there, and skin stays as it is."""
    if plate is None or not plate.veil.any():
        return atlas
    return atlas + plate.veil.astype(np.float32) * (skin - atlas)


def with_creases_of(
    atlas: Float32[np.ndarray, "s s 3"], rest: Float32[np.ndarray, "s s 3"], strength: float
) -> Float32[np.ndarray, "s s 3"]:
    """A key's atlas with its skin creased as in `rest`, by `strength` 0..1; colour, light, features and pores stay the key's.

    A key was filmed in one expression and is shown for others like it, cross-faded in and out: its folds would come and go with
    the keys. Those of the plate come and go with the plate.
    """
    size = atlas.shape[0]
    mask = _skin_mask(size)

    def creases(linear: Float32[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "s s"]:
        luma = np.log(np.maximum(linear @ LUMA, 0) + _floor(linear, mask))
        fine, coarse = (
            cv2.GaussianBlur(luma * mask, (0, 0), k * size) / (cv2.GaussianBlur(mask, (0, 0), k * size) + 1e-3)
            for k in (PORES, FOLDS)
        )
        return fine - coarse

    change = strength * mask * np.clip(creases(rest) - creases(atlas), -MOST_CREASE, MOST_CREASE)
    return atlas * np.exp(change)[..., None]
