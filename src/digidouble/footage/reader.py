"""What every kind of footage offers; the same contract test runs over movies, stills, sequences and memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType

from digidouble.errors import SettingsError
from digidouble.footage.settings import FootageSettings
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange


class Footage(ABC):
    """Opened footage. A context manager; iterators made by `frames` are independent of each other and of `frame`.

    Attributes:
        shot: the facts.
        warnings: sentences a person should read (uneven frame times, interlacing, damage).
        settings: how it was opened.
    """

    shot: Shot
    warnings: tuple[str, ...] = ()
    settings: FootageSettings = FootageSettings()

    def frames(self, frame_range: FrameRange | None = None) -> Iterator[Frame]:
        """Frames in order, decoded as they are asked for, in constant memory. The range is clipped to the shot.

        Raises (while iterating):
            UnreadableMedia: a frame does not decode, or is unlike the first; the message names it.
            MissingFrame: a file of a sequence has gone.
        """
        wanted = FrameRange(0, self.shot.frame_count) if frame_range is None else frame_range
        return self._stream(wanted.clipped(self.shot.frame_count))

    def frame(self, index: int) -> Frame:
        """Exactly frame `index`, whatever was read before.

        Raises:
            SettingsError: there is no such frame.
            UnreadableMedia, MissingFrame: as for `frames`.
        """
        self._check(index)
        return self._seek(index)

    def near(self, index: int) -> Frame:
        """Frame `index`, or an earlier one that is much sooner at hand: of a movie the key frame before it. Raises as `frame`."""
        self._check(index)
        return self._near(index)

    def _check(self, index: int) -> None:
        if not 0 <= index < self.shot.frame_count:
            raise SettingsError(f"{self.shot.path}: no frame {index}; the shot has 0..{self.shot.frame_count - 1}")

    def _near(self, index: int) -> Frame:
        return self._seek(index)

    @abstractmethod
    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]: ...

    @abstractmethod
    def _seek(self, index: int) -> Frame: ...

    def close(self) -> None:
        """Let go of files. Closing twice is fine."""
        return

    def __enter__(self) -> Footage:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shot.frame_count
