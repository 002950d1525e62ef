"""Cryptomatte (Friedman & Jones, Psyop 2015; specification 1.2.0): who covers a pixel, and how far.

A pixel's rank is a pair (id, coverage); two ranks share a layer (R G, B A). An id is a 32-bit hash of a name, kept in the
bits of a float. Coverage of all ranks sums to 1: what no double covers is the plate's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from digidouble.deliver.exr import ExrLayer

LAYER = "CryptoDouble"
PLATE = "plate"
_MASK = 0xFFFFFFFF


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """MurmurHash3_x86_32 (A. Appleby, public domain)."""

    def mixed(k: int) -> int:
        k = k * 0xCC9E2D51 & _MASK
        return (k << 15 | k >> 17) * 0x1B873593 & _MASK

    h, whole = seed, len(data) & ~3
    for at in range(0, whole, 4):
        h ^= mixed(int.from_bytes(data[at : at + 4], "little"))
        h = ((h << 13 | h >> 19) & _MASK) * 5 + 0xE6546B64 & _MASK
    if len(data) > whole:
        h ^= mixed(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> shift) * factor & _MASK
    return h ^ h >> 16


def id_bits(name: str) -> int:
    """The 32 bits of a name's id: its hash, kept from being a denormal, an infinity or no number (specification, "ID Generation")."""
    bits = murmur3_32(name.encode())
    exponent = bits >> 23 & 255
    return bits ^ 1 << 23 if exponent in (0, 255) else bits


def id_of(name: str) -> np.float32:
    """A name's id as it stands in a pixel."""
    return np.uint32(id_bits(name)).view(np.float32)


def metadata(names: Sequence[str]) -> dict[str, str]:
    """Header attributes of the layer with the manifest of these names."""
    key = f"cryptomatte/{murmur3_32(LAYER.encode()):08x}"[: len("cryptomatte/") + 7]
    manifest = {name: f"{id_bits(name):08x}" for name in (*names, PLATE)}
    return {
        f"{key}/name": LAYER,
        f"{key}/hash": "MurmurHash3_32",
        f"{key}/conversion": "uint32_to_float32",
        f"{key}/manifest": json.dumps(manifest, separators=(",", ":")),
    }


def layers(names: Sequence[str], mattes: Float32[np.ndarray, "n h w"]) -> list[ExrLayer]:
    """The layers `CryptoDouble00`, `01`, ... from mattes that lie over each other, nearest first.

    `CryptoDouble` alone, which the specification keeps for a preview, is not written.
    """
    seen = np.empty((len(names) + 1, *mattes.shape[1:]), np.float32)
    left = np.ones(mattes.shape[1:], np.float32)
    for n, matte in enumerate(mattes):
        seen[n] = left * matte
        left -= seen[n]
    seen[-1] = left
    ids = np.array([id_of(name) for name in (*names, PLATE)], np.float32)
    order = np.argsort(-seen, axis=0, kind="stable")
    ranked = np.take_along_axis(seen, order, 0)
    found = np.where(ranked > 0, ids[order], np.float32(0))
    out = []
    for level in range(-(-len(ids) // 2)):
        pixels = np.zeros((*left.shape, 4), np.float32)
        for rank in (0, 1):
            if 2 * level + rank < len(ids):
                pixels[..., 2 * rank], pixels[..., 2 * rank + 1] = found[2 * level + rank], ranked[2 * level + rank]
        out.append(ExrLayer(f"{LAYER}{level:02d}", ("R", "G", "B", "A"), pixels, full_float=True))
    return out
