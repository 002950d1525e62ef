"""Movies through PyAV. The only reader of FFmpeg containers in the package.

A movie is scanned once when opened: packets are counted, not decoded, and their times become the table that makes
random access exact. Frames are then known by their time, so one that does not decode is noticed, never shifted over.

Damage. A movie cut short (its index speaks of more than the file holds) is the whole frames before the cut, and a
warning says so. Where a frame inside does not decode, reading raises `UnreadableMedia` naming it, unless
`settings.allow_damaged`; then the movie is what decodes, and a warning says how much was lost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from jaxtyping import Int64

from digidouble.errors import NoPicture, SettingsError, UnreadableMedia, VariableRate
from digidouble.footage import planes as pl
from digidouble.footage.fingerprint import sha256_of
from digidouble.footage.reader import Footage
from digidouble.footage.settings import FootageSettings
from digidouble.footage.timing import Timing, measure
from digidouble.schema.colour import resolved
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

# Demuxers a local movie can need. Playlists (hls, dash, concat), devices and network formats are not among them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpeg,mpegts,mpegvideo,avi,mxf,asf,flv,ogg,yuv4mpegpipe,gif,ivf,h264,hevc,dv,nut,"
    "mp3,wav,flac,aac"
)
LOCAL_ONLY = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}  # for every movie that is opened to be read
# Codecs whose packets are pictures one for one. Others hide packets that show nothing, or pack two pictures in one.
_ONE_PICTURE_A_PACKET = frozenset({
    "h264", "hevc", "prores", "dnxhd", "mjpeg", "ffv1", "mpeg1video", "mpeg2video", "av1", "rawvideo", "png", "tiff",
    "dvvideo", "utvideo", "huffyuv", "ffvhuff", "v210",
})  # fmt: skip
_Numbered = tuple[int, av.VideoFrame]
_TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")


@dataclass(frozen=True)
class _Scan:
    """Every picture of the file in display order."""

    count: int
    pts: Int64[np.ndarray, " count"] | None
    """in time-base units; None when the file does not time every picture distinctly"""
    promised: int
    """packets the header's index speaks of, or `count` when it does not say"""
    is_sure: bool
    """the count can be believed without decoding"""


class MovieFootage(Footage):
    """A movie file. See the module's text on damage.

    Raises (on opening):
        UnreadableMedia: not a movie, or none of it decodes.
        NoPicture: no video stream.
        VariableRate: uneven frame times and the policy refuses them.
    """

    def __init__(self, path: Path, settings: FootageSettings) -> None:
        self._path = path
        self.settings = settings
        self._cursor: tuple[int, Generator[Frame]] | None = None
        self._lock = threading.Lock()  # guards the cursor of `frame`; iterators have containers of their own
        warnings: list[str] = []
        with self._opened() as (container, stream):
            first = self._first_picture(container, stream)
            planes, layout = pl.planes_of(first, str(path))
            self._turn = pl.turn_of(first)
            self._tags = pl.tags_of(first, layout)
            planes, layout = pl.turned(planes, layout, self._turn)
            self._layout = layout
            self._size_wh = (planes[0].shape[1], planes[0].shape[0])
            self._check_colour()
            time_base = stream.time_base or Fraction(1, 1000)
            claims = (stream.average_rate, stream.guessed_rate, stream.base_rate)
            timecode = _timecode_of(container)
            has_audio = any(s.type == "audio" for s in container.streams)
            if first.interlaced_frame:
                warnings.append(f"{path.name}: interlaced; fields are kept as they are, not separated")
        scan = self._scanned(warnings)
        self._pts = scan.pts
        self._time_base = time_base
        timing = measure(self._times(), time_base, claims)
        self._timing = timing
        if timing.variable:
            self._on_variable_rate(timing, warnings)
        self.warnings = tuple(warnings)
        self.shot = Shot(
            str(path), "movie", self._size_wh, timing.rate, scan.count, layout, self._tags,
            rotation_deg=self._turn.clockwise_deg, timecode=timecode, has_audio=has_audio,
            variable_rate=timing.variable, sha256=sha256_of(path) if settings.fingerprint else "",
        )  # fmt: skip

    # --- opening -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, av.VideoStream]]:
        """A fresh container and its picture stream; FFmpeg's complaints come out as ours."""
        try:
            # An absolute path starts with a slash or a drive, so no part of it can be taken for a protocol.
            container = av.open(str(self._path.resolve()), "r", options=LOCAL_ONLY, metadata_errors="replace")
        except (FFmpegError, OSError, ValueError) as error:
            raise UnreadableMedia(
                f"{self._path}: not a movie that can be read ({_reason(error)}); it may be cut short or mislabelled"
            ) from error
        with container:
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not streams:
                raise NoPicture(f"{self._path}: no video stream; a plate needs pictures")
            stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
            if stream.codec_context is None:
                raise UnreadableMedia(f"{self._path}: its pictures are in a codec that is not known here")
            w, h = stream.codec_context.width, stream.codec_context.height
            if w < 1 or h < 1 or w * h > self.settings.max_pixels or max(w, h) > 16384:
                raise UnreadableMedia(
                    f"{self._path}: pictures of {w}x{h}; expected 1 to 16384 a side, {self.settings.max_pixels} pixels"
                )
            stream.codec_context.options = {"max_pixels": str(self.settings.max_pixels)}
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = self.settings.threads
            yield container, stream

    def _first_picture(self, container: InputContainer, stream: av.VideoStream) -> av.VideoFrame:
        for picture in _pictures(container, stream):
            return picture
        raise UnreadableMedia(f"{self._path}: no frame of its {stream.codec_context.name} stream decodes")

    def _check_colour(self) -> None:
        try:
            resolved(self._tags, self._layout, self._size_wh)
        except SettingsError as error:
            raise UnreadableMedia(f"{self._path}: {error}; convert the footage first") from error

    def _scanned(self, warnings: list[str]) -> _Scan:
        with self._opened() as (container, stream):
            scan = _scan_packets(container, stream, self._path.stat().st_size)
        if scan.is_sure and not self.settings.allow_damaged:
            return scan
        with self._opened() as (container, stream):
            times = [picture.pts for picture in _pictures(container, stream)]
        if scan.promised > scan.count:
            times = _before_first_gap(times)
        if not times:
            raise UnreadableMedia(f"{self._path}: no frame decodes")
        if scan.promised > scan.count:
            warnings.append(f"{self._path.name}: cut short: {len(times)} of {scan.promised} frames are there and used")
        elif self.settings.allow_damaged and len(times) < scan.count:
            lost = scan.count - len(times)
            warnings.append(f"{self._path.name}: damaged: {lost} of {scan.count} frames do not decode and are left out")
        # Times that go back from one shown picture to the next are not times (AVI numbers packets, not pictures).
        table = _table(times)
        in_order = table is not None and times == table.tolist()
        return _Scan(len(times), table if in_order else None, len(times), is_sure=True)

    def _times(self) -> list[Fraction] | None:
        if self._pts is None:
            return None
        return [int(pts) * self._time_base for pts in self._pts]

    def _on_variable_rate(self, timing: Timing, warnings: list[str]) -> None:
        text = f"frame times stray up to {timing.worst_frames:.1f} frames from a constant {timing.rate} frames/s"
        if self.settings.rate_policy == "refuse":
            raise VariableRate(f"{self._path}: {text}; convert it to a constant rate, or choose the policy 'conform'")
        warnings.append(f"{self._path.name}: {text}; every frame is kept once, at that rate")

    # --- reading -----------------------------------------------------------------------------------------------------

    def _stream(self, frame_range: FrameRange) -> Generator[Frame]:
        expected = frame_range.start
        if not len(frame_range):
            return
        for index, picture in self._reaching(expected):
            if index != expected:
                break
            yield self._frame_of(index, picture)
            expected += 1
            if expected == frame_range.end_exclusive:
                return
        raise self._missing(expected)

    def _missing(self, index: int) -> UnreadableMedia:
        return UnreadableMedia(
            f"{self._path}: frame {index} of {self.shot.frame_count} does not decode; the file is damaged "
            "(allow damaged footage to use the frames that do)"
        )

    def _reaching(self, start: int) -> Iterator[_Numbered]:
        """Pictures from `start` on: by a seek where that lands on it or before, else from the beginning."""
        if start > 0 and self._pts is not None:
            pictures = self._numbered(int(self._pts[start]))
            first = next((numbered for numbered in pictures if numbered[0] >= start), None)
            if first is not None and first[0] == start:
                yield first
                yield from pictures
                return
            pictures.close()
        yield from (numbered for numbered in self._numbered(None) if numbered[0] >= start)

    def _numbered(self, seek_pts: int | None) -> Generator[_Numbered]:
        """Pictures with their index: by time where the file has times, else by counting from the beginning."""
        with self._opened() as (container, stream):
            if seek_pts is not None:
                try:
                    container.seek(seek_pts, stream=stream, backward=True)
                except FFmpegError:
                    return
            count = 0
            for picture in _pictures(container, stream):
                index = count
                if self._pts is not None and picture.pts is not None:
                    index = int(np.searchsorted(self._pts, picture.pts))
                    if index == len(self._pts) or self._pts[index] != picture.pts:
                        continue  # a picture the edit list hides
                count = index + 1
                yield index, picture

    def _frame_of(self, index: int, picture: av.VideoFrame) -> Frame:
        planes, layout = pl.planes_of(picture, f"{self._path}: frame {index}")
        planes, layout = pl.turned(planes, layout, self._turn)
        size_wh = (planes[0].shape[1], planes[0].shape[0])
        if (size_wh, layout) != (self._size_wh, self._layout):
            raise UnreadableMedia(
                f"{self._path}: frame {index} is {size_wh[0]}x{size_wh[1]} {layout.name}, expected "
                f"{self._size_wh[0]}x{self._size_wh[1]} {self._layout.name} like the first"
            )
        return Frame(index, self._seconds_at(index), planes, layout, self._tags)

    def _seconds_at(self, index: int) -> Fraction:
        """Since the first frame: on the grid of the rate, or the file's own time where there is no such grid."""
        if self._timing.variable and self._pts is not None:
            return int(self._pts[index] - self._pts[0]) * self._time_base
        return self._timing.rate.seconds_at(index)

    def _seek(self, index: int) -> Frame:
        with self._lock:
            at, frames = self._cursor or (-1, None)
            if frames is None or not at <= index < at + 12:  # a dozen frames decode sooner than a seek
                self._let_go()
                frames = self._stream(FrameRange(index, self.shot.frame_count))
            for frame in frames:
                if frame.index == index:
                    self._cursor = (index + 1, frames)
                    return frame
            raise self._missing(index)

    def _near(self, index: int) -> Frame:
        if self._pts is not None:
            with closing(self._numbered(int(self._pts[index]))) as pictures:
                first = next(pictures, None)
            if first is not None and first[0] <= index:
                return self._frame_of(*first)
        return self._seek(index)

    def _let_go(self) -> None:
        if self._cursor is not None:
            self._cursor[1].close()
            self._cursor = None

    def close(self) -> None:
        with self._lock:
            self._let_go()


def _pictures(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decode on from where the container is, stepping over what does not decode: the numbering shows the gap.

    Pictures that the decoder had to patch up count as not decoded, and so do packets cut off by the file's end.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        if packet.is_corrupt:
            continue
        try:
            pictures = packet.decode()
        except FFmpegError:
            continue
        yield from (picture for picture in pictures if not picture.is_corrupt)


def _scan_packets(container: InputContainer, stream: av.VideoStream, file_bytes: int) -> _Scan:
    """Count and time the pictures without decoding."""
    times: list[int | None] = []
    first_key: int | None = None
    hidden = 0
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_corrupt:
                continue
            if packet.is_discard:
                hidden += 1
                continue
            if first_key is None and packet.is_keyframe:
                first_key = packet.pts
            times.append(packet.pts)
    except FFmpegError:
        pass  # what is missing shows in the count
    pts = _table(times)
    promised = len(times)
    if _index_leaves_file(stream, file_bytes):
        promised = max(promised, stream.frames - hidden)
    starts_clean = pts is not None and first_key is not None and int(pts[0]) >= first_key
    said = stream.frames
    counted = said == len(times) + hidden if said else stream.codec_context.name in _ONE_PICTURE_A_PACKET
    timed = "avi" not in container.format.name or not stream.codec_context.has_b_frames
    sure = bool(times) and starts_clean and counted and timed and promised == len(times)
    return _Scan(len(times), pts, promised, sure)


def _before_first_gap(times: list[int | None]) -> list[int | None]:
    """Without the frames after a hole in the last second or so: a cut file lacks pictures that others were built on."""
    table = _table(times)
    if table is None or len(table) < 3:
        return times
    steps = np.diff(table)
    near_end = np.arange(len(steps)) >= len(steps) - 32
    gaps = np.flatnonzero((steps > 1.5 * np.median(steps)) & near_end)
    return [int(t) for t in table[: gaps[0] + 1]] if len(gaps) else times


def _index_leaves_file(stream: av.VideoStream, file_bytes: int) -> bool:
    """The container's index points past the end of the file: it was cut short."""
    entries = stream.index_entries
    return len(entries) > 0 and max(e.pos + e.size for e in entries) > file_bytes


def _table(times: list[int | None]) -> Int64[np.ndarray, " count"] | None:
    known = [t for t in times if t is not None]
    if not known or len(known) < len(times) or len(set(known)) < len(known):
        return None
    return np.sort(np.array(known, np.int64))


def _timecode_of(container: InputContainer) -> str | None:
    for metadata in (container.metadata, *(s.metadata for s in container.streams)):
        text = metadata.get("timecode", metadata.get("TIMECODE", ""))  # Matroska's tags are in capitals
        if _TIMECODE.fullmatch(text):
            return text
    return None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
