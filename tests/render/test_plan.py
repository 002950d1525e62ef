"""Key choice over a shot: hysteresis, fades, bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from digidouble.performance import load_performance
from digidouble.render.plan import FADE_FRAMES, HOLD_FRAMES, choose_keys, plan_cast
from digidouble.schema.mesh import face_model

A = len(face_model().action_names)


@pytest.fixture(scope="module")
def views(persona_b):
    """The fused key and one key each at -30, 0 and 30 degrees of yaw."""
    base = persona_b.keys[0]
    keys = [
        base,
        *(replace(base, view_deg=np.array([y, 0], np.float32), actions=np.zeros(A, np.float32)) for y in (-30, 0, 30)),
    ]
    return replace(persona_b, keys=tuple(keys))


def chosen(yaw, persona, actions=None):
    n = len(yaw)
    view = np.stack([yaw, np.zeros(n)], -1)
    return choose_keys(np.zeros((n, A)) if actions is None else actions, view, persona)


def shown(a, b, mix) -> np.ndarray:
    """Share of each key in each frame."""
    out = np.zeros((len(a), max(a.max(), b.max()) + 1))
    np.add.at(out, (np.arange(len(a)), a), 1 - mix)
    np.add.at(out, (np.arange(len(a)), b), mix)
    return out


def check(a, b, mix) -> None:
    assert ((mix >= 0) & (mix <= 1)).all()
    share = shown(a, b, mix)
    np.testing.assert_allclose(share.sum(1), 1, atol=1e-6)
    assert np.abs(np.diff(share, axis=0)).max() <= 1.6 / FADE_FRAMES + 0.05, np.abs(
        np.diff(share, axis=0)
    ).max()  # never pops


def test_nearest_view_is_used(views):
    a, b, mix = chosen(np.repeat([-28.0, 2.0, 33.0], 30), views)
    check(a, b, mix)
    assert (a[[5, 45, 85]] == [1, 2, 3]).all() and (mix[[5, 45, 85]] == 0).all()


def test_a_slow_turn_changes_once_and_fades_monotonously(views):
    a, b, mix = chosen(np.linspace(0, 30, 90), views)
    check(a, b, mix)
    share = shown(a, b, mix)[:, 3]
    assert share[0] == 0 and share[-1] == 1 and (np.diff(share) >= -1e-6).all()


def test_wavering_at_the_border_does_not_flicker(views):
    yaw = 15 + 1.5 * np.sin(np.arange(120) * 1.3)
    a, b, mix = chosen(yaw, views)
    check(a, b, mix)
    assert len(np.unique(np.where(mix > 0.5, b, a))) == 1


@pytest.mark.parametrize("period", [3, 5, 8, 14])
@pytest.mark.parametrize("seed", [0, 1])
def test_shaking_head_never_pops(views, period, seed):
    t = np.arange(150)
    yaw = 32 * np.sign(np.sin(2 * np.pi * t / period + seed)) + np.random.default_rng(seed).normal(0, 3, 150)
    a, b, mix = chosen(yaw, views)
    dominant = np.where(mix > 0.5, b, a)
    changes = np.flatnonzero(np.diff(dominant))
    assert len(changes) < 2 or np.diff(changes).min() >= HOLD_FRAMES - 1
    check(a, b, mix)


def test_expression_counts(views):
    smile = views.keys[2].actions.copy()
    smile[11:13] = 1.0
    persona = replace(views, keys=(*views.keys, replace(views.keys[2], actions=smile)))
    actions = np.zeros((60, A))
    actions[30:, 11:13] = 0.9
    a, _, _ = chosen(np.zeros(60), persona, actions)
    assert a[10] == 2 and a[50] == 4


def test_sharp_sources_are_preferred(views):
    soft = replace(views.keys[2], face_px=views.keys[2].face_px / 8)
    persona = replace(views, keys=(views.keys[0], soft, views.keys[2]))
    a, _, _ = chosen(np.zeros(5), persona)
    assert (a == 2).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_keys_are_trivial(views, count):
    a, b, mix = chosen(np.linspace(-40, 40, 30), replace(views, keys=views.keys[:count]))
    assert (mix == 0).all() and (a == b).all() and len(set(a)) == 1


def test_one_frame_and_none(views):
    for n in (0, 1, 2):
        a, b, mix = chosen(np.zeros(n), views)
        assert len(a) == len(b) == len(mix) == n


def test_on_the_persons_own_plate_the_face_keeps_its_shape(persona_b, talk_perf):
    """Proportions are carried to somebody else in full, to the person's own footage not at all, and turn into each other."""
    track = load_performance(talk_perf).track("main")
    wide = replace(persona_b, neutral_cm=(track.neutral_cm * [1.04, 1, 1]).astype(np.float32))
    here, away = (np.eye(len(track.identity))[k].astype(np.float32) for k in (0, 1))

    def largest(likeness: float) -> float:
        mixed = likeness * here + np.sqrt(1 - likeness**2) * away
        plan = plan_cast(replace(track, identity=here), replace(wide, identity=mixed.astype(np.float32)))
        return float(np.linalg.norm(plan.offset_cm, axis=1).max())

    stranger = largest(0.0)
    assert stranger > 0.2 and largest(0.39) == pytest.approx(stranger)
    assert largest(0.5) == pytest.approx(stranger / 2, rel=0.02)
    assert largest(0.61) == largest(1.0) == 0
