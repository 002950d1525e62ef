"""The machines of a Ray cluster: the only module that imports ray.

Each machine gets one actor, which opens its assets once and works on all of its cores. Big things lie in the object store once; a task
is small. At most PENDING tasks wait at a machine. A machine that is lost gives its work back. Files come home in parts, beside the
rendering, so that neither end holds more than a part of one.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from digidouble.errors import FarmError
from digidouble.farm.node import HOME, packed
from digidouble.schema.shot import Shot

LOCAL = "ray://local"
PENDING = 2  # tasks at a machine: one in work, one that follows without a pause
RETRIES = 3  # of one task, when machines are lost under it
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


@dataclass
class _Machine:
    """An actor, where it runs, and what it has to do: task -> (work, losses so far)."""

    actor: Any
    node_id: str
    threads: int
    work: dict[Any, tuple[Any, int]] = field(default_factory=dict)


def one_for_all_cores(cores: int) -> list[int]:
    """The threads of each actor of a machine: one actor, which works on all of its cores."""
    return [cores]


class Pool:
    """Actors on every machine. `kind(*assets, threads)` is what runs there: see `node.Node` for what it must answer."""

    def __init__(
        self, ray: Any, kind: type, assets: tuple[Any, ...], shot: Shot, actors: Callable[[int], list[int]] = one_for_all_cores
    ) -> None:  # fmt: skip
        """`shot`: of the plate, which is sent to machines that do not have it under its path. `actors`: cores of a machine -> the
        threads of each of its actors."""
        self.ray, self._kind, self._assets, self._shot, self._actors = ray, kind, assets, shot, actors
        self._plate: Any = None  # in the object store when a machine asks for it
        self._machines: list[_Machine] = []

    @property
    def size(self) -> int:
        """How many actors there are."""
        return len(self._machines)

    def start(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Open the assets everywhere. `meanwhile`: called while the machines start. Raises FarmError: there is none."""
        nodes = [n for n in self.ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise FarmError("the Ray cluster has no machine with a free CPU")
        made = [
            self._actor(n["NodeID"], threads) for n in nodes for threads in self._actors(int(n["Resources"]["CPU"]))
        ]
        meanwhile()
        self._machines = [m for m in made if self._opened(m)]
        if not self._machines:
            raise FarmError("no machine of the Ray cluster could open the assets; see the logs of Ray")

    def run(self, work: Iterable[W], use: Work[W]) -> None:
        """Do all of it; `work` is asked for more only when a machine is free.

        Raises:
            FarmError: machines were lost too often. DigidoubleError: what a machine raised.
        """
        source, again = iter(work), deque[tuple[W, int]]()
        ended = False
        while True:
            for m in self._machines:
                while len(m.work) < PENDING and not (ended and not again):
                    item = again.popleft() if again else next(((w, 0) for w in source), None)
                    if item is None:
                        ended = True
                        break
                    m.work[use.submit(m.actor, item[0])] = item
            tasks = [t for m in self._machines for t in m.work]
            if not tasks:
                return
            ready, _ = self.ray.wait(tasks, num_returns=1, timeout=1.0)
            for task in ready:
                machine = next(m for m in self._machines if task in m.work)
                try:
                    use.home(machine.actor, machine.work[task][0], self.ray.get(task))
                except self.ray.exceptions.RayError as e:
                    _raise_ours(e)
                    again.extend(self._lost(machine, use))
                    break
                del machine.work[task]

    def fetched(self, actor: Any, *what: Any) -> Iterator[bytes]:
        """A file that an actor has (`actor.read(*what, offset)`), in parts. Raises RayError: its machine was lost."""
        offset = 0
        while part := self.ray.get(actor.read.remote(*what, offset)):
            offset += len(part)
            yield part

    def drop(self, actor: Any, *what: Any) -> None:
        """What was fetched need not be kept there."""
        actor.drop.remote(*what)

    def stop(self) -> None:
        """End the actors that are left; their own temporary files go with them."""
        for m in self._machines:
            with suppress(self.ray.exceptions.RayError):  # it is gone, or busy with what nobody waits for
                self.ray.get(m.actor.close.remote(), timeout=0.1 if m.work else 5)
            self.ray.kill(m.actor)

    def _actor(self, node_id: str, threads: int) -> _Machine:
        where = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": where, "concurrency_groups": {HOME: 2}}
        made = self.ray.remote(**options)(self._kind)
        return _Machine(made.remote(*self._assets, threads), node_id, threads)

    def _opened(self, machine: _Machine) -> bool:
        """Whether a machine has its assets; what our own code refuses there is raised here."""
        get, lost = self.ray.get, self.ray.exceptions.RayError
        try:
            if get(machine.actor.has_plate.remote(), timeout=READY_SECONDS):
                get(machine.actor.open.remote(None), timeout=READY_SECONDS)
            else:
                get(machine.actor.open.remote(self._sent_plate()), timeout=READY_SECONDS)
            return True
        except lost as e:
            _raise_ours(e)
            return False

    def _sent_plate(self) -> Any:
        if self._shot.kind == "sequence":
            raise FarmError(
                f"{self._shot.path}: a machine of the cluster does not see this sequence; put it on a disk they share"
            )
        if self._plate is None:
            self._plate = self.ray.put(packed(Path(self._shot.path)))
        return self._plate

    def _lost(self, machine: _Machine, use: Work[Any]) -> list[tuple[Any, int]]:
        """Replace a machine that was lost; returns its work. Raises FarmError: some of it was lost too often."""
        self._machines.remove(machine)
        worst = max(losses for _, losses in machine.work.values()) + 1
        if worst > RETRIES:
            raise FarmError(
                f"the worker was lost {worst} times under the same work; out of memory? What is done is kept: run again to continue"
            )
        alive = {n["NodeID"]: n for n in self.ray.nodes() if n["Alive"]}
        if machine.node_id in alive:
            again = self._actor(machine.node_id, machine.threads)
            if self._opened(again):
                self._machines.append(again)
        if not self._machines:
            raise FarmError("all machines of the Ray cluster were lost; what is done is kept: run again to continue")
        left = [(use.left(work), losses + 1) for work, losses in machine.work.values()]
        return [(work, losses) for work, losses in left if work is not None]


def _raise_ours(error: BaseException) -> None:
    """A task that failed, as opposed to a machine: raise what it raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        raise cause from error
