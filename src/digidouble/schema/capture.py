"""A capture set: the usable looks at one person, ready to be made into a persona."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.errors import NoFace
from digidouble.schema.persona import Consent, LeftOut, PersonaSource

Eyewear = Literal["none", "glasses", "dark glasses"]
COLOURLESS = 0.025  # chroma over luma of grey skin: coding noise; the palest skin in colour has 0.15
SHUT = 0.13  # height of the lids' opening over its width; open eyes 0.2 to 0.4


@dataclass(frozen=True)
class Traits:
    """What a look is like, as far as it matters for keeping it.

    Attributes:
        chroma: of the skin, over its luma; 0 for a greyscale picture.
        lids: opening of the subject's right and left eye, height over width.
        eyewear: what is worn.
        toward: x and y of the main light in camera axes (x right, y up) times its contrast: 0 is even or frontal light; from about
            0.45 one side of the face is hardly lit.
        tint: log red over green and log blue over green of the skin.
    """

    chroma: float
    lids: tuple[float, float]
    eyewear: Eyewear
    toward: tuple[float, float]
    tint: tuple[float, float]

    @property
    def grey(self) -> bool:
        return self.chroma < COLOURLESS

    @property
    def shut(self) -> tuple[bool, bool]:
        """Whether the subject's right and left eye are closed."""
        return self.lids[0] < SHUT, self.lids[1] < SHUT

    @property
    def contrast(self) -> float:
        """Strength of `toward`."""
        return float(np.hypot(*self.toward))


@dataclass(frozen=True)
class Look:
    """One look at the face.

    Attributes:
        linear: scene-linear picture around the face. points_px: mesh in that picture.
        matte: 0..255 visible face, same size as `linear`.
        score: the mesh's confidence. sharpness: see `perception.detail`. identity: unit vector.
        source: index into `CaptureSet.sources`. traits: None when nobody judged it.
        light_group: looks of one number were lit alike; 0 is the group the persona's tone comes from.
    """

    linear: Float32[np.ndarray, "h w 3"]
    points_px: Float32[np.ndarray, "478 3"]
    matte: UInt8[np.ndarray, "h w"]
    score: float
    sharpness: float
    identity: Float[np.ndarray, "d"]
    source: int
    traits: Traits | None = None
    light_group: int = 0

    @property
    def face_px(self) -> float:
        return float(np.ptp(self.points_px[:468, 0]))


@dataclass(frozen=True)
class CaptureSet:
    """Looks at one consenting person. `rejected` says what was left out and why, for people to read."""

    consent: Consent
    looks: tuple[Look, ...]
    sources: tuple[PersonaSource, ...]
    rejected: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        if not self.looks:
            raise NoFace("no usable look at the person: " + "; ".join(map(str, self.rejected[:5])))
