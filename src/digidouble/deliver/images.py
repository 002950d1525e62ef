"""Pictures: single ones and numbered sequences, as PNG, JPEG, TIFF, WebP or EXR.

A sequence's name holds one frame field, `####` or `%04d`; its frames are numbered `shot.start_number + frame.index`, so
that they match the plate's. It is built in a hidden folder beside its place and moved out when it is complete.

PNG and TIFF take 8 bits from 8-bit plates and 16 from deeper ones; EXR takes scene-linear half floats; JPEG and WebP
are 8-bit, and HDR is tone-mapped for them.
"""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from digidouble.deliver.exr import ExrInfo, ExrLayer, write_exr
from digidouble.deliver.labels import Labels, label_png, xmp_packet
from digidouble.deliver.partial import output_errors, partial_path
from digidouble.deliver.samples import encoded_tags, signal_codes
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import OutputError, SettingsError
from digidouble.schema.colour import space_of
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange
from digidouble.schema.timecode import timecode_at

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".exr")
_FIELD = re.compile(r"#+|%(?:0\d+)?d")
_EIGHT_BIT = (".jpg", ".jpeg", ".webp")
_PQ, _HLG = 16, 18


@dataclass(frozen=True)
class SequenceName:
    """A file name with a frame field: `shot.####.exr` or `shot.%04d.exr`."""

    pattern: Path

    @classmethod
    def of(cls, out: Path) -> SequenceName | None:
        """The sequence that `out` names, None when it names one file.

        Raises:
            SettingsError: more than one frame field.
        """
        fields = _FIELD.findall(out.name)
        if len(fields) > 1:
            raise SettingsError(f"{out}: expected one frame field (#### or %04d), got {len(fields)}")
        return cls(out) if fields else None

    def name(self, number: int) -> str:
        """The file name of a frame number; longer numbers than the field grow it."""

        def digits(match: re.Match[str]) -> str:
            field = match.group()
            width = len(field) if field.startswith("#") else int(field[1:-1] or 1)
            return f"{number:0{width}d}"

        return _FIELD.sub(digits, self.pattern.name)


class ImageSink:
    """One picture or one sequence under construction."""

    def __init__(
        self, out: Path, shot: Shot, settings: DeliverySettings, labels: Labels, partial: Path | None = None
    ) -> None:
        self._out, self._shot, self._labels = out, shot, labels
        self._suffix = out.suffix.lower()
        self._sequence = SequenceName.of(out)
        count = len(settings.frame_range.clipped(shot.frame_count)) if settings.frame_range else shot.frame_count
        if self._sequence is None and count > 1:
            hint = f"{out.stem}.####{out.suffix}"
            raise SettingsError(f"{out}: one picture cannot hold {count} frames; name a sequence, such as {hint}")
        self._pairs: list[tuple[Path, Path]] = []
        self.encoding = _encoding_name(self._suffix, shot)
        self.warnings: list[str] = []
        self.wants_matte = False
        if self._suffix in _EIGHT_BIT and (shot.layout.is_float or shot.layout.bits > 8):
            self.warnings.append(f"{self._suffix} holds 8 bits; the plate is deeper (PNG, TIFF and EXR keep it)")
        if shot.layout.has_alpha and self._suffix in (".jpg", ".jpeg"):
            self.warnings.append("JPEG has no alpha channel; the plate's alpha was dropped")
        self._partial = partial or partial_path(out)
        with output_errors(out):
            if self._sequence is not None:
                self._partial = partial or self._partial.with_suffix("")
                self._partial.mkdir(exist_ok=partial is not None)
            else:
                self._partial.touch(exist_ok=False)

    def put(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None = None) -> None:
        """Write one frame under its partial name. Pictures hold no matte: the passes do."""
        if self._sequence is None:
            target, final = self._partial, self._out
            if self._pairs:
                raise OutputError(f"{self._out}: one picture cannot hold a second frame")
        else:
            name = self._sequence.name(self._shot.start_number + frame.index)
            target, final = self._partial / name, self._out.with_name(name)
        with output_errors(final):
            if self._suffix == ".exr":
                write_exr(target, [_linear_layer(frame)], self._exr_info(frame))
            else:
                target.write_bytes(_encoded(frame, self._suffix, encoded_cicp(self._shot), self._labels))
        self._pairs.append((target, final))

    def adopt(self, segment: Path, frames: FrameRange) -> None:
        """Take the pictures of a rendered segment as they are; the segment keeps its own (signing changes files).

        Raises:
            OutputError: one is missing.
        """
        for index in frames:
            name = self._sequence.name(self._shot.start_number + index) if self._sequence else self._out.name
            if not (segment / name).is_file():
                raise OutputError(f"{segment / name}: is missing from the rendered segment: render again")
            target = self._partial / name if self._sequence else self._partial
            with output_errors(self._out.with_name(name)):
                _linked(segment / name, target)
            self._pairs.append((target, self._out.with_name(name)))

    def finish(self) -> list[tuple[Path, Path]]:
        """[(partial name, final name)] in frame order."""
        return self._pairs

    def discard(self) -> None:
        """Remove whatever is left under the partial name."""
        if self._sequence is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
        else:
            self._partial.unlink(missing_ok=True)

    def _exr_info(self, frame: Frame) -> ExrInfo:
        shot = self._shot
        timecode = timecode_at(shot.timecode, shot.rate, frame.index) if shot.timecode else None
        moving = shot.kind != "image"
        primaries, more = exr_colour(shot, own_samples=shot.layout.is_float)
        return ExrInfo(shot.rate if moving else None, timecode, primaries, self._labels, more=more)


def _linked(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the disk has no second names."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def exr_colour(shot: Shot, own_samples: bool) -> tuple[int | None, dict[str, str]]:
    """(primaries, header attributes) of an EXR: chromaticities for plates that have them, the space's name for those of a config."""
    if not shot.colour.space:
        return encoded_tags(shot).primaries, {}
    space = space_of(shot.colour)
    return None, {"colorSpace": space.space if own_samples else space.working}


def encoded_cicp(shot: Shot) -> bytes:
    """The four bytes of a PNG cICP chunk (PNG third edition, 11.3.2.6): primaries, transfer, matrix RGB, full range."""
    tags = encoded_tags(shot)
    return bytes((tags.primaries, tags.transfer, 0, 1))


def tiff_bytes(codes: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"], xmp: bytes) -> bytes:
    """A little-endian TIFF 6.0: one Deflate strip with horizontal predictor, unassociated alpha, XMP in tag 700.

    Written by hand because neither Pillow nor OpenCV writes 16-bit RGB together with an XMP packet.
    """
    h, w, samples = codes.shape
    difference = codes.copy()
    difference[:, 1:] -= codes[:, :-1]  # wraps, as predictor 2 wants
    strip = zlib.compress(difference.astype(difference.dtype.newbyteorder("<")).tobytes(), 6)
    xmp += b"\0" * (len(xmp) & 1)
    strip += b"\0" * (len(strip) & 1)
    photometric = 2 if samples >= 3 else 1
    short, long, byte = 3, 4, 1
    bits = struct.pack(f"<{samples}H", *[8 * codes.itemsize] * samples)
    entries: list[tuple[int, int, int, bytes]] = [
        (256, long, 1, struct.pack("<I", w)),
        (257, long, 1, struct.pack("<I", h)),
        (258, short, samples, bits),
        (259, short, 1, struct.pack("<H", 8)),  # Adobe Deflate
        (262, short, 1, struct.pack("<H", photometric)),
        (273, long, 1, b"STRP"),
        (277, short, 1, struct.pack("<H", samples)),
        (278, long, 1, struct.pack("<I", h)),
        (279, long, 1, struct.pack("<I", len(strip))),
        (284, short, 1, struct.pack("<H", 1)),
        (317, short, 1, struct.pack("<H", 2)),
        *([(338, short, 1, struct.pack("<H", 2))] if samples in (2, 4) else []),
        (700, byte, len(xmp), xmp),
    ]
    data_at = 8 + 2 + 12 * len(entries) + 4
    directory, data = b"", b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, data = struct.pack("<I", data_at + len(data)), data + value + b"\0" * (len(value) & 1)
        directory += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    directory = directory.replace(b"STRP", struct.pack("<I", data_at + len(data)))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + b"\0" * 4 + data + strip


def _encoding_name(suffix: str, shot: Shot) -> str:
    name = {"jpeg": "jpg", "tiff": "tif"}.get(suffix[1:], suffix[1:])
    if name == "exr":
        return "exr float" if shot.layout.is_float and shot.layout.bits > 16 else "exr half"
    return f"{name} {8 if suffix in _EIGHT_BIT or (shot.layout.bits == 8 and not shot.layout.is_float) else 16}-bit"


def _linear_layer(frame: Frame) -> ExrLayer:
    from digidouble.schema.colour import linear_from_frame

    w, h = frame.size_wh
    deep = frame.layout.is_float and frame.layout.bits > 16
    if frame.layout.is_float and (
        frame.colour.transfer in (2, 8) or frame.colour.space
    ):  # an EXR's own samples, bit for bit
        plane = frame.planes[0]
        names = {1: ("Y",), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}
        plane = plane[..., None] if plane.ndim == 2 else plane
        return ExrLayer("", names[plane.shape[2]], plane, full_float=deep)
    pixels = linear_from_frame(frame, Roi(0, 0, w, h))
    if not frame.layout.has_alpha:
        return ExrLayer("", ("R", "G", "B"), pixels)
    alpha = frame.planes[0][..., 3] if frame.layout.kind == "rgb" else frame.planes[-1]
    if not frame.layout.is_float:
        alpha = alpha.astype(np.float32) / ((1 << frame.layout.bits) - 1)
        pixels = pixels * alpha[..., None]  # codecs and PNG hold straight alpha, EXR premultiplied
    return ExrLayer("", ("R", "G", "B", "A"), np.dstack([pixels, alpha.astype(np.float32)]))


def _encoded(frame: Frame, suffix: str, cicp: bytes, labels: Labels) -> bytes:
    if suffix in _EIGHT_BIT:
        return _eight_bit(frame, suffix, xmp_packet(labels, with_aigc=True))
    codes = signal_codes(frame)
    if suffix in (".tif", ".tiff"):
        return tiff_bytes(codes, xmp_packet(labels, with_aigc=True))
    return png_bytes(codes, labels, ((b"cICP", cicp),))


def png_bytes(
    codes: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
    labels: Labels,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A labelled PNG of gray, RGB or RGBA codes, with `extra` chunks."""
    import cv2

    order = (2, 1, 0, 3)[: codes.shape[2]] if codes.shape[2] > 1 else (0,)
    ok, data = cv2.imencode(".png", np.ascontiguousarray(codes[..., order]), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not ok:
        raise OutputError(f"the PNG encoder refused {codes.shape} {codes.dtype}")
    return label_png(data.tobytes(), labels, extra=extra)


def _eight_bit(frame: Frame, suffix: str, xmp: bytes) -> bytes:
    from PIL import Image

    if frame.colour.transfer in (_PQ, _HLG):
        from digidouble.schema.colour import rgb8_from_frame

        codes = rgb8_from_frame(frame)
    else:
        codes = signal_codes(frame)
        if codes.dtype != np.uint8:
            codes = ((codes.astype(np.uint32) + 128) // 257).astype(np.uint8)
    buffer = BytesIO()
    if suffix == ".webp":
        Image.fromarray(codes).save(buffer, "WEBP", quality=95, xmp=xmp)
    else:
        Image.fromarray(codes[..., :3]).save(buffer, "JPEG", quality=95, subsampling=0, xmp=xmp)
    return buffer.getvalue()
