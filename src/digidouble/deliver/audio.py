"""The plate's sound, packet for packet: copied and moved in time, never decoded.

Times: `origin` is the presentation time, in the plate's file, of the first delivered frame; it becomes 0 in the output.
A packet belongs to a delivered range when it starts inside it, so a cut is exact to one packet (21 ms for AAC at
48 kHz) and what is kept is in sync to the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer


class AudioCopy:
    """Copies all audio streams of a plate into a movie under construction, in step with its pictures. `sound`: another file whose sound
    takes the place of the plate's; it begins with its own first picture, or with itself where it has none."""

    def __init__(
        self, shot: Shot, frames: FrameRange | None, output: OutputContainer, sound: Path | None = None
    ) -> None:
        import av

        from digidouble.footage.movie import LOCAL_ONLY

        self.warnings: list[str] = []
        self._output, self._of_plate = output, sound is None
        self._input = av.open(str(sound or shot.path), options=LOCAL_ONLY, metadata_errors="replace")
        self._edit_lists = output.format.name in ("mp4", "mov")
        self._targets: dict[int, av.AudioStream] = {}
        for stream in self._input.streams.audio:
            self._add(stream)
        self._origin, self._end = self._span(shot, frames)
        self._packets: Iterator[av.Packet] = iter(())
        if self._targets:
            if frames is not None and frames.start > 0:
                self._input.seek(max(0, int((self._origin - 1) * 1_000_000)), backward=True)
            sources = [stream for stream in self._input.streams.audio if stream.index in self._targets]
            self._packets = self._input.demux(sources)
        self._pending: av.Packet | None = None

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write the packets that start before this time of the output; None writes all that are left.

        Called after each picture: a muxer holds pictures in memory while it waits for sound that belongs before them.
        """
        from av.error import InvalidDataError

        while True:
            try:
                packet = self._pending or next(self._packets, None)
            except InvalidDataError as error:
                self.warnings.append(f"the plate's sound is damaged ({error}); the rest of it was left out")
                self._packets = iter(())
                return
            self._pending = None
            if packet is None:
                return
            start = self._start(packet)
            if start is None or not self._wanted(packet, start):
                continue
            if seconds is not None and start >= seconds:
                self._pending = packet
                return
            self._mux(packet)

    def close(self) -> None:
        self._input.close()

    def _add(self, stream: av.AudioStream) -> None:
        codec = stream.codec_context.name if stream.codec_context is not None else "of an unknown kind"
        if codec not in self._output.supported_codecs:
            kind = self._output.format.name
            self.warnings.append(f"sound stream {stream.index} ({codec}) cannot be stored in {kind} and was left out")
            return
        target = self._output.add_stream_from_template(stream)
        for key in ("language", "title"):
            if key in stream.metadata:
                target.metadata[key] = stream.metadata[key]
        self._targets[stream.index] = target

    def _span(self, shot: Shot, frames: FrameRange | None) -> tuple[Fraction, Fraction | None]:
        """(origin, end) in seconds of the plate's file; no end when the shot is delivered to its last frame."""
        first = self._first_frame()
        if frames is None:
            return first, None
        end = first + shot.rate.seconds_at(frames.end_exclusive) if frames.end_exclusive < shot.frame_count else None
        return first + shot.rate.seconds_at(frames.start), end

    def _start(self, packet: av.Packet) -> Fraction | None:
        """When the packet starts in the output, in seconds; None for the empty packet that ends a stream."""
        if packet.pts is None or packet.size == 0:
            return None
        return packet.pts * packet.time_base - self._origin

    def _wanted(self, packet: av.Packet, start: Fraction) -> bool:
        if self._end is not None and start >= self._end - self._origin:
            return False
        if start >= 0:
            return True
        # What comes before the first frame of the file is the codec's warm-up. mp4 and mov hide it with an edit list;
        # other containers would delay the pictures by it.
        whole = self._origin == self._first_frame()
        return whole and self._edit_lists and start + (packet.duration or 0) * packet.time_base >= -1

    def _first_frame(self) -> Fraction:
        # A sound file may hold a cover, which is a picture without a rate.
        pictures = [s for s in self._input.streams.video if self._of_plate or s.average_rate]
        video = pictures[0] if pictures else self._input.streams.audio[0]
        return Fraction(video.start_time or 0) * (video.time_base or 1)

    def _mux(self, packet: av.Packet) -> None:
        shift = round(self._origin / packet.time_base)
        target = self._targets[packet.stream.index]
        if packet.pts is not None:
            packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = target
        self._output.mux(packet)


def storable(sound: Path, out: Path, folder: Path, keep: bool) -> tuple[Path, str]:
    """(a file whose sound `out`'s container holds, what became of the sound in words).

    The sound itself where it can be copied and `keep` asks for that; else AAC for .mp4 and .mkv, or PCM for .mov, made in `folder`.

    Raises:
        MediaError: the sound cannot be read.
    """
    import av
    from av.error import FFmpegError

    from digidouble.errors import MediaError
    from digidouble.footage.movie import LOCAL_ONLY

    suffix = out.suffix.lower()
    codec, made = ("pcm_s16le", folder / "sound.mov") if suffix == ".mov" else ("aac", folder / "sound.m4a")
    try:
        with av.open(str(sound), options=LOCAL_ONLY, metadata_errors="replace") as source:
            stream = source.streams.audio[0]
            if keep and stream.codec_context.name in _COPIED.get(suffix, ()):
                return sound, f"{stream.codec_context.name}, copied packet for packet"
            first = [s for s in source.streams.video if s.average_rate] or [stream]
            begin = float(Fraction(first[0].start_time or 0) * (first[0].time_base or 1))
            with av.open(str(made), "w") as target:
                # A WAV file may count channels without naming them.
                layout = {1: "mono", 2: "stereo"}.get(stream.layout.nb_channels, stream.layout.name)
                out_stream = target.add_stream(codec, rate=stream.rate, layout=layout)
                form = "fltp" if codec == "aac" else "s16"
                out_stream.codec_context.format = form
                if codec == "aac":
                    out_stream.bit_rate = 160_000
                resampler = av.AudioResampler(format=form, layout=layout, rate=stream.rate)
                for frame in source.decode(stream):
                    if frame.time is not None and frame.time + frame.samples / stream.rate <= begin:
                        continue
                    for piece in resampler.resample(frame):
                        piece.pts = None
                        target.mux(out_stream.encode(piece))
                for piece in resampler.resample(None):
                    piece.pts = None
                    target.mux(out_stream.encode(piece))
                target.mux(out_stream.encode(None))
    except (FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{sound}: its sound cannot be read: {error}") from error
    return made, f"{codec}, encoded from {sound.name}" + (f" ({suffix} does not hold its own coding)" if keep else "")


# What players of each container read; others are encoded anew, and the report says so.
_COPIED = {
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus"),
    ".mov": (
        "aac",
        "mp3",
        "ac3",
        "eac3",
        "alac",
        "pcm_s16le",
        "pcm_s24le",
        "pcm_s32le",
        "pcm_s16be",
        "pcm_s24be",
        "pcm_f32le",
    ),
    ".mkv": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le", "pcm_f32le"),
}
