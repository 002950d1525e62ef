"""Round trip: what the matte does not touch comes out of every lossless door with the plate's own bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digidouble.deliver.exr import ExrInfo, ExrLayer, write_exr
from digidouble.deliver.settings import DeliverySettings
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import MemoryFootage, open_footage
from digidouble.performance import load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import ColourTags, PixelLayout, Roi
from digidouble.schema.time import FrameRange
from digidouble.schema.timecode import Timecode

SIZE = (200, 176)
WHOLE = Roi(0, 0, *SIZE)
UNMARKED = DeliverySettings(visible_label=False, label_waiver_reason="test of pixels")
BT709, PQ, HLG, SRGB = ColourTags(1, 1, 1), ColourTags(9, 16, 9), ColourTags(9, 18, 9), ColourTags(1, 13, 0, True)

PLATES = {
    "8-bit 420": (PixelLayout("yuv420p", "yuv", 8, (1, 1)), BT709),
    "10-bit 420 PQ": (PixelLayout("yuv420p10le", "yuv", 10, (1, 1)), PQ),
    "10-bit 422": (PixelLayout("yuv422p10le", "yuv", 10, (1, 0)), BT709),
    "10-bit 422 HLG": (PixelLayout("yuv422p10le", "yuv", 10, (1, 0)), HLG),
    "12-bit 444 PQ": (PixelLayout("yuv444p12le", "yuv", 12), PQ),
    "8-bit RGB": (PixelLayout("rgb24", "rgb", 8), SRGB),
    "16-bit RGB": (PixelLayout("rgb48le", "rgb", 16), SRGB),
    "16-bit RGB PQ": (PixelLayout("rgb48le", "rgb", 16), ColourTags(9, 16, 0, True)),
}


@pytest.fixture(scope="module")
def perf(talk_perf):
    return load_performance(talk_perf)


def noisy(frame, layout, colour, rng):
    """The frame's picture in another layout, with noise in every code outside what is needed."""
    top = 1.0 if layout.is_float else (1 << layout.bits) - 1
    h, w = SIZE[::-1]
    dtype = np.float32 if layout.is_float else np.uint8 if layout.bits == 8 else np.uint16

    def plane(rows, columns, *channels):
        return (rng.uniform(0, 1, (rows, columns, *channels)) * top).astype(dtype)

    if layout.kind == "rgb":
        planes = (plane(h, w, 4 if layout.has_alpha else 3),)
    else:
        sx, sy = layout.chroma_shift_xy
        planes = (plane(h, w), plane(h >> sy, w >> sx), plane(h >> sy, w >> sx))
    return replace(frame, planes=planes, layout=layout, colour=colour)


def delivered(perf, persona_b, frames, layout, colour, out):
    shot = replace(perf.shot, layout=layout, colour=colour, has_audio=False)
    moved = replace(perf, shot=shot)
    settings = RenderSettings(workers=1, frame_range=FrameRange(10, 11))
    plate = MemoryFootage(frames, shot.rate)
    render_shot(plate, moved, {"main": persona_b}, out, settings, UNMARKED)
    with open_footage(out.with_name(out.name.replace("####", "0010"))) as footage:
        return footage.frame(0)


def matte(perf, persona_b, frame):
    layer = render_frame(prepare(perf, {"main": persona_b}), frame)[1][0]
    out = np.zeros(SIZE[::-1], np.float32)
    out[layer.roi.y0 : layer.roi.y1, layer.roi.x0 : layer.roi.x1] = layer.alpha
    return out


@pytest.mark.parametrize("name", PLATES)
def test_integer_plates(perf, talk, persona_b, tmp_path, name):
    layout, colour = PLATES[name]
    rng = np.random.default_rng(1)
    frames = [noisy(f, layout, colour, rng) for f in talk.frames[:12]]
    before = frames[10]
    covered = matte(perf, persona_b, before) > 0
    suffixes = (".mkv",) if layout.kind == "yuv" else (".mkv", ".####.png", ".####.tif")
    for suffix in suffixes:
        after = delivered(perf, persona_b, frames, layout, colour, tmp_path / f"o{suffix}")
        for a, b in zip(before.planes[:3], after.planes[:3], strict=True):
            sy, sx = SIZE[1] // a.shape[0], SIZE[0] // a.shape[1]
            untouched = ~covered.reshape(a.shape[0], sy, a.shape[1], sx).any((1, 3))
            assert (a[untouched] == b[untouched]).all(), suffix
            assert (a[~untouched] != b[~untouched]).any() and untouched.mean() > 0.3


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("alpha", [False, True])
def test_float_exr_plates(perf, talk, persona_b, tmp_path, bits, alpha):
    """Through the reader, the render and the writer, with infinities and what is no number in the corners."""
    rng = np.random.default_rng(2)
    channels = ("R", "G", "B", "A") if alpha else ("R", "G", "B")
    for i in range(12):
        pixels = linear_from_frame(talk.frames[i], WHOLE) + rng.normal(0, 0.01, (*SIZE[::-1], 3))
        pixels = np.dstack([pixels, rng.uniform(0, 1, SIZE[::-1])]) if alpha else pixels
        pixels = pixels.astype(np.float32)
        pixels[0, 0, :3], pixels[0, 1, :3], pixels[1, :9, 0] = np.inf, np.nan, 60000
        layer = ExrLayer("", channels, pixels, full_float=bits == 32)
        write_exr(tmp_path / f"p.{i:04d}.exr", [layer], ExrInfo(perf.shot.rate, Timecode(1, 2, 3, i), 9))
    with open_footage(tmp_path / "p.####.exr") as plate:
        assert (plate.shot.timecode, plate.shot.layout.bits, plate.shot.colour.primaries) == ("01:02:03:00", bits, 9)
        moved = replace(perf, shot=plate.shot)
        settings = RenderSettings(workers=1, frame_range=FrameRange(10, 12))
        made = render_shot(plate, moved, {"main": persona_b}, tmp_path / "o.####.exr", settings, UNMARKED)
        assert made.delivered.encoding == ("exr float" if bits == 32 else "exr half")
        before = plate.frame(10)
    covered = matte(perf, persona_b, before) > 0
    with open_footage(tmp_path / "o.####.exr") as result:
        after = result.frame(0)
        assert (result.shot.timecode, result.shot.start_number) == ("01:02:03:10", 10)
        assert (result.shot.layout.bits, result.shot.layout.has_alpha) == (bits, alpha)
    a, b = before.planes[0].view(np.uint32), after.planes[0].view(np.uint32)
    assert (a[~covered] == b[~covered]).all() and np.isinf(after.planes[0][0, 0, 0])
    assert (a[covered] != b[covered]).any()
    if alpha:
        assert (a[..., 3] == b[..., 3]).all()
