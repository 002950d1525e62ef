"""What a user may choose about reading footage."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from digidouble.errors import SettingsError
from digidouble.schema.shot import RatePolicy
from digidouble.schema.time import FrameRate

_FILM_RATE = FrameRate(Fraction(24))


@dataclass(frozen=True)
class FootageSettings:
    """How to open footage.

    Attributes:
        rate_policy: movies whose frames are unevenly spaced: `conform` keeps every frame once and gives it the nominal
            average rate (a warning says so); `refuse` raises VariableRate.
        allow_damaged: use the frames of a damaged movie that decode, with a warning, instead of raising
            UnreadableMedia. The movie is then decoded once when opened, to know which those are.
        sequence_rate: frames per second of numbered sequences and stills that do not say.
        max_pixels: pictures with more pixels than this are refused before they are decoded.
        threads: decoder threads.
        ocio: OpenColorIO config that names the plate's colour space: a file, or a built-in one (`ocio://default`). Needs the
            extra [film].
        ocio_plate: the plate's colour space in that config.
        fingerprint: compute `Shot.sha256` (reads the whole file once).
    """

    rate_policy: RatePolicy = "conform"
    allow_damaged: bool = False
    sequence_rate: FrameRate = _FILM_RATE
    max_pixels: int = 1 << 27
    threads: int = 2
    ocio: str = ""
    ocio_plate: str = ""
    fingerprint: bool = True

    def __post_init__(self) -> None:
        if self.rate_policy not in ("conform", "refuse"):
            raise SettingsError(f"rate policy {self.rate_policy!r}: expected 'conform' or 'refuse'")
        if not 1 <= self.threads <= 64:
            raise SettingsError(f"{self.threads} decoder threads: expected 1 to 64")
        if bool(self.ocio) != bool(self.ocio_plate):
            raise SettingsError(
                "ocio and ocio_plate go together: which config, and which of its spaces the plate is in"
            )
        if self.max_pixels < 1:
            raise SettingsError(f"max_pixels {self.max_pixels}: expected at least 1")
