from __future__ import annotations

import cv2
import numpy as np
import pytest
from faces68 import face68

from digidouble.bench.baselines.classic import Classic, delaunay, piecewise_warp, warp_points
from digidouble.bench.baselines.oneshot import BLOCKS, generator_bytes
from digidouble.bench.baselines.paste import Paste, Photograph
from digidouble.bench.landmarks import face_mask, skin_mask


def portrait(colour: tuple[int, int, int], points: np.ndarray, seed: int) -> np.ndarray:
    """A face-shaped patch of one colour with some texture, on gray."""
    page = np.full((400, 400, 3), 90, np.uint8)
    page[face_mask(points, (400, 400))] = colour
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((400, 400, 1)).astype(np.float32), (0, 0), 3)
    return np.clip(page + 60 * noise[..., None], 0, 255).astype(np.uint8)


@pytest.fixture
def photograph() -> Photograph:
    points = face68()
    return Photograph(portrait((200, 140, 110), points, 1), points)


@pytest.mark.parametrize("tool", [Paste, Classic])
def test_a_face_onto_itself_changes_little_and_nothing_outside(tool, photograph):
    out = tool(photograph).frame(photograph.rgb8, photograph.points)
    away = np.abs(out.astype(int) - photograph.rgb8).max(2)
    assert away[skin_mask(photograph.points, (400, 400))].mean() < 4
    outside = cv2.dilate(face_mask(photograph.points, (400, 400)).astype(np.uint8), np.ones((5, 5))) == 0
    assert away[outside].max() == 0


@pytest.mark.parametrize("tool", [Paste, Classic])
def test_the_tone_becomes_the_plates(tool, photograph):
    points = face68(centre=(210, 190))
    plate = portrait((90, 110, 150), points, 2)
    out = tool(photograph).frame(plate, points)
    skin = skin_mask(points, (400, 400))
    before, after = (np.abs(p[skin].mean(0) - plate[skin].mean(0)).mean() for p in (photograph.rgb8, out))
    assert after < 0.25 * before
    assert np.abs(out.astype(int) - plate)[skin].mean() > 3  # and it is another face


def test_the_warp_puts_points_where_they_belong():
    source, target = warp_points(face68()), warp_points(face68(mouth=2.0, yaw=8, centre=(190, 200)))
    page = np.zeros((400, 400, 3), np.uint8)
    for p in source[[30, 8, 48, 54]]:
        cv2.circle(page, tuple(round(float(v)) for v in p), 4, (255, 255, 255), -1)
    bent = piecewise_warp(page, source, target, delaunay(source), (400, 400))
    for p in target[[30, 48, 54]]:
        x, y = (round(float(v)) for v in p)
        assert bent[y - 3 : y + 4, x - 3 : x + 4].max() > 200
    assert bent[:40].max() == 0


def test_triangles_cover_the_face():
    points = warp_points(face68())
    triangles = delaunay(points)
    page = np.zeros((400, 400), np.uint8)
    for t in triangles:
        cv2.fillConvexPoly(page, np.round(points[t]).astype(np.int32), 1)
    assert page[skin_mask(face68(), (400, 400))].mean() > 0.999


def test_a_face_that_leaves_the_frame_is_survived(photograph):
    plate = np.full((200, 200, 3), 80, np.uint8)
    for centre in ((-20.0, 100.0), (195.0, 190.0), (900.0, 900.0)):
        for tool in (Paste(photograph), Classic(photograph)):
            assert tool.frame(plate, face68(centre=centre)).shape == plate.shape


def test_the_generator_is_of_the_published_size_and_runs():
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    data = generator_bytes(32)
    ops = [n.op_type for n in onnx.load_from_string(data).graph.node]
    # Two convolutions and two AdaIN a block; each AdaIN takes scale and shift from the identity.
    assert ops.count("MatMul") == BLOCKS * 2 * 2
    assert ops.count("Conv") == 1 + 3 + 2 * BLOCKS + 3 + 1
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    out = session.run(
        None, {"picture": np.zeros((1, 3, 32, 32), np.float32), "identity": np.ones((1, 512), np.float32)}
    )[0]
    assert out.shape == (1, 3, 32, 32) and np.isfinite(out).all() and np.abs(out).max() <= 1
