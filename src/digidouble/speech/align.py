"""When the words of a recording are said: the text's synthetic reading is warped onto it in time.

Dynamic time warping (Sakoe & Chiba 1978) in its time-synchronous form: every frame of the recording is matched to a frame of the
reading; from one to the next the reading stays, moves on by one, or leaves out up to two. A frame of silence stands between the
reading's words, free to be stayed in or to be left out, so that pauses of a speaker need not be those of the voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int

from digidouble.schema.speech import Phone
from digidouble.speech.features import HOP_S, cepstra, loudness_db
from digidouble.speech.kernels import walk
from digidouble.speech.phones import stops_lips
from digidouble.speech.sound import ANALYSIS_HZ

STAY_COST, SKIP_COST = 0.12, 0.10
QUIET_DB = 28.0  # under the recording's loud parts: silence
SILENCE_COST, VOICED_SILENCE_COST = 0.05, 1.6  # of a frame in a pause, by whether the recording is quiet there
QUIET_SPEECH_COST = 0.5  # added where the recording is quiet and the reading is not
LOUDNESS_WEIGHT = 0.25
BAND_S = 20.0  # how far the reading may run ahead of or behind an even pace
MIN_PHONE_S = 0.02
# Before p and b the lips are already shut, and nothing is heard of it: 64 and 69 ms on the mean (Byrd 1993), up to this long.
MOST_CLOSURE_S, CLOSURE_DB = 0.10, 14.0  # and this far under what the release brings
RELEASE_S = 0.05  # after a stop's beginning, in which its release is loudest
MOST_CELLS = 200_000_000  # bytes of the path's memory: a recording of half an hour gets a band of 5.5 s
# Cost over that of the reading played backwards: the same sounds in the wrong order. Eight real recordings with their text have .84 to
# .97, with another text .97 to 1.02 (docs/speech.md).
DOUBTFUL = 0.97


@dataclass(frozen=True)
class Alignment:
    """Phones at the recording's times, and how well the reading matched (mean cost a frame, less is better)."""

    phones: tuple[Phone, ...]
    cost: float


def align(
    recording: Float32[np.ndarray, " n"], reading: Float32[np.ndarray, " m"], phones: Sequence[Phone]
) -> Alignment:
    """Phones of the reading, moved to when the recording says them. Both at `sound.ANALYSIS_HZ`; neither silent."""
    a, b = cepstra(recording), cepstra(reading)
    a_db, b_db = loudness_db(recording), loudness_db(reading)
    a_level, b_level = ((v - np.percentile(v, 95)) / 20 for v in (a_db, b_db))
    spoken = [p for p in phones if not p.silent]
    if not spoken:
        return Alignment((), float("inf"))
    rows, pause = _with_pauses(spoken, len(b))
    path, cost = _search(a, b[rows], a_level, b_level[rows], pause)
    at_row = np.where(pause, -1, rows)[path]  # the reading's own frame at every frame of the recording; -1 in a pause
    moved = _moved(spoken, at_row, len(recording) / ANALYSIS_HZ)
    return Alignment(tuple(with_closures(moved, a_db)), cost)


def doubt(
    found: Alignment, recording: Float32[np.ndarray, " n"], reading: Float32[np.ndarray, " m"], phones: Sequence[Phone]
) -> float:
    """How little the text explains the recording: the alignment's cost over that of the reading played backwards. About 1 for a
    text that has nothing to do with it."""
    end = len(reading) / ANALYSIS_HZ
    last = max((p.word for p in phones), default=0)
    back = [
        Phone(
            p.symbol,
            max(end - p.end_s, 0.0),
            max(end - p.start_s, 0.0),
            p.stressed,
            last - p.word if p.word >= 0 else -1,
        )
        for p in reversed(phones)
    ]
    return found.cost / max(align(recording, np.ascontiguousarray(reading[::-1]), back).cost, 1e-9)


def _with_pauses(spoken: Sequence[Phone], count: int) -> tuple[Int[np.ndarray, " r"], np.ndarray]:
    """(frame of the reading of every row, whether the row is a pause): the reading's own silences give way to one row each, and
    one more stands before every word."""
    rows: list[int] = []
    pause: list[bool] = []
    word = None
    for p in spoken:
        first, last = (min(round(s / HOP_S), count - 1) for s in (p.start_s, p.end_s))
        if p.word != word:
            rows.append(first)
            pause.append(True)
            word = p.word
        rows += list(range(first, max(last, first + 1)))
        pause += [False] * max(last - first, 1)
    rows.append(rows[-1])
    pause.append(True)
    return np.array(rows), np.array(pause)


def costs_of() -> Float[np.ndarray, "6"]:
    """The weights above, in the order `walk` takes them."""
    return np.array([STAY_COST, SKIP_COST, SILENCE_COST, VOICED_SILENCE_COST, QUIET_SPEECH_COST, LOUDNESS_WEIGHT])


def _search(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "r d"],
    a_level: Float[np.ndarray, " n"], b_level: Float[np.ndarray, " r"], pause: np.ndarray,
) -> tuple[Int[np.ndarray, " n"], float]:  # fmt: skip
    quiet = a_level * 20 < -QUIET_DB
    # Even pace, but counted in sound: silence of the recording does not move the reading on.
    pace = np.cumsum(np.where(quiet, 0.02, 1.0))
    centre = np.round(pace / pace[-1] * (len(b) - 1)).astype(np.int64)
    half = int(min(len(b), BAND_S / HOP_S, MOST_CELLS / 2 / max(len(a), 1)))
    args = (a.astype(np.float32), b.astype(np.float32), a_level, b_level, quiet, pause)
    return walk(*args, centre, half, costs_of())


def _moved(spoken: Sequence[Phone], at_row: Int[np.ndarray, " n"], duration_s: float) -> list[Phone]:
    """Every phone over the frames that were matched to it; those passed over get a little of their neighbours' time."""
    index = np.full(len(at_row), -1)
    starts = np.array([round(p.start_s / HOP_S) for p in spoken])
    heard = at_row >= 0
    index[heard] = np.searchsorted(starts, at_row[heard], side="right") - 1
    spans: list[list[float]] = []
    clock = 0.0
    for k in range(len(spoken)):
        mine = np.nonzero(index == k)[0]
        if len(mine):
            begin, end = float(mine[0]) * HOP_S, float(mine[-1] + 1) * HOP_S
        else:
            later = np.nonzero(index > k)[0]
            begin = float(later[0]) * HOP_S if len(later) else duration_s
            end = begin
        begin = max(begin - HOP_S / 2, clock)
        end = max(end - HOP_S / 2, begin)
        spans.append([begin, end])
        clock = end
    _widen(spans, duration_s)
    out: list[Phone] = []
    clock = 0.0
    for p, (begin, end) in zip(spoken, spans, strict=True):
        if begin > clock + 1e-6:
            out.append(Phone("", clock, begin))
        if end > begin:
            out.append(Phone(p.symbol, begin, end, p.stressed, p.word))
        clock = max(end, clock)
    if clock < duration_s - 1e-6:
        out.append(Phone("", clock, duration_s))
    return out


def with_closures(phones: Sequence[Phone], level_db: Float[np.ndarray, " n"]) -> list[Phone]:
    """Stops of the lips begin where the sound before their release ceases: warping gives that silence to whatever was before.

    Without a level (no sound at all) the phones stay as they are.
    """
    if not len(level_db):
        return list(phones)
    out: list[Phone] = []
    for p in phones:
        if stops_lips(p.symbol) and out:
            first = min(round(p.start_s / HOP_S), len(level_db) - 1)
            release = level_db[first : first + max(round(RELEASE_S / HOP_S), 1)].max()
            last = out[-1]
            earliest = max(p.start_s - MOST_CLOSURE_S, last.start_s + (0.0 if last.silent else MIN_PHONE_S))
            start = first
            while start > 0 and (start - 1) * HOP_S >= earliest - 1e-9 and level_db[start - 1] < release - CLOSURE_DB:
                start -= 1
            begin = min(max(start * HOP_S, earliest), p.start_s)
            out[-1] = replace(last, end_s=begin)
            if out[-1].end_s - out[-1].start_s < 1e-9:
                out.pop()
            p = replace(p, start_s=begin)
        out.append(p)
    return out


def _widen(spans: list[list[float]], duration_s: float) -> None:
    """Give phones shorter than MIN_PHONE_S their time, first from the next, then from the one before, in place."""
    for k, span in enumerate(spans):
        lacking = MIN_PHONE_S - (span[1] - span[0])
        if lacking <= 0:
            continue
        limit = duration_s if k + 1 == len(spans) else max(spans[k + 1][1] - MIN_PHONE_S, span[1])
        span[1] = min(span[1] + lacking, limit)
        if k + 1 < len(spans):
            spans[k + 1][0] = max(spans[k + 1][0], span[1])
            spans[k + 1][1] = max(spans[k + 1])
        lacking = MIN_PHONE_S - (span[1] - span[0])
        if lacking > 1e-9 and k:
            span[0] = (
                max(span[0] - lacking, spans[k - 1][0] + MIN_PHONE_S)
                if span[0] > spans[k - 1][0] + MIN_PHONE_S
                else span[0]
            )
            spans[k - 1][1] = min(spans[k - 1][1], span[0])
