"""Looking into a radiance field without torch: the small network and its planes through onnxruntime, the rays through numba.

A field's arrays come from a persona, its graph from here: nothing that a stranger's file holds is executed. Rays are those of a
scaled-orthographic camera, parallel, so one march over the texels of the surface serves a frame whatever the plate's size.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.session import Session
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.mesh import FLIP_YZ, LID_PAIRS, face_model
from digidouble.schema.radiance import (
    COARSE,
    CONDITIONS,
    GROUPS,
    HEIGHTS_CM,
    OPENING_UNIT_CM,
    STEP_CM,
    VIEW_UNIT,
    Radiance,
)
from digidouble.schema.radiance_kernels import march

STEEPEST = 0.3  # cosine to the ray: skin more edge-on than this slants rays no further
DARKEST, BRIGHTEST = -9.0, 2.0  # natural log of what a field may answer


def conditions_of(
    shape_cm: Float[np.ndarray, "478 3"], actions: Float[np.ndarray, "a"], rotation: Float[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "c"]:
    """What a field is asked for. `shape_cm`: the mesh in the head frame. `rotation`: camera axes from head axes."""
    gaps = [float(np.median([shape_cm[u, 1] - shape_cm[low, 1] for u, low in pairs])) for pairs in LID_PAIRS]
    lips = float((shape_cm[[13, 82, 312], 1] - shape_cm[[14, 87, 317], 1]).mean())
    view = rotation[2, :2] / VIEW_UNIT  # the third row is the direction to the viewer, in head axes
    return np.concatenate([actions, view, np.array([*gaps, lips]) / OPENING_UNIT_CM]).astype(np.float32)


def slant_of(points_px: Float[np.ndarray, "478 3"], px_per_cm: float) -> Float32[np.ndarray, "g g 3"]:
    """Over a coarse UV grid: by how much (u, v) a ray moves along the skin for a centimetre of height, and the cosine between
    ray and skin's normal."""
    m = face_model()
    p = points_px.astype(np.float64) * FLIP_YZ / px_per_cm
    a, b, c = (p[m.triangles[:, i]] for i in range(3))
    ua, ub, uc = (m.uv[m.triangles[:, i]].astype(np.float64) for i in range(3))
    e1, e2, n = b - a, c - a, np.cross(b - a, c - a)
    area = np.linalg.norm(n, axis=1)
    n /= area[:, None] + 1e-9
    facing = np.maximum(n[:, 2], STEEPEST)
    along = np.array([0.0, 0.0, 1.0]) / facing[:, None] - n
    along -= (along * n).sum(1, keepdims=True) * n
    g11, g12, g22 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
    r1, r2 = (along * e1).sum(1), (along * e2).sum(1)
    det = np.maximum(g11 * g22 - g12 * g12, 1e-9)
    s, t = (g22 * r1 - g12 * r2) / det, (g11 * r2 - g12 * r1) / det
    moved = np.concatenate([s[:, None] * (ub - ua) + t[:, None] * (uc - ua), n[:, 2:]], 1)
    moved[:, :2] = np.clip(moved[:, :2], -0.25, 0.25)
    total, weight = np.zeros((478, 3)), np.full(478, 1e-9)
    for i in range(3):
        np.add.at(total, m.triangles[:, i], moved * area[:, None])
        np.add.at(weight, m.triangles[:, i], area)
    return uv_grid(COARSE).carried((total / weight[:, None]).astype(np.float32))


class FieldView:
    """A field made ready for pictures with atlases of `side` texels; safe to ask from several threads."""

    def __init__(self, field: Radiance, side: int | None = None) -> None:
        self.side = min(side or field.side, field.side)
        self.field = field
        planes = field.planes.astype(np.float32)
        if planes.shape[1] > self.side:
            planes = np.stack([_resized(p, self.side) for p in planes])
        self._fixed = _resized(field.fixed.astype(np.float32), self.side)
        self._plane_side = planes.shape[1]
        self._session = Session(graph_of(field, planes))
        thick = np.logaddexp(0, field.thickness.astype(np.float32)) * STEP_CM
        self._density = np.ascontiguousarray(thick.transpose(1, 2, 0))
        self._tone = np.ascontiguousarray(np.exp(field.tone.astype(np.float32)).transpose(1, 2, 0, 3))

    def colour(self, conditions: Float32[np.ndarray, "c"]) -> Float32[np.ndarray, "s s 3"]:
        """Linear colour on the surface of the shell's tones, before any ray: exp(fixed + planes)."""
        moving = self._session.run({"conditions": conditions[None].astype(np.float32)})["planes"]
        t = self._plane_side
        log = cv2.resize(moving.reshape(t, t, 3), (self.side, self.side), interpolation=cv2.INTER_LINEAR) + self._fixed
        return cv2.exp(np.clip(log, DARKEST, BRIGHTEST))

    def atlas(
        self, conditions: Float32[np.ndarray, "c"], slant: Float32[np.ndarray, "g g 3"]
    ) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
        """Albedo of the rays through every texel of the surface, and 0..1 how much of each ray the shell stops."""
        colour = self.colour(conditions)
        out = np.empty_like(colour)
        stopped = np.empty(colour.shape[:2], np.float32)
        march(
            colour,
            self._density,
            self._tone,
            np.asarray(HEIGHTS_CM, np.float32),
            slant,
            np.float32(STEEPEST),
            out,
            stopped,
        )
        return out, stopped


def _resized(picture: Float32[np.ndarray, "s s 3"], side: int) -> Float32[np.ndarray, "r r 3"]:
    if picture.shape[0] == side:
        return np.ascontiguousarray(picture)
    return cv2.resize(np.ascontiguousarray(picture), (side, side), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=1)
def group_masks() -> Float32[np.ndarray, "r c"]:
    """1 where a group of radial units looks at a condition."""
    out = np.zeros((len(GROUPS), CONDITIONS), np.float32)
    for row, members in enumerate(GROUPS):
        out[row, list(members)] = 1
    return out


def graph_of(field: Radiance, planes: Float32[np.ndarray, "b t t 3"]) -> bytes:
    """The field's network as ONNX (opset 17): conditions [1, CONDITIONS] -> planes [1, t * t * 3]."""
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: np.ndarray) -> object:
        return numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)

    masks, j = group_masks(), len(field.centres)
    # exp(-|x - m|^2 / 2 r^2) for every group and centre, as a matrix product: |x|^2 - 2 x.m + |m|^2 over the group's conditions.
    scale = 1 / (2 * field.reach.astype(np.float64) ** 2)
    square = np.repeat((masks * scale[:, None]).T, j, 1)
    cross = np.concatenate(
        [(-2 * s * field.centres.astype(np.float64) * m).T for s, m in zip(scale, masks, strict=True)], 1
    )
    own = np.concatenate(
        [s * (field.centres.astype(np.float64) ** 2 * m).sum(1) for s, m in zip(scale, masks, strict=True)]
    )
    values = [
        constant("low", field.low[None]), constant("high", field.high[None]), constant("square", square),
        constant("cross", cross), constant("own", own[None]), constant("weights", field.weights),
        constant("bias", field.bias[None]), constant("table", planes.reshape(len(planes), -1)),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Max", ["conditions", "low"], ["raised"]),
        helper.make_node("Min", ["raised", "high"], ["held"]),
        helper.make_node("Mul", ["held", "held"], ["squared"]),
        helper.make_node("MatMul", ["squared", "square"], ["part"]),
        helper.make_node("MatMul", ["held", "cross"], ["mixed"]),
        helper.make_node("Sum", ["part", "mixed", "own"], ["distance"]),
        helper.make_node("Relu", ["distance"], ["positive"]),
        helper.make_node("Neg", ["positive"], ["negative"]),
        helper.make_node("Exp", ["negative"], ["units"]),
        helper.make_node("MatMul", ["units", "weights"], ["summed"]),
        helper.make_node("Add", ["summed", "bias"], ["shares"]),
        helper.make_node("MatMul", ["shares", "table"], ["planes"]),
    ]
    graph = helper.make_graph(
        nodes, "radiance",
        [helper.make_tensor_value_info("conditions", TensorProto.FLOAT, [1, CONDITIONS])],
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, int(planes[0].size)])],
        values,  # type: ignore[arg-type]
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
