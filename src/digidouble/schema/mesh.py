"""The face mesh: 478 points in the MediaPipe order, its triangles, regions, UV, and the shape prior fitted by `training/shape`.

Frames of reference
    px      pixels of the upright plate: x right, y down, z in the same scale, smaller is nearer the camera.
    head    centimetres: +x the subject's left, +y up, +z out of the face, origin between the eyes.
    uv      0..1, u to the subject's left, v down; `FaceModel.uv`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Float, Int

POINTS = 478
IRIS_DIAMETER_CM = 1.17  # Hashemi et al. 2012: horizontal visible iris diameter 11.7 +- 0.5 mm in adults
RIGHT_IRIS, LEFT_IRIS = np.arange(468, 473), np.arange(473, 478)
# Points that move least with expression: forehead, nose bridge and tip, eye corners, temples.
RIGID = np.array(
    [1, 4, 5, 6, 168, 8, 9, 10, 151, 197, 195, 2, 98, 327, 33, 133, 362, 263, 127, 356, 234, 454, 132, 361]
)
BROWS = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285])
OUTER_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
NOSTRILS = np.array(
    [20, 60, 75, 79, 166, 238, 239, 241, 242, 250, 290, 305, 309, 392, 458, 459, 461, 462, 237, 457, 44, 274]
)
# Upper and lower lid points above each other, outer to inner corner (right eye, left eye).
EYE_CORNERS = ((33, 133), (263, 362))  # outer and inner, right eye then left
LID_PAIRS = (
    ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155)),
    ((466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382)),
)
FLIP_YZ = np.array([1.0, -1.0, -1.0], np.float32)  # px axes <-> head axes


@dataclass(frozen=True)
class FaceModel:
    """Everything about the mesh that does not depend on a person or a frame.

    Attributes:
        triangles: skin, counter-clockwise seen from outside the face.
        inner_triangles: the mouth opening and the two eye openings, closed.
        uv: 0..1 for the 468 skin points, irises inside their openings.
        mean_cm, identity_modes_cm: average neutral face and its principal variations (one standard deviation each).
        action_names: `positive/negative` names of the muscle actions (FACS); action_fields_cm: displacement for a
            coefficient of 1; action_rows: the linear measurement (coefficient from a displacement) behind each name.
        closing_field_cm: what a face does when its lips close by 1 cm.
        mirror: index of the point on the other side.
        loops: border point loops "oval", "inner_lips", "left_eye", "right_eye".
        rim_cm: distance of every point to the oval along the surface of the mean face.
        hole_cm: distance to the nearest of the inner-lip and lid contours along the surface.
    """

    triangles: Int[np.ndarray, "t 3"]
    inner_triangles: Int[np.ndarray, "i 3"]
    uv: Float[np.ndarray, "478 2"]
    mean_cm: Float[np.ndarray, "478 3"]
    identity_modes_cm: Float[np.ndarray, "k 478 3"]
    action_names: tuple[str, ...]
    action_fields_cm: Float[np.ndarray, "a 478 3"]
    action_rows: Float[np.ndarray, "a 478 3"]
    closing_field_cm: Float[np.ndarray, "478 3"]
    mirror: Int[np.ndarray, "478"]
    loops: dict[str, Int[np.ndarray, "n"]]
    rim_cm: Float[np.ndarray, "478"]
    hole_cm: Float[np.ndarray, "478"]

    @property
    def all_triangles(self) -> Int[np.ndarray, "n 3"]:
        """Skin first, then the openings."""
        return np.concatenate([self.triangles, self.inner_triangles])

    def named_actions(self, coefficients: Float[np.ndarray, "a"]) -> dict[str, float]:
        """Signed coefficients as named muscle actions in 0..1 (two opposite names share one coefficient)."""
        out: dict[str, float] = {}
        for name, c in zip(self.action_names, coefficients, strict=True):
            positive, negative = name.split("/")
            out[positive] = float(np.clip(c, 0, 1))
            out[negative] = float(np.clip(-c, 0, 1))
        return out


def _strip(loop: Int[np.ndarray, "n"], points: Float[np.ndarray, "478 3"]) -> list[tuple[int, int, int]]:
    """Triangles closing an opening between its upper and lower contour, so that a shut opening has no area."""
    left, right = int(np.argmin(points[loop, 0])), int(np.argmax(points[loop, 0]))
    ring = [int(p) for p in np.roll(loop, -left)]  # from the leftmost point, counter-clockwise: lower side first
    split = (right - left) % len(loop)
    lower, upper = ring[: split + 1], [ring[0], *ring[:split:-1], ring[split]]
    out: list[tuple[int, int, int]] = []
    i = j = 0
    while i < len(lower) - 1 or j < len(upper) - 1:
        # Advance on the side that lags in x; both ends are shared points, so degenerate triangles are dropped.
        go_low = j == len(upper) - 1 or (i < len(lower) - 1 and points[lower[i + 1], 0] <= points[upper[j + 1], 0])
        t = (lower[i], lower[i + 1], upper[j]) if go_low else (lower[i], upper[j + 1], upper[j])
        i, j = (i + 1, j) if go_low else (i, j + 1)
        if len(set(t)) == 3:
            out.append(t)
    return out


def surface_distance(
    points: Float[np.ndarray, "p 3"], triangles: Int[np.ndarray, "t 3"], sources: Int[np.ndarray, "n"]
) -> Float[np.ndarray, " p"]:
    """Shortest way along mesh edges from each point to the nearest source, in the unit of `points` (Dijkstra)."""
    near: dict[int, set[int]] = {}
    for a, b, c in triangles.tolist():
        near.setdefault(a, set()).update((b, c))
        near.setdefault(b, set()).update((a, c))
        near.setdefault(c, set()).update((a, b))
    out = np.full(len(points), np.inf)
    out[sources] = 0
    heap = [(0.0, int(s)) for s in sources]
    while heap:
        d, p = heapq.heappop(heap)
        if d > out[p]:
            continue
        for q in near.get(p, ()):
            e = d + float(np.linalg.norm(points[p] - points[q]))
            if e < out[q]:
                out[q] = e
                heapq.heappush(heap, (e, q))
    out[~np.isfinite(out)] = 0
    return out.astype(np.float32)


@lru_cache(maxsize=1)
def face_model() -> FaceModel:
    """The shipped face model (read once)."""
    from safetensors import safe_open

    with (
        resources.as_file(resources.files("digidouble") / "shipped" / "face_shape.safetensors") as path,
        safe_open(path, "np") as f,
    ):
        t = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  safe_open is no mapping
        names = tuple(f.metadata()["actions"].split("\n"))
    loops = {k.removeprefix("loop_"): v for k, v in t.items() if k.startswith("loop_")}
    mean, triangles = t["mean_cm"], t["triangles"]
    inner = [tri for key in ("inner_lips", "left_eye", "right_eye") for tri in _strip(loops[key], mean)]
    holes = np.concatenate([loops["inner_lips"], loops["left_eye"], loops["right_eye"]])
    return FaceModel(
        triangles=triangles,
        inner_triangles=np.array(inner, np.int32),
        uv=t["uv"],
        mean_cm=mean,
        identity_modes_cm=t["identity_modes_cm"],
        action_names=names,
        action_fields_cm=t["action_fields_cm"],
        action_rows=t["action_rows"],
        closing_field_cm=t["closing_field"],
        mirror=t["mirror"],
        loops=loops,
        rim_cm=surface_distance(mean, triangles, loops["oval"]),
        hole_cm=surface_distance(mean, triangles, holes),
    )


def iris_places(points_px: Float[np.ndarray, "478 3"]) -> list[tuple[float, float]]:
    """Where to read the colour of the irises: left and right of each pupil, which the lids leave visible. Pixels."""
    out = []
    for ring in (RIGHT_IRIS, LEFT_IRIS):
        x, y = points_px[ring[0], :2]
        radius = float(np.linalg.norm(points_px[ring[1], :2] - points_px[ring[3], :2]) / 2)
        if radius >= 1.5:
            out += [(float(x) + side * radius, float(y) + 0.15 * radius) for side in (-0.65, -0.5, 0.5, 0.65)]
    return out


def upright_angle(points_px: Float[np.ndarray, "478 3"]) -> float:
    """Radians by which the horizontal of a face is turned in the picture: the line of the outer eye corners, or, as a profile makes
    that line short, the perpendicular of the line from forehead to chin."""
    eyes, down = points_px[263, :2] - points_px[33, :2], points_px[152, :2] - points_px[10, :2]
    across = np.array([down[1], -down[0]])
    wide, tall = float(np.linalg.norm(eyes)), float(np.linalg.norm(down))
    k = float(np.clip((0.35 - wide / max(tall, 1e-6)) / 0.15, 0, 1))
    if k <= 0:
        return float(np.arctan2(eyes[1], eyes[0]))
    mixed = (1 - k) * eyes / max(wide, 1e-6) + k * across / max(tall, 1e-6)
    return float(np.arctan2(mixed[1], mixed[0]))


def vertex_normals(points: Float[np.ndarray, "p 3"], triangles: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "p 3"]:
    """Area-weighted unit normals, pointing out of the face in a right-handed frame (head, or px with y and z negated)."""
    from digidouble.schema.kernels import add_triangle_normals  # numba takes a third of a second to import

    points, out = np.ascontiguousarray(points), np.zeros(points.shape, points.dtype)
    add_triangle_normals(points, np.ascontiguousarray(triangles, np.int32), out)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-9)


def camera_normals(points_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """Unit normals of a mesh in pixels, in camera axes: x right, y up, z towards the viewer."""
    return vertex_normals(points_px * FLIP_YZ, face_model().triangles).astype(np.float32)
