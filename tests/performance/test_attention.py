"""Attention: three fifths for a lead who talks in the middle, shares that sum to one, change slowly and know no names."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from digidouble.performance.attention import attention, speech, with_attention
from digidouble.render.budget import LEAST_DETAIL, details, keys_for, ranks
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.mesh import face_model
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate
from digidouble.schema.track import FaceTrack

W, H, N = 1280, 720, 150
SHOT = Shot(
    "x.mov", "movie", (W, H), FrameRate(Fraction(25)), N, PixelLayout("yuv420p", "yuv", 8, (1, 1)), ColourTags(1, 1, 1)
)

WHOLE = FrameRange(0, N)


class NoSamples:
    def sample(self, track_id, index):
        raise NotImplementedError


def track(
    track_id: int,
    x: float = 0.5,
    scale: float = 10.0,
    talks: bool = False,
    frames=WHOLE,
    seed: int = 0,
    **more,
) -> FaceTrack:
    """A face at `x` of the width, `scale` pixels a centimetre; a talker's jaw opens three times a second."""
    n = len(frames)
    rng = np.random.default_rng([seed, track_id])
    actions = 0.01 * rng.normal(size=(n, len(face_model().action_names)))
    if talks:
        actions[:, 0] += 0.25 + 0.25 * np.sin(2 * np.pi * 3 * np.arange(n) / 25)
    sizes = np.full(n, scale) * np.exp(0.02 * rng.normal(size=n))
    facts = {
        "presence": np.ones(n), "visibility": np.ones((n, 5)), "rotation": np.tile(np.eye(3), (n, 1, 1)), "px_per_cm": sizes,
        "origin_px": np.tile([x * W, 0.45 * H, 0.0], (n, 1)), "actions": actions, "gaze_deg": np.zeros((n, 2)), "light_sh": np.zeros((n, 9, 3)),
        "motion_px": np.zeros((n, 2)),
        "sharpness": np.full(n, 0.3), "grain": np.zeros(n), "score": np.ones(n),
    }  # fmt: skip
    fixed = {
        "neutral_cm": np.zeros((478, 3)),
        "iris_linear": np.zeros(3),
        "veil": np.zeros(3),
        "worn": np.zeros((160, 160), np.uint8),
        "identity": np.ones(1),
        "weight": 1.0,
        "store": NoSamples(),
    }
    return FaceTrack(track_id=track_id, frames=frames, **(facts | fixed | more))


def lead_and_supports() -> list[FaceTrack]:
    """A lead in the middle, talking, 15 % nearer than two silent supports at a fifth and four fifths of the width."""
    return [track(1, 0.2), track(2, 0.5, 11.5, talks=True), track(3, 0.8)]


def test_a_lead_with_two_supports_gets_three_fifths():
    ranked = with_attention(lead_and_supports(), SHOT)
    weights = {t.track_id: t.weight for t in ranked}
    assert ranked[0].track_id == 2 and sum(weights.values()) == pytest.approx(1)
    assert 0.55 <= weights[2] <= 0.65 and 0.17 <= weights[1] <= 0.23 and 0.17 <= weights[3] <= 0.23


def test_names_and_order_do_not_matter_and_one_face_has_it_all():
    tracks = lead_and_supports()
    there = attention(tracks, SHOT)
    back = attention(tracks[::-1], SHOT)[::-1]
    for a, b in zip(there, back, strict=True):
        assert np.allclose(a, b, atol=1e-6)
    (alone,) = with_attention([tracks[0]], SHOT)
    assert alone.weight == 1 and (alone.attention == 1).all()
    assert with_attention([], SHOT) == ()


@pytest.mark.parametrize(
    "better",
    [{"scale": 13.0}, {"talks": True}, {"x": 0.5}, {"sharpness": np.full(N, 0.6)}],
    ids=["larger", "talks", "central", "in focus"],
)
def test_everything_that_should_draw_the_eye_does(better):
    usual, other = track(1, 0.2), track(2, 0.8)
    assert attention([usual, other], SHOT)[0].mean() == pytest.approx(0.5, abs=0.02)
    favoured = track(1, **({"x": 0.2} | better))
    assert attention([favoured, other], SHOT)[0].mean() > 0.54


def test_a_newcomer_starts_with_less_and_shares_sum_to_one_without_jumps():
    new = track(2, 0.7, frames=FrameRange(60, N), presence=np.clip(np.arange(N - 60) / 6, 0, 1))
    old, fresh = attention([track(1, 0.3), new], SHOT)
    assert (old[:60] == 1).all() and np.allclose(old[60:] + fresh, 1, atol=1e-5)
    assert np.abs(np.diff(old)).max() < 0.13 and np.abs(np.diff(fresh)).max() < 0.13
    assert 0.2 < fresh[20] < fresh[-1] < 0.5


def test_who_talks_has_it_while_talking_and_a_cut_is_not_smoothed_over():
    first = track(1, 0.35, talks=True)
    quiet = first.actions.copy()
    quiet[75:, 0] = 0.25
    second = track(2, 0.65, talks=True)
    mute = second.actions.copy()
    mute[:75, 0] = 0.25
    tracks = [replace(first, actions=quiet), replace(second, actions=mute)]
    a, _ = attention(tracks, SHOT)
    assert a[20] > 0.6 and a[130] < 0.4 and np.abs(np.diff(a)).max() < 0.03
    sizes = np.where(np.arange(N) < 75, 10.0, 20.0)
    cut = replace(SHOT, cuts=(75,))
    b = attention([track(1, 0.35, px_per_cm=sizes), track(2, 0.65)], cut)[0]
    assert b[75] - b[74] > 0.15 and abs(b[74] - b[40]) < 0.03


def test_speech_is_movement_not_an_open_mouth():
    still = track(1)
    gaping = still.actions.copy()
    gaping[:, 0] += 0.8
    assert (
        speech(replace(still, actions=gaping), 25.0).max()
        < 0.4
        < 0.9
        < speech(track(1, talks=True), 25.0)[20:-20].min()
    )


def test_detail_follows_attention_and_a_single_cast_has_all_of_it():
    ranked = {t.track_id: t for t in with_attention(lead_and_supports(), SHOT)}
    one, lead, three = details([ranked[1], ranked[2], ranked[3]])
    assert (
        lead == 1
        and one == pytest.approx(np.sqrt(ranked[1].weight / ranked[2].weight), abs=0.06)
        and LEAST_DETAIL <= three < 0.7
    )
    assert details([ranked[1]]) == [1.0]
    assert [keys_for(n, 0.58) for n in (1, 2, 6, 12)] == [1, 2, 2, 4] and keys_for(12, 1.0) == 12


def test_front_to_back_by_size_without_flips():
    t = np.arange(N)
    rng = np.random.default_rng(4)
    near = 10 * np.exp(0.03 * rng.normal(size=N))
    passing = 10 * np.exp(np.linspace(-0.3, 0.3, N) + 0.03 * rng.normal(size=N))
    steady, mover = ranks([track(1, px_per_cm=near), track(2, px_per_cm=passing)])
    assert (steady + mover == 1).all()
    assert (
        np.count_nonzero(np.diff(mover)) == 1 and mover[0] == 0 and mover[-1] == 1
    )  # once, although sizes cross many times
    assert np.count_nonzero(np.diff((passing > near).astype(int))) > 1
    apart = ranks([track(1), track(2, frames=FrameRange(N, N + 5))])
    assert not apart[0].any() and not apart[1].any()
    three = ranks([track(1, scale=8), track(2, scale=10), track(3, scale=12)])
    assert [int(r[t[70]]) for r in three] == [0, 1, 2]
