"""A persona's atlases, finer than its sources: enlarged, with the network's detail where the sources were seen.

An atlas has about as many texels as its source had pixels; drawn larger than it was photographed, a double is soft. Here every atlas is brought to
twice the resolution of the sharpest source (`FACTOR`), and gets detail from the band that no source could hold. Brows, lids and lips take
less of it (`ON_FEATURES`): there the network sharpens edges, and at full strength lip contours begin to bead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from digidouble.errors import SettingsError
from digidouble.perception.uvgrid import uv_grid
from digidouble.refine.diffusion import FACTORS, MOST_TEXELS, SkinDetail
from digidouble.schema.persona import AddedDetail, KeyAtlas, Persona
from digidouble.schema.transfer import srgb_decode, srgb_encode

FACTOR = 2.0
PAYS_BELOW_PX = 256.0
"""Width of the sharpest source's face up to which detail pays: twice its atlas is what the network was trained on (704 texels)."""
TEXELS_PER_PX = 1.45  # of a source's face, as `persona.atlas` cuts
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
    only: Collection[int] | None = None,
    progress: Progress | None = None,
) -> Persona:
    """The persona with atlases of `factor` times the resolution of its sharpest source, and detail in them.

    The same noise over UV serves every key, so pores stay when keys cross-fade. `only`: keys that get detail, all when None; the others are
    enlarged and no more.

    Raises:
        SettingsError: it has such detail already.
    """
    if persona.detail is not None:
        raise SettingsError(f"persona {persona.name}: its atlases have added detail already; build it again without.")
    own = max(k.face_px for k in persona.keys) * TEXELS_PER_PX
    texels = max(persona.keys[0].albedo.shape[0], min(32 * round(factor * own / 32), MOST_TEXELS))
    keys: list[KeyAtlas] = []
    for i, key in enumerate(persona.keys):
        asked = None if only is not None and i not in only else network
        keys.append(_finer(key, texels, asked))
        if progress:
            progress(i + 1, len(persona.keys))
    return replace(persona, keys=tuple(keys), detail=AddedDetail(factor, network.sha256))


def _finer(key: KeyAtlas, texels: int, network: SkinDetail | None) -> KeyAtlas:
    """One atlas at a new side. Keys of smaller faces have more to be added to reach the same sharpness."""
    size = (texels, texels)
    albedo = np.maximum(cv2.resize(key.albedo.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), 0)
    confidence = cv2.resize(key.confidence, size, interpolation=cv2.INTER_LINEAR)
    if network is not None:
        factor = float(np.clip(texels / (TEXELS_PER_PX * key.face_px), *FACTORS))
        low = srgb_encode(albedo)
        weight = share_of_detail(texels) * confidence.astype(np.float32) / 255
        albedo = srgb_decode(np.maximum(low + weight[..., None] * network.detail(low, factor, seed=0), 0))
    return replace(key, albedo=albedo.astype(np.float16), confidence=confidence)


def share_of_detail(texels: int) -> Float32[np.ndarray, "t t"]:
    """1 on plain skin, ON_FEATURES on brows, lids, lips and in the openings."""
    plain = cv2.GaussianBlur(uv_grid(texels).skin.astype(np.float32), (0, 0), SOFT * texels)
    return ON_FEATURES + (1 - ON_FEATURES) * plain
