"""The mask of `bench persona`: only what the double brings itself is compared."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "shots"))

from shot_fixtures import persona_b, talk, talk_perf  # noqa: F401

from digidouble.bench.protocols.persona import BORROWED, in_uv, own_skin
from digidouble.farm import RenderSettings, prepare_shot
from digidouble.performance import load_performance
from digidouble.render import LookSettings, draw, layer_roi, place
from digidouble.schema.mesh import face_model


@pytest.fixture(scope="module")
def cast(talk_perf, persona_b):  # noqa: F811
    look = LookSettings(wrinkles=0.0, grain=False, motion_blur=False)
    return prepare_shot(load_performance(talk_perf), {"main": persona_b}, RenderSettings(look=look))[0]


def drawn(cast, plate: float):
    """A layer over a plate of one brightness, and one over a black plate."""
    index = cast.plan.track.frames.start + 3
    points = place(cast, index)
    roi = layer_roi(points, (4096, 4096))
    return [draw(cast, index, np.full((*roi.size_hw, 3), v, np.float32), roi, points) for v in (plate, 0.0)]


@pytest.mark.parametrize("down", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_own_skin_takes_nothing_from_the_plate(cast, down, monkeypatch):
    down = np.array(down)
    monkeypatch.setattr(sys.modules["digidouble.render.draw"], "lids_down", lambda *_: down)
    bright, black = drawn(cast, 1.0)
    taken = np.abs(bright.rgb - black.rgb).max(-1)
    own = own_skin(black, down)
    assert own.sum() > 0.5 * (black.triangle >= 0).sum()
    # Smoothstep of the share makes 10 % less than 3 %; the lids' gain may brighten that.
    assert taken[own].max() < 0.1
    if down.any():  # a mask that knows nothing of lids would let the plate in
        assert taken[own_skin(black, np.zeros(2))].max() > 0.3
    assert 0 < BORROWED < 0.2


def test_pixels_are_found_in_uv(cast):
    layer, m = drawn(cast, 0.0)[1], face_model()
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    left = in_uv(layer, half)
    shown = layer.triangle >= 0
    u = m.uv[m.all_triangles[np.maximum(layer.triangle, 0)]][..., 0]
    clear = shown & (np.abs(u - 0.5).min(-1) > 0.03)
    inside = clear & (u < 0.47).all(-1)
    outside = clear & (u > 0.53).all(-1)
    assert inside.sum() > 500 and outside.sum() > 500
    assert left[inside].all() and not left[outside].any()


def test_a_plate_of_the_same_person_shows_the_persona_unheld(talk_perf, persona_b):  # noqa: F811
    """Contrast and hues are held to what the plate can show only where the plate shows somebody else."""
    performance = load_performance(talk_perf)
    track = performance.track("main")
    vivid = replace(persona_b.keys[0], albedo=(persona_b.keys[0].albedo.astype(np.float32) ** 1.5).astype(np.float16))
    persona = replace(persona_b, keys=(vivid,), identity=track.identity)
    other = replace(persona, identity=(-track.identity).astype(np.float32))
    look = LookSettings(wrinkles=0.0)
    same, strange = (
        prepare_shot(performance, {"main": p}, RenderSettings(look=look))[0].keys[0].atlas for p in (persona, other)
    )
    plain, size = vivid.albedo.astype(np.float32), len(same)
    np.testing.assert_array_equal(
        same, cv2.resize(plain, (size, size), interpolation=cv2.INTER_AREA) if size < len(plain) else plain
    )
    assert np.abs(same - strange).max() > 0.02 * same.mean()
