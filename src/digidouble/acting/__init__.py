"""Acting: emotion, life and speech to the movements of a whole face. Numbers only; `performance.written` lays them over a plate."""

from __future__ import annotations

from digidouble.acting.direct import act
from digidouble.acting.emotion import EMOTIONS, RECIPES, face_of, recipe
from digidouble.acting.infer import Inferred, infer
from digidouble.acting.life import LifeSettings
from digidouble.acting.timeline import Beat, parse, text_of

__all__ = [
    "EMOTIONS",
    "RECIPES",
    "Beat",
    "Inferred",
    "LifeSettings",
    "act",
    "face_of",
    "infer",
    "parse",
    "recipe",
    "text_of",
]
