"""The speech protocol's measures on courses with known agreement, and the protocol on real clips where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from digidouble.bench.protocols.speech import SPEECH, closures_hit, lip_sync, opening_cm
from digidouble.schema.mesh import face_model
from digidouble.schema.speech import MouthCurves, Phone

CLIPS = Path("/work/shared/data/clips")


def course(n: int = 120) -> np.ndarray:
    t = np.arange(n)
    return 0.4 + 0.3 * np.sin(0.31 * t) + 0.1 * np.sin(0.83 * t + 1)


@pytest.mark.parametrize("late", [-3, 0, 2, 5])
def test_lag_and_agreement(late: int):
    real = course(140)
    ours = 0.5 * real[10 - late : 130 - late] + 0.2
    found = lip_sync(real[10:130], ours)
    assert found["lag"] == late
    assert found["best_r"] == pytest.approx(1, abs=1e-9)
    assert found["amplitude"] == pytest.approx(0.5, rel=0.05)
    assert (found["r"] > 0.999) == (late == 0)


def test_what_does_not_move_does_not_agree():
    assert lip_sync(course(), np.full(120, 0.3))["r"] == 0
    noise = np.random.default_rng(1).normal(size=400)
    assert abs(lip_sync(course(400), noise)["r"]) < 0.2


def test_closures_are_counted_where_lips_meet():
    times = np.arange(100) / 25
    phones = [
        Phone("b", 0.5, 0.6),
        Phone("a", 0.6, 0.9),
        Phone("m", 1.5, 1.6),
        Phone("ph", 2.5, 2.6),
        Phone("p", 30.0, 30.1),
    ]
    opening = np.full(100, 0.8)
    assert closures_hit(opening + 0.2 * np.sin(times), times, phones)[1] == 3  # the last is after the take
    opening[[13, 38]] = 0.02
    opening[90:] = 0.0
    assert closures_hit(opening, times, phones) == (2, 3)
    assert closures_hit(opening, times, []) == (0, 0)


def test_opening_of_the_mean_face():
    m = face_model()
    actions = np.zeros((3, len(m.action_names)))
    part = m.action_names.index("lips_part_AU25/lips_press_AU24")
    actions[1:, part] = 0.5
    curves = MouthCurves(np.arange(3) / 25, actions, np.array([0.0, 0.0, 1.0]), "visemes")
    rest, wide, shut = opening_cm(curves)
    assert abs(rest) < 0.01 and wide == pytest.approx(0.71, abs=0.03) and abs(shut) < 0.02


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("clip", ["grid_talk_1.mpg"])
def test_the_protocol_on_a_real_speaker(clip: str, tmp_path: Path):
    pytest.importorskip("dlib")
    from digidouble.bench.material import Clip
    from digidouble.bench.protocol import Scope
    from digidouble.bench.workshop import Workshop

    shop = Workshop(tmp_path, {Path(clip).stem: Clip(CLIPS / clip)})
    scope = Scope(())
    assert SPEECH.items(shop, scope) == [Path(clip).stem]
    rows = {r.row: r.numbers for r in SPEECH.measure(shop, scope, Path(clip).stem).records}
    assert rows["text"]["r"] > 0.75 and abs(rows["text"]["lag"]) <= 1
    assert rows["audio"]["r"] > rows["loudness"]["r"] + 0.1 and abs(rows["audio"]["lag"]) <= 1
    assert rows["text"]["closures"] == 1
