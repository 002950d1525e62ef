"""The specular lobe: a lamp, a gloss and a strength that are known are found again, and nothing is found where nothing shines."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scenes import persona_of, talking_shot
from synthetic import TruthPerceiver, person, still

from digidouble.perception.light import dominant_direction, fit_light, shading
from digidouble.perception.uvgrid import uv_grid
from digidouble.performance import analyse, load_performance
from digidouble.pipeline import prepare
from digidouble.render import draw, gloss, layer_roi, place
from digidouble.render.light import LookSettings, point_gains
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.mesh import camera_normals, face_model
from digidouble.schema.track import SKIN_GRID, WRINKLE_GRID, TrackSample

GRID = uv_grid(SKIN_GRID)
POSES = ((0.0, 0.0), (14.0, 4.0), (-14.0, -4.0), (6.0, -8.0), (-6.0, 8.0))
TONE = np.array([0.42, 0.26, 0.20])


def lamp_sh(key: np.ndarray, ambient: float = 0.5, strength: float = 0.6) -> np.ndarray:
    sh = np.zeros((9, 3))
    sh[0], sh[1:4] = ambient, strength * key[:, None]
    return sh


def albedo() -> np.ndarray:
    """Blotchy skin: what varies from texel to texel is not all highlight."""
    rng = np.random.default_rng(2)
    blotches = cv2.GaussianBlur(rng.standard_normal((SKIN_GRID, SKIN_GRID)).astype(np.float32), (0, 0), 1.0)
    return (TONE * np.exp(0.06 * blotches / blotches.std())[..., None]).astype(np.float32)


def face(yaw: float, pitch: float) -> np.ndarray:
    return still(person(2), 1, (150, 150), 12.0, yaw_deg=np.array([yaw]), pitch_deg=np.array([pitch])).points_px(0)


def scene(lobe: gloss.Lobe, baked: float = 0.0, fitted: bool = True) -> tuple[list[gloss.Missing], np.ndarray]:
    """(what a matt double lacks in every pose, direction of the diffuse light). `baked`: share of the shine its skin brings along."""
    rng, frames, towards = np.random.default_rng(5), [], []
    for yaw, pitch in POSES:
        normals = camera_normals(face(yaw, pitch))
        at = GRID.carried(normals)
        weight = (GRID.skin * np.clip((at[..., 2] - 0.1) / 0.4, 0, 1)).astype(np.float32)
        matt = albedo() * GRID.carried(shading(lamp_sh(lobe.key), normals).astype(np.float32))
        mean = (matt * weight[..., None]).sum((0, 1)) / weight.sum()
        unit = at / np.maximum(np.linalg.norm(at, axis=-1, keepdims=True), 1e-6)
        highlight = lobe.shape(unit)[..., None] * lobe.strength * mean
        skin = (matt + highlight) * np.exp(0.02 * rng.standard_normal(matt.shape))
        use = weight > 0.3
        light = fit_light(skin[use], unit[use], weight[use]) if fitted else lamp_sh(lobe.key)
        towards.append(dominant_direction(light))
        relit = matt / np.maximum(GRID.carried(shading(lamp_sh(lobe.key), normals).astype(np.float32)), 1e-3)
        relit = relit * GRID.carried(shading(light, normals).astype(np.float32)) + baked * highlight
        frames.append(gloss.missing(skin.astype(np.float32), weight, relit.astype(np.float32), unit))
    mean_direction = np.mean(towards, 0)
    return frames, mean_direction / np.linalg.norm(mean_direction)


def unit(*v: float) -> np.ndarray:
    return np.array(v) / np.linalg.norm(v)


@pytest.mark.parametrize("key", [unit(0.1, 0.9, 0.4), unit(-0.7, 0.4, 0.6), unit(0.6, 0.2, 0.75), unit(0.0, 0.3, 0.95)])
@pytest.mark.parametrize("doublings", [3, 4])
def test_lamp_gloss_and_strength_are_found(key, doublings):
    truth = gloss.Lobe(key, doublings, np.full(3, 0.25))
    found = gloss.fit_lobe(*scene(truth))
    assert np.degrees(np.arccos(np.clip(found.key @ key, -1, 1))) < 8
    assert abs(found.doublings - doublings) <= 1
    assert found.strength.mean() == pytest.approx(0.25, rel=0.45)


def test_colour_of_the_highlight_is_the_lamps():
    truth = gloss.Lobe(unit(-0.5, 0.5, 0.7), 4, np.array([0.1, 0.15, 0.25]))
    found = gloss.fit_lobe(*scene(truth)).strength
    assert found[0] < found[1] < found[2] and found[2] / found[0] == pytest.approx(2.5, rel=0.35)


def test_strength_is_in_proportion_and_bounded():
    key = unit(0.3, 0.6, 0.7)
    found = [gloss.fit_lobe(*scene(gloss.Lobe(key, 4, np.full(3, k)))).strength.mean() for k in (0.08, 0.16, 0.9)]
    assert found[0] < found[1] < found[2] <= gloss.MOST + 1e-9
    assert found[1] / max(found[0], 1e-6) > 1.4


def test_a_persona_with_baked_highlights_gets_less():
    truth = gloss.Lobe(unit(0.3, 0.6, 0.7), 4, np.full(3, 0.25))
    none, half, full = (gloss.fit_lobe(*scene(truth, baked)).strength.mean() for baked in (0.0, 0.5, 1.0))
    assert half < 0.6 * none and full < 0.15 * none


def test_matt_skin_and_flat_light_have_no_lobe():
    matt = gloss.Lobe(unit(0.3, 0.6, 0.7), 4, np.zeros(3))
    assert not gloss.fit_lobe(*scene(matt)).shines
    flat = np.zeros((9, 3))
    flat[0] = 1
    assert gloss.key_share(flat) == 0 and gloss.key_share(lamp_sh(unit(1, 0, 1))) == 1
    assert gloss.fit_lobe([], unit(0, 0, 1)) is gloss.NONE


def test_a_lamp_away_from_the_diffuse_light_is_no_lamp():
    frames, towards = scene(gloss.Lobe(unit(-0.7, 0.4, 0.6), 4, np.full(3, 0.25)))
    assert gloss.fit_lobe(frames, towards).shines
    other = gloss.fit_lobe(frames, unit(0.7, -0.4, 0.3))
    assert other.strength.max() < 0.3 * gloss.fit_lobe(frames, towards).strength.max()


def test_what_the_light_match_brought_along_is_not_there_twice():
    """Energy of skin and shine together is the plate's, with the lobe as without."""
    lobe = gloss.Lobe(unit(0.3, 0.6, 0.7), 4, np.full(3, 0.25))
    points = face(0, 0).astype(np.float32)
    normals, light = camera_normals(points), lamp_sh(lobe.key)
    lit = GRID.carried(shading(light, normals).astype(np.float32))
    at = GRID.carried(normals)
    weight = (GRID.skin * np.clip((at[..., 2] - 0.1) / 0.4, 0, 1)).astype(np.float32)
    matt = albedo() * lit
    mean = (matt * weight[..., None]).sum((0, 1)) / weight.sum()
    plate = matt + GRID.carried((lobe.shape(normals)[:, None] * lobe.strength * mean).astype(np.float32))
    sample = TrackSample(
        points, plate.astype(np.float32), np.round(255 * weight).astype(np.uint8), np.full((128, 128), 255, np.uint8),
        np.eye(2, 3), np.zeros((WRINKLE_GRID, WRINKLE_GRID), np.int8),
    )  # fmt: skip
    errors, totals = [], []
    for used in (gloss.NONE, lobe):
        gains, shine = point_gains(sample, light, albedo(), normals, TONE.astype(np.float32), LookSettings(), used)
        drawn = albedo() * GRID.carried(gains)
        drawn = drawn + GRID.carried((used.shape(normals)[:, None] * shine).astype(np.float32))
        use = weight > 0.5
        totals.append(float(drawn[use].sum() / plate[use].sum()))
        errors.append(float(np.sqrt(((drawn - plate)[use] ** 2).mean()) / plate[use].mean()))
    assert totals[1] == pytest.approx(1, abs=0.03) and errors[1] < 0.4 * errors[0]


def test_the_drawn_highlight_lies_where_the_normal_halves_the_angle(tmp_path):
    """On the whole way through `draw`: brightest change where n . h is largest, its energy that of the formula."""
    import tempfile
    from pathlib import Path

    shot = talking_shot(grain=0.0)
    with tempfile.TemporaryDirectory() as folder:
        performance = load_performance(
            analyse(shot.footage(), Path(folder) / "t.perf", perceiver=TruthPerceiver(shot, 0.0))
        )
        cast = prepare(performance, {"main": persona_of(person(8), "b")})[0]
        index = 4
        points = place(cast, index)
        roi = layer_roi(points, shot.frames[index].size_wh)
        plate = linear_from_frame(shot.frames[index], roi)
        key = unit(0.4, 0.3, 0.85)
        layers = []
        for lobe in (gloss.NONE, gloss.Lobe(key, 5, np.full(3, 0.3))):
            cast.lobe = lobe
            layers.append(draw(cast, index, plate, roi, points))

    off, on = layers
    ok = (on.triangle >= 0) & (on.triangle < len(face_model().triangles)) & (on.alpha > 0.9)
    corners = face_model().all_triangles[np.maximum(on.triangle, 0)]
    b = on.barycentric
    weights = np.stack([1 - b.sum(-1), b[..., 0], b[..., 1]], -1)[..., None]
    n = (camera_normals(points)[corners] * weights).sum(2)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-6)
    half = key + np.array([0.0, 0.0, 1.0])
    shape = np.maximum(n @ (half / np.linalg.norm(half)), 0) ** 32
    change = np.where(ok, (on.rgb - off.rgb).mean(-1), 0)
    brightest = change > np.quantile(change[ok], 0.98)
    assert shape[brightest].min() > 0.6 and shape[ok & (change < 0)].mean() < 0.3
    assert np.corrcoef(change[ok], shape[ok])[0, 1] > 0.8
