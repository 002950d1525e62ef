"""Numbered picture files as footage: `plate.####.exr`, `plate.%04d.png`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from digidouble.errors import MissingFrame, UnreadableMedia
from digidouble.footage.fingerprint import sha256_of_files
from digidouble.footage.pictures import read_picture
from digidouble.footage.reader import Footage
from digidouble.footage.settings import FootageSettings
from digidouble.schema.frame import Frame
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate

_NUMBER = re.compile(r"#+|%(0\d{1,2})?d")
MAX_FRAMES = 1_000_000


def is_pattern(name: str) -> bool:
    """Whether a file name holds exactly one place for a number (`####`, `%04d`, `%d`)."""
    return len(_NUMBER.findall(name)) == 1


def file_of(pattern: Path, number: int) -> Path:
    """The file of one number: `a.####.exr`, 7 -> `a.0007.exr`. More digits than places are written out."""
    match = _NUMBER.search(pattern.name)
    if match is None:
        raise UnreadableMedia(f"{pattern}: no place for a frame number; expected #### or %04d in the name")
    places = _places(match)
    return pattern.with_name(pattern.name[: match.start()] + f"{number:0{places}d}" + pattern.name[match.end() :])


def _places(match: re.Match[str]) -> int:
    return len(match.group()) if match.group()[0] == "#" else int(match.group(1) or 1)


class SequenceFootage(Footage):
    """Pictures with consecutive numbers, one frame each.

    Raises (on opening):
        UnreadableMedia: no file fits the pattern, or the first does not read.
        MissingFrame: a number between the first and the last has no file.
    """

    def __init__(self, pattern: Path, settings: FootageSettings) -> None:
        self._pattern = pattern
        self.settings = settings
        numbers = _numbers(pattern)
        self._start = numbers[0]
        picture = read_picture(file_of(pattern, self._start), settings.max_pixels)
        self._layout, self._colour = picture.layout, picture.colour
        self._size_wh = (picture.planes[0].shape[1], picture.planes[0].shape[0])
        files = (file_of(pattern, number) for number in numbers)
        self.shot = Shot(
            str(pattern), "sequence", self._size_wh,
            FrameRate(picture.rate) if picture.rate else settings.sequence_rate,
            len(numbers), picture.layout, picture.colour, rotation_deg=picture.rotation_deg, timecode=picture.timecode,
            start_number=self._start, sha256=sha256_of_files(files) if settings.fingerprint else "",
        )  # fmt: skip

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        for index in frame_range:
            yield self._seek(index)

    def _seek(self, index: int) -> Frame:
        path = file_of(self._pattern, self._start + index)
        if not path.is_file():
            raise MissingFrame(f"{self._pattern}: frame {self._start + index} is missing: no file {path.name}")
        picture = read_picture(path, self.settings.max_pixels)
        size_wh = (picture.planes[0].shape[1], picture.planes[0].shape[0])
        if (size_wh, picture.layout) != (self._size_wh, self._layout):
            raise UnreadableMedia(
                f"{path}: {size_wh[0]}x{size_wh[1]} {picture.layout.name}, expected "
                f"{self._size_wh[0]}x{self._size_wh[1]} {self._layout.name} like the sequence's first frame"
            )
        return Frame(index, self.shot.rate.seconds_at(index), picture.planes, picture.layout, picture.colour)


def _numbers(pattern: Path) -> list[int]:
    """The numbers of the files that fit, ascending and without a hole."""
    match = _NUMBER.search(pattern.name)
    if match is None:
        raise UnreadableMedia(f"{pattern}: no place for a frame number; expected #### or %04d in the name")
    folder = pattern.parent
    if not folder.is_dir():
        raise UnreadableMedia(f"{pattern}: no such folder {folder}")
    before, after = re.escape(pattern.name[: match.start()]), re.escape(pattern.name[match.end() :])
    fits = re.compile(f"{before}(\\d{{{_places(match)},9}}){after}")
    found = sorted(int(m.group(1)) for file in folder.iterdir() if (m := fits.fullmatch(file.name)))
    if not found:
        raise UnreadableMedia(f"{pattern}: no file fits this pattern; the first would be {file_of(pattern, 1).name}")
    holes = sorted(set(range(found[0], min(found[-1], found[0] + MAX_FRAMES) + 1)) - set(found))
    if holes:
        listed = ", ".join(map(str, holes[:8])) + (", …" if len(holes) > 8 else "")
        raise MissingFrame(f"{pattern}: {len(holes)} missing between {found[0]} and {found[-1]}: {listed}")
    return found
