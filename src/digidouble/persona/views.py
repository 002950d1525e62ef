"""Pictures of a persona for people: its atlases, how far they can be trusted, and its neutral face from several sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import display_rgb8
from digidouble.schema.mesh import face_model, vertex_normals

if TYPE_CHECKING:
    from digidouble.schema.persona import KeyAtlas, Persona

SPLAT_GRID = 1024  # texels a side drawn as points: closer together than the pixels of a view
SEEN = 32  # of 255
_LAMP = np.array([0.25, 0.45, 0.86])  # direction to the light, head axes


def seen_share(persona: Persona) -> float:
    """0..1, share of the face's skin that some source showed; the rest is mirrored or filled in."""
    grid = uv_grid(256)
    confidence = cv2.resize(persona.keys[0].confidence, (256, 256), interpolation=cv2.INTER_AREA)
    return float((confidence[grid.covered] > SEEN).mean())


def atlas_picture(key: KeyAtlas, size: int = 512) -> UInt8[np.ndarray, "s s 3"]:
    """An atlas as it would look under plain light."""
    albedo = np.ascontiguousarray(key.albedo, np.float32)
    return display_rgb8(cv2.resize(albedo, (size, size), interpolation=cv2.INTER_AREA))


def confidence_picture(key: KeyAtlas, size: int = 512) -> UInt8[np.ndarray, "s s 3"]:
    """Confidence from blue (mirrored or filled) to yellow (seen head-on and sharp)."""
    small = cv2.resize(key.confidence, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.applyColorMap(small, cv2.COLORMAP_CIVIDIS)[..., ::-1].copy()


def neutral_view(persona: Persona, yaw_deg: float, size: int = 320, clay: bool = False) -> UInt8[np.ndarray, "s s 3"]:
    """The neutral face, orthographic, turned by `yaw_deg` to the subject's left, lit from above; clay shows shape alone.

    Every texel of the atlas is drawn as a square of two pixels, the farthest first.
    """
    turn = np.radians(yaw_deg)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    shape = (persona.neutral_cm - persona.neutral_cm[:468].mean(0)) @ rotation.T
    grid = uv_grid(SPLAT_GRID)
    normals = vertex_normals(shape, face_model().triangles)
    at = grid.carried(shape.astype(np.float32))[grid.covered]
    lit = 0.35 + 0.65 * np.clip(grid.carried(normals.astype(np.float32))[grid.covered] @ _LAMP, 0, None)
    colour = np.full((len(at), 3), 0.35, np.float32) if clay else _skin(persona)[grid.covered]
    return _splatted(at, colour * lit[:, None], size, 0.86 * size / float(np.ptp(persona.neutral_cm[:468, 1])))


def _skin(persona: Persona) -> Float[np.ndarray, "g g 3"]:
    return cv2.resize(
        np.ascontiguousarray(persona.keys[0].albedo, np.float32), (SPLAT_GRID, SPLAT_GRID), interpolation=cv2.INTER_AREA
    )


def _splatted(
    at_cm: Float[np.ndarray, "n 3"], rgb_linear: Float[np.ndarray, "n 3"], size: int, px_per_cm: float
) -> UInt8[np.ndarray, "s s 3"]:
    """Points as 2x2 pixels, the nearest on top (+z is towards the viewer, +y up)."""
    order = np.argsort(at_cm[:, 2], kind="stable")
    x = np.floor(size / 2 + at_cm[order, 0] * px_per_cm).astype(np.int32)
    y = np.floor(size / 2 - at_cm[order, 1] * px_per_cm).astype(np.int32)
    inside = (x >= 0) & (x < size - 1) & (y >= 0) & (y < size - 1)
    corner = (y[inside] * size + x[inside])[:, None] + np.array([0, 1, size, size + 1], np.int32)
    # Later writes win, so the index of the last point that touches a pixel is the nearest one.
    nearest = np.full(size * size, -1, np.int32)
    nearest[corner.ravel()] = np.repeat(np.arange(len(corner), dtype=np.int32), 4)
    page = np.full((size * size, 3), 0.02, np.float32)
    page[nearest >= 0] = rgb_linear[order][inside][nearest[nearest >= 0]]
    return display_rgb8(page.reshape(size, size, 3))
