"""The cast plan: everything that couples frames is decided here, once, from the tracks alone; then every frame is independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32

from digidouble.perception.identity import similarity
from digidouble.render.budget import keys_for
from digidouble.render.geometry import persona_offset, seen_at_rest
from digidouble.schema.persona import Persona
from digidouble.schema.pose import Pose
from digidouble.schema.ramp import smoothstep
from digidouble.schema.track import FaceTrack

STAY = 1.5  # a new key must be this much nearer than the one in use
FADE_FRAMES = 14
HOLD_FRAMES = 12
VIEW_SCALE_DEG = 25.0  # a turn this large counts like a full-strength expression
OTHER, SAME = 0.4, 0.6  # likeness of plate and persona up to which they are two people, and from which they are one
SOFTNESS_COST = 0.3  # per halving (natural log) of the source's face width: soft keys must earn their place


@dataclass(frozen=True)
class CastPlan:
    """One persona on one track.

    Attributes:
        key_a, key_b: keys in use per row of the track; mix: 0 shows a, 1 shows b (cross-fades).
        offset_cm: persona's proportions over the plate's neutral; none on a plate of the same person.
        strange: 1 when plate and persona are two people, 0 when they are one (`unlike`).
        detail: 0..1, the share of full detail that the track's attention buys (`render.budget`): texels and keys.
        rank: how many other doubles this one is in front of, per row of the track; None when it is alone.
    """

    track: FaceTrack
    persona: Persona
    key_a: Int32[np.ndarray, "n"]
    key_b: Int32[np.ndarray, "n"]
    mix: Float32[np.ndarray, "n"]
    offset_cm: Float[np.ndarray, "478 3"]
    strange: float
    detail: float = 1.0
    rank: Int32[np.ndarray, "n"] | None = None


def choose_keys(
    actions: Float[np.ndarray, "n a"], view_deg: Float[np.ndarray, "n 2"], persona: Persona, detail: float = 1.0
) -> tuple[Int32[np.ndarray, "n"], Int32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Nearest key by expression and view with hysteresis; changes are cross-faded over FADE_FRAMES around the change.

    Less than full detail leaves a track the keys it uses most (`budget.keys_for`); the others' frames go to the nearest of those.
    """
    n = len(actions)
    keys = persona.keys[1:] if len(persona.keys) > 2 else persona.keys[:1]
    first = 1 if len(persona.keys) > 2 else 0
    if len(keys) == 1 or n == 0:
        zero = np.zeros(n, np.int32)
        return zero + first, zero + first, np.zeros(n, np.float32)
    face_px = np.array([k.face_px for k in keys])
    cost = SOFTNESS_COST * np.log(face_px.max() / face_px)
    ka, kv = np.stack([k.actions for k in keys]), np.stack([k.view_deg for k in keys])
    far = (
        np.sqrt(((actions[:, None] - ka) ** 2).sum(-1) + (((view_deg[:, None] - kv) / VIEW_SCALE_DEG) ** 2).sum(-1))
        + cost
    )
    chosen = _held(far)
    names, counts = np.unique(chosen, return_counts=True)
    most = keys_for(len(names), detail)
    if most < len(names):
        kept = names[np.argsort(-counts, kind="stable")[:most]]
        far[:, np.setdiff1d(np.arange(len(keys)), kept)] = np.inf
        chosen = _held(far)
    a, b, mix = chosen.copy(), chosen.copy(), np.zeros(n, np.float32)
    for i in np.flatnonzero(np.diff(chosen)) + 1:
        half = FADE_FRAMES // 2
        before = np.flatnonzero(np.diff(chosen[:i])) + 1
        later = np.flatnonzero(np.diff(chosen[i:])) + 1
        lo = max(int(before[-1]) + half if len(before) else 0, i - half, 0)
        hi = min(i + int(later[0]) - half if len(later) else n, i + half)
        for t in range(lo, max(hi, lo)):
            a[t], b[t] = chosen[i - 1], chosen[i]
            k = (t - (i - half) + 0.5) / FADE_FRAMES
            mix[t] = k * k * (3 - 2 * k)
    return a + first, b + first, mix


def _held(far: Float[np.ndarray, "n k"]) -> Int32[np.ndarray, "n"]:
    """The nearest key of every frame, kept until another is clearly nearer."""
    chosen = np.zeros(len(far), np.int32)
    use, since = int(far[0].argmin()), 10**6
    for i in range(len(far)):
        best = int(far[i].argmin())
        if best != use and since >= HOLD_FRAMES and far[i, use] > STAY * far[i, best] + 0.02:
            use, since = best, 0
        chosen[i] = use
        since += 1
    return chosen


def view_of(track: FaceTrack) -> Float[np.ndarray, "n 2"]:
    """(yaw, pitch) of every row of a track in degrees."""
    return np.array([Pose(r, 1.0, np.zeros(3)).euler_deg[:2] for r in track.rotation]).reshape(-1, 2)


def plan_cast(
    track: FaceTrack, persona: Persona, detail: float = 1.0, rank: Int32[np.ndarray, "n"] | None = None
) -> CastPlan:
    """Decide keys and proportions for a persona on a track. `detail`, `rank`: see `CastPlan`."""
    a, b, mix = choose_keys(track.actions, view_of(track), persona, detail)
    rest = min(seen_at_rest(track.actions), seen_at_rest(np.stack([key.actions for key in persona.keys])))
    strange = unlike(track.identity, persona.identity)
    offset = persona_offset(persona.neutral_cm, track.neutral_cm, rest) * strange
    return CastPlan(track, persona, a, b, mix, offset, strange, detail, rank)


def unlike(plate: Float[np.ndarray, "d"], persona: Float[np.ndarray, "d"]) -> float:
    """1 for two people, 0 when the plate shows the persona's own person, by the identity embedder.

    Two readings of one face differ too, by expression and noise; taken for proportions and enlarged (`persona_offset`), that would
    bend a person's face on their own plate by millimetres.
    """
    return float(smoothstep(np.array((SAME - similarity(plate, persona)) / (SAME - OTHER))))
