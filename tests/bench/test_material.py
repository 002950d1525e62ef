from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from digidouble.bench.material import Clip, choose_pairs, evenly, excerpt, find_clips, split_blocks, write_lossless
from digidouble.errors import SettingsError, UnreadableMedia
from digidouble.footage import open_footage
from digidouble.schema.frame import ColourTags, Frame, PixelLayout


def test_held_out_frames_have_no_near_twin_in_the_persona():
    for count in (77, 200, 1000):
        capture, held = split_blocks(count)
        out = np.array([i for block in held for i in block])
        assert len(out) == pytest.approx(0.2 * count, abs=2) and len(capture) > 0.6 * count
        assert np.abs(np.array(capture)[:, None] - out).min() > 2


def test_evenly_keeps_both_ends():
    assert evenly(list(range(100)), 4) == [0, 33, 66, 99] and evenly([1, 2], 5) == [1, 2]


def test_pairs_are_of_different_clips_and_the_named_ones_come_first():
    names = ("grin_greenscreen", "wide_turns_lamp", "talk_200s", "emotion_happy", "smile_30fps")
    clips = {n: Clip(None) for n in names}  # type: ignore[arg-type]
    pairs = choose_pairs(clips)
    assert [p.name for p in pairs[:2]] == ["grin_greenscreen->wide_turns_lamp", "talk_200s->emotion_happy"]
    assert all(p.persona != p.plate for p in pairs) and len({p.name for p in pairs}) == len(pairs)
    unknown = {n: Clip(None) for n in ("x", "y", "z")}  # type: ignore[arg-type]
    assert {p.plate for p in choose_pairs(unknown)} == {"x", "y", "z"}
    with pytest.raises(SettingsError, match="two clips"):
        choose_pairs({"x": Clip(None)})  # type: ignore[arg-type]


def test_clips_are_found_and_faceless_ones_left_out(tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.MOV", "no_face.mp4", "hand_white.mp4", "notes.txt"):
        (tmp_path / "clips" / name).write_bytes(b"x")
    assert sorted(find_clips([tmp_path])) == ["a", "b"]
    assert list(find_clips([tmp_path / "clips" / "a.mp4"])) == ["a"]
    with pytest.raises(UnreadableMedia, match="no such"):
        find_clips([tmp_path / "none"])
    (tmp_path / "a.mp4").write_bytes(b"y")
    with pytest.raises(SettingsError, match="two clips are named a"):
        find_clips([tmp_path, tmp_path / "a.mp4"])


def test_an_excerpt_has_the_same_samples(tmp_path):
    rng = np.random.default_rng(0)
    layout, tags = PixelLayout("yuv420p", "yuv", 8, (1, 1)), ColourTags(1, 1, 1, False)
    frames = [
        Frame(i, Fraction(i, 25), tuple(rng.integers(16, 235, s).astype(np.uint8) for s in ((50, 70), (25, 35), (25, 35))), layout, tags)
        for i in range(6)
    ]  # fmt: skip
    whole = write_lossless(iter(frames), Fraction(25), tmp_path / "whole.mkv")
    part = excerpt(whole, [1, 2, 4], tmp_path / "sub" / "part.mkv")
    with open_footage(part) as footage:
        assert footage.shot.frame_count == 3 and footage.shot.rate.fps == 25
        for found, index in zip(footage.frames(), (1, 2, 4), strict=True):
            assert found.colour == tags
            for a, b in zip(found.planes, frames[index].planes, strict=True):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(UnreadableMedia):
        write_lossless(iter([]), Fraction(25), tmp_path / "none.mkv")
    assert not (tmp_path / "none.mkv").exists()
