"""The one way in: look at the path, refuse early, open the right reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from digidouble.errors import UnreadableMedia
from digidouble.footage.reader import Footage
from digidouble.footage.settings import FootageSettings

_MOVIES = (
    ".mp4 .mov .m4v .mkv .webm .mpg .mpeg .m2v .avi .mxf .ts .mts .m2ts .3gp .wmv .flv .ogv .y4m .gif .dv .vob"
    # Opened only to say that they hold no pictures.
    " .mp3 .wav .m4a .flac .aac"
)
_STILLS = ".png .jpg .jpeg .tif .tiff .webp .bmp .exr"
MOVIE_SUFFIXES = frozenset(_MOVIES.split())
STILL_SUFFIXES = frozenset(_STILLS.split())


def open_footage(path: str | Path, settings: FootageSettings | None = None) -> Footage:
    """Open a movie, a picture, or a numbered sequence such as `plate.####.exr` or `plate.%04d.png`.

    Use as a context manager. Only local files are read; playlists and addresses are refused.

    Raises:
        UnreadableMedia: absent, empty, a folder, damaged, of an unsupported kind, or too large.
        NoPicture: it holds sound but no pictures.
        MissingFrame: a sequence has a hole; the message names the number.
        SettingsError: the OpenColorIO config or the space in it cannot be used.
        VariableRate: uneven frame times, and `settings.rate_policy` is "refuse".
    """
    settings = settings or FootageSettings()
    path = Path(path)
    if settings.ocio:
        from digidouble.footage.ocio import OcioFootage, OcioSpace, config_path

        space = OcioSpace(
            config_path(settings.ocio), settings.ocio_plate
        )  # first: it is refused sooner than a plate is read
        opened = OcioFootage(open_footage(path, replace(settings, ocio="", ocio_plate="")), space)
        opened.settings = settings
        return opened
    suffix = path.suffix.lower()
    from digidouble.footage import sequence, still

    if suffix not in MOVIE_SUFFIXES | STILL_SUFFIXES and not path.is_dir() and (path.exists() or suffix):
        known = " ".join(sorted(MOVIE_SUFFIXES | STILL_SUFFIXES))
        raise UnreadableMedia(f"{path}: {suffix or 'a file without suffix'} is not supported; expected one of {known}")
    if not path.exists() and sequence.is_pattern(path.name):
        return sequence.SequenceFootage(path, settings)
    _check_file(path)
    if suffix in STILL_SUFFIXES:
        return still.StillFootage(path, settings)
    from digidouble.footage.movie import MovieFootage

    return MovieFootage(path, settings)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UnreadableMedia(
            f"{path}: is a folder; name a movie, a picture or a pattern like {path.name}/plate.####.exr"
        )
    if not path.exists():
        raise UnreadableMedia(f"{path}: no such file")
    if not path.is_file():
        raise UnreadableMedia(f"{path}: is not a regular file")
    if path.stat().st_size == 0:
        raise UnreadableMedia(f"{path}: is empty (0 bytes)")
