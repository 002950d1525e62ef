"""Depth: the mesh against its own geometry, the network door, and their fusion on scenes whose depth is known."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from digidouble.errors import WeightsError
from digidouble.perception.depth import (
    BACKDROP_CM,
    FAR_CM,
    HEAD_CM,
    DepthEstimator,
    DepthNetwork,
    InverseFit,
    depth_picture,
    extended_depth,
    fit_inverse,
    fused_depth,
    mesh_depth,
    network_size,
)  # fmt: skip
from digidouble.perception.matte import px_from_crop
from digidouble.schema.mesh import FLIP_YZ, face_model, vertex_normals
from digidouble.schema.pose import Pose

SIZE = 64


def turned(yaw_deg: float) -> Pose:
    a = np.radians(yaw_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return Pose(turn, 8.0, np.array([150.0, 120.0, 37.0]))


def face(yaw_deg: float) -> tuple[np.ndarray, Pose, np.ndarray]:
    pose = turned(yaw_deg)
    points = pose.px_from_head(face_model().mean_cm).astype(np.float32)
    return points, pose, px_from_crop(points, SIZE)


@pytest.mark.parametrize("yaw", [0.0, 30.0, -55.0])
def test_mesh_depth_is_that_of_the_vertices_that_are_seen(yaw):
    points, pose, place = face(yaw)
    depth, covered = mesh_depth(points, pose, place, SIZE)
    truth = -(face_model().mean_cm @ pose.rotation.T)[:, 2]  # camera z points to the viewer
    normal = vertex_normals(points * FLIP_YZ, face_model().triangles)
    seen = np.flatnonzero(normal[:468, 2] / np.linalg.norm(normal[:468], axis=1) > 0.6)
    to_crop = cv2.invertAffineTransform(place.astype(float))
    at = np.rint(points[seen, :2] @ to_crop[:, :2].T + to_crop[:, 2]).astype(int)
    got = depth[at[:, 1], at[:, 0]]
    # Some vertices that face the camera are behind the nose; nearly all are the surface that is seen.
    error = got - truth[seen]
    assert covered[at[:, 1], at[:, 0]].mean() > 0.96
    assert np.median(np.abs(error)) < 0.12 and np.quantile(np.abs(error), 0.9) < 0.35, np.quantile(
        error, (0, 0.1, 0.5, 0.9, 1)
    )
    assert depth[covered].min() < -1.5 if yaw == 0 else True  # the nose is before the eyes


def test_outside_the_face_head_and_backdrop():
    points, pose, place = face(0)
    depth, covered = mesh_depth(points, pose, place, SIZE)
    person = np.zeros((SIZE, SIZE), np.float32)
    person[:, 8:56] = 1
    cm = float(np.sqrt(np.linalg.det(place[:, :2].astype(float)))) / pose.px_per_cm
    whole = extended_depth(depth, covered, person, cm)
    assert (whole[covered] == depth[covered]).all()
    assert (whole[:, :8][~covered[:, :8]] == BACKDROP_CM).all()
    ring = (cv2.dilate(covered.astype(np.uint8), np.ones((3, 3))) > 0) & ~covered & (person > 0)
    rim = cv2.erode(covered.astype(np.uint8), np.ones((3, 3))) == 0
    inner = cv2.blur(np.where(covered & rim, depth, 0), (5, 5)) / np.maximum(
        cv2.blur((covered & rim).astype(np.float32), (5, 5)), 1e-6
    )
    assert np.abs(whole - inner)[ring].max() < 2.0  # no step at the rim
    outside = ~covered & (person > 0)
    assert whole[outside].min() > depth[covered].min() and whole[outside].max() < depth[covered].max() + HEAD_CM + 1e-3
    column = whole[:8, SIZE // 2]  # up from the forehead it goes back
    assert (np.diff(column[::-1]) >= -0.05).all() and column[0] > column[-1]
    nothing = extended_depth(depth, np.zeros_like(covered), person, cm)
    assert set(np.unique(nothing)) == {0.0, np.float32(BACKDROP_CM)}


def test_inverse_fit_survives_what_is_wrong_on_a_fifth_of_the_face():
    points, pose, place = face(20)
    depth, covered = mesh_depth(points, pose, place, SIZE)
    distance, random = 90.0, np.random.default_rng(0)
    inverse = ((1 / (distance + depth)) - 0.002) / 0.013
    inverse += random.normal(0, 0.002, inverse.shape)
    wrong = random.random(inverse.shape) < 0.2
    inverse[wrong] += random.uniform(0.1, 0.4, wrong.sum())
    fit = fit_inverse(inverse.astype(np.float32), depth, covered.astype(np.float32), distance)
    assert fit is not None and fit.correlation > 0.9
    assert fit.scale == pytest.approx(0.013, rel=0.04)
    np.testing.assert_allclose(fit.depth_cm(inverse)[covered & ~wrong], depth[covered & ~wrong], atol=1.0)


def test_inverse_fit_refuses_what_does_not_fit():
    points, pose, place = face(0)
    depth, covered = mesh_depth(points, pose, place, SIZE)
    trust, random = covered.astype(np.float32), np.random.default_rng(0)
    good = (1 / (90 + depth)).astype(np.float32)
    assert fit_inverse(good, depth, trust, 90.0) is not None
    assert fit_inverse(-good, depth, trust, 90.0) is None  # near and far swapped
    assert fit_inverse(random.normal(size=depth.shape).astype(np.float32), depth, trust, 90.0) is None
    assert fit_inverse(np.ones_like(good), depth, trust, 90.0) is None
    assert fit_inverse(good, depth, 0 * trust, 90.0) is None


def test_fused_depth_of_a_known_scene():
    """A wall 120 cm behind, a bar 25 cm before the face: the network's, once fitted, and the mesh's where the face is seen."""
    points, pose, place = face(10)
    mesh, covered = mesh_depth(points, pose, place, SIZE)
    truth = np.where(covered, mesh, 120.0).astype(np.float32)
    truth[30:36] = -25
    visible = np.where(covered & (truth > -20), 1.0, 0.0).astype(np.float32)
    inverse = (50 / (150 + truth) + 3).astype(np.float32)
    fit = fit_inverse(inverse, mesh, visible, 150.0)
    assert fit is not None
    whole = fused_depth(mesh, covered, visible, fit.depth_cm(inverse))
    np.testing.assert_allclose(whole, truth, atol=0.5)
    far = InverseFit(fit.scale, fit.shift, 1.0, 150.0).depth_cm(np.full((2, 2), -9.0))
    np.testing.assert_allclose(far, FAR_CM, rtol=1e-5)


def tiny_network(path, name: str = "pixel_values", outputs: int = 1) -> np.ndarray:
    """Random weights, the signature of Depth Anything V2: [1, 3, h, w] to [1, h, w], sides multiples of 14. Returns the weights."""
    weights = np.random.default_rng(3).normal(size=(1, 3, 14, 14)).astype(np.float32) / 588
    nodes = [
        helper.make_node("Conv", [name, "w"], ["cells"], strides=[14, 14]),
        helper.make_node("Resize", ["cells", "", "by"], ["large"], mode="nearest"),
        helper.make_node("Squeeze", ["large", "axis"], ["predicted_depth"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([1, 1, 14, 14], np.float32), "by"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"])]
    if outputs != 1:
        inputs.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]))
    result = [helper.make_tensor_value_info("predicted_depth", TensorProto.FLOAT, ["n", "h", "w"])]
    graph = helper.make_graph(nodes, "depth", inputs, result, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return weights


@pytest.mark.parametrize("name", ["pixel_values", "image"])
def test_network_door(tmp_path, name):
    weights = tiny_network(tmp_path / "tiny.onnx", name)
    door = DepthNetwork(tmp_path / "tiny.onnx")
    assert isinstance(door, DepthEstimator) and door.name == "tiny.onnx"
    colour = np.array([200, 120, 40], np.uint8)
    seen = door.inverse_depth(np.full((90, 160, 3), colour, np.uint8))
    assert seen.shape == (518, 924) and seen.dtype == np.float32
    normal = (colour / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]  # ImageNet's, as the network was trained
    np.testing.assert_allclose(seen, (weights.sum((0, 2, 3)) * normal).sum(), rtol=1e-3, atol=1e-5)
    half = np.zeros((90, 160, 3), np.uint8)
    half[:, 80:] = 255
    answer = door.inverse_depth(half)
    assert (
        abs(answer[:, 600:].mean() - answer[:, :300].mean()) > 10 * answer[:, 600:800].std()
    )  # it keeps left and right apart


def test_network_sizes():
    assert network_size(1280, 720) == (924, 518) and network_size(720, 1280) == (518, 924)
    assert network_size(518, 518) == (518, 518) and network_size(4000, 100) == (1036, 518)
    assert all(n % 14 == 0 for n in network_size(1001, 777))


def test_a_network_of_another_shape_is_refused(tmp_path):
    tiny_network(tmp_path / "two.onnx", outputs=2)
    with pytest.raises(WeightsError, match="one input"):
        DepthNetwork(tmp_path / "two.onnx")


def test_depth_picture_is_warm_near_and_blue_far():
    near, far = depth_picture(np.array([[-4.0, 14.0]]))[0].astype(int)
    assert near[0] > near[2] + 50 and far[2] > far[0] + 30
    assert (depth_picture(np.array([[-50.0]])) == depth_picture(np.array([[-6.0]]))).all()
