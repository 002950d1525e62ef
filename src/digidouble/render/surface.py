"""The passes of a double: what its pixels are made of (`schema.layers.Surface`). Only rendered when asked for."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32

from digidouble.render.draw import MeshInPlace, PreparedCast, layer_of, mesh_in_place, place, shaded
from digidouble.schema.frame import Roi
from digidouble.schema.layers import Layer, Surface
from digidouble.schema.mesh import face_model

LEAST_ALBEDO = 1e-4  # darker skin has no shading that could be told; 1 is written


def draw_with_surface(
    cast: PreparedCast,
    index: int,
    plate_linear: Float32[np.ndarray, "h w 3"],
    roi: Roi,
    points_px: Float32[np.ndarray, "478 3"],
) -> tuple[Layer, Surface]:
    """The layer of `draw`, bit for bit, and its passes.

    The layer is shaded again with its parts left out: without shine, and without light, creases and worn things. So
    albedo x shading + specular is the layer's colour but for rounding.
    """
    mesh = mesh_in_place(cast, index, plate_linear, roi, points_px)
    rgb, alpha = shaded(cast, index, mesh, plate_linear)
    layer = layer_of(cast, index, mesh, (rgb, alpha), roi, points_px)
    matt = shaded(cast, index, replace(mesh, shine=np.zeros(3)), plate_linear)[0]
    bare = mesh.vertex.copy()
    bare[:, 2:5] = 1.0
    flat = replace(
        mesh, vertex=bare, crease=np.ones_like(mesh.crease), shine=np.zeros(3), worn=np.zeros_like(mesh.worn)
    )
    albedo, unworn = shaded(cast, index, flat, plate_linear)
    dark = albedo < LEAST_ALBEDO
    shading = np.where(dark, 1.0, matt / np.where(dark, 1.0, albedo)).astype(np.float32)
    covered = (mesh.triangle >= 0)[..., None]
    shading = np.where(covered, shading, 0).astype(np.float32)
    specular = (rgb - albedo * shading).astype(np.float32)
    uv = over_pixels(face_model().uv, mesh)
    normal = over_pixels(mesh.normals, mesh)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    forward, backward = (over_pixels(motion(cast, index, points_px, step), mesh) for step in (1, -1))
    surface = Surface(
        albedo, shading, specular, normal, uv, _confidence(cast, index, uv, mesh.triangle), forward, backward,
        (unworn - alpha).clip(0, 1),
    )  # fmt: skip
    return layer, surface


def over_pixels(values: Float[np.ndarray, "478 c"], mesh: MeshInPlace | Layer) -> Float32[np.ndarray, "h w c"]:
    """Values at mesh points, carried over the pixels by their barycentric weights; 0 where there is no mesh."""
    corners = face_model().all_triangles[np.maximum(mesh.triangle, 0)]
    w1, w2 = mesh.barycentric[..., :1], mesh.barycentric[..., 1:]
    v = values.astype(np.float32)
    out = (1 - w1 - w2) * v[corners[..., 0]] + w1 * v[corners[..., 1]] + w2 * v[corners[..., 2]]
    return np.where((mesh.triangle >= 0)[..., None], out, 0).astype(np.float32)


def motion(
    cast: PreparedCast, index: int, points_px: Float32[np.ndarray, "478 3"], step: int
) -> Float32[np.ndarray, "478 2"]:
    """Where the double's points are `step` frames on, relative to now; 0 when it is not in that frame."""
    if cast.plan.track.shown_at(index + step) <= 0:
        return np.zeros((478, 2), np.float32)
    return (place(cast, index + step) - points_px)[:, :2]


def _confidence(
    cast: PreparedCast, index: int, uv: Float32[np.ndarray, "h w 2"], triangle: Int32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    plan = cast.plan
    row = plan.track.row(index)
    keys, mix = plan.persona.keys, float(plan.mix[row])

    def known(key: int) -> Float32[np.ndarray, "h w"]:
        picture = keys[key].confidence
        at = uv * np.float32(len(picture)) - np.float32(0.5)
        read = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return read.astype(np.float32) / 255

    a = known(int(plan.key_a[row]))
    both = a + np.float32(mix) * (known(int(plan.key_b[row])) - a) if mix > 0 else a
    return np.where(triangle >= 0, both * np.float32(np.clip(plan.track.score[row], 0, 1)), 0).astype(np.float32)
