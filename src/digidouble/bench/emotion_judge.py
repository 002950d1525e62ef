"""Which emotion a face shows, by 68 landmarks and prototypes from real clips of people who felt or acted them.

There are one or two real people an emotion, most of them talking: the judge knows how *these* people looked. How far that carries is
measured (`unseen`): every clip of an emotion that has others is judged without itself. What the judge says of renders is worth no more
than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from digidouble.bench.landmarks import face_scale

REAL: Mapping[str, tuple[str, ...]] = {
    "joy": ("emotion_happy", "happy_talk", "smile_30fps", "grin_greenscreen"), "laughter": ("laugh_glasses", "laugh_15fps"),
    "sadness": ("emotion_sad",), "crying": ("crying_man", "sad_glasses_dark"), "anger": ("rage_fast",), "fear": ("emotion_fear",),
    "surprise": ("emotion_surprised",), "disgust": ("emotion_disgusted",), "contempt": ("emotion_contempt",),
    "neutral": ("grid_talk_1", "grid_talk_2", "grid_talk_3", "glasses_studio", "talk_700px", "waist_up"),
}  # fmt: skip
FEATURES = (
    "inner_brows", "middle_brows", "outer_brows", "brows_apart", "upper_lip", "lower_lip", "mouth_height", "mouth_open", "mouth_width",
    "corner_right", "corner_left", "one_sided", "corners_nose", "inner_width", "eyes_open",
)  # fmt: skip
SPOKEN = ("lower_lip", "mouth_height", "mouth_open", "inner_width")  # count half: the clips' people talk
QUIET = (
    0.6  # share of a clip's frames, by mouth opening, that are looked at; all of those whose emotion opens the mouth
)
OPEN = ("surprise", "laughter")
STRONG = 0.4  # below this quantile of distance from rest, a frame of a clip counts as not yet emotional
LEAST = 1.2  # deviations from rest below which a face is neutral


def features(points: Float[np.ndarray, "n 68 2"]) -> Float[np.ndarray, "n 15"]:
    """Lengths in units of `face_scale`, in the order of FEATURES. Invariant to shift, roll and size."""
    p = points.astype(np.float64)
    up = p[:, 27] - p[:, 33]
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    right, left = (p[:, 36] + p[:, 39]) / 2, (p[:, 42] + p[:, 45]) / 2
    lips = (p[:, 51] + p[:, 57]) / 2

    def above(k: int, of: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        return ((p[:, k] - of) * up).sum(1)

    def apart(a: int, b: int) -> Float[np.ndarray, " n"]:
        return np.linalg.norm(p[:, a] - p[:, b], axis=1)

    corner_right, corner_left = above(48, lips), above(54, lips)
    eyes = (apart(37, 41) + apart(38, 40) + apart(43, 47) + apart(44, 46)) / 4
    out = [
        above(21, right) + above(22, left), above(19, right) + above(24, left), above(17, right) + above(26, left), apart(21, 22),
        above(33, p[:, 51]), above(57, p[:, 8]), above(51, p[:, 57]), above(62, p[:, 66]), apart(48, 54), corner_right, corner_left,
        np.abs(corner_right - corner_left), above(48, p[:, 33]) + above(54, p[:, 33]), apart(60, 64), eyes,
    ]  # fmt: skip
    return np.stack(out, 1) / face_scale(p)[:, None]


@dataclass(frozen=True)
class Judge:
    """`prototypes`: emotion -> features over rest in deviations. `rest`, `spread`: of the real clips."""

    prototypes: Mapping[str, Float[np.ndarray, "15"]]
    rest: Float[np.ndarray, "15"]
    spread: Float[np.ndarray, "15"]

    def ranked(self, change: Float[np.ndarray, "15"]) -> list[str]:
        """Emotions by likeness of direction, the likeliest first; "neutral" alone for a face that hardly moved. `change`: features
        over the person's own rest."""
        x = change / self.spread * _weights()
        if np.linalg.norm(x) < LEAST:
            return ["neutral"]
        like = {
            e: float(x @ (p * _weights()) / np.linalg.norm(x) / np.linalg.norm(p * _weights()))
            for e, p in self.prototypes.items()
        }
        return sorted(like, key=lambda e: -like[e])


def _weights() -> Float[np.ndarray, "15"]:
    return np.array([0.5 if f in SPOKEN else 1.0 for f in FEATURES])


def train(seen: Mapping[str, Float[np.ndarray, "n 15"]], without: Iterable[str] = ()) -> Judge:
    """From features of real clips by name, those of `without` left out. Clips that are not there are missed quietly: see `missing`."""
    skipped = set(without)
    rest = np.mean([np.median(seen[c], 0) for c in REAL["neutral"] if c in seen], 0)
    spread = np.concatenate(list(seen.values())).std(0)
    prototypes = {}
    for emotion, clips in REAL.items():
        changes = [shown(seen[c], emotion, rest, spread) for c in clips if c in seen and c not in skipped]
        if emotion != "neutral" and changes:
            prototypes[emotion] = np.mean(changes, 0)
    return Judge(prototypes, rest, spread)


def shown(
    clip: Float[np.ndarray, "n 15"], emotion: str, rest: Float[np.ndarray, "15"], spread: Float[np.ndarray, "15"]
) -> Float[np.ndarray, "15"]:
    """What a clip shows of its emotion: median of its strong, quiet frames over everybody's rest, in deviations."""
    change = (clip - rest) / spread
    quiet: Bool[np.ndarray, " n"] = np.ones(len(clip), bool)
    if emotion not in OPEN:
        quiet = np.argsort(np.argsort(change[:, FEATURES.index("mouth_open")])) < QUIET * len(clip)
    feeling = [k for k, f in enumerate(FEATURES) if f not in SPOKEN]
    far = np.linalg.norm(change[:, feeling], axis=1)
    keep = quiet & (far >= np.quantile(far, STRONG))
    return np.median(change[keep] if keep.any() else change, 0)


def unseen(seen: Mapping[str, Float[np.ndarray, "n 15"]]) -> dict[str, bool]:
    """Clip -> whether it is recognised by a judge that never saw it, of emotions with several people."""
    out = {}
    for emotion, clips in REAL.items():
        there = [c for c in clips if c in seen]
        if emotion == "neutral" or len(there) < 2:
            continue
        for clip in there:
            judge = train(seen, (clip,))
            found = judge.ranked(shown(seen[clip], emotion, judge.rest, judge.spread) * judge.spread)
            out[clip] = found[0] == emotion
    return out


def missing(names: Iterable[str]) -> list[str]:
    """Clips that the judge wants and that are not among `names`."""
    have = set(names)
    return [c for clips in REAL.values() for c in clips if c not in have]
