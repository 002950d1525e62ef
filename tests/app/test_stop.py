"""Ctrl-C that an extension module or a destructor swallowed is raised again."""

from __future__ import annotations

import os
import signal

import pytest
import typer

from digidouble.app import stop
from digidouble.app.show import Show
from digidouble.errors import WeightsError


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


@pytest.mark.parametrize(
    "error", [ImportError("initialization failed"), OSError("no"), WeightsError("unreadable")], ids=repr
)
def test_an_error_that_ctrl_c_led_to_is_ctrl_c(listening, error) -> None:
    def import_an_extension() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))
        except KeyboardInterrupt as e:
            raise error from e

    with pytest.raises(typer.Exit) as ended, Show().failures():
        import_an_extension()
    assert ended.value.exit_code == 130


def test_an_error_without_a_signal_stays_an_error(listening) -> None:
    with pytest.raises(ImportError), Show().failures():
        raise ImportError("initialization failed")
