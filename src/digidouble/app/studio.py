"""Deliveries that show a persona by itself: its head turning, and every muscle action; as a movie or as one sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np

from digidouble.deliver.images import IMAGE_SUFFIXES
from digidouble.deliver.movie import MOVIE_SUFFIXES
from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
from digidouble.deliver.sheets import contact_sheet, draw_text
from digidouble.deliver.visible_label import VisibleLabel, label_roi
from digidouble.deliver.writer import open_writer
from digidouble.errors import OutputError
from digidouble.render.studio import Studio, StudioPicture, head_turn
from digidouble.schema.colour import display_rgb8
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import Persona
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRate

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")
RATE = FrameRate(Fraction(24))
MOVIE_PX, CAPTION_PX, CELL_PX = 640, 64, 300
TURN_DEG, TURN_FRAMES = 60.0, 96
SHEET_YAWS_DEG = (-60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0)
ACTION_FRAMES = 18
SHEET_COLUMNS = 11
HEADER = 0.18  # of a sheet's shorter side, kept free for the visible label
_RGB8, _SRGB = PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scene:
    """One picture to take: how the head is turned, which muscles work, and what is written under it."""

    rotation: np.ndarray
    actions: np.ndarray
    caption: str = ""


def check_studio(out: Path) -> None:
    """Refuse a suffix that is neither movie nor sheet.

    Raises:
        OutputError: with the suffixes that are known.
    """
    if out.suffix.lower() not in SHEET_SUFFIXES + MOVIE_SUFFIXES:
        known = f"{' '.join(MOVIE_SUFFIXES)} for a movie, {' '.join(SHEET_SUFFIXES)} for a sheet"
        raise OutputError(
            f"{out}: no studio picture is written as {out.suffix or 'a name without suffix'}; expected {known}"
        )
    if "#" in out.name and out.suffix.lower() in IMAGE_SUFFIXES:
        raise OutputError(f"{out}: a sheet is one picture; name it without #")


def turntable(
    persona: Persona, out: Path, delivery: DeliverySettings, progress: Progress | None = None
) -> DeliveredFiles:
    """The head turning from side to side (4 s, loops), or nine views on a sheet.

    Raises:
        ConsentError: it has expired. OutputError: `out` cannot be written.
    """
    still = np.zeros(len(face_model().action_names))
    if _is_sheet(out):
        scenes = [Scene(head_turn(yaw), still, f"{yaw:+.0f} deg") for yaw in SHEET_YAWS_DEG]
        return _sheet(persona, scenes, 9, f"{persona.name}: turn", out, delivery, progress)
    phase = 2 * np.pi * np.arange(TURN_FRAMES) / TURN_FRAMES
    return _movie(persona, [Scene(head_turn(TURN_DEG * np.sin(p)), still) for p in phase], out, delivery, progress)


def expressions(
    persona: Persona, out: Path, delivery: DeliverySettings, progress: Progress | None = None
) -> DeliveredFiles:
    """From neutral to every muscle action at full strength and back, named; or all of them on a sheet.

    Raises:
        ConsentError: it has expired. OutputError: `out` cannot be written.
    """
    front = head_turn(0.0)
    if _is_sheet(out):
        scenes = [Scene(front, np.zeros(len(face_model().action_names)), "neutral")]
        scenes += [Scene(front, full, name) for name, full in named_actions()]
        return _sheet(persona, scenes, SHEET_COLUMNS, f"{persona.name}: muscle actions", out, delivery, progress)
    swell = np.clip(1.4 * np.sin(np.pi * (np.arange(ACTION_FRAMES) + 0.5) / ACTION_FRAMES) ** 2, 0, 1)
    scenes = [Scene(front, k * full, name) for name, full in named_actions() for k in swell]
    return _movie(persona, scenes, out, delivery, progress)


def named_actions() -> list[tuple[str, np.ndarray]]:
    """Every named muscle action with its coefficients at full strength; opposites follow each other."""
    names = face_model().action_names
    out = []
    for i, name in enumerate(names):
        for part, sign in zip(name.split("/"), (1.0, -1.0), strict=True):
            full = np.zeros(len(names))
            full[i] = sign
            out.append((part, full))
    return out


def _is_sheet(out: Path) -> bool:
    return out.suffix.lower() in SHEET_SUFFIXES


def _taken(
    persona: Persona, scenes: list[Scene], size_px: int, progress: Progress | None
) -> Iterator[tuple[str, StudioPicture]]:
    persona.consent.check(date.today())
    take = Studio(persona, size_px).take(np.stack([s.rotation for s in scenes]), np.stack([s.actions for s in scenes]))
    for i, scene in enumerate(scenes):
        yield scene.caption, take(i)
        if progress:
            progress(i + 1, len(scenes))


def _movie(
    persona: Persona, scenes: list[Scene], out: Path, delivery: DeliverySettings, progress: Progress | None
) -> DeliveredFiles:
    persona.consent.check(date.today())  # before a file is begun
    captioned = any(s.caption for s in scenes)
    size_wh = MOVIE_PX, MOVIE_PX + (CAPTION_PX if captioned else 0)
    shot = Shot(f"{persona.name} (studio)", "movie", size_wh, RATE, len(scenes), _RGB8, _SRGB, sha256=persona.sha256)
    with open_writer(out, shot, delivery) as writer:
        for i, (caption, picture) in enumerate(_taken(persona, scenes, MOVIE_PX, progress)):
            page = np.full((size_wh[1], size_wh[0], 3), 24, np.uint8)
            page[:MOVIE_PX] = display_rgb8(picture.over_grey())
            if captioned:
                draw_text(page[MOVIE_PX:, 24:-24], caption, 26)
            writer.write(Frame(i, RATE.seconds_at(i), (page,), _RGB8, _SRGB), [_face(picture)])
        return writer.close()


def _sheet(
    persona: Persona, scenes: list[Scene], columns: int, title: str, out: Path, delivery: DeliverySettings,
    progress: Progress | None,
) -> DeliveredFiles:  # fmt: skip
    taken = [(caption, display_rgb8(p.over_grey())) for caption, p in _taken(persona, scenes, CELL_PX, progress)]
    rows = [taken[i : i + columns] for i in range(0, len(taken), columns)]
    sheet = contact_sheet([[p for _, p in r] for r in rows], [[c for c, _ in r] for r in rows], None, CELL_PX)
    head = int(np.ceil(HEADER * min(sheet.shape[0], sheet.shape[1])))
    page = np.vstack([np.full((head, sheet.shape[1], 3), sheet[0, 0], np.uint8), sheet])
    h, w = page.shape[:2]
    draw_text(page[:head, label_roi((w, h), VisibleLabel()).x1 + head // 3 :], title, max(20, min(48, head // 3)))
    shot = Shot(f"{persona.name} (studio)", "image", (w, h), RATE, 1, _RGB8, _SRGB, sha256=persona.sha256)
    with open_writer(out, shot, delivery) as writer:
        writer.write(Frame(0, Fraction(0), (page,), _RGB8, _SRGB), [Roi(0, head, w, h)])
        return writer.close()


def _face(picture: StudioPicture) -> Roi:
    """Where the visible label should not be."""
    low, high = picture.points_px[:, :2].min(0), picture.points_px[:, :2].max(0)
    return Roi(*(int(v) for v in (*low, *high)))
