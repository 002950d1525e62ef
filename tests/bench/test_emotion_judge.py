"""The judge of emotions, on drawn people whose emotions are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from digidouble.acting import EMOTIONS
from digidouble.bench.emotion_judge import (
    CALM,
    FEATURES,
    MIDDLE,
    SIDED,
    changes,
    lengths,
    shown,
    train,
    unseen,
    with_brows,
)
from digidouble.bench.emotion_material import RESTS, TAKES, wanted
from digidouble.bench.material import Clip, find_clips
from digidouble.bench.protocols import emotion as protocol
from digidouble.bench.protocols.emotion import excerpt_name, faces, missing
from digidouble.bench.referees import BROW_VIEWS
from digidouble.bench.workshop import Workshop
from digidouble.errors import SettingsError
from digidouble.schema.mesh import face_model

WIDTH = 2 * len(SIDED) + len(MIDDLE)


def face(rng):
    """68 points of a face, symmetrical but for a little, 100 px between the outer eye corners."""
    half = {
        36: (50, 0),
        37: (40, -8),
        38: (28, -8),
        39: (18, 0),
        40: (28, 6),
        41: (40, 6),
        21: (15, -25),
        17: (60, -15),
    }
    half |= {48: (25, 70), 31: (14, 38), 60: (20, 70)}
    mirror = {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 21: 22, 17: 26, 48: 54, 31: 35, 60: 64}
    p = np.zeros((68, 2))
    for k, (x, y) in half.items():
        p[k], p[mirror[k]] = (-x, y), (x, y)
    p[27:31], p[33] = [(0, -10), (0, 5), (0, 15), (0, 25)], (0, 40)
    p[51], p[62], p[66], p[57], p[8] = (0, 62), (0, 68), (0, 70), (0, 78), (0, 110)
    return p + rng.uniform(-0.5, 0.5, p.shape)


def feature(points, of, name):
    return changes(lengths(points[None]), lengths(of[None])[0])[0, FEATURES.index(name)]


def test_lengths_do_not_see_shift_roll_or_size():
    p = face(np.random.default_rng(5))
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    a, b = lengths(p[None]), lengths(1.7 * (p @ turn.T)[None] + 40)
    assert a == pytest.approx(b) and a.shape == (1, WIDTH)


@pytest.mark.parametrize(
    ("points", "way", "name", "sign"),
    [
        ((48, 54), (0, -8), "smile", 1),
        ((21, 22), (0, -8), "inner_brow", 1),
        ((17, 26), (0, -8), "outer_brow", 1),
        ((37, 38, 43, 44), (0, -4), "eye", 1),
        ((40, 41, 46, 47), (0, -3), "lower_lid", 1),
        ((51, 62), (0, -6), "upper_lip", 1),
        ((66, 57), (0, 9), "open", 1),
        ((31, 35), (0, -4), "nostril", 1),
        ((8,), (0, 12), "chin", -1),
    ],
)
def test_what_a_muscle_moves_is_seen_by_name(points, way, name, sign):
    p = face(np.random.default_rng(6))
    moved = p.copy()
    moved[list(points)] += way
    assert sign * feature(moved, p, name) > 0.02


def test_brows_are_taken_from_the_second_look_and_nothing_else():
    p = face(np.random.default_rng(9))
    q = p.copy()
    q[[21, 22], 1] -= 8
    q[[48, 54], 0] *= 1.2  # this look is wrong about the mouth
    mixed = changes(with_brows(lengths(p[None]), lengths(q[None])), lengths(p[None])[0])[0]
    assert mixed[FEATURES.index("inner_brow")] == pytest.approx(feature(q, p, "inner_brow"))
    assert mixed[FEATURES.index("inner_brow")] > 0.05
    assert mixed[FEATURES.index("corner_out")] == pytest.approx(0)


def test_a_picture_is_looked_at_under_both_sets_of_boxes():
    p = face(np.random.default_rng(10))
    high = p.copy()
    high[17:27, 1] -= 9

    looks: Any = SimpleNamespace(landmarks=lambda rgb8, box, views: high if views is BROW_VIEWS else p)
    blank, box = np.zeros((4, 4, 3), np.uint8), (0.0, 0.0, 1.0, 1.0)
    found = changes(protocol._looked(looks, [blank], [box]), lengths(p[None])[0])[0]
    assert found[FEATURES.index("inner_brow")] > 0.05 and found[FEATURES.index("eye")] == pytest.approx(0)
    assert min(up for _, up, _ in BROW_VIEWS) < 0 and max(grow for _, _, grow in BROW_VIEWS) > 1


def test_centimetres_are_those_of_the_mean_face():
    m = face_model().mean_cm
    eyes, nose = (float(np.linalg.norm((m[a] - m[b])[:2])) for a, b in ((33, 263), (168, 2)))
    assert pytest.approx(np.sqrt(eyes * nose), abs=0.01) == protocol.HEAD_CM
    change = np.zeros((len(EMOTIONS), len(FEATURES)))
    change[EMOTIONS.index("joy"), FEATURES.index("corner_out")] = 0.1
    told = protocol.centimetres(change)
    assert told["cm_joy_corner_out"] == pytest.approx(0.1 * protocol.HEAD_CM)
    assert not any(v for k, v in told.items() if k != "cm_joy_corner_out")


def test_real_centimetres_have_a_least_and_a_most():
    seen, way = clips(noise=0)
    told = protocol.real_centimetres(shown(seen))
    assert {k.removeprefix("least_").removeprefix("most_") for k in told} == set(
        protocol.centimetres(np.zeros((len(EMOTIONS), len(FEATURES))))
    )
    for key in [k for k in told if k.startswith("cm_")]:
        assert told[f"least_{key}"] <= told[key] <= told[f"most_{key}"]
    of_drawn = changes((np.ones(WIDTH) + 0.1 * way["anger"])[None], np.ones(WIDTH))[0]
    assert told["cm_anger_inner_brow"] == pytest.approx(
        protocol.HEAD_CM * of_drawn[FEATURES.index("inner_brow")], abs=0.4
    )


def test_one_corner_is_uneven_and_which_one_does_not_matter():
    p = face(np.random.default_rng(7))
    left, right = p.copy(), p.copy()
    left[54, 1] -= 8
    right[48, 1] -= 8
    assert feature(left, p, "corner_uneven") == pytest.approx(feature(right, p, "corner_uneven"))
    assert feature(left, p, "corner_uneven") > 0.05 > abs(feature(left, p, "brow_uneven"))


def clips(noise=0.01):
    """Every clip: its emotion is a direction of its own, people differ at rest and a little in the emotion."""
    rng = np.random.default_rng(8)
    way = {e: rng.standard_normal(WIDTH) for e in EMOTIONS}
    for w in way.values():  # alike on both sides, or nothing would be left of the half that averages out
        w[len(SIDED) : 2 * len(SIDED)] = w[: len(SIDED)]
    person = {t.person: 1 + 0.03 * rng.standard_normal(WIDTH) for t in TAKES}
    out = {}
    for place in wanted():
        take = next((t for t in TAKES if (t.clip, t.spans) == place), None)
        who = take.person if take else next(p for p, places in RESTS.items() if place in places)
        amount = 0.0 if take is None or take.emotion == CALM else 0.1
        change = amount * way[take.emotion] if take else 0.0
        out[place] = person[who] + change + noise * rng.standard_normal((30, WIDTH))
    return out, way


def test_known_directions_are_recognised_also_in_people_the_judge_never_saw():
    seen, way = clips()
    people = shown(seen)
    judge = train(people)
    rest = np.ones(WIDTH)
    for emotion in EMOTIONS:
        amount = 0.0 if emotion == CALM else 0.1
        assert judge.ranked(changes((rest + amount * way[emotion])[None], rest)[0])[0] == emotion
    verdicts = unseen(people)
    assert len(verdicts) == len(people) > len(TAKES)
    assert np.mean([ranked[0] == take.emotion for take, ranked in verdicts]) > 0.9


def test_a_person_is_judged_without_having_been_seen():
    """A person whose face does the opposite of everybody's: with them in the judge's school, their emotion's mean moves."""
    seen, _ = clips()
    people = shown(seen)
    odd = next(t for t in TAKES if t.emotion == "crying")
    seen[odd.clip, odd.spans] = 2 - seen[odd.clip, odd.spans]
    changed = shown(seen)
    same, other = train(people, {odd.person}), train(changed, {odd.person})
    assert np.allclose(same.means["crying"], other.means["crying"])
    assert not np.allclose(train(people).means["crying"], train(changed).means["crying"])


def test_every_emotion_has_people_and_every_take_a_reason():
    for emotion in EMOTIONS:
        assert len({t.person for t in TAKES if t.emotion == emotion}) >= 2
    assert all(t.why for t in TAKES) and len({t.name for t in TAKES}) == len(TAKES)


def test_what_the_judge_wants_is_named(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "emotion_sad.mp4").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "stock-emotions-a-5.jpg").touch()
    lacking = missing(Workshop(tmp_path / "bench", find_clips([tmp_path])))
    assert "emotion_sad" not in lacking and "photo:stock-emotions-a-5" not in lacking
    assert {"rage_fast", "photo:stock-emotions-a-3"} <= set(lacking)


def test_an_excerpt_is_named_by_all_of_its_frames():
    """Spans that begin alike and end otherwise, or lie in a shorter clip, are other excerpts."""
    names = [excerpt_name("clip-ab", list(range(24, end))) for end in (40, 41, 66)]
    assert len(set(names)) == 3 and names[0] == excerpt_name("clip-ab", list(range(24, 40)))


def test_a_clip_that_ends_before_its_take_is_named(tmp_path, monkeypatch):
    shop = Workshop(tmp_path, {"a": Clip(tmp_path / "a.mp4")})
    monkeypatch.setattr(Workshop, "observer", SimpleNamespace(landmarker=None))
    monkeypatch.setattr(Workshop, "frame_count", lambda self, name: 20)
    with pytest.raises(SettingsError, match=r"a\.mp4: has 20 frames.*24 to 66"):
        protocol._watched(shop, "a", ((24, 66),))


def test_the_number_to_reach_is_that_of_the_nine():
    """Neutral is right by construction, so it may not help."""
    assert protocol.EMOTION.shown[0] == "emotional" and set(protocol.EMOTION.targets) == {"emotional"}
    numbers = protocol._shares([(e, [CALM, "joy"]) for e in EMOTIONS])
    assert numbers["emotional"] == 0 and numbers["recognised"] == pytest.approx(0.1)


def test_the_ablation_leaves_out_cheeks_and_lids_only():
    rows = faces()
    assert rows.shape[0] == 2 * len(EMOTIONS)
    names = face_model().action_names
    for k, name in enumerate(names):
        whole, bare = rows[: len(EMOTIONS), k], rows[len(EMOTIONS) :, k]
        left_out = name.startswith(("cheek_raise", "lid_"))
        assert (bare == (0 * whole if left_out else whole)).all()
