"""CaptureSet -> Persona: one neutral shape from all looks, key atlases, and the atlas fused from them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError
from digidouble.perception.shape import actions_of, neutral_from, pose_and_shape
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import atlas_size, completed, delight, glasses_zone, low_pass, skin_likelihood, unwrap
from digidouble.persona.temper import tempered
from digidouble.schema.capture import CaptureSet, Look
from digidouble.schema.mesh import iris_places
from digidouble.schema.persona import KeyAtlas, Persona


@dataclass(frozen=True)
class PersonaSettings:
    """Settings of the persona stage.

    Attributes:
        atlas_px: side of the atlases; 0 follows the sharpest source (at most 4096).
        keys: at most this many moments are kept beside the fused atlas.
    """

    atlas_px: int = 0
    keys: int = 8

    def __post_init__(self) -> None:
        if self.atlas_px and not 128 <= self.atlas_px <= 4096:
            raise SettingsError(f"atlas_px = {self.atlas_px}: expected 0 or 128..4096")
        if not 1 <= self.keys <= 64:
            raise SettingsError(f"keys = {self.keys}: expected 1..64")


def build_persona(capture: CaptureSet, name: str, settings: PersonaSettings | None = None) -> Persona:
    """Make a persona.

    Raises:
        SettingsError: the name is empty, too long or no plain file-name text.
    """
    settings = settings or PersonaSettings()
    if not name.strip() or len(name) > 100 or any(c in name for c in "/\\\0\n"):
        raise SettingsError(f"persona name {name!r}: expected 1..100 characters without slashes or line breaks")
    looks = list(capture.looks[: settings.keys])
    neutral = neutral_from(np.stack([k.points_px for k in capture.looks]))
    size = settings.atlas_px or max(atlas_size(k.face_px) for k in looks)
    raw = [unwrap(k, size) for k in looks]
    lit = [delight(colour, k) for (colour, _), k in zip(raw, looks, strict=True)]
    confidence = [
        c * skin_likelihood(a, c, glasses_zone(k, size)) for a, (_, c), k in zip(lit, raw, looks, strict=True)
    ]
    albedo = _agreeing([tempered(a, c) for a, c in zip(lit, confidence, strict=True)], confidence)
    fused, fused_conf = _fused(albedo, confidence, looks)
    full, full_conf = completed(fused, fused_conf, None)
    keys = [_key(full, full_conf, looks[0], neutral)]
    if len(looks) > 1:
        for a, c, k in zip(albedo, confidence, looks, strict=True):
            keys.append(_key(*completed(a, c, full), k, neutral))
    identity = np.mean([k.identity for k in capture.looks], 0)
    grid = uv_grid(size)
    skin = full[grid.skin & (full_conf > 64)] if (grid.skin & (full_conf > 64)).any() else full[grid.skin]
    return Persona(
        name=name,
        consent=capture.consent,
        neutral_cm=neutral,
        keys=tuple(keys),
        identity=(identity / np.linalg.norm(identity)).astype(np.float32),
        iris_linear=_iris(looks, skin.mean(0)),
        skin_linear=skin.mean(0).astype(np.float32),
        sources=capture.sources,
    )


def _key(
    albedo: Float32[np.ndarray, "s s 3"], confidence: np.ndarray, look: Look, neutral: Float[np.ndarray, "478 3"]
) -> KeyAtlas:
    pose, shape = pose_and_shape(look.points_px, neutral)
    actions = actions_of(shape[None], neutral)[0].astype(np.float32)
    view = np.array(pose.euler_deg[:2], np.float32)
    return KeyAtlas(albedo.astype(np.float16), confidence, actions, view, look.face_px, look.source)


def _agreeing(
    albedo: list[Float32[np.ndarray, "s s 3"]], confidence: list[Float32[np.ndarray, "s s"]]
) -> list[Float32[np.ndarray, "s s 3"]]:
    """Bring every key to the first one's tone and low frequencies, so that a change of key changes detail, not colour."""
    eps = 1e-3
    first = low_pass(np.log(albedo[0] + eps), confidence[0], 0.06)
    out = [albedo[0]]
    for a, c in zip(albedo[1:], confidence[1:], strict=True):
        shared = np.minimum(c, confidence[0])
        own = np.log(a + eps)
        shift = (
            low_pass(own, shared, 0.06) - low_pass(np.log(albedo[0] + eps), shared, 0.06)
            if shared.sum() > 50
            else low_pass(own, c, 0.3) - first
        )
        out.append(np.maximum(np.exp(own - shift) - eps, 0).astype(np.float32))
    return out


def _fused(
    albedo: list[Float32[np.ndarray, "s s 3"]], confidence: list[Float32[np.ndarray, "s s"]], looks: list[Look]
) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """Skin from every look, the best first: each fills where better ones have little confidence."""
    if len(albedo) == 1:
        return albedo[0], confidence[0]
    total, weight = np.zeros_like(albedo[0]), np.zeros_like(confidence[0])
    for a, c in zip(albedo, confidence, strict=True):
        w = c * (1 - np.clip(weight * 1.5, 0, 1)) if weight.any() else c
        w = cv2.GaussianBlur(w, (0, 0), max(a.shape[0] / 100, 1)) * (c > 0.02)
        total += a * w[..., None]
        weight += w
    out = np.where(weight[..., None] > 1e-3, total / np.maximum(weight, 1e-3)[..., None], albedo[0])
    return out.astype(np.float32), np.clip(weight, 0, 1)


def _iris(looks: list[Look], skin: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "3"]:
    """Median colour of the irises between pupil and limbus, relative to the skin."""
    found = []
    for k in looks:
        h, w = k.linear.shape[:2]
        found += [
            k.linear[round(y), round(x)] for x, y in iris_places(k.points_px) if 0 <= x < w - 1 and 0 <= y < h - 1
        ]
    return (np.median(found, 0) / np.maximum(skin, 1e-4)).astype(np.float32) if found else np.zeros(3, np.float32)
