"""How it is said: loudness, pitch and stress, frame by frame. Head, brows and blinks move with them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from digidouble.schema.speech import Prosody, Speech
from digidouble.schema.time import FrameRate
from digidouble.speech.articulation import frame_times
from digidouble.speech.features import HOP, HOP_S, loudness_db
from digidouble.speech.sound import ANALYSIS_HZ, resampled

RANGE_DB = 30.0  # between silence and the speech's own loud sounds
LOW_HZ, HIGH_HZ = 65.0, 420.0
PERIODIC = 0.5  # normalised autocorrelation from which a sound has a pitch
WINDOW = 1024  # 64 ms: four periods of the lowest voice
_BLOCK = 3000


def prosody(speech: Speech, rate: FrameRate, frames: int | None = None) -> Prosody:
    """Curves at frames 0, 1, ...: as many as asked for, or as many as the sound lasts."""
    samples = resampled(speech.samples, speech.rate)
    level = loudness_db(samples)
    loud = float(np.percentile(level, 95))
    # A recording whose loud parts are below -55 dB is silent: its noise is no voice.
    loudness = np.clip(1 + (level - max(loud, -55.0)) / RANGE_DB, 0, 1)
    pitch = np.where(loudness > 0.15, pitch_hz(samples), 0.0)[: len(level)]
    times = frame_times(speech.duration_s, rate, frames)
    at = np.arange(len(level)) * HOP_S
    nearest = np.clip(np.round(times / HOP_S).astype(int), 0, max(len(level) - 1, 0))
    inside = times < speech.duration_s
    return Prosody(
        times,
        np.interp(times, at, _smooth(loudness), right=0.0) * inside,
        np.where(inside, pitch[nearest], 0.0),
        _stress(speech, times),
    )


def pitch_hz(samples: Float32[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Fundamental frequency HOP_S apart, 0 where the sound is not periodic: peak of the autocorrelation divided by the window's own
    (Boersma 1993), within LOW_HZ..HIGH_HZ."""
    count = -(-len(samples) // HOP)
    padded = np.pad(samples, (WINDOW // 2, WINDOW // 2 + HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    taper = np.hanning(WINDOW)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, 2 * WINDOW)) ** 2)[:WINDOW]
    lags = np.arange(int(ANALYSIS_HZ / HIGH_HZ), int(ANALYSIS_HZ / LOW_HZ) + 1)
    out = np.zeros(count)
    for k in range(0, count, _BLOCK):
        block = windows[k : k + _BLOCK]
        spectrum = np.fft.rfft((block - block.mean(1, keepdims=True)) * taper, 2 * WINDOW)
        auto = np.fft.irfft(np.abs(spectrum) ** 2)[:, :WINDOW]
        likeness = auto[:, lags] / np.maximum(auto[:, :1], 1e-9) / (own[lags] / own[0])
        # A slight preference for short lags keeps an octave below from winning by a hair.
        best = np.argmax(likeness - 0.02 * np.log2(lags / lags[0]), axis=1)
        found = likeness[np.arange(len(block)), best] > PERIODIC
        out[k : k + _BLOCK] = np.where(found & (auto[:, 0] > 1e-5), ANALYSIS_HZ / lags[best], 0.0)
    return out


def _stress(speech: Speech, times: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    out = np.zeros(len(times))
    for p in speech.phones:
        if p.stressed:
            middle, width = 0.5 * (p.start_s + p.end_s), max(p.end_s - p.start_s, 0.08)
            near = slice(*np.searchsorted(times, (middle - 3 * width, middle + 3 * width)))
            out[near] = np.maximum(out[near], np.exp(-(((times[near] - middle) / width) ** 2)))
    return out


def _smooth(curve: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    kernel = np.hanning(9)[1:-1] / np.hanning(9)[1:-1].sum()
    return np.convolve(np.pad(curve, 3, mode="edge"), kernel, "valid") if len(curve) else curve
