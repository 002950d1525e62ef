"""The one way out: frames in, a labelled delivery on disk, or nothing at all.

    with open_writer(Path("out.mp4"), shot, DeliverySettings()) as writer:
        for frame in frames:
            writer.write(frame)
    print(writer.delivered.files)

The suffix picks the door: movies (`movie.py`) or pictures (`images.py`). Files grow under hidden names beside their
place and are renamed when they are complete, labelled and logged; an exception on the way, Ctrl-C included, leaves
nothing behind and whatever stood under the final name untouched.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from digidouble.deliver.images import IMAGE_SUFFIXES, ImageSink
from digidouble.deliver.labels import Labels, read_labels
from digidouble.deliver.log import append_log, delivery_record, log_path
from digidouble.deliver.movie import MOVIE_SUFFIXES, MovieSink
from digidouble.deliver.partial import output_errors
from digidouble.deliver.settings import DeliveredFile, DeliveredFiles, DeliverySettings
from digidouble.deliver.signing import sign_delivery
from digidouble.deliver.visible_label import VisibleLabel, choose_corner, label_frame, labelled_frames
from digidouble.errors import OutputError
from digidouble.schema.frame import Frame, PixelLayout, Roi
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange


@runtime_checkable
class Sink(Protocol):
    """A door: one output under construction."""

    encoding: str
    warnings: list[str]
    wants_matte: bool

    def put(self, frame: Frame, matte: Float[np.ndarray, "h w"] | None = None) -> None: ...

    def adopt(self, segment: Path, frames: FrameRange) -> None:
        """Take a rendered segment as it is."""
        ...

    def finish(self) -> list[tuple[Path, Path]]:
        """Complete the files under their partial names. Returns [(partial name, final name)]."""
        ...

    def discard(self) -> None:
        """Remove whatever is left under partial names. May be called twice."""
        ...


def open_writer(out: Path, shot: Shot, settings: DeliverySettings, partial: Path | None = None) -> Writer:
    """A writer for what `out` names: .mp4 .mov .mkv, .png .jpg .tif .webp .exr, or a sequence `name.####.exr`.

    `partial`: where it grows, on the same disk; None chooses a hidden name beside its place.

    Raises:
        OutputError: an unknown suffix, a folder that is missing or not writable, or `out` is the plate itself.
        SettingsError: the codec does not go into that container, or one picture is named for several frames.
    """
    suffix = out.suffix.lower()
    if suffix not in MOVIE_SUFFIXES + IMAGE_SUFFIXES:
        known = " ".join(MOVIE_SUFFIXES + IMAGE_SUFFIXES)
        raise OutputError(f"{out}: no format is known for {suffix or 'a name without suffix'}; expected one of {known}")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist: create it first")
    if out.is_dir():
        raise OutputError(f"{out}: a folder of that name is in the way")
    if out.name == Path(shot.path).name and out.resolve() == Path(shot.path).resolve():
        raise OutputError(f"{out}: this is the plate itself; write the result under another name")
    if shot.colour.space and shot.layout.is_float and suffix != ".exr":
        raise OutputError(
            f"{out}: a float plate in {shot.colour.space} is delivered as .exr; {suffix} has no place for its colour space"
        )
    labels = settings.labels_for(shot)
    sink: Sink = (MovieSink if suffix in MOVIE_SUFFIXES else ImageSink)(out, shot, settings, labels, partial)
    return Writer(out, shot, settings, labels, sink)


class Writer:
    """Takes frames in order, draws the visible label, and ends in a delivery or in nothing.

    `write` may run in a thread of its own (encoders release the interpreter lock); `abort` may come from another.
    """

    notes: dict[str, object]
    """What else goes into the delivery log; may be filled until `close`."""

    def __init__(self, out: Path, shot: Shot, settings: DeliverySettings, labels: Labels, sink: Sink) -> None:
        self._out, self._shot, self._settings, self._labels, self._sink = out, shot, settings, labels, sink
        self._lock = threading.Lock()
        self.notes = {}
        self._open = True
        self._count = 0
        self._last_index: int | None = None
        self._visible = VisibleLabel(settings.label_corner) if settings.visible_label else None
        self._visible_frames = labelled_frames(shot, self._visible)
        self.delivered: DeliveredFiles | None = None

    @property
    def wants_matte(self) -> bool:
        """Whether this output has a place for the doubles' matte."""
        return self._sink.wants_matte

    def write(
        self, frame: Frame, keep_clear: Sequence[Roi] = (), matte: Float[np.ndarray, "h w"] | None = None
    ) -> None:
        """Deliver the next frame.

        Args:
            keep_clear: faces in the first frame; the visible label goes to the corner that covers least of them.
            matte: 0..1, where the doubles are; used where `wants_matte`.

        Raises:
            OutputError: the frame does not follow the last one, has another size or layout than the shot, or cannot be
                written. The delivery is then aborted.
        """
        with self._lock:
            self._must_be_open()
            try:
                self._check(frame)
                if self._visible is not None and self._count < self._visible_frames:
                    if self._count == 0:
                        self._visible = choose_corner(frame.size_wh, self._visible, keep_clear)
                    frame = label_frame(frame, self._visible)
                self._sink.put(frame, matte)
            except BaseException:
                self._abandon()
                raise
            self._count, self._last_index = self._count + 1, frame.index

    def adopt(self, segment: Path, frames: FrameRange) -> None:
        """Deliver a rendered segment (`segments.SegmentWriter`) as the next frames, label and all, without encoding it again.

        Raises:
            OutputError: it does not follow the last frame, or is damaged. The delivery is then aborted.
        """
        with self._lock:
            self._must_be_open()
            try:
                if self._last_index is not None and frames.start != self._last_index + 1:
                    raise OutputError(f"{self._out}: segment {frames.start} came after frame {self._last_index}")
                self._sink.adopt(segment, frames)
            except BaseException:
                self._abandon()
                raise
            self._count, self._last_index = self._count + len(frames), frames.end_exclusive - 1

    def close(self) -> DeliveredFiles:
        """Complete, check, log and rename. Closing again returns the same delivery.

        Raises:
            OutputError: nothing was written, or a file or the log cannot be completed; nothing is left then.
        """
        with self._lock:
            if self.delivered is not None:
                return self.delivered
            self._must_be_open()
            try:
                if self._count == 0:
                    raise OutputError(f"{self._out}: no frame was written, so there is nothing to deliver")
                self.delivered = self._deliver(self._sink.finish())
            except BaseException:
                self._abandon()
                raise
            self._open = False
            self._sink.discard()
            return self.delivered

    def abort(self) -> None:
        """Remove everything written so far. Does nothing after `close` or a second time."""
        with self._lock:
            if self._open:
                self._abandon()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._open:
            self.close()

    def _abandon(self) -> None:
        self._open = False
        self._sink.discard()

    def _must_be_open(self) -> None:
        if not self._open:
            raise OutputError(f"{self._out}: this delivery is closed or was aborted; open a new writer")

    def _check(self, frame: Frame) -> None:
        if self._last_index is not None and frame.index != self._last_index + 1:
            raise OutputError(f"{self._out}: frame {frame.index} came after {self._last_index}; expected the next one")
        if frame.size_wh != self._shot.size_wh:
            raise OutputError(f"{self._out}: frame {frame.index} is {frame.size_wh}, the shot is {self._shot.size_wh}")
        if _facts(frame.layout) != _facts(self._shot.layout):
            raise OutputError(f"{self._out}: frame {frame.index} is {frame.layout}, the shot is {self._shot.layout}")

    def _deliver(self, pairs: list[tuple[Path, Path]]) -> DeliveredFiles:
        """Check the labels, hash, log, rename. The log comes first: no copy may exist without its record."""
        with output_errors(self._out):
            signed = sign_delivery(pairs, self._out, self._shot, self._settings, self._labels)
            try:
                for partial in {pairs[0][0], pairs[-1][0]}:  # after signing: it must not have cost a label
                    found = read_labels(partial)
                    if found != self._labels:
                        raise OutputError(f"{self._out}: the labels read back as {found}, expected {self._labels}")
                files = tuple(delivered_file(partial, final) for partial, final in pairs)
                delivered = DeliveredFiles(
                    files,
                    log_path(self._out),
                    self._count,
                    self._sink.encoding,
                    self._labels,
                    min(self._count, self._visible_frames),
                    tuple(self._sink.warnings),
                    tuple(delivered_file(partial, final) for partial, final in signed.sidecars),
                    signed.words,
                )
                append_log(delivered.log, delivery_record(delivered, self._shot, self._settings, self.notes))
                for partial, final in (*pairs, *signed.sidecars):
                    partial.replace(final)
            finally:
                for partial, _ in signed.sidecars:
                    partial.unlink(missing_ok=True)
        return delivered


def _facts(layout: PixelLayout) -> tuple[object, ...]:
    """What makes two layouts the same samples; names differ between decoders."""
    return layout.kind, layout.bits, layout.chroma_shift_xy, layout.has_alpha, layout.is_float


def delivered_file(partial: Path, final: Path) -> DeliveredFile:
    """Name, size and hash of a finished file that is about to be renamed."""
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DeliveredFile(final, partial.stat().st_size, digest)
