"""Veils over sources: found where nothing in a face is black, taken away, and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scenes import look_at, person
from synthetic import still

from digidouble.perception.veil import BLACK
from digidouble.persona.veil import _darkest, without_veil
from digidouble.schema.colour import LUMA


@pytest.fixture(scope="module")
def clear():
    """A look with pupils as black as pupils are."""
    look = look_at(still(person(7), 1, (100.0, 68.0)))
    found = _darkest(look)
    eyes = np.round(look.points_px[[468, 473], :2]).astype(int)
    linear = look.linear.copy()
    for x, y in eyes:
        linear[y - 2 : y + 3, x - 2 : x + 3] = BLACK * found.skin
    return dataclasses.replace(look, linear=linear, traits=None)


def veiled(look, ratio):
    """Fog of so much of the skin's colour over all of the picture."""
    return dataclasses.replace(look, linear=(look.linear + np.array(ratio) * _darkest(look).skin).astype(np.float32))


def test_a_blue_fog_is_taken_away_and_the_skin_stays(clear):
    fog = veiled(clear, (0.06, 0.11, 0.2))
    out = without_veil([fog])[0]
    before, after = _darkest(fog), _darkest(out)
    assert before.ratio @ LUMA > 0.1 and after.ratio.max() < BLACK + 0.02
    assert before.ratio[2] > 1.5 * before.ratio[0] and np.ptp(after.ratio) < 0.03
    np.testing.assert_allclose(after.skin, before.skin, rtol=0.01)
    # What was half as bright as the skin is so again.
    half = np.abs(clear.linear @ LUMA / (_darkest(clear).skin @ LUMA) - 0.5) < 0.02
    assert half.sum() > 20
    regained = (out.linear @ LUMA)[half].mean() / (fog.linear @ LUMA)[half].mean()
    assert regained < 0.96


def test_a_look_without_fog_keeps_its_bits(clear):
    assert without_veil([clear])[0] is clear
    assert without_veil([veiled(clear, (0.015, 0.015, 0.015))])[0].linear.sum() > 0.995 * clear.linear.sum()


def test_one_black_in_a_light_proves_that_there_is_no_fog(clear):
    """Lids that hide the pupils raise the darkest of a look; another look of the same light shows them."""
    fog = veiled(clear, (0.1, 0.1, 0.1))
    assert without_veil([fog, clear])[0] is fog
    other = dataclasses.replace(fog, light_group=1)
    out = without_veil([other, clear])
    assert out[1] is clear and out[0].linear.mean() < other.linear.mean()


def test_a_mouth_that_is_dark_and_red_makes_no_red_fog(clear):
    """No look shows black, and the darkest of each is of another colour: what is common to them is little."""
    looks = []
    for colour in ((0.22, 0.06, 0.06), (0.06, 0.06, 0.22)):
        eyes = np.round(clear.points_px[[468, 473], :2]).astype(int)
        linear = np.maximum(clear.linear, 0.25 * _darkest(clear).skin).astype(np.float32)
        for x, y in eyes:
            linear[y - 2 : y + 3, x - 2 : x + 3] = np.array(colour) * _darkest(clear).skin
        looks.append(dataclasses.replace(clear, linear=linear))
    out = without_veil(looks)
    assert all(a is b for a, b in zip(out, looks, strict=True))


def test_no_more_than_a_little_is_ever_taken(clear):
    """A face in fog so thick, or a picture of nothing, is not turned into a drawing."""
    thick = veiled(clear, (0.6, 0.6, 0.6))
    ratio = (without_veil([thick])[0].linear @ LUMA + 1e-6) / (thick.linear @ LUMA + 1e-6)
    assert ratio.min() > 0.78
    dark = dataclasses.replace(clear, matte=np.zeros_like(clear.matte))
    assert without_veil([dark])[0] is dark
