"""Ctrl-C and SIGTERM as exceptions that cannot get lost.

A handler's exception is raised wherever the program is. In a destructor, or a callback that an extension module runs, it is printed and
dropped, and the program would go on; so it is remembered, and the next step of progress raises it again. An extension module that is
being imported makes an ImportError of it; so an error after a signal is the signal.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130

_asked: list[int] = []


class Interrupt(KeyboardInterrupt):
    """Ctrl-C. A class of its own: where a KeyboardInterrupt itself passed through code that an extension module runs,
    CPython ends the process with the signal, whatever exit code was asked for (`_Py_UnhandledKeyboardInterrupt`)."""


def listen() -> None:
    """From here on both signals are exceptions: `Interrupt`, and SystemExit(143)."""
    _asked.clear()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored: a background job of a shell
        signal.signal(signal.SIGINT, _stop)


def check() -> None:
    """Raise what a signal asked for earlier, if it did."""
    if _asked:
        _raise(_asked[-1])


@contextmanager
def unmasked() -> Iterator[None]:
    """Errors that come out of it after a signal are what the signal asked for."""
    try:
        yield
    except Exception:
        check()
        raise


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    _raise(number)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise Interrupt
    raise SystemExit(128 + number)  # an exception, so that half-written files are removed on the way out
