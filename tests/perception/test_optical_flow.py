"""Flow doors: known motion, drawing, and networks that are not what they should be."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from digidouble.errors import WeightsError
from digidouble.perception.flow import DisFlow, FlowEstimator, RaftFlow, colour_wheel


def texture(seed: int = 0, side: int = 160) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(side, side, 3)), (0, 0), 2.0)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def moved(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """What was at p is at p + (dx, dy)."""
    shift = np.array([[1, 0, dx], [0, 1, dy]], float)
    return cv2.warpAffine(picture, shift, picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("step", [(0.0, 0.0), (2.5, -1.25), (-6.0, 4.0)])
def test_dis_finds_a_known_shift(step):
    first = texture()
    flow = DisFlow().flow(first, moved(first, *step))
    assert isinstance(DisFlow(), FlowEstimator)
    error = np.linalg.norm(flow - step, axis=-1)[16:-16, 16:-16]
    assert np.median(error) < 0.08 and np.quantile(error, 0.95) < 0.3


def test_wheel_draws_direction_as_hue_and_length_as_strength():
    ways = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
    hue = {
        k: cv2.cvtColor(colour_wheel(np.full((1, 1, 2), v, float), 1.0), cv2.COLOR_RGB2HSV)[0, 0, 0] * 2.0
        for k, v in ways.items()
    }
    # The Middlebury picture: right is red, down yellow, left cyan, up blue to violet.
    assert min(hue["right"], 360 - hue["right"]) < 15 and 40 < hue["down"] < 75
    assert 160 < hue["left"] < 220 and 230 < hue["up"] < 290
    assert (colour_wheel(np.zeros((2, 3, 2)), 5.0) == 255).all()
    weak, full, beyond = (colour_wheel(np.full((1, 1, 2), (k, 0.0)), 1.0)[0, 0].astype(int) for k in (0.3, 1.0, 2.0))
    assert weak.min() > full.min() and beyond.max() < full.max()


class Recorded:
    """Answers with a constant flow and keeps what it was shown."""

    def run(self, inputs):
        self.seen = inputs
        n, _, h, w = inputs["first"].shape
        y, x = np.mgrid[:h, :w].astype(np.float32)
        return {"flow": np.stack([x, y])[None].repeat(n, 0)}


def test_raft_door_pads_and_crops():
    runner = Recorded()
    flow = RaftFlow(runner=runner).flow(texture(side=150)[:131, :149], texture(1, 150)[:131, :149])
    assert flow.shape == (131, 149, 2) and (flow[7, 9] == (9, 7)).all()
    first = runner.seen["first"]
    assert first.shape == (1, 3, 136, 152) and first.dtype == np.float32 and 0 <= first.min() <= first.max() <= 1
    np.testing.assert_allclose(first[0, :, 5, 6], texture(side=150)[5, 6] / 255, atol=1e-6)
    RaftFlow(runner=runner).flow(texture()[:50, :60], texture()[:50, :60])
    assert runner.seen["second"].shape == (1, 3, 128, 128)


def test_another_network_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="none was named"):
        RaftFlow()
    with pytest.raises(WeightsError, match="no such model file"):
        RaftFlow(tmp_path / "none.onnx")
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match="first and second"):
        RaftFlow(tmp_path / "x.onnx")
