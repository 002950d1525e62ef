"""The folder of a campaign: one file for each variant, a journal that survives a power cut, a name for each viewer.

variants/ID.mp4        each unique version once, with its delivery log
viewers/...            a link (or copy) for each viewer, named by the template
plates/KEY.perf        analyses, one a plate
thumbs/ID.jpg          a look at each variant, for the report
journal.jsonl          one line for each finished variant
results.parquet        the results table; report.html: the same to look at
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any

from digidouble.deliver.partial import output_errors, partial_path
from digidouble.errors import OutputError

MAX_JOURNAL_BYTES = 256 << 20
FOLDERS = ("variants", "viewers", "plates", "thumbs")


@dataclass(frozen=True)
class Made:
    """A finished variant. `seconds`: its share of the pass it was made in. `machine`: whether later estimates may use it."""

    variant: str
    file: str
    sha256: str
    size_bytes: int
    frames: int
    seconds: float
    plate: str


@contextmanager
def opened_store(folder: Path) -> Iterator[Store]:
    """The folder, for this run alone.

    Raises:
        OutputError: it cannot be written, or another run is at work in it.
    """
    with output_errors(folder):
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        lock = (folder / ".campaign.lock").open("a+b")
    with lock:
        if not _locked(lock):
            raise OutputError(
                f"{folder}: another campaign run is at work in this folder; wait for it, or write elsewhere"
            )
        for name in FOLDERS[:1] + FOLDERS[2:]:  # what a killed run left half-written
            for left in (folder / name).glob(".*.partial-*"):
                with suppress(OSError):
                    left.unlink()
        yield Store(folder)


def _locked(lock: IO[bytes]) -> bool:
    """Whether the lock is ours; the system lets go of it when the process ends, however it ends."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Store:
    """Reads and writes the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = read_journal(folder)

    def variant_path(self, variant: str, suffix: str) -> Path:
        return self.folder / "variants" / f"{variant}{suffix}"

    def kept(self, variant: str) -> Made | None:
        """A variant made earlier whose file is still what it was, to the bit."""
        made = self.made.get(variant)
        if made is None:
            return None
        path = self.folder / "variants" / made.file
        try:
            if path.stat().st_size != made.size_bytes:
                return None
            with path.open("rb") as file:
                return made if file_digest(file, "sha256").hexdigest() == made.sha256 else None
        except OSError:
            return None

    def add(self, made: Made) -> None:
        """Put a finished variant on record; it is on the disk when this returns.

        Raises:
            OutputError: the journal cannot be written.
        """
        path = self.folder / "journal.jsonl"
        with output_errors(path), path.open("ab") as file:
            start = b"" if _ends_a_line(path) else b"\n"  # after a line cut off by a power cut
            file.write(start + json.dumps(asdict(made)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.made[made.variant] = made

    def place(self, made: Made, name: str, how: str) -> Path | None:
        """Give a viewer its file: a hard link where the file system has them, else a copy.

        Raises:
            OutputError: it cannot be written, or would lie outside the folder.
        """
        if how == "none":
            return None
        source, target = self.folder / "variants" / made.file, self.folder / "viewers" / name
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            home = (self.folder / "viewers").resolve()
            if not target.parent.resolve().is_relative_to(home):
                raise OutputError(f"{target}: a link in this folder leads outside of it; remove the link")
            if _is_already(source, target, how):
                return target
            partial = partial_path(target)
            try:
                if how == "copy" or not _linked(source, partial):
                    shutil.copy2(source, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return target


def read_journal(folder: Path) -> dict[str, Made]:
    """Finished variants by id. Lines that a power cut damaged are skipped: their variants are made again.

    Raises:
        OutputError: the journal is too large to be one.
    """
    path = folder / "journal.jsonl"
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JOURNAL_BYTES:
        raise OutputError(f"{path}: larger than {MAX_JOURNAL_BYTES >> 20} MiB: start in a new folder")
    found = {}
    for line in path.read_bytes().split(b"\n"):
        made = _made(line)
        if made is not None:
            found[made.variant] = made
    return found


def _made(line: bytes) -> Made | None:
    try:
        record: Any = json.loads(line)
        made = Made(**record)
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = {"variant": str, "file": str, "sha256": str, "size_bytes": int, "frames": int, "plate": str}
    sound = all(isinstance(getattr(made, k), t) for k, t in kinds.items()) and isinstance(made.seconds, (int, float))
    return made if sound and "/" not in made.file and "\\" not in made.file and ".." not in made.file else None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _is_already(source: Path, target: Path, how: str) -> bool:
    try:
        if target.is_symlink():
            return False
        a, b = source.stat(), target.stat()
    except OSError:
        return False
    same = (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    copied = (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns) and not same
    return same if how == "link" else copied


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
