"""Edits in and out: which frames they mean, hostile ones, and a conform that reads back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from digidouble.deliver.conform import Conformed, write_conform
from digidouble.errors import DigidoubleError, OutputError, SettingsError, UnreadableMedia
from digidouble.footage.edit import MAX_SHOTS, frames_used, media_of, read_edit, with_handles
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate

EDL = """TITLE: SPOT
FCM: NON-DROP FRAME

001  A001     V     C        01:00:01:00 01:00:02:12 00:00:00:00 00:00:01:12
* FROM CLIP NAME: sc010_010.mov
002  A001     A     C        01:00:01:00 01:00:02:12 00:00:00:00 00:00:01:12
003  BL       V     C        00:00:00:00 00:00:00:10 00:00:01:12 00:00:01:22
004  A002     V     D    012 01:00:05:00 01:00:06:00 00:00:01:22 00:00:02:22
* FROM CLIP NAME: sc010_010.mov
005  A003     V     C        02:00:00:00 02:00:01:00 00:00:02:22 00:00:03:22
M2   A003       048.0                02:00:00:00
"""


def shot(rate=Fraction(24), count=200, timecode="01:00:00:00", path="sc010_010.mov") -> Shot:
    layout = PixelLayout("yuv420p", "yuv", 8, (1, 1))
    return Shot(path, "movie", (96, 64), FrameRate(rate), count, layout, ColourTags(1, 1, 1), timecode=timecode)


def written(tmp_path, text, name="cut.edl") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_an_edl(tmp_path):
    shots = read_edit(written(tmp_path, EDL))
    assert [s.name for s in shots] == ["sc010_010", "sc010_010_2", "A003"]
    assert frames_used(shots[0], shot()) == FrameRange(24, 60)
    assert frames_used(shots[1], shot()) == FrameRange(120, 144)
    assert "retimed" in shots[2].reason and shots[0].reason == ""
    assert with_handles(FrameRange(24, 60), 8, shot()) == FrameRange(16, 68)
    assert with_handles(FrameRange(3, 195), 8, shot()) == FrameRange(0, 200)
    with pytest.raises(SettingsError, match="120:144"):
        frames_used(shots[1], shot(count=100))


def test_drop_frame_is_counted_as_the_tape_does(tmp_path):
    text = "001 A V C 00:01:00;02 00:01:00;12 00:00:00;00 00:00:00;10\n"
    ntsc = shot(Fraction(30000, 1001), 4000, "00:00:00;00")
    assert frames_used(read_edit(written(tmp_path, text))[0], ntsc) == FrameRange(1800, 1810)


def otio_of(tmp_path, media, begin=1000.0, available=990.0, rate=24.0, more="") -> Path:
    otio = pytest.importorskip("opentimelineio")
    timeline, track = otio.schema.Timeline("cut"), otio.schema.Track("V1", kind="Video")
    timeline.tracks.append(track)

    def span(a, n):
        return otio.opentime.TimeRange(otio.opentime.RationalTime(a, rate), otio.opentime.RationalTime(n, rate))

    for n in range(2):
        reference = otio.schema.ExternalReference(media, span(available, 100) if available is not None else None)
        clip = otio.schema.Clip(f"shot {n}/../x", reference, span(begin + 20 * n, 10))
        track.append(clip)
    if more == "warp":
        track[1].effects.append(otio.schema.LinearTimeWarp(time_scalar=2.0))
    path = tmp_path / "cut.otio"
    otio.adapters.write_to_file(timeline, str(path))
    return path


def test_an_otio(tmp_path):
    shots = read_edit(otio_of(tmp_path, "plates/a.mov", more="warp"))
    assert [s.name for s in shots] == ["shot_0_x", "shot_1_x"] and "retimed" in shots[1].reason
    assert frames_used(shots[0], shot(timecode=None)) == FrameRange(10, 20)
    with pytest.raises(SettingsError, match="conform it first"):
        frames_used(shots[0], shot(Fraction(25)))
    assert frames_used(read_edit(otio_of(tmp_path, "a.mov", rate=23.976))[0], shot(Fraction(24000, 1001))).start == 10
    no_range = read_edit(otio_of(tmp_path, "a.mov", begin=86424.0, available=None))
    assert frames_used(no_range[0], shot()) == FrameRange(24, 34)  # times of the day, the media's timecode


def test_media_are_found_and_never_fetched(tmp_path):
    (tmp_path / "plates").mkdir()
    (tmp_path / "plates" / "sc010_010.mov").write_bytes(b"x")
    edit = written(tmp_path, EDL)
    one = read_edit(edit)[0]
    with pytest.raises(UnreadableMedia, match="--media"):
        media_of(one, edit, None)
    assert media_of(one, edit, tmp_path / "plates") == tmp_path / "plates" / "sc010_010.mov"
    inside = read_edit(otio_of(tmp_path, "plates/sc010_010.mov"))[0]
    assert media_of(inside, tmp_path / "cut.otio", None).samefile(tmp_path / "plates" / "sc010_010.mov")
    url = read_edit(otio_of(tmp_path, (tmp_path / "plates" / "sc010_010.mov").as_uri()))[0]
    assert media_of(url, edit, None).is_file()
    with pytest.raises(UnreadableMedia, match="no local file"):
        media_of(read_edit(otio_of(tmp_path, "http://example.com/a.mov"))[0], edit, tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.edl", ""), ("a.edl", "TITLE: nothing\n"), ("a.edl", "\x00" * 100), ("b.otio", ""), ("b.otio", "[]"), ("b.otio", "{"),
        ("b.otio", '{"OTIO_SCHEMA": "Nonsense.1"}'), ("b.otio", '{"OTIO_SCHEMA": "Clip.2", "name": 3}'),
        ("b.otio", "[" * 200_000), ("b.otio", '{"a":' * 50_000 + "1" + "}" * 50_000),
    ],
)  # fmt: skip
def test_what_is_no_edit(tmp_path, name, text):
    with pytest.raises(UnreadableMedia):
        read_edit(written(tmp_path, text, name))


def test_bounds(tmp_path):
    line = "001 A V C 00:00:00:00 00:00:00:10 00:00:00:00 00:00:00:10\n"
    assert len(read_edit(written(tmp_path, line * 50))) == 50
    with pytest.raises(UnreadableMedia, match="more than"):
        read_edit(written(tmp_path, line * (MAX_SHOTS + 1)))
    with pytest.raises(UnreadableMedia, match="MiB"):
        read_edit(written(tmp_path, " " * ((16 << 20) + 1)))
    evil = "001 A V C 00:00:00:00 00:00:00:10 00:00:00:00 00:00:00:10\n* FROM CLIP NAME: ../../etc/.passwd\n"
    assert read_edit(written(tmp_path, evil * 2))[1].name == "etc_passwd_2"


def test_mutated_edits_never_crash(tmp_path):
    """Bytes changed at random: an edit or a clear refusal, nothing else."""
    rng = np.random.default_rng(7)
    base = {"m.edl": EDL.encode(), "m.otio": otio_of(tmp_path, "a.mov").read_bytes()}
    for name, data in base.items():
        for _ in range(300):
            raw = bytearray(data)
            for _ in range(rng.integers(1, 12)):
                at = int(rng.integers(len(raw)))
                kind = rng.integers(3)
                if kind == 0:
                    raw[at] = int(rng.integers(256))
                elif kind == 1:
                    del raw[at : at + int(rng.integers(1, 40))]
                else:
                    raw[at:at] = raw[at : at + int(rng.integers(1, 40))]
            path = tmp_path / name
            path.write_bytes(bytes(raw))
            try:
                for s in read_edit(path):
                    assert s.name and "/" not in s.name and not s.name.startswith(".")
                    frames_used(s, shot())
            except DigidoubleError:
                pass


def test_the_conform_reads_back(tmp_path):
    (tmp_path / "out").mkdir()
    new = tmp_path / "out" / "sc010_010.mov"
    done = Conformed(new, shot(), FrameRange(16, 68), FrameRange(24, 60))
    edit = written(tmp_path, EDL)
    made = write_conform(edit, tmp_path / "out" / "cut.edl", {0: done})
    again = read_edit(made)
    assert [s.media for s in again] == ["sc010_010.mov", "sc010_010.mov", "A003"]
    assert frames_used(again[0], shot(count=52, timecode="01:00:00:16")) == FrameRange(8, 44)
    assert again[1:] == read_edit(edit)[1:]
    bare = Conformed(new, shot(timecode=None), FrameRange(16, 68), FrameRange(24, 60))
    without = read_edit(write_conform(edit, tmp_path / "out" / "b.edl", {0: bare}))
    assert frames_used(without[0], shot(count=52, timecode=None)) == FrameRange(8, 44)
    with pytest.raises(OutputError, match="edit itself"):
        write_conform(edit, edit, {})


def test_the_otio_conform_reads_back(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "a.mov").write_bytes(b"plate")
    edit = otio_of(tmp_path, "a.mov")
    done = Conformed(tmp_path / "out" / "s.mov", shot(timecode=None), FrameRange(2, 28), FrameRange(10, 20))
    made = write_conform(edit, tmp_path / "out" / "cut.otio", {0: done})
    otio = pytest.importorskip("opentimelineio")
    clips = list(otio.adapters.read_from_file(str(made)).find_clips())  # the library reads what we wrote
    assert [c.media_reference.target_url for c in clips] == ["s.mov", "../a.mov"]
    assert clips[0].available_range().start_time.value == 992 and clips[0].trimmed_range().start_time.value == 1000
    first, second = read_edit(made)
    assert first.media == "s.mov" and frames_used(first, shot(count=26, timecode=None)) == FrameRange(8, 18)
    assert media_of(second, made, None).samefile(tmp_path / "a.mov")  # what was not rendered is still found
    assert json.loads(made.read_text())["OTIO_SCHEMA"].startswith("Timeline")
