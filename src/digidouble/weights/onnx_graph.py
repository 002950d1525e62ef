"""A small builder for ONNX graphs, shared by the converters. Imported only while a model is being converted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float, Shaped
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9  # understood by every onnxruntime that we allow


class GraphBuilder:
    """Collects nodes and constants, hands out names, and closes the graph into a checked model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that nothing else in the graph carries."""
        self._count += 1
        return f"{stem}_{self._count}"

    def const(self, value: Shaped[np.ndarray, " ..."] | Sequence[int] | float, stem: str = "const") -> str:
        """Store a constant (float64 becomes float32, Python integers become int64) and return its name."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.fresh(stem)
        # ascontiguousarray would promote a scalar to shape (1,), which Clip refuses.
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return the name of that output."""
        name = output if output is not None else self.fresh(op)
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def slice(self, value: str, start: int, stop: int, axis: int, output: str | None = None) -> str:
        """value[start:stop] along one axis."""
        return self.add("Slice", [value, self.const([start]), self.const([stop]), self.const([axis])], output)

    def prelu(self, value: str, slope: Float[np.ndarray, " ..."], output: str) -> str:
        """PReLU as a*x + (1-a)*relu(x).

        onnxruntime's own PRelu kernel is scalar: it took 2.7 of the 3.5 ms of a face landmark network. This form is
        exact for any slope and vectorises.
        """
        slope = slope.astype(np.float32)
        linear = self.add("Mul", [value, self.const(slope, "slope")])
        positive = self.add("Mul", [self.add("Relu", [value]), self.const(1.0 - slope, "slope")])
        return self.add("Add", [linear, positive], output)

    def model(
        self, inputs: dict[str, list[int | str]], outputs: dict[str, list[int | str]], opset: int = OPSET
    ) -> bytes:
        """Close the graph: float32 inputs and outputs by name and shape (a string is a free dimension)."""
        graph = helper.make_graph(
            self.nodes,
            "digidouble",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.initializers,
        )
        model = helper.make_model(
            graph, producer_name="digidouble", opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)
