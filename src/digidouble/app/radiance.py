"""`digidouble persona build --level radiance`: analyse the sources, unroll them, fit the field, leave curve and previews."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from digidouble.app.analysed import analysed
from digidouble.app.show import Show
from digidouble.capture.collect import expand
from digidouble.errors import MediaError, NoFace
from digidouble.footage import Footage, FootageSettings, open_footage
from digidouble.performance import PerformSettings
from digidouble.persona.exposures import SAME_PERSON, Exposures, expose, face_px_of, side_for, usable_rows
from digidouble.schema.persona import Persona
from digidouble.schema.track import FaceTrack

if TYPE_CHECKING:
    from digidouble.persona.radiance_fit import FitSettings, Fitted, Progress

Source = tuple[Footage, FaceTrack, list[int]]


def checkpoint_path(out: Path) -> Path:
    """Where an unfinished fit is kept."""
    return out.with_name(out.name + ".fit")


def fit_sheet_path(out: Path) -> Path:
    """Curve and previews."""
    return out.with_name(out.stem + ".fit.png")


def add_radiance(
    persona: Persona, sources: list[Path], out: Path, settings: FitSettings, show: Show
) -> tuple[Persona, Fitted]:
    """The persona with a field fitted to its sources; `fit_sheet_path(out)` is written.

    Raises:
        SettingsError: torch is missing. NoFace: no source shows the person well enough.
    """
    from digidouble.app.sheets import write_sheet
    from digidouble.persona.radiance_build import with_radiance
    from digidouble.persona.radiance_fit import torch_or_raise
    from digidouble.persona.radiance_views import fit_sheet

    torch_or_raise()
    with ExitStack() as stack:
        found = _sources(persona, sources, stack, show)
        rows = shared_out([r for _, _, r in found], settings.frames)
        side = max(side_for(face_px_of(t)) for _, t, _ in found)
        parts = []
        for (footage, track, _), chosen in zip(found, rows, strict=True):
            if chosen:
                with show.progress(f"unrolling {Path(footage.shot.path).name}") as progress:
                    parts.append(expose(footage, track, chosen, side, progress))
    exposures = Exposures.joined(parts)
    kept = checkpoint_path(out)
    if kept.is_file():
        show.say(f"going on from {kept}")
    with show.progress("fitting the radiance field", "steps") as bar:
        done, fitted = with_radiance(persona, exposures, settings, _telling(show, bar), kept)
    write_sheet(fit_sheet_path(out), fit_sheet(fitted, exposures))
    return done, fitted


def _telling(show: Show, bar: Callable[[int, int], None]) -> Callable[[Progress], None]:
    phases: list[str] = []

    def tell(p: Progress) -> None:
        if p.phase not in phases:
            phases.append(p.phase)
            show.say(p.phase)
        bar(p.step, p.steps)
        if np.isfinite(p.best_db) and p.step % 100 == 0:
            show.say(
                f"step {p.step} of at most {p.steps}: {p.psnr_db:.2f} dB on frames left out (best {p.best_db:.2f})"
            )

    return tell


def _sources(persona: Persona, paths: list[Path], stack: ExitStack, show: Show) -> list[Source]:
    """Opened, analysed, and the track that shows the person. A source without is left out with a note."""
    found: list[Source] = []
    for path in expand(paths):
        try:
            footage = stack.enter_context(open_footage(path, FootageSettings()))
            performance = analysed(footage, PerformSettings(), show).performance
        except MediaError as e:
            show.warn(f"{path}: not learnt from ({e})")
            continue
        alike = [(float(t.identity @ persona.identity), t) for t in performance.tracks if usable_rows(t)]
        if not alike or max(a for a, _ in alike) < SAME_PERSON:
            show.warn(f"{path.name}: does not show {persona.name} well enough to learn from")
            continue
        track = max(alike, key=lambda pair: pair[0])[1]
        found.append((footage, track, usable_rows(track)))
    if not found:
        raise NoFace(f"no source shows {persona.name} well enough to fit a radiance field to")
    return found


def shared_out(rows: list[list[int]], count: int) -> list[list[int]]:
    """At most `count` rows over all sources, in proportion to what each has, evenly spread, one from each at least while they last."""
    total = sum(len(r) for r in rows)
    out, left = [], count
    for k, r in enumerate(rows):
        share = min(len(r), max(1, round(count * len(r) / max(total, 1))), max(left - (len(rows) - k - 1), 0))
        out.append(
            [r[int(i)] for i in np.unique(np.linspace(0, len(r) - 1, share).round().astype(int))] if share else []
        )
        left -= share
    return out
