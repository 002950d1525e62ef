"""Makes `synthetic` and `scenes` importable, and their shots fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shots"))

from shot_fixtures import persona_b, persona_file, talk, talk_perf  # noqa: F401
