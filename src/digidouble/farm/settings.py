"""What can be chosen about a render, and what a render leaves behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import UInt8

from digidouble.deliver.passes import PassesFormat
from digidouble.deliver.settings import DeliveredFiles, Quality
from digidouble.errors import SettingsError
from digidouble.render import LookSettings
from digidouble.schema.time import FrameRange

Progress = Callable[[int, int], None]
MOST_WORKERS = 256
RAY = re.compile(r"ray://[A-Za-z0-9._\-\[\]:]+")


@dataclass(frozen=True)
class RenderSettings:
    """How a shot is rendered.

    Attributes:
        quality: draft is geometry, atlases, light and blend; standard renders the same and encodes better; final draws skin
            from the persona's radiance field, if it has one.
        fusion: bend the key atlases to every frame with the fusion network (training/fusion/MODEL_CARD.md): softer lips and truer expression, less of
            the person, so it is off. A persona's radiance field goes before it.
        workers: cores that render on this machine, or a Ray cluster: ray://HOST:PORT, or ray://local for one started here. 0 takes
            all cores as threads of one process; N of 2 or more takes N processes where a shot is long enough: a tenth faster, N
            times the memory. The result does not depend on it.
        frame_range: the part of the shot to render; None is all of it.
        purpose: what the result is for; each persona's consent must cover it. None asks only that consent is valid today.
        revoked: list of consents that were taken back (docs/labels.md); None takes the one that DIGIDOUBLE_REVOKED names, if any.
        look: how the double takes the plate's look.
        samples: frames kept as pictures for the report.
        passes: folder for a compositor's passes of every frame, beside OUT (see docs/deliver.md).
        passes_format: one multi-layer EXR a frame, or a set of 16-bit PNGs of what fits in them.
    """

    quality: Quality = "draft"
    fusion: bool = False
    workers: int | str = 0
    frame_range: FrameRange | None = None
    purpose: str | None = None
    revoked: Path | None = None
    look: LookSettings = field(default_factory=LookSettings)
    samples: int = 6
    passes: Path | None = None
    passes_format: PassesFormat = "exr"

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise SettingsError(f"quality {self.quality!r}: expected one of {', '.join(get_args(Quality))}")
        check_workers(self.workers)
        if not 0 <= self.samples <= 100:
            raise SettingsError(f"samples = {self.samples}: expected 0..100")


def check_workers(workers: int | str) -> None:
    """Raises SettingsError: neither a number of workers nor the address of a cluster."""
    if isinstance(workers, str):
        if not RAY.fullmatch(workers):
            raise SettingsError(f"workers {workers!r}: expected a number, ray://HOST:PORT or ray://local")
    elif not 0 <= workers <= MOST_WORKERS:
        raise SettingsError(f"workers = {workers}: expected 0..{MOST_WORKERS}")


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
        delivered: the files. frames: how many. wall_s: time taken. stages: seconds per stage, summed over threads and machines.
        samples: pictures for the report. tracks: ids that were cast. curves: name -> (frame indices, values).
        passes: the files of the passes, when there are any.
        gate: the content gate's record. revocation_list: the file that was asked, "" when none was named.
        continued: frames taken over from an interrupted run. notes: what a person should know about that.
    """

    delivered: DeliveredFiles
    frames: int
    wall_s: float
    stages: dict[str, float]
    samples: tuple[Sample, ...]
    tracks: tuple[int, ...]
    curves: dict[str, tuple[list[int], list[float]]]
    passes: DeliveredFiles | None = None
    gate: dict[str, object] = field(default_factory=dict)
    revocation_list: str = ""
    continued: int = 0
    notes: tuple[str, ...] = ()
