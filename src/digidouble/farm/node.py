"""One machine of a cluster: plate, performance and personas opened once, runs of segments rendered on all of its cores.

Nothing here knows how the machine is reached; `cluster` makes one of these on every node.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from digidouble.deliver.segments import SegmentPlan
from digidouble.errors import DigidoubleError, FarmError
from digidouble.farm.crew import Crew
from digidouble.farm.prepared import casts_of, passes_plan, with_hair
from digidouble.farm.segments import Place, SegmentStore, job_facts
from digidouble.farm.settings import RenderSettings
from digidouble.footage import Footage, FootageSettings, open_footage
from digidouble.perception.hair import HairLook
from digidouble.performance import load_performance
from digidouble.render import PreparedCast
from digidouble.schema.clock import StageClock
from digidouble.schema.frame import Frame
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

Bytes = UInt8[np.ndarray, "n"]  # arrays, because an object store hands them on without copying
HOME = "home"  # the group of calls that a machine answers beside its rendering
PART_BYTES = 32 << 20  # of a file on its way home: what a machine and the one that delivers hold of it at once


@dataclass(frozen=True)
class Job:
    """What a machine is told: small, sent with every node, not with every task.

    Attributes:
        facts: `segments.job_facts` of the one who asks; a machine that would render other bits refuses.
        footage: how the plate was opened. performance: its file, where the one who asks has it.
        hair: for the passes; learned once, by a network whose last bits differ between machines.
        wanted: frames that the one who asks wants to look at.
    """

    plan: SegmentPlan
    settings: RenderSettings
    facts: dict[str, Any]
    footage: FootageSettings
    performance: Path
    hair: Mapping[int, HairLook] = field(default_factory=dict)
    wanted: frozenset[int] = frozenset()


def job_of(
    store: SegmentStore, settings: RenderSettings, plate: Footage, performance: Performance, wanted: frozenset[int]
) -> Job:
    """What others are told of a store's work. Raises FarmError: its inputs are not files."""
    if store.facts is None or not performance.file:
        raise not_files()
    hair = store.place.passes.hair if store.place.passes else {}
    file = Path(performance.file).absolute()
    return Job(store.plan, alone(settings), store.facts, plate.settings, file, hair, wanted)


def alone(settings: RenderSettings) -> RenderSettings:
    """The settings for somebody who hands nothing on."""
    return replace(settings, workers=0)


def not_files() -> FarmError:
    """Why work cannot be handed on."""
    return FarmError(
        "rendering on Ray needs a plate, a performance and personas that are files (their hashes name the work)"
    )


M = TypeVar("M", bound=Callable[..., Any])


def beside_rendering(method: M) -> M:
    """Note on a method what `ray.method(concurrency_group=HOME)` notes, without Ray where there is none. (Naming the group with each
    call instead is not possible through Ray's client, which all of `ray://HOST:PORT` is.)"""
    method.__ray_concurrency_group__ = HOME  # type: ignore[attr-defined]
    return method


def packed(path: Path) -> Bytes:
    """A performance as one array of bytes, also when it is a folder. Raises FarmError: it cannot be read."""
    try:
        if not path.is_dir():
            return np.fromfile(path, np.uint8)
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(path).as_posix())
        return np.frombuffer(buffer.getvalue(), np.uint8)
    except OSError as e:
        raise FarmError(f"{path}: cannot be read to send it to the workers ({e.strerror or e})") from e


def holds_performance(path: Path, sha256: str) -> bool:
    """Whether a performance lies under its path on this machine."""
    try:
        return load_performance(path).sha256 == sha256
    except DigidoubleError:
        return False


def holds_plate(shot: Shot) -> bool:
    """Whether a plate lies under its path on this machine."""
    if shot.kind == "sequence":
        return Path(shot.path).parent.is_dir()
    try:
        with Path(shot.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shot.sha256
    except OSError:
        return False


def unpacked(made: bytes) -> Made:
    """What `Node.render` returned. Ray itself uses pickle between its processes; no file is read with it."""
    return pickle.loads(made)


def put_down(content: Bytes | None, path: Path, folder: Path) -> Path:
    """A file that was sent, or the one that was there all the time; -> its path."""
    if content is None:
        return path
    copy = folder / f"input{path.suffix}"
    content.tofile(copy)
    return copy


@dataclass(frozen=True)
class Sources:
    """What a job is made from, as a process can open it by itself. `footage`: how the plate was opened."""

    plate: Path
    footage: FootageSettings
    performance: Path
    casting: Mapping[str, Persona]
    settings: RenderSettings

    def opened(self) -> Opened:
        """Raises as `casts_of`."""
        performance = load_performance(self.performance)
        casts = casts_of(performance, self.casting, self.settings)  # the one who asks has read the list of revocations
        return Opened(open_footage(self.plate, self.footage), performance, casts)


@dataclass(frozen=True)
class Opened:
    """`Sources` that are open."""

    footage: Footage
    performance: Performance
    casts: list[PreparedCast]

    def crew(self, job: Job, place: Place, threads: int) -> tuple[Place, Crew]:
        """Ready to render a job. `place`: where its segments go; how its passes are written is found out here.

        Raises:
            FarmError: this process would not render the same bits as the one that asks (other versions, another plate).
        """
        footage, casts = self.footage, self.casts
        settings = replace(job.settings, passes=place.passes_folder / "passes") if job.settings.passes else job.settings
        place = replace(place, passes=with_hair(passes_plan(self.performance, casts, job.plan, settings), job.hair))
        facts = job_facts(self.performance, casts, job.settings, place) or {}
        if footage.shot.sha256 != job.plan.shot.sha256 or facts != job.facts:
            other = ", ".join(k for k, v in job.facts.items() if facts.get(k) != v) or "plate"
            raise FarmError(
                f"a worker would not render the same bits: {other} differ there; install the same versions on every node"
            )
        return place, Crew(footage, casts, place, threads)


@dataclass(frozen=True)
class Made:
    """Segments are there. `stages`: the seconds that each took. `looks`: (plate's frame, finished frame) of those that were wanted."""

    stages: dict[str, float]
    looks: list[tuple[Frame, Frame]]


def made(crew: Crew, run: list[FrameRange], wanted: frozenset[int]) -> Made:
    """Have a crew render segments that follow each other for somebody else. Raises as `Crew.render`."""
    crew.clock, looks = StageClock(), list[tuple[Frame, Frame]]()

    def seen(source: Frame, result: Frame) -> None:
        if result.index in wanted:
            looks.append((source, result))

    for _ in crew.render(run, seen):
        pass
    return Made(dict(crew.clock.seconds), looks)


class Node:
    """The assets of a job on one machine. `threads`: frames in work at a time."""

    def __init__(self, job: Job, threads: int) -> None:
        self._job, self._threads = job, threads
        self._folder = Path(tempfile.mkdtemp(prefix="digidouble-node-"))
        self._crew: Crew | None = None
        self._place: Place | None = None

    def pid(self) -> int:
        """The process this runs in."""
        return os.getpid()

    def has(self) -> tuple[bool, bool]:
        """Whether plate and performance lie under their paths on this machine, too: a shared disk, or the machine that asks."""
        job = self._job
        return holds_plate(job.plan.shot), holds_performance(job.performance, job.facts["performance"][0])

    def open(self, plate: Bytes | None, performance: Bytes | None, casting: Mapping[str, Persona]) -> None:
        """Get ready. `plate`, `performance`: a file's content where the machine does not have it.

        Raises:
            FarmError: this machine would not render the same bits as the one that asks (other versions, another plate).
        """
        job, folder = self._job, self._folder
        path, perf = put_down(plate, Path(job.plan.shot.path), folder), put_down(performance, job.performance, folder)
        sources = Sources(path, job.footage, perf, casting, job.settings)
        self._place, self._crew = sources.opened().crew(job, Place(job.plan, folder, None, folder), self._threads)

    def render(self, run: list[FrameRange]) -> bytes:
        """Render segments that follow each other, to be fetched with `read`. Returns what was `Made`, as `unpacked` reads it: through Ray's
        client, values are unpacked once on their way, where nothing of ours is imported.

        Raises:
            FarmError: before `open`.
        """
        if self._crew is None:
            raise FarmError("a worker was given work before its assets")
        return pickle.dumps(made(self._crew, run, self._job.wanted))

    def read(self, segment: FrameRange, key: str, offset: int) -> bytes:
        """Up to PART_BYTES of a file (`Place.files`) of a finished segment; b"" at its end."""
        if self._place is None:
            raise FarmError("a worker was asked for files before its assets")
        with self._place.files(segment)[key].open("rb") as file:
            file.seek(offset)
            return file.read(PART_BYTES)

    def drop(self, segment: FrameRange) -> None:
        """Remove a segment that has been fetched."""
        if self._place is not None:
            self._place.drop(segment)

    def close(self) -> None:
        """Remove what was put on this machine's disk, also under what is still at work: the process ends next."""
        shutil.rmtree(self._folder, ignore_errors=True)
