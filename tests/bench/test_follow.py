"""The follow protocol: known damage to channels, frames and tracks costs what it should; a whole measurement of a made-up shot."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.bench.material import Clip, Pair
from digidouble.bench.protocol import Protocol, Record, Scope
from digidouble.bench.protocols import follow
from digidouble.bench.report import BenchReport, summary_table
from digidouble.bench.workshop import Workshop
from digidouble.performance import analyse, load_performance
from digidouble.schema.frame import Frame

ALL = np.ones(7, bool)


@pytest.fixture
def moves() -> np.ndarray:
    """90 frames of seven channels in cm."""
    t, speed = np.arange(90), np.linspace(0.15, 0.4, 7)
    return 0.2 * np.sin(speed * t[:, None] + np.linspace(0, 5, 7)) + 0.05 * np.sin(2.3 * speed * t[:, None])


def test_channels_are_centimetres_of_the_head():
    head = np.random.default_rng(0).normal(0, 3, (478, 3))

    def moved(which: list[int], by: np.ndarray) -> np.ndarray:
        other = head.copy()
        other[which] += by
        return follow.head_channels(np.stack([head, other])) @ np.eye(7)

    up = np.array([0, 0.3, 0])
    for which, channel, change in (
        ([61, 291], 2, 0.3), ([70, 63, 105, 66, 107], 3, 0.3), ([300, 293, 334, 296, 336], 4, 0.3), ([159], 5, 0.3), ([386], 6, 0.3),
        ([33, 133], 3, -0.3), ([1], 2, -0.3),
    ):  # fmt: skip
        before, after = moved(which, up)
        away = after - before
        assert away[channel] == pytest.approx(change)
        assert np.abs(np.delete(away, [0, 1, channel])).max() < 1e-9
    flat = np.zeros((478, 3))
    flat[13, 1], flat[291, 0] = 0.7, 5.0
    np.testing.assert_allclose(follow.head_channels(flat[None])[0], [0.7, 5.0, 0, 0, 0, 0, 0], atol=1e-12)


def test_the_truth_and_other_proportions_follow(moves):
    found = follow.follows(moves, 0.8 * moves + np.linspace(-1, 1, 7), ALL)
    assert found["share"] == 1 and found["lag"] == 0 and found["r"] == pytest.approx(1)
    assert found["amplitude"] == pytest.approx(0.8) and found["amplitude_smile"] == pytest.approx(0.8)


@pytest.mark.parametrize("late", [-2, -1, 1, 3])
def test_delay_is_found_and_costs_r_in_proportion(moves, late):
    n = len(moves) - 6
    plate, out = moves[3 : 3 + n], moves[3 - late : 3 - late + n]
    found = follow.follows(plate, out, ALL)
    assert found["lag"] == late
    half = follow.follows(plate, (plate + out) / 2, ALL)
    assert 1 > half["r"] > found["r"]


def test_freezing_and_noise(moves):
    frozen = follow.follows(moves, np.broadcast_to(moves[0], moves.shape), ALL)
    assert frozen["share"] == frozen["r"] == 0 and frozen["amplitude"] == pytest.approx(0)
    noise = np.random.default_rng(1).standard_normal(moves.shape)
    found = [follow.follows(moves, moves + a * noise, ALL) for a in (0.0, 0.05, 0.1, 0.3)]
    rs, shares = [f["r"] for f in found], [f["share"] for f in found]
    assert rs == sorted(rs, reverse=True) and rs[3] < 0.7
    assert shares[0] == 1 and shares[3] == 0 and shares == sorted(shares, reverse=True)
    one = moves.copy()
    one[:, 0] = moves[::-1, 0]
    assert follow.follows(moves, one, ALL)["followed"] == 6


def test_only_what_moves_is_judged_and_a_lost_face_follows_nothing(moves):
    use = ALL.copy()
    use[2:] = False
    assert follow.follows(moves, moves, use)["channels"] == 2
    assert "share" not in follow.follows(moves, moves, ~ALL)
    lost = follow.follows(moves[:5], moves[:5], ALL)
    assert lost["share"] == 0 and lost["channels"] == 7 and np.isnan(lost["lag"])


def test_the_table_counts_channels_not_clips():
    """Seven of seven and none of one are seven eighths, not a half."""
    p = Protocol("follow", "?", ("share",), {}, lambda *_: [], None, shares=follow.FOLLOW.shares)  # type: ignore[arg-type]
    rows = [("a", 7.0, 7.0), ("b", 0.0, 1.0)]
    records = tuple(Record(i, "plate", {"share": f / c, "followed": f, "channels": c}) for i, f, c in rows)
    assert summary_table(BenchReport({}, {"follow": records}, {}), p)[1][0] == ["plate", "0.875"]


def test_another_clip_stands_in_for_its_own():
    scope = Scope((Pair("a", "b"), Pair("a", "c")))
    assert [follow.stand_in(scope, n) for n in "abc"] == ["b", "a", "a"]
    scope = Scope((Pair("a", "b"), Pair("c", "d")))
    assert follow.stand_in(scope, "a") == "c"


def test_the_remeasured_plate_is_one_pixel_to_the_right():
    page = np.zeros((32, 32, 3), np.uint8)
    page[8:24, 8:24] = 200
    again = follow.moved(page).astype(int)
    assert np.abs(again[:, 1:] - page[:, :-1]).mean() < 4 < np.abs(again - page).mean()


@pytest.fixture(scope="module")
def whole(talk, talk_perf, persona_file, tmp_path_factory):
    """A measurement of a synthetic shot, with truth and noise in place of networks."""
    from digidouble.persona import load_persona

    folder = tmp_path_factory.mktemp("follow")
    shop = Workshop(folder, {"a": Clip(folder / "a.mp4"), "b": Clip(folder / "b.mp4")})
    return shop, talk, load_performance(talk_perf), load_persona(persona_file)


def _tracked(whole, monkeypatch, change) -> dict[str, float]:
    """`_anew` of the shot with frames exchanged by `change` (index -> index), tracked by truth."""
    from synthetic import TruthPerceiver

    shop, talk, performance, _ = whole
    see = TruthPerceiver(talk, 0.4, seed=5)
    monkeypatch.setattr(follow, "analyse", lambda footage, out: analyse(footage, out, perceiver=see))
    frames = list(talk.footage().frames())
    plate = talk.footage()

    def other(frame: Frame) -> Frame:
        return Frame(frame.index, frame.pts_seconds, frames[change(frame.index)].planes, frame.layout, frame.colour)

    altered = follow.Altered(plate, other, (plate.shot.layout, plate.shot.colour))
    return follow._anew(shop, altered, performance.track("main"))


def test_the_same_pictures_follow_and_late_or_frozen_ones_do_not(whole, monkeypatch):
    same = _tracked(whole, monkeypatch, lambda i: i)
    late = _tracked(whole, monkeypatch, lambda i: max(i - 2, 0))
    still = _tracked(whole, monkeypatch, lambda i: 20)
    assert (
        same["channels"] >= 3
        and same["r"] > 0.9
        and same["lag"] == 0
        and same["amplitude"] == pytest.approx(1, abs=0.1)
    )
    assert late["lag"] == 2 and late["r"] < same["r"] - 0.03
    assert still["r"] < 0.5 and still["amplitude"] < 0.3 and still["followed"] == 0
    assert not list(whole[0].scratch.iterdir())


def _in_turn(count: int):
    """Names frames in the order in which pictures are seen first: a double's pixels are not in the list of the shot's."""
    known: dict[bytes, int] = {}

    def frame_of(self, rgb8: np.ndarray) -> int:
        return known.setdefault(self._key(rgb8), len(known) % count)

    return frame_of


def test_a_whole_item(whole, monkeypatch):
    """Rows, stand-in and numbers; the double of a synthetic shot is tracked with the plate's truth."""
    from synthetic import TruthPerceiver

    shop, talk, performance, persona = whole
    asked: list[str] = []
    monkeypatch.setattr(Workshop, "plate", lambda self, name: name)
    monkeypatch.setattr(Workshop, "performance", lambda self, movie: performance)
    monkeypatch.setattr(Workshop, "persona", lambda self, name: asked.append(name) or persona)
    monkeypatch.setattr(follow, "open_footage", lambda movie: talk.footage())
    see = TruthPerceiver(talk, 0.4)
    monkeypatch.setattr(follow, "analyse", lambda footage, out: analyse(footage, out, perceiver=see))
    scope = Scope((Pair("a", "b"),), quick=True)
    assert follow.FOLLOW.items(shop, scope) == ["b", "a"]
    monkeypatch.setattr(TruthPerceiver, "frame_of", _in_turn(len(talk.frames)))
    rows = follow.FOLLOW.measure(shop, scope, "a").records
    assert [r.row for r in rows] == ["plate", "digidouble draft"] and asked == ["b"]
    assert rows[0].numbers["channels"] == rows[1].numbers["channels"] > 0
