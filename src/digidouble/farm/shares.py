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

    def __len__(self) -> int:
        """Segments that nobody has been given yet."""
        return sum(map(len, self._left))

    def more(self, workers: int) -> None:
        """So many more ask, numbered on; they have nothing of their own yet."""
        with self._lock:
            self._left.extend(deque() for _ in range(workers))

    def next(self, worker: int) -> FrameRange | None:
        """What `worker` renders now; None when everything is dealt out."""
        run = self.run(worker, 1)
        return run[0] if run else None

    def run(self, worker: int, longest: int) -> list[FrameRange]:
        """Up to `longest` segments that follow each other, at most half of what `worker` has left; none when everything is dealt out."""
        with self._lock:
            mine, most = self._left[worker], max(self._left, key=len)
            if not mine:
                for _ in range((len(most) + 1) // 2):
                    mine.appendleft(most.pop())
            return _run_off(mine, min(longest, (len(mine) + 1) // 2))

    def ahead(self, worker: int, longest: int) -> list[FrameRange]:
        """As `run`, for when `worker` is still at something: of its own stretch only, and never the last of it, which may suit another sooner."""
        with self._lock:
            mine = self._left[worker]
            return _run_off(mine, min(longest, len(mine) // 2))

    def give_back(self, worker: int, segment: FrameRange) -> None:
        """A segment that `worker` was lost with: others will take it, and what it had left."""
        with self._lock:
            self._left[worker].appendleft(segment)


def _run_off(segments: deque[FrameRange], most: int) -> list[FrameRange]:
    run: list[FrameRange] = []
    while segments and len(run) < most and (not run or run[-1].end_exclusive == segments[0].start):
        run.append(segments.popleft())
    return run
