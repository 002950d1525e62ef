"""The orientation of a TIFF file, taken out of its bytes.

Decoders differ: some turn the picture by this tag themselves, some leave it, and the same one changes its mind between
versions. Without the tag all of them give the stored picture, and we turn it, once.
"""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112
_SHORT = 3


def without_orientation(data: bytes) -> tuple[bytes, int]:
    """The file with the orientation of its first picture set to 1 (upright), and what it was.

    Reads TIFF 6.0 (§2) and BigTIFF headers; bytes that are neither come back as they are, with orientation 1.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return data, 1
    magic = struct.unpack_from(order + "H", data, 2)[0]
    if magic not in (42, 43):
        return data, 1
    # Where the first directory's offset is, its type, the type of its count, an entry's size, the value's place in it.
    at, offset, count, entry, value = (4, "I", "H", 12, 8) if magic == 42 else (8, "Q", "Q", 20, 12)
    try:
        start = struct.unpack_from(order + offset, data, at)[0]
        entries = struct.unpack_from(order + count, data, start)[0]
        first = start + struct.calcsize(order + count)
        for i in range(min(entries, 4096)):
            place = first + i * entry
            tag, kind = struct.unpack_from(order + "HH", data, place)
            if tag == _ORIENTATION and kind == _SHORT:
                found = struct.unpack_from(order + "H", data, place + value)[0]
                patched = bytearray(data)
                struct.pack_into(order + "H", patched, place + value, 1)
                return bytes(patched), found
    except struct.error:
        pass  # a damaged directory; the decoder will say so
    return data, 1
