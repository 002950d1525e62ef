"""What rendering gives to compositing: one `Layer` a double, in a region of the plate; and the passes a compositor is given."""

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


@dataclass(frozen=True)
class Surface:
    """What a double's pixels are made of, in the region of its layer. Zero where there is no face.

    Attributes:
        albedo: scene-linear colour of skin without light; in eyes and mouth the plate's own light, with a shading of 1.
        shading, specular: what `albedo` is multiplied by, and what comes on top: their sum is the double before blur and grain.
        normal: unit vectors in camera axes: x right, y up, z towards the viewer.
        uv: 0..1 as in `FaceModel.uv` (v down).
        confidence: 0..1, how far a source showed this skin, times how sure the track is.
        forward_px, backward_px: where this skin is in the next and in the last frame, relative to now, in pixels (x right, y
            down); 0 where the double is not in that frame.
        worn: 0..1, coverage given up to what the performer wears (glasses).
    """

    albedo: Float32[np.ndarray, "h w 3"]
    shading: Float32[np.ndarray, "h w 3"]
    specular: Float32[np.ndarray, "h w 3"]
    normal: Float32[np.ndarray, "h w 3"]
    uv: Float32[np.ndarray, "h w 2"]
    confidence: Float32[np.ndarray, "h w"]
    forward_px: Float32[np.ndarray, "h w 2"]
    backward_px: Float32[np.ndarray, "h w 2"]
    worn: Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class FacePasses:
    """One double in one frame with everything it was made from.

    Attributes:
        layer: as composited. core: 0..1, its coverage if nothing were in front of the face.
        hair: 0..1, how much of what is in front of the face is the performer's hair.
        points_px: the double's mesh in plate pixels.
    """

    layer: Layer
    core: Float32[np.ndarray, "h w"]
    hair: Float32[np.ndarray, "h w"]
    surface: Surface
    points_px: Float32[np.ndarray, "478 3"]


@dataclass(frozen=True)
class FramePasses:
    """A frame's passes: the composite in scene-linear light, not rounded to the plate's codes, and the doubles, nearest first."""

    index: int
    comp_linear: Float32[np.ndarray, "h w 3"]
    faces: tuple[FacePasses, ...]
