"""The plate's sound, packet for packet: copied and moved in time, never decoded.

Times: `origin` is the presentation time, in the plate's file, of the first delivered frame; it becomes 0 in the output.
A packet belongs to a delivered range when it starts inside it, so a cut is exact to one packet (21 ms for AAC at
48 kHz) and what is kept is in sync to the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer


class AudioCopy:
    """Copies all audio streams of a plate into a movie under construction, in step with its pictures."""

    def __init__(self, shot: Shot, frames: FrameRange | None, output: OutputContainer) -> None:
        import av

        from digidouble.footage.movie import LOCAL_ONLY

        self.warnings: list[str] = []
        self._output = output
        self._input = av.open(shot.path, options=LOCAL_ONLY, metadata_errors="replace")
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
        video = self._input.streams.video[0]
        first = Fraction(video.start_time or 0) * (video.time_base or 1)
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
        video = self._input.streams.video[0]
        return Fraction(video.start_time or 0) * (video.time_base or 1)

    def _mux(self, packet: av.Packet) -> None:
        shift = round(self._origin / packet.time_base)
        target = self._targets[packet.stream.index]
        if packet.pts is not None:
            packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = target
        self._output.mux(packet)
