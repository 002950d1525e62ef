"""The one door to our own files: `.persona` and `.perf`, a zip (or the same unpacked as a folder) with `manifest.json`.

A manifest says what the asset is, its schema version, its facts, and size and sha256 of every member; members are
safetensors or PNG. Opening an asset executes nothing, follows no links, and refuses whatever the manifest does not promise.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from digidouble.errors import DamagedAsset, NewerSchema, OlderSchema, OutputError, UnreadableMedia, UnsafeAsset

SCHEMA_VERSION = 5
MAX_MEMBER_BYTES = 512 << 20
MAX_TOTAL_BYTES = 32 << 30
MAX_MANIFEST_BYTES = 16 << 20
MAX_MEMBERS = 200_000
Kind = Literal["persona", "performance"]
OLDEST: dict[Kind, int] = {"persona": 1, "performance": 3}  # what this version still reads
Tensors = Mapping[str, Shaped[np.ndarray, "..."]]


class Member(BaseModel):
    """What the manifest promises about one member."""

    model_config = ConfigDict(extra="forbid")
    bytes: int = Field(ge=0, le=MAX_MEMBER_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """`manifest.json`. `facts` is validated by the noun that reads it."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    schema_version: int = Field(ge=1)
    digidouble: str = Field(max_length=64)
    facts: dict[str, Any]
    members: dict[str, Member] = Field(max_length=MAX_MEMBERS)


def _safe_name(name: str, where: Path) -> str:
    parts = name.split("/")
    if (
        not name
        or len(name) > 200
        or "\\" in name
        or ":" in name
        or name.startswith("/")
        or any(p in ("", ".", "..") for p in parts)
    ):
        raise UnsafeAsset(
            f"{where}: member name {name!r} would leave the asset; expected plain relative names. Do not use this file."
        )
    return name


class AssetWriter:
    """Writes an asset under a temporary name; `finish` gives it its own, `abort` leaves nothing."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """
        Raises:
            OutputError: the folder does not exist or cannot be written.
        """
        self._path = path
        self._kind: Kind = kind
        self._members: dict[str, Member] = {}
        self._temporary = path.with_name(f".{path.name}.partial-{os.getpid()}-{secrets.token_hex(3)}")
        if path.is_dir():
            raise OutputError(
                f"{path}: is a folder; expected a file name to write. Remove the folder or choose another name."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._zip = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        except OSError as e:
            raise OutputError(
                f"{path}: cannot be written ({e.strerror or e}). Choose a folder you may write to."
            ) from e

    def add_bytes(self, name: str, data: bytes) -> None:
        """Adds one member. Raises OutputError (disk full)."""
        _safe_name(name, self._path)
        if len(data) > MAX_MEMBER_BYTES:
            raise OutputError(f"{self._path}: member {name} has {len(data)} bytes, the limit is {MAX_MEMBER_BYTES}")
        try:
            # A fixed date: the same content gives the same bytes.
            self._zip.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED, 1)
        except OSError as e:
            self.abort()
            raise OutputError(
                f"{self._path}: cannot be written ({e.strerror or e}); nothing is left under that name."
            ) from e
        self._members[name] = Member(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def add_tensors(self, name: str, tensors: Tensors) -> None:
        """Adds arrays as one safetensors member."""
        from safetensors.numpy import save

        self.add_bytes(name, save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))

    def finish(self, facts: dict[str, Any]) -> Path:
        """Writes the manifest and gives the file its name. Raises OutputError."""
        from digidouble import __version__

        manifest = Manifest(
            kind=self._kind,
            schema_version=SCHEMA_VERSION,
            digidouble=__version__,
            facts=facts,
            members=dict(self._members),
        )
        self.add_bytes("manifest.json", manifest.model_dump_json(indent=1).encode())
        try:
            self._zip.close()
            self._temporary.replace(self._path)
        except OSError as e:
            self.abort()
            raise OutputError(
                f"{self._path}: cannot be written ({e.strerror or e}); nothing is left under that name."
            ) from e
        return self._path

    def abort(self) -> None:
        """Removes everything written so far."""
        try:
            self._zip.close()
        except (OSError, ValueError):
            self._zip.fp = None  # a full disk: the file cannot even be ended
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> AssetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self._temporary.exists():
            self.abort()


class AssetReader:
    """Reads an asset; every member is checked against the manifest before its content is used."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """
        Raises:
            UnreadableMedia: no such file, or no asset at all.
            DamagedAsset: manifest missing or malformed, members missing, unknown or of another size.
            NewerSchema: written by a newer version.
            OlderSchema: a performance from before what this version needs.
            UnsafeAsset: path escape, link, more bytes than an asset may have.
        """
        self.path = path
        if not path.exists():
            raise UnreadableMedia(f"{path}: no such {kind} file. Check the name.")
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self._sizes = self._folder_members()
        else:
            try:
                self._zip = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, EOFError) as e:
                raise DamagedAsset(
                    f"{path}: not a Digidouble {kind} ({e}). Expected a .{kind[:4]} file made by Digidouble."
                ) from e
        try:
            if self._zip is not None:
                self._sizes = self._zip_members(self._zip)
            self.manifest = self._read_manifest(kind)
            self._check_members()
        except BaseException:
            self.close()
            raise

    def _zip_members(self, archive: zipfile.ZipFile) -> dict[str, int]:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise UnsafeAsset(f"{self.path}: {len(infos)} members, the limit is {MAX_MEMBERS}.")
        if sum(i.file_size for i in infos) > MAX_TOTAL_BYTES or any(i.file_size > MAX_MEMBER_BYTES for i in infos):
            raise UnsafeAsset(
                f"{self.path}: expands beyond {MAX_TOTAL_BYTES >> 30} GiB (or a member beyond {MAX_MEMBER_BYTES >> 20} MiB)."
            )
        for i in infos:
            if stat.S_ISLNK(i.external_attr >> 16):
                raise UnsafeAsset(f"{self.path}: member {i.filename!r} is a link. Do not use this file.")
        return {_safe_name(i.filename, self.path): i.file_size for i in infos}

    def _folder_members(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for f in sorted(self.path.rglob("*")):
            if f.is_symlink():
                raise UnsafeAsset(f"{f}: is a link; an asset holds plain files only.")
            if f.is_file():
                out[f.relative_to(self.path).as_posix()] = f.stat().st_size
        return out

    def _raw(self, name: str, limit: int) -> bytes:
        try:
            if self._zip is None:
                with (self.path / name).open("rb") as f:
                    data = f.read(limit + 1)
            else:
                with self._zip.open(name) as f:
                    data = f.read(limit + 1)
        except (KeyError, FileNotFoundError) as e:
            raise DamagedAsset(f"{self.path}: member {name} is missing. Get the file again.") from e
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as e:
            raise DamagedAsset(f"{self.path}: member {name} cannot be read ({e}). Get the file again.") from e
        except Exception as e:  # zlib.error has no public base besides Exception
            if type(e).__name__ != "error":
                raise
            raise DamagedAsset(f"{self.path}: member {name} cannot be read ({e}). Get the file again.") from e
        if len(data) > limit:
            raise UnsafeAsset(
                f"{self.path}: member {name} is larger than the {limit} bytes promised. Do not use this file."
            )
        return data

    def _read_manifest(self, kind: Kind) -> Manifest:
        if "manifest.json" not in self._sizes:
            raise DamagedAsset(f"{self.path}: holds no manifest.json, so it is no {kind} of ours.")
        data = self._raw("manifest.json", MAX_MANIFEST_BYTES)
        try:
            raw = json.loads(data)
        except (ValueError, RecursionError) as e:
            raise DamagedAsset(f"{self.path}: manifest.json is not JSON ({e}).") from e
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerSchema(
                f"{self.path}: written with schema {version}, this Digidouble reads up to {SCHEMA_VERSION}. Update Digidouble: pip install -U digidouble"
            )
        try:
            manifest = Manifest.model_validate(raw)
        except ValidationError as e:
            raise DamagedAsset(
                f"{self.path}: manifest.json is malformed: {e.errors()[0]['loc']} {e.errors()[0]['msg']}."
            ) from e
        if manifest.kind != kind:
            raise DamagedAsset(f"{self.path}: is a {manifest.kind}, expected a {kind}.")
        if manifest.schema_version < OLDEST[kind]:
            raise OlderSchema(
                f"{self.path}: a {kind} of schema {manifest.schema_version}, this Digidouble reads {OLDEST[kind]} to "
                f"{SCHEMA_VERSION}. Make it again: digidouble perform PLATE -o {self.path.name}"
            )
        return manifest

    def _check_members(self) -> None:
        for name in self.manifest.members:
            _safe_name(name, self.path)
        found, promised = set(self._sizes) - {"manifest.json"}, set(self.manifest.members)
        if found != promised:
            odd = sorted(found ^ promised)[0]
            raise DamagedAsset(
                f"{self.path}: member {odd} is {'not in the manifest' if odd in found else 'missing'}. Get the file again."
            )
        for name, member in self.manifest.members.items():
            if self._sizes[name] != member.bytes:
                raise DamagedAsset(
                    f"{self.path}: member {name} has {self._sizes[name]} bytes, the manifest says {member.bytes}."
                )

    @property
    def facts(self) -> dict[str, Any]:
        return self.manifest.facts

    def names(self) -> list[str]:
        return sorted(self.manifest.members)

    def bytes_of(self, name: str) -> bytes:
        """A member's content. Raises DamagedAsset if it is not what the manifest promises."""
        if name not in self.manifest.members:
            raise DamagedAsset(f"{self.path}: member {name} is missing. Get the file again.")
        promised = self.manifest.members[name]
        data = self._raw(name, promised.bytes)
        if hashlib.sha256(data).hexdigest() != promised.sha256:
            raise DamagedAsset(
                f"{self.path}: member {name} was changed after it was written (sha256 differs). Get the file again."
            )
        return data

    def tensors(self, name: str) -> dict[str, Shaped[np.ndarray, "..."]]:
        """A safetensors member as arrays. Raises DamagedAsset."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.bytes_of(name)
        try:
            return load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as e:
            raise DamagedAsset(f"{self.path}: member {name} is not safetensors ({e}).") from e

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> AssetReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def expect(tensors: Tensors, shapes: dict[str, tuple[str, tuple[int | None, ...]]], where: Path) -> None:
    """Check names, dtypes and shapes of loaded arrays (None = any length).

    Raises:
        DamagedAsset: something is missing, extra, of another dtype or shape, or not finite.
    """
    if set(tensors) != set(shapes):
        raise DamagedAsset(f"{where}: arrays {sorted(set(tensors) ^ set(shapes))} are missing or unknown.")
    for name, (dtype, shape) in shapes.items():
        a = tensors[name]
        fits = len(a.shape) == len(shape) and all(s is None or s == n for s, n in zip(shape, a.shape, strict=True))
        if str(a.dtype) != dtype or not fits:
            raise DamagedAsset(f"{where}: array {name} is {a.dtype}{list(a.shape)}, expected {dtype}{list(shape)}.")
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            raise DamagedAsset(f"{where}: array {name} holds values that are not finite.")


def bounded(tensors: Tensors, largest: Mapping[str, float], where: Path) -> None:
    """Check that no number is larger than it can be in its place: later stages would take it for a size, or overflow.

    Raises:
        DamagedAsset: one is.
    """
    for name, most in largest.items():
        if tensors[name].size and float(np.abs(tensors[name]).max()) > most:
            raise DamagedAsset(
                f"{where}: array {name} holds {float(np.abs(tensors[name]).max()):g}, at most {most:g} can be."
            )
