"""Ways to damage a file: blind ones, and ones that know the format and keep its checksums right.

Each takes (random, data) and returns data; all randomness is the `Random` handed in, so a seed gives the same file for ever.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

MAX_BYTES = 24 << 20  # what a mutator may grow a file to
NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    1 << 24,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
ESCAPES = (
    "../../escaped", "../escaped.png", "/tmp/fuzz_escaped", "..\\escaped", "C:\\escaped", "a/../../escaped", ".", "..", "", "\0", "a\0b", "~/escaped",
    "file:///etc/passwd", "http://127.0.0.1:9/x", "concat:a|b", "con",
    "a" * 5000, "\u202e\u0000", "é" * 300, "é" * 200, "a" * 300, "%s%n", "{shot}", "####", "-o", "$(touch x)",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**9, -(10**9), 1 << 31, 1 << 63, 10**30, 10**400, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"),
    "", [], {}, [[]], [None], {"a": 1}, [0] * 5000, "1e999999999", "9" * 5000, "2026-13-45", "00:00:00:00", "99:99:99:99", "1/0", "0/1",
)  # fmt: skip
TOKENS = (
    "null", "~", "-1", "0", "1e999", "99999999999999999999", "nan", ".inf", "[", "]", "{", "}", '"', "'", "&a x", "*a", "!!python/object:os.system x", "!x",
    "<<: *a", "|", ">", "? ", "- - - -", "\t", "---", "...", "%YAML 9.9", "#", "\r", "\x00", "\ufeff", "\u2028", "2026-01-31", "12:30", "=", "[[x]]", "[x]",
    "1979-05-27T07:32:00Z", "0x" + "f" * 200, "99:99:99:99", "00:00:00;00", "FCM: DROP FRAME", "M2   A001   -999.0   00:00:00:00", "'''", '"""', "\\u0000",
    "[" * 3000, "{a: " * 2000, "a." * 2000 + "a = 1",
)  # fmt: skip
Mutator = Callable[[Random, bytes], bytes]


def mutated(draw: Random, name: str, data: bytes, others: list[bytes]) -> bytes:
    """`data`, the content of a good file called `name`, damaged in one to three ways. `others`: files to splice from."""
    kinds, most = STRUCTURED.get(_format(name, data), ()), 0.65
    if _format(name, data) in ("zip", "text", "json"):  # blind damage to these is refused at the door
        most = 0.85
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        way = draw.random()
        if kinds and way < most:
            data = draw.choice(kinds)(draw, data)
        elif way < most + 0.05 and others:
            data = spliced(draw, data, draw.choice(others))
        else:
            data = draw.choice(BLIND)(draw, data)
        data = data[:MAX_BYTES]
    return data[:MAX_BYTES]


def _format(name: str, data: bytes) -> str:
    suffix = name.rsplit(".", 1)[-1].lower()
    if data[:2] == b"PK":
        return "zip"
    if data[:4] == b"\x89PNG":
        return "png"
    if data[4:8] in (b"ftyp", b"jumb", b"wide", b"moov", b"mdat"):
        return "box"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tif"
    if data[:4] == b"\x76\x2f\x31\x01":
        return "exr"
    return {"json": "json", "otio": "json", "yaml": "text", "toml": "text", "edl": "text", "csv": "text"}.get(
        suffix, "binary"
    )


# --- blind ------------------------------------------------------------------------------------------------------------


def flipped(draw: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw.randint(1, 24) if out else 0):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def flipped_early(draw: Random, data: bytes) -> bytes:
    """Headers matter more than pictures."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 8) if out else 0):
        out[draw.randrange(min(len(out), 2048))] = draw.randrange(256)
    return bytes(out)


def truncated(draw: Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def beheaded(draw: Random, data: bytes) -> bytes:
    return data[draw.randrange(min(len(data), 4096) + 1) :]


def with_number(draw: Random, data: bytes) -> bytes:
    """A telling number in some width and byte order."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        width, order = draw.choice((1, 2, 4, 4, 4, 8)), draw.choice(("big", "little"))
        limit = max(1, min(len(out), draw.choice((256, 4096, len(out)))) - width)
        at = draw.randrange(limit)
        out[at : at + width] = (draw.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, order)
    return bytes(out)


def moved(draw: Random, data: bytes) -> bytes:
    """A block doubled, dropped, zeroed or carried elsewhere."""
    if len(data) < 4:
        return data
    a = draw.randrange(len(data) - 1)
    b = min(len(data), a + draw.choice((1, 4, 16, 256, 4096)))
    block, how = data[a:b], draw.randrange(4)
    if how == 0:
        return data[:b] + block * draw.choice((1, 2, 50)) + data[b:]
    if how == 1:
        return data[:a] + data[b:]
    if how == 2:
        return data[:a] + bytes(len(block)) + data[b:]
    at = draw.randrange(len(data))
    return data[:at] + block + data[at:]


def grown(draw: Random, data: bytes) -> bytes:
    return data + draw.choice((b"\0", b"\xff", data[:64], draw.randbytes(64))) * draw.choice((1, 100, 20000))


def spliced(draw: Random, data: bytes, other: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


BLIND: tuple[Mutator, ...] = (flipped, flipped_early, truncated, beheaded, with_number, with_number, moved, grown)


# --- texts ------------------------------------------------------------------------------------------------------------


def token_changed(draw: Random, data: bytes) -> bytes:
    """Words and values of a text become others'."""
    text = data.decode("utf-8", "replace")
    words = list(re.finditer(r"[^\s,:=\[\]{}\"']+", text))
    for _ in range(draw.randint(1, 3)):
        if not words:
            break
        word = draw.choice(words)
        new = draw.choice((draw.choice(TOKENS), draw.choice(ESCAPES), str(draw.choice(NUMBERS)), draw.choice(words)[0]))
        text = text[: word.start()] + new + text[word.end() :]
        words = list(re.finditer(r"[^\s,:=\[\]{}\"']+", text[:200_000]))
    return text.encode("utf-8", "surrogatepass")


def value_changed(draw: Random, data: bytes) -> bytes:
    """One number, date or short word changed a little: what still parses goes further."""
    text = data.decode("utf-8", "replace")
    words = list(re.finditer(r"[0-9]+|[A-Za-z]{2,}", text))
    if not words:
        return data
    word = draw.choice(words)
    new = draw.choice(
        (
            "0",
            "1",
            "2",
            "9" * draw.choice((1, 2, 4, 12, 30)),
            "",
            word[0] * 2,
            word[0].upper(),
            word[0][::-1],
            draw.choice(words)[0],
            "é",
        )
    )
    return (text[: word.start()] + new + text[word.end() :]).encode()


def lines_changed(draw: Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").split("\n")
    at = draw.randrange(len(lines))
    how = draw.randrange(6)
    if how == 0:
        lines.insert(at, draw.choice(TOKENS))
    elif how == 1:
        del lines[at]
    elif how == 2:
        lines[at:at] = [lines[at]] * min(draw.choice((1, 3, 3000)), 1 + (1 << 20) // (len(lines[at]) + 1))
    elif how == 3:
        lines[at] = " " * draw.choice((1, 2, 7, 500)) + lines[at]
    elif how == 4:
        lines[at] = lines[at][: 1 << 12] * draw.choice((2, 500))
    else:
        draw.shuffle(lines)
    return "\n".join(lines).encode()


def encoded_otherwise(draw: Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(draw.choice(("utf-16", "utf-32", "utf-8-sig", "cp1252")), "replace")


def nested(draw: Random, data: bytes) -> bytes:
    open_, close = draw.choice((("[", "]"), ("{a: ", "}"), ('{"a":', "}"), ("a = [", "]")))
    deep = draw.choice((10, 200, 2000, 200_000))
    text = data.decode("utf-8", "replace")
    at = draw.randrange(len(text) + 1)
    return (text[:at] + open_ * deep + "1" + close * deep + text[at:]).encode()


def json_changed(draw: Random, data: bytes) -> bytes:
    """Values, keys and lists of a JSON document changed, the document still JSON. A log is one document a line."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return token_changed(draw, data)
    for _ in range(draw.randint(1, 4)):
        found = changed_value(draw, found)
    return json.dumps(found).encode()


def changed_value(draw: Random, found: Any) -> Any:
    """A JSON value with one place in it changed."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any, depth: int) -> None:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in list(inside)[:400]:
            places.append((value, key))
            if depth < 20:
                walk(child, depth + 1)

    walk(found, 0)
    if not places:
        return draw.choice(VALUES)
    holder, key = draw.choice(places)
    how = draw.randrange(7)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, list):
        holder[:] = holder * draw.choice((2, 100))
    elif how == 1:
        holder[draw.choice(("", "x", "../x", "manifest.json"))] = holder[key]
    elif how == 2:
        holder[key] = draw.choice(ESCAPES)
    elif how == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = draw.choice((-holder[key], holder[key] + 1, holder[key] * 1000, draw.choice(NUMBERS)))
    elif how == 4:
        other, name = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
    else:
        holder[key] = draw.choice(VALUES)
    return found


# --- our assets: zips of safetensors, with a manifest of hashes ----------------------------------------------------------


def zip_changed(draw: Random, data: bytes) -> bytes:
    """An asset with facts, arrays, names or the list of members changed; mostly with the hashes made right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {i.filename: archive.read(i) for i in archive.infolist()}
        manifest = json.loads(members.pop("manifest.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error):
        return draw.choice(BLIND)(draw, data)
    odd: list[tuple[str, bytes]] = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        how = draw.choice((0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 5, 6, 7))
        name = draw.choice(sorted(members)) if members else ""
        if how == 0:
            manifest = _same_kind(manifest, changed_value(draw, manifest))
        elif how == 1:
            manifest["facts"] = changed_value(draw, manifest.get("facts"))
        elif how == 2 and name:
            members[name] = tensors_changed(draw, members[name])
        elif how == 5 and name:
            members[name] = draw.choice(BLIND)(draw, members[name])
        elif how == 6 and name:
            new = draw.choice(ESCAPES) or "x"
            members[new] = members.pop(name)
        else:
            odd.append((draw.choice((*ESCAPES, name, "manifest.json", "x.safetensors")) or "x", draw.randbytes(50)))
    if draw.random() < 0.95 and isinstance(manifest.get("members"), dict):
        manifest["members"] = {
            n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in members.items()
        }
        if draw.random() < 0.03 and members:
            manifest["members"][draw.choice(sorted(members))] |= {"bytes": draw.choice(NUMBERS)}
    return _zipped(draw, [*members.items(), *odd, ("manifest.json", json.dumps(manifest).encode())])


def _same_kind(before: dict[str, Any], after: Any) -> dict[str, Any]:
    return after if isinstance(after, dict) else {**before, "facts": after}


def _zipped(draw: Random, members: list[tuple[str, bytes]]) -> bytes:
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            info = zipfile.ZipInfo(name[:60000].replace("\0", "_") or "x")
            info.compress_type = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            if draw.random() < 0.01:
                info.external_attr = 0o120777 << 16
            archive.writestr(info, content)
        if draw.random() < 0.02:
            archive.writestr("bomb", bytes(60 << 20))
    return buffer.getvalue()


def tensors_changed(draw: Random, data: bytes) -> bytes:
    """A safetensors file with header or numbers changed."""
    try:
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
        arrays = [v for k, v in header.items() if k != "__metadata__"]
        one = draw.choice(arrays)
        begin, end = one["data_offsets"]
        shape, _ = list(one["shape"]), one["dtype"]
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return draw.choice(BLIND)(draw, data)
    how = draw.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6))
    kinds = {
        "F32": np.float32,
        "F16": np.float16,
        "F64": np.float64,
        "U8": np.uint8,
        "I8": np.int8,
        "I64": np.int64,
        "I32": np.int32,
    }
    if how <= 3 and begin >= 0 and 8 <= end - begin <= len(body) - begin and one["dtype"] in kinds:
        values = np.frombuffer(bytes(body[begin:end]), kinds[one["dtype"]]).copy()
        wild = (0, 0, 1, -1, 0.5, -0.5, 3, -3, 20, -20, 90, -90, 1e-30, 1e3, -1e3, 6e4, 1e9, -1e30, np.nan, np.inf)
        part = (
            slice(None)
            if how == 0
            else slice(draw.randrange(len(values)), None)
            if how == 1
            else draw.randrange(len(values))
        )
        with np.errstate(all="ignore"):
            number = draw.choice(wild) if values.dtype.kind == "f" else int(draw.choice(NUMBERS)) & 0x7F
            if how == 3 and values.dtype.kind == "f":
                values *= draw.choice((-1, 0, 0.5, 2, 8, 1e-3, 1e3, 1e6))
            else:
                values[part] = number
        body[begin:end] = values.tobytes()
    elif how == 4:
        one["shape"] = draw.choice(([], [0], [1], [1 << 40], shape[::-1], [*shape, 1], [-1], [1 << 62, 4]))
    elif how == 5:
        one["dtype"] = draw.choice(("F64", "F16", "BOOL", "I64", "BF16", "X", ""))
    else:
        header = changed_value(draw, header)
    text = json.dumps(header).encode()
    length = len(text) if draw.random() < 0.9 else draw.choice(NUMBERS)
    return struct.pack("<Q", length & ((1 << 64) - 1)) + text + bytes(body)


# --- media ------------------------------------------------------------------------------------------------------------


def png_changed(draw: Random, data: bytes) -> bytes:
    """Chunks changed, dropped, doubled or new; checksums right."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append([kind, data[at + 8 : at + 8 + size]])
        at += 12 + size
    for _ in range(draw.randint(1, 3)):
        chunk = draw.choice(chunks) if chunks else [b"IHDR", b""]
        how = draw.randrange(6)
        if how == 0:
            chunk[1] = draw.choice(BLIND)(draw, chunk[1])
        elif how == 1 and chunk in chunks:
            chunks.remove(chunk)
        elif how == 2:
            chunks.insert(draw.randrange(len(chunks) + 1), list(chunk))
        elif how == 3 and chunks:
            w, h = draw.choice(NUMBERS) & 0xFFFFFFFF, draw.choice((1, 100000, draw.choice(NUMBERS) & 0xFFFFFFFF))
            chunks[0][1] = struct.pack(">II", w, h) + chunks[0][1][8:]
        elif how == 4:
            text = draw.choice(
                (b"AIGC\0" + bytes(5), b"AIGC\0{", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta>" + b"<a>" * 5000)
            )
            bomb = b"AIGC\0\0" + zlib.compress(bytes(50 << 20))
            chunks.insert(1, [draw.choice((b"tEXt", b"iTXt")), text] if draw.random() < 0.8 else [b"zTXt", bomb])
        else:
            chunk[0] = draw.choice(
                (b"acTL", b"fcTL", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"caBX", b"IEND", b"\xff\xff\xff\xff")
            )
    body = b"".join(struct.pack(">I4s", len(b), k) + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:8] + body


def box_changed(draw: Random, data: bytes) -> bytes:
    """ISO boxes (mp4, mov, JUMBF): sizes, kinds and counts of tables changed."""
    names = (
        rb"ftyp|moov|trak|mdia|minf|stbl|stsd|stts|stsc|stsz|stco|ctts|stss|edts|elst|mvhd|tkhd|mdhd|hdlr"
        rb"|colr|tmcd|udta|meta|ilst|keys|avcC|hvcC|uuid|jumb|jumd|cbor|json|mdat"
    )
    places = [m.start() for m in re.finditer(names, data)]
    if not places:
        return draw.choice(BLIND)(draw, data)
    out = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.choice(places)
        how = draw.randrange(4)
        if how == 0 and at >= 4:
            out[at - 4 : at] = struct.pack(">I", draw.choice(NUMBERS) & 0xFFFFFFFF)
        elif how == 1:
            out[at : at + 4] = draw.choice((b"free", b"moov", b"trak", b"tmcd", b"colr", b"\0\0\0\0", b"stts"))
        else:
            field = at + 4 + 4 * draw.randrange(0, 12)
            out[field : field + 4] = struct.pack(">I", draw.choice(NUMBERS) & 0xFFFFFFFF)
    return bytes(out)


def tif_changed(draw: Random, data: bytes) -> bytes:
    """Entries of the first directory changed."""
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    if len(out) < 16:
        return data
    ifd = struct.unpack(order + "I", out[4:8])[0]
    if ifd + 2 > len(out):
        return draw.choice(BLIND)(draw, data)
    count = struct.unpack(order + "H", out[ifd : ifd + 2])[0]
    for _ in range(draw.randint(1, 3)):
        at = ifd + 2 + 12 * draw.randrange(max(1, count))
        part, width = draw.choice(((0, 2), (2, 2), (4, 4), (8, 4)))
        if at + 12 <= len(out):
            out[at + part : at + part + width] = struct.pack(
                order + ("H" if width == 2 else "I"), draw.choice(NUMBERS) % (1 << 8 * width)
            )
    return bytes(out)


def exr_changed(draw: Random, data: bytes) -> bytes:
    """Attributes of the header changed: windows, channels, compression, counts."""
    out = bytearray(data)
    names = rb"channels\0|compression\0|dataWindow\0|displayWindow\0|lineOrder\0|pixelAspectRatio\0|timeCode\0|framesPerSecond\0|chromaticities\0|AIGC\0"
    places = [m.end() for m in re.finditer(names, data[:8192])]
    if not places:
        return draw.choice(BLIND)(draw, data)
    for _ in range(draw.randint(1, 3)):
        at = draw.choice(places)
        at = data.find(b"\0", at) + 1 + draw.choice((0, 4, 4, 8, 12, 16))  # after the type's name: size, then value
        out[at : at + 4] = struct.pack("<I", draw.choice((*NUMBERS, 3, 7, 9, 10)) & 0xFFFFFFFF)
    return bytes(out)


TEXTS: tuple[Mutator, ...] = (
    value_changed,
    value_changed,
    value_changed,
    value_changed,
    token_changed,
    token_changed,
    lines_changed,
    lines_changed,
    encoded_otherwise,
    nested,
)
STRUCTURED: dict[str, tuple[Mutator, ...]] = {
    "zip": (zip_changed,), "png": (png_changed,), "box": (box_changed,), "tif": (tif_changed,), "exr": (exr_changed,), "text": TEXTS,
    "json": (json_changed, json_changed, json_changed, *TEXTS),
}  # fmt: skip
