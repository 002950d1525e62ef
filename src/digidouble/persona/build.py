"""CaptureSet -> Persona: one neutral shape from all looks, key atlases, and the atlas fused from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError
from digidouble.perception.shape import actions_of, neutral_from, pose_and_shape, without_habit
from digidouble.perception.traits import traits_of
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import (
    atlas_size,
    completed,
    delight,
    eye_opening,
    eye_zone,
    glare,
    glasses_zone,
    skin_likelihood,
    unwrap,
)
from digidouble.persona.consensus import coloured, consensus, toned
from digidouble.persona.temper import tempered
from digidouble.persona.veil import without_veil
from digidouble.schema.capture import CaptureSet, Look
from digidouble.schema.mesh import iris_places
from digidouble.schema.persona import KeyAtlas, KeyLight, Persona

CLEAR_LOOKS = 3  # from which spoiled ones are not asked for shape and identity


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
    looks = without_veil([_judged(k) for k in capture.looks[: settings.keys]])
    clear = _unspoiled([_judged(k) for k in capture.looks])
    points = np.stack([k.points_px for k in clear])
    neutral = without_habit(neutral_from(points), points)
    size = settings.atlas_px or max(atlas_size(k.face_px) for k in looks)
    albedo, confidence = _skins(looks, size)
    colourless = [bool(k.traits and k.traits.grey) for k in looks]
    agreed = consensus(albedo, confidence, [k.light_group for k in looks], colourless)
    trusted = [c * t for c, t in zip(confidence, agreed.trust, strict=True)]
    albedo = [toned(a, c, agreed) for a, c in zip(albedo, trusted, strict=True)]
    fused, fused_conf = _fused(albedo, trusted, looks, agreed.first)
    full, full_conf = completed(fused, fused_conf, None)
    keys = [_key(full, full_conf, looks[agreed.first], neutral)]
    if len(looks) > 1:
        for a, c, k, grey in zip(albedo, trusted, looks, colourless, strict=True):
            own = coloured(a, full) if grey and not all(colourless) else a
            keys.append(_key(*completed(own, c, full), k, neutral))
    identity = np.mean([k.identity for k in clear], 0)
    grid = uv_grid(size)
    skin = full[grid.skin & (full_conf > 64)] if (grid.skin & (full_conf > 64)).any() else full[grid.skin]
    return Persona(
        name=name,
        consent=capture.consent,
        neutral_cm=neutral,
        keys=tuple(keys),
        identity=(identity / np.linalg.norm(identity)).astype(np.float32),
        iris_linear=_iris(looks, skin.mean(0)),
        skin_linear=np.maximum(skin.mean(0), 1e-4).astype(np.float32),
        sources=capture.sources,
        left_out=capture.rejected,
    )


def _judged(look: Look) -> Look:
    return look if look.traits else replace(look, traits=traits_of(look.linear, look.points_px, look.matte))


def _unspoiled(looks: list[Look]) -> list[Look]:
    """Looks whose shape and identity nothing spoils (shut eyes, glasses that others do without), if there are some."""
    bare = any(k.traits is not None and k.traits.eyewear == "none" for k in looks)
    good = [
        k for k in looks if k.traits is None or not (any(k.traits.shut) or (bare and k.traits.eyewear != "none"))
    ]  # fmt: skip
    return good if len(good) >= CLEAR_LOOKS else looks


def _skins(looks: list[Look], size: int) -> tuple[list[Float32[np.ndarray, "s s 3"]], list[Float32[np.ndarray, "s s"]]]:
    """Every look's skin, de-lit, and how much of it is to be believed."""
    bare = any(k.traits is not None and k.traits.eyewear == "none" for k in looks)
    albedo, confidence = [], []
    for k in looks:
        colour, seen = unwrap(k, size)
        lit = delight(colour, k)
        worn = k.traits is not None and k.traits.eyewear != "none"
        # Where the person is seen without, nothing is taken from behind glasses; else they belong to the person.
        seen = seen * (1 - eye_zone(size)) if worn and bare else seen
        zone = np.zeros_like(seen) if bare else glasses_zone(k, size)
        seen = seen * skin_likelihood(lit, seen, zone) * (1 - glare(lit, seen, zone))
        for loop, shut in zip(("right_eye", "left_eye"), k.traits.shut if k.traits else (False, False), strict=True):
            if shut:  # the texels of the opening show the lids' edge
                seen = seen * (1 - eye_opening(size, loop))
        confidence.append(seen.astype(np.float32))
        albedo.append(tempered(lit, confidence[-1]))
    return albedo, confidence


def _key(
    albedo: Float32[np.ndarray, "s s 3"], confidence: np.ndarray, look: Look, neutral: Float[np.ndarray, "478 3"]
) -> KeyAtlas:
    pose, shape = pose_and_shape(look.points_px, neutral)
    actions = actions_of(shape[None], neutral)[0].astype(np.float32)
    view = np.array(pose.euler_deg[:2], np.float32)
    t = look.traits
    light = KeyLight(t.toward, t.tint, look.light_group) if t else None
    return KeyAtlas(albedo.astype(np.float16), confidence, actions, view, look.face_px, look.source, light)


def _fused(
    albedo: list[Float32[np.ndarray, "s s 3"]],
    confidence: list[Float32[np.ndarray, "s s"]],
    looks: list[Look],
    first: int,
) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """Skin from every look, the first one's light first: each fills where better ones have little confidence. Shut lids and
    grey come last."""
    if len(albedo) == 1:
        return albedo[0], confidence[0]

    def poor(i: int) -> tuple[bool, bool, bool, int]:
        t = looks[i].traits
        return (
            i != first, t is not None and (t.grey or any(t.shut)), looks[i].light_group != looks[first].light_group, i,
        )  # fmt: skip

    total, weight = np.zeros_like(albedo[0]), np.zeros_like(confidence[0])
    colour = albedo[first]
    for i in sorted(range(len(albedo)), key=poor):
        a, c, traits = albedo[i], confidence[i], looks[i].traits
        if traits is not None and traits.grey and weight.any():
            colour = np.where(weight[..., None] > 0.05, total / np.maximum(weight, 0.05)[..., None], albedo[first])
            a = coloured(a, colour.astype(np.float32))
        w = c * (1 - np.clip(weight * 1.5, 0, 1)) if weight.any() else c
        w = cv2.GaussianBlur(w, (0, 0), max(a.shape[0] / 100, 1)) * (c > 0.02)
        total += a * w[..., None]
        weight += w
    out = np.where(weight[..., None] > 1e-3, total / np.maximum(weight, 1e-3)[..., None], albedo[first])
    return out.astype(np.float32), np.clip(weight, 0, 1)


def _iris(looks: list[Look], skin: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "3"]:
    """Median colour of the irises between pupil and limbus, relative to the skin."""
    found = []
    open_eyed = [k for k in looks if k.traits is None or not (any(k.traits.shut) or k.traits.grey)]
    for k in open_eyed or looks:
        h, w = k.linear.shape[:2]
        found += [
            k.linear[round(y), round(x)] for x, y in iris_places(k.points_px) if 0 <= x < w - 1 and 0 <= y < h - 1
        ]
    return (np.median(found, 0) / np.maximum(skin, 1e-4)).astype(np.float32) if found else np.zeros(3, np.float32)
