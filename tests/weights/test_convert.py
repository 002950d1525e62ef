"""The converters against independent references: naive loops, MediaPipe's formulas with angles, hand-built files."""

from __future__ import annotations

import math
from typing import Any

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
import tflite
from onnx import TensorProto, helper, numpy_helper

from digidouble.weights import mediapipe_ops
from digidouble.weights.convert_tflite import UnsupportedModel, tflite_to_onnx
from digidouble.weights.dequantise import fold_quantised
from digidouble.weights.onnx_graph import GraphBuilder


def run(model: bytes, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


# A TFLite file built by hand


class TinyTflite:
    """Writes a one-subgraph TFLite file with the schema's own builder functions."""

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1024)
        self.buffers, self.tensors, self.codes, self.operators = [self._buffer(b"")], [], [], []

    def _vector(self, items: list[int], start: Any, prepend: Any) -> int:
        start(self.b, len(items))
        for item in reversed(items):
            prepend(item)
        return self.b.EndVector()

    def _ints(self, items: list[int]) -> int:
        return self._vector(items, lambda b, n: b.StartVector(4, n, 4), self.b.PrependInt32)

    def _offsets(self, items: list[int]) -> int:
        return self._vector(items, lambda b, n: b.StartVector(4, n, 4), self.b.PrependUOffsetTRelative)

    def _buffer(self, data: bytes) -> int:
        content = self.b.CreateByteVector(data) if data else None
        tflite.BufferStart(self.b)
        if content is not None:
            tflite.BufferAddData(self.b, content)
        return tflite.BufferEnd(self.b)

    def tensor(self, name: str, shape: list[int], value: np.ndarray | None = None) -> int:
        kind = tflite.TensorType.FLOAT16 if value is not None and value.dtype == np.float16 else 0
        if value is not None:
            self.buffers.append(self._buffer(value.tobytes()))
        label, dims = self.b.CreateString(name), self._ints(shape)
        tflite.TensorStart(self.b)
        tflite.TensorAddName(self.b, label)
        tflite.TensorAddShape(self.b, dims)
        tflite.TensorAddType(self.b, kind)
        tflite.TensorAddBuffer(self.b, len(self.buffers) - 1 if value is not None else 0)
        self.tensors.append(tflite.TensorEnd(self.b))
        return len(self.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, options: int | None = None, kind: int = 0) -> None:
        tflite.OperatorCodeStart(self.b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self.b, code)
        tflite.OperatorCodeAddBuiltinCode(self.b, code)
        self.codes.append(tflite.OperatorCodeEnd(self.b))
        ins, outs = self._ints(inputs), self._ints([output])
        tflite.OperatorStart(self.b)
        tflite.OperatorAddOpcodeIndex(self.b, len(self.codes) - 1)
        tflite.OperatorAddInputs(self.b, ins)
        tflite.OperatorAddOutputs(self.b, outs)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(self.b, kind)
            tflite.OperatorAddBuiltinOptions(self.b, options)
        self.operators.append(tflite.OperatorEnd(self.b))

    def convolution(self, inputs: list[int], output: int, stride: int, relu: bool) -> None:
        tflite.Conv2DOptionsStart(self.b)
        tflite.Conv2DOptionsAddPadding(self.b, tflite.Padding.SAME)
        tflite.Conv2DOptionsAddStrideH(self.b, stride)
        tflite.Conv2DOptionsAddStrideW(self.b, stride)
        tflite.Conv2DOptionsAddFusedActivationFunction(self.b, int(relu))
        options = tflite.Conv2DOptionsEnd(self.b)
        self.operator(tflite.BuiltinOperator.CONV_2D, inputs, output, options, tflite.BuiltinOptions.Conv2DOptions)

    def binary(self, code: int, inputs: list[int], output: int) -> None:
        name = {v: k for k, v in vars(tflite.BuiltinOperator).items()}[code].title()
        getattr(tflite, f"{name}OptionsStart")(self.b)
        options = getattr(tflite, f"{name}OptionsEnd")(self.b)
        self.operator(code, inputs, output, options, getattr(tflite.BuiltinOptions, f"{name}Options"))

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        tensors, operators = self._offsets(self.tensors), self._offsets(self.operators)
        ins, outs = self._ints(inputs), self._ints(outputs)
        tflite.SubGraphStart(self.b)
        tflite.SubGraphAddTensors(self.b, tensors)
        tflite.SubGraphAddInputs(self.b, ins)
        tflite.SubGraphAddOutputs(self.b, outs)
        tflite.SubGraphAddOperators(self.b, operators)
        graphs = self._offsets([tflite.SubGraphEnd(self.b)])
        codes, buffers = self._offsets(self.codes), self._offsets(self.buffers)
        tflite.ModelStart(self.b)
        tflite.ModelAddVersion(self.b, 3)
        tflite.ModelAddOperatorCodes(self.b, codes)
        tflite.ModelAddSubgraphs(self.b, graphs)
        tflite.ModelAddBuffers(self.b, buffers)
        self.b.Finish(tflite.ModelEnd(self.b), file_identifier=b"TFL3")
        return bytes(self.b.Output())


def naive_convolution(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution, NHWC and OHWI, by loops over output pixels."""
    n, height, width, _ = x.shape
    k = weights.shape[1]
    out_h, out_w = math.ceil(height / stride), math.ceil(width / stride)
    pad_h = max((out_h - 1) * stride + k - height, 0)
    pad_w = max((out_w - 1) * stride + k - width, 0)
    padded = np.zeros((n, height + pad_h, width + pad_w, x.shape[3]))
    padded[:, pad_h // 2 : pad_h // 2 + height, pad_w // 2 : pad_w // 2 + width] = x
    out = np.empty((n, out_h, out_w, len(weights)))
    for row in range(out_h):
        for column in range(out_w):
            window = padded[:, row * stride : row * stride + k, column * stride : column * stride + k]
            out[:, row, column] = np.einsum("nhwc,ohwc->no", window, weights) + bias
    return out


@pytest.mark.parametrize("stride", [1, 2])
def test_tflite_convolution_and_prelu_equal_naive_loops(stride):
    rng = np.random.default_rng(1)
    weights, bias = rng.normal(size=(4, 3, 3, 2)).astype(np.float16), rng.normal(size=4).astype(np.float32)
    slope = rng.uniform(-0.5, 1.5, (1, 1, 4)).astype(np.float32)
    tiny = TinyTflite()
    side = math.ceil(7 / stride)
    x, w16 = tiny.tensor("in/put", [1, 7, 6, 2]), tiny.tensor("w16", [4, 3, 3, 2], weights)
    w, b = tiny.tensor("w", [4, 3, 3, 2]), tiny.tensor("b", [4], bias)
    y = tiny.tensor("conv", [1, side, math.ceil(6 / stride), 4])
    a, z = tiny.tensor("slope", [1, 1, 4], slope), tiny.tensor("out", [1, side, math.ceil(6 / stride), 4])
    tiny.operator(tflite.BuiltinOperator.DEQUANTIZE, [w16], w)
    tiny.convolution([x, w, b], y, stride, relu=False)
    tiny.operator(tflite.BuiltinOperator.PRELU, [y, a], z)
    model = tflite_to_onnx(tiny.finish([x], [z]))

    picture = rng.normal(size=(3, 7, 6, 2)).astype(np.float32)  # a batch of three, though the file says one
    expected = naive_convolution(picture, weights.astype(np.float64), bias, stride)
    expected = np.where(expected > 0, expected, expected * slope)
    (got,) = run(model, in_put=picture)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert "PRelu" not in {n.op_type for n in onnx.load_from_string(model).graph.node}


def test_tflite_fused_relu():
    tiny = TinyTflite()
    x, w = tiny.tensor("x", [1, 2, 2, 1]), tiny.tensor("w", [1, 1, 1, 1], -np.ones((1, 1, 1, 1), np.float32))
    y = tiny.tensor("y", [1, 2, 2, 1])
    tiny.convolution([x, w, -1], y, 1, relu=True)
    picture = np.array([[1, -2], [3, -4]], np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(run(tflite_to_onnx(tiny.finish([x], [y])), x=picture)[0], np.maximum(-picture, 0))


def test_tflite_prelu_spelt_with_abs_and_sub_equals_numpy():
    """relu(x) + slope * 0.5 * (x - |x|), as TensorFlow 1 writes PReLU; the constants are the first operands."""
    rng = np.random.default_rng(8)
    slope, offset = rng.uniform(-0.5, 1.5, 3).astype(np.float32), rng.normal(size=(1, 1, 1, 3)).astype(np.float32)
    tiny = TinyTflite()
    x, half, shift = (
        tiny.tensor("x", [2, 4, 5, 3]),
        tiny.tensor("half", [3], slope / 2),
        tiny.tensor("o", [1, 1, 1, 3], offset),
    )
    names = ("abs", "sub", "scaled", "relu", "prelu", "out")
    size, below, scaled, relu, prelu, out = (tiny.tensor(n, [2, 4, 5, 3]) for n in names)
    op = tflite.BuiltinOperator
    tiny.operator(op.ABS, [x], size)
    tiny.binary(op.SUB, [x, size], below)
    tiny.binary(op.MUL, [half, below], scaled)
    tiny.operator(op.RELU, [x], relu)
    tiny.binary(op.ADD, [relu, scaled], prelu)
    tiny.binary(op.SUB, [shift, prelu], out)
    picture = rng.normal(size=(3, 4, 5, 3)).astype(np.float32)
    (got,) = run(tflite_to_onnx(tiny.finish([x], [out])), x=picture)
    np.testing.assert_allclose(got, offset - np.where(picture > 0, picture, slope * picture), atol=1e-6)


def test_tflite_unknown_operation_is_named():
    tiny = TinyTflite()
    x, y = tiny.tensor("x", [1, 2, 2, 1]), tiny.tensor("y", [1, 2, 2, 1])
    tiny.operator(tflite.BuiltinOperator.FLOOR_MOD, [x, x], y)
    with pytest.raises(UnsupportedModel, match="FLOOR_MOD"):
        tflite_to_onnx(tiny.finish([x], [y]))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 9], ids=["empty", "zip"])
def test_what_is_no_tflite_file_is_refused(data):
    with pytest.raises(UnsupportedModel, match="TFL3"):
        tflite_to_onnx(data)


# MediaPipe's custom operations


OPTIONS = {
    "left_rotation_idx": 0,
    "right_rotation_idx": 1,
    "subset_idxs": [0, 1, 2, 4],
    "scale_x": 1.5,
    "scale_y": 1.5,
    "output_width": 16,
    "output_height": 16,
    "target_rotation_radians": 0.0,
}


def reference_matrix(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks2TransformMatrix with the angle written out, one face (mediapipe landmarks_to_transform_matrix.cc)."""
    left, right = landmarks[0, :2], landmarks[1, :2]
    rotation = -math.atan2(right[1] - left[1], right[0] - left[0])
    c, s = math.cos(rotation), math.sin(rotation)
    turned = landmarks[OPTIONS["subset_idxs"], :2] @ np.array([[c, -s], [s, c]]).T
    middle, size = (turned.max(0) + turned.min(0)) / 2, np.ptp(turned, axis=0)
    centre = np.array([[c, s], [-s, c]]) @ middle
    scale = size * 1.5 / 16
    linear = np.array([[c * scale[0], s * scale[1]], [-s * scale[0], c * scale[1]]])
    matrix = np.eye(4)
    matrix[:2, :2], matrix[:2, 3] = linear, centre - linear @ [8, 8]
    return matrix


def test_landmarks_to_matrix_equals_the_formula_with_angles():
    landmarks = np.random.default_rng(2).uniform(0, 48, (5, 6, 3)).astype(np.float32)
    g = GraphBuilder()
    mediapipe_ops.landmarks_to_matrix(g, "landmarks", OPTIONS, "matrix")
    (got,) = run(g.model({"landmarks": ["N", 6, 3]}, {"matrix": ["N", 4, 4]}), landmarks=landmarks)
    np.testing.assert_allclose(got, [reference_matrix(f.astype(np.float64)) for f in landmarks], atol=2e-4)


def test_landmarks_to_matrix_refuses_another_target_angle():
    with pytest.raises(ValueError, match="target_rotation"):
        mediapipe_ops.landmarks_to_matrix(GraphBuilder(), "x", OPTIONS | {"target_rotation_radians": 1.0}, "y")


def test_transform_tensor_equals_naive_bilinear_with_zeros_outside():
    rng = np.random.default_rng(3)
    feature = rng.normal(size=(2, 3, 9, 7)).astype(np.float32)
    matrix = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    matrix[:, :2, :2] = [[1.1, 0.3], [-0.2, 1.3]]
    matrix[:, :2, 3] = [[-1.2, 0.4], [0.7, -0.9]]
    g = GraphBuilder()
    size = {"output_height": 6, "output_width": 5}
    mediapipe_ops.transform_tensor(g, "feature", (9, 7), "matrix", size, "window")
    model = g.model({"feature": ["N", 3, 9, 7], "matrix": ["N", 4, 4]}, {"window": ["N", 3, 6, 5]})
    (got,) = run(model, feature=feature, matrix=matrix)
    for n, row, column in np.ndindex(2, 6, 5):
        x, y = matrix[n, :2, :2] @ [column + 0.5, row + 0.5] + matrix[n, :2, 3] - 0.5
        expected = np.zeros(3)
        if 0 <= x <= 6 and 0 <= y <= 8:
            x0, y0 = min(int(x), 5), min(int(y), 7)
            for dy, dx in np.ndindex(2, 2):
                share = (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
                expected += share * feature[n, :, y0 + dy, x0 + dx]
        np.testing.assert_allclose(got[n, :, row, column], expected, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_transform_landmarks_moves_xy_and_keeps_z(dimensions):
    rng = np.random.default_rng(4)
    points, matrix = rng.normal(size=(2, 7, dimensions)), rng.normal(size=(2, 4, 4))
    g = GraphBuilder()
    mediapipe_ops.transform_landmarks(g, "points", dimensions, "matrix", "moved")
    model = g.model({"points": ["N", 7, dimensions], "matrix": ["N", 4, 4]}, {"moved": ["N", 7, dimensions]})
    (got,) = run(model, points=points.astype(np.float32), matrix=matrix.astype(np.float32))
    expected = points.copy()
    for n, i in np.ndindex(2, 7):
        expected[n, i, :2] = matrix[n, :2, :2] @ points[n, i, :2] + matrix[n, :2, 3]
    np.testing.assert_allclose(got, expected, atol=1e-5)


# Block-quantised ONNX


def quantised_onnx(weights_q: np.ndarray, scales: np.ndarray, zeros: np.ndarray, slope: np.ndarray) -> bytes:
    """The shape of the published files: blocks of 4 along axis 1, reshaped to a kernel, batch pinned to 1."""
    nodes = [
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"], axis=1, block_size=4),
        helper.make_node("Reshape", ["wd", "wshape"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("PRelu", ["c", "slope"], ["p"]),
        helper.make_node("Dropout", ["p"], ["d"]),
        helper.make_node("Reshape", ["d", "rows"], ["y"]),
    ]
    values = {"wq": weights_q, "s": scales, "z": zeros, "slope": slope}
    values |= {"wshape": np.array([2, 3, 1, 2]), "rows": np.array([1, -1, 2])}
    graph = helper.make_graph(
        nodes,
        "q",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 2])],
        [numpy_helper.from_array(v, k) for k, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def test_fold_quantised_equals_the_definition_for_any_batch_and_size():
    rng = np.random.default_rng(5)
    q = rng.integers(-128, 127, (2, 6)).astype(np.int8)
    scales, zeros = rng.uniform(0.01, 0.1, (2, 2)).astype(np.float32), rng.integers(-9, 9, (2, 2)).astype(np.int8)
    slope = rng.uniform(-0.5, 1.5, (2, 1, 1)).astype(np.float32)
    model = fold_quantised(quantised_onnx(q, scales, zeros, slope), free_size=True)
    kernel = np.array(
        [[(int(q[o, i]) - int(zeros[o, i // 4])) * scales[o, i // 4] for i in range(6)] for o in range(2)]
    )
    kernel = kernel.reshape(2, 3, 1, 2)
    x = rng.normal(size=(3, 3, 6, 7)).astype(np.float32)
    expected = sum(np.einsum("nchw,oc->nohw", x[..., k : k + 6], kernel[:, :, 0, k]) for k in range(2))
    expected = np.where(expected > 0, expected, expected * slope).reshape(3, -1, 2)
    (got,) = run(model, x=x)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    kinds = {n.op_type for n in onnx.load_from_string(model).graph.node}
    assert not kinds & {"DequantizeLinear", "PRelu", "Dropout"}


def test_fold_quantised_names_a_weight_without_a_value():
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "lost"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    with pytest.raises(ValueError, match="lost"):
        fold_quantised(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def test_conversion_repeats_bit_for_bit():
    data = quantised_onnx(
        np.ones((2, 6), np.int8), np.ones((2, 2), np.float32), np.zeros((2, 2), np.int8), np.ones((2, 1, 1), np.float32)
    )
    assert fold_quantised(data) == fold_quantised(data)
