"""Text over a delivery: where it lies, that the rest is untouched, and that letters nobody can draw are refused."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.deliver import overlay
from digidouble.deliver.overlay import PLACES, TextOverlay, draw_overlay, typeface_for
from digidouble.errors import SettingsError
from digidouble.footage import MemoryFootage
from digidouble.schema.colour import rgb8_from_frame

SIZE = (320, 180)


@pytest.mark.parametrize("place", PLACES)
def test_text_lies_inside_and_the_rest_is_bit_equal(talk, place):
    frame = MemoryFootage(talk.frames[:1], talk.footage().shot.rate).frame(0)
    drawn = draw_overlay(TextOverlay("Hi", place=place, height=0.15), frame.size_wh)
    after = drawn.over(frame)
    x0, y0, x1, y1 = drawn.roi.x0, drawn.roi.y0, drawn.roi.x1, drawn.roi.y1
    w, h = frame.size_wh
    assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
    changed = (rgb8_from_frame(frame) != rgb8_from_frame(after)).any(-1)
    assert changed.any() and not np.delete(np.delete(changed, slice(y0, y1), 0), slice(x0, x1), 1).any()
    luma, before = after.planes[0], frame.planes[0]
    outside = np.ones(luma.shape[:2], bool)
    outside[y0:y1, x0:x1] = False
    assert (luma[outside] == before[outside]).all()
    assert ("left" not in place or x0 < w / 4) and ("right" not in place or x1 > 0.75 * w)
    assert ("top" not in place or y0 < h / 4) and ("bottom" not in place or y1 > 0.75 * h)


def test_long_text_is_wrapped_between_words_and_between_characters(monkeypatch):
    one = draw_overlay(TextOverlay("Hello there"), SIZE)
    two = draw_overlay(TextOverlay("Hello there, you who waited so long for this, good morning", height=0.1), SIZE)
    assert two.roi.size_hw[0] > 2 * one.roi.size_hw[0] and two.roi.size_wh[0] <= SIZE[0]
    with pytest.raises(SettingsError, match="lines"):
        draw_overlay(TextOverlay("word " * 40, height=0.2), SIZE)


def test_chinese_is_drawn_where_a_font_has_it_and_refused_where_none_has(monkeypatch):
    if overlay.system_fonts():
        try:
            a, b = (draw_overlay(TextOverlay(t), SIZE) for t in ("你好", "再见"))
        except SettingsError:
            pytest.skip("no Chinese font on this machine")
        assert a.letters.max() > 0.5 and not np.array_equal(a.letters, b.letters)
        mixed = typeface_for("Hello 小明!", "", 20)
        assert len(mixed.fonts) > 1 and [p for _, p in mixed.runs("Hello 小明!")] == ["Hello ", "小明", "!"]
    monkeypatch.setattr(overlay, "system_fonts", lambda: ())
    with pytest.raises(SettingsError, match=r"no font of this machine has 你 \(U\+4F60\)"):
        draw_overlay(TextOverlay("Hi 你好"), SIZE)
    assert len(typeface_for("Good morning, Ada!", "", 20).fonts) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"text": " "}, "1 to 200"), ({"text": "x" * 201}, "1 to 200"), ({"text": "a\u202eb"}, r"U\+202E"), ({"text": "a\x07"}, r"U\+0007"),
        ({"height": 0.5}, "0.02 to 0.3"), ({"start_s": 3.0, "end_s": 2.0}, "start < end"),
    ],
)  # fmt: skip
def test_refusals(more, words):
    with pytest.raises(SettingsError, match=words):
        TextOverlay(**{"text": "x", **more})


def test_a_font_that_is_none(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    with pytest.raises(SettingsError, match="not a font"):
        draw_overlay(TextOverlay("x", font=str(tmp_path / "x.ttf")), SIZE)


def test_shown_from_to():
    drawn = draw_overlay(TextOverlay("x", start_s=1.0, end_s=2.0), SIZE)
    assert [drawn.shown_at(s) for s in (0.0, 1.0, 1.99, 2.0)] == [False, True, True, False]
