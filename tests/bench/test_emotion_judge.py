"""The judge of emotions, on drawn people whose emotions are known."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.acting import EMOTIONS
from digidouble.bench.emotion_judge import FEATURES, REAL, features, missing, train, unseen
from digidouble.bench.protocols.emotion import faces
from digidouble.schema.mesh import face_model

RNG = np.random.default_rng(5)


def face():
    """68 points of a symmetrical face, 100 px between the outer eye corners."""
    p = RNG.uniform(-1, 1, (68, 2))
    p[27], p[33] = (0, -10), (0, 40)
    p[36], p[45], p[39], p[42] = (-50, 0), (50, 0), (-18, 0), (18, 0)
    p[48], p[54], p[51], p[57] = (-25, 70), (25, 70), (0, 62), (0, 78)
    return p


def test_features_do_not_see_shift_roll_or_size():
    p = face()
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    a, b = features(p[None]), features(1.7 * (p @ turn.T)[None] + 40)
    assert a == pytest.approx(b) and a.shape == (1, len(FEATURES))


def test_corners_that_rise_are_seen_on_their_side():
    p = face()
    up = p.copy()
    up[54, 1] -= 8  # y down: the picture's right corner goes up
    change = features(up[None])[0] - features(p[None])[0]
    assert change[FEATURES.index("corner_left")] > 0.05 and abs(change[FEATURES.index("corner_right")]) < 1e-9
    assert change[FEATURES.index("one_sided")] > 0.05


def clips(noise=0.02):
    """Every clip of REAL: its emotion is a direction of its own, people differ a little."""
    way = {e: RNG.standard_normal(len(FEATURES)) for e in EMOTIONS}
    out = {}
    for emotion, names in REAL.items():
        for name in names:
            amount = 0.0 if emotion == "neutral" else 1.0
            out[name] = 1 + 0.1 * amount * way[emotion] + noise * RNG.standard_normal((40, len(FEATURES)))
    return out, way


def test_known_directions_are_recognised_also_unseen():
    seen, way = clips()
    judge = train(seen)
    for emotion in EMOTIONS:
        if emotion != "neutral":
            assert judge.ranked(0.1 * way[emotion])[0] == emotion
    assert judge.ranked(np.zeros(len(FEATURES))) == ["neutral"]
    assert all(unseen(seen).values()) and len(unseen(seen)) == 8


def test_what_the_judge_wants_is_named():
    assert missing(["emotion_sad"]) and "emotion_sad" not in missing(["emotion_sad"])
    assert not missing([c for names in REAL.values() for c in names])


def test_the_ablation_leaves_out_cheeks_and_lids_only():
    rows = faces()
    assert rows.shape[0] == 2 * len(EMOTIONS)
    names = face_model().action_names
    for k, name in enumerate(names):
        whole, bare = rows[: len(EMOTIONS), k], rows[len(EMOTIONS) :, k]
        left_out = name.startswith(("cheek_raise", "lid_"))
        assert (bare == (0 * whole if left_out else whole)).all()
