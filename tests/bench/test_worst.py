"""Worst cases: damage that was put somewhere is found there, named by its cause, and shown."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces68 import face68

from digidouble.bench import severity
from digidouble.bench.baselines.paste import Photograph
from digidouble.bench.diagnosis import CAUSES, NAMED, NOTHING, diagnose
from digidouble.bench.evidence import Evidence, hidden_share, key_distances
from digidouble.bench.material import Clip, Pair
from digidouble.bench.observe import Watched
from digidouble.bench.protocol import Case, Scope
from digidouble.bench.protocols import pairs
from digidouble.bench.severity import SPAN, worst_stretches
from digidouble.bench.workshop import Workshop
from digidouble.bench.worst import as_facts, worst_of, write_worst, zoomed


@pytest.fixture
def moves() -> np.ndarray:
    t = np.arange(120)
    return 0.3 + 0.06 * np.sin(np.linspace(0.15, 0.4, 7) * t[:, None] + np.linspace(0, 5, 7))


def test_planted_damage_is_found_where_it_is_worst_first():
    level = np.full(100, 1.0)
    level[20:31], level[60:71], level[64] = 3.0, 5.0, 9.0
    found = worst_stretches(level, 3)
    assert [(s.first, s.last) for s in found[:2]] == [(60, 70), (20, 30)] and found[0].worst == 64
    assert found[0].severity == pytest.approx((10 * 5 + 9) / 11) and found[1].severity == pytest.approx(3)
    spans = sorted((s.first, s.last) for s in found)
    assert all(a[1] < b[0] for a, b in pairwise(spans))


def test_stretches_of_few_measured_frames():
    level = np.full(60, np.nan)
    level[::5] = 1.0
    level[30:36:5] = 4.0
    found = worst_stretches(level, 1)[0]
    assert found.first <= 30 and found.last >= 35 and found.worst in (30, 35)
    assert worst_stretches(np.full(60, np.nan), 3) == [] and worst_stretches(np.zeros(0), 3) == []
    lonely = np.full(60, np.nan)
    lonely[3] = 9.0
    assert worst_stretches(lonely, 3) == []  # one look is no stretch
    assert worst_stretches(np.ones(4), 3)[0].last == 3  # shorter than SPAN


def test_identity_goes_from_persona_to_plate():
    people = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 3)))[0].T
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    mixed = (1 - shares)[:, None] * people[0] + shares[:, None] * people[1]
    level = severity.identity(20, np.array([0, 5, 10, 15]), [(mixed, people[0], people[1])] * 2)
    np.testing.assert_allclose(level[[0, 5, 10, 15]], 2 * shares, atol=1e-9)
    assert np.isnan(level).sum() == 16


def test_expression_severity_is_the_damage(moves):
    assert severity.expression(moves, moves + np.linspace(-0.1, 0.1, 7)).max() < 1e-9  # other proportions
    found = []
    for share in (0.5, 1.0):
        frozen = moves.copy()
        frozen[40:60] += share * (moves[40] - moves[40:60])
        found.append(severity.expression(moves, frozen))
        assert 38 <= worst_stretches(found[-1], 1)[0].first <= 50
    assert found[1][45:60].mean() == pytest.approx(2 * found[0][45:60].mean(), rel=0.05)
    assert np.isnan(severity.expression(np.zeros((20, 7)), moves[:20])).all()


def test_pose_gaze_and_flicker_severity_are_in_their_units():
    plate = np.random.default_rng(0).uniform(-20, 20, (30, 3))
    np.testing.assert_allclose(severity.pose(plate, plate + np.array([3, -3, 6])), 4)
    np.testing.assert_allclose(severity.pose(plate + 179, plate - 179), 2)  # the short way round
    np.testing.assert_allclose(severity.gaze(plate[:, :2], plate[:, :2] + np.array([3, 4])), 5)
    level = severity.flicker(np.full(10, 2.0), np.array([2.0, 4, 1] + [2] * 7))
    assert np.isnan(level[0]) and level[1:4].tolist() == [0, 1, 0] and len(level) == 11


def test_a_cause_is_named_beyond_its_limit_only_and_the_strongest_first():
    assert diagnose("pose", {"turn_deg": 24, "face_px": 300, "hidden": 0.0}) == NOTHING
    said = diagnose("pose", {"turn_deg": 30, "hidden": 0.9, "face_px": 300})
    assert said.index("90% of the face is covered") < said.index("turned by 30 degrees")
    everything = {c.measure: 0.01 if c.below else 99.0 for c in CAUSES}
    assert len(diagnose("expression", everything).split("; ")) == NAMED
    assert diagnose("expression", {}, "smile is too low") == f"smile is too low; {NOTHING}"
    assert "key" in diagnose("expression", {"key_distance": 3.0, "key_distance_shot": 1.0})
    assert diagnose("pose", {"key_distance": 3.0, "key_distance_shot": 1.0}) == NOTHING  # not what moves a head
    assert diagnose("pose", {"turn_deg": float("nan"), "shown": float("nan")}) == NOTHING


def test_the_hidden_share_is_what_the_matte_covers():
    points = np.zeros((478, 3))
    points[:, 0] = np.linspace(100, 227, 478)
    points[:, 1] = 150
    for covered in (0, 32, 64):
        matte = np.full((128, 128), 255, np.uint8)
        matte[:, :covered] = 0
        place = np.array([[1.0, 0, 100], [0, 1, 100]])
        assert hidden_share(points, matte, place) == pytest.approx(covered / 128, abs=0.03)


def test_the_key_distance_is_to_the_nearest_key_in_expression_and_view():
    keys, views = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [25.0, 0.0]])
    actions, view = np.array([[0.0, 0.0], [1.0, 0.5], [0.0, 3.0]]), np.array([[0.0, 0.0], [25.0, 0.0], [0.0, 100.0]])
    np.testing.assert_allclose(key_distances(actions, view, keys, views), [0, 0.5, 5])


def test_evidence_is_summed_up_over_a_stretch():
    ramp = np.arange(10.0)
    holes = ramp.copy()
    holes[:5] = np.nan
    found = Evidence(*[ramp] * 11, holes).over(2, 6)
    assert found["turn_deg"] == 4 and found["tracker_gaze_deg"] == 5.5 and found["key_distance_shot"] == 4.5
    assert np.isnan(Evidence(*[ramp] * 11, holes).over(0, 3)["tracker_gaze_deg"])


def test_the_worst_channel_is_named_with_its_side(moves):
    out = moves.copy()
    out[30:41, 2] -= 0.2
    lead, found = pairs._worst_channel(moves, out, 30, 40)
    assert lead.startswith("smile is") and lead.endswith("too low") and found["channel"] == 2
    half = moves.mean(0) + 0.5 * (moves - moves.mean(0))
    assert pairs._worst_channel(moves, half, 0, 10)[1]["amplitude"] == pytest.approx(0.5)


def case(item: str, level: float) -> Case:
    return Case(item, "digidouble draft", 0, 4, 2, level, f"cause {level}", {"turn_deg": 30.0, "hidden": float("nan")})


def test_one_bad_clip_does_not_hide_the_others():
    cases = [case("a", 9), case("a", 8), case("a", 7), case("b", 2), case("c", 1), case("d", 3)]
    assert [(c.item, c.severity) for c in worst_of(cases)] == [("a", 9), ("d", 3), ("b", 2)]
    assert [c.severity for c in worst_of(cases[:4])] == [9, 8, 2]  # too few clips: the next of the worst
    facts = as_facts({"pose": worst_of(cases)})["pose"][0]
    assert facts["frames"] == [0, 4] and facts["measures"] == {"turn_deg": 30.0} and facts["diagnosis"] == "cause 9"


def test_zooms_hold_eyes_and_mouth():
    points = face68(mouth=2.0)
    page = np.zeros((360, 400, 3), np.uint8)
    for part, colour in ((slice(36, 48), (255, 0, 0)), (slice(48, 68), (0, 255, 0))):
        for x, y in points[part]:
            cv2.circle(page, (round(x), round(y)), 1, colour, -1)
    eyes, mouth = zoomed(page, points, slice(17, 48)), zoomed(page, points, slice(48, 68))
    assert (eyes[..., 0] > 0).sum() == (page[..., 0] > 0).sum() and (mouth[..., 1] > 0).sum() == (
        page[..., 1] > 0
    ).sum()
    outside = points - [500, 500]
    assert zoomed(page, outside, slice(48, 68)).size


class Shelf(Workshop):
    """Stands in for the workshop: a gray plate, a white result, a photograph."""

    def plate(self, name: str) -> Path:
        return Path(name)

    def watched(self, movie: Path) -> Watched:
        points = np.stack([face68()] * 8).astype(np.float32)
        return Watched(3, np.zeros((8, 4)), points, np.ones(8, bool))

    def photograph(self, name: str) -> Photograph:
        return Photograph(np.full((360, 400, 3), 60, np.uint8), face68())

    def row_frames(self, pair: Pair, row: str, watched: Watched, at: list[int]) -> list[np.ndarray]:
        assert all(0 <= k < len(watched.boxes) for k in at)
        return [np.full((360, 400, 3), 130 if row == "plate" else 250, np.uint8) for _ in at]


def test_the_sheet_shows_plate_above_result(tmp_path):
    clips = {n: Clip(tmp_path / n) for n in ("a", "b")}
    shop, scope = Shelf(tmp_path, clips), Scope((Pair("a", "b"),))
    at_the_end = Case("a->b", "digidouble draft", 3, 10, 10, 2.0, "why")  # the excerpt ends here
    write_worst(shop, scope, {"pose": [at_the_end]}, tmp_path / "x.worst.png")
    sheet = cv2.imread(str(tmp_path / "x.worst.png"))
    assert sheet is not None
    half = sheet.shape[0] // 2
    assert (sheet[:half] == 130).mean() > 0.3 > 0.05 > (sheet[:half] == 250).mean()
    assert (sheet[half:] == 250).mean() > 0.3 > 0.05 > (sheet[half:] == 130).mean()
    write_worst(shop, scope, {}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists() and SPAN > 4
