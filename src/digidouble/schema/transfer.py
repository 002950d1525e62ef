"""Transfer functions: code value <-> light, and the tables that make them fast.

Convention: `encoded` is the non-linear signal R'G'B' (nominal 0..1), `linear` is scene-linear light. 1.0 linear is the
reference white of SDR material; for PQ it is 100 cd/m² (so PQ reaches 100.0), for HLG it is the BT.2100 nominal peak.
Every curve is continued oddly below zero, and by its own formula above one, because Y'CbCr plates hold such values and
clipping them would change them. Curves are named by their ITU-T H.273 TransferCharacteristics code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError

Curve = Callable[[Float[np.ndarray, "*shape"]], Float[np.ndarray, "*shape"]]

BT709, LINEAR, SRGB, PQ, HLG = 1, 8, 13, 16, 18

# Exact BT.2020 constants; BT.709 prints them rounded (1.099, 0.018), where the two pieces do not quite meet.
_A709, _B709 = 1.09929682680944, 0.018053968510807
# SMPTE ST 2084:2014 §5.2.
_PQ_M1, _PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
_PQ_C1, _PQ_C2, _PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK_LINEAR = 100.0
# d(linear)/d(code) at code 1. The standard ends there; the tangent keeps Y'CbCr triples beyond the peak invertible.
_PQ_SLOPE_AT_PEAK = PQ_PEAK_LINEAR / (_PQ_M1 * _PQ_M2) * (1 / (1 - _PQ_C1) + _PQ_C3 / (_PQ_C2 - _PQ_C3))
# ITU-R BT.2100 table 5.
_HLG_A = 0.17883277
_HLG_B, _HLG_C = 1 - 4 * _HLG_A, 0.5 - _HLG_A * np.log(4 * _HLG_A)


def _odd(curve: Curve) -> Curve:
    def continued(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        return np.copysign(curve(np.abs(values)), values)

    return continued


def _power_pair(a: float, b: float, slope: float, exponent: float) -> tuple[Curve, Curve]:
    """(encode, decode) of `a x^exponent - (a - 1)` above b and `slope x` below it."""

    def encode(x: np.ndarray) -> np.ndarray:
        return np.where(x < b, slope * x, a * np.power(x, exponent) - (a - 1))

    def decode(v: np.ndarray) -> np.ndarray:
        return np.where(v < slope * b, v / slope, np.power((v + (a - 1)) / a, 1 / exponent))

    return _odd(encode), _odd(decode)


def _pq_encode(x: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 inverse EOTF; 1.0 linear = 100 cd/m², 100.0 = 10 000 cd/m² = code 1; a tangent above that."""
    y = np.power(np.minimum(x / PQ_PEAK_LINEAR, 1.0), _PQ_M1)
    code = np.power((_PQ_C1 + _PQ_C2 * y) / (1 + _PQ_C3 * y), _PQ_M2) * (x > 0)
    return code + np.maximum(x - PQ_PEAK_LINEAR, 0) / _PQ_SLOPE_AT_PEAK


def _pq_decode(v: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 EOTF; the inverse of `_pq_encode`."""
    p = np.power(np.minimum(v, 1.0), 1 / _PQ_M2)
    light = PQ_PEAK_LINEAR * np.power(np.maximum(p - _PQ_C1, 0) / (_PQ_C2 - _PQ_C3 * p), 1 / _PQ_M1)
    return light + np.maximum(v - 1, 0) * _PQ_SLOPE_AT_PEAK


def _hlg_encode(x: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 / ITU-R BT.2100 HLG OETF on scene light normalised to 0..1."""
    return np.where(x <= 1 / 12, np.sqrt(3 * x), _HLG_A * np.log(np.maximum(12 * x - _HLG_B, 1e-9)) + _HLG_C)


def _hlg_decode(v: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 / ITU-R BT.2100 HLG inverse OETF."""
    return np.where(v <= 0.5, v * v / 3, (np.exp((v - _HLG_C) / _HLG_A) + _HLG_B) / 12)


_bt709 = _power_pair(_A709, _B709, 4.5, 0.45)  # ITU-R BT.709-6 item 1.2 (also SMPTE 170M, BT.2020)
_srgb = _power_pair(1.055, 0.0031308, 12.92, 1 / 2.4)  # IEC 61966-2-1:1999
_smpte240 = _power_pair(1.1115, 0.0228, 4.0, 0.45)  # SMPTE 240M
_CURVES: dict[int, tuple[Curve, Curve]] = {
    BT709: _bt709,
    6: _bt709,
    11: _bt709,
    14: _bt709,
    15: _bt709,
    4: (_odd(lambda x: np.power(x, 1 / 2.2)), _odd(lambda v: np.power(v, 2.2))),  # BT.470 M
    5: (_odd(lambda x: np.power(x, 1 / 2.8)), _odd(lambda v: np.power(v, 2.8))),  # BT.470 BG
    7: _smpte240,
    LINEAR: (lambda x: np.asarray(x), lambda v: np.asarray(v)),
    SRGB: _srgb,
    PQ: (_odd(_pq_encode), _odd(_pq_decode)),
    HLG: (_odd(_hlg_encode), _odd(_hlg_decode)),
}
SUPPORTED_TRANSFERS = frozenset(_CURVES)


def _curves(transfer: int) -> tuple[Curve, Curve]:
    try:
        return _CURVES[transfer]
    except KeyError:
        known = sorted(_CURVES)
        raise SettingsError(
            f"transfer characteristic {transfer} (ITU-T H.273) is not supported; known: {known}"
        ) from None


def encode(linear: Float[np.ndarray, "*shape"], transfer: int) -> Float[np.ndarray, "*shape"]:
    """Scene-linear light to the non-linear signal of an H.273 transfer code, exactly (no table). Keeps the dtype.

    Raises:
        SettingsError: the code is not one this module knows.
    """
    return _curves(transfer)[0](linear).astype(linear.dtype, copy=False)


def decode(encoded: Float[np.ndarray, "*shape"], transfer: int) -> Float[np.ndarray, "*shape"]:
    """The inverse of `encode`. Keeps the dtype.

    Raises:
        SettingsError: the code is not one this module knows.
    """
    return _curves(transfer)[1](encoded).astype(encoded.dtype, copy=False)


def srgb_encode(linear: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Linear light to the sRGB signal, IEC 61966-2-1. Nominal range 0..1 both sides; not clipped."""
    return encode(np.asarray(linear, np.float32), SRGB)


def srgb_decode(encoded: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """The sRGB signal to linear light, IEC 61966-2-1. Nominal range 0..1 both sides; not clipped."""
    return decode(np.asarray(encoded, np.float32), SRGB)


# --- tables ----------------------------------------------------------------------------------------------------------

DECODE_LO, DECODE_HI = -1.25, 2.25
"""R'G'B' range of the decode table: every combination of Y'CbCr codes, however absurd, lies inside."""
DECODE_STEPS_PER_UNIT = 4096
ENCODE_LOG2_LO, ENCODE_LOG2_HI = -26, 12
"""Octaves of linear light the encode table spans; below, the curve is taken as a line through zero."""


@lru_cache(maxsize=32)
def decode_table(transfer: int) -> Float32[np.ndarray, " n"]:
    """Linear light at uniformly spaced R'G'B' from DECODE_LO to DECODE_HI, for linear interpolation."""
    n = round((DECODE_HI - DECODE_LO) * DECODE_STEPS_PER_UNIT) + 1
    return decode(np.linspace(DECODE_LO, DECODE_HI, n), transfer).astype(np.float32)


@lru_cache(maxsize=64)
def encode_table(transfer: int, mantissa_bits: int) -> Float32[np.ndarray, " n"]:
    """Signal at the float32 numbers 2^k (1 + j / 2^mantissa_bits), so that the bits of a float are its index.

    Spacing relative to the value keeps the error of linear interpolation even from deep shadow to highlight: about
    2^(-2 mantissa_bits) / 32 of the signal.
    """
    per_octave = 1 << mantissa_bits
    n = (ENCODE_LOG2_HI - ENCODE_LOG2_LO) * per_octave + 1
    k, j = np.divmod(np.arange(n), per_octave)
    return encode(np.ldexp(1 + j / per_octave, k + ENCODE_LOG2_LO), transfer).astype(np.float32)


@lru_cache(maxsize=16)
def code_table(transfer: int, bits: int) -> Float32[np.ndarray, " n"]:
    """Linear light of every full-range integer code of that many bits."""
    codes = np.arange(1 << bits)
    return decode(codes / ((1 << bits) - 1), transfer).astype(np.float32)
