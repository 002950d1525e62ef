"""Fingerprints of source files, streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the concatenated hex fingerprints of several files, in order."""
    total = hashlib.sha256()
    for path in paths:
        total.update(sha256_of(path).encode("ascii"))
    return total.hexdigest()
