"""Who the double is: consent, shape and skin of one person, made once and used in any number of shots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Float, UInt8

from digidouble.errors import ConsentError, DamagedAsset
from digidouble.schema.radiance import Radiance

SCOPES = ("film", "advertising", "virtual-idol", "research", "demo")

TEXELS_PER_PX = 1.45
"""Side of an atlas over the face's width in its source: UV spans the unrolled face, about 1.3 of the width seen from the front, plus a margin."""


@dataclass(frozen=True)
class Consent:
    """Who said yes to what. A persona cannot exist without it.

    Attributes:
        subject: the person doubled. granted_by: who signed (the subject, or an estate or agent who may).
        scope: what for, of SCOPES. expires: last day of validity. evidence: where the signed record is (contract number, file).
        evidence_sha256: hash of that record when it is a file, else "".
    """

    subject: str
    granted_by: str
    scope: tuple[str, ...]
    expires: date
    evidence: str
    evidence_sha256: str = ""

    def __post_init__(self) -> None:
        for name in ("subject", "granted_by", "evidence"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip() or len(value) > 1000:
                raise ConsentError(
                    f"consent: {name} is empty or too long; expected a name or reference. See: digidouble persona consent-template"
                )
        unknown = set(self.scope) - set(SCOPES)
        if not self.scope or unknown:
            raise ConsentError(
                f"consent: scope {sorted(unknown) or '[]'} is not known; expected some of {', '.join(SCOPES)}."
            )

    def check(self, today: date, purpose: str | None = None) -> None:
        """Refuse when expired, or when `purpose` is outside the scope.

        Raises:
            ConsentError: with the date or the scopes granted.
        """
        if today > self.expires:
            raise ConsentError(
                f"{self.subject}'s consent expired on {self.expires} (today is {today}). Ask {self.granted_by} to renew it, then rebuild the persona."
            )
        if purpose is not None and purpose not in self.scope:
            raise ConsentError(
                f"{self.subject}'s consent covers {', '.join(self.scope)}, not {purpose}. Ask {self.granted_by} to extend it."
            )


@dataclass(frozen=True)
class KeyLight:
    """How the moment of a key was lit.

    Attributes:
        toward: x and y of the main light in camera axes times its contrast, tint: log red/green and blue/green (see `schema.capture.Traits`).
        group: keys of one number were lit alike; 0 gave the persona its tone.
    """

    toward: tuple[float, float]
    tint: tuple[float, float]
    group: int

    @property
    def contrast(self) -> float:
        return float(np.hypot(*self.toward))


@dataclass(frozen=True)
class KeyAtlas:
    """The skin of one moment in UV.

    Attributes:
        albedo: scene-linear colour with the source's shading divided out, mean tone kept.
        confidence: 0..255; 0 where the source did not show the skin and it was mirrored or filled.
        actions: muscle-action coefficients of the moment. view_deg: (yaw, pitch) of the head.
        face_px: width of the face in the source, which bounds the real resolution.
        source: index into `Persona.sources`. light: None in personas that were built before it was kept.
    """

    albedo: Float[np.ndarray, "s s 3"]
    confidence: UInt8[np.ndarray, "s s"]
    actions: Float[np.ndarray, "a"]
    view_deg: Float[np.ndarray, "2"]
    face_px: float
    source: int
    light: KeyLight | None = None


@dataclass(frozen=True)
class PersonaSource:
    """Where a key came from: file name, sha256, frame index."""

    name: str
    sha256: str
    frame: int


@dataclass(frozen=True)
class LeftOut:
    """What was given and not used: file name, frame index, and why, for people to read."""

    name: str
    frame: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name} frame {self.frame}: {self.reason}"


@dataclass(frozen=True)
class AddedDetail:
    """Detail of the atlases that no source showed: made up by a network, finer than the sources' own pixels.

    Attributes:
        factor: resolution of the atlases over that of the sharpest source. network: sha256 of the network, 64 hex digits; "" for one without a file.

    Raises:
        ValueError: the network is neither.
    """

    factor: float
    network: str

    def __post_init__(self) -> None:
        if self.network and not re.fullmatch(r"[0-9a-f]{64}", self.network):
            raise ValueError(f"added detail by network {self.network[:80]!r}: expected a sha256 or nothing")


@dataclass(frozen=True)
class Persona:
    """A person's double. `keys[0]` is the fused atlas; the others are single moments.

    Attributes:
        identity: unit vector of the identity embedder, mean over the sources.
        iris_linear: scene-linear colour of the iris relative to the skin's mean, per channel; zero when unknown.
        skin_linear: mean scene-linear skin colour as photographed.
        radiance: the radiance field, of a persona built with `--level radiance`.
        left_out: sources that were given and not used.
        detail: what was added to the sources' own detail; None: nothing.
    """

    name: str
    consent: Consent
    neutral_cm: Float[np.ndarray, "478 3"]
    keys: tuple[KeyAtlas, ...]
    identity: Float[np.ndarray, "d"]
    iris_linear: Float[np.ndarray, "3"]
    skin_linear: Float[np.ndarray, "3"]
    sources: tuple[PersonaSource, ...]
    sha256: str = ""
    radiance: Radiance | None = None
    left_out: tuple[LeftOut, ...] = ()
    detail: AddedDetail | None = None

    @property
    def level(self) -> str:
        """What it is made of: `atlas` or `radiance`."""
        return "atlas" if self.radiance is None else "radiance"

    def __post_init__(self) -> None:
        if not self.keys:
            raise DamagedAsset(f"persona {self.name}: has no atlas")
        sizes = {k.albedo.shape for k in self.keys}
        if len(sizes) != 1:
            raise DamagedAsset(f"persona {self.name}: atlases differ in size: {sorted(sizes)}")

    def __repr__(self) -> str:
        return f"Persona({self.name!r}, {len(self.keys)} keys of {self.keys[0].albedo.shape[0]} px, {len(self.sources)} sources)"
