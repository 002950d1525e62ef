"""A painted head: what is in front of the face is told apart by colour and by what it hangs together with, in any light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.perception.hair import HairView, hair_in_region, hair_look, hair_share, hair_view, px_from_hair_crop
from digidouble.perception.matte import hull, px_from_crop
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.track import MATTE_SIZE, TrackSample

SIZE = 320
POINTS = (face_model().mean_cm * FLIP_YZ * 11 + (160, 170, 0)).astype(np.float32)
SKIN, BROWN, WALL, BLACK = (205, 160, 135), (62, 44, 34), (120, 140, 150), (24, 23, 25)
TOP, CHIN, LEFT, RIGHT = (
    POINTS[10, 1],
    POINTS[152, 1],
    POINTS[:468, 0].min(),
    POINTS[:468, 0].max(),
)


def painted(hair=BROWN, things=(), light=(1.0, 1.0, 1.0), seed=0):
    """(picture, sample, person): a head before a wall. things: (polygon, colour) over the face; their part of the matte is 0."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIZE, SIZE, 3), WALL, np.uint8)
    person, cover = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    middle, axes = (160, int((TOP + CHIN) / 2)), (int((RIGHT - LEFT) / 2), int((CHIN - TOP) / 2))
    for centre, radii, colour in (
        ((160, 330), (120, 70), (70, 70, 140)),
        (middle, (axes[0] + 16, axes[1] + 24), SKIN if hair is None else hair),
        ((160, int(CHIN) + 10), (30, 40), SKIN),
        (middle, (axes[0] + 4, axes[1] + 2), SKIN),
    ):
        cv2.ellipse(picture, centre, radii, 0, 0, 360, colour, -1)
        cv2.ellipse(person, centre, radii, 0, 0, 360, 255, -1)
    for polygon, colour in things:
        for image, ink in ((picture, colour), (cover, 255), (person, 255)):
            cv2.fillPoly(image, [np.array(polygon, np.int32)], ink)
    lit = (picture / 255.0) ** 2.2 * light + rng.normal(0, 0.004 * max(light), picture.shape)
    picture = np.round(255 * np.clip(lit, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    place = px_from_crop(POINTS)
    back = cv2.invertAffineTransform(place.astype(np.float64))
    area = hull(POINTS[:, :2] @ back[:, :2].T + back[:, 2])
    free = cv2.warpAffine(255 - cover, back, (MATTE_SIZE, MATTE_SIZE), borderValue=255)
    matte = (area.astype(int) * free // 255).astype(np.uint8)
    z = np.zeros((32, 32), np.float32)
    sample = TrackSample(POINTS, np.dstack([z] * 3), z.astype(np.uint8), matte, place, np.zeros((160, 160), np.int8))
    return picture, sample, person.astype(np.float32) / 255


def view(**how) -> HairView:
    return hair_view(*painted(**how))


def taken(look, seen: HairView) -> float:
    """Share of what is in front that counts as hair."""
    hidden = seen.hull * (1 - seen.visible) > 0.5
    return float((hair_share(look, seen)[hidden] > 0.5).mean())


LOCK = [(160, TOP - 30), (172, TOP + 60), (190, CHIN), (250, CHIN), (240, TOP)]
HAND = [(150, CHIN + 60), (150, 200), (200, 150), (215, 200), (205, CHIN + 60)]
MICROPHONE = [(150, SIZE), (146, 205), (176, 205), (172, SIZE)]


@pytest.fixture(scope="module")
def brown():
    return hair_look(view(seed=s) for s in range(4))


@pytest.mark.parametrize("light", [(1, 1, 1), (0.25, 0.25, 0.25), (1.0, 0.7, 0.45)])
def test_a_lock_is_hair_a_hand_and_a_microphone_are_not_in_any_light(brown, light):
    """Learnt in white light, told in others: colours are taken relative to the skin."""
    assert taken(brown, view(things=[(LOCK, BROWN)], light=light, seed=9)) > 0.9
    assert taken(brown, view(things=[(HAND, (180, 132, 108))], light=light, seed=9)) < 0.05
    assert taken(brown, view(things=[(MICROPHONE, BLACK)], light=light, seed=9)) < 0.05


def test_what_comes_from_below_is_no_hair_even_of_its_colour(brown):
    assert taken(brown, view(things=[(MICROPHONE, BROWN)])) < 0.05


def test_both_at_once(brown):
    """The share changes where the hand begins."""
    seen = view(things=[(LOCK, BROWN), ([(100, CHIN + 60), (100, 205), (140, 195), (150, CHIN + 60)], (190, 142, 118))])
    hidden, share = seen.hull * (1 - seen.visible) > 0.5, hair_share(brown, seen)
    to_px = px_from_hair_crop(px_from_crop(POINTS))
    x = (np.arange(128) * to_px[0, 0] + to_px[0, 2])[None] * np.ones((128, 1))
    assert (share[hidden & (x > 178)] > 0.5).mean() > 0.9 and (share[hidden & (x < 140)] < 0.5).mean() > 0.95


@pytest.mark.parametrize("hair", [(206, 178, 138), (130, 60, 35), (190, 190, 190), BLACK])
def test_hair_of_other_colours(hair):
    look = hair_look(view(hair=hair, seed=s) for s in range(4))
    assert taken(look, view(hair=hair, things=[(LOCK, hair)])) > 0.8
    assert taken(look, view(hair=hair, things=[(HAND, (180, 132, 108))])) < 0.1


def test_nobody_has_hair_who_shows_none(brown):
    assert hair_look(view(hair=None, seed=s) for s in range(4)) is None
    assert hair_look([]) is None
    picture, sample, _ = painted()
    assert hair_look([hair_view(picture, sample)]) is None  # nobody looked where the person is
    everywhere_else = np.zeros((64, 64), np.float32)
    assert (
        hair_look([hair_view(picture, sample, everywhere_else)]) is None
    )  # it is the wall's colour, for all that is known


def test_a_face_that_is_all_covered_is_judged_by_the_usual_skin(brown):
    all_over = [(90, TOP - 20), (240, TOP - 20), (240, CHIN + 5), (90, CHIN + 5)]
    seen = view(things=[(all_over, BROWN)])
    assert seen.skin_linear is None and taken(brown, seen) > 0.9


def test_noise_hardly_moves_it(brown):
    """Flicker: the mean change between two frames of other noise, over the change of the pictures."""
    a, b = (view(things=[(LOCK, BROWN)], seed=s) for s in (20, 21))
    assert np.abs(hair_share(brown, a) - hair_share(brown, b)).mean() < 0.004


def test_the_crop_lies_where_the_plate_says_and_regions_are_cut_from_it(brown):
    picture, sample, person = painted(things=[(LOCK, BROWN)])
    seen = hair_view(picture, sample, person)
    to_px = px_from_hair_crop(sample.matte_px_from_crop).astype(np.float64)
    there = cv2.warpAffine(seen.hull, to_px, (SIZE, SIZE))
    inside = cv2.fillPoly(
        np.zeros((SIZE, SIZE), np.uint8), [POINTS[face_model().loops["oval"], :2].round().astype(np.int32)], 1
    )
    assert (((there > 0.5) != (inside > 0)).sum() / inside.sum()) < 0.03
    assert seen.person is not None and seen.person[64, 64] > 0.9 and seen.brow_y < seen.eye_y < seen.mouth_y
    whole = hair_in_region(brown, picture, sample, Roi(0, 0, SIZE, SIZE))
    part = hair_in_region(brown, picture, sample, Roi(120, 60, 260, 250))
    assert np.abs(whole[60:250, 120:260] - part).max() < 1e-4 and part.max() > 0.9
