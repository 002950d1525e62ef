"""Creases on a synthetic face: painted into the skin of known frames, found again, and nothing found where nothing is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scenes import persona_of, talking_shot
from synthetic import SyntheticShot, TruthPerceiver, bump, person, shoot, still

from digidouble.perception.uvgrid import uv_grid
from digidouble.performance import analyse, load_performance
from digidouble.performance.worn import worn_of
from digidouble.performance.wrinkles import LUMA_SIDE, MARGIN, Look, Rest, gate, smoothest
from digidouble.pipeline import prepare, render_frame
from digidouble.render import LookSettings
from digidouble.render.tone import _skin_mask, with_creases_of
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.track import WRINKLE_GRID, WRINKLE_POWER, WRINKLE_RANGE, wrinkle_log, wrinkle_steps

SIZE = (280, 300)
PLACE = (140.0, 110.0)
DEPTH = 0.35  # natural log
FRAMES = 36
CREASED = slice(16, 28)


def crow_feet(size: int) -> np.ndarray:
    """0..1 in UV: three short dark lines fanning out from each outer eye corner."""
    out = np.zeros((size, size), np.float32)
    for corner, side in ((33, -1), (263, 1)):
        u, v = face_model().uv[corner] * size
        for rise in (-0.05, 0.0, 0.05):
            start = (int(u + side * 0.055 * size), int(v + 0.6 * rise * size))
            end = (int(u + side * 0.12 * size), int(v + 1.6 * rise * size))
            cv2.line(out, start, end, 1.0, max(1, size // 90), cv2.LINE_AA)
    return out


@pytest.fixture(scope="module")
def squint() -> SyntheticShot:
    """A face that squints in the middle of a shot, once with and once without creases painted on it."""
    who = person(5)
    moved = {"cheek_raise_L": 0.5 * bump(FRAMES, 22, 16), "lip_corner_pull_L": 0.5 * bump(FRAMES, 22, 16)}
    plain = still(who, FRAMES, PLACE, 13.0, actions=moved)
    creases = np.exp(-DEPTH * crow_feet(len(who.albedo)))[..., None]
    lined = replace(who, albedo=(who.albedo * creases).astype(np.float32))
    a = shoot([plain], SIZE, grain=0.006)
    b = shoot([replace(plain, who=lined)], SIZE, grain=0.006)
    frames = tuple(b.frames[i] if CREASED.start <= i < CREASED.stop else a.frames[i] for i in range(FRAMES))
    return replace(a, frames=frames)


@pytest.fixture(scope="module")
def analysed(squint, tmp_path_factory):
    out = tmp_path_factory.mktemp("squint") / "squint.perf"
    return load_performance(analyse(squint.footage(), out, perceiver=TruthPerceiver(squint, 0.35)))


def gains(performance, i: int) -> np.ndarray:
    return wrinkle_log(performance.tracks[0].sample(i).wrinkles).astype(np.float64)


def test_creases_are_found_where_and_when_they_are(analysed):
    lines = crow_feet(WRINKLE_GRID) * (gate() > 0.9)
    on, off = lines > 0.6, uv_grid(WRINKLE_GRID).skin & (cv2.dilate(lines, np.ones((9, 9))) == 0)
    assert on.sum() > 20
    depth = np.array([-gains(analysed, i)[on].mean() for i in range(FRAMES)])
    truth = np.zeros(FRAMES)
    truth[CREASED] = DEPTH
    # A grid texel is wider than a line and the band is limited: two fifths of the depth is what such a grid can hold.
    assert depth[CREASED][2:-2].min() > 0.35 * DEPTH and depth[CREASED].max() < 1.1 * DEPTH
    assert np.corrcoef(depth, truth)[0, 1] > 0.9
    assert np.abs(depth[:12]).max() < 0.02 and np.abs(depth[32:]).max() < 0.02
    middle = np.abs(gains(analysed, 22))
    assert middle[off].mean() < 0.05 * middle[on].mean()


def test_nothing_where_the_plate_has_nothing(tmp_path):
    """A turning, talking head with a mottled skin and a tracker that errs by half a pixel: no creases."""
    shot = talking_shot(grain=0.008)
    performance = load_performance(analyse(shot.footage(), tmp_path / "t.perf", perceiver=TruthPerceiver(shot, 0.5)))
    found = np.abs([gains(performance, i) for i in range(len(shot))])
    assert found.mean() < 0.004
    assert np.quantile(found, 0.999) < 0.15


def test_a_double_creases_with_the_plate(analysed, squint):
    """Luminance on the creases with over without, and nothing changes where there are none."""
    who = persona_of(person(8), "b")
    with_, without = (prepare(analysed, {"main": who}, LookSettings(wrinkles=k)) for k in (1.0, 0.0))
    place = Roi(0, 0, *SIZE)
    change = []
    for i in (4, 22):
        frame = squint.frames[i]
        a, b = (linear_from_frame(render_frame(c, frame)[0], place).mean(-1) for c in (with_, without))
        change.append(np.log((a + 1e-3) / (b + 1e-3)))
    assert np.abs(change[0]).max() < 0.06
    assert change[1].min() < -0.3 * DEPTH
    # On the cheeks and the forehead, where no line was painted, nothing happens.
    points = squint.points_px[22, 0]
    for at in (205, 425, 151):
        x, y = np.round(points[at, :2]).astype(int)
        assert np.abs(change[1][y - 4 : y + 5, x - 4 : x + 5]).max() < 0.04


def texel_places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A face, and where the texels of the crease grid lie in its luma crop."""
    face = still(person(5), 1, (96.0, 80.0), 11.0).points_px(0).astype(np.float32)
    at = uv_grid(WRINKLE_GRID).carried(face)
    span = float(np.ptp(face[:, :2], axis=0).max()) * MARGIN / LUMA_SIDE
    low = (face[:, :2].min(0) + face[:, :2].max(0)) / 2 - span * (LUMA_SIDE - 1) / 2
    return face, (at[..., 0] - low[0]) / span, (at[..., 1] - low[1]) / span


def test_a_face_that_never_rests_has_shallow_folds_for_shallow_ones():
    """Folds between a half and the whole of their depth, never less, beside a line that is always there: the folds are drawn as deep as
    they are, also when they are shallowest, the line never."""
    rng = np.random.default_rng(4)
    face, x, y = texel_places()
    light, everywhere = np.zeros((9, 3)), np.ones((WRINKLE_GRID, WRINKLE_GRID))
    light[0] = 1
    depths = 0.75 - 0.25 * np.cos(2 * np.pi * np.arange(40) / 20)

    def line(at: int, depth: float) -> np.ndarray:
        page = np.zeros((LUMA_SIDE, LUMA_SIDE), np.float32)
        cv2.line(page, (at, 95), (at, 135), 1.0, 3, cv2.LINE_AA)
        return depth * cv2.GaussianBlur(page, (0, 0), 1.0)

    def look(depth: float) -> Look:
        luma = 150 * np.exp(-0.25 * (line(55, depth) + line(135, 0.7)))
        return Look(
            np.clip(luma + rng.normal(0, 0.7, luma.shape), 0, 255).astype(np.uint8), face, face, light, everywhere
        )

    def where(at: int) -> np.ndarray:
        on = (np.abs(x - at) < 1.5) & (np.abs(y - 115) < 15) & (gate() > 0.9)
        assert on.sum() > 8
        return on

    looks = [look(d) for d in depths]
    rest = Rest.of(looks)
    changes = np.stack([rest.change(k) for k in looks])
    kept = [rest.ratio(changes[np.clip(np.arange(i - 2, i + 3), 0, 39)], everywhere) for i in range(40)]
    gain = wrinkle_log(np.stack(kept))
    drawn = gain[:, where(55)].mean(1)
    assert np.corrcoef(drawn, depths)[0, 1] < -0.98  # deeper is darker
    assert 0.35 < drawn[depths < 0.52].mean() / drawn[depths > 0.98].mean() < 0.6
    assert np.abs(gain[:, where(135)]).max() < 0.03
    # With the smoothest frames for rest as they are, the shallow folds are nothing.
    bands = np.stack([k.band() for k in looks])
    smooth, _ = smoothest(bands, np.ones_like(bands))
    taken = replace(rest, band=(bands * smooth).sum(0) / smooth.sum(0))
    changes = np.stack([taken.change(k) for k in looks])
    shallow = int(depths.argmin())
    assert np.abs(wrinkle_log(taken.ratio(changes[[shallow] * 5], everywhere))[where(55)].mean()) < 0.02


def test_a_fold_that_slides_is_drawn_once():
    """At rest a shallow fold lies at one place, deeper it lies beside it: the first place is skin then, not a bright line."""
    face, x, y = texel_places()
    light, everywhere = np.zeros((9, 3)), np.ones((WRINKLE_GRID, WRINKLE_GRID))
    light[0] = 1

    def look(at: int, depth: float) -> Look:
        page = np.zeros((LUMA_SIDE, LUMA_SIDE), np.float32)
        cv2.line(page, (at, 95), (at, 135), 1.0, 3, cv2.LINE_AA)
        luma = 150 * np.exp(-0.25 * depth * cv2.GaussianBlur(page, (0, 0), 1.0))
        return Look(luma.astype(np.uint8), face, face, light, everywhere)

    looks = [look(52, 0.4)] * 20 + [look(58, 1.0)] * 20
    rest = Rest.of(looks)
    gain = wrinkle_log(rest.ratio(np.stack([rest.change(looks[-1])] * 5), everywhere))
    beside = (np.abs(y - 115) < 12) & (gate() > 0.9)
    now, before = (beside & (np.abs(x - at) < 1) for at in (58, 52))
    assert gain[now].mean() < -0.1
    # Against what was there at rest, the first place is as bright a line as that fold was dark. The band's own ridge beside a line
    # is what is left.
    ridge = looks[-1].band()
    assert gain[before].mean() < 1.1 * ridge[before].mean() < 0.6 * (ridge - looks[0].band())[before].mean()


def test_kept_creases_have_fine_steps_where_they_are_shallow():
    log_gain = np.concatenate([-np.geomspace(WRINKLE_RANGE, 1e-3, 400), [0], np.geomspace(1e-3, WRINKLE_RANGE, 400)])
    found = wrinkle_log(wrinkle_steps(log_gain))
    share = (np.abs(log_gain) / WRINKLE_RANGE) ** (1 / 3)
    assert (np.abs(found - log_gain) <= 0.55 * WRINKLE_POWER * WRINKLE_RANGE / 127 * share + 6e-4).all()
    assert found[400] == 0 and (np.diff(found) >= 0).all()
    assert np.array_equal(wrinkle_steps(np.array([-9.0, 9.0])), [-127, 127])
    every = np.arange(-127, 128).astype(np.int8)
    assert np.array_equal(wrinkle_steps(wrinkle_log(every)), every)


def test_a_key_creases_as_the_fused_atlas_does():
    """Folds of a key are taken out, those of the fused atlas put in; colour, light, pores and features stay the key's."""
    size = 256
    rng = np.random.default_rng(3)
    skin = np.float32([0.4, 0.25, 0.18]) * np.linspace(0.8, 1.2, size, dtype=np.float32)[:, None, None]
    skin = np.repeat(skin, size, 1) * np.exp(0.03 * rng.standard_normal((size, size, 1))).astype(np.float32)
    feet = np.exp(-0.8 * cv2.GaussianBlur(crow_feet(size), (0, 0), 2.0))[..., None]
    plain, creased = skin, skin * feet
    on = (crow_feet(size) > 0.5) & (_skin_mask(size) > 0.95)
    assert on.sum() > 30

    def depth(atlas: np.ndarray) -> float:
        return float(np.mean(-np.log(atlas[on] / plain[on])))

    smoothed = with_creases_of(creased, plain, 1.0)
    assert depth(smoothed) < 0.5 * depth(creased)
    assert depth(with_creases_of(plain, creased, 1.0)) > 0.5 * depth(creased)
    assert depth(creased) > depth(with_creases_of(creased, plain, 0.5)) > depth(smoothed)
    off = cv2.dilate(crow_feet(size), np.ones((25, 25))) == 0
    assert np.abs(np.log(smoothed[off] / plain[off])).max() < 0.02
    assert np.array_equal(with_creases_of(creased, plain, 0.0), creased)


def test_skin_that_was_hidden_at_rest_gets_no_creases():
    """A bar lies over one cheek in every frame that rest is found in: what it hid has nothing to be compared with."""
    rng = np.random.default_rng(4)
    face, x, y = texel_places()
    plain = np.full((LUMA_SIDE, LUMA_SIDE), 140, np.uint8)
    cv2.line(plain, (55, 100), (55, 130), 100, 2, cv2.LINE_AA)  # a line of the skin, which nobody saw at rest
    bar = plain.copy()
    bar[90:140, 30:80] = 30
    behind = (x > 28) & (x < 82) & (y > 88) & (y < 142)
    light = np.zeros((9, 3))
    light[0] = 1
    everywhere = np.ones((WRINKLE_GRID, WRINKLE_GRID))

    def look(luma, visible):
        noisy = np.clip(luma + rng.normal(0, 1, luma.shape), 0, 255).astype(np.uint8)
        return Look(noisy, face, face, light, visible)

    rest = Rest.of([look(bar, everywhere * ~behind) for _ in range(10)])
    changes = np.stack([rest.change(look(plain, everywhere)) for _ in range(5)])
    found = np.abs(wrinkle_log(rest.ratio(changes, everywhere)))
    assert (behind & (gate() > 0.9)).sum() > 100
    assert found[behind].max() < 0.02
    careless = replace(rest, seen=np.ones_like(rest.seen))
    assert np.abs(wrinkle_log(careless.ratio(changes, everywhere))).max() > 0.05


def test_wrinkles_out_of_range_are_refused():
    from digidouble.errors import SettingsError

    with pytest.raises(SettingsError, match="wrinkles"):
        LookSettings(wrinkles=2.5)


def rims(frames: int, share: float, sides=(-1, 1)) -> np.ndarray:
    """Frames in which two rings around the eyes are hidden for a share of the time."""
    place = uv_grid(WRINKLE_GRID).carried(face_model().mean_cm.astype(np.float32))
    ring = np.zeros((WRINKLE_GRID, WRINKLE_GRID))
    for side in sides:
        r = np.hypot(side * place[..., 0] - 2.95, place[..., 1])
        ring[(np.abs(r - 2.0) < 0.35) & uv_grid(WRINKLE_GRID).covered] = 1
    times = np.random.default_rng(1).permutation(frames) < share * frames
    return ring[None] * times[:, None, None]


def test_glasses_are_found_from_all_frames_together():
    facing = np.ones((20, WRINKLE_GRID, WRINKLE_GRID))
    hidden = rims(20, 0.5)
    found = worn_of(hidden, facing)
    assert found[hidden.max(0) > 0].mean() > 235 and found[hidden.max(0) == 0].max() == 0
    assert worn_of(rims(20, 0.05), facing).max() == 0  # a passing thing is not worn
    assert worn_of(rims(20, 1.0, sides=(1,)), facing).max() == 0  # nor is what covers one side
    assert worn_of(np.ones_like(hidden), facing).max() == 0  # nor a mask
