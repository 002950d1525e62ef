"""What rendering gives to compositing: one `Layer` a double, in a region of the plate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from digidouble.schema.frame import Roi


@dataclass(frozen=True)
class Layer:
    """One double in one frame.

    Attributes:
        track_id: whose face it stands in for.
        roi: region of the plate that the arrays cover.
        rgb: scene-linear colour, not premultiplied.
        alpha: 0..1, coverage after feather, occlusion and presence.
        depth_px: z of the surface in pixels (smaller is nearer), +inf where there is none.
        triangle, barycentric: the mesh under each pixel (-1 where there is none), from which uv, normals etc. follow.
        rank: a layer of higher rank is in front; layers of one rank go by the median of their depth.
    """

    track_id: int
    roi: Roi
    rgb: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    depth_px: Float32[np.ndarray, "h w"]
    triangle: Int32[np.ndarray, "h w"]
    barycentric: Float32[np.ndarray, "h w 2"]
    rank: int = 0
