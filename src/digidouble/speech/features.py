"""What a sound is made of, HOP_S apart: log-mel energies for the network, cepstra for alignment. Frame k is centred on k * HOP_S.

Mel scale: HTK's, 2595 log10(1 + f / 700). Sound at `sound.ANALYSIS_HZ`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.speech.sound import ANALYSIS_HZ

HOP_S = 0.01
HOP = round(HOP_S * ANALYSIS_HZ)
WINDOW, FFT = 400, 512  # 25 ms
MELS = 80
LOW_HZ, HIGH_HZ = 50.0, 7600.0
FLOOR = 1e-8  # power: about -80 dB under full scale
CEPSTRA = 13
HEARD_DB = 35.0
_BLOCK = 6000  # frames transformed at a time: one minute, 12 MB


@lru_cache(maxsize=4)
def mel_filters(count: int = MELS) -> Float[np.ndarray, "m f"]:
    """Triangles of equal area over the FFT's bins."""
    low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (LOW_HZ, HIGH_HZ))
    edges_mel = np.linspace(low_mel, high_mel, count + 2)
    edges = 700 * (10 ** (edges_mel / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / ANALYSIS_HZ)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    shape = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    return shape / np.maximum(shape.sum(1, keepdims=True), 1e-9)


def log_mel(samples: Float32[np.ndarray, " n"], mels: int = MELS) -> Float32[np.ndarray, "t m"]:
    """Natural logarithm of the power in each mel band; ceil(n / HOP) frames."""
    count = -(-len(samples) // HOP)
    padded = np.pad(samples, (WINDOW // 2, WINDOW // 2 + HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    taper, filters = np.hanning(WINDOW).astype(np.float32), mel_filters(mels).T.astype(np.float32)
    out = np.empty((count, mels), np.float32)
    for k in range(0, count, _BLOCK):
        power = np.abs(np.fft.rfft(windows[k : k + _BLOCK] * taper, FFT)) ** 2 / WINDOW
        out[k : k + _BLOCK] = np.log(power.astype(np.float32) @ filters + FLOOR)
    return out


def levelled(mel: Float32[np.ndarray, "t m"]) -> Float32[np.ndarray, "t m"]:
    """Log-mel without the recording's gain: the loudest twentieth of what is heard is brought to 0, the scale is 4 nepers of power.

    Heard is what lies within HEARD_DB of the loudest frames, so that a long silence does not pass for the voice.
    """
    level = mel.mean(1)
    if not len(level):
        return mel
    heard = level[level >= np.percentile(level, 99.9) - HEARD_DB / 4.343]
    return ((mel - np.percentile(heard, 95)) / 4).astype(np.float32)


def loudness_db(samples: Float32[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Level of each frame in decibels of full scale, bands under 100 Hz and over 7.6 kHz left out of account."""
    power = np.exp(log_mel(samples, 40)[:, 1:]).mean(1)
    return 10 * np.log10(power)


def cepstra(samples: Float32[np.ndarray, " n"]) -> Float[np.ndarray, "t 26"]:
    """Mel cepstra 1..CEPSTRA and their slopes, each with mean 0 and deviation 1 over the voiced parts: the speaker's and the
    room's average colour drop out."""
    mel = log_mel(samples, 40)
    k, m = np.arange(1, CEPSTRA + 1)[:, None], np.arange(40)[None]
    dct = np.cos(np.pi * k * (m + 0.5) / 40) * np.sqrt(2 / 40)
    # A floor 45 dB under the loud parts: what is fainter is room, not voice, and differs between any two recordings.
    level = mel.mean(1)
    floor = np.percentile(level, 95) - 45 / 4.343
    c = np.maximum(mel, floor) @ dct.T
    slopes = np.gradient(_smooth(c), axis=0) if len(c) > 1 else np.zeros_like(c)
    both = np.concatenate([c, 3 * slopes], 1)
    heard = both[level > floor + 15 / 4.343] if len(both) else both
    ground = heard if len(heard) > 8 else both
    return (both - ground.mean(0)) / (ground.std(0) + 1e-3)


def _smooth(rows: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t c"]:
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    padded = np.pad(rows, ((2, 2), (0, 0)), mode="edge")
    return sum((w * padded[i : i + len(rows)] for i, w in enumerate(kernel)), np.zeros_like(rows))
