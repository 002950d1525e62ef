"""What the faces on a plate do: the plate's half of a double, made once and used by any number of casts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from digidouble.errors import CastingError
from digidouble.schema.shot import Shot
from digidouble.schema.track import FaceTrack


@dataclass(frozen=True)
class Performance:
    """Shot facts and tracks, heaviest first. `settings` and `weights` record how it was made (weights: name -> sha256);
    `modalities` says which senses are kept and what measured them, and is empty when none are. `sha256` is that of the file's
    members and `file` its place; both are empty for a performance that was not read from a file."""

    shot: Shot
    tracks: tuple[FaceTrack, ...]
    settings: dict[str, Any]
    weights: dict[str, str]
    modalities: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    file: str = ""

    def track(self, name: str) -> FaceTrack:
        """A track by id ("2") or "main" (the heaviest).

        Raises:
            CastingError: there is no such track; the message lists those there are.
        """
        if name == "main" and self.tracks:
            return self.tracks[0]
        for t in self.tracks:
            if str(t.track_id) == name:
                return t
        there = (
            ", ".join(f"{t.track_id} (frames {t.frames.start}:{t.frames.end_exclusive})" for t in self.tracks) or "none"
        )
        raise CastingError(f"{self.shot.path}: no track {name!r}; tracks are: {there}. See them with: digidouble faces")
