"""What a living face does by itself: blinks, glances, a head that is never quite still, breath, and the rhythms of laughter and
sobbing. Everything is drawn from one seed: the same seed gives the same bits.

Numbers from the literature
    blinks       26 a minute in conversation, 17 at rest, gaps about log-normal (Bentivoglio et al. 1997, Movement Disorders 12(6));
                 closing 92 ms, opening 242 ms on average (VanderWerf et al. 2003, J. Neurophysiol. 89); they fall into pauses of
                 speech (Nakano & Kitazawa 2010).
    gaze         of a talker, 41 % on the listener, of a listener 75 % (Argyle & Cook 1976); saccades of up to 15 degrees between
                 people, mostly small, 2.2 ms a degree + 21 ms (Lee, Badler & Badler 2002, "Eyes alive"; Baloh et al. 1975). One who
                 speaks to a camera is trained to hold it: half of their aversions are taken.
    head         nods and sways follow prosodic stress and pitch (Graf et al. 2002, "Visual prosody"; Munhall et al. 2004), rotations
                 mostly below 5 degrees; slow sway below 1 Hz.
    breath       15 a minute at rest.
    laughter     bouts of 3 to 8 notes 210 ms apart (Provine & Yong 1991), an in-breath between.
    sobs         in-breaths in jerks, 2 to 3 a second, every few seconds (Vingerhoets 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

BLINKS_TALKING, BLINKS_RESTING = 26 / 60, 17 / 60  # a second
BLINK_SPREAD = 0.55  # sigma of the logarithm of gaps
CLOSE_S, SHUT_S, OPEN_S = 0.092, 0.03, 0.242
AWAY_TALKING, AWAY_RESTING = 0.30, 0.12  # share of glances that leave the camera
GLANCE_DEG, LARGEST_GLANCE_DEG = 5.0, 12.0
FIXATION_S = (1.8, 0.9)  # gamma mean of holding the camera, of a look away
MICRO_DEG = 0.35
BREATHS = 15 / 60
SWAY_DEG = (1.5, 1.0, 0.7)  # standard deviation of yaw, pitch, roll
NOD_DEG = 2.6  # at full stress
LAUGH_NOTE_S, SOB_NOTE_S = 0.21, 0.38


@dataclass(frozen=True)
class LifeSettings:
    """How alive the face is.

    Attributes:
        seed: another one gives other blinks, glances and sways; the same one the same.
        head: how far the head moves; 0 holds it still.
        blinks: how often it blinks; 0 never.
        glances: how often and how far it looks away from the camera; 0 never.
    """

    seed: int = 0
    head: float = 1.0
    blinks: float = 1.0
    glances: float = 1.0

    def __post_init__(self) -> None:
        from digidouble.errors import SettingsError

        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed = {self.seed}: expected 0..4294967295")
        for name in ("head", "blinks", "glances"):
            if not 0 <= getattr(self, name) <= 3:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected 0..3")


def rng_of(settings: LifeSettings, what: str) -> np.random.Generator:
    """A generator of its own for every kind of movement, so that changing one leaves the others."""
    return np.random.Generator(np.random.PCG64([settings.seed, *what.encode()]))


def smooth_noise(times_s: Float[np.ndarray, " n"], hertz: float, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Slow noise of standard deviation about 1: cubic interpolation of random values `hertz` a second. Depends on time only, not on
    the frame rate."""
    knots = int(np.ceil((times_s[-1] if len(times_s) else 0) * hertz)) + 6
    values = rng.standard_normal(knots) * 1.2
    x = np.clip(times_s * hertz + 1, 1, knots - 3)
    i = x.astype(int)
    f = x - i
    a, b, c, d = (values[i + k] for k in (-1, 0, 1, 2))
    return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))


def blink_curve(
    times_s: Float[np.ndarray, " n"],
    talking: Float[np.ndarray, " n"],
    rate: Float[np.ndarray, " n"],
    settings: LifeSettings,
) -> Float[np.ndarray, " n"]:
    """0..1. `talking`: 0..1 loudness, blinks prefer its dips; `rate`: factor of how often."""
    out = np.zeros_like(times_s)
    if settings.blinks == 0 or not len(times_s):
        return out
    rng, end = rng_of(settings, "blinks"), float(times_s[-1])
    at = float(rng.uniform(0.6, 2.0))
    while at < end:
        row = int(np.searchsorted(times_s, at))
        near = np.flatnonzero(np.abs(times_s - at) < 0.35)
        if len(near):  # the quietest moment around
            row = int(near[np.argmin(talking[near] + 0.3 * np.abs(times_s[near] - at))])
        full = 1.0 if rng.random() > 0.1 else float(rng.uniform(0.5, 0.8))
        np.maximum(out, full * _one_blink(times_s - times_s[row]), out=out)
        speed = BLINKS_RESTING + (BLINKS_TALKING - BLINKS_RESTING) * float(
            talking[max(row - 25, 0) : row + 25].mean() > 0.1
        )
        mean_gap = 1 / max(speed * settings.blinks * float(rate[row]), 1e-3)
        gap = mean_gap * np.exp(BLINK_SPREAD * rng.standard_normal() - BLINK_SPREAD**2 / 2)
        at = float(times_s[row]) + max(gap, 0.5)
        if rng.random() < 0.06:
            at = float(times_s[row]) + 0.45  # a double blink
    return out


def _one_blink(t: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 at t = 0..SHUT_S; a cosine down before and, slower, up after."""
    down = np.clip(1 + t / CLOSE_S, 0, 1)
    up = np.clip(1 - (t - SHUT_S) / OPEN_S, 0, 1)
    shut = np.minimum(down, up)
    return np.where(t < 0, 0.5 - 0.5 * np.cos(np.pi * shut), shut * shut * (3 - 2 * shut))


def gaze_curve(
    times_s: Float[np.ndarray, " n"], talking: Float[np.ndarray, " n"], settings: LifeSettings
) -> Float[np.ndarray, "n 2"]:
    """(yaw, pitch) in degrees away from the camera: fixations joined by saccades, tiny ones among them."""
    rng, n = rng_of(settings, "gaze"), len(times_s)
    out = np.zeros((n, 2))
    at, here, end = 0.0, np.zeros(2), float(times_s[-1]) if n else 0.0
    while at < end:
        away = rng.random() < settings.glances * (
            AWAY_TALKING if talking[min(int(np.searchsorted(times_s, at)), n - 1)] > 0.1 else AWAY_RESTING
        )
        hold = float(rng.gamma(4, (FIXATION_S[1] if away else FIXATION_S[0]) / 4))
        there = MICRO_DEG * rng.standard_normal(2)
        if away and settings.glances > 0 and at > 0.8:
            size = min(GLANCE_DEG * settings.glances * (0.6 + rng.exponential(0.6)), LARGEST_GLANCE_DEG)
            direction = rng.uniform(0, 2 * np.pi)
            there = size * np.array([np.cos(direction), 0.6 * np.sin(direction)])
        far = float(np.linalg.norm(there - here))
        takes = 0.021 + 0.0022 * far
        k = np.clip((times_s - at) / takes, 0, 1)[:, None]
        rows = times_s >= at
        out[rows] = (here + (there - here) * (k * k * (3 - 2 * k)))[rows]
        at, here = at + max(hold, 0.25), there
    return out


def head_curve(
    times_s: Float[np.ndarray, " n"],
    stress: Float[np.ndarray, " n"],
    loudness: Float[np.ndarray, " n"],
    settings: LifeSettings,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 2"]]:
    """(yaw, pitch, roll in degrees; shift x, y in centimetres): sway, nods on stressed syllables, breath."""
    rng, n = rng_of(settings, "head"), len(times_s)
    if not n:
        return np.zeros((0, 3)), np.zeros((0, 2))
    step = float(times_s[1] - times_s[0]) if n > 1 else 0.04
    awake = 0.55 + 0.45 * _soft(loudness, 0.5 / step)
    deg = (
        np.stack([s * smooth_noise(times_s, f, rng) for s, f in zip(SWAY_DEG, (0.35, 0.45, 0.3), strict=True)], 1)
        * awake[:, None]
    )
    nod = _soft(stress, 0.09 / step)
    sign = np.where(smooth_noise(times_s, 0.8, rng) > -0.6, 1.0, -0.35)  # most stresses go down, some up
    deg[:, 1] -= NOD_DEG * nod * _soft(sign, 0.2 / step)
    deg[:, 0] += 1.1 * nod * _soft(smooth_noise(times_s, 0.7, rng), 0.2 / step)
    phase = 2 * np.pi * BREATHS * times_s + rng.uniform(0, 2 * np.pi) + 0.5 * smooth_noise(times_s, 0.1, rng)
    breath = np.sin(phase) + 0.25 * np.sin(2 * phase - 0.6)
    deg[:, 1] += 0.25 * breath
    shift = np.stack([0.06 * smooth_noise(times_s, 0.3, rng), 0.07 * breath], 1)
    return settings.head * deg, settings.head * shift


def bursts(
    times_s: Float[np.ndarray, " n"],
    note_s: float,
    notes: tuple[int, int],
    rest_s: tuple[float, float],
    rng: np.random.Generator,
) -> Float[np.ndarray, " n"]:
    """0..1: bouts of `notes` pulses `note_s` apart, each weaker than the last, with rests between."""
    out, at, end = np.zeros_like(times_s), float(rng.uniform(0, 0.3)), float(times_s[-1]) if len(times_s) else 0.0
    while at < end:
        count = int(rng.integers(notes[0], notes[1] + 1))
        for k in range(count):
            x = (times_s - at) / note_s
            pulse = np.where((x >= 0) & (x < 1), np.sin(np.pi * np.clip(x, 0, 1)) ** 2, 0)
            out = np.maximum(out, pulse * (1 - 0.5 * k / count) * float(rng.uniform(0.8, 1.0)))
            at += note_s * float(rng.uniform(0.92, 1.08))
        at += float(rng.uniform(*rest_s))
    return out


def _soft(x: Float[np.ndarray, " n"], sigma: float) -> Float[np.ndarray, " n"]:
    """Gaussian blur over time, edges held."""
    reach = max(int(3 * sigma), 1)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    return np.convolve(np.pad(x, reach, mode="edge"), bell / bell.sum(), mode="valid")
