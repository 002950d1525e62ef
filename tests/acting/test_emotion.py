"""Every emotion does to the face what its action units say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from digidouble.acting import EMOTIONS, RECIPES, face_of, recipe
from digidouble.acting.emotion import columns
from digidouble.errors import SettingsError
from digidouble.perception.lids import lid_gaps
from digidouble.schema.mesh import face_model

M = face_model()
CORNERS, BROWS_INNER, CHEEKS = [61, 291], [55, 107, 285, 336], [50, 280, 117, 346]


def shape(name):
    return M.mean_cm + np.tensordot(face_of(name), M.action_fields_cm, 1)


def lift(name, points):
    return float((shape(name) - M.mean_cm)[points, 1].mean())


def test_ten_emotions_with_sources_and_known_actions():
    assert set(EMOTIONS) == {
        "neutral", "joy", "laughter", "sadness", "crying", "anger", "fear", "surprise", "disgust", "contempt",
    }  # fmt: skip
    for name in EMOTIONS:
        assert recipe(name).source and recipe(name).units
        assert set(RECIPES[name].actions) <= set(columns())
        assert max(map(abs, recipe(name).actions.values()), default=0) <= 1.4  # not far beyond what real clips show
    assert not face_of("neutral").any()
    with pytest.raises(SettingsError, match=r"rage.*joy"):
        recipe("rage")


def test_columns_of_sides_cover_the_basis_once():
    single = [k for name, ks in columns().items() if len(ks) == 1 for k in ks]
    assert sorted(single) == list(range(len(M.action_names)))
    left = columns()["cheek_raise_AU6_L"][0]
    assert "cheek_raise_L" in M.action_names[left]


def test_the_left_half_goes_further_and_lids_go_together():
    """Sackeim, Gur & Saucy 1978; and Hering's law."""
    for name in set(EMOTIONS) - {"neutral", "contempt"}:
        moved = np.linalg.norm(np.tensordot(face_of(name), M.action_fields_cm, 1), axis=1)
        brows = moved[[300, 293, 334, 296, 336]].mean() - moved[[70, 63, 105, 66, 107]].mean()
        corners = moved[[291, 306]].mean() - moved[[61, 76]].mean()
        assert 0.02 < max(brows, corners) < 0.5, name
        for lids in ("lid_close_AU43", "lid_tighten_AU7"):
            left, right = face_of(name)[list(columns()[lids])]
            assert left == right == recipe(name).actions.get(lids, 0.0)
    for name in ("joy", "sadness", "surprise", "anger"):
        for action, value in recipe(name).actions.items():
            assert face_of(name)[list(columns()[action])].mean() == pytest.approx(value)
    left, _ = columns()["lip_corner_pull_AU12"]  # the first of two is the left one: it moves the left corner
    assert np.abs(M.action_fields_cm[left, 291]).sum() > 2 * np.abs(M.action_fields_cm[left, 61]).sum()


def test_joy_raises_corners_and_cheeks_and_narrows_the_eyes():
    assert lift("joy", CORNERS) > 0.35
    assert lift("joy", CHEEKS) > 0.1
    assert lid_gaps(shape("joy")).mean() < 0.97 * lid_gaps(M.mean_cm.astype(float)).mean()
    assert lift("laughter", CHEEKS) > lift("joy", CHEEKS)


def width(name):
    return float(shape(name)[291, 0] - shape(name)[61, 0])


def opening(name):
    return float(shape(name)[13, 1] - shape(name)[14, 1])


def test_sadness_and_crying_lower_corners_and_slant_brows():
    for name in ("sadness", "crying"):
        inner = lift(name, BROWS_INNER) - lift(name, [70, 300])
        assert lift(name, CORNERS) < lift(name, [0]) - 0.2 and inner > 0.15  # below the middle of the upper lip
        assert face_of(name)[columns()["brow_draw_AU4_L"][0]] > 0.5


def test_crying_is_no_sadness():
    """Eyes squeezed, cheeks up, the mouth open and drawn wide: what tells the two apart."""
    rest = lid_gaps(M.mean_cm.astype(float)).mean()
    assert lid_gaps(shape("crying")).mean() < 0.6 * rest < 0.85 * rest < lid_gaps(shape("sadness")).mean()
    assert lift("crying", CHEEKS) > lift("sadness", CHEEKS) + 0.2
    assert width("crying") > width("sadness") + 0.8
    assert opening("crying") > 0.5 > 0.2 > opening("sadness")


def test_laughter_is_apart_from_joy_by_jaw_and_brows():
    assert lift("laughter", [152]) < lift("joy", [152]) - 1.0
    assert lift("laughter", BROWS_INNER) > lift("joy", BROWS_INNER) + 0.3


def test_fear_is_apart_from_surprise_by_brows_mouth_and_jaw():
    apart = lambda name: float(shape(name)[285, 0] - shape(name)[55, 0])  # noqa: E731
    assert apart("fear") < apart("surprise") - 0.1
    assert width("fear") > width("surprise") + 0.8
    assert lift("surprise", [152]) < lift("fear", [152]) - 0.5


def test_disgust_is_apart_from_anger_by_lip_and_brows():
    assert lift("disgust", [0]) > lift("anger", [0]) + 0.2
    assert opening("disgust") > 0.3 > 0.1 > opening("anger")
    assert lift("anger", BROWS_INNER) < lift("disgust", BROWS_INNER) - 0.5


def test_brows_go_no_further_than_foreheads_do():
    """Further up than 0.7 cm and a face looks painted; people who frighten or grieve go 0.3 to 0.6 (docs/speak.md)."""
    assert max(lift(name, BROWS_INNER) for name in EMOTIONS) < 0.7


def test_fear_and_surprise_open_the_eyes_anger_lowers_the_brows_contempt_has_one_side():
    rest = lid_gaps(M.mean_cm.astype(float)).mean()
    assert lid_gaps(shape("surprise")).mean() > 1.1 * rest
    assert lid_gaps(shape("fear")).mean() > 1.05 * rest
    assert lift("anger", BROWS_INNER) < -0.2
    assert lift("contempt", [291]) > lift("contempt", [61]) + 0.3  # 291 is the subject's left


def test_recipes_name_the_units_that_they_use():
    """No more and no fewer: what moves, by the names of the muscle actions, is what is written for people."""
    names = face_model().action_names
    for emotion in EMOTIONS:
        moved = [names[k].split("/")[int(c < 0)] for k, c in enumerate(face_of(emotion)) if c]
        used = {int(m[1]) for n in moved if (m := re.search(r"_A[UD](\d+)", n))}
        said = recipe(emotion)
        theirs, ours = ({int(n) for n in re.findall(r"\d+", text)} for text in (said.units, said.ours))
        replaced = {14} if emotion == "contempt" else set()
        assert theirs | ours == used | replaced and not theirs & ours, emotion
        assert all(said.actions.values()), emotion
