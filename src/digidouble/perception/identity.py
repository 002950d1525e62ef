"""Who is it: SFace's 128 numbers from a face aligned to the ArcFace template.

The network takes RGB, 0..255, 112x112 (it subtracts 127.5 and divides by 128 itself). Same person: similarity about
0.75 on photographs; different people about 0.06; 0.43 separates them best. Faces under about 28 pixels carry no
usable identity. SFace works inside the product (tracks, selection, training losses); it must not judge the product's
results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception import mesh_points as mp
from digidouble.perception.crop import fit_similarity, sample_affine
from digidouble.perception.session import Provider, Runner, Session

CROP = 112
SAME_PERSON = 0.425
"""Similarity from which two photographs show one person (equal error rate on 186 photographs)."""

# Right eye, left eye, nose, right and left mouth corner in the 112x112 crop (ArcFace; OpenCV's FaceRecognizerSF).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


class IdentityEmbedder:
    """Turns faces into vectors; holds the network and nothing of the pictures it saw."""

    def __init__(
        self, *, threads: int = 1, providers: Sequence[Provider] = ("cpu",), runner: Runner | None = None
    ) -> None:
        self._runner = runner or Session("sface", providers=providers, threads=threads)

    def embed(self, rgb8: UInt8[np.ndarray, "h w 3"], points5: Float[np.ndarray, "5 2"]) -> Float32[np.ndarray, " 128"]:
        """Unit vector of one face, from its five points in the order of `Detection.points5`."""
        return self.embed_crops(aligned_crop(rgb8, points5)[None])[0]

    def embed_crops(self, crops: UInt8[np.ndarray, "n 112 112 3"]) -> Float32[np.ndarray, "n 128"]:
        """Unit vectors of crops that are aligned already, in one batch."""
        planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
        vectors = self._runner.run({"data": planes})["fc1"]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))


def aligned_crop(rgb8: UInt8[np.ndarray, "h w 3"], points5: Float[np.ndarray, "5 2"]) -> UInt8[np.ndarray, "112 112 3"]:
    """The face turned, scaled and moved so that its points fall on the template.

    Raises:
        ValueError: the points coincide or are not finite.
    """
    return sample_affine(rgb8, fit_similarity(TEMPLATE, points5), CROP)


def points5_from_mesh(points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "5 2"]:
    """The five points of a mesh: iris centres, tip of the nose, corners of the mouth."""
    chosen = [mp.RIGHT_IRIS, mp.LEFT_IRIS, mp.NOSE_TIP, mp.RIGHT_MOUTH_CORNER, mp.LEFT_MOUTH_CORNER]
    return points_px[chosen, :2].astype(np.float32)


def similarity(a: Float32[np.ndarray, " 128"], b: Float32[np.ndarray, " 128"]) -> float:
    """Cosine between two unit vectors, -1..1; at least SAME_PERSON for the same person."""
    return float(np.clip(a @ b, -1.0, 1.0))
