"""A shot: what is known about a piece of footage before anything in it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from digidouble.errors import SettingsError
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.time import FrameRate

RatePolicy = Literal["conform", "refuse"]


@dataclass(frozen=True)
class Shot:
    """Facts of a plate.

    Attributes:
        path: file, or numbered pattern (`plate.####.exr`).
        kind: movie, image (one picture) or sequence.
        size_wh: width, height in pixels, after rotation.
        rate: exact frames per second (nominal when `variable_rate`).
        frame_count: frames by counting, not by the header's claim.
        layout, colour: of the decoded samples.
        rotation_deg: rotation the container asked for, already applied (0, 90, 180, 270).
        timecode: start timecode "HH:MM:SS:FF" when the file carries one.
        has_audio: at least one audio stream is present.
        variable_rate: packet times were uneven; frames were kept one for one and given the nominal rate (policy conform).
        cuts: indices of the first frame of every shot inside the file after the first (scene changes).
        start_number: number of the first frame of a sequence.
        sha256: of the file (movies, images) or of the concatenated file hashes (sequences).
    """

    path: str
    kind: Literal["movie", "image", "sequence"]
    size_wh: tuple[int, int]
    rate: FrameRate
    frame_count: int
    layout: PixelLayout
    colour: ColourTags
    rotation_deg: int = 0
    timecode: str | None = None
    has_audio: bool = False
    variable_rate: bool = False
    cuts: tuple[int, ...] = field(default=())
    start_number: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        w, h = self.size_wh
        if not (0 < w <= 16384 and 0 < h <= 16384):
            raise SettingsError(f"{self.path}: picture size {w}x{h} is outside 1..16384 pixels a side")
        if self.frame_count < 1:
            raise SettingsError(f"{self.path}: a shot needs at least one frame")
