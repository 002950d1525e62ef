"""Light on a face as second-order spherical harmonics of the surface normal.

    radiance(n) = albedo * sum_k c_k H_k(n)

H are the nine real harmonics up to order 2 without their normalisation (Ramamoorthi & Hanrahan 2001, eq. 13, up to constant
factors per coefficient). Normals are in camera axes: x right, y up, z towards the viewer.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from digidouble.schema.colour import LUMA

# A face shows one half of the sphere, so order-2 terms are badly determined: the ridge grows with the order.
RIDGE = np.array([0.0, 0.002, 0.002, 0.002, 0.3, 0.3, 0.6, 0.3, 0.3])


def harmonics(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    """The nine harmonics at unit normals."""
    x, y, z = np.moveaxis(np.asarray(normals), -1, 0)
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


def fit_light(
    radiance: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "9 3"]:
    """Robust least squares (Huber re-weighting, 4 rounds) of the harmonics against radiance of one albedo.

    The coefficients carry the mean albedo: light and skin tone cannot be told apart from one picture.
    """
    h = harmonics(normals).astype(np.float64)
    y = radiance.astype(np.float64)
    scale = max(float((weights @ y.mean(1)) / max(weights.sum(), 1e-9)), 1e-5)
    w = weights.astype(np.float64).copy()
    coefficients = np.zeros((9, 3))
    for _ in range(4):
        gram = (h * w[:, None]).T @ h
        ridge = np.diag(RIDGE) * max(w.sum(), 1e-9)
        coefficients = np.linalg.solve(gram + ridge + 1e-9 * np.eye(9), (h * w[:, None]).T @ y)
        error = np.abs(y - h @ coefficients).max(1) / scale
        w = weights / np.maximum(1, error / 0.15)
    return coefficients


def shading(light_sh: Float[np.ndarray, "9 3"], normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Irradiance at the normals, floored at an eighth of the frontal value so that nothing is divided by darkness."""
    front = harmonics(np.array([0.0, 0.0, 1.0])) @ light_sh
    return np.maximum(harmonics(normals) @ light_sh, 0.125 * np.abs(front) + 1e-5)


def dominant_direction(light_sh: Float[np.ndarray, "9 3"]) -> Float[np.ndarray, " 3"]:
    """Unit vector towards the strongest light: the order-1 terms of luminance (camera axes)."""
    d = light_sh[1:4] @ LUMA
    return d / (np.linalg.norm(d) + 1e-9)
