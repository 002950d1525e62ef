"""What a user may choose about capturing a person."""

from __future__ import annotations

from dataclasses import dataclass

from digidouble.errors import SettingsError


@dataclass(frozen=True)
class CaptureSettings:
    """Settings of the capture stage.

    Attributes:
        face: which face of a photograph that shows several, 1 is the leftmost; 0 means there must be only one.
        looks: at most this many looks are kept, the most different ones.
        video_samples: frames of a video that are looked at, evenly spread.
        min_face_px: faces narrower than this are not worth keeping.
    """

    face: int = 0
    looks: int = 12
    video_samples: int = 90
    min_face_px: int = 48

    def __post_init__(self) -> None:
        for name, low, high in (
            ("face", 0, 100),
            ("looks", 1, 200),
            ("video_samples", 1, 5000),
            ("min_face_px", 24, 4096),
        ):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected {low}..{high}")
