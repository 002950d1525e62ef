"""Passes of a campaign on a Ray cluster: a machine renders variants into segments, this one fetches, labels, signs and books them one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from digidouble.campaign.node import Made, PassNode, PlateFacts
from digidouble.campaign.onepass import Job, Outcome
from digidouble.deliver.overlay import draw_overlay
from digidouble.deliver.writer import open_writer
from digidouble.farm.pool import Inputs, Kind, Pool, Work
from digidouble.schema.persona import Persona

Booked = Callable[[Outcome, float], None]


@dataclass(frozen=True)
class ClusterPlate:
    """A plate that variants are rendered from.

    Attributes:
        staging: a folder of this machine, on the disk of the variants, for segments on their way.
    """

    facts: PlateFacts
    staging: Path


def render_passes(
    ray: Any, plate: ClusterPlate, passes: Iterable[list[Job]], persona: Callable[[str], Persona], booked: Booked
) -> None:
    """Make the jobs of every pass. One that fails is an outcome, and the others go on.

    Args:
        passes: asked for more only when a machine is free. persona: by its name in the campaign.
        booked: called with each outcome and the seconds of a machine that it took.

    Raises:
        FarmError: machines were lost too often, or have other versions. DigidoubleError: a machine cannot open the plate.
    """
    shot, left = plate.facts.shot, iter(passes)
    inputs = Inputs(Path(shot.path), plate.facts.performance, shot.kind == "sequence")
    pool = Pool(ray, Kind(PassNode, (plate.facts,)), inputs)
    try:
        pool.start()
        pool.run(lambda machine, busy: next(left, None), _Passes(pool, plate, persona, booked).work)
    finally:
        pool.stop()
        shutil.rmtree(plate.staging, ignore_errors=True)


class _Passes:
    """What machines are given and what they give back."""

    def __init__(self, pool: Pool, plate: ClusterPlate, persona: Callable[[str], Persona], booked: Booked) -> None:
        self._pool, self._plate, self._persona, self._booked = pool, plate, persona, booked
        self._shared: dict[str, Any] = {}
        self._done: set[str] = set()
        self.work: Work[list[Job]] = Work(self._submit, self._home, self._left)

    def _submit(self, actor: Any, jobs: list[Job]) -> Any:
        ready, names = [], dict[str, Any]()
        for job in jobs:
            try:
                drawn = tuple(draw_overlay(o, self._plate.facts.shot.size_wh) for o in job.overlays)
                names |= {who: self._reference(who) for _, who in job.cast}
                ready.append(
                    replace(job, drawn=drawn, delivery=replace(job.delivery, certificate=None, private_key=None))
                )
            except Exception as e:  # this variant only: a font or a persona is missing
                outcome = Outcome(job)
                outcome.fail(e)
                self._book(outcome, 0.0)
        return actor.do.remote("render", ready, list(names), *names.values())

    def _home(self, actor: Any, jobs: list[Job], result: tuple[list[Made], float]) -> None:
        found: Mapping[str, Made] = {made.variant_id: made for made in result[0]}
        for job in (j for j in jobs if j.variant_id not in self._done):
            made, outcome = found[job.variant_id], Outcome(job)
            outcome.error, outcome.final, outcome.thumb = made.error, made.final, made.thumb
            if made.plan is not None:
                try:
                    self._deliver(actor, outcome, made)
                except self._pool.ray.exceptions.RayError:
                    raise
                except Exception as e:  # this variant only: a full disk, say
                    outcome.fail(e)
                self._pool.drop(actor, job.variant_id)
            self._book(outcome, result[1] / max(len(found), 1))

    def _left(self, jobs: list[Job]) -> list[Job] | None:
        return [j for j in jobs if j.variant_id not in self._done] or None

    def _book(self, outcome: Outcome, seconds: float) -> None:
        self._done.add(outcome.job.variant_id)
        self._booked(outcome, seconds)

    def _reference(self, who: str) -> Any:
        if who not in self._shared:
            self._shared[who] = self._pool.ray.put(self._persona(who))
        return self._shared[who]

    def _deliver(self, actor: Any, outcome: Outcome, made: Made) -> None:
        """Fetch a variant's segment, and deliver it under its name."""
        job, plan, frames = outcome.job, made.plan, self._plate.facts.frames
        assert plan is not None
        segment = self._plate.staging / f"{job.variant_id}.segment"
        file = segment if plan.is_movie else segment / plan.names(frames)[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as target:
            for part in self._pool.fetched(actor, job.variant_id):
                target.write(part)
        settings = replace(plan.settings, certificate=job.delivery.certificate, private_key=job.delivery.private_key)
        with open_writer(job.out, self._plate.facts.shot, settings) as writer:
            writer.adopt(segment, frames)
            writer.notes["content_gate"] = made.gate
            outcome.delivered = writer.close()
        shutil.rmtree(segment) if segment.is_dir() else segment.unlink()
