"""The inner loops against slow, obvious references."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import person, still

from digidouble.render import kernels
from digidouble.schema.mesh import camera_normals, face_model

M = face_model()


def rasterised(points, triangles, h, w):
    depth, index, bary = np.empty((h, w), np.float32), np.empty((h, w), np.int32), np.zeros((h, w, 2), np.float32)
    kernels.rasterise(np.asarray(points, np.float64), np.asarray(triangles), depth, index, bary)
    return depth, index, bary


def naive(points, triangles, h, w):
    """Every pixel against every triangle, by solving for the weights."""
    depth, index = np.full((h, w), np.inf), np.full((h, w), -1)
    ys, xs = np.mgrid[0:h, 0:w]
    pixels = np.stack([xs.ravel(), ys.ravel(), np.ones(h * w)])
    for t, (a, b, c) in enumerate(points[np.asarray(triangles)]):
        m = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        if np.linalg.det(m) >= -1e-9:
            continue
        weights = np.linalg.solve(m, pixels).reshape(3, h, w)
        z = (weights * np.array([a[2], b[2], c[2]])[:, None, None]).sum(0)
        take = (weights.min(0) >= -1e-7) & (z < depth - 1e-6)
        depth[take], index[take] = z[take], t
    return depth, index


@pytest.mark.parametrize("yaw", [0, 40, -70])
def test_face_against_the_reference(yaw):
    points = still(person(2), 1, (45, 30), 4.0, yaw_deg=np.array([float(yaw)]), roll_deg=np.array([17.0])).points_px(0)
    depth, index, bary = rasterised(points, M.all_triangles, 80, 90)
    want_depth, want_index = naive(points, M.all_triangles, 80, 90)
    assert ((index >= 0) == (want_index >= 0)).all()
    covered = index >= 0
    assert covered.sum() > 1000
    np.testing.assert_allclose(depth[covered], want_depth[covered], atol=1e-3)
    assert (index == want_index)[covered].mean() > 0.98  # shared edges may go to either side
    assert np.isinf(depth[~covered]).all()
    weights = np.stack([1 - bary.sum(-1), bary[..., 0], bary[..., 1]], -1)[covered]
    assert weights.min() > -1e-5
    corners = points[M.all_triangles[index[covered]]]
    ys, xs = np.nonzero(covered)
    np.testing.assert_allclose((weights[..., None] * corners).sum(1)[:, :2], np.stack([xs, ys], -1), atol=1e-3)


def test_no_holes_along_shared_edges():
    """A fan whose corners fall on pixel centres: the worst case for edges."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        centre, ring = rng.integers(20, 44, 2).astype(float), []
        for k in range(7):
            angle = -2 * np.pi * k / 7
            ring.append(np.round(centre + 18 * np.array([np.cos(angle), np.sin(angle)])))
        points = np.array([[*centre, 0], *[[*p, 0] for p in ring]])
        triangles = np.array([[0, 1 + k, 1 + (k + 1) % 7] for k in range(7)])
        _, index, _ = rasterised(points, triangles, 64, 64)
        inside = index >= 0
        for row in np.flatnonzero(inside.any(1)):  # convex: every row is one run
            run = np.flatnonzero(inside[row])
            assert len(run) == run[-1] - run[0] + 1


def test_back_faces_and_slivers_are_dropped():
    points = np.array([[5, 5, 0], [25, 5, 0], [5, 25, 0], [5, 5, 0]], float)
    assert (rasterised(points, [[0, 1, 2]], 32, 32)[1] == -1).all()  # clockwise in y-up: back face
    assert (rasterised(points, [[0, 2, 1]], 32, 32)[1] >= 0).sum() > 150
    assert (rasterised(points, [[0, 3, 1]], 32, 32)[1] == -1).all()


def test_the_nearer_wins_whatever_the_order():
    points = np.array([[0, 0, 5], [0, 30, 5], [30, 0, 5], [0, 0, 1], [0, 30, 1], [30, 0, 1]], float)
    for order, near in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0)):
        depth, index, _ = rasterised(points, order, 20, 20)
        assert (index[:14, :14] == near).all() and np.allclose(depth[:14, :14], 1)


def test_meshes_outside_the_buffer():
    points = still(person(2), 1, (45, 30), 4.0).points_px(0)
    for shift in ((-500, 0), (0, 500), (1e7, 1e7)):
        assert (rasterised(points + np.array([*shift, 0]), M.all_triangles, 40, 40)[1] == -1).all()
    assert (rasterised(points - [30, 20, 0], M.all_triangles, 40, 40)[1] >= 0).any()


@pytest.mark.parametrize("bends", [False, True])
def test_shade_against_numpy(bends):
    """All of it at once: two atlases cross-faded, gains, coverage, the plate in the openings."""
    rng = np.random.default_rng(3)
    h, w, s = 70, 80, 96
    points = still(
        person(2), 1, (40, 26), 4.0, yaw_deg=np.array([15.0]), actions={"lips_part": np.array([0.8])}
    ).points_px(0)
    _, index, bary = rasterised(points, M.all_triangles, h, w)
    a, b, plate = (rng.uniform(0, 1, (n, m, 3)).astype(np.float32) for n, m in ((s, s), (s, s), (h, w)))
    vertex = rng.uniform(0.2, 1, (478, 12))
    vertex[:, :2] = M.uv * s
    vertex[:, 6] = np.clip(rng.uniform(-1, 1, 478), 0, 1)
    vertex[:, 7:9] = points[:, :2] + 0.3
    iris = np.array([[*points[468, :2], 4.0, 1.0], [*points[473, :2], 4.0, 0.4]])
    iris_gain = np.array([1.5, 0.7, 1.2])
    rgb, alpha = np.empty((h, w, 3), np.float32), np.empty((h, w), np.float32)
    hidden = rng.uniform(0, 1, (24, 24)).astype(np.float32)
    crease = rng.uniform(0.5, 1.2, (24, 24)).astype(np.float32)
    bend = kernels.UNBENT
    if bends:
        slid = rng.uniform(-0.03, 0.03, (16, 16, 2))
        bend = np.concatenate([slid, rng.uniform(0.7, 1.3, (16, 16, 3))], 2).astype(np.float32)
    normals, half, shine = camera_normals(points), np.array([0.6, 0.0, 0.8]), np.array([0.2, 0.3, 0.4])
    kernels.shade(
        index,
        bary,
        M.all_triangles,
        len(M.triangles),
        vertex,
        a,
        b,
        0.3,
        crease,
        bend,
        hidden,
        plate,
        iris,
        iris_gain,
        0.9,
        normals,
        normals @ half,
        3,
        shine,
        rgb,
        alpha,
    )

    def bilinear(p, x, y):
        x, y = np.clip(x, 0, p.shape[1] - 1.001), np.clip(y, 0, p.shape[0] - 1.001)
        i, j = x.astype(int), y.astype(int)
        fx, fy = (x - i)[:, None], (y - j)[:, None]
        return (
            (1 - fx) * (1 - fy) * p[j, i]
            + fx * (1 - fy) * p[j, i + 1]
            + (1 - fx) * fy * p[j + 1, i]
            + fx * fy * p[j + 1, i + 1]
        )

    ys, xs = np.nonzero(index >= 0)
    t, w12 = index[ys, xs], bary[ys, xs].astype(np.float64)
    weights = np.concatenate([1 - w12.sum(1, keepdims=True), w12], 1)
    v = (weights[..., None] * vertex[M.all_triangles[t]]).sum(1)
    x = np.clip(v[:, 6], 0, 1)
    inner = np.where(t < len(M.triangles), x * x * (3 - 2 * x), 1.0)[:, None]
    bent = bilinear(bend, v[:, 0] / s * 16 - 0.5, v[:, 1] / s * 16 - 0.5) if bends else np.array([[0.0, 0, 1, 1, 1]])
    at = v[:, :2] + bent[:, :2] * s - 0.5
    first, second = bilinear(a, *at.T), bilinear(b, *at.T)
    fold = bilinear(crease[..., None], v[:, 0] / s * 24 - 0.5, v[:, 1] / s * 24 - 0.5)
    skin = (0.7 * first + 0.3 * second) * v[:, 2:5] * fold * bent[:, 2:]
    facing = (weights[..., None] * normals[M.all_triangles[t]]).sum(1)
    seen = np.maximum(facing @ half, 0)[:, None] ** 8 > 0.002
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    highlight = np.where(seen, np.maximum(facing @ half, 0)[:, None] ** 8 * shine * fold, 0)
    assert highlight.max() > 0.3
    skin += highlight
    opening = bilinear(plate, v[:, 7], v[:, 8]) * v[:, 9:12]
    for e in range(2):
        d = np.hypot(xs - iris[e, 0], ys - iris[e, 1]) / iris[e, 2]
        dark = np.clip((0.8 * 0.9 - opening @ [0.2126, 0.7152, 0.0722]) / (0.3 * 0.9), 0, 1)
        m = iris[e, 3] * dark * np.clip((1.1 - d) / 0.2, 0, 1) * np.clip((d - 0.2) / 0.2, 0, 1) * (d < 1.15)
        opening = opening * (1 + m[:, None] * (iris_gain - 1))
    want = skin * (1 - inner) + opening * inner
    np.testing.assert_allclose(rgb[ys, xs], want, atol=2e-4)
    covered = bilinear(hidden[..., None], v[:, 0] / s * 24 - 0.5, v[:, 1] / s * 24 - 0.5)[:, 0]
    np.testing.assert_allclose(alpha[ys, xs], v[:, 5] * (1 - covered), atol=1e-4)
    assert (inner == 1).any() and (inner == 0).any()
    assert (rgb[index < 0] == 0).all() and (alpha[index < 0] == 0).all()
