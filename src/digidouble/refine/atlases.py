"""A persona's atlases, finer than its sources: enlarged, with the network's detail where the sources were seen.

An atlas has about as many texels as its source had pixels; drawn larger than it was photographed, a double is soft. Here every atlas is brought to
twice the resolution of the sharpest source (`FACTOR`), and gets detail from the band that no source could hold. Brows, lids and lips take
less of it (`ON_FEATURES`): there the network sharpens edges, and at full strength lip contours begin to bead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.errors import SettingsError
from digidouble.perception.uvgrid import uv_grid
from digidouble.refine.diffusion import FACTORS, MOST_TEXELS, SkinDetail
from digidouble.schema.persona import TEXELS_PER_PX, AddedDetail, KeyAtlas, Persona

FACTOR = 2.0
PAYS_BELOW_PX = 256.0
"""Width of the sharpest source's face up to which detail pays: twice its atlas is what the network was trained on (704 texels)."""
ON_FEATURES = 0.7
SOFT = 0.012  # of the atlas: how the two weights meet

Progress = Callable[[int, int], None]


def pays(persona: Persona) -> bool:
    """Whether detail is worth adding: the atlases are its sources' own, and the sharpest source's face is small."""
    return persona.detail is None and max(k.face_px for k in persona.keys) <= PAYS_BELOW_PX


def detailed(
    persona: Persona,
    network: SkinDetail,
    factor: float = FACTOR,
    progress: Progress | None = None,
) -> Persona:
    """The persona with atlases of about `factor` times the resolution of its sharpest source, and detail in them.

    The same noise over UV serves every key, so pores stay when keys cross-fade. What the persona records is how much larger its atlases are in
    the end: sides are multiples of 32, and none is made smaller.

    Raises:
        SettingsError: it has such detail already.
    """
    if persona.detail is not None:
        raise SettingsError(f"persona {persona.name}: its atlases have added detail already; build it again without.")
    own = max(_held_texels(k) for k in persona.keys)
    texels = max(persona.keys[0].albedo.shape[0], min(32 * round(factor * own / 32), MOST_TEXELS))
    keys: list[KeyAtlas] = []
    for i, key in enumerate(persona.keys):
        keys.append(_finer(key, texels, network))
        if progress:
            progress(i + 1, len(persona.keys))
    return replace(persona, keys=tuple(keys), detail=AddedDetail(round(texels / own, 3), network.sha256))


def _held_texels(key: KeyAtlas) -> float:
    """Side of the atlas that would hold what this one shows: its source's pixels, or all of its own texels where those are fewer."""
    return min(key.face_px * TEXELS_PER_PX, float(key.albedo.shape[0]))


def _finer(key: KeyAtlas, texels: int, network: SkinDetail) -> KeyAtlas:
    """One atlas at a new side. Keys of smaller faces have more to be added to reach the same sharpness."""
    confidence = cv2.resize(key.confidence, (texels, texels), interpolation=cv2.INTER_LINEAR)
    factor = float(np.clip(texels / _held_texels(key), *FACTORS))
    weight = share_of_detail(texels) * confidence.astype(np.float32) / 255
    albedo = network.enlarged(key.albedo.astype(np.float32), factor, weight=weight, side=texels)
    return replace(key, albedo=albedo.astype(np.float16), confidence=confidence)


def share_of_detail(texels: int) -> Float32[np.ndarray, "t t"]:
    """1 on plain skin, ON_FEATURES on brows, lids, lips and in the openings."""
    plain = cv2.GaussianBlur(uv_grid(texels).skin.astype(np.float32), (0, 0), SOFT * texels)
    return ON_FEATURES + (1 - ON_FEATURES) * plain
