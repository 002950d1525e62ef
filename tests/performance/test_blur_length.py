"""The blur a double is given: what the track says of motion, times the shutter, is the length of the smear on the plate."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import RATE, SyntheticShot, TruthPerceiver, frame_from_linear, person, shoot, still

from digidouble.performance import analyse, load_performance
from digidouble.refine.detail import SHUTTER, motion_blur
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.layers import Layer

SIZE, N, PARTS = (240, 160), 24, 7


def path(t: np.ndarray) -> np.ndarray:
    """Up to 11 px a frame."""
    return np.stack([120 + 55 * np.sin(t / 5.0), 60 + 10 * np.sin(t / 7.0)], -1)


@pytest.fixture(scope="module")
def smeared() -> SyntheticShot:
    """Every frame the mean of PARTS moments of an open shutter around its time, in linear light."""
    moments = (np.arange(PARTS) - PARTS // 2) * SHUTTER / PARTS
    t = (np.arange(N)[:, None] + moments).ravel()
    fine = shoot([still(person(3), len(t), (0, 0), 6.5, origin_px=path(t))], SIZE)
    frames = []
    for i in range(N):
        open_ = [linear_from_frame(f, Roi(0, 0, *SIZE)) for f in fine.frames[i * PARTS : (i + 1) * PARTS]]
        frames.append(frame_from_linear(np.mean(open_, 0), i))
    middle = np.arange(N) * PARTS + PARTS // 2
    take = still(person(3), N, (0, 0), 6.5, origin_px=path(np.arange(N)))
    return SyntheticShot(
        tuple(frames), (take,), fine.points_px[middle], tuple(fine.visible[k] for k in middle), fine.light_sh[middle]
    )


def test_motion_times_shutter_is_the_smear(smeared, tmp_path):
    """Within 15 %, on moving frames, in the middle of the track."""
    assert RATE.fps > 0
    track = load_performance(
        analyse(smeared.footage(), tmp_path / "s.perf", perceiver=TruthPerceiver(smeared, 0.15))
    ).tracks[0]
    t = np.arange(2, N - 2)
    truth = path(t + SHUTTER / 2) - path(t - SHUTTER / 2)
    length = np.linalg.norm(truth, axis=1)
    found = SHUTTER * track.motion_px[t]
    fast = length > 2.0
    assert fast.sum() >= 8
    ratio = np.linalg.norm(found[fast], axis=1) / length[fast]
    assert np.abs(ratio - 1).max() < 0.15, ratio
    cosine = (found[fast] * truth[fast]).sum(1) / np.linalg.norm(found[fast], axis=1) / length[fast]
    assert cosine.min() > np.cos(np.radians(8))


@pytest.mark.parametrize("speed", [6.0, 12.0, 24.0])
@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_the_double_is_smeared_by_that_length(speed, angle):
    """A point of light becomes a streak whose second moment along the motion is that of a line of speed times shutter."""
    h = w = 81
    rgb, inside = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.int32)
    rgb[40, 40] = 1
    layer = Layer(
        1,
        Roi(0, 0, w, h),
        rgb,
        np.ones((h, w), np.float32),
        inside.astype(np.float32),
        inside,
        np.zeros((h, w, 2), np.float32),
    )
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    streak = motion_blur(layer, (speed * direction).astype(np.float32)).rgb[..., 0].astype(float)
    y, x = np.mgrid[:h, :w] - 40.0
    along = x * direction[0] + y * direction[1]
    length = np.sqrt(12 * (streak * along**2).sum() / streak.sum())
    assert length == pytest.approx(speed * SHUTTER, rel=0.15)
