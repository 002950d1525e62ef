"""What a persona's sources covered, and the advice that follows."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from scenes import persona_of
from synthetic import action_index, person

from digidouble.persona.coverage import coverage, moments, teeth_share
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import KeyLight


@pytest.fixture(scope="module")
def frontal():
    return persona_of(person(5), "front", yaws=(0.0,), atlas_px=128)


def with_moments(persona, *moments_: tuple[tuple[float, float], dict[str, float]], teeth: bool = False):
    """A persona whose keys are these views and actions; the fused key keeps its own."""
    keys = [persona.keys[0]]
    for view, actions in moments_:
        coefficients = np.zeros(len(face_model().action_names), np.float32)
        for name, value in actions.items():
            coefficients[action_index(name)] = value
        albedo = np.ascontiguousarray(persona.keys[0].albedo, np.float32).copy()
        if teeth:
            loop = face_model().uv[face_model().loops["inner_lips"]] * albedo.shape[0]
            cv2.fillPoly(albedo, [np.round(loop).astype(np.int32)], (0.5, 0.47, 0.42))
        keys.append(
            dataclasses.replace(keys[0], view_deg=np.array(view), actions=coefficients, albedo=albedo, face_px=300.0)
        )
    return dataclasses.replace(persona, keys=tuple(keys))


def says(persona, words: str) -> bool:
    return any(words in text for text in coverage(persona).advice)


def test_frontal_only_asks_for_turns(frontal):
    assert moments(frontal) == (0,)
    for words in ("turn left", "turn right", "look up", "look down", "come closer"):
        assert says(frontal, words), words
    assert not says(frontal, "straight into the camera")


def test_sides_are_the_subjects(frontal):
    left = with_moments(frontal, ((0.0, 0.0), {}), ((30.0, 0.0), {}))
    assert not says(left, "turn left") and says(left, "turn right")
    right = with_moments(frontal, ((-30.0, 14.0), {}), ((-25.0, -14.0), {}))
    assert says(right, "turn left") and not says(right, "turn right")
    assert not says(right, "look up") and not says(right, "look down") and says(right, "straight into the camera")
    assert not says(right, "come closer")


@pytest.mark.parametrize(
    ("expression", "actions", "words"),
    [
        ("smile", {"lip_corner_pull_L": 0.8, "lip_corner_pull_R": 0.8}, "smile with the lips closed"),
        ("mouth open", {"jaw_drop": 0.7}, "open the mouth"),
        ("eyes closed", {"lid_close_L": 0.9, "lid_close_R": 0.9}, "close the eyes"),
        ("brows up", {"inner_brow_raise_L": 0.6, "inner_brow_raise_R": 0.6, "outer_brow_raise_L": 0.6, "outer_brow_raise_R": 0.6}, "raise the brows"),
        ("frown", {"brow_draw_L": 0.7, "brow_draw_R": 0.7}, "frown"),
        ("frown", {"inner_brow_raise_L": -0.7, "inner_brow_raise_R": -0.7}, "frown"),
    ],
)  # fmt: skip
def test_an_expression_seen_is_not_asked_for(frontal, expression, actions, words):
    without, given = (
        with_moments(frontal, ((0.0, 0.0), {})),
        with_moments(frontal, ((0.0, 0.0), {}), ((0.0, 0.0), actions)),
    )
    assert not coverage(without).seen(expression)
    assert coverage(given).seen(expression) and not says(given, words)
    if expression != "smile":  # "smile with teeth" asks for both at once
        assert says(without, words)


def test_one_eye_is_no_closed_eyes(frontal):
    assert not coverage(with_moments(frontal, ((0.0, 0.0), {"lid_close_L": 1.0}))).seen("eyes closed")


def test_teeth_have_to_be_seen(frontal):
    grin = {"lips_part": 0.8, "lip_corner_pull_L": 0.8, "lip_corner_pull_R": 0.8}
    dark, bright = (with_moments(frontal, ((0.0, 0.0), grin), teeth=t) for t in (False, True))
    assert teeth_share(dark.keys[1]) < 0.1 and says(dark, "smile with teeth")
    assert coverage(bright).seen("teeth") and not says(bright, "teeth")


def test_nothing_missing_and_the_record(frontal):
    whole = with_moments(
        frontal, ((0.0, 0.0), {"lips_part": 1, "jaw_drop": 1, "lip_corner_pull_L": 1, "lip_corner_pull_R": 1}),
        ((30.0, 15.0), {"lid_close_L": 1, "lid_close_R": 1}), ((-30.0, -15.0), {"brow_draw_L": 1, "brow_draw_R": 1}),
        ((0.0, 0.0), {f"{p}_brow_raise_{s}": 1 for p in ("inner", "outer") for s in "LR"}), teeth=True,
    )  # fmt: skip
    found = coverage(whole)
    assert found.advice == ()
    record = json.loads(json.dumps(found.to_record()))
    assert set(record) == {"views", "expressions", "lights", "advice"}
    assert [v["key"] for v in record["views"]] == [1, 2, 3, 4] and record["views"][1]["yaw_deg"] == 30.0
    assert all(e["seen"] for e in record["expressions"].values())
    with pytest.raises(KeyError):
        found.seen("sneeze")


def lit(persona, *lights: KeyLight | None):
    keys = [dataclasses.replace(persona.keys[0], light=k) for k in lights]
    return dataclasses.replace(persona, keys=(persona.keys[0], *keys))


def test_light_is_asked_for_when_it_is_known(frontal):
    side, lamp, even = (
        KeyLight((0.8, 0.1), (0.5, -0.3), 0),
        KeyLight((0.1, 0.0), (0.95, -0.8), 1),
        KeyLight((0.1, 0.1), (0.5, -0.3), 2),
    )
    assert says(lit(frontal, side), "soft light (all are lit from right)") and not says(lit(frontal, side), "daylight")
    assert says(lit(frontal, lamp), "daylight") and not says(lit(frontal, lamp), "soft light")
    assert not says(lit(frontal, side, even), "light") and coverage(lit(frontal, side, even, even)).lights == 2
    assert says(lit(frontal, KeyLight((0.0, 0.0), (0.0, 0.0), 0)), "in colour")
    views = coverage(lit(frontal, side, lamp)).to_record()["views"]
    assert [v["light"]["from"] for v in views] == ["right", "soft, warm"]


def test_nothing_is_said_about_a_light_that_was_not_kept(frontal):
    assert (
        not says(lit(frontal, None), "light") and coverage(lit(frontal, None)).to_record()["views"][0]["light"] is None
    )


def test_the_panel_draws_the_light_of_every_look(frontal):
    from digidouble.app.coverage_panel import coverage_panel

    side, other = KeyLight((0.9, 0.0), (0.5, -0.3), 0), KeyLight((-0.9, 0.0), (0.5, -0.3), 1)
    pictures = [coverage_panel(p, coverage(p), 1100).astype(int) for p in (lit(frontal, side), lit(frontal, other))]
    middle = 12 + 520 // 2
    right, left = (
        np.abs(pictures[0] - pictures[1]).sum(-1)[150:200, x]
        for x in (slice(middle + 8, middle + 24), slice(middle - 24, middle - 8))
    )
    assert (right > 60).sum() > 20 and (left > 60).sum() > 20
