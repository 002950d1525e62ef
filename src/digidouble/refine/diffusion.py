"""Skin detail finer than its source: a four-step flow-matching sampler over the atlas, high frequencies only.

The network (`shipped/detail.onnx`, recipe and card in `training/diffusion`) answers with detail for an enlarged atlas. What
reaches the atlas is the high band of that answer, so its mean and everything the source could show stay as they were,
whatever the network says. Noise is drawn over UV from a seed: the same persona gets the same pores, and they stick to the skin.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.errors import SettingsError
from digidouble.perception.session import Runner, Session
from digidouble.schema.transfer import srgb_decode, srgb_encode
from digidouble.weights import entry

NAME = "detail"  # in `digidouble.weights`
BAND = 0.8  # sigma of the high-pass in units of the factor: training/diffusion/model.py
FACTORS = (2.0, 4.0)  # trained range
TILE, OVERLAP = 256, 32
TEXELS_UNIT = 512  # the network is told log2(texels of the whole atlas / this)
MOST_TEXELS = 4096


def high_band(x: Float32[np.ndarray, "t t 3"], factor: float) -> Float32[np.ndarray, "t t 3"]:
    """What is finer than a source enlarged by `factor` could show: x minus its Gaussian, twice. Loses the mean."""
    sigma = BAND * factor
    side = 2 * int(3 * sigma + 0.5) + 1
    for _ in range(2):
        x = x - cv2.GaussianBlur(x, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    return x


class SkinDetail:
    """The detail network behind its door.

    Args:
        source: an ONNX file of the contract in `training/diffusion/model.py`; by default the shipped one.
        runner: something else that answers, for tests.

    Attributes:
        sha256: of the network's file, "" for a runner.

    Raises:
        WeightsError: the file is missing or cannot be loaded.
    """

    def __init__(self, source: Path | None = None, *, runner: Runner | None = None, threads: int = 1) -> None:
        self.sha256 = ""
        if runner is None:
            runner = Session(source or NAME, threads=threads)
            self.sha256 = hashlib.sha256(source.read_bytes()).hexdigest() if source else entry(NAME).raw_sha256
        self._runner = runner

    def enlarged(
        self,
        albedo: Float32[np.ndarray, "s s 3"],
        factor: float,
        seed: int = 0,
        weight: Float32[np.ndarray, "w w"] | None = None,
        side: int | None = None,
    ) -> Float32[np.ndarray, "t t 3"]:
        """A scene-linear atlas enlarged by `factor`, with detail; the new side is a multiple of 32. Where the atlas has more texels than its
        source had pixels, `side` says the new one and `factor` how much finer than the source that is.

        `weight` 0..1 says where detail is wanted (the atlas's confidence, say); everywhere when it is None.

        Raises:
            SettingsError: the factor lies outside 2..4, the atlas is not square, or the result would pass 4096 texels.
        """
        s = albedo.shape[0]
        texels = side or 32 * round(s * factor / 32)
        if not FACTORS[0] <= factor <= FACTORS[1] or albedo.shape != (s, s, 3) or not 64 <= texels <= MOST_TEXELS:
            raise SettingsError(
                f"detail for an atlas of {albedo.shape} by {factor}: expected a square atlas, a factor of {FACTORS[0]:g}..{FACTORS[1]:g}, "
                f"and 64..{MOST_TEXELS} texels after it"
            )
        low = srgb_encode(np.maximum(cv2.resize(albedo, (texels, texels), interpolation=cv2.INTER_CUBIC), 0))
        detail = self.detail(low, factor, seed)
        if weight is not None:
            detail = detail * cv2.resize(weight, (texels, texels), interpolation=cv2.INTER_LINEAR)[..., None]
        return np.maximum(srgb_decode(np.maximum(low + detail, 0)), 0)

    def detail(self, low: Float32[np.ndarray, "t t 3"], factor: float, seed: int) -> Float32[np.ndarray, "t t 3"]:
        """The detail alone, display-referred, of an atlas that was enlarged by `factor`; `t` is a multiple of 8."""
        texels = low.shape[0]
        place, noise = _place(texels, factor), np.random.default_rng(seed).standard_normal(low.shape, np.float32)
        total, share = np.zeros_like(low), np.zeros((texels, texels, 1), np.float32)
        size = min(TILE, texels)
        fade = _fade(size)
        for y in _starts(texels, size):
            for x in _starts(texels, size):
                window = (slice(y, y + size), slice(x, x + size))
                inputs = {"low": low[window], "place": place[window], "noise": noise[window]}
                batch = {k: np.ascontiguousarray(v.transpose(2, 0, 1)[None]) for k, v in inputs.items()}
                total[window] += fade * self._runner.run(batch)["detail"][0].transpose(1, 2, 0)
                share[window] += fade
        return high_band(total / share, factor)


def _place(texels: int, factor: float) -> Float32[np.ndarray, "t t 4"]:
    """u, v, log2 of the factor, and log2 of the atlas's size in units of 512 texels."""
    along = (np.arange(texels, dtype=np.float32) + 0.5) / texels
    out = np.empty((texels, texels, 4), np.float32)
    out[..., 0], out[..., 1] = along[None], along[:, None]
    out[..., 2], out[..., 3] = np.log2(factor), np.log2(texels / TEXELS_UNIT)
    return out


def _starts(texels: int, size: int) -> list[int]:
    """Tile origins that cover the atlas, on multiples of 8, neighbours overlapping by at least OVERLAP."""
    if texels <= size:
        return [0]
    steps = int(np.ceil((texels - size) / (size - OVERLAP)))
    return sorted({8 * (k * (texels - size) // (8 * steps)) for k in range(steps)} | {texels - size})


def _fade(size: int) -> Float32[np.ndarray, "s s 1"]:
    """Weight of a tile: falls towards its border, never to zero."""
    edge = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) + 1
    ramp = np.minimum(edge / OVERLAP, 1)
    return (ramp[:, None] * ramp[None])[..., None]
