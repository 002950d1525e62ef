"""Viewers to variants: which version each viewer gets, and which versions are one and the same.

A variant's id is a hash of everything its pixels depend on: plate, analysis, personas, overlays with their fonts, settings, versions.
Viewers whose versions have the same id share one file; a variant whose file is there already is not rendered again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib import metadata
from pathlib import Path, PurePosixPath

from digidouble import __version__
from digidouble.campaign.naming import file_name, same_file
from digidouble.campaign.rules import Use, choose
from digidouble.campaign.spec import PURPOSE, Campaign, OverlaySource, PlateSource, filled
from digidouble.campaign.table import Viewer
from digidouble.deliver.overlay import TextOverlay, draw_overlay, font_digest
from digidouble.errors import CampaignError, ConsentError, DigidoubleError
from digidouble.footage import open_footage
from digidouble.performance import PerformSettings, load_performance
from digidouble.performance.kept import analysis_key
from digidouble.persona import load_persona
from digidouble.schema.persona import Consent
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

_VERSIONS = ("numpy", "opencv-python-headless", "numba", "av", "Pillow")


@dataclass(frozen=True)
class PlateFacts:
    """A plate that is used: its shot, its analysis' identity, the frames delivered."""

    source: PlateSource
    shot: Shot
    analysis: str
    frames: FrameRange


@dataclass(frozen=True)
class PersonaFacts:
    """A persona that is used. `refused`: why its consent does not allow this, "" when it does."""

    file: Path
    name: str
    sha256: str
    consent: Consent
    refused: str


@dataclass(frozen=True)
class Variant:
    """One unique version. `cast`: (track, persona name in the campaign), sorted."""

    variant_id: str
    plate: str
    cast: tuple[tuple[str, str], ...]
    overlays: tuple[TextOverlay, ...]
    suffix: str


@dataclass(frozen=True)
class Row:
    """What a viewer gets: a variant and a name, or the reason why not. `status`: "planned", "failed" or "refused"."""

    viewer: Viewer
    status: str = "planned"
    variant_id: str = ""
    file: str = ""
    plate: str = ""
    language: str = ""
    rule: str = ""
    error: str = ""


@dataclass(frozen=True)
class CampaignPlan:
    """Who gets what. `variants`: by id, in an order in which those of one plate and cast follow each other."""

    campaign: Campaign
    rows: tuple[Row, ...]
    variants: Mapping[str, Variant]
    plates: Mapping[str, PlateFacts]
    personas: Mapping[str, PersonaFacts]

    @property
    def failed(self) -> tuple[Row, ...]:
        return tuple(r for r in self.rows if r.status != "planned")


def plan_campaign(campaign: Campaign, today: date | None = None) -> CampaignPlan:
    """Decide for every viewer. Consent of every persona that is used is judged here, before anything is rendered.

    Raises:
        MediaError, AssetError: a plate or persona that is used cannot be opened.
        CampaignError: more variants than the budget allows.
    """
    planner = _Planner(campaign, today or date.today())
    rows = _without_collisions([planner.row(v) for v in campaign.viewers.viewers])
    wanted = {r.variant_id for r in rows if r.status == "planned"}
    variants = sorted((v for v in planner.variants.values() if v.variant_id in wanted), key=lambda v: (v.plate, v.cast))
    if len(variants) > campaign.budget.variants:
        raise CampaignError(
            f"{campaign.file}: {len(variants)} variants are to be made, the budget allows {campaign.budget.variants}; "
            "raise budget: variants, or make fewer (texts with the viewer's name are a variant each)"
        )
    return CampaignPlan(campaign, rows, {v.variant_id: v for v in variants}, planner.plates, planner.personas)


def _without_collisions(rows: list[Row]) -> tuple[Row, ...]:
    """The first row keeps a name; later ones that would get the same file are failed rows."""
    first: dict[str, int] = {}
    kept = []
    for row in rows:
        if row.status == "planned":
            same = same_file(row.file)
            if same in first:
                error = f"{row.file}: is the file of row {first[same]} too; put {{key}} into output: name"
                row = replace(row, status="failed", error=error)
            else:
                first[same] = row.viewer.row
        kept.append(row)
    return tuple(kept)


class _Planner:
    """Looks each plate, persona and overlay up once."""

    def __init__(self, campaign: Campaign, today: date) -> None:
        self._campaign, self._today = campaign, today
        self.plates: dict[str, PlateFacts] = {}
        self.personas: dict[str, PersonaFacts] = {}
        self.variants: dict[str, Variant] = {}
        self._checked: dict[tuple[TextOverlay, tuple[int, int]], str] = {}  # -> font; raises what it raised
        self._bad: dict[tuple[TextOverlay, tuple[int, int]], str] = {}

    def row(self, viewer: Viewer) -> Row:
        if viewer.error:
            return Row(viewer, "failed", error=viewer.error)
        try:
            return self._decided(viewer)
        except ConsentError as e:
            return Row(viewer, "refused", error=str(e))
        except (CampaignError, ValueError) as e:
            return Row(viewer, "failed", error=str(e))

    def _decided(self, viewer: Viewer) -> Row:
        campaign = self._campaign
        rule = choose(campaign.rules, campaign.weighted, campaign.seed, viewer)
        use = (rule.use if rule else Use()).over(campaign.defaults)
        if use.cast is None or (use.plate is None and len(campaign.plates) > 1):
            missing = "cast" if use.cast is None else "plate"
            raise CampaignError(f"no rule holds that says which {missing}, and defaults: does not say it either")
        plate = self._plate(use.plate or next(iter(campaign.plates)))
        for _, persona in use.cast:
            if reason := self._persona(persona).refused:
                raise ConsentError(reason)
        language = use.language or ""
        names = use.overlays or ()
        cells = {**viewer.cells, "key": viewer.key}
        overlays = tuple(_overlay(campaign.overlays[n], language, cells) for n in names)
        variant = self._variant(plate, use.cast, overlays)
        values = {**cells, "row": str(viewer.row), "variant": variant.variant_id}
        values |= {"plate": plate.source.name, "language": language}
        file = file_name(campaign.template, values)
        name = rule.name if rule else "defaults"
        return Row(viewer, "planned", variant.variant_id, file, plate.source.name, language, name)

    def _plate(self, name: str) -> PlateFacts:
        if name not in self.plates:
            self.plates[name] = plate_facts(self._campaign.plates[name])
        return self.plates[name]

    def _persona(self, name: str) -> PersonaFacts:
        if name not in self.personas:
            self.personas[name] = _persona_facts(self._campaign.personas[name], self._today)
        return self.personas[name]

    def _font(self, overlay: TextOverlay, size_wh: tuple[int, int]) -> str:
        """The font's identity, after a trial of the overlay."""
        key = overlay, size_wh
        if key in self._bad:
            raise CampaignError(self._bad[key])
        if key not in self._checked:
            try:
                draw_overlay(overlay, size_wh)
                self._checked[key] = font_digest(overlay)
            except DigidoubleError as e:
                self._bad[key] = str(e)
                raise CampaignError(str(e)) from e
        return self._checked[key]

    def _variant(
        self, plate: PlateFacts, cast: tuple[tuple[str, str], ...], overlays: tuple[TextOverlay, ...]
    ) -> Variant:
        campaign = self._campaign
        suffix = PurePosixPath(campaign.template).suffix.lower()
        drawn = [[{**asdict(o), "font": self._font(o, plate.shot.size_wh)}] for o in overlays]
        facts = [
            plate.shot.sha256, plate.shot.frame_count, plate.analysis, plate.frames.start, plate.frames.end_exclusive,
            [(track, self._persona(who).sha256) for track, who in cast], drawn, suffix, asdict(campaign.look),
            campaign.delivery.to_record(), PURPOSE, __version__, [(n, metadata.version(n)) for n in _VERSIONS],
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
        return self.variants.setdefault(digest, Variant(digest, plate.source.name, cast, overlays, suffix))


def _overlay(source: OverlaySource, language: str, cells: Mapping[str, str]) -> TextOverlay:
    text = source.texts.get(language, source.texts.get(language.split("-")[0], source.texts.get("")))
    if text is None:
        raise CampaignError(
            f"overlay {source.name} has no text for language {language or '(none chosen)'!r}; it has {', '.join(source.texts)}"
        )
    return replace(source.style, text=filled(text, cells))


def plate_facts(source: PlateSource) -> PlateFacts:
    """What the plate is, without decoding it. Raises MediaError, CampaignError."""
    with open_footage(source.file) as footage:
        shot = footage.shot
    frames = (source.frame_range or FrameRange(0, shot.frame_count)).clipped(shot.frame_count)
    if not len(frames):
        raise CampaignError(f"plate {source.name}: the range holds no frame; {source.file} has 0:{shot.frame_count}")
    if source.performance is None:
        return PlateFacts(source, shot, analysis_key(shot, PerformSettings()), frames)
    made_from = load_performance(source.performance).shot
    if (made_from.sha256, made_from.frame_count) != (shot.sha256, shot.frame_count):
        raise CampaignError(f"plate {source.name}: {source.performance} was made from another file than {source.file}")
    kept = source.performance if source.performance.is_file() else source.performance / "manifest.json"
    with kept.open("rb") as file:
        return PlateFacts(source, shot, hashlib.file_digest(file, "sha256").hexdigest(), frames)


def _persona_facts(file: Path, today: date) -> PersonaFacts:
    persona = load_persona(file)
    refused = ""
    try:
        persona.consent.check(today, PURPOSE)
    except ConsentError as e:
        refused = f"{file.name}: {e}"
    return PersonaFacts(file, persona.name, persona.sha256, persona.consent, refused)
