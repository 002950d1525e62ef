"""What the content gate sees of a plate."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from digidouble.farm.gate import LEAST_LOOKS, frames_to_look_at, look_at_plate
from digidouble.farm.looks import Looks
from digidouble.footage import open_footage
from digidouble.perception.content import ContentGate
from digidouble.schema.time import FrameRange

sys.path.insert(0, str(Path(__file__).parents[1] / "footage"))
from footage_media import numbered_movie


def cast():
    return SimpleNamespace(plan=SimpleNamespace(track=None))


class Clean:
    def run(self, inputs):
        return {"scores": np.array([[0.99, 0.01]], np.float32)}


def test_a_gate_that_has_not_seen_the_plate_is_shown_its_frames_as_they_pass(tmp_path):
    wanted = frames_to_look_at(FrameRange(0, 24), 24.0)
    with open_footage(numbered_movie(tmp_path / "a.mp4", 24)) as plate:
        fresh, knows = ContentGate(runner=Clean()), ContentGate(runner=Clean())
        look_at_plate(knows, plate, wanted)
        for gate, plates in ((fresh, sorted(wanted)), (knows, [])):
            before, looks = len(gate.scores), Looks([cast()], FrameRange(0, 24), 0, gate, wanted, None)
            for frame in plate.frames():
                looks.take(frame, frame)
            seen = [(s.where, s.frame) for s in gate.scores[before:]]
            assert [i for where, i in seen if where == "plate"] == plates
            assert [i for where, i in seen if where == "result"] == sorted(wanted)


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
