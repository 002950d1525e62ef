from __future__ import annotations

import numpy as np
import pytest

from digidouble.errors import SettingsError, WeightsError
from digidouble.perception.session import Session, resolve_providers
from digidouble.weights.onnx_graph import GraphBuilder


@pytest.fixture
def doubling(tmp_path):
    g = GraphBuilder()
    g.add("Mul", ["x", g.const(2.0)], "y")
    g.add("Neg", ["x"], "z")
    path = tmp_path / "doubling.onnx"
    path.write_bytes(g.model({"x": ["N", 3]}, {"y": ["N", 3], "z": ["N", 3]}))
    return path


def test_runs_by_name(doubling):
    session = Session(doubling)
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    outputs = session.run({"x": x})
    np.testing.assert_array_equal(outputs["y"], 2 * x)
    np.testing.assert_array_equal(outputs["z"], -x)
    assert session.input_names == ("x",)
    assert session.providers == ("CPUExecutionProvider",)
    assert "doubling.onnx" in repr(session)


def test_does_not_spin(doubling):
    options = Session(doubling, threads=2)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2


@pytest.mark.parametrize("content", [b"", b"not a network", None], ids=["empty", "text", "absent"])
def test_what_is_no_network_is_a_weights_error(tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.onnx"):
        Session(path)


def test_unknown_weights_are_named():
    with pytest.raises(WeightsError, match="no weights named 'nonsense'"):
        Session("nonsense")


def test_providers_are_resolved_in_order_with_cpu_last():
    available = ["CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"]
    assert resolve_providers(["tensorrt", "cuda"], available) == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert resolve_providers(["cpu"], available) == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (["cuda"], "onnxruntime-gpu"),
        (["gpu"], "unknown provider 'gpu'"),
        ([], "no provider"),
        (["directml"], "Windows"),
    ],
)
def test_providers_that_cannot_be_had(wanted, complaint):
    with pytest.raises(SettingsError, match=complaint):
        resolve_providers(wanted, ["CPUExecutionProvider"])


def test_threads_must_be_positive(doubling):
    with pytest.raises(SettingsError, match="threads"):
        Session(doubling, threads=0)
