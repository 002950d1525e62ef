"""Colour conversion against a slow float64 reference written from the standards, and the promises of writing back."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest

from digidouble.errors import SettingsError
from digidouble.schema import kernels
from digidouble.schema import transfer as tf
from digidouble.schema.colour import (
    display_rgb8,
    frame_with,
    lab_from_linear,
    linear_from_frame,
    resolved,
    rgb8_from_frame,
    srgb_decode,
    srgb_encode,
)
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi

KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
SDR = ColourTags(1, 1, 1)
SUBSAMPLINGS = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0)}


def yuv_frame(size_wh=(38, 26), subsampling="420", bits=8, tags=SDR, seed=0, extra=(), legal=False):
    w, h = size_wh
    sx, sy = SUBSAMPLINGS[subsampling]
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bits == 8 else np.uint16
    unit = 1 << (bits - 8)
    low, high = ((16 * unit, 236 * unit), (112 * unit, 145 * unit)) if legal else ((0, 1 << bits), (0, 1 << bits))
    if legal:
        low, high = (50 * unit, 200 * unit), high
    y = rng.integers(*low, (h, w)).astype(dtype)
    c = [rng.integers(*high, (-(-h // (1 << sy)), -(-w // (1 << sx)))).astype(dtype) for _ in range(2)]
    layout = PixelLayout(f"yuv{subsampling}p", "yuv", bits, (sx, sy), has_alpha=bool(extra))
    return Frame(0, Fraction(0), (y, *c, *extra), layout, tags)


def rgb_frame(bits=8, channels=3, size_wh=(20, 12), dtype=None):
    rng = np.random.default_rng(3)
    w, h = size_wh
    dtype = dtype or (np.uint8 if bits == 8 else np.uint16)
    plane = rng.integers(0, 1 << bits, (h, w, channels)).astype(dtype)
    return Frame(0, Fraction(0), (plane,), PixelLayout("rgb", "rgb", bits, has_alpha=channels == 4), ColourTags())


def whole(frame: Frame) -> Roi:
    return Roi(0, 0, *frame.size_wh)


def reference_code_rgb(frame: Frame) -> np.ndarray:
    """R'G'B' of a Y'CbCr frame in float64: separable linear interpolation by np.interp, then the matrix inverted
    numerically from the luma equation, so nothing is shared with the code under test."""
    y, u, v = (p.astype(np.float64) for p in frame.planes[:3])
    h, w = y.shape
    sx, sy = frame.layout.chroma_shift_xy
    xs, ys = np.arange(w) / (1 << sx), (np.arange(h) + 0.5) / (1 << sy) - 0.5

    def up(plane):
        rows = np.stack([np.interp(xs, np.arange(plane.shape[1]), row) for row in plane])
        return np.stack([np.interp(ys, np.arange(plane.shape[0]), col) for col in rows.T], axis=1)

    unit, top = 1 << (frame.layout.bits - 8), (1 << frame.layout.bits) - 1
    mid = 128 * unit
    if frame.colour.full_range:
        y, cb, cr = y / top, (up(u) - mid) / top, (up(v) - mid) / top
    else:
        y, cb, cr = (y - 16 * unit) / (219 * unit), (up(u) - mid) / (224 * unit), (up(v) - mid) / (224 * unit)
    return np.stack([y, cb, cr], -1) @ np.linalg.inv(ycbcr_matrix(frame.colour.matrix)).T


def ycbcr_matrix(code: int) -> np.ndarray:
    kr, kb = KR_KB[code]
    luma = np.array([kr, 1 - kr - kb, kb])
    return np.stack([luma, (np.eye(3)[2] - luma) / (2 * (1 - kb)), (np.eye(3)[0] - luma) / (2 * (1 - kr))])


# --- transfer functions ----------------------------------------------------------------------------------------------


def pq_by_the_book(x: float) -> float:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    y = (x * 100 / 10000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


@pytest.mark.parametrize(
    ("transfer", "linear", "signal"),
    [
        (tf.SRGB, 0, 0), (tf.SRGB, 0.18, 0.461356), (tf.SRGB, 1, 1),
        (tf.BT709, 0, 0), (tf.BT709, 0.18, 0.408848), (tf.BT709, 1, 1),
        (tf.LINEAR, 0, 0), (tf.LINEAR, 0.18, 0.18), (tf.LINEAR, 1, 1),
        (tf.PQ, 0, 0), (tf.PQ, 0.18, pq_by_the_book(0.18)), (tf.PQ, 1, 0.508078), (tf.PQ, 100, 1),
        (tf.PQ, 2.03, 0.580688),
        (tf.HLG, 0, 0), (tf.HLG, 0.18, 0.672374), (tf.HLG, 1, 1), (tf.HLG, 1 / 12, 0.5),
        (4, 0.18, 0.18 ** (1 / 2.2)), (5, 0.18, 0.18 ** (1 / 2.8)),
    ],
)  # fmt: skip
def test_transfer_at_known_points(transfer, linear, signal):
    assert tf.encode(np.array([float(linear)]), transfer)[0] == pytest.approx(signal, abs=4e-5)
    assert tf.decode(np.array([float(signal)]), transfer)[0] == pytest.approx(linear, rel=4e-4, abs=2e-6)


@pytest.mark.parametrize("transfer", sorted(tf.SUPPORTED_TRANSFERS))
def test_transfer_round_trip_order_and_symmetry(transfer):
    v = np.linspace(tf.DECODE_LO, tf.DECODE_HI, 20_001)
    light = tf.decode(v, transfer)
    np.testing.assert_allclose(tf.encode(light, transfer), v, atol=1e-12)
    steps = np.diff(light)
    assert (steps >= 0).all() and (transfer == tf.PQ or (steps > 0).all())
    np.testing.assert_array_equal(tf.decode(-v, transfer), -light)


def test_bt709_agrees_with_its_printed_three_digit_constants():
    """BT.709-6 prints 1.099 and 0.018, whose pieces do not meet; the exact constants stay within the printing error."""
    x = np.linspace(0.02, 1, 100)
    assert np.abs(tf.encode(x, tf.BT709) - (1.099 * x**0.45 - 0.099)).max() < 3e-4


def test_unknown_transfer_is_refused():
    with pytest.raises(SettingsError, match="17"):
        tf.encode(np.zeros(1), 17)


def test_srgb_keeps_float32_and_inverts():
    x = np.linspace(0, 1, 1001, dtype=np.float32)
    assert srgb_encode(x).dtype == srgb_decode(x).dtype == np.float32
    np.testing.assert_allclose(srgb_decode(srgb_encode(x)), x, atol=3e-7)


def test_kernels_and_tables_agree_on_the_tables_geometry():
    written_out = (kernels.DECODE_LO, kernels.DECODE_STEPS_PER_UNIT, kernels.ENCODE_LOG2_LO)
    assert written_out == (tf.DECODE_LO, tf.DECODE_STEPS_PER_UNIT, tf.ENCODE_LOG2_LO)


# --- resolving tags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "is_float", "size_wh", "expected"),
    [
        ("yuv", False, (1280, 720), (1, 1, 1, False)),
        ("yuv", False, (720, 576), (1, 1, 6, False)),
        ("rgb", False, (720, 576), (1, 13, 0, True)),
        ("rgb", True, (720, 576), (1, 8, 0, True)),
        ("gray", False, (8, 8), (1, 13, 0, False)),
    ],
)
def test_unspecified_tags(kind, is_float, size_wh, expected):
    got = resolved(ColourTags(), PixelLayout("x", kind, 8, is_float=is_float), size_wh)
    assert (got.primaries, got.transfer, got.matrix, got.full_range) == expected


def test_given_tags_win_and_impossible_ones_are_refused():
    layout = PixelLayout("x", "yuv", 10)
    assert resolved(ColourTags(9, 16, 9), layout, (64, 64)) == ColourTags(9, 16, 9)
    with pytest.raises(SettingsError, match="matrix 14"):
        resolved(ColourTags(9, 16, 14), layout, (64, 64))
    with pytest.raises(SettingsError, match="characteristic 17"):
        resolved(ColourTags(9, 17, 9), layout, (64, 64))


# --- reading ---------------------------------------------------------------------------------------------------------

CASES = [
    ("420", 8, ColourTags(1, 1, 1)),
    ("420", 8, ColourTags(6, 6, 6)),
    ("420", 8, ColourTags(1, 13, 6, True)),
    ("420", 10, ColourTags(9, 16, 9)),
    ("422", 10, ColourTags(1, 1, 1)),
    ("422", 12, ColourTags(9, 18, 9)),
    ("444", 16, ColourTags(1, 1, 1)),
    ("444", 10, ColourTags(1, 8, 1)),
    ("440", 8, ColourTags(1, 1, 1)),
    ("411", 8, ColourTags(1, 1, 6)),
]


@pytest.mark.parametrize(("subsampling", "bits", "tags"), CASES)
@pytest.mark.parametrize("roi", [Roi(0, 0, 37, 25), Roi(5, 3, 22, 18), Roi(30, 20, 37, 25)])
def test_linear_matches_the_reference(subsampling, bits, tags, roi):
    frame = yuv_frame((37, 25), subsampling, bits, tags)
    signal = reference_code_rgb(frame)[roi.y0 : roi.y1, roi.x0 : roi.x1]
    got = linear_from_frame(frame, roi)
    assert got.dtype == np.float32
    # Compared as signal: what counts is a fraction of a code, in shadow and highlight alike.
    error = np.abs(tf.encode(got.astype(np.float64), tags.transfer) - signal)
    # Above the PQ peak and near zero light the curve has no slope to speak of; codes there are not pictures.
    seen = (np.abs(signal) > 0.02) if tags.transfer == tf.PQ else np.ones_like(signal, bool)
    assert error[seen].max() < 2e-5


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_rgb_codes_are_srgb(bits, channels):
    frame = rgb_frame(bits, channels)
    truth = tf.decode(frame.planes[0][..., :3] / ((1 << bits) - 1), tf.SRGB)
    np.testing.assert_allclose(linear_from_frame(frame, whole(frame)), truth, atol=2e-7)


def test_gray_full_and_limited():
    plane = np.arange(16, 236, dtype=np.uint8).reshape(10, 22)
    layout = PixelLayout("gray", "gray", 8)
    limited = linear_from_frame(Frame(0, Fraction(0), (plane,), layout, ColourTags(1, 8)), Roi(0, 0, 22, 10))
    np.testing.assert_allclose(limited[..., 1], (plane - 16.0) / 219, atol=1e-6)
    full = linear_from_frame(Frame(0, Fraction(0), (plane,), layout, ColourTags(1, 8, 2, True)), Roi(0, 0, 22, 10))
    np.testing.assert_allclose(full[..., 2], plane / 255.0, atol=1e-6)


def test_float_passes_and_non_finite_becomes_finite():
    plane = np.array([[[0.25, -1.5, 900.0, 0.5], [np.nan, np.inf, -np.inf, 1]]], np.float32)
    frame = Frame(0, Fraction(0), (plane,), PixelLayout("exr", "rgb", 16, has_alpha=True, is_float=True), ColourTags())
    got = linear_from_frame(frame, Roi(0, 0, 2, 1))
    np.testing.assert_array_equal(got[0, 0], plane[0, 0, :3])
    np.testing.assert_array_equal(got[0, 1], np.array([0, 65504, -65504], np.float32))


@pytest.mark.parametrize("roi", [Roi(-2, 0, 4, 4), Roi(0, 0, 39, 4), Roi(4, 4, 4, 8), Roi(0, 0, 8, 27)])
def test_regions_outside_are_refused(roi):
    with pytest.raises(SettingsError, match="38x26"):
        linear_from_frame(yuv_frame(), roi)


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("subsampling", "bits", "tags"), CASES)
@pytest.mark.parametrize("dither", [False, True])
def test_what_did_not_change_is_bit_equal(subsampling, bits, tags, dither):
    frame = yuv_frame((37, 25), subsampling, bits, tags)  # every code, legal or not
    roi = Roi(4, 2, 33, 25)
    same = frame_with(frame, roi, linear_from_frame(frame, roi), np.ones(roi.size_hw, np.float32), dither)
    for a, b in zip(frame.planes, same.planes, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [lambda: rgb_frame(8), lambda: rgb_frame(16), lambda: rgb_frame(8, 4)])
def test_unchanged_rgb_is_bit_equal(make):
    frame = make()
    roi = whole(frame)
    same = frame_with(frame, roi, linear_from_frame(frame, roi), np.ones(roi.size_hw, np.float32))
    np.testing.assert_array_equal(frame.planes[0], same.planes[0])


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize(("bits", "tags"), [(8, ColourTags(1, 1, 1)), (10, ColourTags(1, 13, 6, True))])
def test_written_samples_match_the_reference(subsampling, bits, tags):
    """Full matte with holes, new colours everywhere: luma to half a code, chroma by the mean over its block."""
    frame = yuv_frame((37, 25), subsampling, bits, tags, legal=True)
    roi = Roi(6, 4, 31, 25)  # ends in the middle of a chroma block, on the bottom edge
    rng = np.random.default_rng(9)
    lin = (rng.random((*roi.size_hw, 3)) * 0.8 + 0.05).astype(np.float32)
    alpha = (rng.random(roi.size_hw) > 0.4).astype(np.float32) * rng.random(roi.size_hw).astype(np.float32)
    got = frame_with(frame, roi, lin, alpha, dither=False)

    unit = 1 << (bits - 8)
    span_y, span_c = (((1 << bits) - 1,) * 2) if tags.full_range else (219 * unit, 224 * unit)
    covered = np.zeros(frame.size_hw, bool)
    covered[roi.y0 : roi.y1, roi.x0 : roi.x1] = alpha > 0
    old_code = reference_code_rgb(frame)
    new_code = old_code.copy()
    inside = new_code[roi.y0 : roi.y1, roi.x0 : roi.x1]
    inside[alpha > 0] = tf.encode(lin.astype(np.float64), tags.transfer)[alpha > 0]
    change = (new_code - old_code) @ ycbcr_matrix(tags.matrix).T * [span_y, span_c, span_c]

    np.testing.assert_array_equal(got.planes[0][~covered], frame.planes[0][~covered])
    error = got.planes[0] - (frame.planes[0] + change[..., 0])
    assert np.abs(error[covered]).max() <= 0.5 + 0.01 * unit

    sx, sy = frame.layout.chroma_shift_xy
    h, w = frame.size_hw
    for plane in (1, 2):
        for cy in range(frame.planes[plane].shape[0]):
            for cx in range(frame.planes[plane].shape[1]):
                block = np.s_[cy << sy : min(h, (cy + 1) << sy), cx << sx : min(w, (cx + 1) << sx)]
                old, new = int(frame.planes[plane][cy, cx]), int(got.planes[plane][cy, cx])
                if not covered[block].any():
                    assert new == old
                else:
                    assert abs(new - (old + change[block][..., plane].mean())) <= 0.5 + 0.01 * unit


def test_full_replacement_reads_back():
    frame = yuv_frame((64, 48), "444", 10, ColourTags(1, 1, 1), legal=True)
    lin = np.broadcast_to(np.array([0.35, 0.2, 0.12], np.float32), (48, 64, 3)).copy()
    roi = whole(frame)
    back = linear_from_frame(frame_with(frame, roi, lin, np.ones((48, 64), np.float32), dither=False), roi)
    np.testing.assert_allclose(back, lin, atol=1.5e-3)


def test_the_given_frame_and_the_plates_alpha_are_left_alone():
    plate_alpha = np.full((26, 38), 77, np.uint8)
    frame = yuv_frame(extra=(plate_alpha,))
    before = [p.copy() for p in frame.planes]
    roi = Roi(2, 2, 20, 20)
    lin = np.full((18, 18, 3), 0.5, np.float32)
    got = frame_with(frame, roi, lin, np.ones((18, 18), np.float32))
    for a, b in zip(before, frame.planes, strict=True):
        np.testing.assert_array_equal(a, b)
    assert got.planes[3] is plate_alpha
    assert (got.planes[0] != frame.planes[0]).any()
    assert (got.index, got.pts_seconds, got.layout, got.colour) == (0, 0, frame.layout, frame.colour)


def test_no_matte_no_change_whatever_the_colour():
    frame = yuv_frame()
    roi = whole(frame)
    lin = np.full((*roi.size_hw, 3), np.nan, np.float32)
    for alpha in (np.zeros(roi.size_hw, np.float32), np.ones(roi.size_hw, np.float32)):  # NaN colour is no colour
        for a, b in zip(frame.planes, frame_with(frame, roi, lin, alpha).planes, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rgb_alpha_channel_stays_and_codes_are_right():
    frame = rgb_frame(16, 4)
    roi = Roi(3, 1, 11, 9)
    lin = np.random.default_rng(2).random((8, 8, 3)).astype(np.float32)
    alpha = np.tri(8, dtype=np.float32)
    got = frame_with(frame, roi, lin, alpha, dither=False)
    expected = frame.planes[0].copy()
    part = expected[1:9, 3:11]
    part[..., :3][alpha > 0] = np.rint(tf.encode(lin.astype(np.float64), tf.SRGB) * 65535)[alpha > 0]
    # 2 codes of 65535: the tables' own accuracy.
    assert np.abs(got.planes[0].astype(int) - expected).max() <= 2
    np.testing.assert_array_equal(got.planes[0][..., 3], frame.planes[0][..., 3])
    np.testing.assert_array_equal(got.planes[0][1:9, 3:11][alpha == 0], part[alpha == 0])


def test_float_plate_takes_the_values_and_keeps_its_odd_ones():
    plane = np.random.default_rng(4).normal(0.5, 1, (6, 8, 4)).astype(np.float32)
    plane[0, 0, 0], plane[5, 7, 1] = np.nan, np.inf
    frame = Frame(0, Fraction(0), (plane,), PixelLayout("exr", "rgb", 16, has_alpha=True, is_float=True), ColourTags())
    roi = whole(frame)
    lin = linear_from_frame(frame, roi)
    lin[2:4, 2:4] = 7.25
    got = frame_with(frame, roi, lin, np.ones(roi.size_hw, np.float32)).planes[0]
    expected = plane.copy()
    expected[2:4, 2:4, :3] = 7.25
    np.testing.assert_array_equal(got, expected)


def test_gray_plate():
    plane = np.random.default_rng(4).integers(0, 256, (8, 8)).astype(np.uint8)
    frame = Frame(0, Fraction(0), (plane,), PixelLayout("gray", "gray", 8), ColourTags(1, 13, 2, True))
    roi = whole(frame)
    lin = linear_from_frame(frame, roi)
    np.testing.assert_array_equal(frame_with(frame, roi, lin, np.ones((8, 8), np.float32)).planes[0], plane)
    lin[:4] = 0.18
    got = frame_with(frame, roi, lin, np.ones((8, 8), np.float32)).planes[0]
    assert (got[:4] == round(0.461356 * 255)).all() and (got[4:] == plane[4:]).all()


def test_dither_keeps_the_mean_and_the_pattern():
    frame = yuv_frame((128, 128), "444", 8, ColourTags(1, 8, 1), legal=True)
    for plane in frame.planes:
        plane[:] = 128
    roi = whole(frame)
    lin = linear_from_frame(frame, roi) + np.float32(0.3 / 219)
    ones = np.ones(roi.size_hw, np.float32)
    plain, dithered = frame_with(frame, roi, lin, ones, dither=False), frame_with(frame, roi, lin, ones)
    assert (plain.planes[0] == 128).all()
    assert dithered.planes[0].mean() == pytest.approx(128.3, abs=0.01)
    assert set(np.unique(dithered.planes[0])) == {128, 129}
    np.testing.assert_array_equal(dithered.planes[0], frame_with(frame, roi, lin, ones).planes[0])
    # Fixed to the picture, not to the region: the same pixel rounds the same way in a smaller region.
    small = Roi(40, 40, 80, 80)
    part = frame_with(frame, small, lin[40:80, 40:80], ones[40:80, 40:80])
    np.testing.assert_array_equal(part.planes[0][40:80, 40:80], dithered.planes[0][40:80, 40:80])


def test_light_beyond_white_is_bounded_but_superwhite_plate_is_kept():
    frame = yuv_frame((8, 8), "444", 8, ColourTags(1, 1, 1))
    frame.planes[0][:] = 180
    frame.planes[0][0, 0] = 250
    for plane in frame.planes[1:]:
        plane[:] = 128
    roi = whole(frame)
    lin = np.full((8, 8, 3), 9.0, np.float32)
    got = frame_with(frame, roi, lin, np.ones((8, 8), np.float32), dither=False)
    assert got.planes[0][0, 0] == 250 and (got.planes[0].ravel()[1:] == 235).all()
    assert (got.planes[1] == 128).all()


def test_wrong_sizes_are_refused():
    frame = yuv_frame()
    with pytest.raises((SettingsError, TypeError)):  # TypeError where annotations are enforced
        frame_with(frame, Roi(0, 0, 8, 8), np.zeros((8, 9, 3), np.float32), np.zeros((8, 8), np.float32))


def test_two_threads_give_what_one_gives():
    frame = yuv_frame((320, 240), legal=True)
    roi = Roi(10, 10, 300, 230)
    alone = linear_from_frame(frame, roi)
    results: list[np.ndarray] = []
    workers = [
        threading.Thread(target=lambda: results.extend(linear_from_frame(frame, roi) for _ in range(4)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result, alone)


# --- for looking at --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", [ColourTags(1, 1, 1), ColourTags(1, 1, 6), ColourTags(1, 1, 6, True)])
@pytest.mark.parametrize("bits", [8, 10])
def test_rgb8_is_the_matrixed_code(tags, bits):
    frame = yuv_frame((40, 30), "444", bits, tags, legal=True)
    truth = np.clip(reference_code_rgb(frame), 0, 1) * 255
    # 10-bit codes lose their last two bits first.
    assert np.abs(rgb8_from_frame(frame) - truth).max() < (1.1 if bits == 8 else 3.5)


def test_rgb8_reduces_by_area_and_never_enlarges():
    frame = yuv_frame((160, 90), "420", 8, legal=True)
    assert rgb8_from_frame(frame, 80).shape == (45, 80, 3)
    assert rgb8_from_frame(frame, 500).shape == (90, 160, 3)
    full = reference_code_rgb(frame)[..., 1].mean() * 255
    assert rgb8_from_frame(frame, 20)[..., 1].mean() == pytest.approx(full, abs=1.5)
    with pytest.raises(SettingsError, match="max_side 0"):
        rgb8_from_frame(frame, 0)


@pytest.mark.parametrize(("transfer", "white"), [(tf.PQ, 2.03), (tf.HLG, 0.265)])
def test_hdr_faces_are_visible(transfer, white):
    """Skin in diffuse light (about 0.3 of white) lands in the middle of 8 bits, and brighter is brighter."""
    shown = []
    for share in (0.02, 0.3, 1.0, 2.0):
        code = float(tf.encode(np.array([white * share]), transfer)[0])
        y = np.full((16, 16), round(64 + 876 * code), np.uint16)
        c = np.full((8, 8), 512, np.uint16)
        frame = Frame(0, Fraction(0), (y, c, c), PixelLayout("x", "yuv", 10, (1, 1)), ColourTags(9, transfer, 9))
        shown.append(int(rgb8_from_frame(frame)[8, 8, 1]))
    assert shown == sorted(shown) and len(set(shown)) == 4
    assert 90 < shown[1] < 170 and 150 < shown[2] < 240


def test_float_and_gray_and_rgb_are_shown():
    plane = np.full((8, 8, 3), 0.18, np.float32)
    linear = Frame(0, Fraction(0), (plane,), PixelLayout("e", "rgb", 16, is_float=True), ColourTags(1, 8))
    assert 90 < rgb8_from_frame(linear)[0, 0, 0] < 130
    frame = rgb_frame(8, 4)
    np.testing.assert_array_equal(rgb8_from_frame(frame), frame.planes[0][..., :3])
    gray = Frame(0, Fraction(0), (np.full((4, 4), 235, np.uint8),), PixelLayout("g", "gray", 8), ColourTags())
    assert (rgb8_from_frame(gray) == 255).all()


def test_display_rgb8_is_clipped_srgb():
    x = np.array([[[-1.0, 0.0, 0.18], [1.0, 5.0, 0.0031308]]], np.float32)
    np.testing.assert_array_equal(display_rgb8(x), [[[0, 0, 118], [255, 255, 10]]])


def test_lab_matches_scikit_image():
    skimage_color = pytest.importorskip("skimage.color")
    srgb = np.random.default_rng(8).random((20, 30, 3))
    expected = skimage_color.rgb2lab(srgb)
    got = lab_from_linear(srgb_decode(srgb))
    # scikit-image rounds its matrix and white to six and five digits.
    assert np.abs(got - expected).max() < 0.05
    np.testing.assert_allclose(lab_from_linear(np.ones((1, 3), np.float32)), [[100, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(lab_from_linear(np.ones((1, 3), np.float32), primaries=9), [[100, 0, 0]], atol=1e-4)
