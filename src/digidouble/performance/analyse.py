"""Footage to `.perf`: one pass over the pixels, then the two-sided work without them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from digidouble.assets import AssetReader, AssetWriter
from digidouble.errors import DigidoubleError, OutputError
from digidouble.footage import CutDetector, Footage
from digidouble.performance.finish import finish_chain
from digidouble.performance.join import join
from digidouble.performance.modalities import Senses, add_modalities
from digidouble.performance.settings import PerformSettings
from digidouble.performance.store import PerfStore, load_performance, shot_facts
from digidouble.performance.tracklets import FacePass, Networks, Perceiver, Tracklet
from digidouble.schema.ahead import read_ahead
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot

AHEAD = 2  # frames decoded before they are looked at
HELPERS = min(4, os.cpu_count() or 1)  # threads that read what nothing waits for
Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""
Shown = Callable[[Frame], None]
"""Called with every frame as it is read, in order, on another thread."""


def analyse(
    footage: Footage,
    out: Path,
    settings: PerformSettings | None = None,
    progress: Progress | None = None,
    perceiver: Perceiver | None = None,
    senses: Senses | None = None,
    shown: Shown | None = None,
) -> Path:
    """Write the performance of a plate. A plate without faces gives a performance without tracks.

    `perceiver` and `senses` replace the networks that the settings name; `senses` is used with `settings.modalities` only.
    What `shown` raises ends the analysis.

    Raises:
        OutputError: `out` cannot be written. MediaError: the plate cannot be read to its end. WeightsError: a network is missing.
    """
    settings = settings or PerformSettings()
    if not settings.modalities:
        return _analyse(footage, out, settings, progress, perceiver, shown)
    made_with = senses or Senses.of(settings)
    with AssetWriter(out, "performance") as writer, tempfile.TemporaryDirectory(prefix="digidouble-perform-") as folder:
        plain = _analyse(footage, Path(folder) / "plain.perf", settings, _part(progress, 0), perceiver, shown)
        return _with_modalities(plain, footage, writer, made_with, _part(progress, 1))


def _part(progress: Progress | None, part: int) -> Progress | None:
    """One of two passes over the plate, as a half of the whole."""
    return progress and (lambda done, total: progress(part * total + done, 2 * total))


def _with_modalities(
    plain: Path, footage: Footage, writer: AssetWriter, senses: Senses, progress: Progress | None
) -> Path:
    """A performance again, with the modalities of its tracks."""
    with AssetReader(plain, "performance") as reader:
        for name in reader.names():
            writer.add_bytes(name, reader.bytes_of(name))
        facts = dict(reader.facts)
    performance = load_performance(plain)
    facts["modalities"] = add_modalities(performance, footage, writer, senses, progress)
    facts["weights"] = facts["weights"] | senses.weights
    for track in performance.tracks:
        if isinstance(track.store, PerfStore):
            track.store.close()  # the file is about to be removed
    return writer.finish(facts)


def _analyse(
    footage: Footage, out: Path, settings: PerformSettings, progress: Progress | None, see: Perceiver | None, shown: Shown | None,
) -> Path:  # fmt: skip
    """Everything but the modalities."""
    folder = Path(tempfile.mkdtemp(prefix="digidouble-perform-"))
    try:
        with AssetWriter(out, "performance") as writer:
            with ThreadPoolExecutor(HELPERS, "perform") as helpers:
                faces = FacePass(settings, folder, see or Networks(settings), helpers)
                tracklets, shot = _watched(footage, faces, progress, shown)
            del faces  # the memory its networks took is there for the rest
            total = shot.frame_count
            chains = join(tracklets, shortest=min(3, total))
            effort = sum(c.effort for c in chains) or 1.0
            tracks = []
            for track_id, chain in enumerate(chains, 1):
                finish_chain(chain, track_id, shot.cuts, total, settings, writer)
                tracks.append({"track_id": track_id, "weight": chain.effort / effort})
            facts = {"shot": shot_facts(shot), "tracks": tracks, "settings": asdict(settings)}
            facts["weights"] = {} if see else _weights_used()
            return writer.finish(facts)
    except OSError as e:
        if isinstance(e, DigidoubleError) or e.errno != errno.ENOSPC:
            raise
        raise OutputError(
            f"{folder}: no space left for what is seen of the faces until the analysis ends (70 KB a face and frame). "
            "Free some, or name a larger folder: TMPDIR=/large digidouble ..."
        ) from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(
    footage: Footage, faces: FacePass, progress: Progress | None, shown: Shown | None
) -> tuple[list[Tracklet], Shot]:
    """The pass over the pixels: its runs, and the shot with its cuts."""
    cutter = CutDetector()
    cuts: list[int] = []
    with closing(read_ahead(_pictures(footage, shown), AHEAD, "decode")) as pictures:
        for frame, rgb8 in pictures:
            is_cut = cutter.push(thumbnail(rgb8))
            if is_cut:
                cuts.append(frame.index)
            faces.push(frame, rgb8, is_cut)
            if progress:
                progress(frame.index + 1, footage.shot.frame_count)
    faces.close()
    return faces.tracklets, replace(footage.shot, cuts=tuple(cuts))


def _pictures(footage: Footage, shown: Shown | None) -> Generator[tuple[Frame, UInt8[np.ndarray, "h w 3"]], None, None]:
    """Every frame, and as the networks see it."""
    for frame in footage.frames():
        if shown:
            shown(frame)
        yield frame, rgb8_from_frame(frame)


def thumbnail(rgb8: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "a b 3"]:
    """Every k-th pixel, about 160 wide: enough to see a cut."""
    step = max(1, max(rgb8.shape[:2]) // 160)
    return rgb8[::step, ::step]


def _weights_used() -> dict[str, str]:
    from digidouble.weights import registry

    used = {"face-mesh-attention", "yunet", "sface", "matte"}
    return {e.name: e.raw_sha256 for e in registry() if e.name in used}
