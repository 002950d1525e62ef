"""Modalities of a synthetic shot against its truth, and their way to disk and back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import TruthPerceiver, person, shoot, still

from digidouble.errors import DamagedAsset, SettingsError, WeightsError
from digidouble.perception.flow import DisFlow
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.performance.modalities import Senses, modalities_at
from digidouble.schema.mesh import FLIP_YZ, face_model, vertex_normals
from digidouble.schema.modalities import MODAL_SIZE
from digidouble.schema.track import MATTE_SIZE

SIZE = (200, 176)
KEPT = PerformSettings(modalities=True, smoothing=0.0)


class LeftHalf:
    """People are in the left half of the picture."""

    def matte_256(self, rgb8):
        out = np.zeros((256, 256), np.float32)
        out[:, :128] = 1
        return out


class TrueDepth:
    """A network that knows: the wall is 100 cm behind the head, a bar in front; in units of its own."""

    name = "truth"

    def __init__(self, shot, distance_cm: float) -> None:
        self.shot, self.distance, self.calls = shot, distance_cm, 0

    def inverse_depth(self, rgb8):
        index, self.calls = self.calls, self.calls + 1
        take, points = self.shot.takes[0], self.shot.points_px[index, 0]
        depth = np.full(rgb8.shape[:2], 100.0)
        hull = cv2.convexHull(np.round(points[:468, :2]).astype(np.int32))
        face = cv2.fillConvexPoly(np.zeros(rgb8.shape[:2], np.uint8), hull, 1) > 0
        y, x = np.nonzero(face)
        d = ((points[None, :468, :2] - np.stack([x, y], -1)[:, None]) ** 2).sum(-1)
        depth[y, x] = points[d.argmin(1), 2] / take.px_per_cm[index]
        hidden = take.occluder(index) if take.occluder else None
        if hidden:
            x0, y0, x1, y1 = hidden
            depth[y0:y1, x0:x1] = -20
        return (7 / (self.distance + depth) + 0.3).astype(np.float32)


def turning(n: int = 12, **more):
    """A head that turns, nods and travels by 4 px a frame."""
    t = np.arange(n)
    place = np.stack([75 + 4.0 * t, 70 + 1.5 * t], -1)
    return shoot([still(person(3), n, (0, 0), 8.0, origin_px=place, yaw_deg=15 * np.sin(t / 3), **more)], SIZE)


def performed(shot, out: Path, settings: PerformSettings = KEPT, depth=None):
    senses = Senses(DisFlow(), LeftHalf(), depth)
    return load_performance(analyse(shot.footage(), out, settings, perceiver=TruthPerceiver(shot, 0.0), senses=senses))


@pytest.fixture(scope="module")
def shot():
    return turning()


@pytest.fixture(scope="module")
def kept(shot, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "kept.perf"
    performed(shot, out)
    return out


def at(performance, index: int):
    return performance.tracks[0].store.modalities(performance.tracks[0].track_id, index)


def cells_of(seen, points: np.ndarray) -> np.ndarray:
    """Places of plate points on the small grids, (x, y)."""
    to_crop = cv2.invertAffineTransform(seen.px_from_crop.astype(float))
    return (points[:, :2] @ to_crop[:, :2].T + to_crop[:, 2] - 0.5) / 2


def frontal(points: np.ndarray) -> np.ndarray:
    normal = vertex_normals(points * FLIP_YZ, face_model().triangles)[:468]
    return np.flatnonzero(normal[:, 2] / np.linalg.norm(normal, axis=1) > 0.75)


def looked_up(grid: np.ndarray, cells: np.ndarray) -> np.ndarray:
    x, y = cells.astype(np.float32).T
    return cv2.remap(grid, x[:, None], y[:, None], cv2.INTER_LINEAR)[:, 0]


# --- what is measured ------------------------------------------------------------------------------------------------


def test_flow_is_the_motion_of_the_skin(shot, kept):
    performance, errors, still_errors = load_performance(kept), [], []
    for i in range(1, len(shot) - 1):
        seen, points = at(performance, i), shot.points_px[:, 0]
        use = frontal(points[i])
        for flow, j in ((seen.flow_next_px, i + 1), (seen.flow_last_px, i - 1)):
            truth = (points[j] - points[i])[use, :2]
            errors.append(np.linalg.norm(looked_up(flow, cells_of(seen, points[i][use])) - truth, axis=1))
            still_errors.append(np.linalg.norm(truth, axis=1))
    assert np.concatenate(still_errors).mean() > 3.5  # the head does move
    assert np.concatenate(errors).mean() < 0.35, np.concatenate(errors).mean()


def test_flow_ends_where_a_run_does(shot, kept):
    performance = load_performance(kept)
    assert at(performance, 0).flow_last_px is None and at(performance, 0).flow_next_px is not None
    last = at(performance, len(shot) - 1)
    assert last.flow_next_px is None and last.flow_last_px is not None


def test_no_flow_across_a_cut_and_nothing_in_a_gap(tmp_path):
    n, cut = 32, 8
    seen = np.ones(n, bool)
    seen[14:26] = False
    place = np.array([[80.0, 68.0]] * cut + [[120.0, 72.0]] * (n - cut))
    shot = shoot([still(person(3), n, (0, 0), 7.5, origin_px=place, seen=seen)], SIZE, cuts=[cut], seed=4, grain=0.004)
    performance = performed(shot, tmp_path / "x.perf")
    assert performance.shot.cuts == (cut,) and len(performance.tracks) == 1
    assert at(performance, cut - 1).flow_next_px is None and at(performance, cut).flow_last_px is None
    assert at(performance, cut - 2).flow_next_px is not None and at(performance, cut).flow_next_px is not None
    assert at(performance, 20) is None
    assert at(performance, 13).flow_next_px is None and at(performance, 26).flow_last_px is None


def test_rgb_is_the_plate(shot, kept):
    from digidouble.schema.colour import rgb8_from_frame

    seen = at(load_performance(kept), 5)
    picture = rgb8_from_frame(shot.frames[5])
    assert seen.rgb8.shape == (MATTE_SIZE, MATTE_SIZE, 3)
    for x, y in ((40, 50), (64, 64), (80, 90)):
        px = seen.px_from_crop @ [x, y, 1]
        here = cv2.getRectSubPix(picture, (1, 1), (float(px[0]), float(px[1])))[0, 0]
        np.testing.assert_allclose(seen.rgb8[y, x].astype(int), here.astype(int), atol=6)


def test_depth_is_metric_on_the_face_and_by_convention_outside(shot, kept):
    performance = load_performance(kept)
    for i in (2, 8):
        seen, points, take = at(performance, i), shot.points_px[i, 0], shot.takes[0]
        use = frontal(points)
        truth = points[use, 2] / take.px_per_cm[i]
        error = looked_up(seen.depth_cm, cells_of(seen, points[use])) - truth
        error -= np.median(error)  # the track's origin may lie a little before or behind the take's
        assert np.median(np.abs(error)) < 0.25, np.median(np.abs(error))
        column = np.arange(MODAL_SIZE) * 2 + 0.5
        px = (
            column[None] * seen.px_from_crop[0, 0] + column[:, None] * seen.px_from_crop[0, 1] + seen.px_from_crop[0, 2]
        )
        wall = seen.depth_cm[(px > 106) & (seen.depth_cm > 20)]  # near the edge, depth is smoothed over time
        assert (np.abs(wall - 150) < 0.1).mean() > 0.97
        assert (seen.depth_cm[px < 93] < 20).all()


def test_network_depth_shows_the_wall_and_the_hand(tmp_path):
    bar = (20, 96, 190, 112)
    shot = turning(4, occluder=lambda i: bar)
    network = TrueDepth(shot, 1.2 * max(SIZE) / 8.0)
    performance = performed(shot, tmp_path / "x.perf", depth=network)
    assert performance.modalities["depth_fitted"] == performance.modalities["depth_looked"] == 4
    assert "truth" in performance.modalities["depth"]
    seen = at(performance, 2)
    cell = np.arange(MODAL_SIZE) * 2 + 0.5
    grid = np.stack(np.meshgrid(cell, cell), -1) @ seen.px_from_crop[:, :2].T + seen.px_from_crop[:, 2]
    hidden = (
        (grid[..., 1] > bar[1] + 3) & (grid[..., 1] < bar[3] - 3) & (grid[..., 0] > bar[0]) & (grid[..., 0] < bar[2])
    )
    assert abs(np.median(seen.depth_cm[hidden]) + 20) < 4
    corner = seen.depth_cm[:4, :4]
    assert 70 < np.median(corner) < 140  # the wall, from no more than the relief of a face


# --- the file --------------------------------------------------------------------------------------------------------


def test_measured_now_is_what_is_kept(shot, kept, tmp_path):
    plain = performed(shot, tmp_path / "plain.perf", PerformSettings(smoothing=0.0))
    assert plain.modalities == {} and at(plain, 3) is None
    whole = load_performance(kept)
    for index in (0, 3, len(shot) - 1):
        a = modalities_at(plain, shot.footage(), plain.tracks[0], index, lambda: Senses(DisFlow(), LeftHalf()))
        b = modalities_at(whole, shot.footage(), whole.tracks[0], index, lambda: pytest.fail("measured again"))
        assert a is not None and b is not None
        np.testing.assert_array_equal(a.rgb8, b.rgb8)
        if index in (
            0,
            len(shot) - 1,
        ):  # kept depth is steadied over time; at the ends of a run there is nothing to pair
            np.testing.assert_allclose(a.depth_cm, b.depth_cm, rtol=1e-3, atol=5e-3)  # 16 bits
        assert np.median(np.abs(a.depth_cm - b.depth_cm)) < 0.25
        for name in ("flow_next_px", "flow_last_px"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-3)
    with pytest.raises(IndexError):
        modalities_at(whole, shot.footage(), whole.tracks[0], len(shot), lambda: pytest.fail("measured"))


@pytest.mark.parametrize("chunk", [4, 5, 7])
def test_chunks_do_not_show(shot, kept, tmp_path, monkeypatch, chunk):
    for module in ("finish", "store", "modalities"):
        monkeypatch.setattr(f"digidouble.performance.{module}.CHUNK", chunk)
    cut_up = performed(shot, tmp_path / "x.perf")
    parts = [at(cut_up, i) for i in range(len(shot))]
    for module in ("finish", "store", "modalities"):
        monkeypatch.setattr(f"digidouble.performance.{module}.CHUNK", 64)
    whole = load_performance(kept)
    for i, part in enumerate(parts):
        same = at(whole, i)
        np.testing.assert_array_equal(part.rgb8, same.rgb8)
        np.testing.assert_allclose(part.depth_cm, same.depth_cm, atol=0.01)
        for name in ("flow_next_px", "flow_last_px"):
            x, y = getattr(part, name), getattr(same, name)
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(x, y, atol=0.02)


def test_the_file_says_what_measured_it_and_the_rest_is_unchanged(shot, kept, tmp_path):
    whole, plain = load_performance(kept), performed(shot, tmp_path / "plain.perf", PerformSettings(smoothing=0.0))
    assert whole.modalities["flow"] == "dis" and whole.modalities["depth"].startswith("mesh")
    for a, b in zip(whole.tracks, plain.tracks, strict=True):
        np.testing.assert_array_equal(a.rotation, b.rotation)
        np.testing.assert_array_equal(a.sample(4).points_px, b.sample(4).points_px)


def test_same_input_same_bytes(shot, kept, tmp_path):
    performed(shot, tmp_path / "again.perf")
    assert (tmp_path / "again.perf").read_bytes() == kept.read_bytes()


def rewritten(kept: Path, out: Path, change) -> Path:
    """A copy whose manifest was changed."""
    with zipfile.ZipFile(kept) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "manifest.json":
                manifest = json.loads(data)
                change(manifest["facts"])
                data = json.dumps(manifest).encode()
            new.writestr(name, data)
    return out


def test_damage_is_refused(kept, tmp_path, shot):
    with pytest.raises(DamagedAsset, match="modalities are a list"):
        load_performance(rewritten(kept, tmp_path / "a.perf", lambda f: f.update(modalities=[])))
    with pytest.raises(DamagedAsset, match="facts"):
        load_performance(rewritten(kept, tmp_path / "b.perf", lambda f: f.update(else_=1)))
    performed(shot, tmp_path / "plain.perf", PerformSettings(smoothing=0.0))
    promised = rewritten(tmp_path / "plain.perf", tmp_path / "c.perf", lambda f: f.update(modalities={"flow": "dis"}))
    with pytest.raises(DamagedAsset, match="missing"):
        at(load_performance(promised), 3)


def test_settings_name_what_there_is(tmp_path):
    for wrong in ({"flow": "raft"}, {"depth": "zoe"}):
        with pytest.raises(SettingsError, match="onnx"):
            PerformSettings(**wrong)
    with pytest.raises(SettingsError, match="--modalities"):  # it would do nothing
        PerformSettings(depth="depth-anything-v2-small")
    with pytest.raises(WeightsError, match="no such model file"):
        Senses.of(PerformSettings(modalities=True, flow=str(tmp_path / "none.onnx")))


def test_a_failure_leaves_nothing(shot, tmp_path):
    class Broken(LeftHalf):
        def matte_256(self, rgb8):
            raise SettingsError("broken")

    with pytest.raises(SettingsError, match="broken"):
        analyse(
            shot.footage(),
            tmp_path / "x.perf",
            KEPT,
            perceiver=TruthPerceiver(shot),
            senses=Senses(DisFlow(), Broken()),
        )
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_once_from_start_to_end(shot, tmp_path):
    told = []
    analyse(
        shot.footage(), tmp_path / "x.perf", KEPT, lambda done, total: told.append(done / total),
        TruthPerceiver(shot), Senses(DisFlow(), LeftHalf()),
    )  # fmt: skip
    assert told == sorted(told) and told[-1] == 1 and 0.45 < told[len(told) // 2 - 1] < 0.55
