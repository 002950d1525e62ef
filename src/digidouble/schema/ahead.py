"""An iterator that another thread works on, a few items ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 0.1  # between two looks whether anybody still wants what is ready


@dataclass(frozen=True)
class _Ended:
    """The last thing in the queue: the source is empty, or this went wrong in it."""

    error: BaseException | None = None


def read_ahead(source: Generator[T, None, None], items: int, name: str) -> Generator[T, None, None]:
    """The items of `source`, in order, made and closed on a thread called `name` that stays at most `items` ahead.

    What the source raises is raised here, after the items before it. Close the generator (`contextlib.closing`) to end the thread early.
    """
    ready: queue.Queue[T | _Ended] = queue.Queue(maxsize=items)
    stop = threading.Event()

    def offered(item: T | _Ended) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=PATIENCE_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            with closing(source):
                for item in source:
                    if not offered(item):
                        return
            offered(_Ended())
        except BaseException as e:
            offered(_Ended(e))

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _Ended):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()
