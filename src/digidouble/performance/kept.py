"""When a kept analysis is still the one that would be made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from digidouble import __version__
from digidouble.assets import SCHEMA_VERSION
from digidouble.performance.settings import PerformSettings
from digidouble.schema.shot import Shot
from digidouble.weights import registry


def analysis_key(shot: Shot, settings: PerformSettings) -> str:
    """A name that changes with everything an analysis depends on: plate, settings, version, networks."""
    facts = [
        shot.sha256, str(shot.rate), shot.frame_count, shot.colour.space, asdict(settings), __version__, SCHEMA_VERSION,
        [(e.name, e.raw_sha256, e.recipe_version) for e in registry()],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
