"""What the content gate sees of a plate."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from digidouble.farm.gate import LEAST_LOOKS, frames_to_look_at, look_at_plate
from digidouble.footage import open_footage
from digidouble.perception.content import ContentGate
from digidouble.schema.time import FrameRange

sys.path.insert(0, str(Path(__file__).parents[1] / "footage"))
from footage_media import numbered_movie


class Clean:
    def run(self, inputs):
        return {"scores": np.array([[0.99, 0.01]], np.float32)}


@pytest.mark.parametrize(("group", "expected"), [(10, {0, 10, 20, 30, 40, 50, 60, 70}), (40, None)])
def test_key_frames_where_there_are_enough_of_them_else_exactly_what_was_asked_for(tmp_path, group, expected):
    options = {"qp": "0", "g": str(group), "keyint_min": str(group), "sc_threshold": "0"}
    wanted = frames_to_look_at(FrameRange(0, 80), 24.0)
    assert len(wanted) == LEAST_LOOKS and {0, 79} <= wanted
    gate = ContentGate(runner=Clean())
    with open_footage(numbered_movie(tmp_path / "a.mp4", 80, options=options)) as plate:
        look_at_plate(gate, plate, wanted)
        look_at_plate(gate, plate, wanted)  # not again
    seen = [score.frame for score in gate.scores]
    assert len(seen) == len(set(seen)) >= LEAST_LOOKS
    assert set(seen) == (expected or wanted)
