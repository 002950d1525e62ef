"""What every kind of footage promises, held against each of them; and timing and cuts on their own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from footage_media import numbered_movie
from PIL import Image

from digidouble.errors import SettingsError, UnreadableMedia
from digidouble.footage import CutDetector, FootageSettings, MemoryFootage, detect_cuts, open_footage
from digidouble.footage.timing import measure, snapped
from digidouble.schema.frame import ColourTags, Frame, PixelLayout
from digidouble.schema.time import FrameRange, FrameRate

RATE = FrameRate(Fraction(25))


def memory_frame(value: int, size_hw=(8, 8)) -> Frame:
    plane = np.full((*size_hw, 3), value, np.uint8)
    return Frame(0, Fraction(0), (plane,), PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True))


@pytest.fixture(params=["movie", "image", "sequence", "memory"])
def footage(request, tmp_path):
    if request.param == "movie":
        return open_footage(numbered_movie(tmp_path / "a.mp4", 6))
    if request.param == "memory":
        return MemoryFootage([memory_frame(i) for i in range(6)], RATE)
    for i in range(6 if request.param == "sequence" else 1):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / f"a.{i:03d}.png")
    return open_footage(tmp_path / ("a.###.png" if request.param == "sequence" else "a.000.png"))


def test_contract(footage):
    with footage:
        count = footage.shot.frame_count
        assert len(footage) == count
        frames = list(footage.frames())
        assert [f.index for f in frames] == list(range(count))
        assert [f.index for f in footage.frames(FrameRange(1, 3))] == list(range(1, min(3, count)))
        assert list(footage.frames(FrameRange(0, 0))) == []
        for frame in frames:
            assert (frame.size_wh, frame.layout) == (footage.shot.size_wh, footage.shot.layout)
            assert frame.pts_seconds == footage.shot.rate.seconds_at(frame.index)
            again = footage.frame(frame.index)
            for a, b in zip(frame.planes, again.planes, strict=True):
                np.testing.assert_array_equal(a, b)
            near = footage.near(frame.index)
            assert near.index <= frame.index
            np.testing.assert_array_equal(near.planes[0], frames[near.index].planes[0])
        for index in (-1, count):
            for read in (footage.frame, footage.near):
                with pytest.raises(SettingsError, match=str(index)):
                    read(index)
        footage.close()
        footage.close()


def test_memory_refuses_a_mixture():
    with pytest.raises(UnreadableMedia, match="frame 1"):
        MemoryFootage([memory_frame(0), memory_frame(0, (4, 4))], RATE)
    with pytest.raises(UnreadableMedia, match="no frames"):
        MemoryFootage([], RATE)


@pytest.mark.parametrize("wrong", [{"rate_policy": "guess"}, {"threads": 0}, {"max_pixels": 0}])
def test_settings_refuse(wrong):
    with pytest.raises((SettingsError, TypeError)):  # TypeError where annotations are enforced
        FootageSettings(**wrong)


# --- timing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "truth"),
    [
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(2398, 100), Fraction(24000, 1001)),
        (Fraction("23.976"), Fraction(24000, 1001)),
        (Fraction(24), Fraction(24)),
        (Fraction(23), Fraction(23)),
        (Fraction(1199, 100), Fraction(12000, 1001)),
    ],
)
def test_known_rates_are_recognised(claim, truth):
    assert snapped(claim) == truth


def test_a_lying_header_loses_against_the_times():
    times = [Fraction(i, 50) for i in range(100)]
    timing = measure(times, Fraction(1, 90000), [Fraction(25), Fraction(30000, 1001)])
    assert timing.rate.fps == 50 and not timing.variable


def test_24_and_its_ntsc_neighbour_are_told_apart_over_a_long_run():
    for fps in (Fraction(24), Fraction(24000, 1001)):
        times = [Fraction(round(i / fps * 1000), 1000) for i in range(2000)]
        assert measure(times, Fraction(1, 1000), [Fraction(24), Fraction(24000, 1001)]).rate.fps == fps


def test_no_times_means_the_header_or_25():
    assert measure(None, Fraction(1), [None, Fraction(48)]).rate.fps == 48
    assert measure([Fraction(0)], Fraction(1), []).rate.fps == 25


# --- cuts ------------------------------------------------------------------------------------------------------------


def scene(seed: int, shift: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (6, 10, 3)).astype(np.uint8)
    return np.roll(blocks.repeat(16, 0).repeat(16, 1), shift, axis=1)


def test_cuts_are_found_and_motion_is_not():
    frames = [scene(seed, i) for seed in (1, 2, 3) for i in range(20)]
    detector = CutDetector()
    assert [i for i, rgb in enumerate(frames) if detector.push(rgb)] == [20, 40]


def test_steady_strobe_is_no_row_of_cuts():
    detector = CutDetector()
    strobe = [np.full((90, 160, 3), 250 if i % 2 else 20, np.uint8) for i in range(40)]
    assert sum(detector.push(rgb) for rgb in strobe) <= 1


def test_detect_cuts_over_footage():
    layout, tags = PixelLayout("rgb24", "rgb", 8), ColourTags(1, 13, 0, True)
    frames = [Frame(0, Fraction(0), (scene(s, i),), layout, tags) for s in (4, 5) for i in range(12)]
    assert detect_cuts(MemoryFootage(frames, RATE)) == (12,)
