"""Model files by name: where they come from, under which licence, and the only code that downloads anything.

    path = weights.fetch("face-mesh-attention")      # from the cache, or downloaded, verified and converted once
    weights.where("yunet")                           # the cached file, or None; never touches the network
    weights.set_offline(True)                        # or DIGIDOUBLE_OFFLINE=1

The cache is DIGIDOUBLE_CACHE, or the platform's cache folder.
"""

from __future__ import annotations

from digidouble.weights.entries import (
    Download,
    NpmMember,
    PackageFile,
    Recipe,
    Source,
    WeightEntry,
    WheelMember,
    entry,
    registry,
)
from digidouble.weights.store import cache_folder, fetch, is_offline, set_offline, where

__all__ = [
    "Download",
    "NpmMember",
    "PackageFile",
    "Recipe",
    "Source",
    "WeightEntry",
    "WheelMember",
    "cache_folder",
    "entry",
    "fetch",
    "is_offline",
    "registry",
    "set_offline",
    "where",
]
