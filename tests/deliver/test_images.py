"""Stills, sequences and EXR, read back with Pillow, OpenCV, FFmpeg and OpenEXR."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import OpenEXR
import pytest
from delivered_plates import BT709, LINEAR, PQ, RATE, RGB8, SRGB, YUV8, YUV10, frames_of, shot_of, smooth_frame, waived
from PIL import Image

from digidouble.deliver.exr import ExrInfo, ExrLayer, write_exr
from digidouble.deliver.images import SequenceName, tiff_bytes
from digidouble.deliver.writer import open_writer
from digidouble.errors import OutputError, SettingsError
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.time import FrameRate
from digidouble.schema.timecode import Timecode, timecode_at

RGBA8 = PixelLayout("rgba", "rgb", 8, has_alpha=True)
RGB16 = PixelLayout("rgb48le", "rgb", 16)
LINEAR_TAGS = ColourTags(1, 8, 0, True)


def still(tmp_path, name, layout, colour, frame=None):
    shot = shot_of(layout, colour, 1, kind="image")
    frame = frame or frames_of(shot)[0]
    with open_writer(tmp_path / name, shot, waived()) as writer:
        writer.write(frame)
    return frame, tmp_path / name, writer.close()


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_rgb_stills_are_bit_equal(tmp_path, name):
    for layout in (RGB8, RGBA8):
        frame, path, _ = still(tmp_path, name, layout, SRGB)
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), frame.planes[0])
    frame, path, delivered = still(tmp_path, name, RGB16, SRGB)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., ::-1], frame.planes[0])
    assert delivered.encoding.endswith("16-bit")
    with av.open(str(path)) as container:  # a third reader
        picture = next(container.decode(video=0))
        np.testing.assert_array_equal(picture.to_ndarray(format="rgb48le"), frame.planes[0])


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg", "out.webp"])
def test_ycbcr_stills_show_the_right_colour(tmp_path, name):
    shot = shot_of(YUV8, BT709, 1, kind="image")
    red = smooth_frame(shot)
    for plane, code in zip(red.planes, (63, 102, 240), strict=True):  # BT.709 red
        plane[:] = code
    _, path, _ = still(tmp_path, name, YUV8, BT709, red)
    with Image.open(path) as image:
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - (255, 0, 0)).max() <= 3


def test_ten_bits_stay_deeper_than_eight(tmp_path):
    shot = shot_of(YUV10, BT709, 1, kind="image")
    ramp = smooth_frame(shot)
    ramp.planes[0][:] = 400 + np.arange(96)
    _, path, _ = still(tmp_path, "out.png", YUV10, BT709, ramp)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[0, :, 0].astype(float)
    np.testing.assert_allclose(read, (400 + np.arange(96) - 64) / 876 * 65535, atol=8)


def test_png_names_its_colour(tmp_path):
    _, path, _ = still(tmp_path, "out.png", YUV10, PQ)
    data = path.read_bytes()
    at = data.index(b"cICP")
    assert tuple(data[at + 4 : at + 8]) == (9, 16, 0, 1) and at < data.index(b"IDAT")


def test_eight_bit_formats_warn_about_depth(tmp_path):
    _, path, delivered = still(tmp_path, "out.jpg", YUV10, PQ)
    assert any("8 bits" in warning for warning in delivered.warnings)
    with Image.open(path) as image:
        assert image.size == (96, 64)


def test_odd_tiff_shapes_by_two_readers(tmp_path):
    rng = np.random.default_rng(1)
    for shape in ((1, 1, 3), (7, 5, 4), (3, 9, 1)):
        for dtype in (np.uint8, np.uint16):
            codes = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
            path = tmp_path / "x.tif"
            path.write_bytes(tiff_bytes(codes, b"<xmp/>"))
            if dtype == np.uint8:  # Pillow for 8 bits: OpenCV multiplies alpha in
                with Image.open(path) as image:
                    read = np.asarray(image).reshape(shape)
            else:
                read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(shape)
                read = read[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[shape[2]]]
            np.testing.assert_array_equal(read, codes)


def test_sequence_names_and_numbers(tmp_path):
    shot = shot_of(RGB8, SRGB, 3, kind="sequence", start_number=998)
    with open_writer(tmp_path / "v.###.png", shot, waived()) as writer:
        for frame in frames_of(shot):
            writer.write(frame)
    assert [f.path.name for f in writer.close().files] == ["v.998.png", "v.999.png", "v.1000.png"]
    for frame in frames_of(shot):
        read = cv2.imread(str(tmp_path / f"v.{998 + frame.index}.png"))[..., ::-1]
        np.testing.assert_array_equal(read, frame.planes[0])
    for text, expected in (("a.%04d.exr", "a.0007.exr"), ("a.%d.exr", "a.7.exr"), ("a_####.exr", "a_0007.exr")):
        assert SequenceName.of(tmp_path / text).name(7) == expected
    assert SequenceName.of(tmp_path / "plain.exr") is None


def test_exr_from_linear_light_keeps_the_values(tmp_path):
    shot = shot_of(LINEAR, LINEAR_TAGS, 2, timecode="10:00:00:23", start_number=5)
    frames = frames_of(shot)
    with open_writer(tmp_path / "o.####.exr", shot, waived()) as writer:
        for frame in frames:
            writer.write(frame)
    for frame in frames:
        with OpenEXR.File(str(tmp_path / f"o.{5 + frame.index:04d}.exr")) as exr:
            rgb, head = exr.channels()["RGB"].pixels.copy(), dict(exr.header())
        assert rgb.dtype == np.float32  # as deep as the plate
        np.testing.assert_array_equal(rgb, frame.planes[0])
        assert head["framesPerSecond"] == RATE.fps
        assert head["chromaticities"] == pytest.approx((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329))
        assert head["compression"] == OpenEXR.ZIP_COMPRESSION
        code = head["timeCode"]
        got = code.hours, code.minutes, code.seconds, code.frame
        assert got == ((10, 0, 0, 23) if frame.index == 0 else (10, 0, 1, 0))


def test_exr_from_video_is_scene_linear(tmp_path):
    shot = shot_of(YUV10, replace(BT709, primaries=9), 1, kind="image")
    code = round(64 + 876 * (1.09929682680944 * 0.18**0.45 - 0.09929682680944))  # BT.709 OETF of 18 % gray
    gray = smooth_frame(shot)
    gray.planes[0][:] = code
    _, path, _ = still(tmp_path, "o.exr", YUV10, shot.colour, gray)
    with OpenEXR.File(str(path)) as exr:
        np.testing.assert_allclose(exr.channels()["RGB"].pixels, 0.18, rtol=0.01)
        assert exr.header()["chromaticities"][:2] == pytest.approx((0.708, 0.292))


def test_exr_alpha_is_premultiplied(tmp_path):
    shot = shot_of(RGBA8, SRGB, 1, kind="image")
    frame = frames_of(shot)[0]
    frame.planes[0][:] = (255, 255, 255, 51)
    _, path, _ = still(tmp_path, "o.exr", RGBA8, SRGB, frame)
    with OpenEXR.File(str(path)) as exr:
        np.testing.assert_allclose(exr.channels()["RGBA"].pixels, 0.2, rtol=2e-3)


def test_exr_layers(tmp_path):
    rng = np.random.default_rng(0)
    patch = rng.uniform(0, 2, (8, 6, 4)).astype(np.float32)
    depth = rng.uniform(10, 2000, (8, 6, 1)).astype(np.float32)
    hot = np.full((8, 6, 3), 1e6, np.float32)
    layers = [
        ExrLayer("", ("R", "G", "B"), hot),
        ExrLayer("anna", ("R", "G", "B", "A"), patch),
        ExrLayer("depth", ("Z",), depth, full_float=True),
    ]
    info = ExrInfo(FrameRate(Fraction(25)), Timecode(1, 2, 3, 4), 9, None, comments="test", owner="us")
    write_exr(tmp_path / "l.exr", layers, info)
    with OpenEXR.File(str(tmp_path / "l.exr"), separate_channels=True) as exr:
        channels = {name: channel.pixels.copy() for name, channel in exr.channels().items()}
        head = dict(exr.header())
    assert set(channels) == {"R", "G", "B", "anna.R", "anna.G", "anna.B", "anna.A", "depth.Z"}
    np.testing.assert_array_equal(channels["anna.G"], patch[..., 1].astype(np.float16))
    np.testing.assert_array_equal(channels["depth.Z"], depth[..., 0])
    assert np.isfinite(channels["R"]).all() and channels["R"].max() == 65504
    assert head["comments"] == "test" and head["owner"] == "us"


def test_exr_refusals(tmp_path):
    rgb = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(SettingsError, match="does not match"):
        ExrLayer("", ("R", "G"), rgb)
    with pytest.raises(SettingsError, match="layer"):
        ExrLayer("no spaces", ("R", "G", "B"), rgb)
    picture = ExrLayer("", ("R", "G", "B"), rgb)
    with pytest.raises(SettingsError, match="twice"):
        write_exr(tmp_path / "x.exr", [picture, picture], ExrInfo())
    with pytest.raises(SettingsError, match="one size"):
        write_exr(tmp_path / "x.exr", [picture, ExrLayer("a", ("A",), np.zeros((5, 4, 1), np.float32))], ExrInfo())
    with pytest.raises(OutputError):
        write_exr(tmp_path / "no" / "x.exr", [picture], ExrInfo())


def naive_timecode(start: str, fps: int, dropped: int, offset: int) -> str:
    """Count frame by frame."""
    h, m, s, f = (int(x) for x in start.replace(";", ":").split(":"))
    for _ in range(offset):
        f += 1
        if f == fps:
            f, s = 0, s + 1
            if s == 60:
                s, m = 0, m + 1
                if m == 60:
                    m, h = 0, (h + 1) % 24
                if dropped and m % 10:
                    f = dropped
    return f"{h:02d}:{m:02d}:{s:02d}{';' if dropped else ':'}{f:02d}"


@pytest.mark.parametrize(
    ("fps", "start"),
    [
        (Fraction(24000, 1001), "01:00:00:00"),
        (Fraction(25), "23:58:59:24"),
        (Fraction(30000, 1001), "00:00:58;12"),
        (Fraction(30000, 1001), "23:59:00;02"),
        (Fraction(60000, 1001), "00:08:59;59"),
    ],
)
def test_timecode_against_counting(fps, start):
    base, dropped = -(-fps.numerator // fps.denominator), 0
    if ";" in start:
        dropped = 2 if base == 30 else 4
    for offset in (0, 1, 47, 48, 1799, 1800, 3661, 17982, 20000):
        assert str(timecode_at(start, FrameRate(fps), offset)) == naive_timecode(start, base, dropped, offset)


@pytest.mark.parametrize("bad", ["", "1:2:3:4", "25:00:00:00", "01:00:00:24", "01:00:61:00", "01:00:00;02", "x"])
def test_bad_timecode_is_refused(bad):
    with pytest.raises(SettingsError, match="timecode"):
        timecode_at(bad, RATE, 0)
