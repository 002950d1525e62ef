"""Depth smoothed along the flow: less flicker, no lag, no smear over edges; against a moving surface whose depth is known."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.performance.steady_depth import REACH, steadied
from digidouble.schema.modalities import MODAL_SIZE

N = 24
CELLS = np.arange(MODAL_SIZE)


def surface(noise_cm: float = 0.0, speed_cm: float = 0.0, step_px: float = 1.5):
    """A slope with a step (background 100 cm behind) that moves right by `step_px` a frame and nears by `speed_cm`."""
    rng = np.random.default_rng(4)
    px = np.stack(np.meshgrid(2.0 * CELLS + 0.5, 2.0 * CELLS + 0.5), -1)
    truth = np.empty((N, MODAL_SIZE, MODAL_SIZE), np.float32)
    for t in range(N):
        x = px[..., 0] - step_px * t
        truth[t] = np.where(x < 60, 0.08 * x + 2 * np.sin(px[..., 1] / 20), 100.0) - speed_cm * t
    seen = truth + rng.normal(0, noise_cm, truth.shape).astype(np.float32) if noise_cm else truth.copy()
    flow = np.zeros((N, MODAL_SIZE, MODAL_SIZE, 2), np.float32)
    flow[..., 0] = step_px
    linked = np.append(np.ones(N - 1, bool), False)
    places = np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]], np.float32), (N, 1, 1))
    return truth, seen, flow, linked, places


def smooth(seen, flow, linked, places, rows=None):
    return steadied(seen, flow, -flow, linked, places, rows or range(N))


def test_flicker_falls_to_less_than_half():
    truth, seen, flow, linked, places = surface(noise_cm=0.4)
    out = smooth(seen, flow, linked, places)
    inner = slice(REACH, N - REACH)
    left = np.s_[inner, 8:-8, 8:-12]
    assert np.abs(out[left] - truth[left]).mean() < 0.48 * np.abs(seen[left] - truth[left]).mean()


@pytest.mark.parametrize("speed", [-0.5, 0.3])
def test_no_lag(speed):
    """What comes nearer evenly is where it is, in every frame, the ends included."""
    truth, seen, flow, linked, places = surface(speed_cm=speed)
    error = (smooth(seen, flow, linked, places) - truth)[:, 8:-8, 8:-8]
    assert abs(np.median(error)) < 0.02 and np.quantile(np.abs(error), 0.95) < 0.1, np.quantile(np.abs(error), 0.95)


def test_edges_stay_edges():
    truth, seen, flow, linked, places = surface()
    out = smooth(seen, flow, linked, places)
    assert ((out < 20) | (out > 80)).all()  # nothing floats between face and wall
    assert ((out > 50) == (truth > 50)).mean() > 0.99


def test_one_wild_frame_is_outvoted():
    truth, seen, flow, linked, places = surface()
    seen[12] += 6.0
    out = smooth(seen, flow, linked, places, range(12, 13))
    face = np.s_[:, 10:-10, 12:36]
    assert np.abs(out - truth[12:13])[face].max() < 0.5


def test_nothing_crosses_a_break_in_the_run():
    _, seen, flow, linked, places = surface()
    seen[12:] += 50
    linked[11] = False
    out = smooth(seen, flow, linked, places)
    assert np.abs(out - seen)[:, 8:-8, 8:-8].max() < 0.6
