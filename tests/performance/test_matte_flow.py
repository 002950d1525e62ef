"""Mattes over time: noise goes, moving things are not smeared, frames in which nothing was seen have no say."""

from __future__ import annotations

import cv2
import numpy as np

from digidouble.performance.matte_flow import NEIGHBOUR, carried_both, grey_crop, steady_mattes
from digidouble.performance.tracklets import RECORD
from digidouble.performance.wrinkles import LUMA_SIDE, luma_placement
from digidouble.schema.track import MATTE_SIZE

RNG = np.random.default_rng(0)
PICTURE = cv2.resize(RNG.integers(90, 170, (48, 48)).astype(np.uint8), (300, 300), interpolation=cv2.INTER_CUBIC)
THING = cv2.resize(RNG.integers(0, 90, (16, 4)).astype(np.uint8), (15, 60), interpolation=cv2.INTER_CUBIC)


def observed(places: list[int | None]) -> tuple[np.ndarray, np.ndarray]:
    """(records, truth): a textured face that stands still, a dark finger with its left edge at the given column (None: nothing)."""
    points = RNG.uniform(60, 240, (478, 3)).astype(np.float32)
    points[0], points[1] = (60, 60, 0), (240, 240, 0)
    records, truth = np.zeros(len(places), RECORD), np.ones((len(places), MATTE_SIZE, MATTE_SIZE), np.float32)
    for k, x in enumerate(places):
        picture = PICTURE.copy()
        if x is not None:
            picture[120:180, x : x + 15] = THING
        placed = luma_placement(points)
        size = (LUMA_SIDE, LUMA_SIDE)
        records[k]["luma"] = cv2.warpAffine(picture, placed, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        records[k]["points"], records[k]["index"] = points, k
        records[k]["crop"] = [[1.5, 0, 54], [0, 1.5, 54]]
        if x is not None:
            y0, y1, x0, x1 = (round((v - 54) / 1.5) for v in (120, 180, x, x + 15))
            truth[k, y0:y1, x0:x1] = 0
        records[k]["matte"] = np.round(255 * truth[k])
    return records, truth


def test_the_grey_crop_is_the_picture_where_the_matte_lies():
    records, _ = observed([100])
    there = cv2.warpAffine(PICTURE, records[0]["crop"].astype(np.float64), (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)  # fmt: skip
    crop = grey_crop(records[0])
    clear = np.s_[10:40, 10:118]  # above the finger
    assert np.abs(crop[clear].astype(float) - there[clear]).mean() < 3


def test_a_moving_thing_is_neither_smeared_nor_late():
    """A finger that moves by its own width a frame: averaged where the mattes lie it is half there; the consensus keeps it."""
    records, truth = observed([70 + 15 * k for k in range(8)])
    hidden = truth < 0.5
    out = steady_mattes(records) / 255
    mean = np.clip(((0.25 * truth[:-2] + 0.5 * truth[1:-1] + 0.25 * truth[2:]) - 0.2) / 0.6, 0, 1)
    assert mean[hidden[1:-1]].mean() > 0.4  # what was done before
    assert out[hidden].mean() < 0.1 and out[~hidden].mean() > 0.995
    reverse = steady_mattes(records[::-1].copy())[::-1] / 255
    assert np.abs(out - reverse).max() < 0.01  # both ways alike: nothing lags


def test_what_one_frame_alone_believes_goes():
    """A hole that only one frame has, with pixels that say nothing changed, is halved or closed; the others do not take it over."""
    records, _ = observed([None] * 5)
    records[2]["matte"][50:70, 50:70] = 140
    out = steady_mattes(records)
    assert out[2, 52:68, 52:68].min() > 190 and out[[0, 4]].min() == 255 and out[[1, 3]].min() > 240


def test_neighbours_that_show_something_else_have_no_say():
    """Another picture altogether (a flash, a cut that was missed): what it says counts little."""
    a, b = grey_crop(observed([100])[0][0]), RNG.integers(0, 255, (128, 128)).astype(np.uint8)
    ones = np.ones((128, 128), np.float32)
    (_, say), (_, back) = carried_both(a, b, ones, ones)
    assert say.mean() < 0.25 * NEIGHBOUR and back.mean() < 0.25 * NEIGHBOUR
    (_, say), _ = carried_both(a, a, ones, ones)
    assert say.mean() > 0.95 * NEIGHBOUR


def test_unseen_frames_and_single_ones_stay_as_they_are():
    records, truth = observed([None, None, 120])
    records[1]["luma"] = 0
    records[1]["matte"] = 0
    out = steady_mattes(records)
    assert out[0].min() == 255 and out[1].max() == 0
    np.testing.assert_array_equal(out[2] < 128, truth[2] < 0.5)
    np.testing.assert_array_equal(steady_mattes(records[2:]), out[2:])
