"""What goes wrong with photographs, drawn onto a good one: uint8 RGB in and out; `p` is the face's mesh in its pixels."""

from __future__ import annotations

import cv2
import numpy as np

LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
INNER_LIPS = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
EYES = (
    [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],
    [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249],
)  # upper lid first, nine points
BROWS = ([55, 65, 52, 53, 46], [285, 295, 282, 283, 276])


def face_px(p: np.ndarray) -> float:
    return float(np.ptp(p[:468, 0]))


def drawn(draw, size_hw, soft: float) -> np.ndarray:
    mask = np.zeros(size_hw, np.float32)
    draw(mask)
    return cv2.GaussianBlur(mask, (0, 0), soft)[..., None]


def over(picture: np.ndarray, mask: np.ndarray, colour) -> np.ndarray:
    return np.clip(picture * (1 - mask) + mask * np.array(colour, np.float32), 0, 255).astype(np.uint8)


def spectacles(picture: np.ndarray, p: np.ndarray, dark: bool) -> np.ndarray:
    """Round lenses with a bridge: filled and nearly black, or rims only."""
    width = face_px(p)

    def draw(mask):
        for outer, inner in ((33, 133), (263, 362)):
            centre = (p[outer, :2] + p[inner, :2]) / 2 + [0, 0.02 * width]
            axes = (round(0.17 * width * 8), round(0.145 * width * 8))
            cv2.ellipse(
                mask, tuple(int(v) for v in centre * 8), axes, 0, 0, 360, 1.0, -1 if dark else max(int(0.02 * width), 2),
                cv2.LINE_AA, 3,
            )  # fmt: skip
        bridge = [tuple(int(v) for v in p[i, :2] * 8) for i in (133, 362)]
        cv2.line(mask, *bridge, 1.0, max(int(0.025 * width), 2), cv2.LINE_AA, 3)

    return over(picture, 0.96 * drawn(draw, picture.shape[:2], max(width / 300, 0.5)), (18, 15, 16))


def sunglasses(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    return spectacles(picture, p, True)


def glasses(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    return spectacles(picture, p, False)


def makeup(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Red lips and blue lids."""

    def fill(*loops):
        def draw(mask):
            for value, loop in loops:
                cv2.fillPoly(mask, [np.round(p[loop, :2] * 8).astype(np.int32)], value, cv2.LINE_AA, 3)

        return drawn(draw, picture.shape[:2], face_px(p) / 90)

    out = over(picture, 0.7 * fill((1.0, LIPS), (0.0, INNER_LIPS)), (150, 10, 40))
    lids = [(1.0, eye[:9] + brow) for eye, brow in zip(EYES, BROWS, strict=True)]
    return over(out, 0.55 * fill(*lids), (60, 60, 150))


def side_light(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    """One side of the face gets 7 % of the other's light."""
    across = (np.arange(picture.shape[1]) - p[4, 0]) / (face_px(p) / 2)
    gain = 1 - 0.93 / (1 + np.exp(-5 * across))
    linear = (picture / 255.0) ** 2.2 * gain[None, :, None] * 1.5
    return (255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def shut_eyes(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The skin above the eyes drawn down over them, and a line of lashes."""
    h, w = picture.shape[:2]
    mx, my = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    out = picture
    for loop in EYES:
        eye = p[loop, :2]
        top, low = eye[:, 1].min(), eye[:, 1].max()
        high, wide, centre = low - top, np.ptp(eye[:, 0]), eye.mean(0)
        along = np.clip(1 - ((mx - centre[0]) / (0.72 * wide)) ** 2, 0, 1)
        start = top - 1.6 * high
        t = (my - start) / (low + 0.15 * high - start)
        lid = (t > 0) & (t < 1) & (along > 0)
        from_y = np.where(lid, my + (start + t * 1.48 * high - my) * np.clip(1.6 * along, 0, 1), my)
        out = np.where(lid[..., None], cv2.remap(out, mx, from_y.astype(np.float32), cv2.INTER_CUBIC), out)
        x = np.linspace(eye[:, 0].min(), eye[:, 0].max(), 20)
        line = np.stack([x, low - 0.5 * high * ((x - centre[0]) / (wide / 2)) ** 2], 1)

        def draw(mask, line=line, wide=wide):
            cv2.polylines(
                mask, [np.round(line * 8).astype(np.int32)], False, 1.0, max(int(0.05 * wide), 1), cv2.LINE_AA, 3
            )

        out = over(out, 0.8 * drawn(draw, (h, w), wide / 40), (50, 30, 25))
    return out


def grey(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)


def small(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    h, w = picture.shape[:2]
    return cv2.resize(picture, (int(0.55 * w), int(0.55 * h)), interpolation=cv2.INTER_AREA)


def blurred(picture: np.ndarray, p: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), face_px(p) / 22)


def snapshots(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """The same face tilted, nearer and farther, brighter and darker, with noise."""
    rng = np.random.default_rng(0)
    h, w = picture.shape[:2]
    out = []
    for _ in range(count):
        move = cv2.getRotationMatrix2D((w / 2, h / 3), rng.uniform(-12, 12), rng.uniform(0.92, 1.12))
        moved = cv2.warpAffine(picture, move, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        out.append(np.clip(moved * rng.uniform(0.9, 1.05) + rng.normal(0, 2, moved.shape), 0, 255).astype(np.uint8))
    return out
