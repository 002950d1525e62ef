"""Movies, read back with FFmpeg itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from delivered_plates import (
    BT709,
    LINEAR,
    PQ,
    RATE,
    RGB8,
    SRGB,
    YUV8,
    YUV10,
    decoded,
    frames_of,
    packets_of,
    planes_in,
    shot_of,
    smooth_frame,
    waived,
)

from digidouble.deliver.movie import choose_codec, plan_encoding
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import MediaError, SettingsError
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.time import FrameRange, FrameRate


def deliver(out, shot, frames, settings=None):
    with open_writer(out, shot, settings or waived()) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.close()


def header(path):
    with av.open(str(path)) as movie:
        stream = movie.streams.video[0]
        c = stream.codec_context
        tags = (c.color_primaries, c.color_trc, c.colorspace, c.color_range)
        return c.name, c.pix_fmt, stream.average_rate, tags, (c.width, c.height), stream.metadata.get("timecode")


FULL_422 = PixelLayout("yuvj422p", "yuv", 8, (1, 0))
CASES = [
    (".mp4", "auto", YUV8, BT709, "h264", "yuv420p"),
    (".mp4", "auto", YUV10, BT709, "h264", "yuv420p10le"),
    (".mp4", "auto", YUV10, PQ, "hevc", "yuv420p10le"),
    (".mp4", "h265", YUV8, BT709, "hevc", "yuv420p"),
    (".mov", "auto", YUV8, BT709, "h264", "yuv420p"),
    (".mov", "auto", YUV10, PQ, "prores", "yuv422p10le"),
    (".mov", "prores4444", replace(YUV10, name="yuva420p10le", has_alpha=True), BT709, "prores", "yuva444p12le"),
    (".mkv", "auto", YUV8, BT709, "ffv1", "yuv420p"),
    (".mkv", "auto", YUV10, PQ, "ffv1", "yuv420p10le"),
    (
        ".mp4",
        "h264",
        replace(YUV8, name="yuvj422p", chroma_shift_xy=(1, 0)),
        replace(BT709, full_range=True),
        "h264",
        "yuvj422p",
    ),
]


@pytest.mark.parametrize(("suffix", "codec", "layout", "colour", "decoder", "pix_fmt"), CASES)
def test_codec_rate_size_and_tags_read_back(tmp_path, suffix, codec, layout, colour, decoder, pix_fmt):
    shot = shot_of(layout, colour, 3, timecode="01:02:03:04")
    out = tmp_path / f"out{suffix}"
    delivered = deliver(out, shot, frames_of(shot), waived(codec=codec, quality="draft"))
    full = 2 if colour.full_range else 1
    tags = (colour.primaries, colour.transfer, colour.matrix, full)
    got = header(out)
    assert (got[0], *got[2:5]) == (decoder, RATE.fps, tags, (96, 64))
    assert delivered.warnings == ()
    pictures = decoded(out)
    assert len(pictures) == 3
    assert pictures[0].format.name == pix_fmt  # FFmpeg reads ProRes 4444 as 12 bits
    if suffix != ".mkv":  # matroska rounds to milliseconds
        assert [p.pts * p.time_base for p in pictures] == [RATE.seconds_at(i) for i in range(3)]
    if decoder != "h264" or pix_fmt == "yuv420p":
        assert (pictures[0].color_primaries, pictures[0].color_trc) == tags[:2]


@pytest.mark.parametrize("quality", ["draft", "final"])
def test_dnxhr_profiles(tmp_path, quality):
    for layout, pix_fmt in ((YUV8, "yuv422p"), (YUV10, "yuv422p10le")):
        shot = shot_of(layout, BT709, 2, size_wh=(256, 144))
        out = tmp_path / "out.mov"
        deliver(out, shot, frames_of(shot), waived(codec="dnxhr", quality=quality))
        assert header(out)[:3] == ("dnxhd", pix_fmt, RATE.fps)


@pytest.mark.parametrize(
    "layout",
    [
        YUV8,
        YUV10,
        PixelLayout("yuv422p10le", "yuv", 10, (1, 0)),
        PixelLayout("yuv444p12le", "yuv", 12),
        PixelLayout("yuva420p", "yuv", 8, (1, 1), has_alpha=True),
        PixelLayout("gray", "gray", 8),
    ],
)
@pytest.mark.parametrize("size_wh", [(96, 64), (37, 23)])
def test_ffv1_keeps_every_sample(tmp_path, layout, size_wh):
    shot = shot_of(layout, BT709, 3, size_wh=size_wh)
    frames = frames_of(shot)
    deliver(tmp_path / "out.mkv", shot, frames)
    for frame, picture in zip(frames, decoded(tmp_path / "out.mkv"), strict=True):
        for ours, theirs in zip(frame.planes, planes_in(picture, layout.bits), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("layout", "read_as"),
    [
        (RGB8, "rgb24"),
        (PixelLayout("rgba", "rgb", 8, has_alpha=True), "rgba"),
        (PixelLayout("gbrp10le", "rgb", 10), "gbrp10le"),
        (PixelLayout("rgb48le", "rgb", 16), "gbrp16le"),
    ],
)
def test_ffv1_keeps_rgb(tmp_path, layout, read_as):
    shot = shot_of(layout, SRGB, 2)
    frames = frames_of(shot)
    deliver(tmp_path / "out.mkv", shot, frames)
    for frame, picture in zip(frames, decoded(tmp_path / "out.mkv"), strict=True):
        if layout.bits == 8:
            np.testing.assert_array_equal(picture.to_ndarray(format=read_as), frame.planes[0])
        else:
            assert picture.format.name == read_as
            g, b, r = planes_in(picture, layout.bits)
            np.testing.assert_array_equal(np.dstack([r, g, b]), frame.planes[0])


def test_lossless_h264_is_bit_equal_without_conversion(tmp_path):
    shot = shot_of(YUV8, BT709, 2)
    frames = frames_of(shot)
    deliver(tmp_path / "out.mp4", shot, frames, waived(crf=0))
    for frame, picture in zip(frames, decoded(tmp_path / "out.mp4"), strict=True):
        for ours, theirs in zip(frame.planes, planes_in(picture, 8), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_odd_sizes_are_kept_not_cropped(tmp_path):
    shot = shot_of(YUV8, BT709, 2, size_wh=(95, 63))
    deliver(tmp_path / "out.mp4", shot, frames_of(shot))
    assert header(tmp_path / "out.mp4")[4] == (95, 63)


def test_rgb_becomes_limited_bt709(tmp_path):
    shot = shot_of(RGB8, SRGB, 1)
    red = frames_of(shot)[0]
    red.planes[0][:] = (255, 0, 0)
    deliver(tmp_path / "out.mp4", shot, [red], waived(crf=4))
    assert header(tmp_path / "out.mp4")[3] == (1, 13, 1, 1)
    y, u, v = (plane.mean() for plane in planes_in(decoded(tmp_path / "out.mp4")[0], 8))
    # BT.709: Y = 16 + 219 * .2126; Cb = 128 - 224 * .2126 / 1.8556; Cr = 128 + 112
    assert (y, u, v) == pytest.approx((62.6, 102.3, 240.0), abs=1.5)


def test_linear_float_is_encoded_with_srgb_and_says_so(tmp_path):
    shot = shot_of(LINEAR, ColourTags(1, 8, 0, True), 1)
    gray = frames_of(shot)[0]
    gray.planes[0][:] = 0.18
    delivered = deliver(tmp_path / "out.mp4", shot, [gray], waived(crf=4))
    luma = planes_in(decoded(tmp_path / "out.mp4")[0], 8 if "10le" not in delivered.encoding else 10)[0].mean()
    step = 4 if "10le" in delivered.encoding else 1
    assert luma / step == pytest.approx(16 + 219 * 0.4614, abs=1)  # sRGB of 0.18 is 0.4614
    assert any("float" in warning for warning in delivered.warnings)


def test_full_range_becomes_limited_in_prores(tmp_path):
    shot = shot_of(YUV8, replace(BT709, full_range=True), 1)
    white = smooth_frame(shot, 255 / 256)
    deliver(tmp_path / "out.mov", shot, [white], waived(codec="prores422hq"))
    assert planes_in(decoded(tmp_path / "out.mov")[0], 10)[0].mean() == pytest.approx(940, abs=3)


def test_timecode_starts_at_the_range(tmp_path):
    for suffix in (".mov", ".mp4", ".mkv"):
        shot = shot_of(YUV8, BT709, 10, timecode="01:00:00:20")
        frames = frames_of(shot)[6:9]
        out = tmp_path / f"out{suffix}"
        deliver(out, shot, frames, waived(frame_range=FrameRange(6, 9)))
        with av.open(str(out)) as movie:
            tags = {k.lower(): v for k, v in movie.streams.video[0].metadata.items()}
        assert tags["timecode"] == "01:00:01:02", suffix


def test_sound_is_copied_packet_for_packet(tmp_path, plate_with_sound):
    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    for suffix in (".mp4", ".mov"):
        out = tmp_path / f"out{suffix}"
        delivered = deliver(out, shot, frames_of(shot), waived(quality="draft"))
        assert delivered.warnings == ()
        for stream in range(2):
            assert packets_of(out, stream=stream) == packets_of(plate_with_sound, stream=stream)
        assert packets_of(out, "video")[0][0] == 0


def test_matroska_has_the_sound_in_sync(tmp_path, plate_with_sound):
    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    deliver(tmp_path / "out.mkv", shot, frames_of(shot))
    source = {data: time for time, data in packets_of(plate_with_sound)}
    copied = packets_of(tmp_path / "out.mkv")
    assert len(copied) >= len(source) - 1  # without the codec's warm-up, which would delay the pictures
    assert max(abs(source[data] - time) for time, data in copied) <= Fraction(1, 1000)
    assert decoded(tmp_path / "out.mkv")[0].pts == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_a_range_moves_with_its_pictures(tmp_path, plate_with_sound, suffix):
    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    frames = frames_of(shot)[12:30]
    deliver(tmp_path / f"out{suffix}", shot, frames, waived(frame_range=FrameRange(12, 30)))
    origin, end = RATE.seconds_at(12), RATE.seconds_at(30)
    expected = [(time - origin, data) for time, data in packets_of(plate_with_sound) if origin <= time < end]
    copied = packets_of(tmp_path / f"out{suffix}")
    assert [data for _, data in copied] == [data for _, data in expected]
    tolerance = Fraction(1, 48000) if suffix == ".mp4" else Fraction(1, 900)
    assert max(abs(a - b) for (a, _), (b, _) in zip(copied, expected, strict=True)) <= tolerance
    assert packets_of(tmp_path / f"out{suffix}", "video")[0][0] == 0


def test_sound_the_container_cannot_hold_is_left_out_with_a_warning(tmp_path, plate_with_sound):
    from digidouble.deliver.audio import AudioCopy

    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    with av.open(str(tmp_path / "out.gif"), "w") as gif:
        copy = AudioCopy(shot, None, gif)
        copy.mux_until(None)
        copy.close()
        assert len(copy.warnings) == 2 and "aac" in copy.warnings[0]
        assert len(gif.streams) == 0


def test_damaged_sound_is_left_out_from_where_it_breaks(tmp_path, plate_with_sound, monkeypatch):
    from digidouble.deliver.audio import AudioCopy

    def breaking(self, *arguments):
        made(self, *arguments)
        whole = self._packets

        def packets():
            for _ in range(10):
                yield next(whole)
            raise av.error.InvalidDataError(1094995529, "damaged")

        self._packets = packets()

    made = AudioCopy.__init__
    monkeypatch.setattr(AudioCopy, "__init__", breaking)
    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    delivered = deliver(tmp_path / "out.mp4", shot, frames_of(shot))
    assert any("damaged" in warning for warning in delivered.warnings)
    assert len(decoded(tmp_path / "out.mp4")) == 48


def test_a_plate_whose_sound_is_gone_is_named(tmp_path):
    shot = shot_of(YUV8, BT709, 48, path=str(tmp_path / "gone.mp4"), has_audio=True)
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        open_writer(tmp_path / "out.mp4", shot, waived())
    assert list(tmp_path.iterdir()) == []


def test_sound_can_be_switched_off(tmp_path, plate_with_sound):
    shot = shot_of(YUV8, BT709, 48, path=str(plate_with_sound), has_audio=True)
    deliver(tmp_path / "out.mp4", shot, frames_of(shot)[:2], waived(audio=False))
    with av.open(str(tmp_path / "out.mp4")) as movie:
        assert not movie.streams.audio


def test_codec_rule_and_refusals():
    shot8, shot10, hdr = (shot_of(layout, c, 2) for layout, c in ((YUV8, BT709), (YUV10, BT709), (YUV10, PQ)))
    chosen = [choose_codec(s, p, waived()) for s in (".mp4", ".mov", ".mkv") for p in (shot8, shot10, hdr)]
    assert chosen == ["h264", "h264", "h265", "h264", "prores422hq", "prores422hq", "ffv1", "ffv1", "ffv1"]
    assert choose_codec(".mov", shot8, waived(quality="final")) == "prores422hq"
    with pytest.raises(SettingsError, match=r"ffv1 in \.mp4"):
        choose_codec(".mp4", shot8, waived(codec="ffv1"))
    deep = shot_of(PixelLayout("yuv420p12le", "yuv", 12, (1, 1)), BT709, 1)
    assert any("12-bit" in w for w in plan_encoding(".mp4", deep, waived()).warnings)
    assert any(
        "alpha" in w for w in plan_encoding(".mp4", shot_of(replace(YUV8, has_alpha=True), BT709, 1), waived()).warnings
    )


def test_preset_follows_quality():
    shot = shot_of(YUV8, BT709, 1)
    assert plan_encoding(".mp4", shot, waived(quality="draft")).options == {"preset": "superfast", "crf": "19"}
    hevc = plan_encoding(".mp4", shot, waived(quality="draft", codec="h265")).options
    assert (hevc["preset"], hevc["crf"]) == ("veryfast", "16")
    assert plan_encoding(".mp4", shot, waived(quality="final", crf=20)).options == {"preset": "slow", "crf": "20"}


def test_unusual_rates_are_exact(tmp_path):
    for rate in (Fraction(30000, 1001), Fraction(25), Fraction(12), Fraction(1199, 100), Fraction(120000, 1001)):
        shot = shot_of(YUV8, BT709, 4, rate=FrameRate(rate))
        delivered = deliver(tmp_path / "out.mp4", shot, frames_of(shot), DeliverySettings())
        assert header(tmp_path / "out.mp4")[2] == rate
        assert delivered.warnings == ()
