"""Tracklets to tracks: the same person before and after a gap or a cut is one track, by identity and by motion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from digidouble.performance.tracklets import Tracklet

SAME_PERSON = 0.45  # cosine of SFace; perception.md: equal error rate at 0.425, different pairs below 0.23 (95 %)
SAME_PLACE = 0.25  # enough when the face reappears where it was
NEAR_FRAMES = 20


@dataclass
class Chain:
    """Tracklets of one person in time order."""

    tracklets: list[Tracklet] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.tracklets[0].start

    @property
    def end_exclusive(self) -> int:
        return self.tracklets[-1].end_exclusive

    @property
    def identity(self) -> Float[np.ndarray, "d"]:
        every = [i for t in self.tracklets for i in t.identities]
        mean = np.mean(every, 0) if every else np.zeros(128, np.float32)
        return mean / max(float(np.linalg.norm(mean)), 1e-9)

    @property
    def effort(self) -> float:
        """Screen time x size x centrality: what the eye spends on this face."""
        return float(sum(np.sqrt(t.area_px * t.frames) * (t.centrality / max(t.frames, 1)) for t in self.tracklets))


def join(tracklets: list[Tracklet], shortest: int) -> list[Chain]:
    """Greedy in time. Chains with fewer than `shortest` frames are dropped. Heaviest first."""
    chains: list[Chain] = []
    for t in sorted(tracklets, key=lambda t: (t.start, t.number)):
        best, score = None, 0.0
        for c in chains:
            if c.end_exclusive > t.start or not t.identities:
                continue
            likeness = float(c.identity @ np.mean(t.identities, 0))
            last = c.tracklets[-1]
            first = t.records(0, 1)["points"][0]
            width = max(float(np.ptp(first[:, 0])), 1.0)
            moved = float(np.linalg.norm(first[:, :2].mean(0) - last.points[:, :2].mean(0))) / width
            near = t.start - last.end_exclusive <= NEAR_FRAMES and moved < 1.0
            if likeness > (SAME_PLACE if near else SAME_PERSON) and likeness + near > score:
                best, score = c, likeness + near
        if best is None:
            chains.append(Chain([t]))
        else:
            best.tracklets.append(t)
    chains = [c for c in chains if sum(t.frames for t in c.tracklets) >= shortest]
    return sorted(chains, key=lambda c: (-c.effort, c.start))
