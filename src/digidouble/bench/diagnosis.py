"""From measures of a bad stretch to a sentence: the causes whose measures are beyond their limits, strongest first.

A cause is a measured fact that may explain the damage, not a proof; docs/bench.md lists the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NAMED = 3  # causes in a sentence
NOTHING = "no measured cause stands out"
SIGNAL, LOOK = frozenset({"expression", "pose", "gaze"}), frozenset({"identity", "flicker"})
EVERY = SIGNAL | LOOK


@dataclass(frozen=True)
class Cause:
    """A measure and the limit from which it is named.

    Attributes:
        limit: named above it, or below it where `below`. text: the sentence; `{}` is the measure.
        explains: protocols it can explain.
    """

    measure: str
    limit: float
    text: str
    explains: frozenset[str] = EVERY
    below: bool = False

    def strength(self, value: float) -> float:
        """How far beyond the limit, 1 at the limit; 0 where it is not known."""
        if not math.isfinite(value):
            return 0.0
        return self.limit / max(value, 1e-3) if self.below else value / self.limit


CAUSES = (
    Cause("shown", 0.9, "the double is faded to {:.0%}", below=True),
    Cause("noise_share", 0.5, "the judge is unsure: the plate measured again already scores {:.0%} of this"),
    Cause("undetected", 0.25, "the judge's detector lost the face in {:.0%} of the frames"),
    Cause("turn_deg", 25, "the head is turned by {:.0f} degrees"),
    Cause("face_px", 110, "the face is only {:.0f} px wide", below=True),
    Cause("motion", 0.04, "the face moves by {:.0%} of its width a frame"),
    Cause("sharpness", 0.7, "the plate is blurred to {:.0%} of the shot's usual sharpness", below=True),
    Cause("shot_share", 0.75, "the whole shot is like this: its median is {:.0%} of it"),
    Cause("offset_share", 0.5, "{:.0%} of it is a constant offset of the shot (the judge knows one average head only)", SIGNAL),
    Cause("hidden", 0.2, "{:.0%} of the face is covered, by the product's matte"),
    Cause("key_far", 1.15, "the persona has no key near this expression ({:.1f} times the shot's usual distance)", LOOK | {"expression"}),
    Cause("key_fade", 0.3, "the persona's key is changed in {:.0%} of the frames", LOOK | {"expression"}),
    Cause("tracker_deg", 2.5, "the product's head pose on the plate is {:.1f} degrees from the judge's", SIGNAL),
    Cause("tracker_gaze_deg", 5, "the product's gaze on the plate is {:.1f} degrees from the judge's", frozenset({"gaze"})),
    Cause("lids", 0.75, "the plate's eyes are open by {:.0%} of their usual opening only", SIGNAL | {"flicker"}, True),
    Cause("detail_ratio", 1.3, "fine detail in the face is {:.1f} times the plate's", frozenset({"flicker"})),
    Cause("alike", 0.88, "the judge takes the two people for nearly alike (cosine {:.2f})", frozenset({"identity"})),
    Cause("judges_apart", 0.5, "the two judges disagree by {:.1f}", frozenset({"identity"})),
    Cause("amplitude_low", 0.7, "its movement over the shot is {:.0%} of the plate's", frozenset({"expression"}), True),
    Cause("amplitude_high", 1.4, "its movement over the shot is {:.0%} of the plate's", frozenset({"expression"})),
)  # fmt: skip


def diagnose(protocol: str, measures: Mapping[str, float], lead: str = "", causes: Iterable[Cause] = CAUSES) -> str:
    """One line: `lead`, then the strongest causes of the protocol that are beyond their limits, at most NAMED."""
    known = dict(measures)
    if known.get("key_distance_shot"):
        known["key_far"] = known.get("key_distance", math.nan) / known["key_distance_shot"]
    found = [(c.strength(known.get(c.measure, math.nan)), c) for c in causes if protocol in c.explains]
    found = sorted((f for f in found if f[0] > 1), key=lambda f: -f[0])[:NAMED]
    named = [c.text.format(known[c.measure]) for _, c in found] or [NOTHING]
    return "; ".join([lead, *named] if lead else named)
