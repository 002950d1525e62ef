"""Does the mouth that speech makes move as the speaker's own did, to the same sound?

Truth is the filmed mouth as dlib's 68 points see it: the opening between the inner lips, against the opening that the curves give the
mean face. Nothing of the picture is shown to the product, only the sound (and, in the row `text`, what is said). Rows:

    loudness   the baseline: the louder, the wider
    audio      the product from the sound alone
    text       the product from the sound and its text, where the text is known (TRANSCRIPTS); needs the extra [speech]
    phones     the same with the opening from the phones only

`r` is Pearson's at lag 0, `best_r` at the best lag, `lag` that lag in frames, positive when ours is late; `closures` the share of
p, b, m in which the curves' lips meet. `lip_sync` and `closures_hit` also judge rendered output (openings of two movies).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float

from digidouble.bench.landmarks import channels
from digidouble.bench.protocol import Measured, Protocol, Record, Scope
from digidouble.bench.protocols.measures import correlation
from digidouble.bench.referees import FaceFollower, Landmarker
from digidouble.bench.workshop import Workshop
from digidouble.errors import NoFace, NoSound
from digidouble.footage import open_footage
from digidouble.perception.shape import LIP_GAP_CM, lips_shut
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.mesh import face_model
from digidouble.schema.speech import MouthCurves, Phone, Speech
from digidouble.schema.time import FrameRate
from digidouble.speech import MouthStyle, SpeechSettings, mouth_curves, read_audio
from digidouble.speech.articulation import at_frames, frame_times
from digidouble.speech.loudness import articulate_loudness
from digidouble.speech.phones import closes_lips
from digidouble.speech.voice import voice_installed

MAX_LAG = 8
FACE_CM = 6.69  # `landmarks.face_scale` of the average head (HEAD_CM): eye corners 8.80, nose 5.09, geometric mean
CLOSED_SHARE = 0.2  # of the way from the take's own rest (5th percentile) to its wide openings (95th): lips that meet
LEAST_FRAMES = 24
NAMED = ("grid_talk_1", "grid_talk_2", "grid_talk_3", "expressions_yaw", "talk_700px")
# GRID's sentences follow a grammar (command, colour, preposition, letter, digit, adverb); these were decoded with it.
TRANSCRIPTS = {
    "grid_talk_1": "bin blue at f two now",
    "grid_talk_2": "lay blue at x four now",
    "grid_talk_3": "set blue in k one again",
}


def lip_sync(real: Float[np.ndarray, " n"], ours: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Agreement of two courses of mouth opening, frame by frame, with the lag of `ours` in frames (positive: late)."""
    reach = min(MAX_LAG, len(real) // 4)

    def at(k: int) -> float:
        n = len(real)
        return correlation(real[max(0, -k) : n - max(0, k)], ours[max(0, k) : n - max(0, -k)])

    best = max(range(-reach, reach + 1), key=lambda k: (at(k), -abs(k)))
    spread = float(ours.std() / max(float(real.std()), 1e-9))
    return {"r": at(0), "best_r": at(best), "lag": float(best), "amplitude": spread}


def closures_hit(
    opening: Float[np.ndarray, " n"], times_s: Float[np.ndarray, " n"], phones: Sequence[Phone]
) -> tuple[int, int]:
    """(closures seen, closures said): p, b, m during which, give or take a frame, the opening falls to CLOSED_SHARE of its range."""
    rest, wide = np.percentile(opening, [5, 95])
    frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.04
    said = [p for p in phones if closes_lips(p.symbol) and p.end_s <= times_s[-1]]
    seen = 0
    for p in said:
        near = (times_s >= p.start_s - frame_s) & (times_s <= p.end_s + frame_s)
        seen += bool(near.any() and opening[near].min() <= rest + CLOSED_SHARE * (wide - rest))
    return seen, len(said)


def opening_cm(curves: MouthCurves) -> Float[np.ndarray, " n"]:
    """Between the inner lips of the mean face that does what the curves say."""
    m = face_model()
    lips = [13, 82, 312], [14, 87, 317]
    shapes = np.zeros((len(curves), 478, 3))
    moved = np.einsum("na,apc->npc", curves.actions, m.action_fields_cm)
    shapes += m.mean_cm + moved
    shapes = lips_shut(shapes, curves.closure)
    return (shapes[:, lips[0], 1] - shapes[:, lips[1], 1]).mean(1) - LIP_GAP_CM


def filmed_opening(movie: Path) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Fraction]:
    """(opening of the largest face in centimetres of an average head, time of each of these frames in seconds, frames a second), by dlib.

    Raises:
        NoFace: the referee's detector finds none.
    """
    follower, points, at = FaceFollower(Landmarker()), [], []
    with open_footage(movie) as footage:
        fps = footage.shot.rate.fps
        for index, frame in enumerate(footage.frames()):
            if found := follower.step(rgb8_from_frame(frame)):
                points.append(found[1])
                at.append(index)
    if len(at) < LEAST_FRAMES:
        raise NoFace(f"{movie}: the referee sees a face in {len(at)} frames; {LEAST_FRAMES} are needed")
    return FACE_CM * channels(np.stack(points))[:, 0].astype(np.float64), np.array(at) / float(fps), fps


def baseline_curves(speech: Speech, rate: FrameRate, frames: int) -> MouthCurves:
    """The row `loudness`."""
    times = frame_times(speech.duration_s, rate, frames)
    return at_frames(articulate_loudness(speech.samples), times, np.zeros((0, 2)), MouthStyle(), "loudness")


def _items(shop: Workshop, scope: Scope) -> list[str]:
    return [n for n in NAMED if n in shop.clips]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    movie = shop.clips[item].path
    real, times, fps = filmed_opening(movie)
    rate, frames = FrameRate(fps), round(float(times[-1] * float(fps))) + 1
    heard = read_audio(movie)
    if not len(heard.samples):
        raise NoSound(f"{item}: no sound")
    takes = {"loudness": baseline_curves(heard, rate, frames), "audio": mouth_curves(heard, rate, frames)}
    phones: tuple[Phone, ...] = ()
    if item in TRANSCRIPTS and voice_installed():
        told = read_audio(movie, TRANSCRIPTS[item], SpeechSettings(language="en-gb"))
        phones, takes["text"] = told.phones, mouth_curves(told, rate, frames)
        takes["phones"] = mouth_curves(told, rate, frames, MouthStyle(sound=0.0))
    rows = np.round(times * float(fps)).astype(int)
    records = []
    for row, curves in takes.items():
        ours = opening_cm(curves)
        numbers = lip_sync(real, ours[rows])
        if phones:
            seen, said = closures_hit(ours, curves.times_s, phones)
            numbers |= {"closures": seen / max(said, 1), "said": float(said), "seen": float(seen)}
        records.append(Record(item, row, numbers))
    if phones:  # what the same measure says of the real mouth: the ceiling
        seen, said = closures_hit(real, times, phones)
        numbers = {"closures": seen / max(said, 1), "said": float(said), "seen": float(seen)}
        records.append(Record(item, "plate", numbers))
    return Measured(tuple(records))


SPEECH = Protocol(
    "speech", "Does a spoken mouth move as the speaker's own?", ("r", "best_r", "lag", "amplitude", "closures"),
    {"r": 1, "best_r": 1, "closures": 1}, _items, _measure, {"r": ">= 0.7", "closures": ">= 0.95"},
    shares={"closures": ("seen", "said")},
)  # fmt: skip
