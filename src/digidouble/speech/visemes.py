"""Phones to articulators with co-articulation.

Every sound pulls the mouth towards its target with a dominance that falls off before and after it; where sounds overlap, the mouth
is at their weighted mean (Cohen & Massaro 1993, "Modeling coarticulation in synthetic visual speech"):

    F(t) = sum_i D_i(t) T_i / sum_i D_i(t),    D_i(t) = a_i exp(-(|t - t_i| / w_i)^c)

with |t - t_i| counted from the edge of the part of the phone that is held. Lips prepare rounding earlier than the jaw does its opening.
Closures (p, b, m) are not averaged: the lips meet for the held part, whatever the neighbours want.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from digidouble.schema.speech import Phone
from digidouble.speech.articulation import CLOSURE, COLUMNS, GRID_HZ, JAW, OPENING, ROUNDING, SPREAD, TEETH, shut_around
from digidouble.speech.phones import SILENCE, Target, targets_of
from digidouble.speech.settings import MouthStyle

SHARPNESS = 1.6  # c above
REACH_S, REACH_SHARE = 0.032, 0.30  # w: constant, and share of the phone's length
LIP_LEAD = 1.8  # lips look this much farther ahead than they linger
HELD = 0.3  # of a vowel or consonant; a silence is held nearly whole
SILENCE_HELD = 0.8
AFTER_S = 0.4  # before and after the sound it is silent: the mouth comes from rest and goes back to it
LONGEST_S = 0.4  # a sound longer than this has no wider influence than one of this length
# Four of four tracked speakers opened 0.3 to 0.7 between 0.5 and 0.2 s before their first sound.
BREATH_AFTER_S, BREATH_S, BREATH_OPENING, BREATH_INSISTS = 0.3, 0.45, 0.4, 4.0
FLOOR = 0.02  # dominance of rest everywhere: decides only where no sound is near
STRESS_GAIN, UNSTRESSED_GAIN = 1.12, 0.92
HOLD_SHARE, HOLD_MIN_S, HOLD_MAX_S = 0.7, 0.03, 0.12  # of a bilabial: how long the lips stay shut


@dataclass(frozen=True)
class _Part:
    target: Target
    start_s: float
    end_s: float
    silent: bool
    gain: float


def _parts(phones: Sequence[Phone], duration_s: float) -> list[_Part]:
    out = [_Part(SILENCE, a, a + AFTER_S, True, 1.0) for a in (-AFTER_S, duration_s)]
    for p in phones:
        at = p.start_s
        gain = 1.0 if p.silent else STRESS_GAIN if p.stressed else UNSTRESSED_GAIN
        for target, share in targets_of(p.symbol):
            end = at + share * (p.end_s - p.start_s)
            out.append(_Part(target, at, end, p.silent, gain))
            at = end
    return out


def _breaths(phones: Sequence[Phone], style: MouthStyle) -> list[_Part]:
    """Lips part before a phrase that follows BREATH_AFTER_S of silence: people breathe in, and set their mouths to begin."""
    out, quiet_since = [], -AFTER_S
    for p in phones:
        if p.silent:
            continue
        if p.start_s - quiet_since >= BREATH_AFTER_S and style.breath > 0:
            target = Target(BREATH_OPENING * style.breath, 0.6 * BREATH_OPENING * style.breath, insists=BREATH_INSISTS)
            start = max(p.start_s - BREATH_S, quiet_since + 0.1)
            out.append(_Part(target, start, p.start_s, True, 1.0))
        quiet_since = p.end_s
    return out


def _fall(
    t: Float[np.ndarray, " n"], start: float, end: float, before_s: float, after_s: float
) -> Float[np.ndarray, " n"]:
    """Dominance of a held stretch: 1 inside, falling off over `before_s` ahead of it and `after_s` behind."""
    outside = np.where(t < start, (start - t) / before_s, np.where(t > end, (t - end) / after_s, 0.0))
    return np.exp(-(outside**SHARPNESS))


def articulate(
    phones: Sequence[Phone], duration_s: float, style: MouthStyle
) -> tuple[Float[np.ndarray, "g c"], Float[np.ndarray, "k 2"]]:
    """Articulators on the grid (COLUMNS, GRID_HZ), and the closures' holds: (start, end) in seconds."""
    count = int(np.ceil((duration_s + AFTER_S) * GRID_HZ)) + 1
    total = np.zeros((count, TEETH + 1))
    weight = np.full((count, TEETH + 1), FLOOR)
    closure = np.zeros(count)
    holds: list[tuple[float, float]] = []
    for part in (*_parts(phones, duration_s), *_breaths(phones, style)):
        length = part.end_s - part.start_s
        reach = style.reach * (REACH_S + REACH_SHARE * min(length, LONGEST_S))
        held = 0.5 * (SILENCE_HELD if part.silent else HELD) * length
        middle = 0.5 * (part.start_s + part.end_s)
        first, last = (
            int((s + side * 4 * reach * LIP_LEAD) * GRID_HZ) for s, side in ((part.start_s, -1), (part.end_s, 1))
        )
        rows = slice(max(first, 0), min(last + 2, count))
        t = np.arange(rows.start, max(rows.stop, rows.start)) / GRID_HZ
        jaw = part.target.insists * _fall(t, middle - held, middle + held, reach, reach)
        lips = part.target.insists_lips * _fall(t, middle - held, middle + held, reach * LIP_LEAD, reach)
        for column, value, dominance in (
            (OPENING, part.target.opening * part.gain, jaw),
            (JAW, part.target.jaw * part.gain, jaw),
            (ROUNDING, part.target.rounding, lips),
            (SPREAD, part.target.spread, lips),
            (TEETH, part.target.teeth, jaw),
        ):
            total[rows, column] += dominance * value
            weight[rows, column] += dominance
        if part.target.closes:
            hold = float(np.clip(HOLD_SHARE * length, HOLD_MIN_S, HOLD_MAX_S)) / 2
            holds.append((max(middle - hold, 0.0), middle + hold))
            closure[rows] = np.maximum(closure[rows], shut_around(t, *holds[-1]))
    out = np.zeros((count, len(COLUMNS)))
    out[:, : TEETH + 1] = total / weight
    out[:, CLOSURE] = closure
    return out, np.array(holds).reshape(-1, 2)
