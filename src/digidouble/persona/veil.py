"""Sources behind a veil (`perception.veil`), cleared of it: divided by the skin's light as if it were skin, it turns black brows grey, and
blue where the fog is. Linear light, so a subtraction."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.perception.veil import Dark, darkest, places, veil_share
from digidouble.schema.capture import Look


def without_veil(looks: list[Look]) -> list[Look]:
    """The looks with the veil of their light group subtracted and their skin as bright and as coloured as before.

    A veil is what every look of a group has, in every channel: one that shows black proves that there is none, and an open mouth,
    which is dark and red, does not make a red one.
    """
    found = [_darkest(k) for k in looks]
    least = {
        g: np.min([d.ratio for k, d in zip(looks, found, strict=True) if k.light_group == g], axis=0)
        for g in {k.light_group for k in looks}
    }
    return [_without(k, least[k.light_group], d.skin) for k, d in zip(looks, found, strict=True)]


def _darkest(look: Look) -> Dark:
    at = places(look.points_px)
    seen = cv2.remap(look.matte, np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1]), cv2.INTER_LINEAR)
    return darkest(look.linear, look.points_px, seen > 127) or Dark(np.zeros(3), np.ones(3))


def _without(look: Look, least: Float[np.ndarray, "3"], skin: Float[np.ndarray, "3"]) -> Look:
    """least: the darkest of the look's light group over its skin."""
    veil = veil_share(least, skin) * skin
    if not veil.any():
        return look
    clear = np.maximum(look.linear - veil, 0) * (skin / (skin - veil))
    return replace(look, linear=clear.astype(np.float32))
