"""Shots whose truth is known: people with drawn skin, a pose and muscle curve each, one light, a busy background.

Nothing here uses the product's rasteriser, colour code or light fit: triangles are painted far to near with OpenCV at
twice the size, Y'CbCr is encoded by the formulas of ITU-R BT.709. The perceiver answers from truth plus seeded noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np

from digidouble.footage import MemoryFootage
from digidouble.perception.detector import Detection
from digidouble.perception.matte import px_from_crop
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.mesh import BROWS, IRIS_DIAMETER_CM, LEFT_IRIS, OUTER_LIPS, RIGHT_IRIS, face_model
from digidouble.schema.time import FrameRate
from digidouble.schema.track import MATTE_SIZE

RATE = FrameRate(Fraction(24000, 1001))
BT709 = ColourTags(1, 1, 1, False)
SRGB = ColourTags(1, 13, 0, True)
YUV8 = PixelLayout("yuv420p", "yuv", 8, (1, 1))
YUV10 = PixelLayout("yuv420p10le", "yuv", 10, (1, 1))
RGB16 = PixelLayout("rgb48", "rgb", 16)
SKIN = np.array([0.42, 0.25, 0.18])
SUPERSAMPLED = 2
FRONT_LIGHT = np.zeros((9, 3))
FRONT_LIGHT[0], FRONT_LIGHT[3] = 0.75, 0.3


# --- people ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """neutral_cm: metric (iris 11.7 mm). albedo: linear, in UV. identity: unit vector, orthogonal to other people's."""

    neutral_cm: np.ndarray
    albedo: np.ndarray
    identity: np.ndarray


@lru_cache(maxsize=16)
def person(seed: int, texels: int = 320, spread: float = 0.8) -> Person:
    """A person drawn from the shape prior; skin tone, brows, lips and eyes by the seed."""
    rng = np.random.default_rng([seed, 77])
    m = face_model()
    modes = m.identity_modes_cm
    coefficients = np.clip(rng.normal(0, spread, len(modes)), -1.6, 1.6)
    coefficients[20:] = 0  # the finest modes fold triangles at random draws
    neutral = (m.mean_cm + np.tensordot(coefficients, modes, 1)).astype(np.float64)
    iris = np.mean([np.linalg.norm(neutral[i[1], :2] - neutral[i[3], :2]) for i in (RIGHT_IRIS, LEFT_IRIS)])
    neutral *= IRIS_DIAMETER_CM / iris
    identity = np.zeros(128, np.float32)
    identity[seed % 128] = 1
    return Person(neutral, skin_in_uv(rng, texels), identity)


def skin_in_uv(rng: np.random.Generator, size: int) -> np.ndarray:
    """Albedo with mottles, pores, brows, lips, eyes and mouth."""
    m = face_model()
    tone = SKIN * np.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.06, 3))
    log = np.zeros((size, size, 3))
    for sigma, strength in ((0.06, 0.10), (0.02, 0.07), (0.006, 0.06)):
        noise = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), sigma * size)
        log += (strength * noise / noise.std())[..., None] * [0.8, 1.0, 1.1]
    out = (tone * np.exp(log)).astype(np.float32)

    def paint(points: np.ndarray, colour: Sequence[float], soft: float) -> None:
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.round((points * size - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        k = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soft * size / 300)[..., None]
        out[:] = out * (1 - k) + np.asarray(colour, np.float32) * k

    for side in (BROWS[:10], BROWS[10:]):
        paint(m.uv[np.concatenate([side[:5], side[:4:-1]])], tone * 0.16, 1.0)
    paint(m.uv[OUTER_LIPS], tone * [0.95, 0.5, 0.5], 0.8)
    paint(m.uv[m.loops["inner_lips"]], (0.03, 0.012, 0.012), 0.5)
    for eye, ring in (("right_eye", RIGHT_IRIS), ("left_eye", LEFT_IRIS)):
        paint(m.uv[m.loops[eye]], (0.55, 0.5, 0.48), 0.5)
        around = m.uv[ring[1:]]
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = np.ptp(around, axis=0) / 2
        circle = m.uv[ring[0]] + radius * np.stack([np.cos(angle), np.sin(angle)], -1)
        paint(circle, (0.05, 0.09, 0.06), 0.5)
        paint(m.uv[ring[0]] + 0.4 * (circle - m.uv[ring[0]]), (0.005, 0.005, 0.005), 0.4)
    return out


# --- motion ----------------------------------------------------------------------------------------------------------


def turned(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Camera axes from head axes by where the nose goes: yaw to the subject's left (+x), pitch up (+y), roll counter-clockwise."""
    y, p, r = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def action_index(part: str) -> int:
    """Index of the action whose positive name begins with `part`."""
    return next(i for i, name in enumerate(face_model().action_names) if name.startswith(part))


def bump(frames: int, centre: float, width: float) -> np.ndarray:
    """A smooth 0..1..0 of `width` frames, exactly 0 outside."""
    x = np.clip(np.abs(np.arange(frames) - centre) / (width / 2), 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * x)


@dataclass(frozen=True)
class Take:
    """One person's part of a shot; every array has a row per frame.

    actions: name prefix -> curve. origin_px: place of the point between the eyes. seen: frames in which trackers find the face.
    occluder: frame -> (x0, y0, x1, y1) of a bar in front of this face, or None.
    """

    who: Person
    yaw_deg: np.ndarray
    pitch_deg: np.ndarray
    roll_deg: np.ndarray
    px_per_cm: np.ndarray
    origin_px: np.ndarray
    actions: dict[str, np.ndarray] = field(default_factory=dict)
    seen: np.ndarray | None = None
    occluder: Callable[[int], tuple[int, int, int, int] | None] | None = None

    def shape_cm(self, i: int) -> np.ndarray:
        m = face_model()
        out = self.who.neutral_cm.copy()
        for name, curve in self.actions.items():
            out += curve[i] * m.action_fields_cm[action_index(name)]
        return out

    def rotation(self, i: int) -> np.ndarray:
        return turned(self.yaw_deg[i], self.pitch_deg[i], self.roll_deg[i])

    def points_px(self, i: int) -> np.ndarray:
        x, y, z = (self.rotation(i) @ self.shape_cm(i).T) * self.px_per_cm[i]
        return np.stack([self.origin_px[i, 0] + x, self.origin_px[i, 1] - y, -z], -1)


def still(who: Person, frames: int, place: tuple[float, float], scale: float = 9.0, **more) -> Take:
    """A take in which nothing moves unless `more` says so."""
    zero = np.zeros(frames)
    facts = {
        "yaw_deg": zero,
        "pitch_deg": zero,
        "roll_deg": zero,
        "px_per_cm": np.full(frames, scale),
        "origin_px": np.tile(place, (frames, 1)),
    }
    return Take(who, **facts | more)


# --- pixels ----------------------------------------------------------------------------------------------------------


def normals_cam(points_px: np.ndarray) -> np.ndarray:
    """Unit normals at the points in camera axes (x right, y up, z to the viewer), angle-weighted."""
    p = points_px * [1, -1, -1]
    out, t = np.zeros((478, 3)), face_model().triangles
    for k in range(3):
        e1, e2 = p[t[:, (k + 1) % 3]] - p[t[:, k]], p[t[:, (k + 2) % 3]] - p[t[:, k]]
        n = np.cross(e1, e2)
        length = np.linalg.norm(n, axis=1)
        angle = np.arctan2(length, (e1 * e2).sum(1))
        np.add.at(out, t[:, k], n * (angle / np.maximum(length, 1e-9))[:, None])
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-12)


def harmonic_light(light_sh: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Sum of the nine harmonics, written out."""
    x, y, z = n[..., 0:1], n[..., 1:2], n[..., 2:3]
    c = light_sh
    return (
        c[0]
        + c[1] * x
        + c[2] * y
        + c[3] * z
        + c[4] * x * y
        + c[5] * y * z
        + c[6] * (3 * z * z - 1)
        + c[7] * x * z
        + c[8] * (x * x - y * y)
    )


def render_face(
    points_px: np.ndarray, albedo: np.ndarray, light_sh: np.ndarray, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(linear colour, coverage 0..1) of a face in a picture, antialiased by 2x2 samples."""
    m, s = face_model(), SUPERSAMPLED
    w, h = size_wh
    triangles = m.all_triangles
    # Sample (x', y') of the large picture lies at ((x' + .5) / s - .5) of the small one.
    big = (points_px[:, :2] + 0.5) * s - 0.5
    corners = big[triangles]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    ids = np.full((h * s, w * s), -1, np.int32)
    depth = points_px[triangles, 2].mean(1)
    for t in np.argsort(-depth, kind="stable"):
        if area[t] < -1e-6:
            cv2.fillConvexPoly(ids, np.round(corners[t] * 256).astype(np.int32), int(t), cv2.LINE_8, 8)
    ys, xs = np.nonzero(ids >= 0)
    t = ids[ys, xs]
    d = np.stack([xs, ys], -1) - corners[t, 0]
    w1 = (d[:, 0] * e2[t, 1] - d[:, 1] * e2[t, 0]) / area[t]
    w2 = (e1[t, 0] * d[:, 1] - e1[t, 1] * d[:, 0]) / area[t]
    bary = np.clip(np.stack([1 - w1 - w2, w1, w2], -1), 0, 1)
    bary /= bary.sum(1, keepdims=True)
    uv = (bary[..., None] * m.uv[triangles[t]]).sum(1) * len(albedo) - 0.5
    vertex_n = normals_cam(points_px)
    n = (bary[..., None] * vertex_n[triangles[t]]).sum(1)
    n /= np.linalg.norm(n, axis=1, keepdims=True) + 1e-12
    rows = [uv[k : k + 30000].astype(np.float32) for k in range(0, len(uv), 30000)]
    colour = np.concatenate(
        [cv2.remap(albedo, r[:, None, 0], r[:, None, 1], cv2.INTER_LINEAR)[:, 0] for r in rows] or [np.zeros((0, 3))]
    )
    picture, cover = np.zeros((h * s, w * s, 3)), np.zeros((h * s, w * s))
    picture[ys, xs] = colour * np.maximum(harmonic_light(light_sh, n), 0.02)
    cover[ys, xs] = 1
    premultiplied = picture.reshape(h, s, w, s, 3).mean((1, 3))
    alpha = cover.reshape(h, s, w, s).mean((1, 3))
    return premultiplied / np.maximum(alpha, 1e-9)[..., None], alpha


def background(size_wh: tuple[int, int], seed: int) -> np.ndarray:
    """Blobs of colour, linear, seeded."""
    rng = np.random.default_rng([seed, 5])
    w, h = size_wh
    out = np.zeros((h, w, 3))
    for sigma, strength in ((30, 0.10), (8, 0.06), (2, 0.03)):
        noise = cv2.GaussianBlur(rng.normal(size=(h, w, 3)), (0, 0), sigma)
        out += strength * noise / noise.std()
    return np.clip(rng.uniform(0.12, 0.4, 3) + out, 0.01, 1)


def encoded(linear: np.ndarray) -> np.ndarray:
    """BT.709-6 item 1.2 with its printed constants, bounded to 0..1."""
    x = np.clip(linear, 0, 1)
    return np.where(x < 0.018, 4.5 * x, 1.099 * np.power(np.maximum(x, 1e-9), 0.45) - 0.099)


def frame_from_linear(linear: np.ndarray, index: int, layout: PixelLayout = YUV8) -> Frame:
    """BT.709 limited-range Y'CbCr 4:2:0 with left-sited chroma, or 16-bit sRGB."""
    if layout.kind == "rgb":
        x = np.clip(linear, 0, 1)
        signal = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-9), 1 / 2.4) - 0.055)
        return Frame(index, RATE.seconds_at(index), (np.rint(signal * 65535).astype(np.uint16),), layout, SRGB)
    rgb = encoded(linear)
    y = rgb @ [0.2126, 0.7152, 0.0722]
    cb, cr = (rgb[..., 2] - y) / 1.8556, (rgb[..., 0] - y) / 1.5748
    unit, dtype = (1, np.uint8) if layout.bits == 8 else (1 << (layout.bits - 8), np.uint16)

    def halved(c: np.ndarray) -> np.ndarray:
        p = np.pad(c, ((0, 0), (1, 1)), "edge")
        c = (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:])[:, ::2] / 4
        return 0.5 * (c[::2] + c[1::2])

    planes = [16 + 219 * y, 128 + 224 * halved(cb), 128 + 224 * halved(cr)]
    return Frame(index, RATE.seconds_at(index), tuple(np.rint(unit * p).astype(dtype) for p in planes), layout, BT709)


# --- shots -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SyntheticShot:
    """Frames and what is true of them. visible[i][k]: 0..1 map of take k in frame i (occluders and nearer faces taken off)."""

    frames: tuple[Frame, ...]
    takes: tuple[Take, ...]
    points_px: np.ndarray  # n, takes, 478, 3
    visible: tuple[tuple[np.ndarray, ...], ...]
    light_sh: np.ndarray  # n, 9, 3

    def footage(self) -> MemoryFootage:
        return MemoryFootage(self.frames, RATE)

    def __len__(self) -> int:
        return len(self.frames)


def shoot(
    takes: Sequence[Take], size_wh: tuple[int, int], light_sh: np.ndarray = FRONT_LIGHT, layout: PixelLayout = YUV8,
    grain: float = 0.0, cuts: Sequence[int] = (), seed: int = 0,
) -> SyntheticShot:  # fmt: skip
    """Film the takes. `light_sh`: [9, 3] or one row per frame. `grain`: standard deviation in display-referred 0..1."""
    n = len(takes[0].yaw_deg)
    lights = np.broadcast_to(light_sh, (n, 9, 3))
    frames, points, visible = [], np.zeros((n, len(takes), 478, 3), np.float32), []
    scenes = [background(size_wh, seed + 100 * k) for k in range(len(cuts) + 1)]
    for i in range(n):
        picture = scenes[sum(i >= c for c in cuts)].copy()
        maps = [np.zeros(size_wh[::-1])] * len(takes)
        for k in sorted(range(len(takes)), key=lambda k: takes[k].px_per_cm[i]):  # the larger is the nearer
            points[i, k] = takes[k].points_px(i)
            colour, cover = render_face(points[i, k].astype(np.float64), takes[k].who.albedo, lights[i], size_wh)
            picture = picture * (1 - cover[..., None]) + colour * cover[..., None]
            maps = [v * (1 - cover) for v in maps]
            maps[k] = cover
            hidden = takes[k].occluder(i) if takes[k].occluder else None
            if hidden:
                x0, y0, x1, y1 = hidden
                picture[y0:y1, x0:x1] = (0.05, 0.12, 0.2)
                maps = [v.copy() for v in maps]
                for v in maps:
                    v[y0:y1, x0:x1] = 0
        if grain:
            rng = np.random.default_rng([seed, i, 11])
            shown = encoded(picture) + rng.normal(0, grain, size_wh[::-1])[..., None]
            picture = np.where(shown < 0.081, shown / 4.5, ((np.maximum(shown, 0) + 0.099) / 1.099) ** (1 / 0.45))
        frames.append(frame_from_linear(picture, i, layout))
        visible.append(tuple(maps))
    return SyntheticShot(tuple(frames), tuple(takes), points, tuple(visible), np.array(lights))


class TruthPerceiver:
    """A `Perceiver` that knows the answers: true mesh plus white noise of `noise_px`, true boxes, identities and mattes.

    It finds out which frame it is shown by its pixels, so it may be asked in any order. `calls` counts what was asked.
    """

    def __init__(self, shot: SyntheticShot, noise_px: float = 0.0, seed: int = 0) -> None:
        self.shot, self.noise_px, self.seed = shot, noise_px, seed
        self._index = {self._key(rgb8_from_frame(f)): f.index for f in reversed(shot.frames)}
        self.calls = {"detect": 0, "mesh": 0, "embed": 0, "matte": 0}

    @staticmethod
    def _key(rgb8: np.ndarray) -> bytes:
        return hashlib.blake2b(np.ascontiguousarray(rgb8).tobytes()).digest()

    def frame_of(self, rgb8: np.ndarray) -> int:
        return self._index[self._key(rgb8)]

    def seen(self, i: int, k: int) -> bool:
        wanted = self.shot.takes[k].seen
        return True if wanted is None else bool(wanted[i])

    def observed(self, i: int, k: int) -> np.ndarray:
        noise = np.random.default_rng([self.seed, i, k]).normal(0, self.noise_px, (478, 3)) if self.noise_px else 0
        return (self.shot.points_px[i, k] + noise).astype(np.float32)

    def _nearest(self, i: int, centre: np.ndarray, only_seen: bool) -> tuple[int | None, float]:
        best, far = None, np.inf
        for k in range(len(self.shot.takes)):
            box = self.shot.points_px[i, k, :, :2]
            d = float(np.linalg.norm((box.min(0) + box.max(0)) / 2 - centre))
            if d < far and (not only_seen or self.seen(i, k)):
                best, far = k, d
        return best, far

    def detect(self, rgb8: np.ndarray) -> list[Detection]:
        self.calls["detect"] += 1
        i, out = self.frame_of(rgb8), []
        for k in range(len(self.shot.takes)):
            if self.seen(i, k):
                p = self.shot.points_px[i, k]
                box = np.array([*p[:, :2].min(0), *p[:, :2].max(0)], np.float32)
                out.append(Detection(box, 0.9, p[[468, 473, 1, 61, 291], :2].astype(np.float32)))
        return out

    def mesh(self, rgb8: np.ndarray, roi: np.ndarray) -> tuple[np.ndarray, float]:
        self.calls["mesh"] += 1
        i = self.frame_of(rgb8)
        k, far = self._nearest(i, roi[:2], only_seen=True)
        if k is None or far > 0.45 * roi[2]:
            return self.observed(i, 0) * 0 + np.array([*roi[:2], 0], np.float32), 0.05
        return self.observed(i, k), 0.95

    def embed(self, rgb8: np.ndarray, points_px: np.ndarray) -> np.ndarray:
        self.calls["embed"] += 1
        i = self.frame_of(rgb8)
        k, _ = self._nearest(i, (points_px[:, :2].min(0) + points_px[:, :2].max(0)) / 2, only_seen=False)
        v = self.shot.takes[k or 0].who.identity + np.random.default_rng([self.seed, i, 3]).normal(0, 0.04, 128)
        return (v / np.linalg.norm(v)).astype(np.float32)

    def matte(self, rgb8: np.ndarray, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls["matte"] += 1
        i = self.frame_of(rgb8)
        k, _ = self._nearest(i, (points_px[:, :2].min(0) + points_px[:, :2].max(0)) / 2, only_seen=False)
        to_px = px_from_crop(points_px)
        truth = self.shot.visible[i][k or 0].astype(np.float32)
        crop = cv2.warpAffine(
            truth, to_px.astype(np.float64), (MATTE_SIZE, MATTE_SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return np.round(255 * crop).astype(np.uint8), to_px


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    """dB over a mask, of display-referred values in 0..1."""
    return float(-10 * np.log10(max(np.mean((a[where] - b[where]) ** 2), 1e-12)))
