"""A shot's segments on a Ray cluster: performance, personas and plate lie in the object store once, for machines that have no copy, a task
is a handful of numbers, and finished segments come home to be written here, so that a lost driver continues, too.

The one who asks has everything ready that others must first start and open. So it begins at once, on a core if the shot is long, and stays
at it, in the place of one of the actors of its machine where that is one of the cluster's; who is ready takes half of what it has left.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from digidouble.farm.crew import Crew
from digidouble.farm.looks import Looks
from digidouble.farm.node import Job, Node, unpacked
from digidouble.farm.pool import AllLost, Inputs, Kind, Machine, Pool, Work, connected, one_for_all_cores
from digidouble.farm.processes import worth_processes
from digidouble.farm.segments import SegmentStore, runs_of
from digidouble.farm.shares import Shares
from digidouble.schema.clock import StageClock
from digidouble.schema.frame import Frame
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

LONGEST_RUN = 6  # segments: each run of an actor with threads begins with a seek, and ends with idle ones
Run = list[FrameRange]


@dataclass(frozen=True)
class Asked:
    """What is rendered, and who is told.

    Attributes:
        job: what machines are told. crew: makes the one that this process renders with, of so many threads.
        looks: of the finished frames. moved: called with the number of frames that were made; `clock` learns the seconds of machines.
    """

    store: SegmentStore
    job: Job
    casting: Mapping[str, Persona]
    crew: Callable[[int], Crew]
    looks: Looks
    moved: Callable[[int], None]
    clock: StageClock


class Cluster:
    """A Ray cluster, asked for at once and there while this process still does other things. A context manager: leaving it disconnects."""

    def __init__(self, address: str) -> None:
        self._address, self._ray = address, Future[Any]()
        self._left, self._connected, self._lock = False, ExitStack(), threading.Lock()
        self._leaving = threading.Thread(
            target=self._leave, name="leave ray"
        )  # takes half a second: while segments are joined
        threading.Thread(target=self._connect, daemon=True, name="ray").start()

    def _connect(self) -> None:
        stack = ExitStack()
        try:
            ray = stack.enter_context(connected(self._address))
        except BaseException as e:  # for the one who waits
            self._ray.set_exception(e)
            return
        with self._lock:
            if self._left:  # nobody waits any more
                stack.close()
                return
            self._connected = stack
        self._ray.set_result(ray)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect; who is still connecting does it when he is."""
        self._leave()
        if self._leaving.ident:
            self._leaving.join()

    def _leave(self) -> None:
        with self._lock:
            self._left = True
            self._connected.close()

    def render(self, shot: Asked) -> None:
        """Render what is missing of a store.

        Raises:
            FarmError: Ray is not installed or not there, or machines were lost too often.
            DigidoubleError: what a worker raised, or as `Crew.render`.
        """
        missing = len(shot.store.missing)
        if not missing:
            return
        cores = os.cpu_count() or 1
        own = _Own(shot, 1 if worth_processes(missing, cores) else cores)
        try:
            own.start()
            ray = self._there(own)
            if ray is None:
                shot.store.notes.append("the shot was done before the cluster answered")
            else:
                _render_with(ray, own, shot)
            own.finish()
        finally:
            own.end()
        self._leaving.start()

    def _there(self, own: _Own) -> Any:
        """Ray, when it has answered; None when there is nothing left to do for it."""
        while own.shares and not self._ray.done():
            own.failed()
            with suppress(TimeoutError):
                self._ray.result(0.2)
        return self._ray.result() if self._ray.done() else None


def is_here(node: Mapping[str, Any]) -> bool:
    """Whether a node of a cluster is this machine: has its name, and an address that is ours."""
    if node.get("NodeManagerHostname") != socket.gethostname():
        return False
    with socket.socket(socket.AF_INET6 if ":" in node["NodeManagerAddress"] else socket.AF_INET) as probe:
        try:
            probe.bind((node["NodeManagerAddress"], 0))
        except OSError:
            return False
    return True


def _render_with(ray: Any, own: _Own, shot: Asked) -> None:
    """What is left of a shot, with the machines of a cluster. Raises as `Pool.run`, unless this process can go on alone."""
    left, here = len(own.shares), list[bool]()

    def actors(node: Mapping[str, Any]) -> list[int]:
        """An actor a core where the shot is long enough: threads get in each other's way."""
        cores = int(node["Resources"]["CPU"])
        threads = [1] * cores if worth_processes(left, cores) else one_for_all_cores(node)
        if not here and is_here(node):
            here.append(True)
            threads.pop()  # this process is in its place
        return threads

    def deal(machine: Machine, busy: bool) -> Run | None:
        run = (own.shares.ahead if busy else own.shares.run)(machine.number + 1, _longest(machine.threads))
        return run or None

    def go_on() -> bool:
        own.failed()
        return len(own.shares) > 0

    plan = shot.job.plan.shot
    inputs = Inputs(Path(plan.path), shot.job.performance, plan.kind == "sequence")
    pool = Pool(ray, Kind(Node, (shot.job,), (dict(shot.casting),)), inputs, actors)
    try:
        pool.start()
        own.shares.more(pool.size)
        pool.run(deal, _use(pool, shot), go_on)
    except AllLost:
        shot.store.notes.append("the machines of the cluster were lost; this one did their work")
    finally:
        pool.stop()


def _longest(threads: int) -> int:
    return LONGEST_RUN if threads > 1 else 1  # on one thread a decoder reads on from task to task


def _use(pool: Pool, shot: Asked) -> Work[Run]:
    store = shot.store

    def submit(actor: Any, run: Run) -> Any:
        return actor.do.remote("render", run)

    def home(actor: Any, run: Run, made: bytes) -> None:
        what = unpacked(made)
        for pair in what.looks:
            shot.looks.take(*pair)
        for segment in run:
            store.receive(segment, partial(pool.fetched, actor, segment))
            pool.drop(actor, segment)
            shot.moved(len(segment))
        for stage, seconds in what.stages.items():
            shot.clock.add(stage, seconds)

    def left(run: Run) -> Run | None:
        missing = set(store.missing)  # some of a run may be home already
        return [s for s in run if s in missing] or None

    return Work(submit, home, left)


class _Own:
    """What this process does itself, in a thread: its share.

    Attributes:
        shares: of what is missing; its own worker is number 0.
    """

    def __init__(self, shot: Asked, threads: int) -> None:
        self.shares = Shares(shot.store.missing, 1)
        self._shot, self._longest, self._crew = shot, _longest(threads), shot.crew(threads)
        self._stop, self._error = threading.Event(), list[BaseException]()
        self._thread = threading.Thread(target=self._work, name="own", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def failed(self) -> None:
        """Raise what went wrong."""
        if self._error:
            raise self._error[0]

    def finish(self) -> None:
        """Wait for it, then do what is still missing: machines had it that were lost when nobody was left to take it."""
        self._thread.join()
        self.failed()
        for run in runs_of(self._shot.store.missing, LONGEST_RUN):
            self._render(run)

    def end(self) -> None:
        """Stop, whatever it does."""
        self._stop.set()
        self._thread.join()
        self._crew.close()

    def _work(self) -> None:
        try:
            while run := self.shares.run(0, self._longest):
                self._render(run)
        except BaseException as e:
            self._error.append(e)

    def _render(self, run: Run) -> None:
        for segment in self._crew.render(run, self._seen):
            self._shot.store.keep(segment)

    def _seen(self, source: Frame, result: Frame) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._shot.looks.take(source, result)
        self._shot.moved(1)


class _Stopped(Exception):
    """Something has failed, or nobody asks any more."""
