"""A long shot on several processes of this machine, a core each: Python's lock, which threads share, costs two of them a fifth of their time."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from digidouble.farm.crew import Crew, Lane, Seen
from digidouble.farm.node import Made, Sources
from digidouble.farm.shares import Shares
from digidouble.farm.worker import Start
from digidouble.schema.frame import Frame
from digidouble.schema.time import FrameRange

WORTH_IT = 6  # segments a worker: opening the assets again takes as long as two or three
_PROGRAM = "from digidouble.farm.worker import main; main()"
Done = queue.SimpleQueue["tuple[FrameRange, Made | None] | BaseException | None"]


def worth_processes(segments: int, workers: int) -> bool:
    """Whether a shot is long enough, and this is a system whose processes can inherit a pipe."""
    return os.name == "posix" and workers > 1 and segments >= WORTH_IT * workers


class Processes:
    """This process, which works too, and others. A context manager: leaving it ends the others, whatever they do.

    Attributes:
        lost: how many of them ended before they were told to; the rest did their work.
    """

    def __init__(self, others: int, sources: Sources) -> None:
        """They start at once, and open `sources` while this one still does other things."""
        self._helpers, self.lost = [_Helper() for _ in range(others)], 0
        telling = ThreadPoolExecutor(max(others, 1))  # they read it when they have started
        self._told = [telling.submit(helper.tell, sources) for helper in self._helpers]
        telling.shutdown(wait=False)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for helper in self._helpers:
            helper.end()

    def __len__(self) -> int:
        return len(self._helpers)

    def render(
        self,
        crew: Crew,
        start: Start,
        segments: list[FrameRange],
        look: Seen,
        moved: Callable[[int], None],
    ) -> Iterator[FrameRange]:
        """Render segments into their place; yields each when it is complete on the disk, in any order.

        Args:
            crew: of this process. start: what the others are told.
            look: called with finished frames, at least those that are wanted, by any thread. Whatever it raises ends the rendering.
            moved: called with the number of frames that were made.

        Raises:
            DigidoubleError: as `Crew.render`, in whichever process.
        """
        shares, stop = Shares(segments, len(self) + 1), threading.Event()
        done: Done = queue.SimpleQueue()

        def seen(source: Frame, result: Frame) -> None:
            if stop.is_set():
                raise _Stopped
            look(source, result)
            moved(1)

        own = threading.Thread(target=_own, args=(crew, shares, done, seen), daemon=True)
        led = [
            threading.Thread(target=self._led, args=(n, crew, start, shares, done), daemon=True)
            for n in range(1, len(self) + 1)
        ]
        for thread in (own, *led):
            thread.start()
        try:
            at_work, left = 1 + len(led), set(segments)
            while at_work:
                item = done.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    at_work -= 1
                    continue
                segment, made = item
                left.discard(segment)
                if made is not None:
                    for pair in made.looks:
                        look(*pair)
                    moved(len(segment))
                yield segment
            for segment in sorted(left, key=lambda s: s.start):  # lost when nobody was left to take it
                yield from crew.render([segment], seen)
        finally:
            stop.set()
            self._end()  # or the threads that lead them would wait for what they are at
            for thread in (own, *led):
                thread.join()

    def _led(self, number: int, crew: Crew, start: Start, shares: Shares, done: Done) -> None:
        """Hand another process one segment after the other."""
        helper, segment = self._helpers[number - 1], None
        try:
            self._told[number - 1].result()
            helper.ready(start)
            while (segment := shares.next(number)) is not None:
                made = helper.rendered(segment)
                for stage, seconds in made.stages.items():
                    crew.clock.add(stage, seconds)
                done.put((segment, made))
        except (EOFError, OSError):  # killed, out of memory
            self.lost += 1
            if segment is not None:
                shares.give_back(number, segment)
        except BaseException as e:
            done.put(e)
            return
        done.put(None)


def _own(crew: Crew, shares: Shares, done: Done, seen: Seen) -> None:
    """What this process renders itself."""
    lane = Lane(crew)
    try:
        while (segment := shares.next(0)) is not None:
            lane.render(segment, seen)
            done.put((segment, None))
        done.put(None)
    except BaseException as e:
        done.put(e)
    finally:
        lane.close()


class _Helper:
    """Another process."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-c", _PROGRAM, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, what: Sources | Start | FrameRange) -> None:
        """Hand it something. Where it has ended, the reading of what it answered says so."""
        with suppress(BrokenPipeError):
            self._pipe.send(what)

    def ready(self, start: Start) -> None:
        """Have it finish what it makes of its sources. Raises what went wrong there; EOFError, OSError: it is gone."""
        self._asked(start)

    def rendered(self, segment: FrameRange) -> Made:
        """Have it render a segment. Raises as `ready`."""
        return self._asked(segment)

    def _asked(self, what: Start | FrameRange) -> Any:
        self.tell(what)
        answer = self._pipe.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self) -> None:
        """Stop it, whatever it does: what it has not finished is not there."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        # the pipe stays open: a thread may still be waiting at it, and is told by the other end's closing


class _Stopped(Exception):
    """Another process has failed, or nobody asks any more."""
