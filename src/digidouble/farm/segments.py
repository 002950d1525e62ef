"""`OUT.segments/`: what an interrupted render has already done, and whether it may be used.

    double.mp4.segments/
        lock                a run holds it (flock, so that it is free again however that run ended)
        manifest.json       what the segments were made from, and the sha256 of each
        000000.segment      a finished segment: a packet file, or a folder of pictures

A segment gets its name when it is complete and on the disk, and counts when the manifest says so. The manifest is not believed:
which segments there can be, and what they are called, follows from the job; what is there must have the sha256 it promises.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np

from digidouble.deliver.partial import output_errors
from digidouble.deliver.segments import SegmentPlan
from digidouble.errors import OutputError
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.performance import Performance
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


def job_facts(
    performance: Performance, casts: list[PreparedCast], look: LookSettings, plan: SegmentPlan
) -> dict[str, Any] | None:
    """All that the bits of a segment depend on, as JSON values; None when something in it cannot be named by a hash."""
    shot, personas = performance.shot, {str(c.plan.track.track_id): c.plan.persona.sha256 for c in casts}
    if not (shot.sha256 and performance.sha256 and all(personas.values())):
        return None
    import av

    facts = {
        "plate": [shot.sha256, str(shot.rate), shot.frame_count, list(shot.size_wh), shot.variable_rate],
        "performance": [performance.sha256, *(_digest(t) for t in performance.tracks)],
        "personas": personas,
        "look": str(look),
        "delivery": plan.settings.to_record(),
        "format": plan.out.suffix.lower(),
        "label": [str(plan.label), plan.label_frames],
        "frames": [plan.frames.start, plan.frames.end_exclusive, SEGMENT_FRAMES],
        "versions": {n: _version(n) for n in ("digidouble", "numpy", "opencv-python-headless", "numba", "av")},
        "libraries": {name: list(v) for name, v in sorted(av.library_versions.items())},
        "machine": os.uname().machine if hasattr(os, "uname") else os.name,
    }
    return json.loads(json.dumps(facts))


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
class _Kept:
    size_bytes: int
    sha256: str


class SegmentStore:
    """The segments of one render. A context manager; leaving it by an exception keeps what can be continued.

    Attributes:
        notes: what was found and could not be used, in words for the user.
    """

    def __init__(self, plan: SegmentPlan, facts: dict[str, Any] | None) -> None:
        """`facts`: see `job_facts`; None renders without anything to continue from.

        Raises:
            OutputError: the folder cannot be made, something else is in its place, or another run is at work in it.
        """
        self.plan, self.facts = plan, facts
        self.segments = split(plan.frames)
        self.notes: list[str] = []
        self.folder = segments_folder(plan.out)
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise OutputError(f"{self.folder}: is in the way of the segments of this render; move it")
        with output_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._lock = _locked(self.folder / "lock", plan.out)
        self._kept: dict[int, _Kept] = {}
        try:
            with output_errors(self.folder):
                self._take_over()
        except BaseException:
            self._lock.close()
            raise

    @property
    def missing(self) -> list[FrameRange]:
        return [s for s in self.segments if s.start not in self._kept]

    @property
    def done_frames(self) -> int:
        return sum(len(s) for s in self.segments if s.start in self._kept)

    def path(self, segment: FrameRange) -> Path:
        return self.folder / f"{segment.start:09d}.segment"

    def keep(self, segment: FrameRange) -> None:
        """A segment is complete under its name: enter it into the manifest. Raises OutputError."""
        with output_errors(self.path(segment)):
            found = _measured(self.path(segment), self.plan, segment)
            if found is None:
                raise OutputError(f"{self.path(segment)}: the segment that was just written is not there")
            self._kept[segment.start] = found
            self._write_manifest()

    def accept(self, segment: FrameRange, files: dict[str, bytes]) -> None:
        """A segment that another machine rendered. `files`: see `node.Rendered`. Raises OutputError."""
        path = self.path(segment)
        partial = path.with_name(f".{path.name}.partial")
        names = [""] if self.plan.is_movie else self.plan.names(segment)
        if sorted(files) != sorted(names):
            raise OutputError(f"{path}: a worker sent {sorted(files)[:3]}, expected {names[:3]}")
        with output_errors(path):
            if not self.plan.is_movie:
                partial.mkdir()
            for name, data in files.items():
                with (partial / name if name else partial).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
        self.keep(segment)

    def close(self, finished: bool) -> None:
        """Let go. The folder goes when the render is delivered, or when nothing in it could be continued."""
        if finished or self.facts is None or not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def __enter__(self) -> SegmentStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(finished=kind is None)

    def _take_over(self) -> None:
        """Believe of the manifest what can be checked; remove everything else in the folder."""
        found = self._read_manifest()
        if found is not None and self.facts is not None:
            for s in self.segments:
                promised = found.get(str(s.start))
                if promised is None or promised != _measured(self.path(s), self.plan, s):
                    continue
                self._kept[s.start] = promised
        keep = {self.path(s).name for s in self.segments if s.start in self._kept} | {"lock"}
        for entry in self.folder.iterdir():
            if entry.name not in keep:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        self._write_manifest()

    def _read_manifest(self) -> dict[str, _Kept] | None:
        """Segments by first frame, of an interrupted run of this very job."""
        path = self.folder / "manifest.json"
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
        partial = self.folder / ".manifest.partial"
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / "manifest.json")


def _kept(raw: Any) -> _Kept:
    if not isinstance(raw, dict) or set(raw) != {"bytes", "sha256"}:
        raise ValueError("a segment is not described as ours are")
    size, sha256 = raw["bytes"], raw["sha256"]
    if type(size) is not int or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("a segment has no size and sha256")
    return _Kept(size, sha256)


def _measured(path: Path, plan: SegmentPlan, segment: FrameRange) -> _Kept | None:
    """Size and hash of a finished segment; None when it is not whole plain files under the names it must have."""
    if path.is_symlink() or path.is_dir() == plan.is_movie:
        return None
    names = [path] if plan.is_movie else [path / name for name in plan.names(segment)]
    if not all(n.is_file() and not n.is_symlink() for n in names):
        return None
    h, size = hashlib.sha256(), 0
    for name in names:
        with name.open("rb") as file:
            h.update(hashlib.file_digest(file, "sha256").digest())
            size += os.fstat(file.fileno()).st_size
    return _Kept(size, h.hexdigest())


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
