"""What a look at a face is like, as far as it matters for keeping it: its light, colour, lids, and what is worn on the eyes."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception.light import fit_light
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.capture import Eyewear, Traits
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import camera_normals, face_model

GRID = 64
DARK_LENS = (
    0.30  # luma around both eyes over that of the cheeks: median, measured down to 0.23 where brows are drawn down
)
BRIGHTEST = 0.35  # and upper tenth: measured 0.45 to 1.4 without dark glasses
_LIDS = (((159, 145), (158, 153), (33, 133)), ((386, 374), (385, 380), (362, 263)))  # two heights, one width


def lid_openings(points_px: Float[np.ndarray, "478 3"]) -> tuple[float, float]:
    """Height over width of the opening of the subject's right and left eye, in three dimensions."""

    def length(pair: tuple[int, int]) -> float:
        return float(np.linalg.norm(points_px[pair[0]] - points_px[pair[1]]))

    right, left = ((length(a) + length(b)) / (2 * max(length(width), 1e-6)) for a, b, width in _LIDS)
    return right, left


def wears_rims(hidden: Float32[np.ndarray, "g g"]) -> bool:
    """Whether the matte's holes around the eyes (`hidden`, 0..1 over the UV grid) are those of spectacle frames, on both sides."""
    grid = uv_grid(len(hidden))
    place = grid.carried(face_model().mean_cm)
    for side in (-1, 1):
        x, y = side * place[..., 0] - 2.95, place[..., 1]
        eye = np.hypot(x, 0.8 * y)
        # The lower and inner half of a rim: hair never falls there, and what covers the pupil is no glasses.
        rim = grid.covered & (eye > 1.1) & (eye < 2.9) & ((y < -0.5) | ((x < -0.8) & (np.abs(y) < 1.2))) & (x < 1.5)
        inner = grid.covered & (eye < 0.9)
        if hidden[rim].mean() < 0.10 or hidden[inner].mean() > 0.4:
            return False
    return True


def eye_darkness(luma: Float32[np.ndarray, "g g"]) -> tuple[float, float]:
    """Luma where a lens would be, over that of the cheeks below it: of the lighter eye, its median and its upper tenth.

    A lens darkens lids and the skin under the eye alike, so that even its brightest part is dark; a shadow does not.
    """
    grid = uv_grid(len(luma))
    place = grid.carried(face_model().mean_cm)
    out = []
    for side in (-1, 1):
        x, y = side * place[..., 0] - 3.1, place[..., 1]
        lens = grid.covered & (np.hypot(x, 1.1 * (y + 0.3)) < 1.7)
        cheek = grid.covered & (np.abs(x) < 1.6) & (y < -3.2) & (y > -5.0)
        lit = max(float(np.median(luma[cheek])), 1e-4)
        out.append((float(np.median(luma[lens])) / lit, float(np.quantile(luma[lens], 0.9)) / lit))
    return max(out)


def traits_of(
    linear: Float32[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"], matte: UInt8[np.ndarray, "h w"]
) -> Traits:
    """Judge one look: a scene-linear picture, the mesh in it, and the matte of the visible face (0..255)."""
    grid = uv_grid(GRID)
    at = grid.carried(points_px[:, :2].astype(np.float32))
    mx, my = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    soft = cv2.GaussianBlur(linear, (0, 0), max(float(np.ptp(points_px[:468, 0])) / (1.5 * GRID), 0.5))
    colour = np.maximum(cv2.remap(soft, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), 0)
    seen = cv2.remap(matte, mx, my, cv2.INTER_LINEAR).astype(np.float32) / 255 * grid.covered
    n = grid.carried(camera_normals(points_px))
    n /= np.linalg.norm(n, axis=-1, keepdims=True) + 1e-6
    weight = seen * np.clip((n[..., 2] - 0.12) / 0.45, 0, 1)
    use = grid.skin & (weight > 0.1)
    if use.sum() < 60:
        use, weight = grid.covered, np.maximum(weight, 0.05)
    skin = np.maximum(np.average(colour[use], 0, weight[use]), 1e-5)
    luma = float(skin @ LUMA)
    sh = fit_light(colour[use], n[use], weight[use]) @ LUMA
    front = max(float(sh[0] + sh[3] + 2 * sh[6]), 0.1 * luma)
    side = sh[1:3] / front
    return Traits(
        chroma=float(np.ptp(skin) / luma),
        lids=lid_openings(points_px),
        eyewear=_eyewear((1 - seen) * grid.covered, (colour @ LUMA).astype(np.float32)),
        toward=(float(side[0]), float(side[1])),
        tint=(float(np.log(skin[0] / skin[1])), float(np.log(skin[2] / skin[1]))),
    )


def _eyewear(hidden: Float32[np.ndarray, "g g"], luma: Float32[np.ndarray, "g g"]) -> Eyewear:
    middle, brightest = eye_darkness(luma)
    if middle < DARK_LENS and brightest < BRIGHTEST:
        return "dark glasses"
    return "glasses" if wears_rims(hidden) else "none"
