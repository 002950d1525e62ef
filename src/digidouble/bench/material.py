"""What the bench measures on: clips, pairs of persona and plate, excerpts, and everything made from them once and kept.

A persona is built from eight tenths of its clip, in blocks; the other two tenths are held out, and only they judge identity
and likeness. Excerpts are copied without loss (FFV1, the plate's own samples), so a number is a number of that clip.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from digidouble.errors import SettingsError, UnreadableMedia
from digidouble.footage import open_footage
from digidouble.schema.frame import Frame
from digidouble.schema.persona import Consent
from digidouble.schema.time import FrameRange

PERSONAS = (
    "glasses_studio", "grin_greenscreen", "puffed_cheeks", "expressions_yaw", "grimaces_long", "talk_200s", "wide_turns_lamp",
)  # fmt: skip
NAMED_PAIRS = (
    ("grin_greenscreen", "wide_turns_lamp"), ("glasses_studio", "turn_window_720p"), ("talk_200s", "emotion_happy"),
    ("wide_turns_lamp", "grimaces_long"), ("expressions_yaw", "rage_fast"), ("grimaces_long", "crying_man"),
)  # fmt: skip
MORE_PLATES = (
    "puffed_cheeks", "laugh_glasses", "expressions_tilt", "waist_up", "webcam_hand_at_chin", "happy_talk", "sad_glasses_dark",
    "talk_700px",
)  # fmt: skip
UNUSABLE = ("no_face", "none_then_face", "face_then_none", "hand_")
BLOCKS, HELD_OUT = 10, (3, 7)
MAX_FRAMES, MAX_CAPTURE_FRAMES, MAX_HELD_OUT = 150, 120, 48
CONSENT = Consent(
    "a person of the bench", "the bench", ("research",), date(2999, 1, 1), "measurement only; nothing is published"
)
MOVIES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".mpg", ".mpeg", ".avi"})


@dataclass(frozen=True)
class Clip:
    """A movie to measure on."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Pair:
    """Who stands in (clip of the persona) for whom (clip of the plate)."""

    persona: str
    plate: str

    @property
    def name(self) -> str:
        return f"{self.persona}->{self.plate}"


def find_clips(places: Iterable[Path]) -> dict[str, Clip]:
    """Clips by name: files as given, folders as the movies in them or in their `clips/`. Clips without a face are left out.

    Raises:
        UnreadableMedia: a place does not exist. SettingsError: there is no movie, or two of one name.
    """
    files: list[Path] = []
    for place in places:
        if not place.exists():
            raise UnreadableMedia(f"{place}: no such file or folder; --clips takes movies or folders of movies")
        folder = place / "clips" if (place / "clips").is_dir() else place
        files += sorted(f for f in folder.iterdir() if f.suffix.lower() in MOVIES) if folder.is_dir() else [place]
    clips: dict[str, Clip] = {}
    for f in files:
        if f.stem.startswith(UNUSABLE):
            continue
        if f.stem in clips and clips[f.stem].path != f.absolute():
            raise SettingsError(f"two clips are named {f.stem}: {clips[f.stem].path} and {f}; rename one")
        clips[f.stem] = Clip(f.absolute())
    if not clips:
        raise SettingsError("no movie found; --clips takes movies or folders of movies")
    return clips


def choose_pairs(clips: dict[str, Clip], limit: int | None = None) -> list[Pair]:
    """Pairs of different people: the named ones that are here, then every other plate with the personas in turn.

    With clips the bench does not know, each is a plate and its neighbour in the alphabet the persona.
    """
    pairs = [Pair(a, b) for a, b in NAMED_PAIRS if a in clips and b in clips]
    personas = [p for p in PERSONAS if p in clips] or sorted(clips)
    known = {*PERSONAS, *MORE_PLATES, *(b for _, b in NAMED_PAIRS)}
    several = ("two_", "group_", "station_", "stage_")
    plates = [p for p in MORE_PLATES if p in clips]
    if not known & set(clips):
        plates = [p for p in sorted(clips) if not p.startswith(several)]
    turn = 0
    for plate in plates:
        others = [p for p in personas if p != plate]
        if others:
            pairs.append(Pair(others[turn % len(others)], plate))
            turn += 1
    if not pairs:
        raise SettingsError("the bench needs at least two clips of different people with one face each")
    return pairs[:limit]


@lru_cache(maxsize=256)
def sha256_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@lru_cache(maxsize=2)
def code_fingerprint(product: bool) -> str:
    """First digits of the hash of the sources that a result depends on: the bench's own, or with the product's."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")) + sorted((root / "shipped").glob("*")):
        part = file.relative_to(root).parts
        if part[0] == "app" or (part[0] != "bench" and not product) or part[:2] == ("bench", "report.py"):
            continue
        digest.update("/".join(part).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def finished(path: Path) -> Path:
    """A name to write under before `path` is given its own; see `published`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{os.getpid()}-{path.name}")


def split_blocks(count: int) -> tuple[list[int], list[FrameRange]]:
    """(frames a persona is built from, held-out blocks) of a clip: blocks HELD_OUT of BLOCKS equal ones, with a gap of
    two frames to either side, so that no held-out frame has a near twin in the persona."""
    edges = np.linspace(0, count, BLOCKS + 1).round().astype(int)
    out = [FrameRange(int(edges[b]), int(edges[b + 1])) for b in HELD_OUT]
    near = {i for r in out for i in range(r.start - 2, r.end_exclusive + 2)}
    return [i for i in range(count) if i not in near], out


def evenly(items: list[int], count: int) -> list[int]:
    """At most `count` of them, evenly spread, first and last included."""
    if len(items) <= count:
        return items
    return [items[int(k)] for k in np.linspace(0, len(items) - 1, count).round()]


def write_lossless(frames: Iterator[Frame], rate: Fraction, out: Path) -> Path:
    """Frames as an FFV1 movie with the same samples and colour tags. `out` ends in .mkv. Raises as `write_movie`."""
    return write_movie(frames, rate, out, "ffv1", {})


def write_movie(frames: Iterator[Frame], rate: Fraction, out: Path, codec: str, options: dict[str, str]) -> Path:
    """Frames through an FFmpeg encoder, in their own pixel layout, under `out`'s name only when complete.

    Raises:
        UnreadableMedia: there was no frame.
    """
    import av
    from av.video.stream import VideoStream

    partial = finished(out)
    with av.open(str(partial), "w") as movie:
        stream: VideoStream | None = None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = cast(VideoStream, movie.add_stream(codec, rate=rate, options=options))
                stream.width, stream.height = frame.size_wh
                stream.pix_fmt = frame.layout.name
                tags = stream.codec_context
                tags.color_primaries, tags.color_trc = frame.colour.primaries, frame.colour.transfer
                tags.colorspace, tags.color_range = frame.colour.matrix, 2 if frame.colour.full_range else 1
            picture = av.VideoFrame(*frame.size_wh, frame.layout.name)
            for plane, samples in zip(picture.planes, frame.planes, strict=True):
                rows = np.ascontiguousarray(samples).reshape(samples.shape[0], -1).view(np.uint8)
                padded = np.zeros((rows.shape[0], plane.line_size), np.uint8)
                padded[:, : rows.shape[1]] = rows
                plane.update(padded.tobytes())
            picture.pts, picture.time_base = index, 1 / rate
            movie.mux(stream.encode(picture))
        if stream is None:
            raise UnreadableMedia(f"{out.name}: no frames to copy")
        movie.mux(stream.encode(None))
    partial.replace(out)
    return out


def excerpt(clip: Path, wanted: list[int], out: Path) -> Path:
    """Some frames of a clip, in order, without loss; made once."""
    if not out.exists():
        chosen = set(wanted)
        with open_footage(clip) as footage:
            span = FrameRange(min(wanted), max(wanted) + 1)
            write_lossless((f for f in footage.frames(span) if f.index in chosen), footage.shot.rate.fps, out)
    return out
