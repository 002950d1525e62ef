"""The one door to onnxruntime.

One inference thread a session and no spinning: Digidouble works on frames and faces in parallel, and two spinning
threads burn 20 ms of processor time for a 3 ms network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from digidouble import weights
from digidouble.errors import SettingsError, WeightsError

Provider = Literal["cpu", "cuda", "tensorrt", "coreml", "directml"]
Tensors = dict[str, Float32[np.ndarray, "..."]]

_ORT_NAMES: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
_INSTALL = {
    "cuda": "pip install onnxruntime-gpu (instead of onnxruntime)",
    "tensorrt": "pip install onnxruntime-gpu tensorrt (instead of onnxruntime)",
    "coreml": "the macOS wheel of onnxruntime has it",
    "directml": "pip install onnxruntime-directml (instead of onnxruntime; Windows)",
}


@runtime_checkable
class Runner(Protocol):
    """What the perceivers need of a network; tests put a function behind it."""

    def run(self, inputs: Mapping[str, Float32[np.ndarray, " ..."]]) -> Tensors:
        """Outputs by name."""
        ...


class Session:
    """A loaded network.

    Args:
        source: a name of the weights registry (fetched if need be), the path of an ONNX file, or a graph made by our own code.
        providers: where to run, in order of preference; each must be available.
        threads: intra-op threads on the CPU.

    Raises:
        SettingsError: unknown or unavailable provider, or threads < 1.
        WeightsError: the file is missing or no network that onnxruntime can load.
    """

    def __init__(
        self, source: str | Path | bytes, *, providers: Sequence[Provider] = ("cpu",), threads: int = 1
    ) -> None:
        import onnxruntime

        if threads < 1:
            raise SettingsError(f"threads must be at least 1, got {threads}")
        ort_providers = resolve_providers(providers, onnxruntime.get_available_providers())
        if isinstance(source, bytes):
            path, model = Path("<made in memory>"), source
        else:
            path = source if isinstance(source, Path) else weights.fetch(source)
            model = str(path)
            if not path.is_file():
                raise WeightsError(f"{path}: there is no such model file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: its warnings are about its own graph optimiser
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=ort_providers)
        except Exception as error:  # onnxruntime's errors have no common class below Exception
            raise WeightsError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error
        self.path = path
        self.input_names = tuple(i.name for i in self._session.get_inputs())
        self.output_names = tuple(o.name for o in self._session.get_outputs())

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers in use, by onnxruntime's names."""
        return tuple(self._session.get_providers())

    def run(self, inputs: Mapping[str, Float32[np.ndarray, " ..."] | Int64[np.ndarray, " ..."]]) -> Tensors:
        """Run the network; safe to call from several threads. Returns the outputs by name."""
        values = self._session.run(None, dict(inputs))
        return dict(zip(self.output_names, (np.asarray(v) for v in values), strict=True))

    def __repr__(self) -> str:
        return f"Session({self.path.name}, {', '.join(self.providers)})"


def resolve_providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """onnxruntime's names of the wanted providers, CPU appended as the last resort for single operations.

    Raises:
        SettingsError: a name is unknown, or this installation of onnxruntime does not have it.
    """
    resolved = []
    for name in wanted:
        if name not in _ORT_NAMES:
            raise SettingsError(f"unknown provider {name!r}; known: {', '.join(get_args(Provider))}")
        if _ORT_NAMES[name] not in available:
            has = ", ".join(n for n, ort in _ORT_NAMES.items() if ort in available)
            raise SettingsError(f"provider {name!r} is not available here (available: {has}): {_INSTALL.get(name, '')}")
        resolved.append(_ORT_NAMES[name])
    if not resolved:
        raise SettingsError("no provider given; the least is ('cpu',)")
    return resolved if "CPUExecutionProvider" in resolved else [*resolved, "CPUExecutionProvider"]
