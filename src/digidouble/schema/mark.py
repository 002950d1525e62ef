"""The invisible mark: which numbers are hidden where on a face, and how they are found again.

The mark is a field of +1 and -1 on a CELLS x CELLS grid over the face's own texture coordinates (`FaceModel.uv`), in each of three
planes: blue and red colour difference, and luma. It lies on the skin: it moves, turns and scales with the face, a crop or a smaller
copy does not shift it, and it does not shimmer. Skin is smooth in colour and rough in brightness, and eyes see fine
patterns of colour far worse than of brightness (Mullen 1985), so colour carries the mark; luma does where there is no colour.

Cells are dealt to five interleaved groups. The first, of half the others' size, always carries the same signs; each of the
others carries one of 256 sign patterns: a byte. Three bytes are the number of the delivery, the fourth is their CRC-8. Choosing one
pattern of 256 needs a third less energy for each bit than a sign for each bit (M-ary orthogonal signalling, Proakis 4.3-2).

`read_cells` is the matched filter. For signs that are independent of the picture its `z` is normal with variance 1
whatever the picture is, so the chance of a false alarm is known before anything is measured; docs/labels.md has the measurement.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int, Int8

CELLS = 24
PLANES = ("blue difference", "red difference", "luma")
RGB_OF_PLANE = (
    (0.0, -0.344, 1.772),
    (1.402, -0.714, 0.0),
    (1.0, 1.0, 1.0),
)  # change of display R, G, B for one code (ITU-R BT.601)
PLANE_OF_RGB = ((-0.169, -0.331, 0.5), (0.5, -0.419, -0.081), (0.299, 0.587, 0.114))
SYMBOLS, ALTERNATIVES = 4, 256
PAYLOAD_BITS = 24
PRESENT_Z, READ_Z = 7.8, 6.8
"""Least `z` of the best of all 2^32 messages for a mark to be there, without and with a check byte that fits. Without a mark
it is 5.30 +- 0.50 (99.9 % below 6.78), and the check byte fits once in 256 times."""
EXPECTED_Z = 4.0
"""Least `z` of one message that is known beforehand (by chance: once in 30 000)."""
SURROUND, CONTRAST_SURROUND = 0.7, 1.5  # cells, standard deviations of the neighbourhoods
_KEY = 0x6449_6770  # no secret: anyone may read the mark


@dataclass(frozen=True)
class MarkReading:
    """What the matched filter found.

    Attributes:
        z: standard deviations of the best message's correlation above chance.
        payload: the number of the delivery, 0..2^24-1; None when its check byte does not fit.
    """

    z: float
    payload: int | None

    @property
    def present(self) -> bool:
        """Whether a mark is there at all, readable or not."""
        return self.z >= (PRESENT_Z if self.payload is None else READ_Z)


def payload_of(produce_id: str) -> int:
    """The number that stands for a delivery: the first 24 bits of the sha256 of its `ProduceID`."""
    return int.from_bytes(hashlib.sha256(produce_id.encode()).digest()[:3], "big")


def mark_cells(payload: int) -> Int8[np.ndarray, "p c c"]:
    """The field of +1 and -1 that says `payload` (0..2^24-1)."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"payload {payload}: expected 0..{(1 << PAYLOAD_BITS) - 1}")
    group, pilot, books = _code()
    field = np.zeros(len(group), np.int8)
    field[group == 0] = pilot
    for s, symbol in enumerate(_symbols(payload)):
        field[group == s + 1] = books[s][symbol]
    return field.reshape(len(PLANES), CELLS, CELLS)


def read_cells(cells: Float[np.ndarray, "p c c"]) -> MarkReading:
    """Find the best message in whitened cells (zero where nothing was seen)."""
    group, pilot, books = _code()
    flat = cells.reshape(-1).astype(np.float64)
    norm = float(np.sqrt((flat**2).sum()))
    if norm <= 0:
        return MarkReading(0.0, None)
    total, message = float(flat[group == 0] @ pilot), []
    for s in range(SYMBOLS):
        scores = books[s].astype(np.float64) @ flat[group == s + 1]
        message.append(int(scores.argmax()))
        total += float(scores.max())
    number = _turned(int.from_bytes(bytes(message[:3]), "big"), _UNMIX)
    return MarkReading(total / norm, number if message[3] == _crc8(bytes(message[:3])) else None)


def expected_z(cells: Float[np.ndarray, "p c c"], payload: int) -> float:
    """How strongly whitened cells say this one number, in standard deviations above chance.

    Without the group that all marks share: another delivery's mark is no evidence for this one.
    """
    own = _code()[0] != 0
    flat = cells.reshape(-1).astype(np.float64)[own]
    norm = float(np.sqrt((flat**2).sum()))
    return float(flat @ mark_cells(payload).reshape(-1)[own]) / norm if norm > 0 else 0.0


def against_surround(
    values: Float32[np.ndarray, "c c"], seen: Float32[np.ndarray, "c c"]
) -> tuple[Float32[np.ndarray, "c c"], Float32[np.ndarray, "c c"]]:
    """(values less their neighbourhood's mean, rms of that in a wider neighbourhood). `seen`: 1 where there is a value, else 0."""
    flat = (values - _local_mean(values, seen, SURROUND)) * seen
    return flat, np.sqrt(_local_mean(flat * flat, seen, CONTRAST_SURROUND))


def _local_mean(values: np.ndarray, seen: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(values * seen, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(seen, (0, 0), sigma), 1e-3)


_MIX = 0x9E3779  # odd, so that multiplying by it can be undone modulo 2^24
_UNMIX = pow(_MIX, -1, 1 << PAYLOAD_BITS)


def _symbols(payload: int) -> bytes:
    """Three mixed bytes and their check: numbers that are alike must not have bytes in common."""
    mixed = _turned(payload, _MIX).to_bytes(3, "big")
    return mixed + bytes([_crc8(mixed)])


def _turned(number: int, factor: int) -> int:
    """A bijection of 24-bit numbers; with the inverse factor its inverse (x ^ x >> 12 undoes itself)."""
    top = (1 << PAYLOAD_BITS) - 1
    number = number * factor & top
    return (number ^ number >> 12) * factor & top


def _crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x07 (ITU-T I.432.1), from 0x55 so that zeros do not check."""
    value = 0x55
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1) ^ 0x107 if value & 0x80 else value << 1
    return value


@lru_cache(maxsize=1)
def _code() -> tuple[Int[np.ndarray, " n"], Int8[np.ndarray, " k"], tuple[Int8[np.ndarray, "a k"], ...]]:
    """(group of each cell, signs of group 0, the books of the other groups). PCG64 gives the same on every machine."""
    draw = np.random.Generator(np.random.PCG64(_KEY))
    parts = np.repeat(np.arange(SYMBOLS + 1), [1] + [2] * SYMBOLS)
    group = draw.permutation(np.resize(parts, len(PLANES) * CELLS * CELLS))
    pilot = _signs(draw, (int((group == 0).sum()),))
    books = tuple(_signs(draw, (ALTERNATIVES, int((group == s + 1).sum()))) for s in range(SYMBOLS))
    return group, pilot, books


def _signs(draw: np.random.Generator, shape: tuple[int, ...]) -> Int8[np.ndarray, "..."]:
    return (2 * draw.integers(0, 2, shape, dtype=np.int8) - 1).astype(np.int8)
