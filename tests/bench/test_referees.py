"""The referees on public-domain portraits; skipped where the extra [bench] is not installed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from faces68 import face68

from digidouble import weights
from digidouble.bench import referees
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.observe import Observer, PlateMotion, mirrored, remeasured, watch
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


def test_a_similarity_is_found_again():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (5, 2))
    c, s = 1.7 * np.cos(0.6), 1.7 * np.sin(0.6)
    true = np.array([[c, -s, 12], [s, c, -30]])
    found = referees.similarity_onto(points, points @ true[:, :2].T + true[:, 2])
    np.testing.assert_allclose(found, true, atol=1e-9)


def colour_probe(path: Path) -> Path:
    """A network that tells the colour at the template's left eye and at the middle of the mouth."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    at = [(51, 38), (92, 56)]
    index = np.array([[0, y, x] for y, x in at], np.int64)
    graph = helper.make_graph(
        [helper.make_node("GatherND", ["input", "at"], ["g"]), helper.make_node("Reshape", ["g", "shape"], ["out"])],
        "probe",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 112, 112, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(index, "at"), numpy_helper.from_array(np.array([1, 6], np.int64), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("px_per_cm", [6.0, 14.0, 60.0])
def test_the_second_judge_is_shown_an_aligned_face_in_rgb(tmp_path, px_per_cm):
    probe = referees.SecondIdentityReferee(colour_probe(tmp_path / "probe.onnx"))
    side = int(22 * px_per_cm)
    points = face68(roll=20.0, px_per_cm=px_per_cm, centre=(side / 2, side / 2))
    page = np.full((side, side, 3), 127, np.uint8)
    for part, colour in ((slice(36, 42), (255, 127, 127)), (slice(48, 68), (127, 127, 255))):
        x, y = points[part].mean(0)
        cv2.circle(page, (round(x), round(y)), round(1.3 * px_per_cm), colour, -1)
    np.testing.assert_allclose(probe.embed(page, points), np.array([1, 0, 0, 0, 0, 1]) / np.sqrt(2), atol=0.06)


def test_without_the_second_network_the_bench_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("DIGIDOUBLE_CACHE", str(tmp_path))
    weights.set_offline(True)
    said: list[str] = []
    try:
        assert referees.second_network(said.append) is None
    finally:
        weights.set_offline(None)
    assert "dlib alone" in said[-1] and referees.SECOND in said[-1]


@needs_dlib
@pytest.mark.skipif(weights.where(referees.SECOND) is None, reason=f"digidouble weights fetch {referees.SECOND}")
def test_the_second_judge_knows_a_person_through_damage_and_not_another(portrait, observer):
    path = weights.where(referees.SECOND)
    assert path is not None
    judge = referees.SecondIdentityReferee(path)
    points = observer.landmarker.landmarks(portrait, observer.landmarker.boxes(portrait)[0])
    own = judge.embed(portrait, points)
    small = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert float(own @ judge.embed(small, 0.5 * points)) > 0.85
    found = [float(own @ judge.embed(cv2.GaussianBlur(portrait, (0, 0), s), points)) for s in (0.5, 2.0, 5.0)]
    assert found == sorted(found, reverse=True) and found[0] > 0.95
    upside_down = np.ascontiguousarray(portrait[::-1])
    assert float(own @ judge.embed(upside_down, points)) < 0.5
    assert referees.fingerprints(path)[referees.SECOND]


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
    split = [
        observer.landmarker.landmarks(portrait, watched.box(0), v) for v in (None, referees.VIEWS, referees.BROW_VIEWS)
    ]
    assert (split[0][:17] == split[1][:17]).all() and (split[0][17:27] == split[2][17:27]).all()
    assert (split[0][27:] == split[1][27:]).all() and (split[1][17:27] != split[2][17:27]).any()
    other = mirrored(iter(zoom), watched, observer.landmarker)
    assert 0 < np.abs(other.landmarks - watched.landmarks).mean() < 0.01 * portrait.shape[1]
    assert (other.boxes == watched.boxes).all()
    flashing = [np.clip(f.astype(int) + 12 * (k % 2), 0, 255).astype(np.uint8) for k, f in enumerate(zoom)]
    assert np.nanmean(observer.see(iter(flashing), watched, motion).face_warp) > 2 * np.nanmean(same.face_warp)
    assert same.step.max() == 0 and len(same.identity) == len(same.identity_at) == 2
    assert same.second.shape == (2, 0) and watched.detected.all()  # one judge only; the detector saw every frame


@needs_dlib
def test_nobody_is_nobody(observer):
    with pytest.raises(NoFace, match="gray wall"):
        watch(iter([np.full((240, 320, 3), 128, np.uint8)] * 3), observer.landmarker, "gray wall")
