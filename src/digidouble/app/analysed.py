"""Plates and their analysis: opened from a movie (analysed once, kept in the cache) or from a `.perf`."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from digidouble.app.show import Show
from digidouble.errors import AssetError, OutputError, UnreadableMedia
from digidouble.footage import Footage, FootageSettings, open_footage
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.performance.analyse import Shown
from digidouble.performance.kept import analysis_key
from digidouble.schema.performance import Performance
from digidouble.schema.shot import Shot
from digidouble.weights import cache_folder

CACHE_BYTES = 4 << 30
"""The cache of analyses is kept below this; the longest unused go first."""


@dataclass(frozen=True)
class Analysed:
    """A performance, the file it lies in, whether it was there already, and the seconds it took to get."""

    performance: Performance
    path: Path
    reused: bool
    seconds: float


def is_performance(path: Path) -> bool:
    """Whether a path names a `.perf` rather than a plate."""
    return path.suffix.lower() == ".perf" or (path / "manifest.json").is_file()


def open_plate(path: Path, settings: FootageSettings, show: Show) -> Footage:
    """Open footage under its full name (a `.perf` made from it can then be used from any folder) and pass its warnings on.

    Raises:
        MediaError: it cannot be read.
    """
    footage = open_footage(path.absolute(), settings)
    for warning in footage.warnings:
        show.warn(warning)
    return footage


def plate_of(
    performance: Performance, where: Path, plate: Path | None, settings: FootageSettings, show: Show
) -> Footage:
    """The plate a `.perf` was made from.

    Raises:
        UnreadableMedia: it is not where it was and `plate` does not say where it is.
        AssetError: the file found is another one.
    """
    known = performance.shot
    if known.kind != "movie":
        settings = replace(settings, sequence_rate=known.rate)
    try:
        footage = open_plate(plate or Path(known.path), settings, show)
    except UnreadableMedia as e:
        if plate is not None:
            raise
        raise UnreadableMedia(f"{e}. {where} was made from it; say where it is now with --plate") from e
    found = footage.shot
    if (found.sha256, found.size_wh, found.frame_count) != (known.sha256, known.size_wh, known.frame_count):
        footage.close()
        raise AssetError(
            f"{where}: was made from another plate than {found.path}: expected {_brief(known)}, got {_brief(found)}. "
            "Name the right plate with --plate, or analyse this one: digidouble perform"
        )
    if found.colour.space != known.colour.space:
        footage.close()
        raise AssetError(
            f"{where}: was analysed with the plate in {known.colour.space or 'its own colours'}, not in "
            f"{found.colour.space or 'its own colours'}: give the same --ocio and --ocio-plate, or analyse it again"
        )
    return footage


def at_plate(performance: Performance, plate: Footage) -> Performance:
    """The performance with the plate where it is now (its sound is copied from there)."""
    return replace(performance, shot=replace(performance.shot, path=plate.shot.path))


def analysed(plate: Footage, settings: PerformSettings, show: Show, shown: Shown | None = None) -> Analysed:
    """The analysis of a plate: from the cache, or made now and kept there.

    `shown`: called with every frame of a plate that is analysed now. What it raises ends the analysis, and nothing is kept.

    Raises:
        OutputError: the cache cannot be written. MediaError: the plate cannot be read to its end.
    """
    started = time.perf_counter()
    path = cache_folder() / "performances" / f"{analysis_key(plate.shot, settings)}.perf"
    if path.exists():
        try:
            performance = load_performance(path)
            with suppress(OSError):  # a cache that may only be read still serves
                os.utime(path)
            return Analysed(at_plate(performance, plate), path, True, time.perf_counter() - started)
        except AssetError as e:
            show.warn(f"the analysis kept in the cache cannot be used and is made anew ({e})")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{path.parent}: the cache cannot be written ({e.strerror}); set DIGIDOUBLE_CACHE") from e
    with show.progress("analysing") as progress:
        analyse(plate, path, settings, progress, shown=shown)
    _prune(path.parent, keep=path)
    return Analysed(at_plate(load_performance(path), plate), path, False, time.perf_counter() - started)


def _prune(folder: Path, keep: Path) -> None:
    """Remove the longest unused analyses until the rest fit in CACHE_BYTES."""
    files = []
    for file in folder.glob("*.perf"):
        with suppress(OSError):  # another process may be pruning too
            facts = file.stat()
            files.append((facts.st_mtime, facts.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= CACHE_BYTES:
            return
        if file != keep:
            with suppress(OSError):
                file.unlink()
                total -= size


def _brief(shot: Shot) -> str:
    w, h = shot.size_wh
    return f"{w}x{h}, {shot.frame_count} frames, sha256 {shot.sha256[:12] or 'unknown'}"
