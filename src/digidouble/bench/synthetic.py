"""People whose light is known: a mesh with the skin of a persona, lit by spherical harmonics and a coloured key lamp.

Light. `ambient` are nine coefficients of irradiance a channel (Ramamoorthi & Hanrahan 2001, eq. 13, without the cosine
constants, so that (a, 0, ..., 0) is a plain gain of a); `key` is a lamp far away: colour times max(0, n.l). Colours are scene-
linear; axes are the camera's: x right, y up, z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from digidouble.render import kernels
from digidouble.schema.mesh import face_model, vertex_normals
from digidouble.schema.persona import Persona

BACKDROP = 0.08  # scene-linear, times the ambient colour


@dataclass(frozen=True)
class Lamp:
    """A lighting: ambient harmonics and one key."""

    ambient: Float[np.ndarray, "9 3"]
    key_rgb: Float[np.ndarray, "3"]
    key_direction: Float[np.ndarray, "3"]

    def on(self, normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Irradiance, relative to a plain gain of 1."""
        x, y, z = np.moveaxis(normals, -1, 0)
        basis = np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)
        direction = self.key_direction / np.linalg.norm(self.key_direction)
        return np.maximum(basis @ self.ambient, 0.01) + np.maximum(normals @ direction, 0)[..., None] * self.key_rgb


def lamp(ambient_rgb: tuple[float, float, float], up: float, key_rgb: tuple[float, float, float], side: float) -> Lamp:
    """Ambient of one colour, stronger from above by `up`, and a key from `side` (-1 picture left .. 1 right), a little above."""
    ambient = np.zeros((9, 3))
    ambient[0] = ambient_rgb
    ambient[1] = up * np.array(ambient_rgb)
    return Lamp(ambient, np.array(key_rgb), np.array([side, 0.35, 0.6]))


FLAT = lamp((0.9, 0.9, 0.9), 0.0, (0.1, 0.1, 0.1), 0.0)
WARM_ROOM = lamp((0.30, 0.22, 0.14), 0.1, (0.85, 0.62, 0.38), -0.9)
COLD_STREET = lamp((0.34, 0.42, 0.56), 0.3, (0.28, 0.40, 0.62), 0.8)
COLD_HARD = lamp((0.12, 0.15, 0.21), 0.2, (0.55, 0.75, 1.05), 1.0)
RED_NIGHT = lamp((0.05, 0.06, 0.14), 0.0, (0.95, 0.16, 0.12), -1.0)


@dataclass(frozen=True)
class Shown:
    """A picture of a synthetic person. linear: scene-linear. face: where the skin is. normals: camera axes, zero elsewhere."""

    linear: Float32[np.ndarray, "h w 3"]
    face: Bool[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]


def pose_matrix(yaw_deg: float, pitch_deg: float, roll_deg: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """Camera axes from head axes: Rz(roll) Rx(-pitch) Ry(yaw)."""
    a, b, c = np.radians([yaw_deg, -pitch_deg, roll_deg])
    ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ rx @ ry


def photographed(
    persona: Persona, shape_cm: Float[np.ndarray, "478 3"], turn: Float[np.ndarray, "3 3"], light: Lamp, size: int
) -> Shown:
    """The persona's skin on a shape, turned, lit, in the middle of a square picture of `size`; orthographic."""
    model = face_model()
    turned = (shape_cm - shape_cm[:468].mean(0)) @ turn.T
    scale = 0.62 * size / 18.0
    px = np.column_stack([size / 2 + scale * turned[:, 0], size / 2 - scale * turned[:, 1], -scale * turned[:, 2]])
    depth, triangle = np.empty((size, size), np.float32), np.empty((size, size), np.int32)
    bary = np.zeros((size, size, 2), np.float32)
    triangles = model.all_triangles
    kernels.rasterise(px, triangles, depth, triangle, bary)
    face = triangle >= 0
    corner = triangles[triangle[face]]
    inner = bary[face].astype(np.float64)  # weights of the second and third corner
    weights = np.concatenate([1 - inner.sum(1, keepdims=True), inner], axis=1)[..., None]
    normals = (vertex_normals(turned, model.triangles)[corner] * weights).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    atlas = np.ascontiguousarray(persona.keys[0].albedo, np.float32)
    at = np.zeros((size, size, 2), np.float32)
    at[face] = (model.uv[corner] * weights).sum(1) * atlas.shape[0] - 0.5
    albedo = cv2.remap(atlas, at, None, cv2.INTER_LINEAR)[face]  # type: ignore[call-overload]
    linear = np.broadcast_to(BACKDROP * light.ambient[0], (size, size, 3)).astype(np.float32).copy()
    linear[face] = albedo * light.on(normals)
    field = np.zeros((size, size, 3), np.float32)
    field[face] = normals
    return Shown(linear, face & (triangle < len(model.triangles)), field)
