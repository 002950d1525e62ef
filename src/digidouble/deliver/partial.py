"""Half-written files: their names, and errors of writing said in the user's words."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digidouble.errors import DigidoubleError, OutputError

_serial = itertools.count()
_REASONS = {
    errno.ENOSPC: "the disk is full: free some space, or write elsewhere",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew beyond the size allowed here",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the disk is read-only",
    errno.EISDIR: "a folder of that name is in the way",
}


def partial_path(final: Path) -> Path:
    """A name of its own in the same folder (so that renaming is atomic), keeping the suffix (it chooses the format)."""
    return final.with_name(f".{final.stem[:120]}.partial-{os.getpid()}-{next(_serial)}{final.suffix}")


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all.

    Raises:
        OutputError: it cannot be written; nothing is left then.
    """
    partial = partial_path(path)
    with output_errors(path):
        try:
            partial.write_text(text, "utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Whatever FFmpeg, OpenEXR or the system says when writing fails, as an `OutputError` that names `out`."""
    from av.error import FFmpegError

    try:
        yield
    except DigidoubleError:
        raise
    except (FFmpegError, OSError, ValueError, RuntimeError) as error:
        # FFmpeg and OpenEXR raise ValueError and RuntimeError subclasses for refused parameters and failed writes.
        reason = _REASONS.get(getattr(error, "errno", None) or 0, str(error) or type(error).__name__)
        raise OutputError(f"{out}: cannot be written: {reason}") from error
