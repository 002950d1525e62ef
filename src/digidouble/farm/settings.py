"""What can be chosen about a render, and what a render leaves behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from digidouble.deliver.settings import DeliveredFiles
from digidouble.errors import SettingsError
from digidouble.render import LookSettings
from digidouble.schema.time import FrameRange

Progress = Callable[[int, int], None]
RAY = re.compile(r"ray://[A-Za-z0-9._\-\[\]:]+")


@dataclass(frozen=True)
class RenderSettings:
    """How a shot is rendered.

    Attributes:
        quality: draft is geometry, atlases, light and blend.
        workers: frames in work at a time on this machine (0 takes its cores), or a Ray cluster: ray://host:port, or ray://local
            for one started here. The result does not depend on it.
        frame_range: the part of the shot to render; None is all of it.
        purpose: what the result is for; each persona's consent must cover it. None asks only that consent is valid today.
        look: how the double takes the plate's look.
        samples: frames kept as pictures for the report.
    """

    quality: Literal["draft"] = "draft"
    workers: int | str = 0
    frame_range: FrameRange | None = None
    purpose: str | None = None
    look: LookSettings = field(default_factory=LookSettings)
    samples: int = 6

    def __post_init__(self) -> None:
        if self.quality != "draft":
            raise SettingsError(f"quality {self.quality!r}: this version renders draft only.")
        if isinstance(self.workers, str):
            if not RAY.fullmatch(self.workers):
                raise SettingsError(f"workers {self.workers!r}: expected a number, ray://host:port or ray://local")
        elif not 0 <= self.workers <= 256:
            raise SettingsError(f"workers = {self.workers}: expected 0..256")
        if not 0 <= self.samples <= 100:
            raise SettingsError(f"samples = {self.samples}: expected 0..100")


@dataclass(frozen=True)
class Sample:
    """A look at one frame: plate and result around the main face, display-referred."""

    index: int
    plate: UInt8[np.ndarray, "h w 3"]
    result: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class RenderResult:
    """What a render left.

    Attributes:
        delivered: the files. frames: how many. wall_s: time taken. stages: seconds per stage, summed over threads.
        samples: pictures for the report. tracks: ids that were cast. curves: name -> (frame indices, values).
        continued: frames taken over from an interrupted run. notes: what a person should know about that.
    """

    delivered: DeliveredFiles
    frames: int
    wall_s: float
    stages: dict[str, float]
    samples: tuple[Sample, ...]
    tracks: tuple[int, ...]
    curves: dict[str, tuple[list[int], list[float]]]
    continued: int = 0
    notes: tuple[str, ...] = ()
