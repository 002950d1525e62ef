"""The mesh the whole product stands on: orientation, symmetry, distances, normals."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import normals_cam, person, still

from digidouble.schema.mesh import LEFT_IRIS, LID_PAIRS, RIGHT_IRIS, face_model, surface_distance, vertex_normals

M = face_model()


def test_triangles_face_outwards_and_cover_uv_once():
    p = M.mean_cm[M.all_triangles]
    facing = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])[:, 2] > 0
    assert facing.mean() > 0.99
    assert len(np.unique(np.sort(M.all_triangles, 1), axis=0)) == len(M.all_triangles)
    uv = M.uv[M.all_triangles].astype(np.float64)
    e1, e2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    assert (np.sign(area) == np.sign(np.median(area))).all()  # no triangle is folded over another


def test_openings_close_the_surface():
    edges = np.sort(M.all_triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    assert (times == 1).sum() == len(M.loops["oval"])  # the only border left is the oval


def test_mirror_is_an_involution_and_geometric():
    assert (M.mirror[M.mirror] == np.arange(478)).all()
    np.testing.assert_allclose(M.mean_cm[M.mirror] * [-1, 1, 1], M.mean_cm, atol=0.01)
    np.testing.assert_allclose(M.uv[M.mirror] * [-1, 1] + [1, 0], M.uv, atol=0.005)


def test_left_is_plus_x_and_up_is_plus_y():
    assert M.mean_cm[263, 0] > 0 > M.mean_cm[33, 0]
    assert M.mean_cm[10, 1] > M.mean_cm[1, 1] > M.mean_cm[152, 1]
    assert M.mean_cm[1, 2] > M.mean_cm[234, 2]
    assert M.mean_cm[LEFT_IRIS[0], 0] > 2 and M.mean_cm[RIGHT_IRIS[0], 0] < -2
    for pairs in LID_PAIRS:
        for upper, lower in pairs:
            assert M.mean_cm[upper, 1] > M.mean_cm[lower, 1]


@pytest.mark.parametrize(
    ("name", "upper", "lower", "sign"),
    [("jaw_drop", 1, 152, 1), ("lips_part", 13, 14, 1), ("lid_close_L", 386, 374, -1), ("lid_close_R", 159, 145, -1)],
)
def test_actions_do_what_they_are_called(name, upper, lower, sign):
    from synthetic import action_index

    field = M.action_fields_cm[action_index(name)]
    assert sign * (field[upper, 1] - field[lower, 1]) > 0.3


def test_named_actions_split_signs():
    c = np.zeros(len(M.action_names))
    c[0], c[1] = 0.6, -2.0
    named = M.named_actions(c)
    first, second = (n.split("/") for n in M.action_names[:2])
    assert named[first[0]] == pytest.approx(0.6) and named[first[1]] == 0
    assert named[second[0]] == 0 and named[second[1]] == 1


def test_surface_distance_is_the_shortest_way():
    """Against all-pairs relaxation (Bellman-Ford) on a small grid with a hole."""
    ys, xs = np.mgrid[0:6, 0:6]
    points = np.stack([xs.ravel(), ys.ravel(), 0.2 * np.sin(xs.ravel())], -1).astype(float)
    triangles = [(r * 6 + c, r * 6 + c + 1, r * 6 + c + 6) for r in range(5) for c in range(5) if (r, c) != (2, 2)]
    triangles += [(r * 6 + c + 1, r * 6 + c + 7, r * 6 + c + 6) for r in range(5) for c in range(5) if (r, c) != (2, 2)]
    want = np.full(36, np.inf)
    want[[0, 3]] = 0
    for _ in range(36):
        for t in triangles:
            for a in t:
                for b in t:
                    want[a] = min(want[a], want[b] + np.linalg.norm(points[a] - points[b]))
    got = surface_distance(points, np.array(triangles), np.array([0, 3]))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_rim_and_hole_distances():
    assert (M.rim_cm[M.loops["oval"]] == 0).all() and M.rim_cm[1] > 5
    assert (M.hole_cm[M.loops["inner_lips"]] == 0).all() and (M.hole_cm[M.loops["left_eye"]] == 0).all()
    assert np.isfinite(M.rim_cm).all() and np.isfinite(M.hole_cm).all()


def test_vertex_normals_on_a_sphere_and_against_the_reference():
    rng = np.random.default_rng(0)
    # A closed octahedron, subdivided onto the unit sphere: normals equal positions.
    corners = [np.array(v, float) for v in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    for _ in range(3):
        new = []
        for a, b, c in faces:
            mids = []
            for p, q in ((a, b), (b, c), (c, a)):
                m = corners[p] + corners[q]
                mids.append(len(corners))
                corners.append(m / np.linalg.norm(m))
            new += [(a, mids[0], mids[2]), (b, mids[1], mids[0]), (c, mids[2], mids[1]), tuple(mids)]
        faces = new
    points = np.unique(np.round(corners, 9), axis=0)
    index = [int(np.argmin(np.linalg.norm(points - c, axis=1))) for c in corners]
    n = vertex_normals(points, np.array([[index[i] for i in f] for f in faces]))
    assert (n * points).sum(1).min() > 0.998
    take = still(person(4), 1, (100, 60), yaw_deg=rng.uniform(-20, 20, 1))
    px = take.points_px(0)
    ours, reference = vertex_normals(px * [1, -1, -1], M.triangles)[:468], normals_cam(px)[:468]
    assert np.degrees(np.arccos(np.clip((ours * reference).sum(1), -1, 1))).mean() < 6
