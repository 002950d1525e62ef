"""The protocol `sources`: every row's persona is built from as many pictures as it says, and numbers are who a frame is nearer to."""

from __future__ import annotations

import numpy as np
import pytest
from shot_fixtures import persona_b, talk, talk_perf  # noqa: F401

from digidouble.bench.material import Pair
from digidouble.bench.observe import Likeness, Watched
from digidouble.bench.protocol import Scope
from digidouble.bench.protocols import sources
from digidouble.bench.workshop import Workshop
from digidouble.performance import load_performance
from digidouble.persona import save_persona

A, B = np.eye(4, dtype=np.float32)[:2]


def test_nearer_to_the_persona_is_won():
    half = (A + B) / np.sqrt(2)
    found = sources.judged(np.stack([A, half + 0.01 * A, B]), A, B)
    assert found["won"] == pytest.approx(2 / 3) and found["margin"] == pytest.approx(0.01 / 3)


def test_a_whole_item(tmp_path, talk, talk_perf, persona_b, monkeypatch):  # noqa: F811
    """A judge that knows nothing but the order: the more pictures, the nearer to the persona."""
    asked: list[tuple[str, int]] = []
    n = len(talk.frames)
    shop = Workshop(tmp_path, {}, second=None)
    file = save_persona(persona_b, tmp_path / "b.persona")
    boxes = np.tile(np.float32([0, 0, 90, 90]), (n, 1))
    watched = Watched(0, boxes, np.zeros((n, 68, 2), np.float32), np.ones(n, bool))

    class Judge:
        landmarker = identity = property(lambda self: self)

        def landmarks(self, rgb8, box):
            assert tuple(box) == (0, 0, 90, 90) and rgb8.shape[:2] == talk.footage().shot.size_wh[::-1]
            return np.zeros((68, 2))

        def embed(self, rgb8, points):
            return A if asked[-1][1] > 5 else B

        def embed_second(self, rgb8, points):
            return np.zeros(0, np.float32)

    monkeypatch.setattr(Workshop, "observer", Judge())
    monkeypatch.setattr(Workshop, "plate", lambda self, name: tmp_path / name)
    monkeypatch.setattr(Workshop, "watched", lambda self, movie: watched)
    monkeypatch.setattr(Workshop, "performance", lambda self, movie: load_performance(talk_perf))
    monkeypatch.setattr(Workshop, "persona_file", lambda self, name, most: asked.append((name, most)) or file)
    monkeypatch.setattr(
        Workshop, "likeness", lambda self, name: Likeness({"a": A, "b": B}[name], np.zeros(0, np.float32))
    )
    monkeypatch.setattr(sources, "open_footage", lambda movie: talk.footage())
    rows = sources.SOURCES.measure(shop, Scope((Pair("a", "b"),)), Pair("a", "b").name).records
    assert asked == [("a", c) for c in sources.COUNTS]
    assert [r.numbers["won"] for r in rows] == [0, 0, 1, 1] and rows[0].row == "of 1 picture"
    assert all(set(r.numbers) == {"won", "margin"} for r in rows)
