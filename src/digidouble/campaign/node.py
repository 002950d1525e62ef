"""A pass of a campaign on a machine that helps: variants are rendered into segments there; texts are drawn, files are labelled and signed
by the one that asks, so that neither fonts nor keys travel."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.campaign.onepass import CASTS_AT_ONCE, Cast, Job, Outcome, render_pass
from digidouble.deliver.segments import SegmentPlan, SegmentWriter, plan_segments
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import FarmError
from digidouble.farm.gate import default_gate
from digidouble.farm.node import PART_BYTES, Bytes, holds_performance, holds_plate, put_down
from digidouble.farm.segments import versions
from digidouble.footage import Footage, FootageSettings, open_footage
from digidouble.perception.content import ContentGate
from digidouble.performance import load_performance
from digidouble.pipeline import prepare
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange


@dataclass(frozen=True)
class PlateFacts:
    """What a machine is told of a plate.

    Attributes:
        performance: its file, where the one who asks has it. performance_sha256: what it must be.
        versions: of the one who asks; a machine that has others refuses.
    """

    shot: Shot
    performance: Path
    performance_sha256: str
    frames: FrameRange
    footage: FootageSettings
    look: LookSettings
    purpose: str
    versions: dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What became of a variant there: as in `Outcome`. `plan`: how its segment was written, None when it failed."""

    variant_id: str
    error: str
    final: bool
    thumb: UInt8[np.ndarray, "h w 3"] | None
    plan: SegmentPlan | None
    gate: object = None


class SegmentJob:
    """Stands where `Writer` stands: frames in order into one segment, which waits in `folder`."""

    def __init__(self, job: Job, shot: Shot, settings: DeliverySettings, frames: FrameRange, folder: Path) -> None:
        self._job, self._shot, self._settings, self._frames = job, shot, settings, frames
        self._path = folder / f"{job.variant_id}.segment"
        self._writer: SegmentWriter | None = None
        self.plan: SegmentPlan | None = None
        self.notes: dict[str, object] = {}

    def write(
        self, frame: Frame, keep_clear: Sequence[Roi] = (), matte: Float[np.ndarray, "h w"] | None = None
    ) -> None:
        if self._writer is None:
            self.plan = plan_segments(self._job.out, self._shot, self._settings, self._frames, keep_clear)
            self._writer = SegmentWriter(self.plan, self._path, self._frames)
        self._writer.write(frame, matte)

    def close(self) -> None:
        if self._writer is None:
            raise FarmError(f"{self._path}: no frame was written")
        self._writer.close()

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.discard()


class PassNode:
    """The assets of a plate on one machine. `threads`: frames in work at a time."""

    def __init__(self, facts: PlateFacts, threads: int) -> None:
        self._facts, self._threads = facts, threads
        self._folder = Path(tempfile.mkdtemp(prefix="digidouble-node-"))
        self._footage: Footage | None = None
        self._performance: Performance | None = None
        self._gate: ContentGate | None = None
        self._personas: dict[str, Persona] = {}
        self._writers: dict[str, SegmentJob] = {}
        self._casts: OrderedDict[Cast, list[PreparedCast]] = OrderedDict()

    def pid(self) -> int:
        """The process this runs in."""
        return os.getpid()

    def has(self) -> tuple[bool, bool]:
        """Whether plate and performance lie under their paths on this machine, too."""
        facts = self._facts
        return holds_plate(facts.shot), holds_performance(facts.performance, facts.performance_sha256)

    def open(self, plate: Bytes | None, performance: Bytes | None) -> None:
        """Get ready. `plate`, `performance`: a file's content where the machine does not have it.

        Raises:
            FarmError: this machine would not render the same bits as the one that asks.
        """
        facts, folder = self._facts, self._folder
        self._performance = load_performance(put_down(performance, facts.performance, folder))
        same = self._performance.sha256 == facts.performance_sha256
        self._performance = replace(self._performance, shot=facts.shot)
        self._footage = open_footage(put_down(plate, Path(facts.shot.path), folder), facts.footage)
        self._gate = default_gate()
        if not same or self._footage.shot.sha256 != facts.shot.sha256 or versions() != facts.versions:
            raise FarmError(
                "a worker would not render the same bits: plate, performance or versions differ there; install the same versions on every node"
            )

    def render(self, jobs: list[Job], names: list[str], *personas: Persona) -> tuple[list[Made], float]:
        """Variants of one pass into segments, to be fetched with `read`; and the seconds it took.

        Args:
            names: of the personas that the casts need.

        Raises:
            FarmError: before `open`.
        """
        if self._footage is None or self._performance is None or self._gate is None:
            raise FarmError("a worker was given work before its assets")
        self._personas, self._writers = dict(zip(names, personas, strict=True)), {}
        begun = time.perf_counter()
        outcomes = render_pass(
            self._footage, self._performance, self._facts.frames, jobs, self._prepared, self._threads, gate=self._gate,
            opened=self._opened,
        )  # fmt: skip
        return [self._made(outcome) for outcome in outcomes], time.perf_counter() - begun

    def read(self, variant_id: str, offset: int) -> bytes:
        """Up to PART_BYTES of a variant's segment; b"" at its end."""
        path = self._folder / f"{variant_id}.segment"
        with (next(path.iterdir()) if path.is_dir() else path).open("rb") as file:  # a picture, or a movie's packets
            file.seek(offset)
            return file.read(PART_BYTES)

    def drop(self, variant_id: str) -> None:
        """Remove a segment that has been fetched."""
        path = self._folder / f"{variant_id}.segment"
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what was put on this machine's disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _opened(self, job: Job, shot: Shot, settings: DeliverySettings) -> SegmentJob:
        self._writers[job.variant_id] = SegmentJob(job, shot, settings, self._facts.frames, self._folder)
        return self._writers[job.variant_id]

    def _made(self, outcome: Outcome) -> Made:
        writer = self._writers.get(outcome.job.variant_id)
        plan, gate = (None, None) if writer is None or outcome.error else (writer.plan, writer.notes["content_gate"])
        return Made(outcome.job.variant_id, outcome.error, outcome.final, outcome.thumb, plan, gate)

    def _prepared(self, cast: Cast) -> list[PreparedCast]:
        if cast not in self._casts:
            assert self._performance is not None
            casting = {track: self._personas[who] for track, who in cast}
            # The one who asks has read the list of revocations; consent itself is checked here, too.
            self._casts[cast] = prepare(
                self._performance, casting, self._facts.look, purpose=self._facts.purpose, radiance=False
            )
        self._casts.move_to_end(cast)
        while len(self._casts) > CASTS_AT_ONCE:
            self._casts.popitem(last=False)
        return self._casts[cast]
