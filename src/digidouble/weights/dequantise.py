"""Unfold a block-quantised ONNX file (int8 weights + DequantizeLinear) to plain float32.

The published int8bq files do not load in onnxruntime as they are: dequantised weights are still declared as inputs.
They are computed here; along the way PReLU takes its fast form, dropout goes, and the batch becomes free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from jaxtyping import Float, Shaped
from onnx import helper, numpy_helper

from digidouble.weights.onnx_graph import GraphBuilder

Constants = dict[str, Shaped[np.ndarray, "..."]]


def fold_quantised(data: bytes, *, free_size: bool = False) -> bytes:
    """Return the same network with float32 weights, a free first axis "N" and no quantisation nodes.

    Args:
        free_size: the network is fully convolutional: height and width of the input, and the row count of the outputs,
            are declared free too.

    Raises:
        ValueError: a weight cannot be resolved to a constant.
    """
    model = onnx.load_from_string(data)
    constants: Constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    g = GraphBuilder()
    for node in _folded(model.graph, constants):
        if node.op_type == "PRelu" and node.input[1] in constants:
            g.prelu(node.input[0], constants[node.input[1]].astype(np.float32), node.output[0])
        else:
            g.nodes.append(_free_batch(node, constants))
    produced = {name for node in g.nodes for name in node.output}
    used = {name for node in g.nodes for name in node.input} - produced
    for name in sorted(used & constants.keys()):
        g.initializers.append(numpy_helper.from_array(np.array(constants[name], order="C"), name))
    inputs = [v for v in model.graph.input if v.name in used and v.name not in constants]
    known = {v.name for v in inputs} | constants.keys() | {t.name for t in g.initializers} | {""}
    if missing := used - known:
        raise ValueError(f"weights without a value: {sorted(missing)[:3]}")
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return g.model(
        {v.name: _free_shape(v, {2: "H", 3: "W"} if free_size else {}) for v in inputs},
        {v.name: _free_shape(v, {1: "rows"} if free_size else {}) for v in model.graph.output},
        opset,
    )


def _folded(graph: onnx.GraphProto, constants: Constants) -> list[onnx.NodeProto]:
    """Evaluate what depends on constants only (into `constants`) and return the nodes that remain."""
    kept = []
    for node in graph.node:
        known = all(name in constants for name in node.input)
        if node.op_type == "DequantizeLinear" and known:
            constants[node.output[0]] = _dequantised(node, constants)
        elif node.op_type == "Reshape" and known:
            constants[node.output[0]] = constants[node.input[0]].reshape(constants[node.input[1]])
        elif node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Dropout":  # the identity when a network is used
            kept.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
        else:
            kept.append(node)
    return kept


def _dequantised(node: onnx.NodeProto, constants: Constants) -> Float[np.ndarray, " ..."]:
    """y = (x - zero_point) * scale; one scale per tensor, per channel, or per block of `block_size` along `axis`."""
    attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, scale = constants[node.input[0]], constants[node.input[1]].astype(np.float32)
    zero = constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros_like(scale)
    axis = attributes.get("axis", 1)
    if block := attributes.get("block_size", 0):
        scale, zero = (np.repeat(v, block, axis).take(range(x.shape[axis]), axis) for v in (scale, zero))
    elif scale.ndim == 1 and scale.size > 1:
        shape = [-1 if d == axis % x.ndim else 1 for d in range(x.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (x.astype(np.float32) - zero) * scale


def _free_batch(node: onnx.NodeProto, constants: Constants) -> onnx.NodeProto:
    """Let a Reshape that pins the batch to 1 copy it from its input instead (0 means "as it was")."""
    if node.op_type == "Reshape" and node.input[1] in constants and constants[node.input[1]].ravel()[0] == 1:
        shape = constants[node.input[1]].copy()
        shape[0] = 0
        constants[node.input[1]] = shape
    return node


def _free_shape(value: onnx.ValueInfoProto, free: dict[int, str]) -> list[int | str]:
    """Declared shape with the batch "N" free, and the axes of `free` under their names."""
    dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
    return [{0: "N", **free}.get(axis, size) for axis, size in enumerate(dims)]
