"""Hues that no light gives hair."""

from __future__ import annotations

import numpy as np

from digidouble.render.tone import PlateSkin, without_blue
from digidouble.schema.colour import LUMA


def test_brows_of_a_warm_room_are_not_blue_in_daylight():
    """Skin takes the plate's colour; black brows stay neutral and as bright as the same gain would make them, blue paint stays blue."""

    lamp, pale = np.array([0.46, 0.24, 0.15]), np.array([0.72, 0.58, 0.52])
    gain = pale / lamp
    atlas = np.tile(lamp.astype(np.float32), (8, 8, 1))
    atlas[0], atlas[1] = (0.04, 0.036, 0.034), (0.05, 0.08, 0.2)  # a brow, paint
    out = without_blue(atlas, lamp, PlateSkin(np.ones(4), pale)) * gain
    plain = atlas * gain
    np.testing.assert_allclose(out[2:], plain[2:], rtol=1e-4)
    np.testing.assert_allclose(out @ LUMA, plain @ LUMA, rtol=2e-3)
    assert plain[0, 0, 2] > 1.5 * plain[0, 0, 0]  # what one gain does
    assert out[0, 0, 2] < 1.03 * out[0, 0, 1] < 1.06 * out[0, 0, 0]
    assert out[1, 0, 2] > 2 * out[1, 0, 1]
    np.testing.assert_allclose(without_blue(atlas, lamp, None), atlas)
