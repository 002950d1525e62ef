"""Contrast and hues that a light leaves in skin and hair."""

from __future__ import annotations

import numpy as np

from digidouble.perception.uvgrid import uv_grid
from digidouble.render.tone import PlateSkin, with_calm_reds, with_contrast, with_veil, without_blue
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import face_model


def test_brows_of_a_warm_room_are_not_blue_in_daylight():
    """Skin takes the plate's colour; black brows stay neutral and as bright as the same gain would make them, blue paint stays blue."""

    lamp, pale = np.array([0.46, 0.24, 0.15]), np.array([0.72, 0.58, 0.52])
    gain = pale / lamp
    atlas = np.tile(lamp.astype(np.float32), (8, 8, 1))
    atlas[0], atlas[1] = (0.04, 0.036, 0.034), (0.05, 0.08, 0.2)  # a brow, paint
    out = without_blue(atlas, lamp, PlateSkin(np.ones(4), pale, np.zeros(3))) * gain
    plain = atlas * gain
    np.testing.assert_allclose(out[2:], plain[2:], rtol=1e-4)
    np.testing.assert_allclose(out @ LUMA, plain @ LUMA, rtol=2e-3)
    assert plain[0, 0, 2] > 1.5 * plain[0, 0, 0]  # what one gain does
    assert out[0, 0, 2] < 1.03 * out[0, 0, 1] < 1.06 * out[0, 0, 0]
    assert out[1, 0, 2] > 2 * out[1, 0, 1]
    np.testing.assert_allclose(without_blue(atlas, lamp, None), atlas)


def test_folds_of_a_hard_light_are_held_back():
    """A deep red fold on the cheek comes out shallower and half as red; faint lines stay as they are."""
    size = 256
    x, y, _ = np.moveaxis(uv_grid(size).carried(face_model().mean_cm.astype(np.float32)), -1, 0)
    cheek = (np.abs(y + 3) < 1.2) & uv_grid(size).skin
    fold, faint = cheek & (np.abs(x - 4) < 0.12), cheek & (np.abs(x + 4) < 0.12)
    skin = np.array([0.42, 0.26, 0.18], np.float32)
    atlas = np.tile(skin, (size, size, 1))
    atlas[fold] *= np.array([0.42, 0.25, 0.2], np.float32)
    atlas[faint] *= 0.92
    out = with_contrast(atlas, np.ones(4))
    middle = fold & (np.abs(y + 3) < 0.8)
    before, after = (np.log(a[middle] / skin) for a in (atlas, out))
    assert (before @ LUMA).mean() < -1.1 and -0.65 < (after @ LUMA).mean() < -0.3
    redness = [float((log[:, 0] - log @ LUMA).mean()) for log in (before, after)]
    assert redness[1] < 0.6 * redness[0]
    np.testing.assert_allclose(out[faint], atlas[faint], rtol=0.03)


def test_moles_and_ginger_stay():
    size = 256
    x, y, _ = np.moveaxis(uv_grid(size).carried(face_model().mean_cm.astype(np.float32)), -1, 0)
    skin = np.array([0.42, 0.26, 0.18], np.float32)
    atlas = np.tile(skin, (size, size, 1))
    mole, brow = np.hypot(x - 4, y + 3) < 0.25, (np.abs(y - 2) < 0.3) & (np.abs(x) > 1.5) & (np.abs(x) < 4.5)
    atlas[mole] *= 0.3
    atlas[brow] = (0.30, 0.09, 0.02)
    np.testing.assert_allclose(with_contrast(atlas, np.ones(4))[mole], atlas[mole], rtol=0.1)
    np.testing.assert_allclose(with_calm_reds(atlas, skin)[brow], atlas[brow], rtol=0.03)


def test_reds_deeper_than_skin_are_calmed_but_on_lips():
    size = 256
    skin = np.array([0.42, 0.26, 0.18], np.float32)
    atlas = np.tile(skin, (size, size, 1))
    x, y, _ = np.moveaxis(uv_grid(size).carried(face_model().mean_cm.astype(np.float32)), -1, 0)
    fold, lip = (np.abs(x - 4) < 0.2) & (np.abs(y + 3) < 1), (np.abs(x) < 0.6) & (np.abs(y + 7.05) < 0.2)
    blush = (np.abs(x + 4) < 0.5) & (np.abs(y + 3) < 1)
    atlas[fold] = (0.2, 0.06, 0.04)
    atlas[lip] = (0.35, 0.12, 0.1)
    atlas[blush] *= np.array([1.05, 0.97, 0.97], np.float32)
    out = with_calm_reds(atlas, skin)
    red = lambda a, where: float(np.log(a[where][:, 0] / a[where][:, 1]).mean() - np.log(skin[0] / skin[1]))  # noqa: E731
    assert red(atlas, fold) > 0.6 and red(out, fold) < 0.35
    np.testing.assert_allclose(out[fold] @ LUMA, atlas[fold] @ LUMA, rtol=0.02)
    np.testing.assert_allclose(out[lip], atlas[lip], rtol=0.02)
    np.testing.assert_allclose(out[blush], atlas[blush], rtol=0.02)


def test_a_plates_veil_lies_over_dark_lines_and_leaves_the_skin():
    skin = np.float32([0.5, 0.3, 0.2])
    atlas = np.tile(skin, (64, 64, 1)).astype(np.float32)
    atlas[20:24] = 0.01 * skin
    fog = np.array([0.05, 0.1, 0.12])
    out = with_veil(atlas, skin, PlateSkin(np.ones(4), skin, fog))
    np.testing.assert_allclose(out[:16], atlas[:16], rtol=1e-5)
    np.testing.assert_allclose(out[21] / skin, np.tile(0.01 + 0.99 * fog, (64, 1)), rtol=1e-4)
    assert with_veil(atlas, skin, PlateSkin(np.ones(4), skin, np.zeros(3))) is atlas
    assert with_veil(atlas, skin, None) is atlas
