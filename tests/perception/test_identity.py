from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.perception.identity import SAME_PERSON, TEMPLATE, aligned_crop, points5_from_mesh, similarity


def test_one_person_stays_one_person(detector, embedder, astronaut, settled):
    points = detector.detect(astronaut)[0].points5
    plain = embedder.embed(astronaut, points)
    assert abs(np.linalg.norm(plain) - 1) < 1e-5
    turn = cv2.getRotationMatrix2D((222, 122), 35, 1.4)
    turned = cv2.convertScaleAbs(cv2.warpAffine(astronaut, turn, (512, 512)), alpha=0.8, beta=10)
    other_light = embedder.embed(turned, points @ turn[:, :2].T + turn[:, 2])
    from_mesh = embedder.embed(astronaut, points5_from_mesh(settled[1].points_px))
    mirrored = embedder.embed(np.ascontiguousarray(astronaut[:, ::-1]), mirror(points, 512))
    for vector in (other_light, from_mesh, mirrored):
        assert similarity(plain, vector) > 0.75


def mirror(points: np.ndarray, width: int) -> np.ndarray:
    return np.stack([width - 1 - points[[1, 0, 2, 4, 3], 0], points[[1, 0, 2, 4, 3], 1]], axis=1)


def test_what_is_no_face_or_misaligned_is_not_her(detector, embedder, astronaut):
    points = detector.detect(astronaut)[0].points5
    plain = embedder.embed(astronaut, points)
    noise = np.random.default_rng(0).integers(0, 256, astronaut.shape, np.uint8)
    assert similarity(plain, embedder.embed(noise, points)) < SAME_PERSON
    upside_down = points[[1, 0, 2, 4, 3]] * [1, -1] + [0, 244]
    assert similarity(plain, embedder.embed(astronaut, upside_down)) < SAME_PERSON


@pytest.mark.shared
def test_two_people_are_told_apart(detector, embedder, astronaut, shared_faces):
    plain = embedder.embed(astronaut, detector.detect(astronaut)[0].points5)
    vectors = {}
    for name, pictures in shared_faces.items():
        vectors[name] = [embedder.embed(p, detector.detect(p)[0].points5) for p in pictures]
        assert all(similarity(plain, v) < SAME_PERSON for v in vectors[name])
    same = [similarity(a, b) for v in vectors.values() for i, a in enumerate(v) for b in v[:i]]
    names = list(vectors)
    different = [similarity(a, b) for n in names for m in names if n < m for a in vectors[n] for b in vectors[m]]
    assert min(same) > SAME_PERSON > max(different)


def test_a_batch_equals_single_crops(embedder, detector, astronaut):
    points = detector.detect(astronaut)[0].points5
    crops = np.stack([aligned_crop(astronaut, points), aligned_crop(astronaut, points + 9)])
    together = embedder.embed_crops(crops)
    alone = np.concatenate([embedder.embed_crops(crops[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_aligned_crop_puts_the_points_on_the_template():
    picture = np.zeros((600, 600, 3), np.uint8)
    points = TEMPLATE.astype(np.float64) @ np.array([[1.2, 0.9], [-0.9, 1.2]]) + [220, 60]
    for x, y in points:
        cv2.circle(picture, (round(x), round(y)), 4, (255, 255, 255), -1, cv2.LINE_AA)
    crop = aligned_crop(picture, points)[..., 0].astype(float)
    for x, y in TEMPLATE:
        window = np.s_[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7]
        weight = crop[window]
        rows, columns = np.mgrid[window]
        centre = [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
        np.testing.assert_allclose(centre, [x, y], atol=0.5)
    with pytest.raises(ValueError, match="one place"):
        aligned_crop(picture, np.full((5, 2), np.nan))
