from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from digidouble.errors import SettingsError
from digidouble.perception import detector as module
from digidouble.perception.detector import DetectorSettings, FaceDetector, decode, letterbox, non_maximum, tiles


def test_one_face_where_it_is(detector, astronaut):
    found = detector.detect(astronaut)
    assert len(found) == 1
    face = found[0]
    # Read off the photograph by eye: hairline to chin, cheek to cheek.
    np.testing.assert_allclose(face.box_xyxy, [177, 62, 268, 176], atol=10)
    np.testing.assert_allclose(face.points5[:2], [[203, 101], [246, 103]], atol=6)
    assert face.score > 0.85
    right_eye, left_eye, nose, right_mouth, left_mouth = face.points5
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_nothing_in_noise_flat_or_empty_pictures(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.full((37, 500, 3), 128, np.uint8)) == []
    assert detector.detect(np.zeros((0, 10, 3), np.uint8)) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_scaling_and_moving_the_picture_moves_the_face(detector, astronaut):
    (plain,) = detector.detect(astronaut)
    canvas = np.full((900, 1400, 3), 60, np.uint8)
    canvas[150:662, 700:1212] = astronaut
    (moved,) = detector.detect(canvas)
    step = moved.points5 - plain.points5  # the canvas is looked at 2.2 times smaller, hence less precisely
    np.testing.assert_allclose(step.mean(0), [700, 150], atol=2.5)
    np.testing.assert_allclose(step, np.tile([700, 150], (5, 1)), atol=7)
    (mirrored,) = detector.detect(astronaut[:, ::-1])
    swapped = mirrored.points5[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(511 - swapped[:, 0], plain.points5[:, 0], atol=7)


def test_a_face_that_fills_the_frame(detector, astronaut):
    close = cv2.resize(astronaut[60:180, 175:270], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(close)) == 1


@pytest.fixture(scope="module")
def crowd_4k(astronaut):
    """Six faces of 43 pixels and one of 460 in 3840x2160; tile borders run through two of them."""
    frame = np.full((2160, 3840, 3), 90, np.uint8)
    small = cv2.resize(astronaut, None, fx=0.38, fy=0.38, interpolation=cv2.INTER_AREA)
    corners = [(0, 0), (1645, 1150), (2500, 1900), (3640, 300), (800, 880), (300, 1500)]
    for x, y in corners:
        part = small[: 2160 - y, : 3840 - x]
        frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    big = cv2.resize(astronaut[:250, 100:350], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    frame[100:1100, 2200:3200] = big
    centres = np.array([[x + 0.38 * 222.7, y + 0.38 * 119] for x, y in corners] + [[2200 + 4 * 122.7, 100 + 4 * 119]])
    return frame, centres


def test_tiles_find_small_faces_in_4k_each_once(detector, crowd_4k):
    frame, centres = crowd_4k
    found = detector.detect(frame)
    assert len(found) == len(centres)
    middles = np.array([(f.box_xyxy[:2] + f.box_xyxy[2:]) / 2 for f in found])
    nearest = np.linalg.norm(middles[:, None] - centres[None], axis=2)
    assert sorted(nearest.argmin(1)) == list(range(len(centres)))
    assert (nearest.min(1) < 0.15 * np.array([f.size_px for f in found])).all()
    never = FaceDetector(DetectorSettings(tiled="never"), runner=detector._runner)
    assert len(never.detect(frame)) == 1  # otherwise the tiles are not what found the small ones


def test_tiles_do_not_change_an_ordinary_picture(detector, astronaut):
    always = FaceDetector(DetectorSettings(tiled="always", tile_px=400, tile_overlap_px=150), runner=detector._runner)
    (tiled,), (plain,) = always.detect(astronaut), detector.detect(astronaut)
    np.testing.assert_allclose(tiled.box_xyxy, plain.box_xyxy, atol=6)


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (1920, 1080), (961, 500), (960, 960), (7680, 4320)])
def test_tiles_cover_and_overlap(width, height):
    seen = np.zeros((height, width), np.uint8)
    windows = list(tiles(width, height, 960, 192))
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert max(x1 - x0, y1 - y0) <= 960
        seen[y0:y1, x0:x1] = 1
    assert seen.all()
    columns = sorted({(x0, x1) for x0, _, x1, _ in windows})
    assert all(b[0] <= a[1] - 192 for a, b in itertools.pairwise(columns))


class FaceAtRightBorder:
    """A network that sees, in every square picture, one face of 48 pixels cut by the right border, and nothing else."""

    def run(self, inputs):
        height, width = inputs["input"].shape[2:]
        outputs = {}
        for stride in module.STRIDES:
            rows, columns = height // stride, width // stride
            for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
                outputs[f"{name}_{stride}"] = np.zeros((1, rows * columns, size), np.float32)
            if stride == 16 and height == width:
                cell = columns * (rows // 2) + columns - 1
                outputs["cls_16"][0, cell] = outputs["obj_16"][0, cell] = 1.0
                outputs["bbox_16"][0, cell, 2:] = np.log(3.0)
        return outputs


def test_a_face_cut_by_a_tile_is_left_to_the_neighbour_but_one_cut_by_the_frame_is_kept():
    settings = DetectorSettings(tiled="always", tile_px=320, tile_overlap_px=64, long_side=320)
    found = FaceDetector(settings, runner=FaceAtRightBorder()).detect(np.zeros((320, 832, 3), np.uint8))
    assert len(list(tiles(832, 320, 320, 64))) == 3
    assert len(found) == 1
    assert found[0].box_xyxy[0] < 832 < found[0].box_xyxy[2]


def test_letterbox_shape_order_and_scale():
    picture = np.zeros((500, 1000, 3), np.uint8)
    picture[..., 0] = 200
    tensor, scale = letterbox(picture, 640)
    assert tensor.shape == (1, 3, 320, 640)
    np.testing.assert_allclose(scale, [0.64, 0.64])
    assert tensor[0, 2, 100, 100] == 200  # red is the last plane
    assert tensor[0, :2].max() == 0
    assert letterbox(np.zeros((50, 33, 3), np.uint8), 640)[0].shape == (1, 3, 64, 64)  # never enlarged


def test_decode_places_a_single_cell():
    outputs = {}
    for stride in module.STRIDES:
        cells = (64 // stride) * (96 // stride)
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((1, cells, width), np.float32)
    cell = 2 * 6 + 4  # row 2, column 4 of the stride-16 grid, which has 6 columns
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.81, 1.0
    outputs["bbox_16"][0, cell] = [0.5, 0.25, np.log(2.0), np.log(3.0)]
    outputs["kps_16"][0, cell] = np.arange(10) / 10
    found = decode(outputs, (64, 96), 0.6)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[72 - 16, 36 - 24, 72 + 16, 36 + 24]], rtol=1e-5)
    np.testing.assert_allclose(found.points[0, 1], [(4 + 0.2) * 16, (2 + 0.3) * 16], rtol=1e-6)
    assert len(decode(outputs, (64, 96), 0.95).scores) == 0


def test_non_maximum_keeps_the_best_of_each_group():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 4]], np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.6], np.float32)
    assert non_maximum(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert non_maximum(boxes, scores, 0.3).tolist() == [1, 2]
    assert non_maximum(boxes[:0], scores[:0], 0.3).tolist() == []


@pytest.mark.parametrize(
    "wrong",
    [{"score_min": 0.0}, {"iou_max": 1.5}, {"long_side": 10}, {"tile_px": 1}, {"tile_overlap_px": 700}],
)
def test_settings_refuse(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        DetectorSettings(**wrong)


def test_settings_refuse_an_unknown_choice():
    with pytest.raises((SettingsError, TypeError), match="tiled"):  # TypeError where annotations are checked
        DetectorSettings(tiled="sometimes")
