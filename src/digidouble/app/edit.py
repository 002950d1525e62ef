"""`digidouble swap EDIT`: every shot of an edit, with handles, and the edit again with the doubles in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from digidouble.app.analysed import open_plate
from digidouble.app.show import Show
from digidouble.app.swap import Edit, Job, swap_one
from digidouble.deliver.conform import Conformed, write_conform
from digidouble.errors import FaceError, MediaError, OutputError, SettingsError
from digidouble.footage.edit import EditShot, frames_used, media_of, read_edit, with_handles

PLACE = "{shot}"


def swap_edit(show: Show, edit: Edit, out: Path, job: Job) -> None:
    """Render the shots of an edit into `out` (a name with `{shot}`), then write the conform beside them.

    A shot whose media is not there, is retimed or shows no face stays what it was in the conform, and a warning says so.
    Media are analysed whole, once each; shots of one media share that.

    Raises:
        typer.BadParameter: no `{shot}` in the name, or --range. UnreadableMedia: the edit cannot be read.
        OutputError: no shot could be rendered, or a result cannot be written.
    """
    if PLACE not in out.name:
        raise typer.BadParameter(
            f"{out}: an edit has many shots; put {PLACE} into the name, such as out/{PLACE}.mov", param_hint="--out"
        )
    if job.render.frame_range is not None:
        raise typer.BadParameter("an edit says its own ranges", param_hint="--range")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist: create it first")
    shots = read_edit(edit.path)
    conform = out.parent / f"{edit.path.stem}.conform{edit.path.suffix}"
    made: dict[int, Conformed] = {}
    records: list[dict[str, Any]] = []
    for shot in shots:
        record: dict[str, Any] = {"shot": shot.name, "media": shot.media, "file": None}
        try:
            if shot.reason:
                raise SettingsError(shot.reason)
            done = _one(show, shot, edit, out, job)
            made[shot.number] = done
            record |= {
                "file": done.file, "media": done.shot.path, "frames": [done.frames.start, done.frames.end_exclusive],
                "used": [done.used.start, done.used.end_exclusive],
            }  # fmt: skip
        except (MediaError, SettingsError, FaceError) as error:
            show.warn(f"shot {shot.name} stays as it is: {error}")
            record["why"] = str(error)
        records.append(record)
    if not made:
        raise OutputError(f"{edit.path}: none of {len(shots)} shot(s) could be rendered; the warnings say why")
    write_conform(edit.path, conform, made)
    show.done(
        {"shots": records, "conform": conform, "rendered": len(made)},
        f"{len(made)} of {len(shots)} shot(s) rendered",
        f"{conform}: conform",
    )


def _one(show: Show, shot: EditShot, edit: Edit, out: Path, job: Job) -> Conformed:
    """One shot, with handles. Other than by skipping, nothing is decided here."""
    media = media_of(shot, edit.path, edit.media)
    with open_plate(media, job.footage, show) as plate:
        facts = plate.shot
        used = frames_used(shot, facts)
    frames = with_handles(used, edit.handles, facts)
    if len(frames) < len(used) + 2 * edit.handles:
        show.warn(f"shot {shot.name}: {media.name} has fewer than {edit.handles} frames on a side; handles are shorter")
    target = out.with_name(out.name.replace(PLACE, shot.name))
    render = replace(job.render, frame_range=frames)
    if render.passes is not None:
        render = replace(render, passes=Path(str(render.passes).replace(PLACE, shot.name)))
    swap_one(show, media, None, target, replace(job, render=render))
    return Conformed(target, facts, frames, used)
