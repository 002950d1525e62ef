"""Quality `final`: skin from the radiance field, where a persona has one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import psnr

from digidouble.errors import NoFace, SettingsError
from digidouble.farm import RenderSettings, left_out, prepare_shot
from digidouble.performance import load_performance
from digidouble.persona.exposures import Exposures, expose, face_px_of, side_for, usable_rows
from digidouble.persona.radiance_start import skin_only, start
from digidouble.pipeline import render_frame
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi


@pytest.fixture(scope="module")
def acted(talk, talk_perf):
    """The track of a talking person and the exposures of two frames in three."""
    track = load_performance(talk_perf).track("main")
    rows = usable_rows(track)
    learnt = [r for r in rows if r % 3]
    with talk.footage() as footage:
        return track, expose(footage, track, learnt, side_for(face_px_of(track))), [r for r in rows if r % 3 == 0]


def test_exposures_are_the_skin_under_the_tracks_light(acted):
    """The unrolled skin of different frames agrees once each one's own light is divided out better than before."""
    from digidouble.persona.radiance_start import log_skin

    _, exposures, _ = acted
    logs, weight = log_skin(exposures, 64)
    use = weight.min(0) > 0.6
    lit = logs + np.log(np.maximum(exposures.lit.astype(np.float32), 0.05))
    assert use.sum() > 300
    assert logs[:, use].std(0).mean() < lit[:, use].std(0).mean()


def test_final_draws_the_person_that_was_learnt(acted, talk, talk_perf, persona_b):
    track, exposures, unseen = acted
    performance = load_performance(talk_perf)
    persona = replace(persona_b, radiance=start(skin_only(exposures)))
    scores = {}
    for quality in ("draft", "standard", "final"):
        casts = prepare_shot(performance, {"main": persona}, RenderSettings(quality=quality))
        assert (casts[0].field is not None) == (quality == "final")
        values = []
        for row in unseen[1:6]:
            frame = talk.frames[track.frames.start + row]
            out, layers = render_frame(casts, frame)
            roi = layers[0].roi
            a, b = (linear_from_frame(f, roi) for f in (out, frame))
            values.append(psnr(a, b, layers[0].alpha > 0.9))
        scores[quality] = np.mean(values)
    assert scores["standard"] == scores["draft"]
    assert scores["final"] > scores["draft"] + 1, scores


def test_final_is_the_same_whatever_was_rendered_before(acted, talk, talk_perf, persona_b):
    persona = replace(persona_b, radiance=start(acted[1]))
    casts = prepare_shot(load_performance(talk_perf), {"main": persona}, RenderSettings(quality="final"))
    first = render_frame(casts, talk.frames[8])[0]
    render_frame(casts, talk.frames[20])
    again = render_frame(casts, talk.frames[8])[0]
    whole = Roi(0, 0, *first.size_wh)
    assert np.array_equal(linear_from_frame(first, whole), linear_from_frame(again, whole))


def test_what_is_left_out_is_said(persona_b):
    assert left_out({"main": persona_b}, "draft") == left_out({"main": persona_b}, "standard") == []
    said = " ".join(left_out({"main": persona_b}, "final"))
    assert "no radiance field" in said and "--level radiance" in said and "b" in said
    assert "persona build --detail" in said


def test_refusals(acted, talk):
    with pytest.raises(SettingsError, match="expected one of draft, standard, final"):
        RenderSettings(quality="best")  # type: ignore[arg-type]
    with pytest.raises(NoFace), talk.footage() as footage:
        expose(footage, acted[0], [], 128)
    with pytest.raises(SettingsError):
        Exposures.joined([])


def test_exposures_of_several_sources_keep_their_number(acted):
    both = Exposures.joined([acted[1].chosen([0, 1]), acted[1].chosen([2])])
    assert len(both) == 3 and both.source == (0, 0, 1)
    assert np.array_equal(both.display[2], acted[1].display[2])
