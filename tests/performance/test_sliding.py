"""Where skin lies beside its mesh, and its shade, against changes that were made."""

from __future__ import annotations

import cv2
import numpy as np

from digidouble.perception.uvgrid import uv_grid
from digidouble.performance.sliding import Relaxed, relaxed_first, stored
from digidouble.performance.wrinkles import LUMA_SIDE, Look, luma_placement
from digidouble.schema.mesh import FLIP_YZ, face_model

POINTS = (face_model().mean_cm * FLIP_YZ * 20 + [300, 300, 0]).astype(np.float32)
GRID = uv_grid(128)
INNER = cv2.erode(GRID.skin.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0


def look(luma: np.ndarray, visible: float = 1.0) -> Look:
    return Look(luma.astype(np.uint8), POINTS, POINTS, np.zeros((9, 3)), np.full((160, 160), visible))


def skin(seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).standard_normal((LUMA_SIDE, LUMA_SIDE)).astype(np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), 3)
    return np.clip(128 + 35 * soft / soft.std(), 20, 235)


def test_skin_that_slid_is_found_where_it_was() -> None:
    """The picture moves by two pixels of the crop, the mesh does not: so does the slide, in texels of the place."""
    rest = skin()
    moved = np.roll(rest, 2, axis=1)
    relaxed = Relaxed.of([look(rest)] * 3)
    change = relaxed.change(look(moved))
    crop = luma_placement(POINTS)
    place = GRID.carried(((POINTS[:, :2] - crop[:, 2]) / crop[0, 0]).astype(np.float32))
    per_texel = np.gradient(place[..., 0], axis=1)
    wanted = -2 / per_texel[INNER]
    assert np.median(np.abs(change[0][INNER] - wanted)) < 0.35
    assert np.median(np.abs(change[1][INNER])) < 0.35
    assert np.median(np.abs(relaxed.change(look(rest))[:2])) < 0.05, "what did not move does not slide"


def test_a_dark_line_is_a_ratio_and_light_is_not() -> None:
    rest = np.full((LUMA_SIDE, LUMA_SIDE), 150.0)
    line = rest.copy()
    for first in range(0, LUMA_SIDE, 40):
        line[first : first + 3] *= 0.75
    relaxed = Relaxed.of([look(rest)])
    assert np.abs(relaxed.change(look(rest * 0.6))[2][INNER]).max() < 0.03, "darker everywhere: light"
    change = relaxed.change(look(line))[2]
    assert change[INNER].min() < -0.1
    assert np.median(np.abs(change[INNER])) < 0.03
    assert (relaxed.change(look(line, visible=0.0)) == 0).all(), "what is not seen says nothing"


def test_the_relaxed_face_is_the_median_of_the_calmest() -> None:
    assert relaxed_first(np.array([3.0, 1.0, 2.0])).tolist() == [1, 2, 0]
    assert len(relaxed_first(np.arange(100.0))) == 8
    odd = skin(5)
    relaxed = Relaxed.of([look(skin())] * 3 + [look(odd)])
    assert np.abs(relaxed.luma - Relaxed.of([look(skin())]).luma).max() < 1e-6


def test_what_is_stored_is_what_is_read() -> None:
    change = np.zeros((3, 128, 128), np.float32)
    change[0], change[1], change[2] = 1.5, -20.0, 0.1
    slide, ratio = stored(change)
    assert slide.shape == (2, 64, 64) and (slide[0] == 24).all() and (slide[1] == -127).all()
    assert (ratio == 5).all()
