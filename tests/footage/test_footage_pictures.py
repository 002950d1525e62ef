"""Stills and sequences: depth, channels, orientation, holes."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from digidouble.errors import MissingFrame, UnreadableMedia
from digidouble.footage import FootageSettings, open_footage

RNG = np.random.default_rng(11)


def codes(bits: int, channels: int, size_hw: tuple[int, int] = (9, 14)) -> np.ndarray:
    return RNG.integers(0, 1 << bits, (*size_hw, channels)).astype(np.uint8 if bits == 8 else np.uint16)


def write_exr(path: Path, channels: dict[str, np.ndarray], **header) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header
    with OpenEXR.File(header, dict(channels)) as file:  # it writes into the mapping it is given
        file.write(str(path))
    return path


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp"])
@pytest.mark.parametrize("channels", [3, 4])
def test_8_bit_pictures_are_exact(tmp_path, suffix, channels):
    truth = codes(8, channels)
    if suffix == ".bmp" and channels == 4:
        pytest.skip("BMP alpha is not portable")
    path = tmp_path / f"a{suffix}"
    Image.fromarray(truth).save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    with open_footage(path) as footage:
        frame = footage.frame(0)
        assert footage.shot.kind == "image" and footage.shot.frame_count == 1
        assert frame.layout.has_alpha == (channels == 4) and frame.layout.bits == 8
        assert (frame.colour.transfer, frame.colour.full_range) == (13, True)
        np.testing.assert_array_equal(frame.planes[0], truth)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_pictures_stay_16_bit(tmp_path, suffix, channels):
    truth = codes(16, channels)
    path = tmp_path / f"a{suffix}"
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]
    assert cv2.imwrite(str(path), truth[..., order])
    frame = open_footage(path).frame(0)
    assert frame.planes[0].dtype == np.uint16 and frame.layout.bits == 16
    assert frame.layout.kind == ("gray" if channels == 1 else "rgb")
    np.testing.assert_array_equal(frame.planes[0], truth[..., 0] if channels == 1 else truth)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "bits"), [(".png", 8), (".tif", 8), (".tif", 16), (".png", 16)])
def test_orientation_is_applied_once(tmp_path, orientation, suffix, bits):
    truth = codes(8, 3) if bits == 8 else codes(16, 1)[..., 0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(truth).save(path, exif=exif)
    # Exif: where the stored row 0 and column 0 belong in the upright picture.
    upright = {
        1: truth,
        2: truth[:, ::-1],
        3: truth[::-1, ::-1],
        4: truth[::-1],
        5: truth.swapaxes(0, 1),
        6: np.rot90(truth, -1),
        7: truth[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(truth, 1),
    }[orientation]
    footage = open_footage(path)
    np.testing.assert_array_equal(footage.frame(0).planes[0], upright)
    assert footage.shot.rotation_deg == {3: 180, 4: 180, 6: 90, 7: 90, 5: 270, 8: 270}.get(orientation, 0)


def test_palette_gray_and_jpeg(tmp_path):
    Image.fromarray(codes(8, 3)).convert("P").save(tmp_path / "p.png")
    truth = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    np.testing.assert_array_equal(open_footage(tmp_path / "p.png").frame(0).planes[0], truth)
    gray = codes(8, 1)[..., 0]
    Image.fromarray(gray).save(tmp_path / "g.png")
    np.testing.assert_array_equal(open_footage(tmp_path / "g.png").frame(0).planes[0], gray)
    yy, xx = np.mgrid[:32, :48]
    smooth = np.stack([xx * 4, yy * 6, xx + yy], -1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "j.jpg", quality=95)
    error = open_footage(tmp_path / "j.jpg").frame(0).planes[0].astype(float) - smooth
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 35


def test_inks_are_refused_clearly(tmp_path):
    Image.fromarray(codes(8, 4), "CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(UnreadableMedia, match="CMYK picture; convert it to RGB"):
        open_footage(tmp_path / "a.jpg")


def test_a_bomb_is_refused_by_its_header(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableMedia, match=r"bomb\.png"):
        open_footage(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".exr"])
def test_cut_pictures_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".exr":
        write_exr(path, {"RGB": RNG.random((64, 64, 3)).astype(np.float32)})
    else:
        Image.fromarray(codes(8, 3, (64, 64))).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableMedia, match=path.name):
        open_footage(path)


# --- EXR -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("names", ["RGB", "RGBA", "Y"])
def test_exr_values_are_exact(tmp_path, dtype, names):
    truth = {c: RNG.normal(0.5, 3, (7, 12)).astype(dtype) for c in names}
    write_exr(tmp_path / "a.exr", truth)
    frame = open_footage(tmp_path / "a.exr").frame(0)
    assert frame.layout.is_float and frame.planes[0].dtype == np.float32
    assert frame.layout.bits == (16 if dtype == np.float16 else 32)
    expected = np.stack([truth[c].astype(np.float32) for c in names], -1)
    np.testing.assert_array_equal(frame.planes[0], expected[..., 0] if names == "Y" else expected)
    assert frame.colour.transfer == 8


def test_exr_window_layer_and_rate(tmp_path):
    data = {f"beauty.{c}": RNG.random((6, 8)).astype(np.float32) for c in "RGB"}
    window = (np.array([-2, -1], np.int32), np.array([5, 4], np.int32))
    display = (np.array([0, 0], np.int32), np.array([9, 4], np.int32))
    write_exr(tmp_path / "a.exr", data, dataWindow=window, displayWindow=display, framesPerSecond=Fraction(24000, 1001))
    footage = open_footage(tmp_path / "a.exr")
    assert footage.shot.size_wh == (10, 5)
    assert footage.shot.rate.fps == Fraction(24000, 1001)
    pixels = footage.frame(0).planes[0]
    np.testing.assert_array_equal(pixels[:, :6, 0], data["beauty.R"][1:, 2:])
    assert (pixels[:, 6:] == 0).all()


def test_exr_without_a_picture_lists_its_channels(tmp_path):
    write_exr(tmp_path / "a.exr", {"depth.Z": np.zeros((4, 4), np.float32)})
    with pytest.raises(UnreadableMedia, match=r"depth\.Z"):
        open_footage(tmp_path / "a.exr")


# --- sequences -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sequence(tmp_path) -> list[np.ndarray]:
    pictures = [codes(16, 3) for _ in range(5)]
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"plate.{i + 998:04d}.png"), picture[..., ::-1])
    (tmp_path / "plate.notes.png").write_bytes(b"not part of it")
    return pictures


@pytest.mark.parametrize("pattern", ["plate.####.png", "plate.%04d.png"])
def test_sequence(tmp_path, sequence, pattern):
    with open_footage(tmp_path / pattern, FootageSettings(fingerprint=True)) as footage:
        shot = footage.shot
        assert (shot.kind, shot.frame_count, shot.start_number, shot.rate.fps) == ("sequence", 5, 998, 24)
        assert len(shot.sha256) == 64
        for frame in footage.frames():  # the numbers run over from 999 to 1002
            np.testing.assert_array_equal(frame.planes[0], sequence[frame.index])
        assert footage.frame(3).pts_seconds == Fraction(3, 24)


def test_a_hole_is_named(tmp_path, sequence):
    (tmp_path / "plate.1000.png").unlink()
    with pytest.raises(MissingFrame, match="1000"):
        open_footage(tmp_path / "plate.####.png")


def test_a_file_that_goes_missing_is_named(tmp_path, sequence):
    footage = open_footage(tmp_path / "plate.####.png")
    (tmp_path / "plate.1001.png").unlink()
    with pytest.raises(MissingFrame, match="1001"):
        list(footage.frames())


def test_a_change_of_size_is_named(tmp_path, sequence):
    cv2.imwrite(str(tmp_path / "plate.1001.png"), codes(16, 3, (8, 8)))
    footage = open_footage(tmp_path / "plate.####.png")
    with pytest.raises(UnreadableMedia, match=r"plate\.1001\.png.*8x8.*14x9"):
        list(footage.frames())


def test_no_file_fits(tmp_path):
    with pytest.raises(UnreadableMedia, match="no file fits"):
        open_footage(tmp_path / "plate.####.exr")
    with pytest.raises(UnreadableMedia, match="no such folder"):
        open_footage(tmp_path / "nowhere" / "plate.####.exr")
