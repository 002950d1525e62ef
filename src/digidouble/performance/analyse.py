"""Footage to `.perf`: one pass over the pixels, then the two-sided work without them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from digidouble.assets import AssetWriter
from digidouble.footage import CutDetector, Footage
from digidouble.performance.finish import finish_chain
from digidouble.performance.join import join
from digidouble.performance.settings import PerformSettings
from digidouble.performance.store import shot_facts
from digidouble.performance.tracklets import FacePass, Networks, Perceiver
from digidouble.schema.colour import rgb8_from_frame

Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""


def analyse(
    footage: Footage,
    out: Path,
    settings: PerformSettings | None = None,
    progress: Progress | None = None,
    perceiver: Perceiver | None = None,
) -> Path:
    """Write the performance of a plate. A plate without faces gives a performance without tracks.

    Raises:
        OutputError: `out` cannot be written. MediaError: the plate cannot be read to its end.
    """
    settings = settings or PerformSettings()
    see = perceiver or Networks(settings)
    folder = Path(tempfile.mkdtemp(prefix="digidouble-perform-"))
    try:
        with AssetWriter(out, "performance") as writer:
            faces, cutter = FacePass(settings, folder, see), CutDetector()
            cuts: list[int] = []
            total = footage.shot.frame_count
            for frame in footage.frames():
                rgb8 = rgb8_from_frame(frame)
                is_cut = cutter.push(thumbnail(rgb8))
                if is_cut:
                    cuts.append(frame.index)
                faces.push(frame, rgb8, is_cut)
                if progress:
                    progress(frame.index + 1, total)
            faces.close()
            shot = replace(footage.shot, cuts=tuple(cuts))
            chains = join(faces.tracklets, shortest=min(3, total))
            effort = sum(c.effort for c in chains) or 1.0
            tracks = []
            for track_id, chain in enumerate(chains, 1):
                finish_chain(chain, track_id, shot.cuts, total, settings, writer)
                tracks.append({"track_id": track_id, "weight": chain.effort / effort})
            facts = {
                "shot": shot_facts(shot),
                "tracks": tracks,
                "settings": asdict(settings),
                "weights": _weights_used(see),
            }
            return writer.finish(facts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def thumbnail(rgb8: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "a b 3"]:
    """Every k-th pixel, about 160 wide: enough to see a cut."""
    step = max(1, max(rgb8.shape[:2]) // 160)
    return rgb8[::step, ::step]


def _weights_used(see: Perceiver) -> dict[str, str]:
    if not isinstance(see, Networks):
        return {}
    from digidouble.weights import registry

    used = {"face-mesh-attention", "yunet", "sface", "matte"}
    return {e.name: e.raw_sha256 for e in registry() if e.name in used}
