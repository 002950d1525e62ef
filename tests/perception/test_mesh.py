from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.perception import mesh_points as mp
from digidouble.perception.crop import fit_similarity, sample_affine
from digidouble.perception.detector import Detection
from digidouble.perception.mesh import (
    CROP_BIAS_PX,
    jittered_rois,
    picture_from_crop,
    roi_from_detection,
    roi_from_mesh,
)


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[mp.RIGHT_EYE_OUTER, :2] - points[mp.LEFT_EYE_OUTER, :2]))


def error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance in the picture over the distance of the outer eye corners."""
    return float(np.linalg.norm(a[:, :2] - b[:, :2], axis=1).mean() / eye_distance(b))


def moved(roi: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    a, b = similarity[0, 0], similarity[1, 0]
    centre = similarity[:, :2] @ roi[:2] + similarity[:, 2]
    return np.array([*centre, roi[2] * np.hypot(a, b), roi[3] + np.arctan2(b, a)], np.float32)


def test_mesh_agrees_with_the_detectors_points(detector, astronaut, settled):
    _, face = settled
    chosen = [mp.RIGHT_IRIS, mp.LEFT_IRIS, mp.NOSE_TIP, mp.RIGHT_MOUTH_CORNER, mp.LEFT_MOUTH_CORNER]
    gap = np.linalg.norm(face.points_px[chosen, :2] - detector.detect(astronaut)[0].points5, axis=1)
    assert (gap / eye_distance(face.points_px) < [0.08, 0.08, 0.15, 0.1, 0.12]).all()
    assert face.score > 0.99


def test_irises_lie_on_the_dark_of_the_eyes(astronaut, settled):
    _, face = settled
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY).astype(float)
    for iris, rim in ((mp.RIGHT_IRIS, mp.RIGHT_EYE_RIM), (mp.LEFT_IRIS, mp.LEFT_EYE_RIM)):
        x, y = np.rint(face.points_px[iris, :2]).astype(int)
        low, high = (np.rint(f(face.points_px[list(rim), :2], axis=0)).astype(int) for f in (np.min, np.max))
        assert grey[y - 1 : y + 2, x - 1 : x + 2].mean() < grey[low[1] : high[1], low[0] : high[0]].mean() - 10


def test_a_batch_equals_single_faces(mesher, astronaut, settled):
    roi, _ = settled
    rois = jittered_rois(roi, 3)
    for together, roi_alone in zip(mesher.mesh(astronaut, rois), rois, strict=True):
        (alone,) = mesher.mesh(astronaut, roi_alone[None])
        np.testing.assert_allclose(together.points_px, alone.points_px, atol=1e-4)
        assert abs(together.score - alone.score) < 1e-6
    assert mesher.mesh(astronaut, rois[:0]) == ()


@pytest.mark.parametrize(("degrees", "scale"), [(25, 1.0), (-60, 0.8), (170, 1.3)])
def test_a_turned_picture_gives_the_turned_mesh(mesher, astronaut, settled, degrees, scale):
    roi, face = settled
    similarity = cv2.getRotationMatrix2D((222, 122), degrees, scale)
    similarity[:, 2] += [90.3, 160.7]
    turned = cv2.warpAffine(astronaut, similarity, (700, 700), flags=cv2.INTER_CUBIC)
    (again,) = mesher.mesh(turned, moved(roi, similarity)[None])
    expected = face.points_px[:, :2] @ similarity[:, :2].T + similarity[:, 2]
    assert error(again.points_px, expected) < 0.015
    np.testing.assert_allclose(again.points_px[:, 2], face.points_px[:, 2] * scale, atol=0.05 * eye_distance(expected))


def test_the_mirror_image_gives_the_mirrored_mesh_without_bias(mesher, astronaut, settled):
    roi, _ = settled
    big = cv2.resize(astronaut, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)  # a bias grows with the region
    grown = moved(roi, np.array([[3, 0, 1], [0, 3, 1]], float))
    (plain,) = mesher.mesh(big, grown[None])
    mirror_roi = np.array([1535 - grown[0], grown[1], grown[2], -grown[3]], np.float32)
    (mirrored,) = mesher.mesh(np.ascontiguousarray(big[:, ::-1]), mirror_roi[None])
    right, left = [*mp.RIGHT_EYE, mp.RIGHT_IRIS], [*mp.LEFT_EYE, mp.LEFT_IRIS]
    there = plain.points_px[[*right, *left], 0]
    back = 1535 - mirrored.points_px[[*left, *right], 0]
    bias_px = (there - back).mean() / 2
    assert abs(bias_px) < 0.3 * grown[2] / 192  # 0.33 crop pixels without the correction
    assert CROP_BIAS_PX * grown[2] / 192 > 0.8, "the test must be able to see the correction"


def test_score_falls_on_noise_and_background(mesher, astronaut, settled):
    roi, _ = settled
    noise = np.random.default_rng(0).integers(0, 256, astronaut.shape, np.uint8)
    elsewhere = np.array([[60, 400, 170, 0], [-900, -900, 170, 0]], np.float32)
    scores = [f.score for f in (*mesher.mesh(noise, roi[None]), *mesher.mesh(astronaut, elsewhere))]
    assert max(scores) < 0.1


def test_points_do_not_depend_on_the_pictures_layout(mesher, astronaut, settled):
    roi, face = settled
    bgr = np.ascontiguousarray(astronaut[..., ::-1])
    (view,) = mesher.mesh(bgr[..., ::-1], roi[None])
    np.testing.assert_array_equal(view.points_px, face.points_px)


def test_averaging_lowers_the_noise_of_the_region(mesher, astronaut, settled):
    roi, _ = settled
    rng = np.random.default_rng(7)
    spread = np.array([0.02 * roi[2], 0.02 * roi[2], 0.03 * roi[2], 0.03])
    rois = (roi + rng.normal(0, spread, (8, 4))).astype(np.float32)
    single = np.array([f.points_px[:, :2] for f in mesher.mesh(astronaut, rois)])
    averaged = np.array([mesher.mesh_averaged(astronaut, r, jitters=4).points_px[:, :2] for r in rois])
    assert averaged.std(0).mean() < 0.75 * single.std(0).mean()
    again = mesher.mesh_averaged(astronaut, rois[0], jitters=4).points_px[:, :2]
    np.testing.assert_array_equal(again, averaged[0])


def test_tracking_settles(mesher, detector, astronaut, settled):
    roi, face = settled
    start = roi_from_detection(detector.detect(astronaut)[0])
    assert abs(start[2] / roi[2] - 1) < 0.1
    assert np.linalg.norm(start[:2] - roi[:2]) < 0.06 * roi[2]
    after = roi_from_mesh(face.points_px)
    assert np.abs(after - roi)[:3].max() < 0.02 * roi[2]


def test_roi_from_detection_follows_a_turned_face():
    points = np.array([[-20, -20], [20, -20], [0, 0], [-15, 20], [15, 20]], np.float64)
    upright = Detection(np.array([-40, -50, 40, 60], np.float32), 1.0, points.astype(np.float32))
    quarter = points @ np.array([[0, 1], [-1, 0]])  # x -> y: a quarter turn clockwise on the screen
    turned = Detection(np.array([-60, -40, 50, 40], np.float32), 1.0, quarter.astype(np.float32))
    a, b = roi_from_detection(upright), roi_from_detection(turned)
    assert a[3] == 0
    np.testing.assert_allclose(b[3], np.pi / 2, atol=1e-6)
    np.testing.assert_allclose(b[:3], [-a[1], a[0], a[2]], atol=1e-4)


def test_picture_from_crop_puts_the_centre_and_the_axes():
    m = picture_from_crop(np.array([100, 50, 384, np.pi / 2], np.float32))
    np.testing.assert_allclose(m @ [96, 96, 1], [100, 50], atol=1e-4)
    np.testing.assert_allclose(m @ [97, 96, 1], [100, 52], atol=1e-4)  # one crop pixel is two, and its x points down


@pytest.mark.parametrize("step", [1.0, 2.7, 5.0, 11.0, 40.0])
def test_sampling_keeps_positions_at_every_step(step):
    """A disc's centre of mass, carried back to the picture, is the disc's centre: no half pixel is lost on the way."""
    picture, (x, y) = np.zeros((1200, 1200, 3), np.uint8), (613, 487)
    cv2.circle(picture, (x, y), 150, (255, 255, 255), -1)
    m = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0]]) * step
    side = int(900 / step)
    m[:, 2] = [600, 500] - m[:, :2] @ [side / 2, side / 2]
    crop = sample_affine(picture, m, side)[..., 0].astype(float)
    rows, columns = np.mgrid[:side, :side]
    centre = [(crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()]
    np.testing.assert_allclose(m[:, :2] @ centre + m[:, 2], [x, y], atol=0.1 + (0.04 * step if step > 16 else 0))


def test_sampling_averages_what_bilinear_would_skip():
    noise = np.random.default_rng(1).integers(0, 256, (960, 960, 3), np.uint8)
    m = np.array([[5.0, 0, 0], [0, 5.0, 0]])
    plain = cv2.warpAffine(noise, m, (192, 192), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert sample_affine(noise, m, 192).std() < 0.45 * plain.std()


def test_fit_similarity_recovers_a_known_one_and_never_mirrors():
    rng = np.random.default_rng(2)
    true = np.array([[0.8, -1.7, 12.0], [1.7, 0.8, -40.0]])
    points = rng.normal(0, 30, (5, 2))
    np.testing.assert_allclose(fit_similarity(points, points @ true[:, :2].T + true[:, 2]), true, atol=1e-9)
    assert np.linalg.det(fit_similarity(points, points * [-1, 1])[:, :2]) >= 0
    with pytest.raises(ValueError, match="not all in one place"):
        fit_similarity(np.ones((5, 2)), points)
    with pytest.raises(ValueError, match="finite"):
        fit_similarity(points, np.full((5, 2), np.nan))


def test_refined_groups_are_mirror_images_and_complete():
    assert len(mp.LIPS) == 80
    assert len(mp.RIGHT_EYE) == len(mp.LEFT_EYE) == 71
    assert not set(mp.RIGHT_EYE) & set(mp.LEFT_EYE)
    assert len(set(mp.LIPS)) == 80
    assert max(mp.LIPS + mp.RIGHT_EYE + mp.LEFT_EYE) < mp.SURFACE_POINTS
    assert tuple(range(468, 478)) == mp.RIGHT_IRIS_POINTS + mp.LEFT_IRIS_POINTS
