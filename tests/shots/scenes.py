"""The shots several tests share, and personas photographed in them."""

from __future__ import annotations

from datetime import date

import numpy as np
from synthetic import FRONT_LIGHT, SRGB, SyntheticShot, Take, bump, person, render_face, shoot, still

from digidouble.persona import PersonaSettings, build_persona
from digidouble.schema.capture import CaptureSet, Look
from digidouble.schema.persona import Consent, Persona, PersonaSource

__all__ = ["SRGB", "consent", "look_at", "person", "persona_of", "talking_shot", "turning_take"]


def turning_take(frames: int, seed: int = 3, origin=(100.0, 68.0), scale: float = 9.0) -> Take:
    """Turns +-30 degrees, nods, tilts, drifts and comes nearer; jaw, lips, smile, brows and one blink."""
    t = np.arange(frames)
    phase = 2 * np.pi * t / frames
    drift = np.stack([4 * np.sin(phase), 2 * np.cos(phase)], -1)
    return still(
        person(seed), frames, origin,
        yaw_deg=30 * np.sin(phase), pitch_deg=8 * np.sin(2 * phase), roll_deg=6 * np.cos(phase),
        px_per_cm=scale * (1 + 0.05 * np.sin(phase)), origin_px=np.array(origin) + drift,
        actions={
            "jaw_drop": 0.7 * bump(frames, 0.3 * frames, 12) + 0.5 * bump(frames, 0.7 * frames, 9),
            "lip_corner_pull_L": 0.8 * bump(frames, 0.55 * frames, 16), "lip_corner_pull_R": 0.8 * bump(frames, 0.55 * frames, 16),
            "inner_brow_raise_L": 0.6 * bump(frames, 0.8 * frames, 14), "inner_brow_raise_R": 0.6 * bump(frames, 0.8 * frames, 14),
            "lid_close_L": bump(frames, 0.2 * frames, 6), "lid_close_R": bump(frames, 0.2 * frames, 6),
        },
    )  # fmt: skip


def talking_shot(frames: int = 40, grain: float = 0.0) -> SyntheticShot:
    light = FRONT_LIGHT.copy()
    light[1] = 0.25
    return shoot([turning_take(frames)], (200, 176), light, grain=grain)


def consent(**changes) -> Consent:
    facts = {
        "subject": "Made Up",
        "granted_by": "Made Up",
        "scope": ("research", "demo"),
        "expires": date(2099, 1, 1),
        "evidence": "drawn by a test",
    }
    return Consent(**facts | changes)


def look_at(take: Take, i: int = 0, light_sh: np.ndarray = FRONT_LIGHT, size_wh=(200, 176), source: int = 0) -> Look:
    """A photograph as the capture stage would hand it on."""
    points = take.points_px(i)
    colour, cover = render_face(points, take.who.albedo, light_sh, size_wh)
    picture = colour * cover[..., None] + 0.2 * (1 - cover[..., None])
    return Look(
        picture.astype(np.float32),
        points.astype(np.float32),
        np.round(255 * cover).astype(np.uint8),
        0.95,
        0.5,
        take.who.identity,
        source,
    )


def persona_of(who, name: str, yaws=(0.0, 22.0, -22.0), atlas_px: int = 256) -> Persona:
    """Built from looks under frontal light, in several views."""
    looks = tuple(
        look_at(still(who, 1, (100.0, 68.0), yaw_deg=np.array([yaw])), source=k) for k, yaw in enumerate(yaws)
    )
    sources = tuple(PersonaSource(f"{name}{k}.png", f"{k:02d}" * 32, 0) for k in range(len(looks)))
    return build_persona(CaptureSet(consent(), looks, sources), name, PersonaSettings(atlas_px=atlas_px))
