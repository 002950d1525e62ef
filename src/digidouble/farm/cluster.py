"""A shot's segments on a Ray cluster: performance, personas and (where a machine has no copy of it) the plate lie in the object store once,
a task is a handful of numbers, and finished segments come home to be written here, so that a lost driver continues, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from digidouble.farm.node import Node, job_of, packed
from digidouble.farm.pool import Pool, Work, connected, one_for_all_cores
from digidouble.farm.prepared import Assets
from digidouble.farm.processes import worth_processes
from digidouble.farm.segments import SegmentStore, shrinking_runs
from digidouble.farm.settings import RenderSettings
from digidouble.schema.clock import StageClock
from digidouble.schema.time import FrameRange

LONGEST_RUN = 6  # segments: each run begins with a seek
Run = list[FrameRange]


def render_on_cluster(
    store: SegmentStore, assets: Assets, settings: RenderSettings, clock: StageClock,
    moved: Callable[[int], None], meanwhile: Callable[[], None] = lambda: None,
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
    job = job_of(store, settings, plate, performance)
    with connected(str(settings.workers)) as ray:
        shared = ray.put(packed(Path(performance.file))), ray.put(dict(casting))
        missing = len(store.missing)

        def actors(cores: int) -> list[int]:
            """A process a core where the shot is long enough: threads get in each other's way."""
            return [1] * cores if worth_processes(missing, cores) else one_for_all_cores(cores)

        pool = Pool(ray, Node, (job, *shared), store.plan.shot, actors)
        try:
            pool.start(meanwhile)
            pool.run(shrinking_runs(store.missing, pool.size, LONGEST_RUN), _use(pool, store, clock, moved))
        finally:
            pool.stop()


def _use(pool: Pool, store: SegmentStore, clock: StageClock, moved: Callable[[int], None]) -> Work[Run]:
    def submit(actor: Any, run: Run) -> Any:
        return actor.render.remote(run)

    def home(actor: Any, run: Run, stages: dict[str, float]) -> None:
        for segment in run:
            store.receive(segment, partial(pool.fetched, actor, segment))
            pool.drop(actor, segment)
            moved(len(segment))
        for stage, seconds in stages.items():
            clock.add(stage, seconds)

    def left(run: Run) -> Run | None:
        missing = set(store.missing)  # some of a run may be home already
        return [s for s in run if s in missing] or None

    return Work(submit, home, left)
