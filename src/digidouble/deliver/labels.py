"""Machine-readable labels: what a file says about itself to software.

Two labels go into everything that is delivered:

* `AIGC`, the implicit label of GB 45438-2025 (Annex E): a metadata field whose name holds "AIGC" and whose value is a
  JSON object with seven fixed keys. Exactly one copy: none and two are both failures (6.1 c).
* `Iptc4xmpExt:DigitalSourceType`, the IPTC NewsCode that says a picture is a composite with generated media.

Where they live ("key" is container metadata, "XMP" an XMP packet):

    format          AIGC                                   DigitalSourceType
    mp4, mov        key `AIGC` (moov/meta/keys)            XMP in a top-level `uuid` box (XMP specification part 3)
    mkv             tag `AIGC`                             tag `DIGITALSOURCETYPE`
    png             tEXt chunk `AIGC`                      XMP in an iTXt chunk `XML:com.adobe.xmp`
    jpg, tif, webp  XMP `TC260:AIGC`                       the same XMP packet
    exr             string attribute `AIGC`                string attribute `digitalSourceType`

PyAV cannot write the XMP box, so it is appended after the muxer has closed the file: top-level boxes are independent of
each other and nothing in `moov` points past the media data.
"""

from __future__ import annotations

import html
import json
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from digidouble.errors import SettingsError, UnreadableMedia

IPTC_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_LABEL_BYTES = 1 << 20  # a label or XMP packet larger than this is not read

SourceType = Literal["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"]

_AIGC_KEYS = (
    ("Label", "label"),
    ("ContentProducer", "content_producer"),
    ("ProduceID", "produce_id"),
    ("ReservedCode1", "reserved_code1"),
    ("ContentPropagator", "content_propagator"),
    ("PropagateID", "propagate_id"),
    ("ReservedCode2", "reserved_code2"),
)


@dataclass(frozen=True)
class AigcLabel:
    """The implicit label of GB 45438-2025, Annex E.

    label: "1" is generated or composited, "2" may be, "3" is suspected to be. The producer fills the first three
    fields; the propagator pair belongs to platforms; the reserved codes are free for the holder (a hash, a signature).
    """

    content_producer: str
    produce_id: str
    label: Literal["1", "2", "3"] = "1"
    reserved_code1: str = ""
    content_propagator: str = ""
    propagate_id: str = ""
    reserved_code2: str = ""

    def __post_init__(self) -> None:
        if self.label not in ("1", "2", "3"):
            raise SettingsError(f'AIGC label: expected "1", "2" or "3", got {self.label!r}')
        for key, name in _AIGC_KEYS:
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > 512 or any(ord(c) < 32 for c in value):
                raise SettingsError(f"AIGC {key}: expected at most 512 printable characters, got {value!r:.80}")
        if not (self.content_producer and self.produce_id):
            raise SettingsError("AIGC label: ContentProducer and ProduceID are needed; name the producer of this file")

    def to_json(self) -> str:
        """One line of ASCII JSON with the seven keys of the standard, in its order."""
        return json.dumps({key: getattr(self, name) for key, name in _AIGC_KEYS}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> AigcLabel:
        """Read a label back.

        Raises:
            UnreadableMedia: not a JSON object of strings with the seven keys.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise TypeError("not an object")
            return cls(**{name: data.get(key, "") for key, name in _AIGC_KEYS})
        except (ValueError, TypeError, RecursionError) as error:
            raise UnreadableMedia(f"AIGC label {text[:80]!r}: expected GB 45438 Annex E JSON ({error})") from error


@dataclass(frozen=True)
class Labels:
    """The labels found in, or meant for, a file. `aigc_copies` other than 1 fails GB 45438 6.1 c."""

    aigc: AigcLabel | None
    source_type: str | None
    aigc_copies: int = 1

    @property
    def complete(self) -> bool:
        """Whether both labels are there, and AIGC exactly once."""
        return self.aigc is not None and self.aigc_copies == 1 and self.source_type is not None


def xmp_packet(labels: Labels, with_aigc: bool) -> bytes:
    """An XMP packet (UTF-8) with the IPTC source type and, for formats with no field of their own, `TC260:AIGC`."""
    lines = [
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"',
        f'Iptc4xmpExt:DigitalSourceType="{IPTC_SOURCE_TYPES}{html.escape(labels.source_type or "")}"',
    ]
    if with_aigc and labels.aigc is not None:  # else not even the namespace: its name would look like a second label
        lines.append('xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"')
        lines.append(f'TC260:AIGC="{html.escape(labels.aigc.to_json())}"')
    attributes = "\n    ".join(lines)
    text = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    {attributes}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
    return text.encode()


def labels_from_xmp(packet: bytes) -> Labels:
    """What an XMP packet says. Attributes and elements are both legal RDF; both are found.

    Read with patterns, not with an XML parser: a stranger's packet must not be able to expand entities.
    """
    text = packet[:MAX_LABEL_BYTES].decode("utf-8", "replace")
    pattern = r"\bTC260:AIGC\s*=\s*(?:\"([^\"]*)\"|'([^']*)')|<TC260:AIGC>([^<]*)<"
    aigc = [html.unescape(a or b or c) for a, b, c in re.findall(pattern, text)]
    source = re.search(r"digitalsourcetype/([A-Za-z]{1,64})", text)
    return _labels(aigc, source.group(1) if source else None)


def metadata_keys(labels: Labels, suffix: str) -> dict[str, str]:
    """Container metadata for a movie muxer; mp4 and mov also need `movflags=use_metadata_tags`, or the key is lost."""
    keys = {"AIGC": labels.aigc.to_json()} if labels.aigc else {}
    if suffix == ".mkv" and labels.source_type:
        keys["DIGITALSOURCETYPE"] = IPTC_SOURCE_TYPES + labels.source_type
    return keys


def append_xmp_box(path: Path, labels: Labels) -> None:
    """Append the XMP `uuid` box to a finished mp4 or mov."""
    payload = XMP_UUID + xmp_packet(labels, with_aigc=False)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(payload), b"uuid") + payload)


def label_png(data: bytes, labels: Labels, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """Put the labels (and `extra` chunks, such as cICP) behind the header of an encoded PNG."""
    if data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        raise UnreadableMedia("label_png: the data is not a PNG")
    chunks = list(extra)
    if labels.aigc:
        chunks.append((b"tEXt", b"AIGC\0" + labels.aigc.to_json().encode("ascii")))
    if labels.source_type:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(labels, with_aigc=False)))
    head_end = 8 + 25
    return data[:head_end] + b"".join(_png_chunk(kind, body) for kind, body in chunks) + data[head_end:]


def read_labels(path: Path) -> Labels:
    """Read the labels of a delivered movie or picture back.

    Raises:
        UnreadableMedia: the file is missing, damaged, of a suffix that carries no labels, or its AIGC field is not the
            standard's JSON.
    """
    readers = {
        ".png": _read_png,
        ".exr": _read_exr,
        **dict.fromkeys((".jpg", ".jpeg", ".tif", ".tiff", ".webp"), _read_pillow),
        **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv"), _read_movie),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableMedia(f"{path}: {path.suffix!r} carries no labels; expected one of {', '.join(readers)}")
    try:
        return reader(path)
    except UnreadableMedia:
        raise
    except (OSError, ValueError, RuntimeError, SyntaxError, struct.error) as error:
        raise UnreadableMedia(f"{path}: the labels cannot be read ({error})") from error


def _labels(aigc: list[str], source_type: str | None) -> Labels:
    return Labels(AigcLabel.from_json(aigc[0]) if aigc else None, source_type, len(aigc))


def _source_code(uri: str | None) -> str | None:
    return uri.rsplit("/", 1)[-1] if uri else None


def _read_movie(path: Path) -> Labels:
    import av
    from av.error import FFmpegError

    from digidouble.footage.movie import LOCAL_ONLY

    try:
        with av.open(str(path), options=LOCAL_ONLY, metadata_errors="replace") as container:
            tags = [dict(container.metadata), *(dict(stream.metadata) for stream in container.streams)]
    except FFmpegError as error:  # some of them are no OSError but, say, a MemoryError
        raise UnreadableMedia(f"{path}: the labels cannot be read ({error})") from error
    upper = [{key.upper(): value for key, value in tag.items()} for tag in tags]
    aigc = [value for tag in tags for key, value in tag.items() if "AIGC" in key.upper()]
    source = _source_code(next((tag["DIGITALSOURCETYPE"] for tag in upper if "DIGITALSOURCETYPE" in tag), None))
    if path.suffix.lower() != ".mkv":
        found = labels_from_xmp(_xmp_box(path))
        aigc += [found.aigc.to_json()] * found.aigc_copies if found.aigc else []
        source = source or found.source_type
    return _labels(aigc, source)


def _xmp_box(path: Path) -> bytes:
    """The payload of the first top-level XMP `uuid` box, empty when there is none."""
    end = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position + 8 <= end:
            file.seek(position)
            size, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if size == 1:
                size, header = struct.unpack(">Q", file.read(8))[0], 16
            size = size or end - position  # 0: to the end of the file
            if size < header:
                return b""
            if kind == b"uuid" and file.read(16) == XMP_UUID:
                return file.read(min(size - header - 16, MAX_LABEL_BYTES))
            position += size
    return b""


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _read_png(path: Path) -> Labels:
    aigc: list[str] = []
    source = None
    with path.open("rb") as file:
        if file.read(8) != PNG_SIGNATURE:
            raise UnreadableMedia(f"{path}: not a PNG")
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind not in (b"tEXt", b"iTXt") or size > MAX_LABEL_BYTES:
                file.seek(size + 4, 1)
                continue
            keyword, _, value = file.read(size).partition(b"\0")
            file.seek(4, 1)
            if kind == b"tEXt" and b"AIGC" in keyword.upper():
                aigc.append(value.decode("latin-1"))
            elif keyword == b"XML:com.adobe.xmp":
                found = labels_from_xmp(value)
                aigc += [found.aigc.to_json()] * found.aigc_copies if found.aigc else []
                source = source or found.source_type
    return _labels(aigc, source)


def _read_pillow(path: Path) -> Labels:
    from PIL import Image

    try:
        opened = Image.open(path, formats=("JPEG", "TIFF", "WEBP"))
    except Image.DecompressionBombError as error:  # of a class of its own
        raise UnreadableMedia(f"{path}: larger than a picture may be ({error})") from error
    with opened as image:
        packet = image.info.get("xmp", b"")
        if not packet and (tags := getattr(image, "tag_v2", None)) is not None:
            packet = tags.get(700, b"")
    return labels_from_xmp(packet.encode() if isinstance(packet, str) else bytes(packet))


def _read_exr(path: Path) -> Labels:
    import OpenEXR

    with OpenEXR.File(str(path), header_only=True) as file:
        header = dict(file.header())  # a copy: OpenEXR empties its own when the file is closed
    aigc = [str(value) for key, value in header.items() if "AIGC" in key.upper()]
    return _labels(aigc, _source_code(header.get("digitalSourceType")))
