"""Blending: what the matte does not touch is the plate, bit for bit; what it covers is the double."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import RGB16, YUV8, YUV10, background, frame_from_linear

from digidouble.composite import composite, hold_out
from digidouble.composite.blend import guided
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.layers import Layer
from digidouble.schema.track import TrackSample

SIZE = (96, 80)
FLAT = np.full((80, 96, 3), 0.2, np.float32)
LAYOUTS = [YUV8, YUV10, RGB16]


def plate(layout, seed=0):
    rng = np.random.default_rng(seed)
    return frame_from_linear(np.clip(background(SIZE, seed) + rng.normal(0, 0.02, (80, 96, 3)), 0, 1), 0, layout)


def layer_of(roi: Roi, rgb=0.3, track_id=1, z=0.0, radius=20.0, soft=6.0) -> Layer:
    h, w = roi.size_hw
    ys, xs = np.mgrid[0:h, 0:w]
    r = np.hypot(ys - h / 2, xs - w / 2)
    alpha = np.clip((radius - r) / soft, 0, 1).astype(np.float32)
    depth = np.where(alpha > 0, z, np.inf).astype(np.float32)
    return Layer(
        track_id,
        roi,
        np.full((h, w, 3), rgb, np.float32),
        alpha,
        depth,
        np.where(alpha > 0, 0, -1).astype(np.int32),
        np.zeros((h, w, 2), np.float32),
    )


def under(frame, *layers):
    return {k.track_id: linear_from_frame(frame, k.roi) for k in layers}


def pixel_mask(k: Layer) -> np.ndarray:
    out = np.zeros(SIZE[::-1], bool)
    out[k.roi.y0 : k.roi.y1, k.roi.x0 : k.roi.x1] = k.alpha > 0
    return out


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: v.name)
def test_samples_outside_the_matte_are_bit_equal(layout):
    frame = plate(layout)
    k = layer_of(Roi(20, 10, 78, 68))
    out = composite(frame, [k], under(frame, k))
    mask = pixel_mask(k)
    assert (out.planes[0][~mask] == frame.planes[0][~mask]).all()
    assert (out.planes[0][mask] != frame.planes[0][mask]).mean() > 0.8
    for new, old in zip(out.planes[1:], frame.planes[1:], strict=True):
        touched = mask.reshape(40, 2, 48, 2).any((1, 3))
        assert (new[~touched] == old[~touched]).all() and (new[touched] != old[touched]).any()
    assert out.layout == frame.layout and out.colour == frame.colour and out.index == frame.index


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: v.name)
def test_opaque_core_is_the_double_and_edges_are_the_mix(layout):
    frame = plate(layout)
    k = layer_of(Roi(20, 10, 78, 68), rgb=0.25)
    out = linear_from_frame(composite(frame, [k], under(frame, k)), k.roi)
    before = linear_from_frame(frame, k.roi)
    core = k.alpha == 1
    core[1:-1, 1:-1] &= core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
    assert abs(out[core].mean() - 0.25) < 0.004
    assert np.abs(out[core] - 0.25).max() < 0.04  # chroma bleeds from two pixels away
    want = before + k.alpha[..., None] * (k.rgb - before)
    luma = np.array([0.2126, 0.7152, 0.0722])
    assert np.abs((out - want) @ luma).max() < 0.03


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: v.name)
def test_the_plate_over_itself_is_the_plate(layout):
    frame = plate(layout)
    k = layer_of(Roi(20, 10, 78, 68))
    base = under(frame, k)
    same = Layer(1, k.roi, base[1], k.alpha, k.depth_px, k.triangle, k.barycentric)
    for new, old in zip(composite(frame, [same], base).planes, frame.planes, strict=True):
        assert (new == old).all()


def test_input_is_not_changed_and_nothing_shown_is_the_same_frame():
    frame = plate(YUV8)
    copies = [p.copy() for p in frame.planes]
    k = layer_of(Roi(20, 10, 78, 68))
    composite(frame, [k], under(frame, k))
    assert all((a == b).all() for a, b in zip(frame.planes, copies, strict=True))
    hidden = Layer(1, k.roi, k.rgb, k.alpha * 0 + 1e-4, k.depth_px, k.triangle, k.barycentric)
    assert composite(frame, [hidden], under(frame, k)) is frame and composite(frame, [], {}) is frame


def test_the_nearer_covers_the_farther_in_any_order():
    frame = plate(RGB16)
    far, near = layer_of(Roi(10, 10, 68, 68), 0.1, 1, z=20.0), layer_of(Roi(24, 10, 82, 68), 0.8, 2, z=-20.0)
    a = composite(frame, [far, near], under(frame, far, near))
    b = composite(frame, [near, far], under(frame, far, near))
    assert (a.planes[0] == b.planes[0]).all()
    overlap = (pixel_mask(far) & pixel_mask(near))[39, :].nonzero()[0]
    assert linear_from_frame(a, Roi(0, 0, *SIZE))[39, overlap[len(overlap) // 2 + 2], 0] > 0.6


def sample(matte: np.ndarray, to_px) -> TrackSample:
    return TrackSample(
        np.zeros((478, 3), np.float32),
        np.zeros((32, 32, 3), np.float16),
        np.zeros((32, 32), np.uint8),
        matte,
        np.asarray(to_px, np.float32),
        np.zeros((160, 160), np.int8),
    )


def test_hold_out_places_the_matte():
    """A crop of 96 texels, half a pixel each, starting at pixel (30, 20): its left half is visible."""
    matte = np.zeros((96, 96), np.uint8)
    matte[:, :48] = 255
    k = layer_of(Roi(20, 10, 90, 70), radius=500.0, soft=1.0)
    alpha = hold_out(k, sample(matte, [[0.5, 0, 30], [0, 0.5, 20]]), 1.0, FLAT[10:70, 20:90]).alpha
    full = np.zeros(SIZE[::-1])
    full[10:70, 20:90] = alpha
    assert full[22:66, 32:52].min() > 0.99 and full[22:66, 56:].max() == 0 and full[:18].max() == 0
    edge = full[40, 50:57]
    assert (np.diff(edge) <= 1e-6).all() and abs(np.interp(0.5, edge[::-1], np.arange(56, 49, -1)) - 53.75) < 0.6


def test_hold_out_times_presence():
    k = layer_of(Roi(20, 10, 78, 68))
    matte = np.full((96, 96), 255, np.uint8)
    out = hold_out(k, sample(matte, [[2.0, 0, -20], [0, 2.0, -20]]), 0.25, FLAT[10:68, 20:78])
    np.testing.assert_allclose(out.alpha, 0.25 * k.alpha, atol=1e-3)
    assert (hold_out(k, sample(matte, [[2.0, 0, -20], [0, 2.0, -20]]), 0.0, FLAT[10:68, 20:78]).alpha == 0).all()
    assert out.rgb is k.rgb and (k.alpha.max() == 1)


def test_the_mattes_edge_goes_to_the_plates():
    """A soft edge four pixels beside a hand's: afterwards the half-way line lies on the hand, and flat places keep theirs."""
    x = np.arange(96)[None] * np.ones((80, 1))
    guide = np.where(x < 50, 0.7, 0.2).astype(np.float32)
    matte = np.clip((54 - x) / 6 + 0.5, 0, 1).astype(np.float32)

    def half(a: np.ndarray) -> float:
        return float(np.interp(-0.5, -a[40], np.arange(96)))

    assert half(matte) == pytest.approx(54, abs=0.1)
    assert half(guided(matte, guide, 8.0)) < 52  # the edge is at 49.5
    assert half(guided(matte, np.full_like(guide, 0.4), 8.0)) == pytest.approx(54, abs=1.0)
    out = guided(matte, guide, 8.0)
    assert out[:, :30].min() == 1 and out[:, 75:].max() == 0
