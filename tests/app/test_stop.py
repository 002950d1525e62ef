"""Ctrl-C that an extension module or a destructor swallowed is raised again."""

from __future__ import annotations

import os
import signal

import pytest

from digidouble.app import stop
from digidouble.app.show import Show


@pytest.fixture
def listening():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run as a background job, which ignores it
    stop.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stop._asked.clear()


class Swallows:
    """What happens in its destructor is printed and dropped."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        sum(range(1000))  # the handler runs between two bytecodes of this


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("number", "wanted"), [(signal.SIGINT, stop.Interrupt), (signal.SIGTERM, SystemExit)], ids=["ctrl-c", "terminated"]
)
def test_a_swallowed_signal_comes_again_at_the_next_step(listening, number, wanted) -> None:
    with Show().progress("working") as step:
        step(1, 3)
        made = Swallows(number)
        del made
        with pytest.raises(wanted) as caught:
            step(2, 3)
    if number == signal.SIGTERM:
        assert caught.value.code == 143


def test_a_signal_that_gets_through_is_raised_at_once_and_listening_anew_forgets_it(listening) -> None:
    with pytest.raises(stop.Interrupt):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))
    with pytest.raises(stop.Interrupt):
        stop.check()
    stop.listen()
    stop.check()
