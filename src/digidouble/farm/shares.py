"""Who renders which segment of a long shot, on the processes of one machine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from digidouble.schema.time import FrameRange


class Shares:
    """Segments dealt out to workers. Each begins with a stretch of its own, so that its decoder reads on without seeking; who has
    none left takes the second half of what the worker with most has."""

    def __init__(self, segments: Sequence[FrameRange], workers: int) -> None:
        """`workers`: how many ask, numbered from 0."""
        cuts = [round(k * len(segments) / workers) for k in range(workers + 1)]
        self._lock = threading.Lock()
        self._left = [deque(segments[a:b]) for a, b in pairwise(cuts)]

    def next(self, worker: int) -> FrameRange | None:
        """What `worker` renders now; None when everything is dealt out."""
        with self._lock:
            mine, most = self._left[worker], max(self._left, key=len)
            if not mine:
                for _ in range((len(most) + 1) // 2):
                    mine.appendleft(most.pop())
            return mine.popleft() if mine else None

    def give_back(self, worker: int, segment: FrameRange) -> None:
        """A segment that `worker` was lost with: others will take it, and what it had left."""
        with self._lock:
            self._left[worker].appendleft(segment)
