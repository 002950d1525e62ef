"""Where does each pixel of a picture go in another one: optical flow between two pictures of the same size.

Both estimators answer in pixels: `first[y, x]` shows what `second[y + flow[y, x, 1], x + flow[y, x, 0]]` shows.

The default is OpenCV's DIS (Kroeger et al. 2016): no weights, about 5 ms for a face crop on one core. RAFT (Teed & Deng 2020) is
slower and steadier where there is little texture; its network is our own (`training/flow`), which reads the weights torchvision
published and writes the ONNX file opened here, so that nothing of the package needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.errors import WeightsError
from digidouble.perception.session import Provider, Runner, Session

RAFT_STRIDE = 8
RAFT_LEAST = 128  # sides below it leave nothing of the fourth correlation level
# Sectors of the colour wheel: red to yellow, yellow to green, ... (Baker et al. 2011, after Scheuermann).
_SECTORS = (15, 6, 4, 11, 13, 6)


@runtime_checkable
class FlowEstimator(Protocol):
    """Finds the motion from one picture to another; `name` is what a performance says about it."""

    @property
    def name(self) -> str: ...

    def flow(
        self, first_rgb8: UInt8[np.ndarray, "h w 3"], second_rgb8: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """(x, y) in pixels for every pixel of `first_rgb8`."""
        ...


class DisFlow:
    """OpenCV's dense inverse search at full resolution with its variational refinement. Not for two threads at a time."""

    name = "dis"

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setFinestScale(0)  # the preset stops at half the size: twice the error on a moving face

    def flow(
        self, first_rgb8: UInt8[np.ndarray, "h w 3"], second_rgb8: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (first_rgb8, second_rgb8))
        return self._dis.calc(first, second, np.zeros((*first.shape, 2), np.float32))


class RaftFlow:
    """RAFT from an ONNX file of `training/flow/export.py`: inputs `first` and `second` [n, 3, h, w] in 0..1, output `flow` [n, 2, h, w].

    Raises:
        WeightsError: the file is missing, cannot be loaded, or is no such network.
    """

    def __init__(
        self,
        source: Path | None = None,
        *,
        threads: int = 1,
        providers: Sequence[Provider] = ("cpu",),
        runner: Runner | None = None,
    ) -> None:
        if runner is None:
            if source is None:
                raise WeightsError("RAFT needs the ONNX file that training/flow/export.py writes; none was named")
            runner = Session(source, providers=providers, threads=threads)
            if set(runner.input_names) != {"first", "second"} or "flow" not in runner.output_names:
                raise WeightsError(
                    f"{source}: expected inputs first and second and output flow, got "
                    f"{', '.join(runner.input_names)} -> {', '.join(runner.output_names)}; make it with training/flow/export.py"
                )
        self.name = f"raft ({source.name})" if source else "raft"
        self._runner = runner

    def flow(
        self, first_rgb8: UInt8[np.ndarray, "h w 3"], second_rgb8: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        h, w = first_rgb8.shape[:2]
        down, right = (max(RAFT_LEAST, -(-n // RAFT_STRIDE) * RAFT_STRIDE) - n for n in (h, w))
        planes = {
            name: cv2.copyMakeBorder(p, 0, down, 0, right, cv2.BORDER_REPLICATE).transpose(2, 0, 1)[None]
            for name, p in (("first", first_rgb8), ("second", second_rgb8))
        }
        found = self._runner.run({k: np.ascontiguousarray(v, np.float32) / np.float32(255) for k, v in planes.items()})
        return np.ascontiguousarray(found["flow"][0].transpose(1, 2, 0)[:h, :w])


def colour_wheel(flow: Float[np.ndarray, "h w 2"], most_px: float) -> UInt8[np.ndarray, "h w 3"]:
    """Flow as people draw it: hue is the direction (red to the right, yellow down, as in the Middlebury set), strength of
    colour the length, full at `most_px`, darker beyond; no motion is white."""
    wheel = _wheel()
    u, v = flow[..., 0] / most_px, flow[..., 1] / most_px
    length = np.hypot(u, v)[..., None]
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    part = (place - low)[..., None]
    colour = (1 - part) * wheel[low] + part * wheel[(low + 1) % len(wheel)]
    shown = np.where(length <= 1, 1 - length * (1 - colour), 0.75 * colour)
    return np.round(255 * shown).astype(np.uint8)


def _wheel() -> Float[np.ndarray, "n 3"]:
    """The 55 pure colours, RGB 0..1."""
    out = []
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], float)
    for k, n in enumerate(_SECTORS):
        part = np.arange(n)[:, None] / n
        out.append((1 - part) * corners[k] + part * corners[(k + 1) % 6])
    return np.concatenate(out)
