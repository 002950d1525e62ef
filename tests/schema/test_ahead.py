"""An iterator worked on by another thread."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from digidouble.schema.ahead import read_ahead


def alive(name: str) -> bool:
    return any(t.name == name for t in threading.enumerate())


def test_everything_in_order_made_elsewhere():
    by = set()

    def source():
        for k in range(50):
            by.add(threading.current_thread().name)
            yield k

    assert list(read_ahead(source(), 3, "order")) == list(range(50))
    assert by == {"order"} and not alive("order")
    assert list(read_ahead((k for k in ()), 1, "empty")) == []


def test_no_further_ahead_than_told():
    made = []

    def source():
        for k in range(100):
            made.append(k)
            yield k

    with closing(read_ahead(source(), 3, "bounded")) as items:
        for k in range(5):
            assert next(items) == k
            time.sleep(0.05)
            assert len(made) <= k + 1 + 3 + 1  # taken, ready, and one in hand
    assert not alive("bounded") and len(made) < 12


def test_what_goes_wrong_is_raised_after_what_went_before():
    def source():
        yield from range(4)
        raise ValueError("the fifth")

    got = []
    with pytest.raises(ValueError, match="the fifth"):
        for k in read_ahead(source(), 2, "wrong"):
            got.append(k)
    assert got == [0, 1, 2, 3] and not alive("wrong")


def test_closing_ends_the_thread_and_the_source():
    ended = []

    def source():
        try:
            while True:
                yield 0
        finally:
            ended.append(threading.current_thread().name)

    with pytest.raises(KeyError), closing(read_ahead(source(), 2, "endless")) as items:
        next(items)
        raise KeyError
    assert not alive("endless") and ended == ["endless"]
