"""TFLite -> ONNX for the operations that MediaPipe's face and segmentation networks and the bench's referee use.

Ready converters fail on the network that matters (the attention mesh has three custom operations), fix the batch size
and emit slow PRelu nodes. This one keeps the batch free and reproduces the original to about 1e-4 of its output range.

TFLite stores pictures as NHWC, ONNX as NCHW. Inside the new graph every activation with four axes is NCHW; the graph's
inputs and outputs keep the TFLite layout, with a free first axis "N". Tensors with fewer axes are the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite
from flatbuffers import flexbuffers
from jaxtyping import Shaped

from digidouble.weights import mediapipe_ops
from digidouble.weights.onnx_graph import GraphBuilder

NCHW_FROM_NHWC = (0, 3, 1, 2)
NHWC_FROM_NCHW = (0, 2, 3, 1)
_AXIS_NCHW = {0: 0, 1: 2, 2: 3, 3: 1}
_DTYPES: dict[int, Any] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_OPERATOR_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_UNARY = {"RELU": "Relu", "LOGISTIC": "Sigmoid", "HARD_SWISH": "HardSwish", "ABS": "Abs"}
_BINARY = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub"}


class UnsupportedModel(ValueError):
    """The TFLite file uses something that this converter does not know."""


def tflite_to_onnx(data: bytes) -> bytes:
    """Convert a float32 or float16 TFLite model to a float32 ONNX model with a free batch size.

    Input and output names are those of the TFLite tensors, with "/" replaced by "_".

    Raises:
        UnsupportedModel: an operation, data type, sparse tensor or option outside the supported set, by name.
    """
    if data[4:8] != b"TFL3":
        raise UnsupportedModel("not a TFLite file: the identifier TFL3 is missing")
    model = tflite.Model.GetRootAsModel(data, 0)
    if model.SubgraphsLength() != 1:
        raise UnsupportedModel(f"expected 1 subgraph, found {model.SubgraphsLength()}")
    return _Converter(model).convert()


class _Converter:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model.Subgraphs(0)
        self.g = GraphBuilder()
        self.constants: dict[int, Shaped[np.ndarray, " ..."]] = {}
        for i in range(self.graph.TensorsLength()):
            self._read_constant(i)
        self._handlers: dict[str, Callable[[str, Any, list[int], int], None]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._convolution,
            "PRELU": self._prelu,
            "MAX_POOL_2D": self._pool,
            "AVERAGE_POOL_2D": self._pool,
            "PAD": self._pad,
            "RESHAPE": self._reshape,
            "STRIDED_SLICE": self._strided_slice,
            "RESIZE_BILINEAR": self._resize,
            "Convolution2DTransposeBias": self._transposed_convolution,
            "Landmarks2TransformMatrix": self._landmarks_to_matrix,
            "TransformTensorBilinear": self._transform_tensor,
            "TransformLandmarks": self._transform_landmarks,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
        }

    def convert(self) -> bytes:
        inputs = {self._public_name(i): self._free_shape(i) for i in self.graph.InputsAsNumpy().tolist()}
        for i in self.graph.InputsAsNumpy().tolist():
            if len(self._shape(i)) == 4:
                self.g.add("Transpose", [self._public_name(i)], self._inner_name(i), perm=NCHW_FROM_NHWC)
            else:
                self.g.add("Identity", [self._public_name(i)], self._inner_name(i))
        for k in range(self.graph.OperatorsLength()):
            self._operator(self.graph.Operators(k))
        for i in self.graph.OutputsAsNumpy().tolist():
            self.g.add("Identity", [self._nhwc(i)], self._public_name(i))
        outputs = {self._public_name(i): self._free_shape(i) for i in self.graph.OutputsAsNumpy().tolist()}
        return self.g.model(inputs, outputs)

    # Tensors

    def _shape(self, i: int) -> list[int]:
        return self.graph.Tensors(i).ShapeAsNumpy().tolist()

    def _free_shape(self, i: int) -> list[int | str]:
        return ["N", *self._shape(i)[1:]]

    def _public_name(self, i: int) -> str:
        return self.graph.Tensors(i).Name().decode().replace("/", "_")

    def _inner_name(self, i: int) -> str:
        return f"tensor_{i}"

    def _read_constant(self, i: int) -> None:
        tensor = self.graph.Tensors(i)
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0:
            return
        if tensor.Sparsity() is not None:
            raise UnsupportedModel(f"tensor {self._public_name(i)} is sparse; only dense weights are supported")
        if tensor.Type() not in _DTYPES:
            raise UnsupportedModel(f"tensor {self._public_name(i)} has TFLite type {tensor.Type()}")
        array = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[tensor.Type()])
        self.constants[i] = array.reshape(self._shape(i))

    def _weights(self, i: int) -> Shaped[np.ndarray, " ..."]:
        """A constant as float32, in the TFLite layout."""
        if i not in self.constants:
            raise UnsupportedModel(f"tensor {self._public_name(i)} must be constant")
        return self.constants[i].astype(np.float32)

    def _value(self, i: int) -> str:
        """Name of an activation as the new graph holds it (NCHW where it has four axes)."""
        if i in self.constants:
            array = self._weights(i)
            return self.g.const(array.transpose(NCHW_FROM_NHWC) if array.ndim == 4 else array)
        return self._inner_name(i)

    def _nhwc(self, i: int) -> str:
        if len(self._shape(i)) != 4:
            return self._value(i)
        return self.g.add("Transpose", [self._value(i)], perm=NHWC_FROM_NCHW)

    # Operations: (name, options, input tensors, output tensor)

    def _operator(self, op: Any) -> None:
        code = self.model.OperatorCodes(op.OpcodeIndex())
        name = _OPERATOR_NAMES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
        inputs, outputs = op.InputsAsNumpy().tolist(), op.OutputsAsNumpy().tolist()
        if name == "DEQUANTIZE" and inputs[0] in self.constants:
            self.constants[outputs[0]] = self._weights(inputs[0])
            return
        if name == "CUSTOM":
            name = code.CustomCode().decode()
            options: Any = flexbuffers.Loads(op.CustomOptionsAsNumpy().tobytes()) if op.CustomOptionsLength() else {}
        else:
            options = _builtin_options(op, name)
        if name not in self._handlers:
            raise UnsupportedModel(f"operation {name} is not supported")
        self._handlers[name](name, options, inputs, outputs[0])

    def _activated(self, name: str, activation: int, output: int) -> None:
        kinds = tflite.ActivationFunctionType
        if activation == kinds.RELU:
            self.g.add("Relu", [name], self._inner_name(output))
        elif activation == kinds.RELU6:
            self.g.add("Clip", [name, self.g.const(0.0), self.g.const(6.0)], self._inner_name(output))
        elif activation == kinds.NONE:
            self.g.add("Identity", [name], self._inner_name(output))  # onnxruntime removes it
        else:
            raise UnsupportedModel(f"fused activation {activation} is not supported")

    def _convolution(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        depthwise = name == "DEPTHWISE_CONV_2D"
        weights = self._weights(inputs[1]).transpose((3, 0, 1, 2) if depthwise else NCHW_FROM_NHWC)
        _, in_h, in_w, channels = self._shape(inputs[0])
        strides = (options.StrideH(), options.StrideW())
        dilations = (options.DilationHFactor(), options.DilationWFactor())
        arguments = [self._value(inputs[0]), self.g.const(weights, "weights")]
        if len(inputs) > 2 and inputs[2] >= 0:
            arguments.append(self.g.const(self._weights(inputs[2]), "bias"))
        result = self.g.add(
            "Conv",
            arguments,
            strides=strides,
            pads=_pads(options.Padding(), (in_h, in_w), weights.shape[2:], strides, dilations),
            dilations=dilations,
            group=channels // weights.shape[1],
            kernel_shape=weights.shape[2:],
        )
        self._activated(result, options.FusedActivationFunction(), output)

    def _transposed_convolution(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        weights = self._weights(inputs[1]).transpose(3, 0, 1, 2)  # TFLite OHWI -> ONNX IOHW
        stride = self._shape(output)[1] // self._shape(inputs[0])[1]
        if weights.shape[2:] != (stride, stride):
            raise UnsupportedModel(f"{name}: kernel {weights.shape[2:]} differs from stride {stride}")
        arguments = [self._value(inputs[0]), self.g.const(weights, "weights"), self.g.const(self._weights(inputs[2]))]
        self.g.add(
            "ConvTranspose",
            arguments,
            self._inner_name(output),
            strides=[stride, stride],
            kernel_shape=[stride, stride],
        )

    def _prelu(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        slope = self._weights(inputs[1])  # H W C, broadcast over the picture
        self.g.prelu(self._value(inputs[0]), slope.transpose(2, 0, 1), self._inner_name(output))

    def _unary(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        self.g.add(_UNARY[name], [self._value(inputs[0])], self._inner_name(output))

    def _binary(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        operands = []
        for i in inputs:
            missing = len(self._shape(output)) - len(self._shape(i))
            if i in self.constants and len(self._shape(output)) == 4 and missing:
                # NumPy broadcasting aligns the last axis, which is no longer the channel: spell the shape out.
                full = self._weights(i).reshape([1] * missing + self._shape(i))
                operands.append(self.g.const(full.transpose(NCHW_FROM_NHWC)))
            else:
                operands.append(self._value(i))
        self._activated(self.g.add(_BINARY[name], operands), options.FusedActivationFunction(), output)

    def _pool(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        in_hw = tuple(self._shape(inputs[0])[1:3])
        kernel = (options.FilterHeight(), options.FilterWidth())
        strides = (options.StrideH(), options.StrideW())
        if name == "AVERAGE_POOL_2D" and kernel == in_hw and self._shape(output)[1:3] == [1, 1]:
            result = self.g.add("GlobalAveragePool", [self._value(inputs[0])])
        else:
            result = self.g.add(
                "MaxPool" if name == "MAX_POOL_2D" else "AveragePool",
                [self._value(inputs[0])],
                kernel_shape=kernel,
                strides=strides,
                pads=_pads(options.Padding(), in_hw, kernel, strides, (1, 1)),
            )
        self._activated(result, options.FusedActivationFunction(), output)

    def _pad(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        pads = self.constants[inputs[1]][list(NCHW_FROM_NHWC)].astype(np.int64)  # axis x (before, after)
        self.g.add(
            "Pad",
            [self._value(inputs[0]), self.g.const(pads.T.ravel()), self.g.const(0.0)],
            self._inner_name(output),
        )

    def _reshape(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        # Every reshape in these networks keeps the batch axis, so it may stay free.
        before, shape = self._shape(inputs[0]), self._shape(output)
        if before[0] != shape[0]:
            raise UnsupportedModel(f"RESHAPE {before} -> {shape} mixes the batch with other axes")
        flat = [self._nhwc(inputs[0]), self.g.const([-1, *shape[1:]])]
        if len(shape) == 4:
            self.g.add("Transpose", [self.g.add("Reshape", flat)], self._inner_name(output), perm=NCHW_FROM_NHWC)
        else:
            self.g.add("Reshape", flat, self._inner_name(output))

    def _strided_slice(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        if options.ShrinkAxisMask() or options.NewAxisMask() or options.EllipsisMask():
            raise UnsupportedModel("STRIDED_SLICE that changes the number of axes is not supported")
        shape = self._shape(inputs[0])
        begin, end, step = (self.constants[i].ravel().tolist() for i in inputs[1:4])
        starts, ends, axes, steps = [], [], [], []
        for d, size in enumerate(shape):
            first = 0 if options.BeginMask() >> d & 1 else begin[d]
            last = size if options.EndMask() >> d & 1 else end[d]
            if (first, step[d]) != (0, 1) or last < size:
                starts.append(first)
                ends.append(last)
                axes.append(_AXIS_NCHW[d] if len(shape) == 4 else d)
                steps.append(step[d])
        if not axes:
            self.g.add("Identity", [self._value(inputs[0])], self._inner_name(output))
            return
        arguments = [self._value(inputs[0]), *(self.g.const(v) for v in (starts, ends, axes, steps))]
        self.g.add("Slice", arguments, self._inner_name(output))

    def _resize(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        mode = "align_corners" if options.AlignCorners() else "asymmetric"
        mode = "half_pixel" if options.HalfPixelCenters() else mode
        (_, in_h, in_w, _), (_, out_h, out_w, _) = self._shape(inputs[0]), self._shape(output)
        scales = self.g.const(np.array([1, 1, out_h / in_h, out_w / in_w], np.float32))
        arguments = [self._value(inputs[0]), "", scales]
        self.g.add("Resize", arguments, self._inner_name(output), mode="linear", coordinate_transformation_mode=mode)

    def _landmarks_to_matrix(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        mediapipe_ops.landmarks_to_matrix(self.g, self._value(inputs[0]), options, self._inner_name(output))

    def _transform_tensor(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        in_h, in_w = self._shape(inputs[0])[1:3]
        feature, matrix = self._value(inputs[0]), self._value(inputs[1])
        mediapipe_ops.transform_tensor(self.g, feature, (in_h, in_w), matrix, options, self._inner_name(output))

    def _transform_landmarks(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        landmarks, matrix = self._value(inputs[0]), self._value(inputs[1])
        dimensions = self._shape(inputs[0])[-1]
        mediapipe_ops.transform_landmarks(self.g, landmarks, dimensions, matrix, self._inner_name(output))


_OPTION_TABLES: dict[str, Any] = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "STRIDED_SLICE": tflite.StridedSliceOptions,
    "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
    "ADD": tflite.AddOptions,
    "MUL": tflite.MulOptions,
    "SUB": tflite.SubOptions,
}


def _builtin_options(op: Any, name: str) -> Any:
    """The typed option table of a built-in operation; an absent table means that every option has its default."""
    table, cls = op.BuiltinOptions(), _OPTION_TABLES.get(name)
    if cls is None:
        return None
    if table is None:
        raise UnsupportedModel(f"operation {name} has no options")
    options = cls()
    options.Init(table.Bytes, table.Pos)
    return options


def _pads(
    padding: int, in_hw: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> list[int]:
    """ONNX pads (top, left, bottom, right) of TensorFlow's SAME or VALID; SAME puts the odd pixel after."""
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    before, after = [], []
    for size, k, stride, dilation in zip(in_hw, kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after
