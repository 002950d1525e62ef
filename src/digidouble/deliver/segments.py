"""A delivery in parts: frame ranges encoded on their own, by anyone, and joined without encoding anything again.

A segment of a movie is a file of packets from an encoder of its own with the delivery's parameters, so it begins with a key
frame and refers to nothing outside itself; a segment of a sequence is a folder of its pictures. The same frames give the
same segment wherever it is rendered, and the same segments give the same file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import Float

from digidouble.deliver.images import IMAGE_SUFFIXES, ImageSink, SequenceName
from digidouble.deliver.labels import Labels
from digidouble.deliver.movie import Encoding, as_written, configured, converted, holds_matte, plan_encoding
from digidouble.deliver.packets import Encoded, write_header, write_packet
from digidouble.deliver.partial import output_errors
from digidouble.deliver.samples import encoded_if_linear, put_alpha, video_frame
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.visible_label import VisibleLabel, choose_corner, label_frame, labelled_frames
from digidouble.errors import OutputError
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mark import payload_of
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

if TYPE_CHECKING:
    import av


@dataclass(frozen=True)
class SegmentPlan:
    """What every segment of one delivery has in common; plain data, so that it can be sent to other machines.

    Attributes:
        settings: with the `produce_id` of the delivery in it: whoever renders a frame hides the same number in it.
        frames: of the whole delivery. encoding: of a movie; None for pictures.
        label: the visible label in its corner, None when waived. label_frames: how many of the first frames carry it.
    """

    out: Path
    shot: Shot
    settings: DeliverySettings
    frames: FrameRange
    encoding: Encoding | None
    label: VisibleLabel | None
    label_frames: int

    @property
    def is_movie(self) -> bool:
        return self.encoding is not None

    @property
    def wants_matte(self) -> bool:
        """Whether the output has a place for the doubles' matte."""
        return self.encoding is not None and holds_matte(self.encoding, self.shot)

    @property
    def mark(self) -> int | None:
        """The number hidden in the doubles' pixels."""
        aigc = self.settings.labels_for(self.shot).aigc
        return payload_of(aigc.produce_id) if aigc else None

    def labelled(self, frame: Frame) -> Frame:
        """The frame as it is delivered: with the visible label when it is one of the first."""
        if self.label is None or frame.index - self.frames.start >= self.label_frames:
            return frame
        return label_frame(frame, self.label)

    def names(self, frames: FrameRange) -> list[str]:
        """File names of the pictures of a segment of a sequence (or of one picture)."""
        name = SequenceName.of(self.out)
        return [name.name(self.shot.start_number + i) if name else self.out.name for i in frames]


def plan_segments(
    out: Path, shot: Shot, settings: DeliverySettings, frames: FrameRange, keep_clear: Sequence[Roi] = ()
) -> SegmentPlan:
    """Decide what the segments share. `keep_clear`: what the visible label stays off in the first frame: faces.

    Raises:
        SettingsError: the codec does not go into that container.
    """
    label = VisibleLabel(settings.label_corner) if settings.visible_label else None
    if label is not None:
        label = choose_corner(shot.size_wh, label, keep_clear)
    aigc = settings.labels_for(shot).aigc
    settings = replace(settings, produce_id=aigc.produce_id if aigc else "")
    suffix = out.suffix.lower()
    encoding = None if suffix in IMAGE_SUFFIXES else plan_encoding(suffix, shot, settings)
    return SegmentPlan(out, shot, settings, frames, encoding, label, labelled_frames(shot, label))


class SegmentWriter:
    """Frames of one segment, in order, into `path` - which appears, complete and on the disk, when `close` returns."""

    def __init__(self, plan: SegmentPlan, path: Path, frames: FrameRange) -> None:
        self._plan, self._path, self._frames = plan, path, frames
        self._partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        self._next = frames.start
        self.discard()
        self._into = (_Packets if plan.is_movie else _Pictures)(plan, self._partial)

    def write(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None = None) -> None:
        """The next frame. `matte`: 0..1, where the doubles are; used where the plan wants one.

        Raises:
            OutputError: not the next frame of the segment, or it cannot be written.
        """
        if frame.index != self._next or frame.index not in self._frames:
            raise OutputError(f"{self._path}: frame {frame.index} came where frame {self._next} was expected")
        self._into.put(self._plan.labelled(frame), matte)
        self._next += 1

    def close(self) -> Path:
        """Raises OutputError: frames are missing, or the segment cannot be completed."""
        if self._next != self._frames.end_exclusive:
            raise OutputError(f"{self._path}: ends before frame {self._next}, expected {self._frames.end_exclusive}")
        self._into.finish()
        with output_errors(self._path):
            self._partial.replace(self._path)
        return self._path

    def discard(self) -> None:
        """Remove what is left under the partial name."""
        if hasattr(self, "_into"):
            self._into.drop()
        if self._partial.is_dir():
            shutil.rmtree(self._partial, ignore_errors=True)
        else:
            self._partial.unlink(missing_ok=True)


class _Packets:
    """An encoder and the file its packets go to."""

    def __init__(self, plan: SegmentPlan, path: Path) -> None:
        import av
        from av.codec.context import Flags

        self._out, self._rate, self._count = plan.out, plan.shot.rate, 0
        assert plan.encoding is not None
        self._encoding, self._matte = plan.encoding, plan.wants_matte
        with output_errors(path):
            context = av.CodecContext.create(self._encoding.encoder, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.options = dict(self._encoding.options)
            context.framerate, context.time_base = plan.shot.rate.fps, 1 / plan.shot.rate.fps
            configured(context, self._encoding, plan.shot, plan.settings.threads)
            context.flags |= Flags.global_header  # as every container here asks of its encoder
            context.open()
            self._context = context
            self._file: BinaryIO = path.open("wb")
            write_header(self._file, bytes(context.extradata or b""))

    def put(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None) -> None:
        with output_errors(self._out):
            picture = converted(video_frame(encoded_if_linear(frame)), self._encoding)
            if self._matte:
                put_alpha(picture, matte)
            picture.pts, picture.time_base = self._count, 1 / self._rate.fps
            self._count += 1
            self._write(as_written(self._context.encode(picture), self._encoding))

    def finish(self) -> None:
        with output_errors(self._out):
            self._write(as_written(self._context.encode(None), self._encoding))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def drop(self) -> None:
        with suppress(OSError):  # the disk that is full is full for the last bytes too
            self._file.close()

    def _write(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            if packet.pts is None or packet.time_base is None:
                raise OutputError(f"{self._out}: the encoder gave a packet without time")
            index = packet.pts * packet.time_base * self._rate.fps
            write_packet(self._file, Encoded(round(index), packet.is_keyframe, bytes(packet)))


class _Pictures:
    """A folder of pictures."""

    def __init__(self, plan: SegmentPlan, folder: Path) -> None:
        labels: Labels = plan.settings.labels_for(plan.shot)
        with output_errors(folder):
            folder.mkdir()
        single = SequenceName.of(plan.out) is None
        self._folder = folder
        self._sink = ImageSink(plan.out, plan.shot, plan.settings, labels, folder / plan.out.name if single else folder)

    def put(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None) -> None:
        self._sink.put(frame, matte)

    def finish(self) -> None:
        with output_errors(self._folder):
            for name in sorted(self._folder.iterdir()):
                with name.open("rb") as file:
                    os.fsync(file.fileno())

    def drop(self) -> None:
        return
