"""Hair that the matte's network takes for face: dark strands along its edge, on drawn faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.perception.matte import Matter, hull, px_from_crop, strands
from digidouble.schema.mesh import face_model
from digidouble.schema.track import MATTE_SIZE

SKIN, HAIR = (205, 160, 140), (60, 42, 36)
SIZE = 2 * MATTE_SIZE


def face() -> np.ndarray:
    """The mean face, 110 pixels wide, upright."""
    points = face_model().mean_cm.copy() * (1, -1, 1)
    return points * (110 / np.ptp(points[:468, 0])) + (SIZE / 2, SIZE / 2, 0)


POINTS = face()
TO_PX = px_from_crop(POINTS)
BACK = cv2.invertAffineTransform(TO_PX.astype(np.float64))
IN_CROP = POINTS[:, :2] @ BACK[:, :2].T + BACK[:, 2]
AREA = hull(IN_CROP).astype(np.float32) / 255
RIGHT, LEFT = float(IN_CROP[:468, 0].min()), float(IN_CROP[:468, 0].max())
BROW_Y, EYE_Y, MOUTH_Y, CHIN_Y = (float(IN_CROP[k, 1].mean()) for k in ([105, 334], [468, 473], [13, 14], [152]))


def skin_crop(light: float = 1.0) -> np.ndarray:
    crop = np.full((MATTE_SIZE, MATTE_SIZE, 3), SKIN, np.float32) * light
    return crop.clip(0, 255).astype(np.uint8)


def strip(part: float) -> np.ndarray:
    """The face's right `part`, from top to bottom."""
    mask = np.zeros((MATTE_SIZE, MATTE_SIZE), bool)
    mask[:, : round(RIGHT + part * (LEFT - RIGHT))] = True
    return mask


def found(crop: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return strands(crop, AREA, alpha.astype(np.float32), IN_CROP)


def test_hair_beside_what_is_known_to_be_in_front_is_in_front() -> None:
    """The network sees the outer half of a lock that hangs over an eighth of the face; all of it down to the mouth is found, and no skin."""
    crop, lock, seen = skin_crop(), strip(0.25), strip(0.13)
    crop[lock] = HAIR
    rows = np.arange(MATTE_SIZE)[:, None]
    at = (AREA > 0.9) & (rows > EYE_Y + 8) & (rows < MOUTH_Y)
    hidden = found(crop, AREA * ~seen)
    assert hidden[at & lock].mean() > 0.95
    assert hidden[(AREA > 0.9) & ~strip(0.29)].max() < 0.05


@pytest.mark.parametrize("light", [0.35, 1.0, 1.2])
def test_a_face_with_nothing_in_front_keeps_all_of_itself(light: float) -> None:
    assert found(skin_crop(light), AREA).max() == 0


def test_a_beard_that_begins_at_the_hair_stays_the_performers() -> None:
    crop, rows = skin_crop(), np.arange(MATTE_SIZE)[:, None]
    crop[AREA < 0.05] = HAIR  # hair all around
    beard = (rows > MOUTH_Y - 6) & np.ones_like(AREA, bool)
    crop[beard] = HAIR
    hidden = found(crop, AREA)
    assert hidden[(AREA > 0.9) & (rows > MOUTH_Y)].max() == 0


def test_dark_eyes_and_brows_beside_a_fringe_stay() -> None:
    """A fringe the network sees ends on the brows."""
    crop, rows = skin_crop(), np.arange(MATTE_SIZE)[:, None]
    fringe = (rows < BROW_Y - 3) & np.ones_like(AREA, bool)
    crop[fringe] = HAIR
    for brow in ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)):
        cv2.fillConvexPoly(crop, cv2.convexHull(np.round(IN_CROP[list(brow)]).astype(np.int32)), HAIR)
    hidden = found(crop, AREA * ~fringe)
    brows = np.round(IN_CROP[[105, 334]]).astype(int)
    assert hidden[brows[:, 1] + 1, brows[:, 0]].max() < 0.1
    assert hidden[(AREA > 0.9) & (rows > EYE_Y)].max() == 0


def test_strands_are_followed_only_a_little_way() -> None:
    """Two fifths of a face in deep shadow beside a hand are not hair for all their width."""
    crop, rows = skin_crop(), np.arange(MATTE_SIZE)[:, None]
    crop[strip(0.4)] = HAIR
    hidden = found(crop, AREA * ~strip(0.13))
    at = (AREA > 0.9) & (rows > EYE_Y + 8) & (rows < MOUTH_Y)
    assert hidden[at & strip(0.2)].max() == 1
    assert hidden[at & ~strip(0.13 + 0.18 + 0.05)].max() < 0.05


@pytest.mark.parametrize("deepest", [1.5, 3.0])
def test_the_dark_side_of_a_face_before_a_dark_wall_is_skin(deepest: float) -> None:
    x = np.arange(MATTE_SIZE)
    dark = deepest * np.clip((RIGHT + 0.5 * (LEFT - RIGHT) - x) / (0.5 * (LEFT - RIGHT)), 0, 1)
    crop = (skin_crop() * np.exp(-dark / 2.2)[None, :, None]).astype(np.uint8)
    crop[AREA < 0.05] = (20, 18, 16)
    hidden = found(crop, AREA)
    assert hidden[AREA > 0.9].mean() < 0.02


def test_rims_of_glasses_lead_nowhere() -> None:
    crop, alpha = skin_crop(), AREA.copy()
    for k in (468, 473):
        rim = np.zeros_like(alpha)
        cv2.circle(rim, tuple(np.round(IN_CROP[k]).astype(int)), 13, 1, 2)
        crop[rim > 0], alpha[rim > 0] = HAIR, 0
        shadow = np.roll(rim, 3, axis=0) > 0
        crop[shadow & (rim == 0)] = (95, 70, 62)
    assert found(crop, alpha).max() == 0


def test_a_crop_without_skin_says_nothing() -> None:
    assert found(np.zeros((MATTE_SIZE, MATTE_SIZE, 3), np.uint8), np.zeros_like(AREA)).max() == 0


def test_the_matte_has_what_was_found() -> None:
    class SeesOuterHalf:
        def run(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"alpha": given["crop"][:, 3:4] * ~strip(0.13)}

    picture = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    x = round(float(POINTS[:468, 0].min() + 0.25 * np.ptp(POINTS[:468, 0])))
    picture[:, :x] = HAIR
    matte, _ = Matter(runner=SeesOuterHalf()).matte(picture, POINTS.astype(np.float32))
    y = round((EYE_Y + MOUTH_Y) / 2) + 4
    row = matte[y]
    at = round(RIGHT + 0.2 * (LEFT - RIGHT))
    assert row[at] < 20 and row[MATTE_SIZE // 2] == 255
    plain, _ = Matter(hair=False, runner=SeesOuterHalf()).matte(picture, POINTS.astype(np.float32))
    assert plain[y][at] == 255
