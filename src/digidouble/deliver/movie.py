"""Movies: mp4, mov and mkv through FFmpeg.

Codec chosen by `codec="auto"`:

    suffix   plate                                        codec
    .mkv     any                                          FFV1, lossless, in the plate's own pixel format
    .mov     with alpha                                   ProRes 4444
    .mov     10 bits or more, or quality "final"          ProRes 422 HQ
    .mov     else                                         H.264
    .mp4     PQ or HLG                                    H.265 (players take HDR in nothing else)
    .mp4     else                                         H.264 in the plate's own depth

ProRes 4444 of a plate without alpha holds the doubles' matte in its alpha: the picture is the finished frame, not multiplied.
HDR static metadata (mastering display, content light level) of a PQ plate goes into H.265.

Samples are converted only when the codec cannot hold them; then range, chroma resolution or depth change, never size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from digidouble.deliver.audio import AudioCopy
from digidouble.deliver.hdr import static_hdr
from digidouble.deliver.labels import Labels, append_xmp_box, metadata_keys
from digidouble.deliver.packets import Encoded, read_packets
from digidouble.deliver.partial import output_errors, partial_path
from digidouble.deliver.samples import encoded_if_linear, encoded_tags, native_format, put_alpha, video_frame
from digidouble.deliver.settings import Codec, DeliverySettings
from digidouble.errors import MediaError, OutputError, SettingsError
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange
from digidouble.schema.timecode import timecode_at

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer

MOVIE_SUFFIXES = (".mp4", ".mov", ".mkv")
_CODECS_IN: dict[str, tuple[Codec, ...]] = {
    ".mp4": ("h264", "h265"),
    ".mov": ("h264", "h265", "prores422hq", "prores4444", "dnxhr", "dnxhr444"),
    ".mkv": ("h264", "h265", "prores422hq", "prores4444", "ffv1"),
}
DNXHR_LEAST_WH = 256, 120  # SMPTE ST 2019-1
_ENCODERS = {
    "h264": "libx264",
    "h265": "libx265",
    "prores422hq": "prores_ks",
    "prores4444": "prores_ks",
    "dnxhr": "dnxhd",
    "dnxhr444": "dnxhd",
    "ffv1": "ffv1",
}
_PRESETS = {
    "h264": {"draft": ("superfast", 19), "standard": ("fast", 15), "final": ("slow", 12)},
    "h265": {"draft": ("veryfast", 16), "standard": ("fast", 15), "final": ("slow", 12)},
}
_PQ, _HLG = 16, 18
_REORDERED = {"h264": 2, "h265": 2}  # frames by which decoding may run ahead of showing: B pyramids of x264 and x265


@dataclass(frozen=True)
class Encoding:
    """How a plate's samples are encoded. `colour` holds the tags of the encoded samples."""

    codec: Codec
    encoder: str
    pix_fmt: str
    options: dict[str, str]
    colour: ColourTags
    warnings: tuple[str, ...] = ()


def choose_codec(suffix: str, shot: Shot, settings: DeliverySettings) -> Codec:
    """The codec for a suffix, by the table above.

    Raises:
        SettingsError: the codec asked for does not go into that container.
    """
    allowed = _CODECS_IN[suffix]
    if settings.codec != "auto":
        if settings.codec not in allowed:
            raise SettingsError(f"codec {settings.codec} in {suffix}: expected one of {', '.join(allowed)} or auto")
        return settings.codec
    if suffix == ".mkv":
        return "ffv1"
    if suffix == ".mov" and shot.layout.has_alpha:
        return "prores4444"
    if suffix == ".mov" and (shot.layout.bits >= 10 or settings.quality == "final"):
        return "prores422hq"
    return "h265" if suffix == ".mp4" and shot.colour.transfer in (_PQ, _HLG) else "h264"


def plan_encoding(suffix: str, shot: Shot, settings: DeliverySettings) -> Encoding:
    """Codec, pixel format, options and colour tags for a shot.

    Raises:
        SettingsError: the codec does not go into that container, or does not take pictures that small.
    """
    codec = choose_codec(suffix, shot, settings)
    if _ENCODERS[codec] == "dnxhd" and (shot.size_wh[0] < DNXHR_LEAST_WH[0] or shot.size_wh[1] < DNXHR_LEAST_WH[1]):
        w, h = shot.size_wh
        raise SettingsError(
            f"codec {codec}: the plate is {w}x{h}; DNxHR starts at {DNXHR_LEAST_WH[0]}x{DNXHR_LEAST_WH[1]}"
        )
    layout = replace(shot.layout, kind="rgb", bits=16, is_float=False) if shot.layout.is_float else shot.layout
    pix_fmt = _pixel_format(codec, layout, shot.size_wh)
    warnings = []
    if shot.layout.is_float:
        warnings.append("scene-linear float was encoded to 0..1; highlights above white were clipped (EXR keeps them)")
    if layout.has_alpha and not (pix_fmt.startswith(("yuva", "gbrap", "rgba")) or pix_fmt == "bgra"):
        warnings.append(f"{codec} holds no alpha here; the plate's was dropped (ProRes 4444 and FFV1 keep it)")
    if shot.layout.kind == "yuv" and _depth(pix_fmt) < layout.bits:
        warnings.append(f"{layout.bits}-bit samples were reduced to {_depth(pix_fmt)} bits for {codec}")
    options = _options(codec, pix_fmt, settings)
    if codec == "h265" and shot.kind == "movie" and shot.colour.transfer == _PQ:
        options["x265-params"] += static_hdr(Path(shot.path)).x265
    return Encoding(codec, _ENCODERS[codec], pix_fmt, options, _tags(codec, pix_fmt, shot), tuple(warnings))


class MovieSink:
    """One movie under construction."""

    def __init__(
        self, out: Path, shot: Shot, settings: DeliverySettings, labels: Labels, partial: Path | None = None
    ) -> None:
        self._out, self._labels, self._rate, self._size_wh = out, labels, shot.rate, shot.size_wh
        self._plan = plan_encoding(out.suffix.lower(), shot, settings)
        self._partial = partial or partial_path(out)
        self._audio: AudioCopy | None = None
        self._container: OutputContainer | None = None
        self._count, self._placed, self._encoded, self._timecode = 0, 0, 0, ""
        self._reordered = _REORDERED.get(self._plan.codec, 0)
        self.wants_matte = holds_matte(self._plan, shot)
        self.encoding = f"{self._plan.encoder} {self._plan.pix_fmt}"
        self.warnings = list(self._plan.warnings)
        try:
            with output_errors(out):
                self._open(shot, settings)
        except BaseException:
            self.discard()
            raise

    def put(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None = None) -> None:
        """Encode one frame; the first is shown at time 0. `matte`: 0..1, for the alpha; none is a frame without a double."""
        with output_errors(self._out):
            picture = converted(video_frame(encoded_if_linear(frame)), self._plan)
            if self.wants_matte:
                put_alpha(picture, matte)
            picture.pts, picture.time_base = self._count, 1 / self._rate.fps
            self._mux(picture)
            self._count += 1
            if self._audio is not None:
                self._audio.mux_until(self._rate.seconds_at(self._count))

    def adopt(self, segment: Path, frames: FrameRange) -> None:
        """Take the packets of a rendered segment as they are; its first frame is shown after the last one so far.

        Raises:
            OutputError: it is damaged, or was encoded with other parameters.
        """
        with output_errors(self._out):
            packets = read_packets(segment, len(frames))
            if next(packets).data != bytes(self._stream.codec_context.extradata or b""):
                raise OutputError(
                    f"{segment}: was encoded with other parameters than {self._out} wants; remove it and render again"
                )
            for packet in packets:
                self._place(packet)
            self._count += len(frames)

    def _place(self, encoded: Encoded) -> None:
        """Mux one packet of a segment that starts at `_count`."""
        import av

        if self._container is None:
            raise OutputError(f"{self._out}: the movie is closed already")
        packet = av.Packet(encoded.data)
        packet.time_base = 1 / self._rate.fps
        # Decoding times count packets, as far before the pictures as this codec reorders them: the same in every segment.
        packet.pts, packet.dts = self._count + encoded.index, self._placed - self._reordered
        packet.duration, packet.is_keyframe, packet.stream = 1, encoded.key, self._stream
        self._placed += 1
        self._container.mux(packet)
        if self._audio is not None:
            self._audio.mux_until(self._rate.seconds_at(self._placed))

    def finish(self) -> list[tuple[Path, Path]]:
        """Flush, close, label and check the file. Returns [(partial name, final name)]."""
        with output_errors(self._out):
            if not self._placed:
                self._mux(None)
            if self._audio is not None:
                self._audio.mux_until(None)
                self.warnings += self._audio.warnings
            self._close()
            if self._out.suffix.lower() != ".mkv":
                append_xmp_box(self._partial, self._labels)
            self._check()
        return [(self._partial, self._out)]

    def discard(self) -> None:
        """Stop and remove the partial file; never raises for what is already broken."""
        from av.error import FFmpegError

        try:
            self._close()
        except (FFmpegError, OSError, ValueError):
            pass  # the disk that is full is full for the trailer too; the file goes away all the same
        finally:
            self._partial.unlink(missing_ok=True)

    def _open(self, shot: Shot, settings: DeliverySettings) -> None:
        import av

        suffix = self._out.suffix.lower()
        flags = {".mp4": "use_metadata_tags+faststart", ".mov": "use_metadata_tags"}
        # Edit lists place sound in ticks of the movie's clock; the default of 1000 a second would shift it by 0.5 ms.
        options = {"movflags": flags[suffix], "movie_timescale": "48000"} if suffix in flags else {}
        # opened before the container, so that a wrong folder is reported as such and not as a codec's trouble
        self._partial.touch(exist_ok=False)
        container = self._container = av.open(str(self._partial), "w", options=options)
        container.metadata.update(metadata_keys(self._labels, suffix))
        stream = container.add_stream(self._plan.encoder, rate=shot.rate.fps, options=dict(self._plan.options))
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        context = stream.codec_context
        configured(context, self._plan, shot, settings.threads)
        if self._plan.codec == "h265" and suffix != ".mkv":
            context.codec_tag = "hvc1"  # Apple's players refuse hev1
        if shot.timecode:
            start = settings.frame_range.start if settings.frame_range else 0
            self._timecode = str(timecode_at(shot.timecode, shot.rate, start))
            stream.metadata["timecode"] = self._timecode
        if settings.audio and (settings.sound or (shot.has_audio and shot.kind == "movie")):
            self._open_audio(shot, settings, container)
        container.start_encoding()

    def _open_audio(self, shot: Shot, settings: DeliverySettings, container: OutputContainer) -> None:
        from av.error import FFmpegError

        try:
            self._audio = AudioCopy(shot, settings.frame_range, container, settings.sound)
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{settings.sound or shot.path}: the plate's sound cannot be read: {error}") from error
        if shot.variable_rate:
            self.warnings.append("the plate's frame rate varies and was made constant: check lip sync on long takes")

    def _mux(self, picture: av.VideoFrame | None) -> None:
        if self._container is None:
            raise OutputError(f"{self._out}: the movie is closed already")
        packets = as_written(self._stream.encode(picture), self._plan)
        if self._plan.codec == "h265":
            # x265 leaves whatever was in memory in the decoding times of a movie shorter than its own delay.
            for packet in packets:
                packet.dts = self._encoded - self._reordered
                self._encoded += 1
        self._container.mux(packets)

    def _close(self) -> None:
        audio, container = self._audio, self._container
        self._audio = self._container = None
        try:
            if container is not None:
                container.close()
        finally:
            if audio is not None:
                audio.close()

    def _check(self) -> None:
        """Read header and first frame back: a muxer that drops a rate or a colour tag does so in silence."""
        import av
        from av.error import FFmpegError

        with av.open(str(self._partial)) as movie:
            stream = movie.streams.video[0]
            context = stream.codec_context
            rate = stream.average_rate
            got = (context.color_primaries, context.color_trc, context.colorspace)
            timecode = stream.metadata.get("timecode", stream.metadata.get("TIMECODE", ""))  # Matroska shouts
            try:
                first = next(movie.decode(video=0), None)
            except FFmpegError as error:
                raise OutputError(f"{self._out}: the encoder's first frame does not decode: {error}") from error
        if first is None or (first.width, first.height) != self._size_wh:
            raise OutputError(f"{self._out}: the first frame reads back as {first}, expected {self._size_wh}")
        if self._timecode and timecode != self._timecode:
            self.warnings.append(f"the start timecode reads back as {timecode or 'none'}, not {self._timecode}")
        colour = self._plan.colour
        if first.colorspace not in (colour.matrix, 2):
            self.warnings.append(f"the frames' own matrix reads back as {first.colorspace}, not {colour.matrix}")
        if self._count > 1 and rate != self._rate.fps:
            self.warnings.append(f"the container stores {rate} frames/s where the shot has {self._rate}")
        if got != (colour.primaries, colour.transfer, colour.matrix):
            wanted = f"{colour.primaries}/{colour.transfer}/{colour.matrix}"
            self.warnings.append(f"the file's colour tags read back as {'/'.join(map(str, got))}, not {wanted}")


def holds_matte(plan: Encoding, shot: Shot) -> bool:
    """Whether the alpha of an encoding has room for the doubles' matte."""
    return plan.codec == "prores4444" and not shot.layout.has_alpha


def configured(context: av.VideoCodecContext, plan: Encoding, shot: Shot, threads: int) -> None:
    """Give an encoder the size, format, tags and threads of a delivery: the same for a whole movie and for a segment of it."""
    context.width, context.height = shot.size_wh
    context.pix_fmt = plan.pix_fmt
    context.thread_count = threads
    context.sample_aspect_ratio = Fraction(1)
    context.color_primaries, context.color_trc = plan.colour.primaries, plan.colour.transfer
    context.colorspace, context.color_range = plan.colour.matrix, 2 if plan.colour.full_range else 1


def as_written(packets: list[av.Packet], plan: Encoding) -> list[av.Packet]:
    """An encoder's packets as they go into files."""
    return [_with_colour_volume(p, plan.colour.matrix) for p in packets] if plan.encoder == "dnxhd" else packets


def _with_colour_volume(packet: av.Packet, matrix: int) -> av.Packet:
    """A DNxHR packet whose header names the matrix (SMPTE ST 2019-1, byte 0x2C, bits 1 and 2): FFmpeg's encoder leaves BT.709 there,
    and its decoder believes that more than the container."""
    code = {1: 0, 9: 1, 10: 2}.get(matrix, 3)
    data = bytearray(bytes(packet))
    if len(data) > 0x2C and code:
        data[0x2C] = data[0x2C] & ~0b110 | code << 1
        packet.update(bytes(data))
    return packet


def converted(picture: av.VideoFrame, plan: Encoding) -> av.VideoFrame:
    """The picture in the encoder's pixel format, with its tags; the same object when nothing needs converting."""
    from av.video.reformatter import Interpolation

    full = 2 if plan.colour.full_range else 1
    if picture.format.name != plan.pix_fmt or picture.color_range != full:
        precise = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
        matrix = {9: "BT2020", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 4: "FCC"}.get(plan.colour.matrix, "ITU709")
        picture = picture.reformat(
            format=plan.pix_fmt,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=picture.color_range,
            dst_color_range=full,
            interpolation=Interpolation.BICUBIC | precise,
            threads=1,
        )
    picture.color_primaries, picture.color_trc = plan.colour.primaries, plan.colour.transfer
    picture.colorspace, picture.color_range = plan.colour.matrix, full
    return picture


def _pixel_format(codec: Codec, layout: PixelLayout, size_wh: tuple[int, int]) -> str:
    if codec == "prores422hq":
        return "yuv422p10le"
    if codec == "prores4444":
        return "yuva444p10le"
    if codec == "dnxhr444":
        return "yuv444p10le"
    if codec == "dnxhr":
        return "yuv422p10le" if layout.bits > 8 else "yuv422p"
    if codec == "ffv1":
        name = native_format(layout)
        return {"rgb24": "bgr0", "rgba": "bgra"}.get(name, name)  # the same bytes in another order
    deepest = 12 if codec == "h265" else 10
    depth = 8 if layout.bits == 8 else 10 if layout.bits <= 10 else deepest
    # The finer subsampling that holds each odd one; pictures without one (RGB, gray) become what every player decodes.
    finer = {(0, 0): "444", (1, 0): "422", (2, 0): "422", (0, 1): "444"}
    subsampling = finer.get(layout.chroma_shift_xy, "420") if layout.kind == "yuv" else "420"
    if (size_wh[0] % 2 and subsampling != "444") or (size_wh[1] % 2 and subsampling == "420"):
        subsampling = "444"  # half of an odd size is no size; a plate is never cropped to fit
    return f"yuv{subsampling}p{'' if depth == 8 else f'{depth}le'}"


def _depth(pix_fmt: str) -> int:
    import av

    return max(component.bits for component in av.VideoFormat(pix_fmt).components)


def _options(codec: Codec, pix_fmt: str, settings: DeliverySettings) -> dict[str, str]:
    if codec in _PRESETS:
        preset, default_crf = _PRESETS[codec][settings.quality]
        made = {"preset": preset, "crf": str(default_crf if settings.crf is None else settings.crf)}
        return made | ({"x265-params": f"log-level=error:pools={settings.threads}"} if codec == "h265" else {})
    if codec == "ffv1":
        return {"level": "3", "g": "1", "slicecrc": "1"}
    if codec == "dnxhr444":
        return {"profile": "dnxhr_444"}
    if codec == "dnxhr":
        return {"profile": "dnxhr_hqx" if _depth(pix_fmt) > 8 else "dnxhr_hq"}
    profile = "4" if codec == "prores4444" else "3"
    return {"profile": profile, "vendor": "apl0"} | ({"alpha_bits": "16"} if pix_fmt.startswith("yuva") else {})


def _tags(codec: Codec, pix_fmt: str, shot: Shot) -> ColourTags:
    """Tags of the encoded samples: the plate's own, except where the samples themselves are converted."""
    if pix_fmt.startswith(("bgr", "gbr", "rgb")):
        return replace(encoded_tags(shot), matrix=0, full_range=True)
    if shot.layout.kind != "yuv":
        gray_kept = pix_fmt.startswith("gray")
        return replace(encoded_tags(shot), matrix=1, full_range=gray_kept and shot.colour.full_range)
    limited_only = codec in ("prores422hq", "prores4444", "dnxhr", "dnxhr444")
    return replace(shot.colour, full_range=shot.colour.full_range and not limited_only)
