from __future__ import annotations

import cv2
import numpy as np
import pytest
from faces68 import face68

from digidouble.bench.gaze import gaze_deg, pupils_px

SCALE = 24.0


def eyes(dx_px: float, dy_px: float = 0.0, eye: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(gray picture, landmarks) of a face whose irises are off the middle of the eyes by so many pixels."""
    points = face68(px_per_cm=SCALE, centre=(300, 250), eye=eye)
    page = np.full((600, 600), 170, np.uint8)
    for ring in (slice(36, 42), slice(42, 48)):
        opening, iris = np.zeros_like(page), page.copy()
        cv2.fillConvexPoly(opening, np.round(points[ring]).astype(np.int32), 255)
        page[opening > 0] = 235
        at = (points[ring][0] + points[ring][3]) / 2 + [dx_px, dy_px]
        cv2.circle(iris, tuple(round(16 * float(v)) for v in at), round(16 * 0.55 * SCALE), 40, -1, cv2.LINE_AA, 4)
        page[(opening > 0) & (iris == 40)] = 40
    return cv2.GaussianBlur(page, (0, 0), 1.0), points


@pytest.mark.parametrize("dx", [-8.0, -3.0, 0.0, 5.0, 9.0])
def test_pupils_are_found(dx):
    gray, points = eyes(dx)
    found = pupils_px(gray, points)
    middle = np.array([(points[36] + points[39]) / 2, (points[42] + points[45]) / 2])
    np.testing.assert_allclose(found[:, 0] - middle[:, 0], dx, atol=1.6)


def test_gaze_grows_with_the_look_and_keeps_its_sign():
    def look(dx: float) -> float:
        gray, points = eyes(dx)
        return float(gaze_deg(points[None], pupils_px(gray, points)[None])[0, 0])

    angles = [look(dx) for dx in (-9, -4, 0, 4, 9)]
    assert angles == sorted(angles)
    assert abs(angles[2]) < 3 and angles[4] > 10 and angles[0] < -10


def test_a_shut_eye_has_no_gaze():
    gray, points = eyes(0.0, eye=0.1)
    assert np.isnan(gaze_deg(points[None], pupils_px(gray, points)[None])).all()
