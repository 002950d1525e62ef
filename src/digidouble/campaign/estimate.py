"""What a campaign will cost, before it runs: from what earlier variants took, or from a probe of a few frames."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from digidouble.campaign.onepass import Job, render_pass
from digidouble.campaign.plan import CampaignPlan, PlateFacts, Variant, plan_campaign
from digidouble.campaign.run import batches, usable
from digidouble.campaign.spec import PURPOSE, read_campaign
from digidouble.campaign.store import Made, Store
from digidouble.errors import DigidoubleError
from digidouble.farm import RenderSettings, prepare_shot
from digidouble.farm.settings import check_workers
from digidouble.footage import MemoryFootage, open_footage
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.persona import load_persona
from digidouble.schema.time import FrameRange

PROBE_FRAMES = 16
BESIDE = 3  # variants of one cast in the second probe; the difference to one is what an encoder costs


@dataclass(frozen=True)
class Estimate:
    """A campaign before it runs.

    Attributes:
        viewers: rows of the table. failed: rows that cannot be made as things are (number, key, why).
        variants: unique versions. to_render: of them not there yet. frames: to encode, over those.
        seconds: time for the rest of it, None when it could not be measured. analysis_s: of them for analysis.
        disk_bytes: files to come. cost: seconds at the budget's price per hour.
        basis: what the numbers rest on, a sentence for each plate.
    """

    viewers: int
    failed: tuple[tuple[int, str, str], ...]
    variants: int
    to_render: int
    frames: int
    seconds: float | None
    analysis_s: float
    disk_bytes: int
    cost: float | None
    basis: tuple[str, ...]


@dataclass(frozen=True)
class _Speed:
    """Seconds a frame: for each cast in a pass, and for each variant; bytes a frame of a variant; analysis of the plate."""

    cast: float
    variant: float
    bytes: float
    analysis_s: float
    basis: str


def check_campaign(
    file: Path, out: Path | None = None, workers: int | str | None = None, probe: bool = True
) -> Estimate:
    """A dry run: everything that can be refused is, and what is to be made is counted and estimated. Writes nothing.

    Args:
        out: the folder the campaign will go to; what is there already is counted as done, and its times are used.
        workers: as for `run_campaign`; of a cluster the estimate is for one machine like this.
        probe: measure a few frames of each plate when there are no earlier times.

    Raises:
        CampaignError, MediaError, AssetError: as `run_campaign` would before it renders.
    """
    plan = plan_campaign(read_campaign(file))
    store = Store(out) if out is not None and out.is_dir() else None
    todo = [v for v in plan.variants.values() if store is None or store.kept(v.variant_id) is None]
    workers = plan.campaign.workers if workers is None else workers
    check_workers(workers)
    threads = workers if isinstance(workers, int) else 0  # of a cluster: what one machine like this would take
    analysis = seconds = 0.0
    disk, known = 0.0, True
    basis: list[str] = []
    for name in dict.fromkeys(v.plate for v in todo):
        facts, here = plan.plates[name], [v for v in todo if v.plate == name]
        speed = _speed(plan, facts, here, store, threads, probe)
        if isinstance(speed, str):
            basis.append(f"{name}: {speed}")
            known = False
            continue
        passes = list(batches(here, facts, plan.campaign.at_once))
        casts = sum(len({v.cast for v in batch}) for batch in passes)
        analysis += speed.analysis_s
        seconds += speed.analysis_s + len(facts.frames) * (casts * speed.cast + len(here) * speed.variant)
        disk += len(facts.frames) * len(here) * speed.bytes
        basis.append(f"{name}: {speed.basis}")
    copies = 2 if plan.campaign.place == "copy" else 1
    price = plan.campaign.budget.price_per_hour
    return Estimate(
        viewers=len(plan.rows), failed=tuple((r.viewer.row, r.viewer.key, r.error) for r in plan.failed),
        variants=len(plan.variants), to_render=len(todo), frames=sum(len(plan.plates[v.plate].frames) for v in todo),
        seconds=seconds if known else None, analysis_s=analysis, disk_bytes=round(disk * copies),
        cost=seconds / 3600 * price if price is not None and known else None, basis=tuple(basis),
    )  # fmt: skip


def _speed(
    plan: CampaignPlan, facts: PlateFacts, variants: list[Variant], store: Store | None, workers: int, probe: bool
) -> _Speed | str:
    """Speeds of a plate, or why they are not known."""
    earlier = [m for m in (store.made.values() if store else ()) if m.plate == facts.source.name and m.frames]
    if earlier:
        return _remembered(earlier)
    if not probe:
        return "not measured"
    try:
        with tempfile.TemporaryDirectory(prefix="digidouble-campaign-") as folder:
            return _probed(plan, facts, variants, store, workers, Path(folder))
    except DigidoubleError as e:
        return f"could not be measured ({e})"


def _remembered(earlier: list[Made]) -> _Speed:
    frames = sum(m.frames for m in earlier)
    return _Speed(
        0.0, sum(m.seconds for m in earlier) / frames, sum(m.size_bytes for m in earlier) / frames, 0.0,
        f"by the {len(earlier)} variant(s) made earlier",
    )  # fmt: skip


def _probed(
    plan: CampaignPlan, facts: PlateFacts, variants: list[Variant], store: Store | None, workers: int, folder: Path
) -> _Speed:
    """Analyse and render PROBE_FRAMES frames from the middle of the part that is used: one variant, then several beside each other."""
    count = min(PROBE_FRAMES, len(facts.frames))
    start = facts.frames.start + (len(facts.frames) - count) // 2
    part = FrameRange(start, start + count)
    with open_footage(facts.source.file) as footage:
        excerpt = MemoryFootage(list(footage.frames(part)), footage.shot.rate, str(facts.source.file))
        if footage.shot.kind == "image":
            excerpt.shot = replace(excerpt.shot, kind="image")
    begun = time.perf_counter()
    performance = load_performance(analyse(excerpt, folder / "probe.perf", PerformSettings()))
    analysis = (time.perf_counter() - begun) / count * facts.shot.frame_count
    analysed = facts.source.performance is not None or (
        store is not None and usable(store.folder / "plates" / f"{facts.analysis[:20]}.perf")
    )
    variant = variants[0]
    settings = RenderSettings(purpose=PURPOSE, look=plan.campaign.look, samples=0)
    casting = {t: load_persona(plan.personas[who].file) for t, who in variant.cast}
    casts = prepare_shot(performance, casting, settings)
    taken: list[float] = []
    size = 0
    for beside in (1, 1, BESIDE):  # the first warms up and is not counted
        jobs = [
            Job(f"{len(taken)}-{i}", variant.cast, variant.overlays, folder / f"{len(taken)}-{i}{variant.suffix}", plan.campaign.delivery)
            for i in range(beside)
        ]  # fmt: skip
        begun = time.perf_counter()
        outcomes = render_pass(excerpt, performance, FrameRange(0, count), jobs, lambda _: casts, workers)
        taken.append((time.perf_counter() - begun) / count)
        for outcome in outcomes:
            if outcome.delivered is None:
                raise DigidoubleError(outcome.error)
            size = outcome.delivered.files[0].size_bytes
    each = max(0.0, (taken[2] - taken[1]) / (BESIDE - 1))
    return _Speed(
        max(0.0, taken[1] - each), each, size / count, 0.0 if analysed else analysis,
        f"by a probe of {count} frame(s) on {workers or os.cpu_count()} worker(s)",
    )  # fmt: skip
