"""Things to put in front of a face, with known coverage: drawn ones, and photographed ones where the clips' folder has some.

A layer is SIDE x SIDE RGBA, straight, in the square of the matte's aligned crop (`perception.matte.px_from_crop`): the face oval's
longer side is 1 / MARGIN of it, eyes level, centre in the middle. This code shares nothing with the one that draws for the
matte's training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception.matte import px_from_crop
from digidouble.schema.mesh import FLIP_YZ, face_model

SIDE = 256
WORN = frozenset({"glasses", "fringe", "lock", "mask"})  # moves with the face; anything else is brought to it
UNTRAINED_HANDS = 450  # photographs from this number on were never trained on
UNTRAINED_MASKS = ("N95", "gas")
HAIR_RGB = ((24, 19, 17), (70, 45, 30), (168, 128, 84), (206, 178, 138))
Layer = UInt8[np.ndarray, "s s 4"]
Random = np.random.Generator


@lru_cache(maxsize=1)
def mean_face() -> Float[np.ndarray, "478 2"]:
    """The mean face, seen from the front, in pixels of a layer."""
    points = (face_model().mean_cm * FLIP_YZ).astype(np.float64)
    to_crop = cv2.invertAffineTransform(px_from_crop(points, SIDE).astype(np.float64))
    return points[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]


def _layer(cover: Float32[np.ndarray, "h h"], rgb: Float[np.ndarray, "h h 3"]) -> Layer:
    """From twice the size, rounded by light: what lies deep inside is lit, edges are darker."""
    deep = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    light = 0.62 + 0.38 * np.clip(deep / (0.05 * len(cover)), 0, 1) ** 0.5
    both = np.dstack([np.clip(rgb * light[..., None], 0, 255), 255 * np.clip(cover, 0, 1)]).astype(np.float32)
    return cv2.resize(both, (SIDE, SIDE), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def _blank(rgb: Float[np.ndarray, "3"]) -> tuple[Float32[np.ndarray, "h h"], Float[np.ndarray, "h h 3"]]:
    return np.zeros((2 * SIDE, 2 * SIDE), np.float32), np.tile(np.asarray(rgb, np.float64), (2 * SIDE, 2 * SIDE, 1))


def _px(points: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Places in 0..1 of a layer, for OpenCV's drawing with four sub-pixel bits."""
    return np.round(np.asarray(points) * 2 * SIDE * 16).astype(np.int32)


def _limb(cover: Float32[np.ndarray, "h h"], way: Float[np.ndarray, "n 2"], thick: float) -> None:
    cv2.polylines(cover, [_px(way)], False, 1.0, max(1, round(thick * 2 * SIDE)), cv2.LINE_AA, 4)


def hand(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """Palm, four fingers spread or not, thumb and forearm, of nearly the skin's own colour; fingertips reach the middle."""
    cover, rgb = _blank(skin * random.uniform(0.8, 1.1))
    palm, spread = np.array([0.5, 0.72]), random.uniform(0.03, 0.16)
    cv2.ellipse(cover, (int(palm[0] * 2 * SIDE), int(palm[1] * 2 * SIDE)), (54, 62), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    for k in range(4):
        lean = (k - 1.5) * spread
        root = palm + np.array((0.058 * (k - 1.5), -0.08))
        tip = root + np.array([np.sin(lean), -np.cos(lean)]) * (0.2, 0.25, 0.24, 0.19)[k]
        _limb(cover, np.stack([root, (root + tip) / 2 + (random.normal(0, 0.008), 0), tip]), 0.052)
    _limb(
        cover,
        np.array([palm + np.array((0.08, 0.05)), palm + np.array((0.16, -0.02)), palm + np.array((0.19, -0.1))]),
        0.058,
    )
    _limb(cover, np.array([palm, palm + np.array((0.0, 0.4))]), 0.17)
    return _layer(cover, rgb)


def microphone(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """A ball with a grille on a dark handle that leaves the layer below; the ball is in the middle."""
    cover, rgb = _blank(np.array([28.0, 28.0, 32.0]))
    _limb(cover, np.array([[0.5, 0.5], [0.5, 1.1]]), 0.075)
    ball = np.zeros_like(cover)
    cv2.circle(ball, (SIDE, SIDE), round(random.uniform(0.075, 0.1) * 2 * SIDE), 1.0, -1, cv2.LINE_AA)
    y, x = np.mgrid[0 : 2 * SIDE, 0 : 2 * SIDE]
    mesh = random.uniform(50, 120) * (1 + 0.3 * np.sin(x * 0.9) * np.sin(y * 0.9))
    return _layer(np.maximum(cover, ball), np.where(ball[..., None] > 0.5, mesh[..., None], rgb))


def food(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """A round bite with speckles: bread, fruit, a burger; its upper edge is in the middle."""
    cover, rgb = _blank(np.array([(176.0, 112.0, 58.0), (190.0, 44.0, 40.0), (150.0, 160.0, 70.0)][random.integers(3)]))
    cv2.ellipse(cover, (SIDE, round(1.2 * SIDE)), (95, 72), random.uniform(-15, 15), 0, 360, 1.0, -1, cv2.LINE_AA)
    speckles = cv2.resize(random.normal(0, 1, (40, 40)), (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    return _layer(cover, rgb * (1 + 0.18 * speckles[..., None]))


def glasses(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """Rims around the mean face's eyes, bridge and temples. Lenses are clear and count as the face behind them."""
    cover, rgb = _blank(np.array([(20.0, 18.0, 18.0), (96.0, 60.0, 34.0), (170.0, 168.0, 166.0)][random.integers(3)]))
    face, thick = mean_face() / SIDE, random.uniform(0.012, 0.022)
    apart = face[263, 0] - face[33, 0]
    centres = [face[[33, 133]].mean(0) + np.array((0, 0.02)), face[[362, 263]].mean(0) + np.array((0, 0.02))]
    turn = np.linspace(0, 2 * np.pi, 40)
    for centre, way in zip(centres, (-1, 1), strict=True):
        rim = centre + 0.5 * apart * np.c_[0.46 * np.cos(turn), 0.38 * np.sin(turn)]
        _limb(cover, rim, thick)
        edge = centre + np.array((way * 0.23 * apart, -0.03))
        _limb(cover, np.array([edge, edge + np.array((way * 0.2, 0.01))]), thick)
    _limb(cover, np.array([centres[0] + (0.23 * apart, -0.01), centres[1] - (0.23 * apart, 0.01)]), thick)
    return _layer(cover, rgb)


def _hairs(random: Random, ways: list[Float[np.ndarray, "n 2"]]) -> Layer:
    """Hair by hair, each of its own shade."""
    base = np.array(HAIR_RGB[random.integers(len(HAIR_RGB))], np.float64)
    ink = np.zeros((2 * SIDE, 2 * SIDE, 4), np.uint8)
    for way in ways:
        shade = np.clip(base * np.exp(random.normal(0, 0.22)), 3, 250)
        cv2.polylines(ink, [_px(way)], False, (*shade.tolist(), 255.0), int(random.integers(1, 4)), cv2.LINE_AA, 4)
    small = cv2.resize(ink.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    rgb = small[..., :3] * 255 / np.maximum(small[..., 3:], 1)
    return np.dstack([np.clip(rgb, 0, 255), small[..., 3:]]).round().astype(np.uint8)


def lock(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """Long hair from the parting over one eye and down the cheek, with a soft inner edge."""
    side, t, ways = random.choice([-1.0, 1.0]), np.linspace(0, 1, 20), []
    inner = random.uniform(0.05, 0.14)
    for _ in range(random.integers(150, 260)):
        off = inner + random.uniform(0, 0.4) - abs(random.normal(0, 0.02))
        x = 0.5 + side * (
            off * np.sin(0.5 * np.pi * np.minimum(1.6 * t, 1)) + 0.012 * np.sin(9 * t + random.normal(0, 0.4))
        )
        ways.append(np.c_[x, random.uniform(0.0, 0.1) + 1.05 * t])
    return _hairs(random, ways)


def fringe(random: Random, skin: Float[np.ndarray, "3"]) -> Layer:
    """Hair down to the brows or over the eyes in pointed locks, skin between their tips."""
    tips, t, ways = np.linspace(0.12, 0.88, random.integers(6, 11)), np.linspace(0, 1, 12), []
    reach = random.uniform(0.36, 0.46)
    for _ in range(random.integers(160, 260)):
        x = random.uniform(0.06, 0.94)
        to = x + 0.75 * (tips[np.abs(tips - x).argmin()] - x)
        ways.append(np.c_[x + (to - x) * t**2, 0.02 + (reach * random.uniform(0.8, 1.05) - 0.02) * t])
    return _hairs(random, ways)


def keyed_hand(path: Path) -> Layer | None:
    """A hand photographed before a plain light wall, its middle in the layer's; None where it cannot be told from the wall."""
    picture = cv2.imread(str(path))
    if picture is None or min(picture.shape[:2]) < 32:
        return None
    picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB).astype(np.float32)
    rim = np.concatenate([lab[:6].reshape(-1, 3), lab[:120, :5].reshape(-1, 3), lab[:120, -5:].reshape(-1, 3)])
    off = np.linalg.norm((lab - np.median(rim, 0)) * (0.25, 1.5, 1.5), axis=2)
    level, found = cv2.threshold(np.clip(off * 4, 0, 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((5, 5))))
    if level < 20 or count < 2:
        return None
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if not 0.06 < stats[best, cv2.CC_STAT_AREA] / found.size < 0.6:
        return None
    solid = cv2.erode((parts == best).astype(np.uint8), np.ones((3, 3)))  # the wall's colour stays out of the edge
    return np.dstack([picture[..., ::-1], cv2.GaussianBlur(solid * 255, (0, 0), 0.8)])


def mask(path: Path) -> Layer | None:
    """A face mask with alpha, laid over mouth and nose."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return None
    scale = 0.62 * SIDE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    out, h, w = np.zeros((SIDE, SIDE, 4), np.uint8), *small.shape[:2]
    y, x = min(round(0.7 * SIDE - h / 2), SIDE - h), (SIDE - w) // 2
    out[y : y + h, x : x + w] = cv2.cvtColor(small, cv2.COLOR_BGRA2RGBA)
    return out


DRAWN: Mapping[str, Callable[[Random, Float[np.ndarray, "3"]], Layer]] = {
    "hand": hand, "lock": lock, "fringe": fringe, "glasses": glasses, "microphone": microphone, "food": food,
}  # fmt: skip
PHOTOGRAPHED = ("photographed hand", "mask")


def layers_of(folder: Path, skin: Float[np.ndarray, "3"], seed: int) -> dict[str, Layer]:
    """A layer of every kind; the photographed ones where `folder` has `hands/` and `masks/` that were never trained on."""
    out = {kind: draw(np.random.default_rng([seed, k]), skin) for k, (kind, draw) in enumerate(DRAWN.items())}
    hands = sorted(folder.glob("hands/*.jpg"))[UNTRAINED_HANDS:]
    masks = sorted(p for p in folder.glob("masks/*.png") if p.name.startswith(UNTRAINED_MASKS))
    for kind, files, read in zip(PHOTOGRAPHED, (hands, masks), (keyed_hand, mask), strict=True):
        turned = files[seed % len(files) :] + files[: seed % len(files)] if files else []
        layer = next((k for k in map(read, turned) if k is not None), None)
        if layer is not None:
            out[kind] = layer
    return out


@dataclass(frozen=True)
class Moment:
    """Which kind is in front, and how far its stretch has gone (0..1)."""

    kind: str
    gone: float


def moment_of(kinds: list[str], row: int, rows: int) -> Moment:
    """One kind after the other, for equal stretches."""
    at = row * len(kinds) / rows
    return Moment(kinds[int(at)], at % 1.0)


def crop_from_layer(moment: Moment) -> Float[np.ndarray, "2 3"]:
    """Where a layer lies in the aligned square (both SIDE): worn things sway, others are brought from below and taken away."""
    t = moment.gone
    if moment.kind in WORN:
        swing = {"lock": 0.05, "fringe": 0.015}.get(moment.kind, 0.0)
        return np.array([[1, 0, swing * np.sin(4 * np.pi * t) * SIDE], [0, 1, 0]], np.float64)
    near = np.sin(np.pi * t) ** 0.6  # 0 outside, 1 in front
    angle = 0.35 * np.sin(2 * np.pi * t)
    c, s = np.cos(angle), np.sin(angle)
    middle = (
        np.array([0.5 + 0.16 * np.sin(3 * np.pi * t), 1.25 - near * (0.72 if "hand" in moment.kind else 0.58)]) * SIDE
    )
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, middle - linear @ np.full(2, SIDE / 2)])


def put_in_front(
    rgb8: UInt8[np.ndarray, "h w 3"], layer: Layer, moment: Moment, points_px: Float[np.ndarray, "478 3"]
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """(the plate with the layer in front of the face, its coverage 0..1). Blended as a camera's codec shows it, display-referred."""
    h, w = rgb8.shape[:2]
    to_px, in_crop = px_from_crop(points_px, SIDE).astype(np.float64), crop_from_layer(moment)
    whole = to_px @ np.vstack([in_crop, [0, 0, 1]])
    step = float(np.sqrt(abs(np.linalg.det(whole[:, :2]))))
    cover = layer[..., 3:].astype(np.float32) / 255
    light = np.concatenate([layer[..., :3] * cover, cover], 2).astype(np.float32)
    if step < 1:  # before it is made smaller
        light = cv2.GaussianBlur(light, (0, 0), 0.4 / step)
    over = cv2.warpAffine(light, whole, (w, h), flags=cv2.INTER_LINEAR)
    alpha = np.clip(over[..., 3:], 0, 1)
    out = rgb8 * (1 - alpha) + over[..., :3]
    return np.clip(np.round(out), 0, 255).astype(np.uint8), alpha[..., 0]
