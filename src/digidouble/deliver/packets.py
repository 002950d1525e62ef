"""Compressed pictures between an encoder and a container: the file in which a rendered segment of a movie waits to be joined.

A file is a magic line, then records of `size (u32), presentation index (i32), key (u8), bytes`, little-endian. The first record
holds the encoder's header (what containers call extradata). Packets lie in decoding order; presentation indices count
frames from 0 within the segment. No container means no container's opinion about codecs, time bases or offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from digidouble.errors import OutputError

MAGIC = b"digidouble packets 1\n"
_HEAD = struct.Struct("<IiB")
_HEADER = -1  # the index of the record that holds the encoder's header
MAX_PACKET_BYTES = 1 << 29


@dataclass(frozen=True)
class Encoded:
    """One compressed picture. `index`: its place in presentation order within the segment, -1 for the encoder's header."""

    index: int
    key: bool
    data: bytes


def write_header(file: BinaryIO, extradata: bytes) -> None:
    """Begin a file. `extradata`: the encoder's header, may be empty."""
    file.write(MAGIC)
    write_packet(file, Encoded(_HEADER, False, extradata))


def write_packet(file: BinaryIO, packet: Encoded) -> None:
    """Append one record."""
    file.write(_HEAD.pack(len(packet.data), packet.index, packet.key))
    file.write(packet.data)


def read_packets(path: Path, frames: int) -> Iterator[Encoded]:
    """The header, then `frames` pictures in decoding order, one in memory at a time.

    Raises:
        OutputError: not such a file, cut short, or not exactly the pictures 0..frames-1.
    """
    seen: set[int] = set()
    left = path.stat().st_size - len(MAGIC)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _damaged(path, "it does not begin like one")
        while left > 0:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise _damaged(path, "it is cut short")
            size, index, key = _HEAD.unpack(head)
            left -= _HEAD.size + size
            if size > MAX_PACKET_BYTES or left < 0:
                raise _damaged(path, f"a packet of {size} bytes does not fit into it")
            if (index == _HEADER) == bool(seen) or not _HEADER <= index < frames or index in seen:
                raise _damaged(path, f"picture {index} is twice in it or not one of {frames}")
            seen.add(index)
            yield Encoded(index, bool(key), file.read(size))
    if len(seen) != frames + 1:
        raise _damaged(path, f"it holds {len(seen) - 1} pictures, expected {frames}")


def _damaged(path: Path, why: str) -> OutputError:
    return OutputError(f"{path}: not a rendered segment ({why}): remove the folder {path.parent} and render again")
