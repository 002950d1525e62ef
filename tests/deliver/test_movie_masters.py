"""What a master holds, read back by FFmpeg's decoders and by reading the atoms: matte, profiles, HDR metadata, timecode."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from delivered_plates import (
    BT709,
    PQ,
    RGB8,
    SRGB,
    YUV8,
    YUV10,
    decoded,
    frames_of,
    planes_in,
    shot_of,
    smooth_frame,
    waived,
)

from digidouble.deliver.hdr import StaticHdr, side_data, static_hdr
from digidouble.deliver.writer import open_writer
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.time import FrameRange, FrameRate

HLG = ColourTags(9, 18, 9, False)
YUV422_10 = PixelLayout("yuv422p10le", "yuv", 10, (1, 0))
DISPLAY = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=987,321"


def deliver(out, shot, frames, settings=None, mattes=None):
    with open_writer(out, shot, settings or waived()) as writer:
        for n, frame in enumerate(frames):
            writer.write(frame, (), mattes[n] if mattes else None)
    return writer.close()


def colr(path: Path) -> tuple[bytes, tuple[int, int, int]]:
    """The `colr` atom of a mov or mp4, read without FFmpeg: (kind, primaries/transfer/matrix)."""
    data = path.read_bytes()
    at = data.index(b"colr", data.index(b"moov"))
    return data[at + 4 : at + 8], struct.unpack(">3H", data[at + 8 : at + 14])


MASTERS = [
    # suffix, codec, plate, decoder, decoded format, profile
    (".mov", "prores422hq", YUV422_10, "prores", "yuv422p10le", "HQ"),
    (".mov", "prores4444", YUV422_10, "prores", "yuva444p12le", "4444"),
    (".mov", "dnxhr", YUV422_10, "dnxhd", "yuv422p10le", "DNXHR HQX"),
    (".mov", "dnxhr", YUV8, "dnxhd", "yuv422p", "DNXHR HQ"),
    (".mov", "dnxhr444", YUV422_10, "dnxhd", "yuv444p10le", "DNXHR 444"),
    (".mp4", "h264", YUV8, "h264", "yuv420p", "High"),
    (".mp4", "h264", YUV10, "h264", "yuv420p10le", "High 10"),
    (".mp4", "h265", YUV8, "hevc", "yuv420p", "Main"),
    (".mp4", "h265", YUV10, "hevc", "yuv420p10le", "Main 10"),
]


@pytest.mark.parametrize("colour", [BT709, PQ, HLG], ids=["bt709", "pq", "hlg"])
@pytest.mark.parametrize(("suffix", "codec", "layout", "decoder", "pix_fmt", "profile"), MASTERS)
def test_masters_read_back(tmp_path, suffix, codec, layout, decoder, pix_fmt, profile, colour):
    shot = shot_of(layout, colour, 3, size_wh=(256, 144), timecode="10:11:12:13")
    frames = [replace(smooth_frame(shot, 0.4), index=i) for i in range(3)]
    out = tmp_path / f"m{suffix}"
    made = deliver(out, shot, frames, waived(codec=codec, quality="draft"))
    wanted = (colour.primaries, colour.transfer, colour.matrix)
    with av.open(str(out)) as movie:
        stream = movie.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == (decoder, Fraction(24000, 1001))
        assert stream.metadata["timecode"] == "10:11:12:13"
        pictures = list(movie.decode(video=0))
        assert stream.codec_context.profile == profile
    assert [p.format.name for p in pictures] == [pix_fmt] * 3
    assert {(p.color_primaries, p.color_trc, p.colorspace) for p in pictures} == {wanted}
    assert colr(out)[1] == wanted
    assert made.warnings == ()


def test_the_alpha_of_prores_4444_is_the_matte(tmp_path):
    for layout, colour in ((YUV10, PQ), (YUV8, BT709), (RGB8, SRGB), (PixelLayout("gray", "gray", 8), BT709)):
        shot = shot_of(layout, colour, 2)
        frames = frames_of(shot)
        y, x = np.mgrid[0:64, 0:96].astype(np.float32)
        matte = np.clip(1.5 - np.hypot(x - 48, y - 32) / 20, 0, 1)
        out = tmp_path / f"{layout.name}.mov"
        deliver(out, shot, frames, waived(codec="prores4444"), [matte, None])
        with_double, without = decoded(out)
        for picture, wanted in ((with_double, matte), (without, 0 * matte)):
            alpha = planes_in(picture, 12)[3] / 4095
            assert np.abs(alpha - wanted).max() < 0.003
        bare = tmp_path / f"{layout.name}-again.mov"
        deliver(bare, shot, frames, waived(codec="prores4444"))  # the matte leaves the picture as it is
        assert (planes_in(decoded(bare)[0], 12)[0] == planes_in(with_double, 12)[0]).all()


def test_a_plate_with_alpha_keeps_its_own(tmp_path):
    shot = shot_of(replace(YUV10, name="yuva420p10le", has_alpha=True), BT709, 1)
    frame = frames_of(shot)[0]
    with open_writer(tmp_path / "a.mov", shot, waived()) as writer:
        assert not writer.wants_matte
        writer.write(frame, (), np.zeros((64, 96), np.float32))
    alpha = planes_in(decoded(tmp_path / "a.mov")[0], 12)[3] / 4095
    assert np.abs(alpha - frame.planes[3] / 1023).max() < 0.002


@pytest.fixture(scope="module")
def hdr_plate(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hdr") / "plate.mp4"
    with av.open(str(path), "w") as movie:
        stream = movie.add_stream("libx265", rate=24, options={"x265-params": f"{DISPLAY}:log-level=error:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        frame = av.VideoFrame(96, 64, "yuv420p10le")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 24)
        movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    return path


def test_static_hdr_metadata_passes_through(tmp_path, hdr_plate):
    shot = shot_of(YUV10, PQ, 1, path=str(hdr_plate))
    deliver(tmp_path / "o.mp4", shot, frames_of(shot))
    found = {item.type.name: bytes(item) for item in side_data(decoded(tmp_path / "o.mp4")[0])}
    pairs = struct.unpack("=22i", found["MASTERING_DISPLAY_METADATA"][:88])
    values = [n / d for n, d in zip(pairs[:20:2], pairs[1:20:2], strict=True)]
    assert values == pytest.approx([0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000], abs=1e-5)
    assert struct.unpack("=II", found["CONTENT_LIGHT_LEVEL"][:8]) == (987, 321)
    assert static_hdr(tmp_path / "o.mp4") == static_hdr(hdr_plate)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_h265_shorter_than_the_encoders_delay_keeps_its_times(tmp_path, count):
    """x265 gives such packets whatever decoding times were in memory, so one of them proves nothing."""
    shot = shot_of(YUV10, PQ, count)
    for again in range(8):
        freed = [bytearray(b"\xab" * size) for size in range(16, 60_000, 64)]
        del freed  # memory that is not zeros
        out = tmp_path / f"{again}.mp4"
        deliver(out, shot, frames_of(shot))
        with av.open(str(out)) as movie:
            times = [
                (p.dts * p.time_base * shot.rate.fps, p.pts * p.time_base * shot.rate.fps)
                for p in movie.demux(video=0)
                if p.size
            ]
        assert [d for d, _ in times] == list(range(-2, count - 2))
        assert sorted(p for _, p in times) == list(range(count))


def test_no_static_hdr_metadata_is_made_up(tmp_path, plate_with_sound):
    assert static_hdr(plate_with_sound) == StaticHdr() and StaticHdr().x265 == ""
    (tmp_path / "x.mp4").write_bytes(b"no movie")
    assert static_hdr(tmp_path / "x.mp4") == StaticHdr() == static_hdr(tmp_path / "absent.mp4")


@pytest.mark.parametrize(
    ("fps", "start", "first", "wanted"),
    [
        (Fraction(24000, 1001), "01:00:00:00", 30, "01:00:01:06"),
        (Fraction(30000, 1001), "00:00:59;28", 4, "00:01:00;04"),
        (Fraction(25), "23:59:59:24", 1, "00:00:00:00"),
        (Fraction(60000, 1001), "01:00:00:00", 7, "01:00:00:07"),
        (Fraction(24), "01:00:00:00", 0, "01:00:00:00"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mov", "prores422hq"), (".mov", "dnxhr"), (".mp4", "h264"), (".mkv", "ffv1")]
)
def test_timecode_and_rate(tmp_path, suffix, codec, fps, start, first, wanted):
    shot = shot_of(YUV8, BT709, 40, size_wh=(256, 144), rate=FrameRate(fps), timecode=start)
    frames = [replace(smooth_frame(shot), index=first + n) for n in range(2)]
    out = tmp_path / f"t{suffix}"
    made = deliver(out, shot, frames, waived(codec=codec, quality="draft", frame_range=FrameRange(first, first + 2)))
    with av.open(str(out)) as movie:
        stream = movie.streams.video[0]
        assert stream.metadata.get("timecode", stream.metadata.get("TIMECODE")) == wanted
        assert stream.average_rate == fps or suffix == ".mkv"
    assert made.warnings == () or suffix == ".mkv"
