"""Plates in a studio's colour space: the right light, the plate's own bits, clear refusals."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import OpenEXR
import pytest

from digidouble.deliver.exr import ExrInfo, ExrLayer, write_exr
from digidouble.deliver.settings import DeliverySettings
from digidouble.errors import OutputError, SettingsError
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import FootageSettings, MemoryFootage, open_footage
from digidouble.footage.ocio import OcioFootage, OcioSpace, config_path
from digidouble.performance import load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.schema.colour import linear_from_frame, register_space, rgb8_from_frame, space_of
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.time import FrameRange

pytest.importorskip("PyOpenColorIO")
CONFIG = "ocio://default"
SIZE = (200, 176)
WHOLE = Roi(0, 0, *SIZE)
UNMARKED = DeliverySettings(visible_label=False, label_waiver_reason="test of pixels")
LOG10 = PixelLayout("yuv422p10le", "yuv", 10, (1, 0))
RGB16 = PixelLayout("rgb48le", "rgb", 16)


def acescct(light: np.ndarray) -> np.ndarray:
    """S-2016-001, equation 5."""
    return np.where(
        light <= 0.0078125,
        10.5402377416545 * light + 0.0729055341958355,
        (np.log2(np.maximum(light, 1e-9)) + 9.72) / 17.52,
    )


def logged(talk, layout=RGB16) -> list[Frame]:
    """The shot as ACEScct codes of its light, taken for ACEScg."""
    tags = ColourTags(1, 1, 0, True)
    out = []
    for f in talk.frames[:12]:
        codes = np.rint(acescct(linear_from_frame(f, WHOLE)) * 65535).astype(np.uint16)
        out.append(Frame(f.index, f.pts_seconds, (codes,), layout, tags))
    return out


@pytest.fixture(scope="module")
def log_plate(talk):
    return OcioFootage(MemoryFootage(logged(talk), talk.footage().shot.rate), OcioSpace(CONFIG, "ACEScct"))


@pytest.fixture(scope="module")
def log_perf(log_plate, talk_perf):
    """The analysis of the plain shot: its truth is known by its pictures, and light is the same in both."""
    return replace(load_performance(talk_perf), shot=log_plate.shot)


def test_light_is_the_spaces(talk, log_plate):
    got, wanted = linear_from_frame(log_plate.frame(3), WHOLE), linear_from_frame(talk.frames[3], WHOLE)
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=2e-4)
    assert rgb8_from_frame(log_plate.frame(3), 64).mean() == pytest.approx(
        rgb8_from_frame(talk.frames[3], 64).mean(), abs=40
    )


def test_a_double_in_log_is_the_double(talk, log_plate, log_perf, talk_perf, persona_b, tmp_path):
    """Rendered through the config, the light in the picture is that of the render without it; the rest keeps its bits."""
    with_config = render_frame(prepare(log_perf, {"main": persona_b}), log_plate.frame(8))[0]
    plain = render_frame(prepare(load_performance(talk_perf), {"main": persona_b}), talk.frames[8])
    layer = plain[1][0]
    window = (slice(layer.roi.y0, layer.roi.y1), slice(layer.roi.x0, layer.roi.x1))
    inside = layer.alpha > 0.95
    a, b = linear_from_frame(with_config, WHOLE)[window][inside], linear_from_frame(plain[0], WHOLE)[window][inside]
    assert np.abs(np.sqrt(np.maximum(a, 0)) - np.sqrt(np.maximum(b, 0))).mean() < 0.02
    changed = (with_config.planes[0] != log_plate.frame(8).planes[0]).any(-1)
    reach = np.zeros_like(changed)
    reach[window] = True
    assert not changed[~reach].any() and changed[window][inside].mean() > 0.9


@pytest.mark.parametrize("suffix", [".mkv", ".####.png", ".####.tif"])
def test_untouched_log_samples_keep_their_bits(log_plate, log_perf, persona_b, tmp_path, suffix):
    settings = RenderSettings(workers=1, frame_range=FrameRange(8, 9))
    render_shot(log_plate, log_perf, {"main": persona_b}, tmp_path / f"o{suffix}", settings, UNMARKED)
    layer = render_frame(prepare(log_perf, {"main": persona_b}), log_plate.frame(8))[1][0]
    clear = np.ones(SIZE[::-1], bool)
    clear[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1] = layer.alpha == 0
    with open_footage(tmp_path / f"o{suffix}".replace("####", "0008")) as out:
        after = out.frame(0).planes[0]
    before = log_plate.frame(8).planes[0]
    assert (after[clear] == before[clear]).all() and (after[~clear] != before[~clear]).any()


def test_yuv_and_exr_plates(talk, log_perf, persona_b, tmp_path):
    rng = np.random.default_rng(0)
    planes = tuple(rng.integers(64, 940, (176, w)).astype(np.uint16) for w in (200, 100, 100))
    frames = [replace(f, planes=planes, layout=LOG10, colour=ColourTags(1, 1, 1)) for f in talk.frames[:12]]
    plate = OcioFootage(MemoryFootage(frames, log_perf.shot.rate), OcioSpace(CONFIG, "ACEScct"))
    out, layers = render_frame(prepare(log_perf, {"main": persona_b}), plate.frame(8))
    clear = np.ones(SIZE[::-1], bool)
    roi = layers[0].roi
    clear[roi.y0 : roi.y1, roi.x0 : roi.x1] = layers[0].alpha == 0
    assert (out.planes[0][clear] == planes[0][clear]).all()
    pairs = clear.reshape(176, 100, 2).all(-1)
    assert (out.planes[1][pairs] == planes[1][pairs]).all() and (out.planes[1] != planes[1]).any()
    for i in range(12):
        light = linear_from_frame(talk.frames[i], WHOLE)
        write_exr(tmp_path / f"p.{i:04d}.exr", [ExrLayer("", ("R", "G", "B"), light)], ExrInfo(log_perf.shot.rate))
    settings = FootageSettings(ocio=CONFIG, ocio_plate="ACES2065-1")
    with open_footage(tmp_path / "p.####.exr", settings) as exr:
        # AP0 -> AP1 of gray is gray; of a colour it is not.
        assert not np.allclose(linear_from_frame(exr.frame(8), WHOLE), exr.frame(8).planes[0], atol=0.01)
        moved = replace(log_perf, shot=exr.shot)
        one = RenderSettings(workers=1, frame_range=FrameRange(8, 9), passes=tmp_path / "passes")
        render_shot(exr, moved, {"main": persona_b}, tmp_path / "o.####.exr", one, UNMARKED)
        with pytest.raises(OutputError, match=r"delivered as \.exr"):
            render_shot(exr, moved, {"main": persona_b}, tmp_path / "o.mov", one, UNMARKED)
        before = exr.frame(8).planes[0]
    with OpenEXR.File(str(tmp_path / "o.0008.exr")) as file:
        header, after = dict(file.header()), np.array(file.channels()["RGB"].pixels)
    assert header["colorSpace"] == "ACES2065-1" and "chromaticities" not in header
    layer = render_frame(prepare(log_perf, {"main": persona_b}), talk.frames[8])[1][0]
    far = np.ones(SIZE[::-1], bool)
    far[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1] = False
    assert (after[far] == before.astype(np.float16)[far]).all() and (after != before.astype(np.float16)).any()
    with OpenEXR.File(str(tmp_path / "passes" / "o.0008.exr"), header_only=True) as file:
        assert dict(file.header())["colorSpace"] == "ACEScg"


def test_refusals(tmp_path, monkeypatch, talk):
    with pytest.raises(SettingsError, match="go together"):
        FootageSettings(ocio=CONFIG)
    with pytest.raises(SettingsError, match="no such OpenColorIO config"):
        config_path(str(tmp_path / "absent.ocio"))
    (tmp_path / "bad.ocio").write_text("ocio_profile_version: [\x00")
    with pytest.raises(SettingsError, match="not an OpenColorIO config"):
        OcioSpace(str(tmp_path / "bad.ocio"), "ACEScg")
    with pytest.raises(SettingsError, match="no colour space 'LogX'"):
        OcioSpace(CONFIG, "LogX")
    unknown = replace(talk.frames[0], colour=ColourTags(1, 1, 1, space="ocio:elsewhere"))
    with pytest.raises(SettingsError, match="give --ocio"):
        linear_from_frame(unknown, WHOLE)
    monkeypatch.setitem(sys.modules, "PyOpenColorIO", None)
    with pytest.raises(SettingsError, match=r"digidouble\[film\]"):
        open_footage(tmp_path / "p.png", FootageSettings(ocio=CONFIG, ocio_plate="ACEScg"))


def test_a_space_needs_no_library_once_it_is_registered():
    class Double:
        space, working = "twice", "once"

        def to_linear(self, signal):
            return signal / 2

        def from_linear(self, light):
            return light * 2

    register_space("test:twice", Double())
    frame = Frame(
        0, Fraction(0), (np.full((4, 4, 3), 32768, np.uint16),), RGB16, ColourTags(1, 1, 0, True, "test:twice")
    )
    np.testing.assert_allclose(linear_from_frame(frame, Roi(0, 0, 4, 4)), 0.25, atol=1e-4)
    assert space_of(frame.colour).working == "once"
