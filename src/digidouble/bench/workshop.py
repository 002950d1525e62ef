"""Everything the protocols share for a clip or a pair, made when first asked for and kept in the bench's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from digidouble.bench import observe
from digidouble.bench.baselines.classic import Classic
from digidouble.bench.baselines.paste import Paste, Photograph
from digidouble.bench.landmarks import channels, poses_deg
from digidouble.bench.material import (
    CONSENT,
    MAX_CAPTURE_FRAMES,
    MAX_FRAMES,
    MAX_HELD_OUT,
    Clip,
    Pair,
    code_fingerprint,
    evenly,
    excerpt,
    sha256_of,
    split_blocks,
)  # fmt: skip
from digidouble.bench.observe import Likeness, Observer, PlateMotion, Seen, Watched
from digidouble.errors import NoFace
from digidouble.farm import RenderSettings, prepare_shot
from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance
from digidouble.persona import build_persona, load_persona, save_persona
from digidouble.pipeline import render_frame
from digidouble.render import LookSettings, PreparedCast
from digidouble.schema.capture import CaptureSet
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.frame import Frame
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

BASELINES = {"paste": Paste, "classic": Classic}
PRODUCT = "digidouble"
HELD_OUT_PICTURES = 12
Tell = Callable[[str], None]
Rgb8 = UInt8[np.ndarray, "h w 3"]


def product_row(quality: str) -> str:
    """Name of the product's row at a quality."""
    return f"{PRODUCT} {quality}"


def _unit(v: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    return v / max(float(np.linalg.norm(v)), 1e-9)


def quality_of(row: str) -> str | None:
    """Inverse of `product_row`; None for rows of others."""
    name, _, quality = row.partition(" ")
    return quality if name == PRODUCT else None


def cast_at(
    quality: str, performance: Performance, persona: Persona, look: LookSettings | None = None
) -> list[PreparedCast]:
    """The main track with a persona, as the program would render it at a quality."""
    settings = RenderSettings(quality=quality, look=look or LookSettings())  # type: ignore[arg-type]
    return prepare_shot(performance, {"main": persona}, settings)


@dataclass
class Workshop:
    """Attributes: folder: where all is kept. clips: by name. frames: longest excerpt of a plate. tell: hears what is being made.
    second: file of the second identity network; None leaves identity to the first."""

    folder: Path
    clips: dict[str, Clip]
    frames: int = MAX_FRAMES
    tell: Tell = lambda _: None
    second: Path | None = None

    @cached_property
    def observer(self) -> Observer:
        return Observer(self.second)

    @cached_property
    def kept(self) -> dict[object, Any]:
        """What a protocol leaves for the next one of the same pair."""
        return {}

    @cached_property
    def _motions(self) -> dict[Path, PlateMotion]:
        return {}

    @cached_property
    def _captures(self) -> dict[str, CaptureSet]:
        return {}

    # --- files ---------------------------------------------------------------------------------------------------------

    def clip_id(self, name: str) -> str:
        """Name and the first digits of the clip's hash: another clip of the same name gets its own files."""
        return f"{name}-{sha256_of(self.clips[name].path)[:8]}"

    def plate(self, name: str) -> Path:
        """The first frames of a clip."""
        out = self.folder / "excerpts" / f"{self.clip_id(name)}-{self.frames}.mkv"
        if not out.exists():
            with open_footage(self.clips[name].path) as footage:
                count = min(self.frames, footage.shot.frame_count)
            excerpt(self.clips[name].path, list(range(count)), out)
        return out

    def frame_count(self, name: str) -> int:
        with open_footage(self.clips[name].path) as footage:
            return footage.shot.frame_count

    @property
    def scratch(self) -> Path:
        """For files that are removed when their item is measured."""
        out = self.folder / "scratch"
        out.mkdir(parents=True, exist_ok=True)
        return out

    def _splits(self, name: str) -> tuple[list[int], list[FrameRange]]:
        with open_footage(self.clips[name].path) as footage:
            return split_blocks(footage.shot.frame_count)

    def capture_movie(self, name: str) -> Path:
        """The frames a persona may be built from."""
        out = self.folder / "excerpts" / f"{self.clip_id(name)}-capture.mkv"
        return (
            out
            if out.exists()
            else excerpt(self.clips[name].path, evenly(self._splits(name)[0], MAX_CAPTURE_FRAMES), out)
        )

    def held_out_movie(self, name: str, block: int) -> Path:
        """A held-out block, in sequence, from its beginning."""
        out = self.folder / "excerpts" / f"{self.clip_id(name)}-held-out-{block}.mkv"
        if out.exists():
            return out
        span = self._splits(name)[1][block]
        return excerpt(self.clips[name].path, list(span)[:MAX_HELD_OUT], out)

    def persona_file(self, name: str, most: int = 0) -> Path:
        """The persona of a clip's capture frames. `most`: of so many looks at most, those that were chosen first; 0 is of all."""
        of = f"-of-{most}" if most else ""
        out = self.folder / "personas" / f"{self.clip_id(name)}{of}-{code_fingerprint(True)}.persona"
        if not out.exists():
            self.tell(f"building the persona of {name}")
            found = self._captured(name)
            looks = found.looks[: most or len(found.looks)]
            save_persona(build_persona(replace(found, looks=looks), name), out)
        return out

    def _captured(self, name: str) -> CaptureSet:
        from digidouble.capture import capture

        if name not in self._captures:
            self._captures.clear()
            self._captures[name] = capture([self.capture_movie(name)], CONSENT)
        return self._captures[name]

    def persona(self, name: str) -> Persona:
        return load_persona(self.persona_file(name))

    def performance_file(self, movie: Path) -> Path:
        """The analysis of an excerpt."""
        out = self.folder / "performances" / f"{movie.stem}-{code_fingerprint(True)}.perf"
        if not out.exists():
            self.tell(f"analysing {movie.stem}")
            out.parent.mkdir(parents=True, exist_ok=True)
            with open_footage(movie) as footage:
                analyse(footage, out)
        return out

    def performance(self, movie: Path) -> Performance:
        return load_performance(self.performance_file(movie))

    # --- pictures ------------------------------------------------------------------------------------------------------

    def pictures(self, movie: Path, start: int = 0) -> Iterator[Rgb8]:
        """Frames of a movie from `start`, display-referred."""
        with open_footage(movie) as footage:
            for frame in footage.frames(FrameRange(start, 10**9)):
                yield rgb8_from_frame(frame)

    def watched(self, movie: Path) -> Watched:
        """The referee's view of an excerpt."""
        path = self.folder / "watched" / f"{movie.stem}-{code_fingerprint(False)}.npz"
        if not path.exists():
            self.tell(f"the referee watches {movie.stem}")
            observe.save(path, observe.watch(self.pictures(movie), self.observer.landmarker, movie.stem))
        return observe.load_watched(path)

    def mirrored(self, movie: Path) -> Watched:
        """The referee's view of an excerpt's mirror image, mirrored back."""
        path = self.folder / "watched" / f"{movie.stem}-mirrored-{code_fingerprint(False)}.npz"
        if not path.exists():
            watched = self.watched(movie)
            other = observe.mirrored(self.pictures(movie, watched.first), watched, self.observer.landmarker)
            observe.save(path, other)
        return observe.load_watched(path)

    def photograph(self, name: str) -> Photograph:
        """The capture frame nearest to a neutral face seen from the front: what the baselines paste."""
        movie = self.capture_movie(name)
        watched = self.watched(movie)
        shape, turned = channels(watched.landmarks), poses_deg(watched.landmarks)
        off = np.abs(shape - np.median(shape, axis=0)).sum(1) + 3 * shape[:, 0] + np.abs(turned[:, :2]).sum(1) / 20
        best = int(off.argmin())
        return Photograph(next(self.pictures(movie, watched.first + best)), watched.landmarks[best].astype(np.float64))

    def likeness(self, name: str) -> Likeness:
        """Who the person of a clip is, over held-out pictures."""
        path = self.folder / "likeness" / f"{self.clip_id(name)}-{self._judges()}.npz"
        if not path.exists():
            vectors: list[tuple[np.ndarray, np.ndarray]] = []
            for block in (0, 1):
                movie = self.held_out_movie(name, block)
                try:
                    watched = self.watched(movie)
                except NoFace:
                    continue
                rows = set(evenly(list(range(len(watched.boxes))), HELD_OUT_PICTURES // 2))
                for row, rgb8 in enumerate(self.pictures(movie, watched.first)):
                    if row in rows:
                        points, see = watched.landmarks[row], self.observer
                        vectors.append((see.identity.embed(rgb8, points), see.embed_second(rgb8, points)))
            if not vectors:
                raise NoFace(f"{self.clips[name].path}: the referee sees no face in its held-out frames")
            observe.save(path, Likeness(*(_unit(np.mean(v, axis=0)) for v in zip(*vectors, strict=True))))
        return observe.load_likeness(path)

    def _judges(self) -> str:
        """Marks what a file of referees' findings depends on besides the pictures."""
        return code_fingerprint(False) + ("-two" if self.second else "")

    # --- rows ----------------------------------------------------------------------------------------------------------

    def row_pictures(self, pair: Pair, row: str, watched: Watched) -> Iterator[Rgb8]:
        """Frames of a row from `watched.first`."""
        with open_footage(self.plate(pair.plate)) as footage:
            yield from self._row(pair, row, watched, footage.frames(FrameRange(watched.first, 10**9)))

    def row_frames(self, pair: Pair, row: str, watched: Watched, at: list[int]) -> list[Rgb8]:
        """Some frames of a row; `at` counts from `watched.first`. The plate's are as filmed."""
        with open_footage(self.plate(pair.plate)) as footage:
            frames = [footage.frame(watched.first + k) for k in at]
        return (
            [rgb8_from_frame(f) for f in frames]
            if row == "plate"
            else list(self._row(pair, row, watched, iter(frames)))
        )

    def _row(self, pair: Pair, row: str, watched: Watched, frames: Iterator[Frame]) -> Iterator[Rgb8]:
        quality = quality_of(row)
        if quality is not None:
            casts = cast_at(quality, self.performance(self.plate(pair.plate)), self.persona(pair.persona))
            yield from (rgb8_from_frame(render_frame(casts, f)[0]) for f in frames)
            return
        if row == "plate":
            yield from (observe.remeasured(rgb8_from_frame(f)) for f in frames)
            return
        tool = BASELINES[row](self.photograph(pair.persona))
        for frame in frames:
            if frame.index - watched.first >= len(watched.landmarks):
                return
            yield tool.frame(rgb8_from_frame(frame), watched.landmarks[frame.index - watched.first].astype(np.float64))

    def seen(self, pair: Pair, row: str) -> Seen:
        """What the referees see in a row of a pair."""
        mark = code_fingerprint(True) + ("-two" if self.second else "") if quality_of(row) else self._judges()
        plate = self.plate(pair.plate)
        path = (
            self.folder / "seen" / f"{self.clip_id(pair.persona)}--{plate.stem}" / f"{row.replace(' ', '-')}-{mark}.npz"
        )
        if not path.exists():
            self.tell(f"{pair.name}: {row}")
            watched = self.watched(plate)
            frames = self.row_pictures(pair, row, watched)
            observe.save(path, self.observer.see(frames, watched, self._motion(plate, watched), row == "plate"))
        return observe.load_seen(path)

    def _motion(self, plate: Path, watched: Watched) -> PlateMotion:
        if plate not in self._motions:
            self._motions.clear()  # one plate's flow at a time: it is the largest thing in memory
            self._motions[plate] = PlateMotion(self.pictures(plate, watched.first), watched)
        return self._motions[plate]
