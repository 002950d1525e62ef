"""Frame ranges on a Ray cluster: the only module that imports ray.

Each machine gets one actor, which opens the assets once and renders on all of its cores. Performance, personas and (where the
machine has no copy of it) the plate lie in the object store once; a task is a handful of numbers. At most PENDING runs wait at a machine.
A machine that is lost gives its runs back; finished segments are fetched file by file, in parts, and written here, so that a lost
driver continues too, and so that neither end holds more than a part of a file.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from digidouble.errors import FarmError
from digidouble.farm.node import Job, Node, packed
from digidouble.farm.segments import SegmentStore, runs_of
from digidouble.farm.settings import RenderSettings
from digidouble.footage import Footage
from digidouble.schema.clock import StageClock
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona
from digidouble.schema.time import FrameRange

LOCAL = "ray://local"
PENDING = 2  # runs at a machine: one in work, one that follows without a pause
LONGEST_RUN = 4  # segments
RETRIES = 3  # of one run, when machines are lost under it
READY_SECONDS = 120.0  # for a machine to open the assets
HOME = "home"  # the group of calls that a machine answers beside its rendering

Moved = Callable[[int], None]


@dataclass
class _Machine:
    """An actor, where it runs, and the runs it has: task -> (run, losses so far)."""

    actor: Any
    node_id: str
    threads: int
    work: dict[Any, tuple[list[FrameRange], int]] = field(default_factory=dict)


def render_on_cluster(
    store: SegmentStore, assets: tuple[Footage, Performance, Mapping[str, Persona]], settings: RenderSettings, clock: StageClock,
    moved: Moved, meanwhile: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Render what is missing of a store.

    Args:
        assets: plate, performance, casting. moved: called with the number of frames that came home.
        meanwhile: called once, while the machines open the assets.

    Raises:
        FarmError: Ray is not installed or not there, the inputs are not files, or machines were lost too often.
        DigidoubleError: what a worker raised.
    """
    if not store.missing:
        return
    plate, performance, casting = assets
    if store.facts is None or not performance.file:
        raise FarmError(
            "rendering on Ray needs a plate, a performance and personas that are files (their hashes name the work)"
        )
    with _connected(str(settings.workers)) as ray:
        job = Job(store.plan, replace(settings, workers=0), store.facts, plate.settings)
        crew = _Cluster(ray, store, job, packed(Path(performance.file)), casting)
        try:
            crew.start(meanwhile)
            crew.render(clock, moved)
        finally:
            crew.stop()


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected; what was started here is stopped."""
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


class _Cluster:
    """Machines at work on one store."""

    def __init__(
        self, ray: Any, store: SegmentStore, job: Job, performance: Any, casting: Mapping[str, Persona]
    ) -> None:
        self._ray, self._store, self._job = ray, store, job
        self._performance, self._casting = ray.put(performance), ray.put(dict(casting))
        self._plate: Any = None  # in the object store when a machine asks for it
        self._machines: list[_Machine] = []

    def start(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """An actor on every machine. `meanwhile`: called while they start. Raises FarmError: there is none."""
        nodes = [n for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise FarmError("the Ray cluster has no machine with a free CPU")
        made = [self._actor(n["NodeID"], int(n["Resources"]["CPU"])) for n in nodes]
        meanwhile()
        self._machines = [m for m in made if self._opened(m)]
        if not self._machines:
            raise FarmError("no machine of the Ray cluster could open the assets; see the logs of Ray")

    def render(self, clock: StageClock, moved: Moved) -> None:
        """Everything that is missing. Raises as `render_on_cluster`."""
        missing = self._store.missing
        longest = max(1, min(LONGEST_RUN, len(missing) // (3 * len(self._machines))))
        waiting = deque((run, 0) for run in runs_of(missing, longest))
        while waiting or any(m.work for m in self._machines):
            for m in self._machines:
                while waiting and len(m.work) < PENDING:
                    run, losses = waiting.popleft()
                    m.work[m.actor.render.remote(run)] = run, losses
            ready, _ = self._ray.wait([t for m in self._machines for t in m.work], num_returns=1, timeout=1.0)
            for task in ready:
                machine = next(m for m in self._machines if task in m.work)
                try:
                    stages = self._ray.get(task)
                    for segment in machine.work[task][0]:
                        self._store.receive(segment, partial(self._fetched, machine.actor, segment))
                        machine.actor.drop.options(concurrency_group=HOME).remote(segment)
                        moved(len(segment))
                except self._ray.exceptions.RayError as e:
                    _raise_ours(e)
                    waiting.extendleft(reversed(self._lost(machine)))
                    break
                del machine.work[task]
                for stage, seconds in stages.items():
                    clock.seconds[stage] = clock.seconds.get(stage, 0.0) + seconds

    def stop(self) -> None:
        """End the actors that are left; their own temporary files go with them."""
        for m in self._machines:
            with suppress(self._ray.exceptions.RayError):  # it is gone, or busy with what nobody waits for
                self._ray.get(m.actor.close.remote(), timeout=0.1 if m.work else 5)
            self._ray.kill(m.actor)

    def _actor(self, node_id: str, threads: int) -> _Machine:
        where = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        # Files go home while the next run is rendered.
        made = self._ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=where, concurrency_groups={HOME: 2})(
            Node
        )
        return _Machine(made.remote(self._job, self._performance, self._casting, threads), node_id, threads)

    def _opened(self, machine: _Machine) -> bool:
        """Whether a machine has its assets; what our own code refuses there is raised here."""
        get, lost = self._ray.get, self._ray.exceptions.RayError
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
        shot = self._job.plan.shot
        if shot.kind == "sequence":
            raise FarmError(
                f"{shot.path}: a machine of the cluster does not see this sequence; put it on a disk they share"
            )
        if self._plate is None:
            self._plate = self._ray.put(packed(Path(shot.path)))
        return self._plate

    def _fetched(self, actor: Any, segment: FrameRange, key: str) -> Iterator[bytes]:
        """A file of a finished segment, in parts. Raises RayError: its machine was lost."""
        offset = 0
        while part := self._ray.get(actor.read.options(concurrency_group=HOME).remote(segment, key, offset)):
            offset += len(part)
            yield part

    def _lost(self, machine: _Machine) -> list[tuple[list[FrameRange], int]]:
        """Replace a machine that was lost; returns its runs. Raises FarmError: one of them was lost too often."""
        missing = set(self._store.missing)  # some of a run may be home already
        back = [([s for s in run if s in missing], losses + 1) for run, losses in machine.work.values()]
        back = [(run, losses) for run, losses in back if run]
        self._machines.remove(machine)
        worst = max((losses for _, losses in back), default=0)
        if worst > RETRIES:
            first = back[0][0][0].start
            raise FarmError(
                f"the worker was lost {worst} times at frame {first}; out of memory? What is done is kept: run again to continue"
            )
        alive = {n["NodeID"]: n for n in self._ray.nodes() if n["Alive"]}
        if machine.node_id in alive:
            again = self._actor(machine.node_id, machine.threads)
            if self._opened(again):
                self._machines.append(again)
        if not self._machines:
            raise FarmError("all machines of the Ray cluster were lost; what is done is kept: run again to continue")
        return back


def _raise_ours(error: BaseException) -> None:
    """A task that failed, as opposed to a machine: raise what it raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        raise cause from error
