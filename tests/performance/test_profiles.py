"""Profiles, doubt, losses and crossings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import TruthPerceiver, person, shoot, still

from digidouble.perception.matte import hull, px_from_crop
from digidouble.perception.mesh import FaceMesher
from digidouble.performance import analyse, load_performance
from digidouble.performance.tracklets import MIN_SCORE, NO_MESH, SURE_MESH, steadiness
from digidouble.schema.mesh import face_model
from digidouble.schema.track import MATTE_SIZE

CLIPS = Path("/work/shared/data/clips")
SIZE = (200, 176)


# --- the area of the face --------------------------------------------------------------------------------------------


def drawn(points_crop: np.ndarray) -> np.ndarray:
    """Every triangle of the mesh, painted one by one: what of the picture the face covers."""
    out = np.zeros((MATTE_SIZE, MATTE_SIZE), np.uint8)
    for t in face_model().all_triangles:
        cv2.fillConvexPoly(out, np.round(points_crop[t] * 256).astype(np.int32), 1, cv2.LINE_8, 8)
    return out > 0


@pytest.mark.parametrize("yaw", [0.0, 30.0, 55.0, 75.0, 88.0])
@pytest.mark.parametrize("seed", [1, 3])
def test_hull_holds_the_whole_face_up_to_the_profile(yaw, seed):
    """Nothing of the face is cut (the far half of the oval runs inside a profile), little else is in."""
    p = still(person(seed), 1, (100, 80), 9.0, yaw_deg=np.array([yaw])).points_px(0)
    inverse = cv2.invertAffineTransform(px_from_crop(p.astype(np.float32)).astype(float))
    at = p[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    face, area = drawn(at), hull(at) > 127
    kept, more = (area & face).sum() / face.sum(), (area & ~face).sum() / face.sum()
    assert kept > (0.96 if yaw < 80 else 0.86), kept  # the oval alone: 0.91 at 30 degrees, 0.52 at 75, 0.19 at 88
    assert more < 0.02, more


# --- doubt -----------------------------------------------------------------------------------------------------------


class Guessing:
    """A mesh network whose answer depends on the region by `share` of the crop."""

    def __init__(self, share: float) -> None:
        self.share, self.calls = share, 0

    def run(self, feeds: dict) -> dict:
        n = len(feeds["input_1"])
        p = still(person(1), 1, (96, 80), 6.0).points_px(0).astype(np.float32)
        shifts = np.zeros((n, 478, 3), np.float32)
        shifts[:, :, 0] = (192 * self.share * (np.arange(n) - (n - 1) / 2))[:, None]
        from digidouble.perception import mesh_points as mp

        every = p + shifts
        base = every[:, :468].reshape(n, -1)
        out = {"output_mesh_identity": base, "conv_faceflag": np.full((n, 1), 9.0, np.float32)}
        return out | {k: every[:, i, :2].reshape(n, -1) for k, i in mp.REFINED_XY.items()}


def test_spread_is_the_disagreement_of_looks():
    """Of two looks it is their distance over the side of the mesh; of one there is none."""
    picture, roi = np.zeros((100, 100, 3), np.uint8), np.array([50, 50, 80, 0], np.float32)
    seen = FaceMesher(runner=Guessing(0.3)).mesh_averaged(picture, roi, 2)
    # The regions' own shift (2 % each way) comes on top or off.
    assert seen.spread == pytest.approx(0.3 * 80 / np.ptp(seen.points_px[:, :2], axis=0).max(), rel=0.2)
    spreads = [FaceMesher(runner=Guessing(s)).mesh_averaged(picture, roi, 2).spread for s in (0.06, 0.1, 0.2)]
    assert spreads == sorted(spreads)
    assert FaceMesher(runner=Guessing(0.1)).mesh_averaged(picture, roi, 1).spread == 0


def test_steadiness():
    assert steadiness(0.0) == steadiness(SURE_MESH) == 1 and steadiness(NO_MESH) == 0
    assert 0 < steadiness(0.05) < steadiness(0.04) < 1


def test_a_mesh_in_doubt_fades_without_a_pop(tmp_path):
    """The score sinks towards what would lose the face: half-way, about half of the double is shown."""
    n = 48
    score = np.ones(n)
    score[16:32] = 0.6

    class Doubting(TruthPerceiver):
        def mesh(self, rgb8, roi):
            points, s = super().mesh(rgb8, roi)
            return points, s * score[self.frame_of(rgb8)]

    shot = shoot([still(person(3), n, (100, 68), yaw_deg=5 * np.sin(np.arange(n) / 5))], SIZE, grain=0.003)
    track = load_performance(analyse(shot.footage(), tmp_path / "d.perf", perceiver=Doubting(shot, 0.2))).tracks[0]
    assert track.presence[:10].min() == 1 and track.presence[-10:].min() == 1
    assert 0.2 < track.presence[22:26].mean() < 0.6
    assert np.abs(np.diff(track.presence)).max() < 0.3
    assert MIN_SCORE < 0.6


# --- real faces ------------------------------------------------------------------------------------------------------


def crossing(n: int):
    """Two people of different clips on one plate; the nearer passes in front of the farther."""
    from digidouble.footage import open_footage
    from digidouble.schema.colour import rgb8_from_frame

    size, parts = (640, 360), []
    for name, side in (("glasses_studio.mp4", 170), ("expressions_yaw.mp4", 220)):
        footage = open_footage(CLIPS / name)
        parts.append([cv2.resize(rgb8_from_frame(footage.frame(i)), (side, side)) for i in range(n)])
    out = []
    for i in range(n):
        picture = np.full((size[1], size[0], 3), 90, np.uint8)
        for (part, k), y in zip(((parts[0], 1), (parts[1], -1)), (70, 60), strict=True):
            side = part[i].shape[0]
            x = int((size[0] - side) / 2 + k * 200 * (1 - 2 * i / (n - 1)))
            picture[y : y + side, x : x + side] = part[i]
        out.append(picture)
    return out


@pytest.mark.shared
@pytest.mark.skipif(not (CLIPS / "glasses_studio.mp4").exists(), reason="needs /work/shared/data")
def test_two_real_faces_cross_and_keep_their_names(tmp_path):
    """Going right to left and left to right: after the crossing every track is on the person it was on before."""
    from synthetic import RATE, RGB16, SRGB

    from digidouble.footage import MemoryFootage
    from digidouble.schema.frame import Frame

    n = 44
    pictures = crossing(n)
    frames = tuple(
        Frame(i, RATE.seconds_at(i), (p.astype(np.uint16) * 257,), RGB16, SRGB) for i, p in enumerate(pictures)
    )
    perf = load_performance(analyse(MemoryFootage(frames, RATE), tmp_path / "x.perf"))
    assert len(perf.tracks) == 2, perf.tracks
    for track in perf.tracks:
        shown = np.array([i for i in track.frames if track.shown_at(i) > 0.5])
        x = np.array([track.sample(int(i)).points_px[:, 0].mean() for i in shown])
        assert shown[0] <= 6 and shown[-1] >= n - 7
        way = 2 * 200 / (n - 1)
        steps = np.diff(x) / np.diff(shown)
        # One direction all the way: a swap of names would turn it round.
        assert np.sign(steps[np.abs(steps) > 0.4 * way]).std() == 0, steps
