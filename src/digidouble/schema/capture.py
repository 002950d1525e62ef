"""A capture set: the usable looks at one person, ready to be made into a persona."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.errors import NoFace
from digidouble.schema.persona import Consent, PersonaSource


@dataclass(frozen=True)
class Look:
    """One look at the face.

    Attributes:
        linear: scene-linear picture around the face. points_px: mesh in that picture.
        matte: 0..255 visible face, same size as `linear`.
        score: the mesh's confidence. sharpness: see `perception.detail`. identity: unit vector.
        source: index into `CaptureSet.sources`.
    """

    linear: Float32[np.ndarray, "h w 3"]
    points_px: Float32[np.ndarray, "478 3"]
    matte: UInt8[np.ndarray, "h w"]
    score: float
    sharpness: float
    identity: Float[np.ndarray, "d"]
    source: int

    @property
    def face_px(self) -> float:
        return float(np.ptp(self.points_px[:468, 0]))


@dataclass(frozen=True)
class CaptureSet:
    """Looks at one consenting person. `rejected` says what was left out and why, for people to read."""

    consent: Consent
    looks: tuple[Look, ...]
    sources: tuple[PersonaSource, ...]
    rejected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.looks:
            raise NoFace("no usable look at the person: " + "; ".join(self.rejected[:5]))
