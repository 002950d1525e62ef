"""How much of each region of a face may be shown, frame by frame: what is turned away or not sure is left to the plate.

    turned away    the share of the region's skin that faces the camera, by the finished mesh
    not sure       how far the mesh moved otherwise than the skin under it did, in widths of the face

Both change as smoothly as the face does; what comes out is steadied over time and its steps are bounded (`MOST_STEP`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from digidouble.performance.smooth import convolved
from digidouble.schema.mesh import camera_normals
from digidouble.schema.ramp import smoothstep
from digidouble.schema.regions import region_weights

EDGE_ON, IN_VIEW = -0.3, -0.05  # mean facing of a region: none of it, all of it
SURE_SLIP, LOST_SLIP = 0.02, 0.06  # of the face's width, between what mesh and skin did
MOST_STEP = 0.12  # change a frame: a fade takes at least 9 frames
BELL = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2)
BELL /= BELL.sum()
REACH = 6


def region_view(points_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n r"]:
    """0..1, how far each region faces the camera."""
    weight = region_weights() / region_weights().sum(0)
    mean = np.stack([camera_normals(p)[:, 2] @ weight for p in points_px])
    return smoothstep((mean - EDGE_ON) / (IN_VIEW - EDGE_ON))


def region_sureness(
    carried_px: Float[np.ndarray, "n 478 2"], trust: Float[np.ndarray, "n 478"], width_px: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n r"]:
    """0..1 from what mesh and skin did between frames (`skin_motion`); 1 where the skin says nothing."""
    slip = np.linalg.norm(carried_px, axis=-1) / np.maximum(width_px[:, None], 1.0)
    known = trust @ region_weights()
    mean = (np.minimum(slip, 1.0) * trust) @ region_weights() / np.maximum(known, 1e-6)
    mean = np.where(known > 0.5, mean, 0.0)
    return np.clip((LOST_SLIP - mean) / (LOST_SLIP - SURE_SLIP), 0, 1)


def bounded(alpha: Float[np.ndarray, "n r"], most: float = MOST_STEP) -> Float32[np.ndarray, "n r"]:
    """The largest sequence below `alpha` that changes by at most `most` a frame: fades begin before what they hide."""
    out = np.clip(alpha, 0, 1).astype(np.float32)
    for t in range(1, len(out)):
        out[t] = np.minimum(out[t], out[t - 1] + most)
    for t in range(len(out) - 2, -1, -1):
        out[t] = np.minimum(out[t], out[t + 1] + most)
    return out


def region_alpha(view: Float[np.ndarray, "n r"], sure: Float[np.ndarray, "n r"]) -> Float32[np.ndarray, "n r"]:
    """0..1 over an unbroken stretch of frames."""
    wanted = view * sure
    return bounded(np.minimum(convolved(wanted, BELL), 1.0) if len(wanted) > 1 else wanted)
