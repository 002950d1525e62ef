"""The cost of a one-shot generator: a network of published size with random weights, for its time alone.

Built after the description of SimSwap (Chen et al. 2020): a 256-pixel encoder to 512 channels, nine residual blocks in which
an identity vector sets mean and deviation (AdaIN, Huang & Belongie 2017), and a decoder back to the picture. Its pictures mean
nothing. The embedder that such a tool also runs per source, detection, alignment and blending are left out, in its favour.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32

BLOCKS = 9
WIDTHS = (64, 128, 256, 512)
IDENTITY = 512


class _Graph:
    def __init__(self, seed: int) -> None:
        self.nodes: list[object] = []
        self.weights: list[object] = []
        self._random = np.random.default_rng(seed)
        self._count = 0

    def weight(self, *shape: int, scale: float) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        values = (scale * self._random.standard_normal(shape)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, *inputs: str, **options: object) -> str:
        from onnx import helper

        self._count += 1
        name = f"t{self._count}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **options))  # type: ignore[arg-type]
        return name

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, wide_in: int, wide_out: int, size: int, stride: int = 1) -> str:
        w = self.weight(wide_out, wide_in, size, size, scale=1 / np.sqrt(wide_in * size * size))
        b = self.weight(wide_out, scale=0.01)
        pad = size // 2
        return self.add("Conv", x, w, b, kernel_shape=[size, size], strides=[stride, stride], pads=[pad] * 4)

    def norm(self, x: str, wide: int) -> str:
        one, zero = self.constant(np.ones(wide, np.float32)), self.constant(np.zeros(wide, np.float32))
        return self.add("InstanceNormalization", x, one, zero)

    def adain(self, x: str, identity: str, wide: int) -> str:
        """Normalise, then scale and shift by linear functions of the identity vector."""
        shape = self.constant(np.array([-1, wide, 1, 1], np.int64))
        style = [
            self.add("Reshape", self.add("MatMul", identity, self.weight(IDENTITY, wide, scale=IDENTITY**-0.5)), shape)
            for _ in range(2)
        ]
        return self.add("Add", self.add("Mul", self.norm(x, wide), style[0]), style[1])


def generator_bytes(side: int, seed: int = 0) -> bytes:
    """ONNX model: `picture` (1, 3, side, side) and `identity` (1, 512) to `swapped` (1, 3, side, side)."""
    import onnx
    from onnx import TensorProto, helper

    g = _Graph(seed)
    x = g.add("Relu", g.norm(g.conv("picture", 3, WIDTHS[0], 7), WIDTHS[0]))
    for a, b in pairwise(WIDTHS):
        x = g.add("Relu", g.norm(g.conv(x, a, b, 3, 2), b))
    wide = WIDTHS[-1]
    for _ in range(BLOCKS):
        y = g.add("Relu", g.adain(g.conv(x, wide, wide, 3), "identity", wide))
        x = g.add("Add", x, g.adain(g.conv(y, wide, wide, 3), "identity", wide))
    scales = g.constant(np.array([1, 1, 2, 2], np.float32))
    for a, b in pairwise(WIDTHS[::-1]):
        x = g.add("Resize", x, "", scales, mode="linear")
        x = g.add("Relu", g.norm(g.conv(x, a, b, 3), b))
    g.nodes.append(helper.make_node("Tanh", [g.conv(x, WIDTHS[0], 3, 7)], ["swapped"]))
    picture = [1, 3, side, side]
    graph = helper.make_graph(
        g.nodes,  # type: ignore[arg-type]
        "one-shot",
        [
            helper.make_tensor_value_info("picture", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("identity", TensorProto.FLOAT, [1, IDENTITY]),
        ],
        [helper.make_tensor_value_info("swapped", TensorProto.FLOAT, picture)],
        g.weights,  # type: ignore[arg-type]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class OneShot:
    """The generator in onnxruntime."""

    def __init__(self, side: int, threads: int, folder: Path) -> None:
        import onnxruntime

        path = folder / f"one-shot-{side}.onnx"
        if not path.exists():
            path.write_bytes(generator_bytes(side))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.side = side

    def run(self, picture: Float32[np.ndarray, "1 3 s s"]) -> Float32[np.ndarray, "1 3 s s"]:
        """One face."""
        identity = np.full((1, IDENTITY), IDENTITY**-0.5, np.float32)
        return np.asarray(self._session.run(None, {"picture": picture, "identity": identity})[0])
