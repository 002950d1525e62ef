"""The referees on public-domain portraits; skipped where the extra [bench] is not installed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from digidouble.bench import referees
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.observe import Observer, PlateMotion, remeasured, watch
from digidouble.errors import NoFace, WeightsError

needs_dlib = pytest.mark.skipif(not referees.installed(), reason="pip install 'digidouble[bench]'")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """The NASA portrait of Eileen Collins that scikit-image carries (public domain), 512x512."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def observer() -> Observer:
    return Observer()


def test_a_missing_referee_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(referees, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"digidouble\[bench\]"):
        referees._model(referees.SHAPE_FILE)


@needs_dlib
def test_landmarks_follow_the_picture(portrait, observer):
    box = observer.landmarker.boxes(portrait)[0]
    points = observer.landmarker.landmarks(portrait, box)
    # Read off the picture: nose tip near (230, 132), eyes at x 203 and 247.
    np.testing.assert_allclose(points[30], (230, 132), atol=8)
    np.testing.assert_allclose([points[36:42, 0].mean(), points[42:48, 0].mean()], (203, 247), atol=6)
    moved = np.roll(portrait, (7, 12), axis=(0, 1))
    shifted = observer.landmarker.landmarks(moved, tuple(np.array(box) + np.array([12, 7, 12, 7])))
    np.testing.assert_allclose(shifted - points, np.broadcast_to([12, 7], (68, 2)), atol=1.0)
    mirrored = observer.landmarker.boxes(portrait[:, ::-1])[0]
    other = observer.landmarker.landmarks(np.ascontiguousarray(portrait[:, ::-1]), mirrored)
    assert poses_deg(points[None])[0, 0] * poses_deg(other[None])[0, 0] < 0  # turned the other way


@needs_dlib
def test_identity_knows_a_person_through_damage_and_not_another(portrait, observer):
    points = observer.landmarker.landmarks(portrait, observer.landmarker.boxes(portrait)[0])
    own = observer.identity.embed(portrait, points)
    found = [
        float(own @ observer.identity.embed(cv2.GaussianBlur(portrait, (0, 0), s), points)) for s in (0.5, 2.0, 5.0)
    ]
    assert found == sorted(found, reverse=True) and found[0] > 0.99 > found[2]
    flipped = np.ascontiguousarray(portrait[::-1])
    assert float(own @ observer.identity.embed(flipped, points)) < referees.SAME_PERSON


@needs_dlib
def test_a_row_is_seen_best_when_it_is_the_plate(portrait, observer):
    """Plate against itself, a tinted face, a frozen one, and a shaking one."""
    zoom = [cv2.warpAffine(portrait, np.array([[1, 0, 2.0 * k], [0, 1, 1.0 * k]]), (512, 512)) for k in range(6)]
    watched = watch(iter(zoom), observer.landmarker, "test")
    motion = PlateMotion(iter(zoom), watched)
    same = observer.see(iter(zoom), watched, motion)
    np.testing.assert_allclose(channels(same.landmarks), channels(watched.landmarks), atol=1e-6)
    again = observer.see((remeasured(f) for f in zoom), watched, motion, shifted=True)
    assert np.abs(channels(again.landmarks) - channels(watched.landmarks)).mean() < 0.02
    flashing = [np.clip(f.astype(int) + 12 * (k % 2), 0, 255).astype(np.uint8) for k, f in enumerate(zoom)]
    assert np.nanmean(observer.see(iter(flashing), watched, motion).face_warp) > 2 * np.nanmean(same.face_warp)
    assert same.step.max() == 0 and len(same.identity) == len(same.identity_at) == 2


@needs_dlib
def test_nobody_is_nobody(observer):
    with pytest.raises(NoFace, match="gray wall"):
        watch(iter([np.full((240, 320, 3), 128, np.uint8)] * 3), observer.landmarker, "gray wall")
