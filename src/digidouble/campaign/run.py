"""A campaign carried out: analyse each plate once, make what is not there yet, give each viewer its file, tell what happened."""

from __future__ import annotations

import ctypes
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from digidouble.campaign.onepass import CASTS_AT_ONCE, Cast, Job, Outcome, render_pass
from digidouble.campaign.plan import CampaignPlan, PlateFacts, Row, Variant, plan_campaign
from digidouble.campaign.results import RESULTS, ResultRow, write_results
from digidouble.campaign.spec import PURPOSE, read_campaign
from digidouble.campaign.store import Made, Store, opened_store
from digidouble.errors import AssetError, DigidoubleError, SettingsError
from digidouble.farm import RenderSettings, prepare_shot
from digidouble.farm.gate import default_gate
from digidouble.farm.pool import connected
from digidouble.farm.segments import versions
from digidouble.farm.settings import check_workers
from digidouble.footage import Footage, open_footage
from digidouble.perception.content import ContentGate
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.persona import load_persona
from digidouble.render import PreparedCast
from digidouble.schema.performance import Performance
from digidouble.schema.persona import Persona

MAX_RETRIES = 10
ENCODER_FRAMES = 50  # pictures that an H.264 encoder holds (measured: 75 MB at 1280x720)
ENCODERS_BYTES = 768 << 20
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class CampaignResult:
    """What a run did.

    Attributes:
        rows: one for each viewer, in the table's order. results, report: files written.
        rendered: variants made now. reused: variants that were there. wall_s: seconds; analysis_s: of them for analysis.
    """

    rows: tuple[ResultRow, ...]
    results: Path
    report: Path
    rendered: int
    reused: int
    wall_s: float
    analysis_s: float

    @property
    def ok(self) -> bool:
        """Whether every viewer has a file."""
        return all(r.status in ("rendered", "reused") for r in self.rows)


def run_campaign(
    file: Path, out: Path, workers: int | str | None = None, retries: int = 1, progress: Progress | None = None, say: Say | None = None
) -> CampaignResult:  # fmt: skip
    """Make every version that `file` asks for, in the folder `out`. What is there from an earlier run is kept.

    A row that cannot be made is a row with an error in the result, and the others go on.

    Args:
        workers: frames in work at a time; None takes the file's, 0 the machine's cores; or a Ray cluster: ray://HOST:PORT, or
            ray://local for one started here, whose machines each take a pass.
        retries: how often a variant is tried again after an error that may pass.
        progress: (frames of variants done, in all). say: a line for people about what comes next.

    Raises:
        CampaignError: the file or the table is wrong; nothing was rendered.
        OutputError: the folder cannot be written, or another run is at work in it.
        FarmError: there is no such cluster, or its machines were lost; finished variants, results table and report are there.
        KeyboardInterrupt: Ctrl-C; finished variants, results table and report are there.
    """
    if not 0 <= retries <= MAX_RETRIES:
        raise SettingsError(f"retries = {retries}: expected 0..{MAX_RETRIES}")
    plan = plan_campaign(read_campaign(file))
    workers = plan.campaign.workers if workers is None else workers
    check_workers(workers)
    with opened_store(out) as store, connected(workers) if isinstance(workers, str) else nullcontext() as ray:
        run = _Run(plan, store, workers if isinstance(workers, int) else 0, progress, say or (lambda _: None), ray)
        try:
            run.all_plates(retries)
        finally:
            result = run.finish()
    return result


class _Run:
    """The state of one run."""

    def __init__(
        self, plan: CampaignPlan, store: Store, workers: int, progress: Progress | None, say: Say, ray: Any = None
    ) -> None:
        """`ray`: the cluster, when there is one."""
        self._plan, self._store, self._workers, self._progress, self._say = plan, store, workers, progress, say
        self._ray = ray
        self._started = time.perf_counter()
        self._analysis_s = self._render_s = 0.0
        self._reused: dict[str, Made] = {v: made for v in plan.variants if (made := store.kept(v)) is not None}
        self._rendered: dict[str, Made] = {}
        self._errors: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        todo = [v for v in plan.variants.values() if v.variant_id not in self._reused]
        self._todo = todo
        self._frames_done = 0
        self._frames_all = sum(len(plan.plates[v.plate].frames) for v in todo)

    def all_plates(self, retries: int) -> None:
        for name in dict.fromkeys(v.plate for v in self._todo):
            self._plate(self._plan.plates[name], [v for v in self._todo if v.plate == name], retries)

    def _plate(self, facts: PlateFacts, variants: list[Variant], retries: int) -> None:
        try:
            footage = open_footage(facts.source.file)
        except DigidoubleError as e:
            self._errors |= {v.variant_id: str(e) for v in variants}
            return
        with footage:
            try:
                performance = self._performance(facts, footage)
            except DigidoubleError as e:
                self._errors |= {v.variant_id: str(e) for v in variants}
                return
            self._say(f"rendering {len(variants)} variant(s) of {facts.source.name}")
            casts, gate = _Casts(self._plan, performance), default_gate()
            left = variants
            for _ in range(retries + 1):
                if self._ray is None:
                    left = self._round(facts, footage, performance, casts, gate, left)
                else:
                    left = self._round_on_cluster(facts, footage, performance, casts, left)
                if not left:
                    return

    def _round(
        self, facts: PlateFacts, footage: Footage, performance: Performance, casts: _Casts, gate: ContentGate,
        variants: list[Variant],
    ) -> list[Variant]:  # fmt: skip
        """Try each of them once. Returns those that may be tried again."""
        again: list[Variant] = []
        for batch in batches(variants, facts, self._plan.campaign.at_once):
            batch = batch[: self._affordable(len(batch))]
            if not batch:
                return []
            jobs = [self._job(v, facts) for v in batch]
            begun = time.perf_counter()
            outcomes = render_pass(
                footage, performance, facts.frames, jobs, casts.prepared, self._workers, self._advance, gate
            )
            seconds = time.perf_counter() - begun
            self._render_s += seconds
            _return_memory()
            for variant, outcome in zip(batch, outcomes, strict=True):
                self._tries[variant.variant_id] = self._tries.get(variant.variant_id, 0) + 1
                self._book(outcome, facts, seconds / len(batch))
                if outcome.error and not outcome.final:
                    again.append(variant)
        return again

    def _round_on_cluster(
        self, facts: PlateFacts, footage: Footage, performance: Performance, casts: _Casts, variants: list[Variant]
    ) -> list[Variant]:
        """The same on the machines of a cluster, a pass each. Raises FarmError."""
        from digidouble.campaign import cluster, node

        of_id, again = {v.variant_id: v for v in variants}, list[Variant]()
        plate = cluster.ClusterPlate(
            node.PlateFacts(
                performance.shot,
                Path(performance.file).absolute(),
                performance.sha256,
                facts.frames,
                footage.settings,
                self._plan.campaign.look,
                PURPOSE,
                versions(),
            ),
            self._store.folder / "variants" / ".incoming",
        )

        def passes() -> Iterator[list[Job]]:
            for batch in batches(variants, facts, self._plan.campaign.at_once):
                batch = batch[: self._affordable(len(batch))]
                if not batch:
                    return
                yield [self._job(v, facts) for v in batch]

        def booked(outcome: Outcome, seconds: float) -> None:
            variant = outcome.job.variant_id
            self._render_s += seconds
            self._tries[variant] = self._tries.get(variant, 0) + 1
            self._book(outcome, facts, seconds)
            self._advance(len(facts.frames))
            if outcome.error and not outcome.final:
                again.append(of_id[variant])

        cluster.render_passes(self._ray, plate, passes(), casts.persona, booked)
        return again

    def _affordable(self, wanted: int) -> int:
        """How many more the budget allows, by what they took so far."""
        limit = self._plan.campaign.budget.seconds
        if limit is None:
            return wanted
        left, done = limit - self._render_s, len(self._rendered)
        if left <= 0:
            return 0
        return wanted if not done else min(wanted, int(left / (self._render_s / done)))

    def _job(self, variant: Variant, facts: PlateFacts) -> Job:
        consents = []
        for _, who in variant.cast:
            persona = self._plan.personas[who]
            c = persona.consent
            consents.append(
                f"{c.subject}: {c.evidence} (granted by {c.granted_by}, until {c.expires}; persona {persona.sha256[:16]})"
            )
        delivery = replace(self._plan.campaign.delivery, consent_ids=tuple(consents))
        out = self._store.variant_path(variant.variant_id, variant.suffix)
        return Job(variant.variant_id, variant.cast, variant.overlays, out, delivery)

    def _book(self, outcome: Outcome, facts: PlateFacts, seconds: float) -> None:
        variant = outcome.job.variant_id
        if outcome.delivered is None:
            self._errors[variant] = outcome.error
            return
        file = outcome.delivered.files[0]
        made = Made(
            variant, file.path.name, file.sha256, file.size_bytes, len(facts.frames), seconds, facts.source.name
        )
        if outcome.thumb is not None:
            picture = cv2.imencode(".jpg", outcome.thumb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            (self._store.folder / "thumbs" / f"{variant}.jpg").write_bytes(picture.tobytes())
        self._store.add(made)
        self._rendered[variant] = made
        self._errors.pop(variant, None)

    def _advance(self, variants: int) -> None:
        self._frames_done += variants
        if self._progress:
            self._progress(min(self._frames_done, self._frames_all), self._frames_all)

    def _performance(self, facts: PlateFacts, footage: Footage) -> Performance:
        """The plate's analysis: given, kept from an earlier run, or made now."""
        path = facts.source.performance
        if path is None:
            path = self._store.folder / "plates" / f"{facts.analysis[:20]}.perf"
            if not usable(path):
                self._say(f"analysing {facts.source.name} ({footage.shot.frame_count} frames)")
                begun = time.perf_counter()
                analyse(footage, path, PerformSettings())
                self._analysis_s += time.perf_counter() - begun
        performance = load_performance(path)
        return replace(performance, shot=replace(performance.shot, path=footage.shot.path))

    def finish(self) -> CampaignResult:
        """Viewers' files, results table, report."""
        from digidouble.campaign.sheet import write_page

        rows = tuple(self._result(r) for r in self._plan.rows)
        results, report = self._store.folder / RESULTS, self._store.folder / "report.html"
        write_results(results, rows)
        result = CampaignResult(
            rows,
            results,
            report,
            len(self._rendered),
            len(self._reused),
            time.perf_counter() - self._started,
            self._analysis_s,
        )
        write_page(report, self._plan, self._store, rows, result.wall_s, self._analysis_s, len(self._rendered))
        return result

    def _result(self, row: Row) -> ResultRow:
        variant = self._plan.variants.get(row.variant_id)
        made = self._rendered.get(row.variant_id) or self._reused.get(row.variant_id)
        status, error, placed = row.status, row.error, None
        if row.status == "planned" and made is None:
            error = self._errors.get(row.variant_id, "")
            tried = row.variant_id in self._tries or error
            status = "failed" if tried else "pending"
            error = error or "not made in this run (stopped, or the budget's seconds were used up); run again"
        elif made is not None and row.status == "planned":
            status = "rendered" if row.variant_id in self._rendered else "reused"
            try:
                placed = self._store.place(made, row.file, self._plan.campaign.place)
            except DigidoubleError as e:
                status, error = "failed", str(e)
        file = placed or (self._store.folder / "variants" / made.file if made and status != "failed" else None)
        return ResultRow(
            row=row.viewer.row, viewer=row.viewer.key, variant=row.variant_id, status=status,
            file=file.relative_to(self._store.folder).as_posix() if file else "",
            sha256=made.sha256 if made and file else "", bytes=made.size_bytes if made and file else 0,
            frames=made.frames if made and file else 0, seconds=made.seconds if made and file else 0.0,
            plate=row.plate, cast=", ".join(f"{t}={p}" for t, p in variant.cast) if variant else "",
            language=row.language, overlay=" / ".join(o.text for o in variant.overlays) if variant else "",
            rule=row.rule, attempts=self._tries.get(row.variant_id, 0), error=error,
        )  # fmt: skip


class _Casts:
    """Prepared casts of one plate and loaded personas; the least used go first, so that memory stays flat."""

    def __init__(self, plan: CampaignPlan, performance: Performance) -> None:
        self._plan, self._performance = plan, performance
        self._settings = RenderSettings(purpose=PURPOSE, look=plan.campaign.look, samples=0)
        self._casts: OrderedDict[Cast, list[PreparedCast]] = OrderedDict()
        self._personas: OrderedDict[str, Persona] = OrderedDict()

    def prepared(self, cast: Cast) -> list[PreparedCast]:
        if cast not in self._casts:
            self._casts[cast] = prepare_shot(
                self._performance, {t: self.persona(who) for t, who in cast}, self._settings
            )
        self._casts.move_to_end(cast)
        while len(self._casts) > CASTS_AT_ONCE:
            self._casts.popitem(last=False)
        return self._casts[cast]

    def persona(self, name: str) -> Persona:
        """A persona of the campaign. Raises AssetError: its file was changed; ConsentError: its consent was taken back."""
        if name not in self._personas:
            facts = self._plan.personas[name]
            persona = load_persona(facts.file)
            if persona.sha256 != facts.sha256:
                raise AssetError(f"{facts.file}: was changed while the campaign ran; run again")
            self._personas[name] = persona
        self._personas.move_to_end(name)
        while len(self._personas) > CASTS_AT_ONCE:
            self._personas.popitem(last=False)
        return self._personas[name]


def batches(variants: Sequence[Variant], facts: PlateFacts, at_once: int) -> Iterator[list[Variant]]:
    """Variants of one pass: at most `at_once`, of at most CASTS_AT_ONCE casts, and no more encoders than ENCODERS_BYTES hold."""
    w, h = facts.shot.size_wh
    encoder_bytes = ENCODER_FRAMES * w * h * 1.5 * (2 if facts.shot.layout.bits > 8 else 1)
    most = min(at_once, max(1, int(ENCODERS_BYTES / encoder_bytes)))
    batch: list[Variant] = []
    for variant in variants:
        casts = {v.cast for v in batch} | {variant.cast}
        if len(batch) == most or len(casts) > CASTS_AT_ONCE:
            yield batch
            batch = []
        batch.append(variant)
    if batch:
        yield batch


def _return_memory() -> None:
    """Hand what finished encoders held back to the system. glibc keeps it in pieces: peak memory then grew by a fifth from 10 to 40
    variants. Elsewhere there is no such call, nor the need."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def usable(path: Path) -> bool:
    """Whether an analysis is there that this version reads."""
    try:
        load_performance(path)
    except (AssetError, OSError):
        return False
    return True
