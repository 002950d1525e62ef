"""The invisible mark: its code, its visibility, its survival on a rendered double, and its silence elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from digidouble.deliver.mark_reader import whitened_cells
from digidouble.perception.uvgrid import uv_grid
from digidouble.performance import load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.refine import add_mark
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.mark import CELLS, EXPECTED_Z, PRESENT_Z, expected_z, mark_cells, payload_of, read_cells

PAYLOAD = 0x12AB9F
SHAPE = (3, CELLS, CELLS)


@pytest.mark.parametrize("payload", [0, 1, 0x12AB9F, 0xFFFFFF])
def test_a_number_comes_back_through_noise(payload):
    rng = np.random.default_rng(payload)
    noisy = mark_cells(payload) + 1.6 * rng.standard_normal(SHAPE)
    found = read_cells(noisy)
    assert found.present and found.payload == payload
    assert expected_z(noisy, payload) > 15 > EXPECTED_Z > expected_z(noisy, payload ^ 1)
    with pytest.raises(ValueError, match="payload"):
        mark_cells(1 << 24)


def test_noise_says_nothing():
    rng = np.random.default_rng(5)
    readings = [read_cells(rng.standard_normal(SHAPE)) for _ in range(400)]
    assert not any(r.present for r in readings)
    assert 5.1 < np.mean([r.z for r in readings]) < 5.5 < PRESENT_Z
    known = [expected_z(rng.standard_normal(SHAPE), PAYLOAD) for _ in range(400)]
    assert abs(np.mean(known)) < 0.2 and 0.85 < np.std(known) < 1.15  # z is what it says
    assert read_cells(np.zeros(SHAPE)).z == 0.0


def test_deliveries_have_numbers_of_their_own():
    numbers = {payload_of(f"delivery {n}") for n in range(500)}
    assert len(numbers) == 500 and all(0 <= n < 1 << 24 for n in numbers)


@pytest.fixture(scope="module")
def rendered(talk, talk_perf, persona_b):
    """(plain frame, marked frame, layers, true points) of a synthetic talk."""
    performance = load_performance(talk_perf)
    casts = prepare(performance, {"main": persona_b})
    frame = talk.frames[12]
    plain, _ = render_frame(casts, frame)
    marked, layers = render_frame(casts, frame, mark=PAYLOAD)
    return frame, plain, marked, layers, performance.tracks[0].sample(12).points_px


def test_it_is_read_from_a_double_and_from_no_other_picture(rendered):
    frame, plain, marked, _, points = rendered
    frames = {"plate": frame, "plain": plain, "marked": marked}
    z = {name: expected_z(whitened_cells(rgb8_from_frame(f), points), PAYLOAD) for name, f in frames.items()}
    assert z["marked"] > 2 * EXPECTED_Z, z
    assert max(z["plate"], z["plain"]) < EXPECTED_Z, z
    reading = read_cells(whitened_cells(rgb8_from_frame(marked), points))
    assert reading.present and reading.payload == PAYLOAD


def test_it_is_invisible_and_stays_inside_the_matte(rendered):
    frame, plain, marked, layers, _ = rendered
    alpha = np.zeros(frame.size_hw, np.float32)
    for layer in layers:
        window = (slice(layer.roi.y0, layer.roi.y1), slice(layer.roi.x0, layer.roi.x1))
        alpha[window] = np.maximum(alpha[window], layer.alpha)
    a, b = rgb8_from_frame(plain).astype(float), rgb8_from_frame(marked).astype(float)
    inside = alpha > 0.5
    assert psnr(a[inside], b[inside]) >= 40 and np.abs(a - b).max() <= 12
    assert (
        psnr(plain.planes[0][inside].astype(float), marked.planes[0][inside].astype(float)) >= 50
    )  # brightness, which eyes see best
    luma_plate, luma_marked = frame.planes[0], marked.planes[0]
    assert (luma_plate[alpha <= 0] == luma_marked[alpha <= 0]).all()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((a - b) ** 2).mean()))


def through_h264(rgb8: np.ndarray, crf: int) -> np.ndarray:
    """A picture as the first of a movie (4:2:0, as phones and sites make them)."""
    h, w = (n & ~1 for n in rgb8.shape[:2])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as movie:
        stream = movie.add_stream("libx264", rate=Fraction(25), options={"crf": str(crf), "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb8[:h, :w]), format="rgb24")
        movie.mux(stream.encode(picture))
        movie.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as movie:
        return next(movie.decode(video=0)).to_ndarray(format="rgb24")


INJURIES = {
    "re-encoded at CRF 28": lambda rgb8, p: (through_h264(rgb8, 28), p),
    "half the size": lambda rgb8, p: (cv2.resize(rgb8, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), p * 0.5),
    "cropped to the face": lambda rgb8, p: (rgb8[10:, 20:], p - np.float32([20, 10, 0])),
    "cropped and re-encoded at CRF 23": lambda rgb8, p: (through_h264(rgb8[10:, 20:], 23), p - np.float32([20, 10, 0])),
    "graded": lambda rgb8, p: (np.clip(255 * (rgb8 / 255.0) ** 0.8 * [1.05, 1, 0.9], 0, 255).astype(np.uint8), p),
}


@pytest.mark.parametrize("injury", INJURIES)
def test_it_survives(rendered, injury):
    _, plain, marked, _, points = rendered
    z = {}
    for name, frame in (("plain", plain), ("marked", marked)):
        z[name] = expected_z(whitened_cells(*INJURIES[injury](rgb8_from_frame(frame), points)), PAYLOAD)
    assert z["marked"] >= EXPECTED_Z > 3 > z["plain"], z


def test_black_and_white_stays_so_and_is_marked_in_brightness(rendered):
    """A double without colour gets no tint: its mark is laid in luma."""
    layer, points = rendered[3][0], rendered[4]
    gray = replace(layer, rgb=np.repeat(layer.rgb.mean(-1, keepdims=True), 3, -1))
    marked = add_mark(gray, PAYLOAD)
    assert np.ptp(marked.rgb, axis=-1).max() < 1e-6 and (marked.rgb != gray.rgb).any()
    shown = np.full((*rendered[0].size_hw, 3), 128, np.uint8)
    window = (slice(layer.roi.y0, layer.roi.y1), slice(layer.roi.x0, layer.roi.x1))
    shown[window] = np.clip(255 * np.sqrt(np.maximum(marked.rgb, 0)), 0, 255).astype(np.uint8)
    assert expected_z(whitened_cells(shown, points), PAYLOAD) > EXPECTED_Z


def test_it_is_deterministic_and_leaves_shape_alone(rendered):
    layer = rendered[3][0]
    one, two = add_mark(layer, PAYLOAD), add_mark(layer, PAYLOAD)
    assert (one.rgb == two.rgb).all() and one.alpha is layer.alpha and one.triangle is layer.triangle
    assert (add_mark(layer, 7).rgb != one.rgb).any()
    outside = layer.triangle < 0
    assert (one.rgb[outside] == layer.rgb[outside]).all()
    empty = replace(layer, triangle=np.full_like(layer.triangle, -1))
    assert (add_mark(empty, PAYLOAD).rgb == empty.rgb).all()
    dark = replace(layer, rgb=np.zeros_like(layer.rgb))
    assert np.isfinite(add_mark(dark, PAYLOAD).rgb).all() and (add_mark(dark, PAYLOAD).rgb == 0).all()


def test_cells_lie_where_the_face_is():
    covered = uv_grid(CELLS).covered
    assert covered.sum() > 0.4 * CELLS * CELLS
