"""Every sense of every tracked face: aligned RGB, depth and flow beside the matte, kept in a `.perf` or made when asked for.

A second pass over the plate, after tracks are finished: crops then lie on the smoothed mesh. Kept depth is
steadied over time (`steady_depth`). Flow is measured between the aligned
crops of neighbouring frames and carried back to the plate, so however fast a head moves, what is left to find is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from digidouble.assets import AssetWriter
from digidouble.footage import Footage
from digidouble.perception.crop import sample_affine
from digidouble.perception.depth import (
    FOCAL_OF_LONG_SIDE,
    DepthEstimator,
    DepthNetwork,
    extended_depth,
    fit_inverse,
    fused_depth,
    mesh_depth,
)  # fmt: skip
from digidouble.perception.flow import DisFlow, FlowEstimator, RaftFlow
from digidouble.perception.segment import PersonSegmenter
from digidouble.performance.finish import CHUNK
from digidouble.performance.settings import PerformSettings
from digidouble.performance.steady_depth import REACH, steadied
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.modalities import LONGEST_FLOW_PX, MODAL_SIZE, Modalities
from digidouble.schema.performance import Performance
from digidouble.schema.time import FrameRange
from digidouble.schema.track import MATTE_SIZE, FaceTrack

PICTURE, NEXT, LAST = range(3)  # columns of `known`
_CELLS_IN_CROP = 2 * np.arange(MODAL_SIZE) + 0.5


@runtime_checkable
class PersonMatte(Protocol):
    """Where people are, over the whole picture squeezed to a square."""

    def matte_256(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "256 256"]: ...


@runtime_checkable
class KeepsModalities(Protocol):
    """A track store that may hold modalities; None where it does not."""

    def modalities(self, track_id: int, index: int) -> Modalities | None: ...


@dataclass
class Senses:
    """What the pass measures with. depth None: the mesh and its conventions only. Counts how often depth's network was followed."""

    flow: FlowEstimator
    person: PersonMatte
    depth: DepthEstimator | None = None
    weights: dict[str, str] = field(default_factory=dict)
    fitted: int = 0
    looked: int = 0

    @classmethod
    def of(cls, settings: PerformSettings) -> Senses:
        """The estimators that the settings name.

        Raises:
            WeightsError: a network is missing or cannot be loaded.
        """
        depth = None
        if settings.depth != "mesh":
            depth = DepthNetwork(Path(settings.depth) if settings.depth.endswith(".onnx") else settings.depth)
        flow = DisFlow() if settings.flow == "dis" else RaftFlow(Path(settings.flow))
        return cls(flow, PersonSegmenter(), depth, _fingerprints(settings))

    def facts(self) -> dict[str, Any]:
        """What a performance says about how its modalities were made."""
        depth = f"mesh, then {self.depth.name} fitted to it" if self.depth else "mesh; head and backdrop by convention"
        out: dict[str, Any] = {"flow": self.flow.name, "depth": depth, "rgb_px": MATTE_SIZE, "cells": MODAL_SIZE}
        return out | ({"depth_fitted": self.fitted, "depth_looked": self.looked} if self.depth else {})


def _fingerprints(settings: PerformSettings) -> dict[str, str]:
    import hashlib

    from digidouble.weights import entry

    used = {"selfie-segmentation": entry("selfie-segmentation").raw_sha256}
    for role, name in (("flow", settings.flow), ("depth", settings.depth)):
        if name.endswith(".onnx"):
            with Path(name).open("rb") as file:  # the estimators have opened it already
                used[f"{role}: {Path(name).name}"] = hashlib.file_digest(file, "sha256").hexdigest()
        elif name not in ("dis", "mesh"):
            used[name] = entry(name).raw_sha256
    return used


# --- one frame -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """What is found once for a picture, whoever is in it."""

    rgb8: UInt8[np.ndarray, "h w 3"]
    person: Float32[np.ndarray, "a b"]
    inverse: Float32[np.ndarray, "c d"] | None

    @classmethod
    def seen(cls, rgb8: UInt8[np.ndarray, "h w 3"], senses: Senses) -> Whole:
        return cls(rgb8, senses.person.matte_256(rgb8), senses.depth.inverse_depth(rgb8) if senses.depth else None)


def is_placed(px_from_crop: Float[np.ndarray, "2 3"]) -> bool:
    """Whether a track has a crop in a frame (it has none inside gaps)."""
    return abs(float(np.linalg.det(px_from_crop[:, :2]))) > 1e-9


def depth_of(whole: Whole, track: FaceTrack, index: int, senses: Senses) -> Float32[np.ndarray, "s s"]:
    """Depth on the crop's cells, by whatever the senses hold."""
    sample, pose = track.sample(index), track.pose(index)
    cells = _cells_from_crop(sample.matte_px_from_crop)
    mesh, covered = mesh_depth(sample.points_px, pose, cells, MODAL_SIZE)
    person = _sampled(whole.person, whole.rgb8.shape[:2], cells)
    if whole.inverse is not None:
        senses.looked += 1
        visible = (
            cv2.resize(sample.matte, (MODAL_SIZE, MODAL_SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        )
        inverse = _sampled(whole.inverse, whole.rgb8.shape[:2], cells)
        distance = FOCAL_OF_LONG_SIDE * max(whole.rgb8.shape[:2]) / pose.px_per_cm
        fit = fit_inverse(inverse, mesh, np.where(covered & (visible > 0.8), visible, 0), distance)
        if fit is not None:
            senses.fitted += 1
            return fused_depth(mesh, covered, visible, fit.depth_cm(inverse))
    cm_per_cell = float(np.sqrt(abs(np.linalg.det(cells[:, :2].astype(np.float64))))) / pose.px_per_cm
    return extended_depth(mesh, covered, person, cm_per_cell)


def _cells_from_crop(px_from_crop: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The crop's placement for its cells, which are two pixels wide."""
    linear = px_from_crop[:, :2].astype(np.float64)
    return np.column_stack([2 * linear, px_from_crop[:, 2] + linear @ [0.5, 0.5]])


def _sampled(
    values: Float32[np.ndarray, "a b"], size_hw: tuple[int, int], px_from_cell: Float[np.ndarray, "2 3"]
) -> Float32[np.ndarray, "s s"]:
    """A map of the whole picture, at a resolution of its own, looked up at the cells."""
    scale = np.array([values.shape[1] / size_hw[1], values.shape[0] / size_hw[0]])
    to_map = px_from_cell * scale[:, None]
    to_map[:, 2] += 0.5 * scale - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, to_map, (MODAL_SIZE, MODAL_SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def flow_px(
    flow: FlowEstimator,
    first: tuple[UInt8[np.ndarray, "m m 3"], Float[np.ndarray, "2 3"]],
    second: tuple[UInt8[np.ndarray, "m m 3"], Float[np.ndarray, "2 3"]],
) -> Float32[np.ndarray, "s s 2"]:
    """Motion in plate pixels at the cells of the first of two crops; each comes with its `px_from_crop`."""
    (one, px_from_one), (two, px_from_two) = first, second
    left = cv2.resize(flow.flow(one, two), (MODAL_SIZE, MODAL_SIZE), interpolation=cv2.INTER_AREA)
    at = np.stack(np.meshgrid(_CELLS_IN_CROP, _CELLS_IN_CROP), -1)
    here = at @ px_from_one[:, :2].T.astype(np.float64) + px_from_one[:, 2]
    there = (at + left) @ px_from_two[:, :2].T.astype(np.float64) + px_from_two[:, 2]
    return np.clip(there - here, -LONGEST_FLOW_PX, LONGEST_FLOW_PX).astype(np.float32)


def modalities_at(
    performance: Performance, plate: Footage, track: FaceTrack, index: int, make: Callable[[], Senses]
) -> Modalities | None:
    """A track in one frame: as kept in the `.perf`, or measured now from the plate. None in a gap.

    `make` builds the senses; it is called only when something has to be measured.

    Raises:
        IndexError: the frame is outside the track. MediaError: the plate cannot be read.
    """
    track.row(index)
    if isinstance(track.store, KeepsModalities) and performance.modalities:
        return track.store.modalities(track.track_id, index)
    placement = track.sample(index).matte_px_from_crop
    if not is_placed(placement):
        return None
    senses = make()
    rgb8 = rgb8_from_frame(plate.frame(index))
    here = sample_affine(rgb8, placement, MATTE_SIZE), placement
    flows: list[Float32[np.ndarray, "s s 2"] | None] = []
    for other, cut in ((index + 1, index + 1), (index - 1, index)):
        there = _crop_of(plate, track, other) if cut not in performance.shot.cuts else None
        flows.append(flow_px(senses.flow, here, there) if there else None)
    return Modalities(placement, here[0], depth_of(Whole.seen(rgb8, senses), track, index, senses), *flows)


def _crop_of(
    plate: Footage, track: FaceTrack, index: int
) -> tuple[UInt8[np.ndarray, "m m 3"], Float[np.ndarray, "2 3"]] | None:
    if index not in track.frames or not is_placed(placement := track.sample(index).matte_px_from_crop):
        return None
    return sample_affine(rgb8_from_frame(plate.frame(index)), placement, MATTE_SIZE), placement


# --- the whole plate -------------------------------------------------------------------------------------------------


@dataclass
class _Pass:
    """One track on its way through the plate: the chunk being filled, those waiting for it, and the crop of the frame before."""

    track: FaceTrack
    big: dict[str, np.ndarray]
    full: dict[str, np.ndarray] | None = None
    """The chunk before `big`: its depth waits for the first frames of this one."""
    tail: dict[str, np.ndarray] | None = None
    """The last rows of the chunk before `full`, as they were measured."""
    before: tuple[UInt8[np.ndarray, "m m 3"], Float[np.ndarray, "2 3"]] | None = None

    @classmethod
    def start(cls, track: FaceTrack) -> _Pass:
        return cls(track, _empty(min(CHUNK, len(track.frames))))


def _empty(n: int) -> dict[str, np.ndarray]:
    s = MODAL_SIZE
    return {
        "rgb": np.zeros((n, MATTE_SIZE, MATTE_SIZE, 3), np.uint8),
        "depth_cm": np.zeros((n, s, s), np.float16),
        "flow_next_px": np.zeros((n, s, s, 2), np.float16),
        "flow_last_px": np.zeros((n, s, s, 2), np.float16),
        "known": np.zeros((n, 3), np.uint8),
    }


def member(track_id: int, chunk: int) -> str:
    """Where a chunk of modalities lies in a `.perf`."""
    return f"tracks/{track_id}/modalities/{chunk:06d}.safetensors"


def shapes(n: int) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """What a chunk of n frames must hold, for `assets.expect`."""
    return {k: (str(a.dtype), (n, *a.shape[1:])) for k, a in _empty(1).items()}


def row_of(big: dict[str, np.ndarray], row: int, px_from_crop: Float[np.ndarray, "2 3"]) -> Modalities | None:
    """One row of a chunk that was read."""
    known: Bool[np.ndarray, "3"] = big["known"][row] > 0
    if not known[PICTURE]:
        return None
    near = [
        big[name][row].astype(np.float32) if known[column] else None
        for name, column in (("flow_next_px", NEXT), ("flow_last_px", LAST))
    ]
    return Modalities(px_from_crop, big["rgb"][row], big["depth_cm"][row].astype(np.float32), *near)


def add_modalities(
    performance: Performance,
    plate: Footage,
    writer: AssetWriter,
    senses: Senses,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the modalities of every track, in constant memory; returns the facts that say how they were made.

    Raises:
        OutputError: the disk is full. MediaError: the plate cannot be read to its end.
    """
    if not performance.tracks:
        return senses.facts()
    waiting = {t.track_id: _Pass.start(t) for t in performance.tracks}
    first = min(t.frames.start for t in performance.tracks)
    end = max(t.frames.end_exclusive for t in performance.tracks)
    for frame in plate.frames(FrameRange(first, end)):
        here = [p for p in waiting.values() if frame.index in p.track.frames]
        if here:
            rgb8 = rgb8_from_frame(frame)
            whole: Whole | None = None
            for p in here:
                placement = p.track.sample(frame.index).matte_px_from_crop
                if is_placed(placement):
                    whole = whole or Whole.seen(rgb8, senses)
                    _observe(p, whole, frame.index, frame.index in performance.shot.cuts, senses, writer)
                else:
                    _advance(p, frame.index, writer)
                    p.before = None
        for p in here:
            if frame.index == p.track.frames.end_exclusive - 1:
                _flush(p, frame.index, writer)
                del waiting[p.track.track_id]
        if progress:
            progress(frame.index + 1, performance.shot.frame_count)
    if progress:
        progress(performance.shot.frame_count, performance.shot.frame_count)
    return senses.facts()


def _observe(p: _Pass, whole: Whole, index: int, is_cut: bool, senses: Senses, writer: AssetWriter) -> None:
    placement = p.track.sample(index).matte_px_from_crop
    now = sample_affine(whole.rgb8, placement, MATTE_SIZE), placement
    before = None if is_cut else p.before
    if before is not None:  # the last frame's row may lie in the chunk before this one: complete it first
        _write(p, index - 1, "flow_next_px", flow_px(senses.flow, before, now), NEXT)
    _advance(p, index, writer)
    _write(p, index, "rgb", now[0], PICTURE)
    _write(p, index, "depth_cm", depth_of(whole, p.track, index, senses), PICTURE)
    if before is not None:
        _write(p, index, "flow_last_px", flow_px(senses.flow, now, before), LAST)
    p.before = now


def _write(p: _Pass, index: int, name: str, value: np.ndarray, column: int) -> None:
    row = (index - p.track.frames.start) % CHUNK
    p.big[name][row] = value
    p.big["known"][row, column] = 1


def _advance(p: _Pass, index: int, writer: AssetWriter) -> None:
    """Before the first row of a chunk: put the chunk before it away."""
    row = index - p.track.frames.start
    if row and row % CHUNK == 0:
        _flush(p, index - 1, writer)
        p.big = _empty(min(CHUNK, p.track.frames.end_exclusive - index))


def _flush(p: _Pass, last_index: int, writer: AssetWriter) -> None:
    """Put a filled chunk away: the one before it can now be steadied and written; at the end of the track so can this one."""
    chunk = (last_index - p.track.frames.start) // CHUNK
    if p.full is not None:
        _write_steadied(p, chunk - 1, p.big, writer)
        p.tail = {k: p.full[k][-REACH:] for k in _STEADIED}
    p.full = p.big
    if last_index == p.track.frames.end_exclusive - 1:
        _write_steadied(p, chunk, None, writer)


def _write_steadied(p: _Pass, chunk: int, later: dict[str, np.ndarray] | None, writer: AssetWriter) -> None:
    """`p.full`, whose number is `chunk`, with its depth smoothed over time; what was measured stays in memory for its neighbours."""
    full, parts = p.full, []
    if full is None:
        return
    for part, rows in ((p.tail, slice(None)), (full, slice(None)), (later, slice(0, REACH))):
        if part is not None:
            parts.append({k: part[k][rows] for k in _STEADIED})
    joined = {k: np.concatenate([part[k] for part in parts]) for k in _STEADIED}
    head = len(parts[0]["known"]) if p.tail is not None else 0
    first = p.track.frames.start + chunk * CHUNK - head
    places = np.stack([p.track.sample(first + i).matte_px_from_crop for i in range(len(joined["known"]))])
    linked = np.append((joined["known"][:-1, NEXT] > 0) & (joined["known"][1:, LAST] > 0), False)
    rows = range(head, head + len(full["known"]))
    seen = full["known"][:, PICTURE, None, None] > 0
    flows = joined["flow_next_px"], joined["flow_last_px"]
    depth = steadied(joined["depth_cm"], *flows, linked, places, rows)
    kept = full | {"depth_cm": np.where(seen, depth, full["depth_cm"]).astype(np.float16)}
    writer.add_tensors(member(p.track.track_id, chunk), kept)


_STEADIED = ("depth_cm", "flow_next_px", "flow_last_px", "known")
