"""The edit again, with the doubles in it: what an editor relinks to. Times stay; media are the delivered files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from digidouble.deliver.partial import write_text
from digidouble.errors import OutputError
from digidouble.footage.edit import clips_of, edit_text, events_of_edl, read_timeline, reference_of, span_of
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate
from digidouble.schema.timecode import timecode_at


@dataclass(frozen=True)
class Conformed:
    """A delivered shot of an edit: its file, the plate it was made from, its frames there with handles, and those the cut shows."""

    file: Path
    shot: Shot
    frames: FrameRange
    used: FrameRange


def write_conform(edit: Path, out: Path, delivered: Mapping[int, Conformed]) -> Path:
    """Write `edit` to `out` with the media of the given shots (by `EditShot.number`) replaced; the others stay what they were.

    Raises:
        OutputError: it cannot be written, or would replace the edit itself. UnreadableMedia: the edit is none any more.
    """
    if out.resolve() == edit.resolve():
        raise OutputError(f"{out}: this is the edit itself; write the conform into another folder")
    text = edit_text(edit)
    made = _edl(text, delivered) if edit.suffix.lower() == ".edl" else _otio(edit, text, out, delivered)
    write_text(out, made)
    return out


def _edl(text: str, delivered: Mapping[int, Conformed]) -> str:
    """Events with new clip names. A file without timecode is counted from its own first frame, handles included."""
    lines = [line for line in text.splitlines()[:5] if line.upper().startswith(("TITLE:", "FCM:"))] or [
        "TITLE: conform"
    ]
    for n, (event, notes) in enumerate(events_of_edl(text)):
        new = delivered.get(n)
        if new is None:
            lines += [event.string, *notes]
            continue
        begin, end = event[6], event[7]
        if not new.shot.timecode:
            begin, end = (
                _from_zero(new.shot.rate, f - new.frames.start) for f in (new.used.start, new.used.end_exclusive)
            )
        length = f" {event[5]}" if event[5] else ""
        lines.append(
            f"{event[1]}  {event[2]:<8} {event[3]:<5} {event[4]}{length:<8} {begin} {end} {event[8]} {event[9]}"
        )
        kept = [note for note in notes if "CLIP NAME:" not in note.upper() and "SOURCE FILE:" not in note.upper()]
        lines += [f"* FROM CLIP NAME: {new.file.name}", f"* SOURCE FILE: {new.file.name}", *kept]
    return "\n".join(lines) + "\n"


def _from_zero(rate: FrameRate, frames: int) -> str:
    return str(timecode_at("00:00:00:00", rate, frames))


def _otio(edit: Path, text: str, out: Path, delivered: Mapping[int, Conformed]) -> str:
    timeline = read_timeline(edit, text)
    for n, clip in enumerate(clips_of(timeline)):
        reference, new = reference_of(clip), delivered.get(n)
        url = reference.get("target_url")
        if new is None:
            if isinstance(url, str) and url and "://" not in url:  # relative to the edit; now to the conform
                reference["target_url"] = _relative(edit.parent / url, out.parent)
            continue
        begin, end = (
            span_of(clip.get("source_range")) or span_of(reference.get("available_range")) or ((0.0, 24.0),) * 2
        )
        clip["source_range"] = _range(begin[0], end[0] - begin[0], begin[1])
        first = begin[0] - (new.used.start - new.frames.start)
        replaced = {
            "OTIO_SCHEMA": "ExternalReference.1", "name": new.file.name, "target_url": _relative(new.file, out.parent),
            "available_range": _range(first, float(len(new.frames)), begin[1]), "available_image_bounds": None,
            "metadata": {
                "digidouble": {
                    "plate": url, "plate_sha256": new.shot.sha256,
                    "frames": [new.frames.start, new.frames.end_exclusive],
                }
            },
        }  # fmt: skip
        if isinstance(clip.get("media_references"), dict):
            clip["media_references"][str(clip.get("active_media_reference_key") or "DEFAULT_MEDIA")] = replaced
        else:
            clip["media_reference"] = replaced
    return json.dumps(timeline, indent=2)


def _range(start: float, length: float, rate: float) -> dict[str, object]:
    start_time = {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": start}
    return {
        "OTIO_SCHEMA": "TimeRange.1", "start_time": start_time,
        "duration": {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": length},
    }  # fmt: skip


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
