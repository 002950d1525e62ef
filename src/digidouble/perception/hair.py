"""Which of what is in front of a face is hair: a model of the colours of one performer's hair, and what hangs together with the head's.

There is no network for this. The hair around a performer's head shows what colours it has (`hair_look`, from a few frames of the
plate); whatever hides the face in one of them, and hangs together with the hair above and beside the forehead, is hair (`hair_share`).
Hands are of the skin's colours; a microphone may be as black as the hair, but comes from below.

Both work in a square crop aligned to the face like the matte's, larger and reaching further up (`px_from_hair_crop`). Colours are
taken relative to the visible skin of the same frame, so that neither exposure nor the light's colour matter: log2 of luminance,
of red and of blue over green.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from digidouble.perception.crop import sample_affine
from digidouble.perception.matte import hull
from digidouble.schema.colour import LUMA
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import BROWS, LEFT_IRIS, RIGHT_IRIS
from digidouble.schema.ramp import smoothstep
from digidouble.schema.track import MATTE_SIZE, TrackSample

SIDE = 128  # of the crop, pixels
SPAN = 1.5  # side of the crop over that of the matte
LIFT = 0.1  # of the crop's side, further up than the matte
LOW, STEP, CELLS = (-5.0, -1.6, -1.6), (0.2, 0.1, 0.1), (40, 32, 32)  # of the table of colours
DARKEST = 0.02  # of the skin's light: the colour of what is darker is noise
HAIR, SKIN, OTHER = 0.5, 0.35, 0.15  # of what is in front of faces
THIN = 3  # pixels: what is thinner than a lock (rims, cables) leads nowhere
LEAST_HAIR = 0.02  # of the face's height squared: less is no hair to learn from
SURE = 0.9
SOFT = 0.012  # of the face's height, over which the share of hair is averaged
WIDE = (1.5, 1.0, 1.0)  # cells, of what explains a colour
Table = Float32[np.ndarray, "l a b"]


@dataclass(frozen=True)
class HairLook:
    """How likely each colour is hair, for one performer. chance: 0..255. skin_linear: the usual skin, for frames that show none."""

    chance: UInt8[np.ndarray, "l a b"]
    skin_linear: Float32[np.ndarray, "3"]

    @cached_property
    def sha256(self) -> str:
        """Of what it says."""
        return hashlib.sha256(self.chance.tobytes() + self.skin_linear.tobytes()).hexdigest()


@dataclass(frozen=True)
class HairView:
    """A face in one frame, in the hair's crop.

    Attributes:
        rgb8: the plate. hull: 0..1, area of the mesh. visible: 0..1, what of it has nothing in front. person: 0..1, or None where not looked for.
        brow_y, eye_y, mouth_y, height: of the face, in pixels of the crop.
    """

    rgb8: UInt8[np.ndarray, "s s 3"]
    hull: Float32[np.ndarray, "s s"]
    visible: Float32[np.ndarray, "s s"]
    person: Float32[np.ndarray, "s s"] | None
    brow_y: float
    eye_y: float
    mouth_y: float
    height: float

    @cached_property
    def rows(self) -> Float32[np.ndarray, "s 1"]:
        return np.arange(SIDE, dtype=np.float32)[:, None]

    @cached_property
    def away(self) -> Float32[np.ndarray, "s s"]:
        """Distance from the hull in face heights; 0 inside."""
        return cv2.distanceTransform((self.hull < 0.05).astype(np.uint8), cv2.DIST_L2, 5) / np.float32(self.height)

    @cached_property
    def skin(self) -> Bool[np.ndarray, "s s"]:
        """Skin that is surely seen, away from eyes, brows and mouth."""
        inside = cv2.erode(self.hull, np.ones((5, 5), np.uint8)) > SURE
        y, h = self.rows, np.float32(self.height)
        cheeks = (y > self.eye_y + 0.08 * h) & (y < self.mouth_y - 0.05 * h)
        return inside & (self.visible > SURE) & (cheeks | (y < self.brow_y - 0.06 * h))

    @cached_property
    def linear(self) -> Float32[np.ndarray, "s s 3"]:
        return ((self.rgb8 / np.float32(255)) ** np.float32(2.2)).astype(np.float32)

    @cached_property
    def skin_linear(self) -> Float32[np.ndarray, "3"] | None:
        """Median of the skin; None where hardly any is seen."""
        return np.median(self.linear[self.skin], axis=0) if self.skin.sum() > 0.02 * self.height**2 else None


def px_from_hair_crop(px_from_crop: Float[np.ndarray, "2 3"]) -> Float32[np.ndarray, "2 3"]:
    """Plate pixels from pixels of the hair's crop, for the placement of the matte's crop."""
    step = SPAN * MATTE_SIZE / SIDE
    first = np.array([0, -LIFT * SPAN * MATTE_SIZE]) + (MATTE_SIZE - 1) / 2 - step * (SIDE - 1) / 2
    linear = px_from_crop[:, :2].astype(np.float64)
    return np.column_stack([linear * step, linear @ first + px_from_crop[:, 2]]).astype(np.float32)


def hair_view(
    rgb8: UInt8[np.ndarray, "h w 3"], sample: TrackSample, person: Float32[np.ndarray, "k l"] | None = None
) -> HairView:
    """Cut a face out of a frame. `person`: the person matte of the whole picture, at any resolution."""
    to_px = px_from_hair_crop(sample.matte_px_from_crop)
    back = cv2.invertAffineTransform(to_px.astype(np.float64))
    points = sample.points_px[:, :2].astype(np.float64) @ back[:, :2].T + back[:, 2]
    from_matte = back @ np.vstack([sample.matte_px_from_crop.astype(np.float64), [0, 0, 1]])
    visible = cv2.warpAffine(sample.matte, from_matte, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    seen = None if person is None else _cut(person, rgb8.shape[:2], to_px)
    irises = points[[RIGHT_IRIS[0], LEFT_IRIS[0]], 1]
    return HairView(
        sample_affine(rgb8, to_px, SIDE), hull(points, SIDE).astype(np.float32) / 255, visible.astype(np.float32) / 255, seen,
        float(points[BROWS, 1].min()), float(irises.mean()), float(points[[13, 14], 1].mean()), max(float(np.ptp(points[:468, 1])), 1.0),
    )  # fmt: skip


def _cut(
    person: Float32[np.ndarray, "k l"], size_hw: tuple[int, int], to_px: Float[np.ndarray, "2 3"]
) -> Float32[np.ndarray, "s s"]:
    """The person matte in the crop; 0 outside the picture."""
    scale = np.array([person.shape[1] / size_hw[1], person.shape[0] / size_hw[0]])
    to_matte = to_px.astype(np.float64) * scale[:, None]
    to_matte[:, 2] += 0.5 * scale - 0.5
    return cv2.warpAffine(person, to_matte, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def hair_look(views: Iterable[HairView]) -> HairLook | None:
    """Learn a performer's hair from views with a person matte; None where there is none: bald, shorn, under a hat of the skin's colour.

    What is seen above and beside the forehead is hair, skin and background; the share of skin and background in it is what their
    colours explain of it.
    """
    hair, skin, behind = (np.zeros(CELLS, np.float32) for _ in range(3))
    amount, usual = 0.0, []
    for view in views:
        if view.person is None or view.skin_linear is None:
            continue
        usual.append(view.skin_linear)
        cells = _cells(view.linear, view.skin_linear)
        near = (view.away > 0.01) & (view.away < 0.45)
        above = (view.rows < view.eye_y) & near & (view.person > 0.7)
        for table, where in ((hair, above), (skin, view.skin), (behind, (view.away > 0) & (view.person < 0.2))):
            np.add.at(table, tuple(cells[where].T), np.float32(1))
        amount += float(above.sum()) / view.height**2
    if not usual or not hair.any() or not skin.any():
        return None
    hair, skin, behind = (_smooth(t, (1.0, 0.7, 0.7)) / max(float(t.sum()), 1) for t in (hair, skin, behind))
    own, wide = hair, _smooth(hair, WIDE)
    for other in (_smooth(skin, WIDE), _smooth(behind, WIDE)):
        if other.any():
            own = own * np.clip(1 - _share_of(other, wide) * other / np.maximum(wide, 1e-12), 0, 1)
    if amount / len(usual) * float(own.sum()) < LEAST_HAIR:
        return None
    own = _smooth(own, (0.5, 0.3, 0.3))
    own /= own.sum()
    shaded = _smooth(skin, (4.0, 1.5, 1.5))  # a hand is lit otherwise than the face
    rest = np.float32(1 / own.size)
    chance = HAIR * own / (HAIR * own + SKIN * shaded + OTHER * rest)
    return HairLook(np.round(255 * chance).astype(np.uint8), np.median(usual, axis=0).astype(np.float32))


def _share_of(part: Table, whole: Table) -> float:
    """How much of `part` is in `whole`, both of sum 1: their ratio where the part is, as a weighted median (hair hides none of it there)."""
    where = part > 0.05 * part.max()
    ratio, weight = (whole / np.maximum(part, 1e-12))[where], part[where]
    order = np.argsort(ratio)
    half = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
    return float(min(1.3 * ratio[order][min(half, len(order) - 1)], 1))


def _smooth(table: Table, sigma: tuple[float, float, float]) -> Table:
    """Gaussian along the three axes."""
    out = table
    for axis, s in enumerate(sigma):
        flat = np.moveaxis(out, axis, 0).reshape(CELLS[axis], -1)
        blurred = _blurred(flat, s)
        rest = [c for k, c in enumerate(CELLS) if k != axis]
        out = np.moveaxis(blurred.reshape(CELLS[axis], *rest), 0, axis)
    return np.ascontiguousarray(out)


def _blurred(flat: Float32[np.ndarray, "n m"], sigma: float) -> Float32[np.ndarray, "n m"]:
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(flat, cv2.CV_32F, np.ones((1, 1), np.float32), kernel, borderType=cv2.BORDER_REPLICATE)


def _cells(linear: Float32[np.ndarray, "s s 3"], skin: Float32[np.ndarray, "3"]) -> Int[np.ndarray, "s s 3"]:
    """Cell of the table of every pixel."""
    floor = np.float32(DARKEST) * np.maximum(skin, 1e-4)
    ratio = np.log2((linear + floor) / (skin + floor))
    luma = np.log2((linear @ LUMA + floor @ LUMA) / (skin @ LUMA + floor @ LUMA))
    f = np.dstack([luma, ratio[..., 0] - ratio[..., 1], ratio[..., 2] - ratio[..., 1]])
    at = np.floor((f - np.array(LOW, np.float32)) / np.array(STEP, np.float32))
    return np.clip(at, 0, np.array(CELLS) - 1).astype(np.int64)


def hair_share(look: HairLook, view: HairView) -> Float32[np.ndarray, "s s"]:
    """0..1, how much of what is in front of the face is hair, in the hair's crop.

    It varies slowly: where hair ends and skin begins is the matte's business, and what is smooth does not flicker.
    """
    skin = look.skin_linear if view.skin_linear is None else view.skin_linear
    chance = look.chance[tuple(np.moveaxis(_cells(view.linear, skin), -1, 0))].astype(np.float32) / 255
    hidden = view.hull * (1 - view.visible)
    # Beside the face hair leads on to the mouth, not around the chin: there collars and the handles of microphones are.
    beside = np.clip((view.mouth_y - view.rows) / max(view.mouth_y - view.eye_y, 1), 0, 1)
    way = cv2.GaussianBlur(chance, (0, 0), 1.0) * np.maximum(hidden, (1 - view.hull) * beside)
    way = cv2.morphologyEx(way, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THIN, THIN)))
    reached = _reached(way, (view.away > 0.01) & (view.away < 0.3) & (view.rows < view.eye_y))
    soft = SOFT * view.height
    share = cv2.GaussianBlur(reached * hidden, (0, 0), soft) / np.maximum(
        cv2.GaussianBlur(hidden, (0, 0), soft), np.float32(1e-3)
    )
    return smoothstep((share - np.float32(0.2)) / np.float32(0.4)).astype(np.float32)


def hair_in_region(
    look: HairLook, rgb8: UInt8[np.ndarray, "k l 3"], sample: TrackSample, roi: Roi
) -> Float32[np.ndarray, "h w"]:
    """`hair_share` of a frame, at the pixels of a region of it."""
    to_local = px_from_hair_crop(sample.matte_px_from_crop).astype(np.float64)
    to_local[:, 2] -= (roi.x0, roi.y0)
    h, w = roi.size_hw
    return cv2.warpAffine(hair_share(look, hair_view(rgb8, sample)), to_local, (w, h), flags=cv2.INTER_LINEAR)


def _reached(way: Float32[np.ndarray, "s s"], start: Bool[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """The least of `way` on the best path from `start` (greyscale reconstruction by dilation, Vincent 1993)."""
    cap = np.round(255 * way).astype(np.uint8)
    now = np.where(start, cap, 0).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    for _ in range(4 * SIDE):
        after = np.minimum(cv2.dilate(now, kernel), cap)
        if (after == now).all():
            break
        now = after
    return now.astype(np.float32) / 255
