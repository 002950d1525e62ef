"""Things to put in front of a face, as RGBA layers with known alpha: keyed hands, face masks, and drawn objects.

A layer is LAYER x LAYER x 4 uint8, straight (not premultiplied) RGB with alpha. Drawing is done at twice the size and
averaged down, so edges are anti-aliased. Every function that draws takes a seeded generator and nothing else random.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

LAYER = 192
Layer = UInt8[np.ndarray, "s s 4"]
Random = np.random.Generator
HAIR_RGB = ((20, 16, 14), (38, 26, 20), (62, 40, 26), (96, 62, 36), (140, 98, 58), (190, 152, 98), (222, 196, 150),
            (120, 52, 28), (150, 150, 150), (205, 205, 202), (70, 66, 66), (170, 60, 90), (60, 80, 160))  # fmt: skip
FRAME_RGB = ((12, 12, 12), (25, 22, 22), (40, 40, 45), (70, 40, 22), (110, 70, 35), (190, 150, 70), (205, 180, 120),
             (190, 190, 195), (225, 225, 228), (150, 30, 30), (30, 50, 110), (235, 230, 220), (110, 105, 100))  # fmt: skip


# --- keyed pictures ---------------------------------------------------------------------------------------------------


def keyed(picture: UInt8[np.ndarray, "h w 3"]) -> Layer | None:
    """The hand on a plain wall as a layer: wall colour from the upper border, GrabCut decides; None if the key is bad.

    The hand fills the upper part; its arm is drawn out downwards to the layer's edge so that no cut end is ever seen.
    """
    high = 256
    picture = cv2.resize(picture, (high * picture.shape[1] // picture.shape[0], high), interpolation=cv2.INTER_CUBIC)
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB).astype(np.float32)
    rows = np.concatenate(
        [lab[:8].reshape(-1, 3), lab[: high // 2, :6].reshape(-1, 3), lab[: high // 2, -6:].reshape(-1, 3)]
    )
    wall = np.median(rows, 0)
    # Lightness counts little: the walls are vignetted and glare is no hand.
    distance = np.linalg.norm((lab - wall) * (0.1, 1.6, 1.6), axis=2)
    mask = np.full(distance.shape, cv2.GC_PR_BGD, np.uint8)
    threshold = max(9.0, float(np.percentile(distance, 97)) * 0.42)
    mask[distance > threshold] = cv2.GC_PR_FGD
    mask[distance > 1.6 * threshold] = cv2.GC_FGD
    mask[(distance < 0.4 * threshold) | ((lab[..., 0] > wall[0] + 12) & (distance < threshold))] = cv2.GC_BGD
    if not (0.03 < np.mean(distance > threshold) < 0.7):
        return None
    cv2.setRNGSeed(1)
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    hand = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    hand = cv2.morphologyEx(hand, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(hand)
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    hand = (parts == best).astype(np.uint8)
    x, y, w, _, area = stats[best]
    if area < 0.03 * hand.size or y < 3 or x < 2 or x + w > hand.shape[1] - 2:
        return None
    return _framed(picture, hand, y, x + w / 2)


def _framed(picture: UInt8[np.ndarray, "h w 3"], hand: UInt8[np.ndarray, "h w"], top: int, middle: float) -> Layer:
    """The masked hand scaled so that its upper part fills the layer, edge colours taken from inside, arm drawn out."""
    inner = cv2.erode(hand, np.ones((5, 5), np.uint8))
    _, nearest = cv2.distanceTransformWithLabels(1 - inner, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    table[nearest[inner > 0]] = picture[inner > 0]
    colour = table[nearest]
    alpha = cv2.GaussianBlur(cv2.erode(hand, np.ones((2, 2), np.uint8)) * 255, (0, 0), 1.0)
    rows = np.flatnonzero(hand.any(1))
    tall = rows[-1] - top + 1
    scale = 0.72 * LAYER / tall
    layer_from_px = np.array([[scale, 0, LAYER / 2 - scale * middle], [0, scale, 6 - scale * top]])
    rgba = np.dstack([colour[..., ::-1], alpha])
    out = cv2.warpAffine(rgba, layer_from_px, (LAYER, LAYER), flags=cv2.INTER_AREA, borderValue=(0, 0, 0, 0))
    last = int(6 + scale * tall) - 4
    out[last:] = cv2.GaussianBlur(out[last : last + 1], (5, 1), 0)
    return out


def masks(folder: Path) -> tuple[list[str], list[Layer]]:
    """The face masks with their own alpha, fitted into layers; file names beside them."""
    names, layers = [], []
    for path in sorted(folder.glob("*.png")):
        picture = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
        scale = 0.86 * LAYER / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        layer = np.zeros((LAYER, LAYER, 4), np.uint8)
        y, x = (LAYER - small.shape[0]) // 2, (LAYER - small.shape[1]) // 2
        layer[y : y + small.shape[0], x : x + small.shape[1]] = small
        names.append(path.stem)
        layers.append(layer)
    return names, layers


def own_hair(
    picture: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "n 2"], label: UInt8[np.ndarray, "s s"]
) -> UInt8[np.ndarray, "s s"] | None:
    """Coverage (0..255) of the hair of a base crop, or None where it cannot be told from the rest.

    Seeds: pixels in a box above the forehead that differ from the skin; GrabCut grows them above the mouth.
    """
    oval = points[[10, 338, 297, 67, 109, 152, 234, 454]]
    top, extent, middle = oval[:, 1].min(), float(np.ptp(oval[:, 1])), float(oval[:, 0].mean())
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB).astype(np.float32)
    skin = np.median(lab[label > 200], 0)
    y0, y1 = max(int(top - 0.2 * extent), 0), int(top + 0.02 * extent)
    x0, x1 = int(middle - 0.25 * extent), int(middle + 0.25 * extent)
    box = lab[y0:y1, x0:x1]
    unlike = np.linalg.norm((box - skin) * (0.6, 1, 1), axis=2) > 18
    if unlike.mean() < 0.35:
        return None
    centre = np.median(box[unlike], 0)
    near = np.linalg.norm((lab - centre) * (0.6, 1, 1), axis=2)
    mask = np.where(near < 22, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[y0:y1, x0:x1][unlike & (near[y0:y1, x0:x1] < 14)] = cv2.GC_FGD
    mask[label > 200] = cv2.GC_BGD
    mask[near > 45] = cv2.GC_BGD
    mask[int(points[[61, 291], 1].mean()) :] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    hair = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    hair = cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(hair)
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if not 0.04 < stats[best, cv2.CC_STAT_AREA] / hair.size < 0.35:
        return None
    return cv2.GaussianBlur((parts == best).astype(np.uint8) * 255, (0, 0), 1.2)


# --- drawn things -----------------------------------------------------------------------------------------------------


def _shaded(alpha: Float[np.ndarray, "h w"], rgb: Float[np.ndarray, "h w 3"], random: Random) -> Layer:
    """Layer from coverage and colour at twice the size: a soft light gradient, then averaged down."""
    high = alpha.shape[0]
    y, x = np.mgrid[0:high, 0:high] / high - 0.5
    angle = random.uniform(0, 2 * np.pi)
    light = 1 + random.uniform(0, 0.8) * (np.cos(angle) * x + np.sin(angle) * y)
    rounded = cv2.GaussianBlur(alpha, (0, 0), random.uniform(4, 14))
    light = light * (1 - random.uniform(0, 0.6) * (1 - rounded))
    noise = cv2.resize(random.normal(0, 1, (48, 48)).astype(np.float32), (high, high), interpolation=cv2.INTER_CUBIC)
    rgb = rgb * light[..., None] + noise[..., None] * random.uniform(0, 10)
    out = np.dstack([np.clip(rgb, 0, 255), np.clip(alpha, 0, 1) * 255]).astype(np.float32)
    return cv2.resize(out, (LAYER, LAYER), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _flat(random: Random, textures: UInt8[np.ndarray, "n t t 3"], high: int) -> Float[np.ndarray, "h h 3"]:
    """A plain colour, or a patch of a picture that holds no face."""
    if random.random() < 0.5 and len(textures):
        patch = textures[random.integers(len(textures))]
        side = int(random.uniform(0.3, 1) * len(patch))
        y, x = random.integers(0, len(patch) - side + 1, 2)
        patch = np.rot90(patch[y : y + side, x : x + side], random.integers(4))
        return cv2.resize(np.ascontiguousarray(patch), (high, high), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    grey = random.uniform(0, 255)
    return np.broadcast_to(np.clip(grey + random.normal(0, 50, 3), 0, 255), (high, high, 3)).copy()


def blob(random: Random, textures: UInt8[np.ndarray, "n t t 3"]) -> Layer:
    """Food, cloth, the back of a head, anything: a smooth closed curve, polygon or half plane with a texture."""
    high = 2 * LAYER
    alpha = np.zeros((high, high), np.float32)
    kind = random.integers(4)
    if kind == 0:
        count = random.integers(3, 9)
        angles = np.sort(random.uniform(0, 2 * np.pi, count))
        radius = random.uniform(0.15, 0.47, count) * high
        points = np.c_[np.cos(angles), np.sin(angles)] * radius[:, None] + high / 2
        cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    elif kind == 1:
        angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        radius = np.ones(90) * random.uniform(0.25, 0.4)
        for k in range(1, 6):
            radius += random.normal(0, 0.07 / k) * np.cos(k * angles + random.uniform(0, 6.3))
        points = np.c_[np.cos(angles), np.sin(angles) * random.uniform(0.4, 1)] * np.clip(radius, 0.04, 0.49)[:, None]
        cv2.fillPoly(alpha, [np.round((points * high + high / 2) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    elif kind == 2:  # a wavy half plane: someone's back, a scarf, a curtain, the background beside a profile
        x = np.arange(high)
        edge = high * 0.5 + np.zeros(high)
        for k in range(1, 5):
            edge += random.normal(0, 0.06 / k) * high * np.sin(2 * np.pi * k * x / high + random.uniform(0, 6.3))
        alpha = np.clip(np.arange(high)[:, None] - edge[None], 0, 1).astype(np.float32)
    else:
        w, h = random.uniform(0.12, 0.8, 2) * high
        box = cv2.boxPoints(((high / 2, high / 2), (w, h), random.uniform(0, 90)))
        cv2.fillPoly(alpha, [np.round(box * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), random.uniform(0.6, 8)) * 4 - 1.5, 0, 1)
    return _shaded(alpha, _flat(random, textures, high), random)


def microphone(random: Random, textures: UInt8[np.ndarray, "n t t 3"]) -> Layer:
    """A ball or a foam capsule on a stick that leaves the layer at its lower edge."""
    high = 2 * LAYER
    alpha, rgb = np.zeros((high, high), np.float32), np.zeros((high, high, 3), np.float64)
    radius = random.uniform(0.1, 0.2) * high
    middle = np.array([0.5, random.uniform(0.22, 0.35)]) * high
    body, head = random.uniform(10, 70) + random.normal(0, 6, 3), random.uniform(8, 170) + random.normal(0, 8, 3)
    wide, narrow = random.uniform(0.45, 0.85) * radius, random.uniform(0.3, 0.6) * radius
    stick = np.array(
        [
            [middle[0] - wide, middle[1]],
            [middle[0] + wide, middle[1]],
            [middle[0] + narrow, high],
            [middle[0] - narrow, high],
        ]
    )
    cv2.fillPoly(alpha, [np.round(stick * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    rgb[:] = body
    across = (np.arange(high) - middle[0]) / wide
    rgb += (random.uniform(0, 90) * np.exp(-((across - random.uniform(-0.6, 0.6)) ** 2) * 18))[None, :, None]
    axes = (int(radius * random.uniform(0.85, 1)), int(radius * random.uniform(1, 1.35)))
    ball = np.zeros_like(alpha)
    cv2.ellipse(ball, (int(middle[0]), int(middle[1])), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    y, x = np.mgrid[0:high, 0:high]
    grid = 1 + random.uniform(0, 0.5) * np.sin(x * np.pi / random.uniform(3, 6)) * np.sin(
        y * np.pi / random.uniform(3, 6)
    )
    lit = np.exp(
        -(((x - middle[0] + radius * 0.3) / radius) ** 2 + ((y - middle[1] + radius * 0.35) / radius) ** 2) * 1.5
    )
    paint = (head * (0.6 + random.uniform(0, 1.3) * lit[..., None])) * grid[..., None]
    rgb = rgb * (1 - ball[..., None]) + paint * ball[..., None]
    return _shaded(np.maximum(alpha, ball), rgb, random)


def cup(random: Random, textures: UInt8[np.ndarray, "n t t 3"]) -> Layer:
    """A cup, can or phone: a rounded box with taper, rim, handle, band or screen."""
    high = 2 * LAYER
    alpha, rgb = np.zeros((high, high), np.float32), _flat(random, textures, high)
    half, tall = random.uniform(0.12, 0.26) * high, random.uniform(0.25, 0.42) * high
    taper, middle = random.uniform(0.65, 1.05), high / 2
    box = np.array(
        [
            [middle - half, middle - tall],
            [middle + half, middle - tall],
            [middle + half * taper, middle + tall],
            [middle - half * taper, middle + tall],
        ]
    )
    cv2.fillPoly(alpha, [np.round(box * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    kind = random.integers(3)
    if kind == 0:
        cv2.ellipse(
            alpha,
            (int(middle), int(middle - tall)),
            (int(half), int(half * random.uniform(0.1, 0.4))),
            0,
            0,
            360,
            1.0,
            -1,
            cv2.LINE_AA,
        )
        side = random.choice([-1, 1])
        cv2.ellipse(
            alpha,
            (int(middle + side * half), int(middle)),
            (int(half * 0.55), int(tall * 0.5)),
            0,
            0,
            360,
            1.0,
            int(random.uniform(8, 24)),
            cv2.LINE_AA,
        )
        rgb *= (1 - 0.5 * np.abs((np.arange(high) - middle) / half).clip(0, 1) ** 2)[None, :, None]
    elif kind == 1:  # a phone: dark back with lenses, or a lit screen
        alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), 6) * 4 - 1.5, 0, 1)
        rgb[:] = random.uniform(5, 60) + random.normal(0, 4, 3)
        for k in range(random.integers(0, 4)):
            cv2.circle(
                rgb, (int(middle - half * 0.5), int(middle - tall * 0.75 + k * 30)), 11, (80, 80, 90), 3, cv2.LINE_AA
            )
        if random.random() < 0.4:
            cv2.fillPoly(
                rgb,
                [np.round((box - middle) * 0.86 + middle).astype(np.int32)],
                tuple(float(v) for v in random.uniform(60, 255, 3)),
            )
    else:
        top = int(middle + random.uniform(-0.8, 0.4) * tall)
        rgb[top : top + int(random.uniform(0.2, 0.8) * tall)] = random.uniform(0, 255, 3)
    return _shaded(alpha, rgb, random)


def stick(random: Random, textures: UInt8[np.ndarray, "n t t 3"]) -> Layer:
    """Pens, forks, cables, straws, cigarettes, toothbrushes: one to four thin bent lines."""
    high = 2 * LAYER
    alpha = np.zeros((high, high), np.float32)
    for _ in range(random.integers(1, 4)):
        ends = random.uniform(0.05, 0.95, (3, 2)) * high
        t = np.linspace(0, 1, 30)[:, None]
        bend = ends[0] * (1 - t) + ends[1] * t + (ends[2] - high / 2) * random.uniform(0, 0.4) * t * (1 - t) * 4
        cv2.polylines(
            alpha, [np.round(bend * 16).astype(np.int32)], False, 1.0, int(random.uniform(4, 30)), cv2.LINE_AA, 4
        )
    return _shaded(alpha, _flat(random, textures, high), random)


def hair(random: Random, colours: Float[np.ndarray, "n 3"]) -> Layer:
    """A fringe, a side lock or a few loose strands, in the frame of the aligned crop (margin 1.3): bundles of curves."""
    high = 2 * LAYER
    base = (
        colours[random.integers(len(colours))]
        if random.random() < 0.6 and len(colours)
        else np.array(HAIR_RGB[random.integers(len(HAIR_RGB))])
    )
    canvas = np.zeros((high, high, 4), np.float32)
    kind = random.integers(4)  # 0 dense fringe, 1 side locks, 2 loose strands, 3 swept fringe
    bundles = {
        0: random.integers(8, 22),
        1: random.integers(3, 9),
        2: random.integers(1, 5),
        3: random.integers(8, 18),
    }[int(kind)]
    side, reach = random.choice([-1, 1]), random.uniform(0.14, 0.42)
    for b in range(bundles):
        if kind in (0, 3):
            root = np.array(
                [0.12 + 0.76 * (b + random.uniform(-0.4, 0.4)) / max(bundles - 1, 1), random.uniform(-0.02, 0.1)]
            )
            lean = random.normal(0, 0.05) + (side * random.uniform(0.1, 0.3) if kind == 3 else 0)
            tip = root + np.array([lean, reach * random.uniform(0.7, 1.15)])
        elif kind == 1:
            edge = 0.5 + side * random.uniform(0.3, 0.46)
            root = np.array([edge, random.uniform(-0.02, 0.15)])
            tip = np.array([edge - side * random.uniform(-0.05, 0.14), random.uniform(0.4, 1.05)])
        else:
            root = np.array([random.uniform(0.1, 0.9), random.uniform(-0.02, 0.12)])
            tip = root + np.array([random.normal(0, 0.2), random.uniform(0.15, 0.8)])
        _bundle(canvas, random, np.clip(base + random.normal(0, 8), 2, 250), root * high, tip * high, loose=kind == 2)
    rgb = canvas[..., :3] / np.maximum(canvas[..., 3:], 1e-3)
    out = np.dstack([np.clip(rgb, 0, 255), canvas[..., 3] * 255])
    return cv2.resize(out.astype(np.float32), (LAYER, LAYER), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _bundle(canvas, random: Random, rgb, root, tip, loose: bool) -> None:
    """Draw one lock into the premultiplied canvas: strands that start apart and meet at the tip, lit across the lock."""
    high = len(canvas)
    count = int(random.integers(2, 10) if loose else random.integers(25, 60))
    width = random.uniform(0.004, 0.03) * high if loose else random.uniform(0.03, 0.09) * high
    bend = random.normal(0, 0.09, 2) * high
    t = np.linspace(0, 1, 14)[:, None]
    across = np.array([tip[1] - root[1], root[0] - tip[0]])
    across = across / (np.linalg.norm(across) + 1e-6)
    for _ in range(count):
        offset = random.normal(0, 1)
        spread = across * offset * width * (1 - (0.4 if loose else 0.75) * t)
        line = root * (1 - t) + tip * t + bend * t * (1 - t) * 4 + spread + random.normal(0, 0.006, 2) * high * t * t
        light = np.clip(
            1 + 0.35 * np.cos(offset * 1.4 + 0.6) * random.uniform(0.2, 1) + random.normal(0, 0.16), 0.4, 2.2
        )
        colour = (*[float(v) for v in rgb * light], 1.0)
        ink = np.zeros_like(canvas[..., 0])
        cv2.polylines(
            ink, [np.round(line * 16).astype(np.int32)], False, 1.0, int(random.integers(1, 4)), cv2.LINE_AA, 4
        )
        x0, y0 = np.clip(line.min(0) - 6, 0, high).astype(int)
        x1, y1 = np.clip(line.max(0) + 7, 0, high).astype(int)
        a = ink[y0:y1, x0:x1, None] * random.uniform(0.75, 1)
        canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - a) + np.array(colour, np.float32) * a


def strands(random: Random, colours: Float[np.ndarray, "n 3"]) -> Layer:
    """Long hair in front of a face, in the frame of the aligned crop (margin 1.3): a curtain down one side of it over the eye,
    a fringe down to brows or eyes with skin between its tips, hair blown across, or single hairs thinner than a pixel.

    Hair by hair over one another, so that coverage is soft exactly where hairs are thinner than pixels or far apart.
    """
    high = 2 * LAYER
    known = len(colours) and random.random() < 0.4
    base = (
        colours[random.integers(len(colours))] if known else np.array(HAIR_RGB[random.integers(len(HAIR_RGB))], float)
    )
    tip_rgb = np.clip(base * random.uniform(0.8, 1.5) + random.normal(0, 10, 3), 2, 252)
    canvas = np.zeros((high, high, 4), np.uint8)
    side, kind = random.choice([-1.0, 1.0]), int(random.choice(4, p=(0.4, 0.3, 0.15, 0.15)))
    wave, turns = random.normal(0, 0.025), random.uniform(0.5, 2.5)
    contrast = random.uniform(0.05, 0.3)
    count = int((450, 320, 220, 14)[kind] * random.uniform(0.4, 1.2))
    inner = random.uniform(-0.12, 0.3)  # of a curtain's edge: beyond the face's middle .. only at its rim
    reach = random.uniform(0.28, 0.62)  # of a fringe's tips: brows to below the eyes
    locks = np.sort(random.uniform(0.05, 0.95, random.integers(4, 12)))
    start = np.array([0.0, random.uniform(0.1, 0.7)]) if kind == 2 else np.zeros(2)
    t = np.linspace(0, 1, 16)[:, None]
    for _ in range(count):
        loose = abs(random.normal(0, 0.02)) if random.random() < 0.9 else abs(random.normal(0, 0.09))
        if kind == 0:  # from the parting down and outwards; most lie beyond the inner edge, a few stray inside
            depth = inner + 0.55 * random.random() ** 0.7 - loose
            root = np.array([0.5 - side * random.uniform(-0.05, 0.1), random.uniform(-0.1, 0.06)])
            tip = np.array([0.5 + side * (depth + random.normal(0, 0.02)), random.uniform(0.75, 1.2)])
            bend = np.array([side * (0.16 + 0.5 * max(depth, 0)), -0.1]) * random.uniform(0.8, 1.1)
        elif kind == 1:
            x = random.uniform(0.08, 0.92)
            near = locks[np.abs(locks - x).argmin()]
            root = np.array([0.5 + 0.8 * (x - 0.5), random.uniform(-0.06, 0.05)])
            tip = np.array(
                [x + 0.75 * (near - x) * random.uniform(0.4, 1) + side * 0.04, reach * random.uniform(0.75, 1.06)]
            )
            bend = np.array([side * random.uniform(0, 0.05), 0.0])
        elif kind == 2:
            root = np.array([0.5 - side * 0.6, start[1] + random.normal(0, 0.07)])
            tip = np.array([0.5 + side * random.uniform(-0.2, 0.5), start[1] + random.normal(0.08, 0.12)])
            bend = np.array([0.0, random.normal(0.05, 0.05)])
        else:
            root = np.array([random.uniform(0.05, 0.95), random.uniform(-0.05, 0.25)])
            tip = root + np.array([random.normal(0, 0.18), random.uniform(0.2, 0.8)])
            bend = random.normal(0, 0.12, 2)
        across = np.array([tip[1] - root[1], root[0] - tip[0]])
        swing = wave * np.sin(2 * np.pi * turns * t + random.normal(0, 0.35)) * across / (np.linalg.norm(across) + 1e-6)
        line = (root * (1 - t) + tip * t + bend * t * (1 - t) * 2 + swing * t) * high
        light = np.exp(random.normal(0, contrast))
        thick, clear = int(random.choice([1, 1, 1, 2, 3])), random.uniform(0.25, 0.7) if kind == 3 else 1.0
        _hair(canvas, line, base * light, tip_rgb * light, thick, clear)
    rgb = canvas[..., :3].astype(np.float32) * 255 / np.maximum(canvas[..., 3:], 1)
    shine = np.exp(-(((np.arange(high) / high - random.uniform(0.05, 0.6)) / random.uniform(0.05, 0.2)) ** 2))
    rgb *= 1 + random.uniform(0, 0.5) * shine[:, None, None]
    alpha = canvas[..., 3:].astype(np.float32) / 255
    small = cv2.resize(np.dstack([np.clip(rgb, 0, 255) * alpha, alpha]), (LAYER, LAYER), interpolation=cv2.INTER_AREA)
    return np.dstack([np.clip(small[..., :3] / np.maximum(small[..., 3:], 1e-3), 0, 255), small[..., 3] * 255]).astype(
        np.uint8
    )


def _hair(canvas: UInt8[np.ndarray, "h w 4"], line, root_rgb, tip_rgb, thick: int, clear: float) -> None:
    """One hair over the premultiplied canvas in place; its colour runs from root to tip."""
    bytes_of = lambda rgb: (*[float(v) for v in np.clip(rgb, 2, 252)], 255.0)  # noqa: E731
    fixed, half = np.round(line * 16).astype(np.int32), len(line) // 2
    parts = ((fixed[: half + 1], root_rgb), (fixed[half:], tip_rgb))
    if clear >= 1:
        for part, rgb in parts:
            cv2.polylines(canvas, [part], False, bytes_of(rgb), thick, cv2.LINE_AA, 4)
        return
    x0, y0 = np.clip(line.min(0) - 4, 0, len(canvas)).astype(int)
    x1, y1 = np.clip(line.max(0) + 5, 0, len(canvas)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    ink = np.zeros((y1 - y0, x1 - x0, 4), np.uint8)
    for part, rgb in parts:
        cv2.polylines(ink, [part - np.array([x0, y0]) * 16], False, bytes_of(rgb), thick, cv2.LINE_AA, 4)
    over, under = ink.astype(np.float32) * clear, canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = np.round(under * (1 - over[..., 3:] / 255) + over)


# --- glasses, drawn on one face's mesh --------------------------------------------------------------------------------


def _lens(centre, half_w: float, half_h: float, power: float, sag: float, mirror: int) -> Float[np.ndarray, "k 2"]:
    """Outline of one lens: a superellipse whose outer lower part sags by `sag` (aviators) or lifts (cat eyes)."""
    angle = np.linspace(0, 2 * np.pi, 60)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
    y = y + sag * mirror * x * np.where(y > 0, 1.0, 0.4)
    return np.c_[centre[0] + half_w * x, centre[1] + half_h * y]


def glasses(random: Random, points: Float[np.ndarray, "n 2"], size: int) -> tuple[Layer, Layer]:
    """(frame, lens) layers over a base crop whose mesh is given. The frame hides the face; the lens only tints it, and is
    fully transparent for sunglasses, whose dark lens is part of the frame.
    """
    eyes = [points[[33, 133, 159, 145]].mean(0), points[[362, 263, 386, 374]].mean(0)]
    widths = [np.linalg.norm(points[33] - points[133]), np.linalg.norm(points[362] - points[263])]
    between = np.linalg.norm(points[133] - points[362])
    scale, tall, power = random.uniform(0.72, 1.12), random.uniform(0.55, 1.0), random.choice([2.0, 2.3, 2.8, 3.6, 5.0])
    drop, sag = random.uniform(-0.05, 0.3), random.normal(0, 0.08)
    high = 2 * size
    rim, lens = np.zeros((high, high), np.float32), np.zeros((high, high), np.float32)
    px = lambda p: [np.round((np.asarray(p) * 2 + 0.5) * 16).astype(np.int32)]  # noqa: E731
    thick = int(random.choice([2, 2, 3, 3, 4, 5, 7, 9, 12]))
    outlines = []
    for k, (eye, width) in enumerate(zip(eyes, widths, strict=True)):
        half = scale * min(width, max(widths) * 1.0)
        # The outer half of the lens reaches further than the inner one, which the nose bounds.
        centre = eye + (points[33] - points[263]) / np.linalg.norm(points[33] - points[263]) * half * 0.12 * (
            1 if k == 0 else -1
        )
        outline = _lens(
            centre + np.array([0, drop * half]), half, tall * max(widths) * scale, power, sag, 1 if k else -1
        )
        outlines.append(outline)
        cv2.fillPoly(lens, px(outline), 1.0, cv2.LINE_AA, 4)
        if random.random() < 0.12:  # half rim: only the upper part has a frame
            cv2.polylines(rim, px(outline[np.arange(28, 62) % 59]), False, 1.0, thick, cv2.LINE_AA, 4)
        else:
            cv2.polylines(rim, px(outline), True, 1.0, thick, cv2.LINE_AA, 4)
    left_inner, right_inner = outlines[0][np.argmax(outlines[0][:, 0])], outlines[1][np.argmin(outlines[1][:, 0])]
    lift = random.uniform(0.0, 0.35) * between
    arch = np.array(
        [left_inner - (0, lift * 0.6), (left_inner + right_inner) / 2 - (0, lift), right_inner - (0, lift * 0.6)]
    )
    bridge = max(2, int(thick * random.uniform(0.6, 1.2)))
    cv2.polylines(rim, px(arch), False, 1.0, bridge, cv2.LINE_AA, 4)
    if random.random() < 0.15:
        cv2.polylines(rim, px(arch - (0, 0.3 * between)), False, 1.0, bridge, cv2.LINE_AA, 4)
    for outline, ear, pick in ((outlines[0], points[127], np.argmin), (outlines[1], points[356], np.argmax)):
        hinge = outline[pick(outline[:, 0])] - (0, random.uniform(0, 0.5) * tall * max(widths) * scale)
        end = np.array(
            [ear[0] + 0.15 * (ear[0] - hinge[0]), hinge[1] + random.uniform(-0.15, 0.35) * abs(ear[0] - hinge[0])]
        )
        cv2.polylines(rim, px([hinge, end]), False, 1.0, max(2, int(thick * random.uniform(0.6, 1.6))), cv2.LINE_AA, 4)
    if random.random() < 0.5:
        for inner, way in ((left_inner, 1), (right_inner, -1)):
            cv2.polylines(rim, px([inner, inner + np.array([way * 0.1, 0.2]) * between]), False, 0.8, 3, cv2.LINE_AA, 4)
    return _glass_layers(random, rim, lens, size)


def _glass_layers(random: Random, rim, lens, size: int) -> tuple[Layer, Layer]:
    """Colour the frame (metal, plastic, tortoise, clear) and the lens (clear with reflections, tinted, or sun)."""
    high = len(rim)
    y, x = np.mgrid[0:high, 0:high].astype(np.float32) / high
    rgb = (
        np.zeros((high, high, 3), np.float32)
        + np.array(FRAME_RGB[random.integers(len(FRAME_RGB))])
        + random.normal(0, 8, 3)
    )
    if random.random() < 0.25:
        spots = cv2.resize(
            random.normal(0, 1, (60, 60)).astype(np.float32), (high, high), interpolation=cv2.INTER_CUBIC
        )
        rgb = np.where(spots[..., None] > 0.2, rgb * 0.4, rgb * 1.2 + np.array([30, 12, 0]))
    rgb += (
        random.uniform(0, 110)
        * np.exp(-((np.sin(9 * x + random.uniform(0, 6)) + y * random.uniform(-3, 3)) ** 2) * 6)[..., None]
    )
    strength = random.uniform(0.45, 0.8) if random.random() < 0.1 else 1.0
    rim = rim * strength
    tint, clear = np.zeros((high, high, 4), np.float32), lens * (1 - rim)
    if random.random() < 0.22:
        dark = np.array([random.uniform(0, 60)] * 3) + random.normal(0, 10, 3)
        grade = 1 - random.uniform(0, 0.2) * y
        opaque = lens * np.clip(random.uniform(0.82, 1.05) * grade, 0, 1)
        alpha = np.maximum(rim, opaque)
        shine = random.uniform(0, 120) * np.exp(-((x - y * random.uniform(-1, 1) - random.uniform(0.2, 0.6)) ** 2) * 60)
        rgb = np.where(rim[..., None] > 0.5, rgb, dark + shine[..., None])
        frame = np.dstack([rgb, alpha * 255])
    else:
        frame = np.dstack([rgb, rim * 255])
        shine = np.exp(-((x + y * random.uniform(-1.5, 1.5) - random.uniform(0, 1)) ** 2) * random.uniform(40, 900))
        tint[..., :3] = random.uniform(120, 255) + random.normal(0, 20, 3)
        haze = random.uniform(0, 0.08)
        tint[..., 3] = clear * np.clip(haze + random.choice([0, 0.2, 0.5]) * shine, 0, 0.6) * 255
    return _averaged(frame, size), _averaged(tint, size)


def _averaged(layer: Float[np.ndarray, "h w 4"], size: int) -> Layer:
    """A layer drawn at twice the size, averaged down to bytes."""
    small = cv2.resize(np.clip(layer, 0, 255).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8)
