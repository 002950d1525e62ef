"""Where the time goes: seconds per stage, added up over threads."""

from __future__ import annotations

import threading
import time


class StageClock:
    """`lap` books the time since the last call in this thread on a stage."""

    def __init__(self) -> None:
        self._lock, self._here = threading.Lock(), threading.local()
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Begin timing in this thread."""
        self._here.at = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since `start` or the last `lap` in this thread."""
        now = time.perf_counter()
        self.add(stage, now - self._here.at)
        self._here.at = now

    def add(self, stage: str, seconds: float) -> None:
        """Book time that was measured elsewhere."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
