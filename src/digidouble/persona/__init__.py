"""Persona: CaptureSet -> the double of one person."""

from __future__ import annotations

from digidouble.persona.build import PersonaSettings, build_persona
from digidouble.persona.store import load_persona, save_persona

__all__ = ["PersonaSettings", "build_persona", "load_persona", "save_persona"]
