"""`OUT.segments/`: what an interrupted render has already done, and whether it may be used.

    double.mp4.segments/
        lock                    a run holds it (flock, so that it is free again however that run ended)
        manifest.json           what the segments were made from, and the sha256 of each
        000000048.segment       a finished segment: a packet file, or a folder of pictures
    PASSES/double.mp4.segments/
        000000048.passes/       its passes, when there are any: on the disk they go to

A segment gets its name when it is complete and on the disk, and counts when the manifest says so. The manifest is not believed:
which segments there can be, and what they are called, follows from the job; what is there must have the sha256 it promises.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np

from digidouble.deliver.partial import output_errors
from digidouble.deliver.passes import PassesPlan
from digidouble.deliver.segments import SegmentPlan
from digidouble.deliver.staged_passes import passes_folder
from digidouble.errors import ContentRefused, OutputError
from digidouble.farm.settings import RenderSettings
from digidouble.render import PreparedCast
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange
from digidouble.schema.track import FaceTrack

SEGMENT_FRAMES = 48  # two seconds of film: what a crash can cost, and how often a movie gets a key frame
SHORTEST = 12  # a shorter rest goes to the segment before it
MAX_MANIFEST_BYTES = 16 << 20
SCHEMA = "digidouble.segments/1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def split(frames: FrameRange) -> list[FrameRange]:
    """The segments of a render. They depend on the frames alone, never on who renders them."""
    starts = list(range(frames.start, frames.end_exclusive, SEGMENT_FRAMES))
    if len(starts) > 1 and frames.end_exclusive - starts[-1] < SHORTEST:
        starts.pop()
    return [FrameRange(a, b) for a, b in zip(starts, [*starts[1:], frames.end_exclusive], strict=True)]


def runs_of(segments: list[FrameRange], longest: int) -> list[list[FrameRange]]:
    """Segments that follow each other, in groups of at most `longest`: a decoder reads on without seeking."""
    runs: list[list[FrameRange]] = []
    for s in segments:
        if runs and len(runs[-1]) < longest and runs[-1][-1].end_exclusive == s.start:
            runs[-1].append(s)
        else:
            runs.append([s])
    return runs


def named_by_hashes(performance: Performance, personas: Iterable[Persona]) -> bool:
    """Whether plate, performance and personas are files whose content is known."""
    return bool(performance.shot.sha256 and performance.sha256 and all(p.sha256 for p in personas))


def job_facts(
    performance: Performance, casts: list[PreparedCast], settings: RenderSettings, place: Place
) -> dict[str, Any] | None:
    """All that the bits of a segment depend on, as JSON values; None when something in it cannot be named by a hash."""
    plan, shot, personas = (
        place.plan,
        performance.shot,
        {str(c.plan.track.track_id): c.plan.persona.sha256 for c in casts},
    )
    if not named_by_hashes(performance, (c.plan.persona for c in casts)):
        return None
    passes = place.passes
    facts = {
        "plate": [shot.sha256, str(shot.rate), shot.frame_count, list(shot.size_wh), shot.variable_rate],
        "performance": [performance.sha256, *(_digest(t) for t in performance.tracks)],
        "personas": personas,
        "look": [settings.quality, settings.fusion, str(settings.look)],
        "delivery": plan.settings.to_record(),
        "format": plan.out.suffix.lower(),
        "label": [str(plan.label), plan.label_frames],
        "frames": [plan.frames.start, plan.frames.end_exclusive, SEGMENT_FRAMES],
        "passes": [
            passes.form,
            passes.stem,
            [(t.layer, t.hair.sha256 if t.hair else "") for t in passes.tracks],
            str(passes.label),
        ]
        if passes
        else [],
        **versions(),
    }
    return json.loads(json.dumps(facts))


def versions() -> dict[str, Any]:
    """What of this machine the bits of a frame depend on, as JSON values."""
    import av

    return {
        "versions": {n: _version(n) for n in ("digidouble", "numpy", "opencv-python-headless", "numba", "av")},
        "libraries": {name: list(v) for name, v in sorted(av.library_versions.items())},
        "machine": os.uname().machine if hasattr(os, "uname") else os.name,
    }


def _digest(track: FaceTrack) -> str:
    """A track's own arrays: a performance whose tracks were exchanged is not the one of the file."""
    h = hashlib.sha256(f"{track.track_id} {track.frames} {track.weight}".encode())
    for f in fields(track):
        value = getattr(track, f.name)
        if isinstance(value, np.ndarray):
            h.update(f"{f.name} {value.dtype} {value.shape}".encode())
            h.update(np.ascontiguousarray(value).tobytes())
    return h.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def segments_folder(out: Path) -> Path:
    """`shot.mp4` -> `shot.mp4.segments`; a sequence's frame field is left out of the name."""
    return out.with_name(re.sub(r"[._-]?(#+|%0?\d*d)", "", out.name) + ".segments")


@dataclass(frozen=True)
class Place:
    """Where the segments of a render grow: on the machine that delivers, or in a folder of one that helps.

    Attributes:
        folder: of the segments. passes: how their passes are written, None when there are none. passes_folder: where those grow.
    """

    plan: SegmentPlan
    folder: Path
    passes: PassesPlan | None = None
    passes_folder: Path = Path()

    @classmethod
    def beside(cls, plan: SegmentPlan, passes: PassesPlan | None) -> Place:
        """Beside the files that are delivered: everything is renamed in the end, nothing is copied."""
        folder = segments_folder(plan.out)
        return cls(plan, folder, passes, passes.folder / folder.name if passes else Path())

    def path(self, segment: FrameRange) -> Path:
        """A segment's file (of a movie) or folder (of pictures)."""
        return self.folder / f"{segment.start:09d}.segment"

    def roots(self, segment: FrameRange) -> dict[str, Path]:
        """What a segment consists of: "segment", and "passes" when there are any."""
        roots = {"segment": self.path(segment)}
        return roots | {"passes": passes_folder(self.passes_folder, segment)} if self.passes else roots

    def files(self, segment: FrameRange) -> dict[str, Path]:
        """All files of a segment by "root" or "root/name", in order; they follow from the job, whatever lies there."""
        roots = self.roots(segment)
        names = [] if self.plan.is_movie else self.plan.names(segment)
        files = {"segment": roots["segment"]} if self.plan.is_movie else {}
        files |= {f"segment/{name}": roots["segment"] / name for name in names}
        if self.passes:
            files |= {f"passes/{name}": roots["passes"] / name for i in segment for name in self.passes.names(i)}
        return files

    def drop(self, segment: FrameRange) -> None:
        """Remove a segment."""
        for path in self.roots(segment).values():
            _remove(path)


@dataclass(frozen=True)
class _Kept:
    size_bytes: int
    sha256: str


class SegmentStore:
    """The segments of one render. A context manager; leaving it by an exception keeps what can be continued. Threads may share it.

    Attributes:
        notes: what was found and could not be used, in words for the user.
    """

    def __init__(self, place: Place, facts: dict[str, Any] | None) -> None:
        """`facts`: see `job_facts`; None renders without anything to continue from.

        Raises:
            OutputError: a folder cannot be made, something else is in its place, or another run is at work in it.
        """
        self.place, self.plan, self.facts = place, place.plan, facts
        self.segments = split(place.plan.frames)
        self.notes: list[str] = []
        self._kept: dict[int, _Kept] = {}
        self._entering = threading.Lock()
        self._locks: list[IO[bytes]] = []
        self._made_passes = place.passes is not None and not place.passes.folder.exists()
        try:
            if place.passes:
                with output_errors(place.passes.folder):
                    place.passes.folder.mkdir(exist_ok=True)
            for folder in self._folders:
                if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                    raise OutputError(f"{folder}: is in the way of the segments of this render; move it")
                with output_errors(folder):
                    folder.mkdir(exist_ok=True)
                    self._locks.append(_locked(folder / "lock", place.plan.out))
            with output_errors(place.folder):
                self._take_over()
        except BaseException:
            self._unlock()
            raise

    @property
    def missing(self) -> list[FrameRange]:
        return [s for s in self.segments if s.start not in self._kept]

    @property
    def done_frames(self) -> int:
        return sum(len(s) for s in self.segments if s.start in self._kept)

    def keep(self, segment: FrameRange) -> None:
        """A segment is complete under its name: enter it into the manifest. Raises OutputError."""
        with output_errors(self.place.path(segment)):
            found = _measured(self.place, segment)
            if found is None:
                raise OutputError(f"{self.place.path(segment)}: the segment that was just written is not there")
            with self._entering:
                self._kept[segment.start] = found
                self._write_manifest()

    def receive(self, segment: FrameRange, read: Callable[[str], Iterable[bytes]]) -> None:
        """Keep a segment that another machine rendered. `read`: the content of one of `Place.files`, in parts. Raises OutputError."""
        partial = {root: path.with_name(f".{path.name}.partial") for root, path in self.place.roots(segment).items()}
        with output_errors(self.place.path(segment)):
            for root, path in partial.items():
                _remove(path)
                if root == "passes" or not self.plan.is_movie:
                    path.mkdir()
            for key in self.place.files(segment):
                root, _, name = key.partition("/")
                with (partial[root] / name if name else partial[root]).open("wb") as file:
                    for part in read(key):
                        file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
            for root, path in self.place.roots(segment).items():
                partial[root].replace(path)
        self.keep(segment)

    @property
    def _folders(self) -> list[Path]:
        return [self.place.folder, *([self.place.passes_folder] if self.place.passes else [])]

    def _unlock(self) -> None:
        for lock in self._locks:
            lock.close()

    def close(self, finished: bool) -> None:
        """Let go. The folders go when the render is delivered, or when nothing in them could be continued."""
        if finished or self.facts is None or not self._kept:
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)
            if self._made_passes and self.place.passes and not finished:
                with suppress(OSError):  # not empty or gone: somebody else's
                    self.place.passes.folder.rmdir()
        self._unlock()

    def __enter__(self) -> SegmentStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What the content gate refused is not kept: nobody is to find it.
        self.close(finished=kind is None or issubclass(kind, ContentRefused))

    def _take_over(self) -> None:
        """Believe of the manifest what can be checked; remove everything else in the folders."""
        found = self._read_manifest()
        if found is not None and self.facts is not None:
            for s in self.segments:
                promised = found.get(str(s.start))
                if promised is not None and promised == _measured(self.place, s):
                    self._kept[s.start] = promised
        kept = {p.name for s in self.segments if s.start in self._kept for p in self.place.roots(s).values()}
        for folder in self._folders:
            for entry in folder.iterdir():
                if entry.name not in {*kept, "lock"}:
                    _remove(entry)
        self._write_manifest()

    def _read_manifest(self) -> dict[str, _Kept] | None:
        """Segments by first frame, of an interrupted run of this very job."""
        path = self.place.folder / "manifest.json"
        if not path.is_file() or path.is_symlink():
            return None
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError("it is too large")
            raw = json.loads(path.read_text("utf-8"))
            if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not isinstance(raw.get("segments"), dict):
                raise ValueError("it is not one of ours")
            if raw.get("job") != self.facts:
                changed = _changed(raw.get("job"), self.facts)
                self.notes.append(
                    f"an interrupted render of {self.plan.out.name} was made from other inputs ({changed}); started anew"
                )
                return None
            return {k: _kept(v) for k, v in raw["segments"].items()}
        except (OSError, ValueError, RecursionError) as e:
            self.notes.append(f"{path}: what an interrupted render left cannot be used ({e}); started anew")
            return None

    def _write_manifest(self) -> None:
        kept = {str(k): {"bytes": v.size_bytes, "sha256": v.sha256} for k, v in sorted(self._kept.items())}
        text = json.dumps({"schema": SCHEMA, "job": self.facts, "segments": kept}, indent=1)
        partial = self.place.folder / ".manifest.partial"
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.place.folder / "manifest.json")


def _kept(raw: Any) -> _Kept:
    if not isinstance(raw, dict) or set(raw) != {"bytes", "sha256"}:
        raise ValueError("a segment is not described as ours are")
    size, sha256 = raw["bytes"], raw["sha256"]
    if type(size) is not int or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("a segment has no size and sha256")
    return _Kept(size, sha256)


def _measured(place: Place, segment: FrameRange) -> _Kept | None:
    """Size and hash of a finished segment; None when it is not whole plain files under the names it must have."""
    if any(root.is_symlink() for root in place.roots(segment).values()):
        return None
    h, size = hashlib.sha256(), 0
    for path in place.files(segment).values():
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            h.update(hashlib.file_digest(file, "sha256").digest())
            size += os.fstat(file.fileno()).st_size
    return _Kept(size, h.hexdigest())


def _remove(path: Path) -> None:
    """A file, a link or a folder with all that is in it; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _changed(before: Any, now: dict[str, Any] | None) -> str:
    """Which inputs differ, by name."""
    if not isinstance(before, dict) or now is None:
        return "unknown"
    return ", ".join(k for k in now if before.get(k) != now[k]) or "unknown"


def _locked(path: Path, out: Path) -> IO[bytes]:
    """The lock of a run. Raises OutputError when another run has it."""
    file = path.open("ab")
    with suppress(ImportError):  # Windows has no flock: nothing stops a second run there
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise OutputError(
                f"{out}: another run is rendering to this name; wait for it, or write under another name"
            ) from None
    return file
