"""Edits: which frames of which media a cut uses. CMX 3600 `.edl` and OpenTimelineIO `.otio`.

An edit is text from somebody else: its size, depth and number of shots are bounded, names become plain file names, media
must be local files, and nothing in it is run or linked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from digidouble.errors import SettingsError, UnreadableMedia
from digidouble.footage.sequence import is_pattern
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange
from digidouble.schema.timecode import frames_at

EDIT_SUFFIXES = (".edl", ".otio")
MAX_BYTES, MAX_SHOTS, MAX_DEPTH = 16 << 20, 2000, 100
_EVENT = re.compile(
    r"(\d{1,6})\s+(\S{1,64})\s+(\S{1,8})\s+(C|D|W\d{1,3}|KB?|KO)\s*(\d{1,4})?"
    r"\s+(\d\d:\d\d:\d\d[:;.]\d\d)\s+(\d\d:\d\d:\d\d[:;.]\d\d)\s+(\d\d:\d\d:\d\d[:;.]\d\d)\s+(\d\d:\d\d:\d\d[:;.]\d\d)\s*"
)


@dataclass(frozen=True)
class EditShot:
    """One use of a piece of media.

    Attributes:
        name: plain, unique within the edit. media: what the edit calls its file. number: place in the edit's own list.
        begin, end: first frame and the one after the last, as timecode (`.edl`) or as (value, rate) (`.otio`).
        media_begin: what the edit says the media's first frame is, in the same way; None where it does not say.
        reason: why it cannot be used ("" if it can).
    """

    name: str
    media: str
    number: int
    begin: str | tuple[float, float]
    end: str | tuple[float, float]
    media_begin: tuple[float, float] | None = None
    reason: str = ""


def is_edit(path: Path) -> bool:
    """Whether a path names an edit."""
    return path.suffix.lower() in EDIT_SUFFIXES


def read_edit(path: Path) -> tuple[EditShot, ...]:
    """The shots of an edit's picture, in its order.

    Raises:
        UnreadableMedia: not an edit that can be read, too large, or without a shot.
    """
    text = edit_text(path)
    shots = tuple(_of_edl(path, text) if path.suffix.lower() == ".edl" else _of_otio(path, text))
    if not shots:
        raise UnreadableMedia(f"{path}: no shot of picture in this edit")
    return shots


def edit_text(path: Path) -> str:
    """The text of an edit, bounded.

    Raises:
        UnreadableMedia: it cannot be read or is too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableMedia(f"{path}: larger than {MAX_BYTES >> 20} MiB, which no edit is")
        return path.read_bytes().decode("utf-8-sig", "replace")
    except UnreadableMedia:
        raise
    except OSError as error:
        raise UnreadableMedia(f"{path}: cannot be read ({error.strerror or error})") from error


def media_of(shot: EditShot, edit: Path, folder: Path | None) -> Path:
    """The file a shot uses: where the edit says (relative to itself), or by that name, or with any suffix, in `folder`.

    Raises:
        UnreadableMedia: it is not there, or is no local file.
    """
    parts = urlsplit(shot.media)
    if parts.scheme and parts.scheme != "file" and len(parts.scheme) > 1:
        raise UnreadableMedia(
            f"{edit}: shot {shot.name}: {shot.media[:200]} is no local file; copy it here and name --media DIR"
        )
    said = Path(unquote(parts.path)) if parts.scheme == "file" else Path(shot.media)
    places = [] if not said.name else [edit.parent / said]
    if folder is not None and said.name:
        places = [folder / said.name, *places]
    for place in places:
        if _is_there(place):
            return place
    if folder is not None and said.name:
        fits = sorted(
            p for p in folder.iterdir() if p.stem in (said.stem, said.name) and p.is_file() and not is_edit(p)
        )
        if len(fits) == 1:
            return fits[0]
    where = f" or in {folder}" if folder else "; say where media are with --media DIR"
    raise UnreadableMedia(f"{edit}: shot {shot.name}: no file {str(said)[:300]} beside the edit{where}")


def _is_there(place: Path) -> bool:
    """Whether a file, or the folder of a numbered sequence, is there; a name that no file system would take is not."""
    try:
        return place.is_file() or (is_pattern(place.name) and place.parent.is_dir())
    except (OSError, ValueError):
        return False


def frames_used(edit: EditShot, shot: Shot) -> FrameRange:
    """The frames of the media that the cut shows.

    Raises:
        SettingsError: another rate than the media's, a timecode that is none, or frames the media does not have.
    """
    if isinstance(edit.begin, str) and isinstance(edit.end, str):
        origin = frames_at(shot.timecode, shot.rate) if shot.timecode else 0
        begin, end = frames_at(edit.begin, shot.rate) - origin, frames_at(edit.end, shot.rate) - origin
    else:
        origin = _frame(edit.media_begin, edit, shot) if edit.media_begin else 0
        if not edit.media_begin and shot.timecode and _frame(edit.begin, edit, shot) >= shot.frame_count:
            origin = frames_at(
                shot.timecode, shot.rate
            )  # times of the day, and the edit does not say where the media begins
        begin, end = _frame(edit.begin, edit, shot) - origin, _frame(edit.end, edit, shot) - origin
    if not 0 <= begin < end <= shot.frame_count:
        raise SettingsError(
            f"shot {edit.name} uses frames {begin}:{end} of {shot.path}, which has 0:{shot.frame_count}"
            f"{'' if shot.timecode else ' and no timecode'}"
        )
    return FrameRange(begin, end)


def with_handles(used: FrameRange, handles: int, shot: Shot) -> FrameRange:
    """Frames more on both sides, as far as the media has them."""
    return FrameRange(max(0, used.start - handles), min(shot.frame_count, used.end_exclusive + handles))


def _frame(at: object, edit: EditShot, shot: Shot) -> int:
    value, rate = at if isinstance(at, tuple) else (0.0, 0.0)
    if not (0 < rate <= 1000 and abs(value) < 1e9):
        raise SettingsError(f"shot {edit.name}: time {value} at {rate} frames/s is none")
    if abs(Fraction(rate) / shot.rate.fps - 1) > Fraction(1, 2000):
        raise SettingsError(
            f"shot {edit.name} counts {rate:g} frames/s, its media {shot.path} has {shot.rate}: conform it first"
        )
    return round(value)


# --- CMX 3600 ---------------------------------------------------------------------------------------------------------


def events_of_edl(text: str) -> Iterator[tuple[re.Match[str], list[str]]]:
    """(event line, the lines after it) of every event, of picture or not."""
    event: re.Match[str] | None = None
    notes: list[str] = []
    for line in text.splitlines():
        found = _EVENT.fullmatch(line[:400].strip())
        if found:
            if event is not None:
                yield event, notes
            event, notes = found, []
        elif event is not None and len(notes) < 50:
            notes.append(line[:1000].strip())
    if event is not None:
        yield event, notes


def _of_edl(path: Path, text: str) -> Iterator[EditShot]:
    names = _Names()
    for n, (event, notes) in enumerate(events_of_edl(text)):
        if not event[3].upper().startswith(("V", "B", "AA/V")) or event[2].upper() in ("BL", "BLACK"):
            continue  # sound, and black
        if n >= MAX_SHOTS:
            raise UnreadableMedia(f"{path}: more than {MAX_SHOTS} events")
        clip = next(
            (m[1].strip() for note in notes if (m := re.fullmatch(r"\*\s*FROM CLIP NAME:(.+)", note, re.I))), ""
        )
        file = next((m[1].strip() for note in notes if (m := re.fullmatch(r"\*\s*SOURCE FILE:(.+)", note, re.I))), "")
        reason = "it is retimed (M2)" if any(note.upper().startswith("M2") for note in notes) else ""
        media = file or clip or event[2]
        yield EditShot(names.of(clip or event[2]), media, n, event[6], event[7], reason=reason)


# --- OpenTimelineIO ---------------------------------------------------------------------------------------------------
# Read as the JSON it is: the library's own parser (0.18.1) crashes the process on damaged files.


def read_timeline(path: Path, text: str) -> dict[str, Any]:
    """The timeline of an `.otio`.

    Raises:
        UnreadableMedia: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableMedia(f"{path}: not an OpenTimelineIO file ({str(error)[:200]})") from error
    if _kind(found) != "Timeline":
        raise UnreadableMedia(f"{path}: holds {_kind(found) or 'no OTIO_SCHEMA'}, expected a Timeline")
    return found


def clips_of(timeline: dict[str, Any]) -> list[dict[str, Any]]:
    """The clips of its picture tracks, in order, nested stacks included."""

    def inside(item: Any, depth: int) -> Iterator[dict[str, Any]]:
        if _kind(item) == "Clip":
            yield item
        elif _kind(item) in ("Stack", "Track") and depth < MAX_DEPTH and item.get("kind", "Video") == "Video":
            children = item.get("children")
            for child in children if isinstance(children, list) else ():
                yield from inside(child, depth + 1)

    return list(inside(timeline.get("tracks"), 0))


def reference_of(clip: dict[str, Any]) -> dict[str, Any]:
    """A clip's media reference in use; empty when there is none. Clips of schema 2 hold several by name."""
    found = clip.get("media_reference")
    several = clip.get("media_references")
    if isinstance(several, dict):
        found = several.get(str(clip.get("active_media_reference_key") or "DEFAULT_MEDIA"))
    return found if isinstance(found, dict) else {}


def span_of(item: Any) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """((value, rate) of the first frame, of the one after the last) of a TimeRange; None when it is none."""
    if not isinstance(item, dict):
        return None
    numbers = [_number(item.get(part), key) for part in ("start_time", "duration") for key in ("value", "rate")]
    if any(n is None for n in numbers):
        return None
    begin, rate, length, other = (float(n) for n in numbers if n is not None)
    if not (0 < rate <= 1000 and other > 0 and abs(begin) < 1e9 and 0 <= length < 1e9):
        return None
    return (begin, rate), (begin + length * rate / other, rate)


def _of_otio(path: Path, text: str) -> Iterator[EditShot]:
    names = _Names()
    clips = clips_of(read_timeline(path, text))
    if len(clips) > MAX_SHOTS:
        raise UnreadableMedia(f"{path}: {len(clips)} clips; expected at most {MAX_SHOTS}")
    for n, clip in enumerate(clips):
        reference = reference_of(clip)
        media = reference.get("target_url")
        media = media if isinstance(media, str) else ""
        reason = "" if media else "its media is missing or no single file"
        effects = clip.get("effects")
        if isinstance(effects, list) and any("Time" in _kind(e) or "Freeze" in _kind(e) for e in effects):
            reason = "it is retimed"
        there = span_of(reference.get("available_range"))
        used = span_of(clip.get("source_range")) or there
        said = clip.get("name")
        name = names.of(said if isinstance(said, str) and said else Path(media).stem)
        begin, end = used or ((0.0, 0.0), (0.0, 0.0))
        yield EditShot(
            name, media, n, begin, end, there[0] if there else None, reason or ("" if used else "it says no range")
        )


def _kind(item: Any) -> str:
    """The schema's name without its version; "" when there is none."""
    schema = item.get("OTIO_SCHEMA") if isinstance(item, dict) else None
    return schema.partition(".")[0] if isinstance(schema, str) else ""


def _number(item: Any, key: str) -> float | None:
    value = item.get(key) if isinstance(item, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        return None
    return float(value)


class _Names:
    """Plain, unique file names: letters, digits, `_`, `-`; no dots, so that nothing leaves a folder or hides in it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        stem = re.sub(r"\.(mov|mp4|mkv|mxf|avi|m4v|exr|dpx|png|tiff?)$", "", str(text), flags=re.I)
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:80] or "shot"
        name, n = plain, 1
        while name.lower() in self._taken:
            n += 1
            name = f"{plain}_{n}"
        self._taken.add(name.lower())
        return name
