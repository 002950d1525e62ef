"""The machines of a Ray cluster: the only module that imports ray.

Each machine gets one actor, which opens its assets once and works on all of its cores, or several. Big things lie in the object store
once, and travel only to machines that have no copy; a task is small. Who is ready begins: nobody waits for the slowest to start. At most
PENDING tasks wait at a machine. A machine that is lost gives its work back. Files come home in parts, beside the
rendering, so that neither end holds more than a part of one.
"""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from digidouble.errors import FarmError
from digidouble.farm.node import HOME, beside_rendering, packed

LOCAL = "ray://local"
PENDING = 2  # tasks at a machine: one in work, one that follows without a pause
RETRIES = 3  # of one task, when machines are lost under it
STARTS = 2  # of an actor in one place before it is given up, when it is lost under its own preparations
READY_SECONDS = 120.0  # for a machine to open its assets
W = TypeVar("W")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected; what was started here is stopped.

    Raises:
        FarmError: Ray is not installed, or no cluster answers.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as e:
        raise FarmError(
            f"workers {address}: Ray is not installed; install it with: pip install 'digidouble[farm]'"
        ) from e
    if ray.is_initialized():
        yield ray
        return
    more = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(None if address == LOCAL else address, log_to_driver=False, logging_level="ERROR", **more)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as e:
        raise FarmError(f"workers {address}: no Ray cluster answers there ({e})") from e
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Work(Generic[W]):
    """What machines are used for.

    Attributes:
        submit: (actor, work) -> its task. home: (actor, work, result): take what came of it.
        left: what is still to do of work whose machine was lost; None when nothing is.
    """

    submit: Callable[[Any, W], Any]
    home: Callable[[Any, W, Any], None]
    left: Callable[[W], W | None]


class AllLost(FarmError):
    """There is nobody left to work."""


@dataclass(frozen=True)
class Kind:
    """What runs on machines: `made(*told, threads)`, which is given what is `shared`, and large, when it opens; see `node.Node` for what it
    must answer."""

    made: type
    told: tuple[Any, ...]
    shared: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """Files that a machine needs, and is sent where it does not have them under their paths. `sequence`: the plate is one, and is not sent."""

    plate: Path
    performance: Path
    sequence: bool = False


@dataclass
class Machine:
    """An actor, where it runs, and what it has to do: task -> (work, losses so far).

    Attributes:
        number: of this actor's place, from 0; who replaces it has the same.
        opening: what it was asked while it gets ready, None when it is; told: its last question; asked: when it began to, in seconds.
        starts: how many began in its place since one got ready.
    """

    actor: Any
    node_id: str
    threads: int
    number: int
    opening: Any
    asked: float = field(default_factory=time.monotonic)
    told: bool = False
    starts: int = 1
    work: dict[Any, tuple[Any, int]] = field(default_factory=dict)


Deal = Callable[[Machine, bool], W | None]  # (machine, whether it is still at something) -> its next work


def one_for_all_cores(node: Mapping[str, Any]) -> list[int]:
    """The threads of each actor of a node (as `ray.nodes` describes it): one actor, which works on all of its cores."""
    return [int(node["Resources"]["CPU"])]


class Pool:
    """Actors on every machine."""

    def __init__(
        self, ray: Any, kind: Kind, inputs: Inputs, actors: Callable[[Mapping[str, Any]], list[int]] = one_for_all_cores
    ) -> None:
        """`actors`: a node -> the threads of each of its actors."""
        self.ray, self._kind, self._inputs, self._actors = ray, kind, inputs, actors
        self._shared: list[Any] = []  # in the object store
        self._sent: dict[Path, Any] = {}  # likewise, when a machine asks for it
        self._machines: list[Machine] = []

    @property
    def size(self) -> int:
        """How many actors there are."""
        return len(self._machines)

    def start(self) -> None:
        """Have everybody begin to get ready. Raises FarmError: there is no machine."""
        nodes = [n for n in self.ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise FarmError("the Ray cluster has no machine with a free CPU")
        for node in nodes:
            for threads in self._actors(node):
                self._machines.append(self._actor(node["NodeID"], threads, len(self._machines)))
        dumps = self.ray.cloudpickle.dumps  # while they start
        self._shared = [self.ray.put(np.frombuffer(dumps(s), np.uint8)) for s in self._kind.shared]

    def run(self, deal: Deal[W], use: Work[W], go_on: Callable[[], bool] = lambda: True) -> None:
        """Do all of it; more is asked for only when a machine is free.

        `go_on`: asked about once a second; False says that nothing is left to be dealt out. Whatever it raises ends the run.

        Raises:
            AllLost: no machine could open the assets, or all were lost. FarmError: machines were lost too often under the same work.
            DigidoubleError: what a machine raised.
        """
        again = deque[tuple[W, int]]()
        while self._machines:
            more = go_on()
            idle = [self._filled(m, deal, use, again) for m in self._machines if m.opening is None]
            at_work = any(m.work for m in self._machines)
            if not at_work and not again and (any(idle) or not more):
                return
            waiting = [t for m in self._machines for t in ([*m.work] if m.opening is None else [m.opening])]
            ready, _ = self.ray.wait(waiting, num_returns=1, timeout=1.0)
            for task in ready:
                machine = next(m for m in self._machines if task in m.work or task == m.opening)
                try:
                    if task == machine.opening:
                        self._opens(machine)
                    else:
                        use.home(machine.actor, machine.work[task][0], self.ray.get(task))
                        del machine.work[task]
                except self.ray.exceptions.RayError as e:
                    _raise_ours(e)
                    again.extend(self._lost(machine, use))
            for slow in [
                m for m in self._machines if m.opening is not None and time.monotonic() > m.asked + READY_SECONDS
            ]:
                slow.starts = STARTS
                self._lost(slow, use)

    def _filled(self, machine: Machine, deal: Deal[W], use: Work[W], again: deque[tuple[W, int]]) -> bool:
        """Give a machine what it can take. Returns whether it has nothing to do: all is dealt out."""
        while len(machine.work) < PENDING:
            item = again.popleft() if again else (deal(machine, bool(machine.work)), 0)
            if item[0] is None:
                break
            machine.work[use.submit(machine.actor, item[0])] = item
        return not machine.work

    def fetched(self, actor: Any, *what: Any) -> Iterator[bytes]:
        """A file that an actor has (its `read(*what, offset)`), in parts. Raises RayError: its machine was lost."""
        offset = 0
        while part := self.ray.get(actor.beside.remote("read", *what, offset)):
            offset += len(part)
            yield part

    def drop(self, actor: Any, *what: Any) -> None:
        """What was fetched need not be kept there."""
        actor.beside.remote("drop", *what)

    def stop(self) -> None:
        """End the actors that are left; their own temporary files go with them."""
        for m in self._machines:
            with suppress(self.ray.exceptions.RayError):  # it is gone, or still starting
                self.ray.get(m.actor.beside.remote("close"), timeout=5 if m.opening is None else 0.5)
            self.ray.kill(m.actor)

    def _actor(self, node_id: str, threads: int, number: int) -> Machine:
        where = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": where, "concurrency_groups": {HOME: 2}}
        small = self.ray.cloudpickle.dumps((self._kind.made, self._kind.told, threads))
        made = self.ray.remote(**options)(_carrier()).remote(small)
        return Machine(made, node_id, threads, number, made.do.remote("has"))

    def _opens(self, machine: Machine) -> None:
        """The next step of getting ready; what our own code refuses there is raised here, a RayError when it was lost."""
        answer = self.ray.get(machine.opening)
        if machine.told:
            machine.opening, machine.starts = None, 0
            return
        plate, performance = answer
        machine.opening = machine.actor.open.remote(
            None if plate else self._plate(),
            None if performance else self._put(self._inputs.performance),
            *self._shared,
        )
        machine.told = True

    def _plate(self) -> Any:
        if self._inputs.sequence:
            raise FarmError(
                f"{self._inputs.plate}: a machine of the cluster does not see this sequence; put it on a disk they share"
            )
        return self._put(self._inputs.plate)

    def _put(self, path: Path) -> Any:
        if path not in self._sent:
            self._sent[path] = self.ray.put(packed(path))
        return self._sent[path]

    def _lost(self, machine: Machine, use: Work[W]) -> list[tuple[W, int]]:
        """Replace a machine that was lost, unless it does not get ready; returns its work.

        Raises:
            FarmError: some of it was lost too often. AllLost: nobody is left.
        """
        self._machines.remove(machine)
        worst = max((losses for _, losses in machine.work.values()), default=0) + 1
        if worst > RETRIES:
            raise FarmError(
                f"the worker was lost {worst} times under the same work; out of memory? What is done is kept: run again to continue"
            )
        alive = {n["NodeID"] for n in self.ray.nodes() if n["Alive"]}
        if machine.opening is not None:
            self.ray.kill(machine.actor)
        if machine.node_id in alive and machine.starts < STARTS:
            again = self._actor(machine.node_id, machine.threads, machine.number)
            again.starts = machine.starts + 1
            self._machines.append(again)
        if not self._machines:
            raise AllLost(
                "no machine of the Ray cluster is left (see the logs of Ray); what is done is kept: run again to continue"
            )
        left = [(use.left(work), losses + 1) for work, losses in machine.work.values()]
        return [(work, losses) for work, losses in left if work is not None]


def _carrier() -> type:
    """An actor that is no more than a shell. A class made in a function travels as code, and what it carries as bytes: through Ray's
    client, classes and values are unpacked once on their way, and importing all of ours there takes as long as in the actor."""

    class Carrier:
        def __init__(self, small: bytes) -> None:
            import pickle  # as Ray itself uses it between its processes; no file is read with it

            made, told, threads = pickle.loads(small)
            self._it = made(*told, threads)

        def open(self, plate: Any, performance: Any, *shared: Any) -> None:
            import pickle

            self._it.open(plate, performance, *(pickle.loads(s) for s in shared))

        def do(self, name: str, *args: Any) -> Any:
            """Call a method: one after the other."""
            return getattr(self._it, name)(*args)

        @beside_rendering
        def beside(self, name: str, *args: Any) -> Any:
            """Call a method meanwhile."""
            return getattr(self._it, name)(*args)

    return Carrier


def _raise_ours(error: BaseException) -> None:
    """A task that failed, as opposed to a machine: raise what it raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        raise cause from error
