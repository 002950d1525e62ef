"""Fit the face shape prior: mean, identity basis, muscle-action basis, triangles and UV of the 478-point mesh.

    python training/shape/fit.py --tracks DIR --edges face_mesh_connections.py --out src/digidouble/shipped/face_shape.safetensors

DIR holds one .npz a person (`p`: frames x 478 x 3 in pixels, MediaPipe axes) as written by `collect.py`. Deterministic: no random numbers.

Head frame: +x the subject's left, +y up, +z out of the face, origin between the eyes, centimetres (iris diameter 1.17 cm).
"""

from __future__ import annotations

import argparse
import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment

# Points that move least with expression: forehead, nose bridge, nose tip, eye corners, temples.
RIGID = np.array(
    [1, 4, 5, 6, 168, 8, 9, 10, 151, 197, 195, 2, 98, 327, 33, 133, 362, 263, 127, 356, 234, 454, 132, 361]
)
IDENTITY_MODES = 40
RIDGE = 0.02
LIP_GAP_CM = 0.05  # inner lips of a closed mouth, as the tracker sees them


def row(*terms: tuple[float, tuple[int, ...], int]) -> np.ndarray:
    """A linear measurement of a mesh: sum of weight * mean over points of one axis (0 x, 1 y, 2 z)."""
    out = np.zeros((478, 3))
    for weight, points, axis in terms:
        for p in points:
            out[p, axis] += weight / len(points)
    return out


def measurements() -> dict[str, np.ndarray]:
    """Named muscle actions (FACS action units) and the signed measurement that shows each.

    A name `a/b` is one measurement read as action `a` when positive and `b` when negative.
    """
    x, y, z = 0, 1, 2
    m = {
        "jaw_drop_AU26/jaw_clench": row((-1, (152, 148, 377), y)),
        "jaw_left_AD30L/jaw_right_AD30R": row((1, (152, 175), x), (-1, (1,), x)),
        "jaw_thrust_AD29/jaw_retract": row((1, (152, 175), z)),
        "lips_part_AU25/lips_press_AU24": row((1, (13, 82, 312), y), (-1, (14, 87, 317), y)),
        "upper_lip_raise_AU10/upper_lip_tuck_AU28": row((1, (0, 37, 267), y)),
        "lower_lip_drop_AU16/chin_raise_AU17": row((-1, (17, 84, 314), y), (1, (152, 148, 377), y)),
        "lip_funnel_AU22/lip_flatten": row((1, (0, 17, 37, 267), z)),
        "lid_close_L_AU43/lid_raise_L_AU5": row((-1, (385, 386, 387), y), (1, (380, 374, 373), y)),
        "lid_close_R_AU43/lid_raise_R_AU5": row((-1, (158, 159, 160), y), (1, (153, 145, 144), y)),
        "lid_tighten_L_AU7/lid_loosen_L": row((1, (380, 374, 373), y), (-0.5, (263, 362), y)),
        "lid_tighten_R_AU7/lid_loosen_R": row((1, (153, 145, 144), y), (-0.5, (33, 133), y)),
        "lip_corner_pull_L_AU12/lip_corner_drop_L_AU15": row((1, (291, 306), y)),
        "lip_corner_pull_R_AU12/lip_corner_drop_R_AU15": row((1, (61, 76), y)),
        "lip_stretch_L_AU20/lip_pucker_L_AU18": row((1, (291, 306), x)),
        "lip_stretch_R_AU20/lip_pucker_R_AU18": row((-1, (61, 76), x)),
        "inner_brow_raise_L_AU1/brow_lower_L_AU4": row((1, (336, 285, 296), y)),
        "inner_brow_raise_R_AU1/brow_lower_R_AU4": row((1, (107, 55, 66), y)),
        "outer_brow_raise_L_AU2/outer_brow_lower_L": row((1, (300, 276, 293), y)),
        "outer_brow_raise_R_AU2/outer_brow_lower_R": row((1, (70, 46, 63), y)),
        "brow_draw_L_AU4/brow_spread_L": row((-1, (285, 336), x)),
        "brow_draw_R_AU4/brow_spread_R": row((1, (55, 107), x)),
        "nose_wrinkle_AU9/nostril_compress_AU39": row((1, (129, 358, 64, 294), y)),
        "cheek_raise_L_AU6/cheek_lower_L": row((1, (347, 346, 280), y)),
        "cheek_raise_R_AU6/cheek_lower_R": row((1, (118, 117, 50), y)),
        "cheek_puff_L_AD34/cheek_suck_L_AD35": row((1, (434, 416, 427), x)),
        "cheek_puff_R_AD34/cheek_suck_R_AD35": row((-1, (214, 192, 207), x)),
    }
    return m


def align(meshes: np.ndarray, reference: np.ndarray, points: np.ndarray = RIGID) -> np.ndarray:
    """Similarity Procrustes of every mesh onto the reference (Umeyama 1991), fitted on some points only."""
    a = meshes[:, points]
    ma, mb = a.mean(1, keepdims=True), reference[points].mean(0)
    ca, cb = a - ma, reference[points] - mb
    u, s, vt = np.linalg.svd(np.einsum("fni,nj->fij", ca, cb))
    sign = np.sign(np.linalg.det(u @ vt))
    s[:, 2] *= sign
    u[:, :, 2] *= sign[:, None]
    scale = s.sum(1) / (ca**2).sum((1, 2))
    return scale[:, None, None] * ((meshes - ma) @ (u @ vt)) + mb


def mirrored(mesh: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return mesh[..., mirror, :] * np.array([-1.0, 1.0, 1.0])


def reference_mesh(tracks: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric average mesh in the head frame (cm) and the left-right map of points."""
    first = tracks["grin_greenscreen"] if "grin_greenscreen" in tracks else next(iter(tracks.values()))
    ref = first[0] - first[0][RIGID].mean(0)
    mirror = None
    for _ in range(6):
        ref = np.mean([np.median(align(p, ref), 0) for p in tracks.values()], 0)
        if mirror is None:
            flipped = (ref - ref.mean(0)) * np.array([-1.0, 1.0, 1.0]) + ref.mean(0)
            mirror = linear_sum_assignment(np.linalg.norm(ref[:, None] - flipped[None], axis=2))[1]
        ref = (ref + align(mirrored(ref, mirror)[None], ref, np.arange(478))[0]) / 2
    # The plane of symmetry becomes x = 0: turn about y and z until mirrored points agree.
    for _ in range(20):
        ref = ref - ref.mean(0)
        ref = (ref + align(mirrored(ref, mirror)[None], ref, np.arange(478))[0]) / 2
        axis = (ref - ref[mirror])[np.abs(ref[:, 0]) > np.abs(ref[:, 0]).max() * 0.3]
        axis = (axis * np.sign(axis[:, :1])).mean(0)
        axis /= np.linalg.norm(axis)
        up = np.array([0.0, 1.0, 0.0]) - axis[1] * axis
        up /= np.linalg.norm(up)
        ref = ref @ np.stack([axis, up, np.cross(axis, up)], 1)
    iris = 0.5 * (np.linalg.norm(ref[469] - ref[471]) + np.linalg.norm(ref[474] - ref[476]))
    ref = ref * 1.17 / iris
    ref = ref - 0.5 * (ref[468] + ref[473])
    ref = (ref + mirrored(ref, mirror)) / 2
    return ref, mirror


def action_basis(
    tracks: dict[str, np.ndarray], mirror: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Displacement field of each action by ridge regression of within-person motion on the measurements.

    Within one track the person is constant, so differences from the track's mean need no neutral.
    Returns names, rows [k,478,3], fields [k,478,3] (cm for a coefficient of 1), units [k] (cm of measurement for 1).
    """
    table = measurements()
    names, rows = list(table), np.stack(list(table.values()))
    samples, targets = [], []
    for p in tracks.values():
        if len(p) < 20:
            continue
        for q in (p, mirrored(p, mirror)):
            d = q - q.mean(0)
            w = 1 / np.sqrt(len(d))
            samples.append(w * np.einsum("fpc,kpc->fk", d, rows))
            targets.append(w * d.reshape(len(d), -1))
    m, d = np.concatenate(samples), np.concatenate(targets)
    unit = np.array(
        [
            np.quantile(np.abs(np.concatenate([s * np.sqrt(len(s)) for s in samples])[:, k]), 0.99)
            for k in range(len(names))
        ]
    )
    m = m / unit
    gram = m.T @ m
    fields = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), m.T @ d).reshape(-1, 478, 3)
    print("within-person motion explained:", 1 - ((d - m @ fields.reshape(len(names), -1)) ** 2).sum() / (d**2).sum())
    return names, rows, fields, unit


def neutral_of(p: np.ndarray, mean: np.ndarray, modes: np.ndarray, fields: np.ndarray, close: np.ndarray) -> np.ndarray:
    """MAP neutral of one person: shared identity, per-frame actions with a zero-mean prior; lips closed."""
    noise, prior = 0.12, 0.35
    k, n = len(modes), len(fields)
    d = (p - mean).reshape(len(p), -1)
    b, e = modes.reshape(k, 478 * 3), fields.reshape(n, 478 * 3)
    # Eliminate the per-frame actions: residual projector R = I - E'(EE' + s)^-1 E, diagonal prior on both.
    ee = np.linalg.inv(e @ e.T + (noise / prior) ** 2 * np.eye(n))
    proj = lambda v: v - (v @ e.T) @ ee @ e  # noqa: E731
    db = proj(b)
    mean_d = d.mean(0)
    a = np.linalg.solve(len(p) * (b @ db.T) + noise**2 * np.eye(k), len(p) * db @ mean_d) if k else np.zeros(0)
    rest = d - a @ b if k else d
    actions = (rest @ e.T) @ ee
    neutral = mean + (d - actions @ e).mean(0).reshape(478, 3)
    gap = (neutral[[13, 82, 312], 1] - neutral[[14, 87, 317], 1]).mean() - LIP_GAP_CM
    return neutral + gap * close


def closing_field(
    aligned: dict[str, np.ndarray], rows: np.ndarray, fields: np.ndarray, unit: np.ndarray, names: list[str]
) -> np.ndarray:
    """What a face does when its lips close by one centimetre: the actions expected given `lips_part`, as a field.

    A neutral face has closed lips; a single smiling photograph does not show one. Linear-Gaussian conditional mean.
    """
    m = np.concatenate(
        [
            np.einsum("fpc,kpc->fk", p - p.mean(0), rows) / unit / np.sqrt(len(p))
            for p in aligned.values()
            if len(p) >= 20
        ]
    )
    lips = next(i for i, n in enumerate(names) if n.startswith("lips_part"))
    given = (m.T @ m)[:, lips] / (m[:, lips] @ m[:, lips])
    field = np.einsum("k,kpc->pc", given, fields)
    return -field / (rows[lips] * field).sum()


def triangles(edges_file: Path, ref: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Triangles of the skin, counter-clockwise seen from outside, and the loops of the holes and the border."""
    spec = importlib.util.spec_from_file_location("connections", edges_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    near = defaultdict(set)
    for a, b in module.FACEMESH_TESSELATION:
        near[a].add(b)
        near[b].add(a)
    tri = {tuple(sorted((a, b, c))) for a in near for b in near[a] for c in near[a] & near[b]}
    tri -= {(49, 64, 129), (279, 294, 358)}  # three-cycles around a nostril vertex, not faces
    use = defaultdict(int)
    for t in tri:
        for e in ((t[0], t[1]), (t[1], t[2]), (t[0], t[2])):
            use[e] += 1
    assert max(use.values()) == 2 and len(tri) == 852
    border = defaultdict(list)
    for (a, b), n in use.items():
        if n == 1:
            border[a].append(b)
            border[b].append(a)
    loops, left = [], set(border)
    while left:
        loop = [min(left)]
        while True:
            step = [q for q in border[loop[-1]] if q in left and q not in loop]
            if not step:
                break
            loop.append(step[0])
        left -= set(loop)
        loops.append(np.array(loop))
    named = {}
    for loop in loops:
        c = ref[loop].mean(0)
        key = (
            "oval"
            if len(loop) == 36
            else "inner_lips"
            if len(loop) == 20
            else ("left_eye" if c[0] > 0 else "right_eye")
        )
        # Counter-clockwise in (x, y) as seen from in front of the face.
        xy = ref[loop, :2]
        area = np.sum(xy[:, 0] * np.roll(xy[:, 1], -1) - np.roll(xy[:, 0], -1) * xy[:, 1])
        named[key] = loop if area > 0 else loop[::-1].copy()
    out = oriented(np.array(sorted(tri)), ref)
    return out, named


def oriented(tri: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """One winding for the whole surface, spread from neighbour to neighbour."""
    where = defaultdict(list)
    for k, t in enumerate(tri):
        for i in range(3):
            where[frozenset((t[i], t[(i + 1) % 3]))].append(k)
    out, done, todo = tri.copy(), {0}, [0]
    while todo:
        k = todo.pop()
        for i in range(3):
            a, b = out[k][i], out[k][(i + 1) % 3]
            for j in where[frozenset((a, b))]:
                if j in done:
                    continue
                if any(out[j][m] == a and out[j][(m + 1) % 3] == b for m in range(3)):
                    out[j] = out[j][::-1]
                done.add(j)
                todo.append(j)
    n = np.cross(ref[out[:, 1]] - ref[out[:, 0]], ref[out[:, 2]] - ref[out[:, 0]])
    return out if n[:, 2].sum() > 0 else out[:, ::-1].copy()


def uv_map(ref: np.ndarray, tri: np.ndarray, loops: dict[str, np.ndarray], mirror: np.ndarray) -> np.ndarray:
    """UV in 0..1 (v down): mean-value coordinates (Floater 2003) inside a convex border, so no triangle folds."""
    points = list(ref[:468])
    faces = [tuple(t) for t in tri]
    for key in ("inner_lips", "left_eye", "right_eye"):  # close the holes with a fan for the solve
        loop = loops[key]
        points.append(ref[loop].mean(0))
        faces += [(loop[i], loop[(i + 1) % len(loop)], len(points) - 1) for i in range(len(loop))]
    pts = np.array(points)
    n = len(pts)
    weight = np.zeros((n, n))
    for t in faces:
        for i in range(3):
            a, b, c = t[i], t[(i + 1) % 3], t[(i + 2) % 3]
            u, v = pts[b] - pts[a], pts[c] - pts[a]
            angle = np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))
            weight[a, b] += np.tan(angle / 2) / np.linalg.norm(u)
            weight[a, c] += np.tan(angle / 2) / np.linalg.norm(v)
    oval = loops["oval"]
    angle = np.arctan2(pts[oval, 0], pts[oval, 2] + 4.0)  # cylinder around an axis behind the face
    border = np.stack([angle / np.abs(angle).max(), pts[oval, 1]], 1)
    mid = 0.5 * (border[:, 1].max() + border[:, 1].min())
    border[:, 1] = (border[:, 1] - mid) / (0.5 * np.ptp(border[:, 1]))
    theta = np.arctan2(border[:, 1], border[:, 0])
    power = 2.6  # a superellipse: convex, and closer to a face than a circle
    r = (np.abs(np.cos(theta)) ** power + np.abs(np.sin(theta)) ** power) ** (-1 / power)
    fixed = np.stack([r * np.cos(theta), r * np.sin(theta)], 1)
    uv = np.zeros((n, 2))
    uv[oval] = fixed
    free = np.setdiff1d(np.arange(n), oval)
    w = weight / weight.sum(1, keepdims=True)
    uv[free] = np.linalg.solve(np.eye(len(free)) - w[np.ix_(free, free)], w[np.ix_(free, oval)] @ fixed)
    uv = uv[:468]
    sym = uv[mirror[:468]] * np.array([-1.0, 1.0])
    uv = (uv + sym) / 2
    d1, d2 = uv[tri[:, 1]] - uv[tri[:, 0]], uv[tri[:, 2]] - uv[tri[:, 0]]
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    print("uv: folded triangles", int((area <= 0).sum()), "smallest/median area", area.min() / np.median(area))
    out = np.zeros((478, 2))
    out[:468] = np.stack([0.5 + 0.48 * uv[:, 0], 0.5 - 0.48 * uv[:, 1]], 1)
    for first, key in ((468, "right_eye"), (473, "left_eye")):  # irises lie inside their eye opening
        loop = loops[key]
        basis = np.c_[ref[loop, :2], np.ones(len(loop))]
        affine = np.linalg.lstsq(basis, out[loop], rcond=None)[0]
        out[first : first + 5] = np.c_[ref[first : first + 5, :2], np.ones(5)] @ affine
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--edges", type=Path, required=True, help="mediapipe's face_mesh_connections.py")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tracks = {}
    for f in sorted(args.tracks.glob("*.npz")):
        p = np.load(f)["p"].astype(np.float64)
        if p.ndim == 3 and len(p):
            p = p * np.array([1.0, -1.0, -1.0])
            if len(p) < 20:  # photographs: every face is a person
                tracks |= {f"{f.stem}#{i}": p[i : i + 1] for i in range(len(p))}
            else:
                tracks[f.stem] = p[:: max(1, len(p) // 300)]
    ref, mirror = reference_mesh(tracks)
    aligned = {k: align(p, ref) for k, p in tracks.items()}
    names, rows, fields, unit = action_basis(aligned, mirror)
    close = closing_field(aligned, rows, fields, unit, names)
    mean, modes = ref, np.zeros((0, 478, 3))
    for _ in range(4):
        neutral = np.stack([neutral_of(p, mean, modes, fields, close) for p in aligned.values()])
        both = np.concatenate([neutral, mirrored(neutral, mirror)])
        mean = both.mean(0)
        _, s, vt = np.linalg.svd((both - mean).reshape(len(both), -1), full_matrices=False)
        modes = (s[:IDENTITY_MODES, None] / np.sqrt(len(both)) * vt[:IDENTITY_MODES]).reshape(-1, 478, 3)
        print(
            "identity variance kept:",
            (s[:IDENTITY_MODES] ** 2).sum() / (s**2).sum(),
            "rms cm",
            np.sqrt((both - mean).var()),
        )
    tri, loops = triangles(args.edges, mean)
    uv = uv_map(mean, tri, loops, mirror)
    tensors = {
        "mean_cm": mean,
        "identity_modes_cm": modes,
        "action_fields_cm": fields,
        "action_rows": rows / unit[:, None, None],
        "closing_field": close,
        "uv": uv,
    }
    tensors = {k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}
    tensors |= {"triangles": tri.astype(np.int32), "mirror": mirror.astype(np.int32)}
    tensors |= {f"loop_{k}": v.astype(np.int32) for k, v in loops.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.out, metadata={"actions": "\n".join(names), "people": str(len(tracks))})
    print("wrote", args.out, args.out.stat().st_size, "bytes;", len(tracks), "people;", len(names), "actions")


if __name__ == "__main__":
    main()
