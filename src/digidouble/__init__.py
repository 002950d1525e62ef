"""Digidouble: film-grade digital doubles of consenting people.

    from pathlib import Path
    import digidouble as dd

    consent = dd.read_consent(Path("consent.toml"))
    double = dd.build_persona(dd.capture_person([Path("portrait.jpg")], consent), "Ada")
    with dd.open_footage("plate.mp4") as plate:
        performance = dd.load_performance(dd.perform(plate, Path("plate.perf")))
        dd.render_shot(plate, performance, {"main": double}, Path("double.mp4"))

Importing this module is light; a name's own module is loaded when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from digidouble.campaign import CampaignResult, check_campaign, run_campaign
    from digidouble.capture import CaptureSettings, read_consent
    from digidouble.capture import capture as capture_person
    from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
    from digidouble.errors import DigidoubleError
    from digidouble.farm import RenderResult, RenderSettings, render_shot
    from digidouble.footage import Footage, FootageSettings, open_footage
    from digidouble.performance import PerformSettings, load_performance
    from digidouble.performance import analyse as perform
    from digidouble.persona import PersonaSettings, build_persona, load_persona, save_persona
    from digidouble.render import LookSettings
    from digidouble.schema.performance import Performance
    from digidouble.schema.persona import Consent, Persona
    from digidouble.schema.shot import Shot
    from digidouble.schema.time import FrameRange, FrameRate

# name -> (module, name there). Not called `capture`: that is the folder.
_PUBLIC = {
    "CampaignResult": ("campaign", "CampaignResult"),
    "CaptureSettings": ("capture", "CaptureSettings"),
    "Consent": ("schema.persona", "Consent"),
    "DeliveredFiles": ("deliver.settings", "DeliveredFiles"),
    "DeliverySettings": ("deliver.settings", "DeliverySettings"),
    "DigidoubleError": ("errors", "DigidoubleError"),
    "Footage": ("footage", "Footage"),
    "FootageSettings": ("footage", "FootageSettings"),
    "FrameRange": ("schema.time", "FrameRange"),
    "FrameRate": ("schema.time", "FrameRate"),
    "LookSettings": ("render", "LookSettings"),
    "PerformSettings": ("performance", "PerformSettings"),
    "Performance": ("schema.performance", "Performance"),
    "Persona": ("schema.persona", "Persona"),
    "PersonaSettings": ("persona", "PersonaSettings"),
    "RenderResult": ("farm", "RenderResult"),
    "RenderSettings": ("farm", "RenderSettings"),
    "Shot": ("schema.shot", "Shot"),
    "build_persona": ("persona", "build_persona"),
    "capture_person": ("capture", "capture"),
    "check_campaign": ("campaign", "check_campaign"),
    "load_performance": ("performance", "load_performance"),
    "load_persona": ("persona", "load_persona"),
    "open_footage": ("footage", "open_footage"),
    "perform": ("performance", "analyse"),
    "read_consent": ("capture", "read_consent"),
    "render_shot": ("farm", "render_shot"),
    "run_campaign": ("campaign", "run_campaign"),
    "save_persona": ("persona", "save_persona"),
}

__all__ = [
    "CampaignResult",
    "CaptureSettings",
    "Consent",
    "DeliveredFiles",
    "DeliverySettings",
    "DigidoubleError",
    "Footage",
    "FootageSettings",
    "FrameRange",
    "FrameRate",
    "LookSettings",
    "PerformSettings",
    "Performance",
    "Persona",
    "PersonaSettings",
    "RenderResult",
    "RenderSettings",
    "Shot",
    "__version__",
    "build_persona",
    "capture_person",
    "check_campaign",
    "load_performance",
    "load_persona",
    "open_footage",
    "perform",
    "read_consent",
    "render_shot",
    "run_campaign",
    "save_persona",
]


def __getattr__(name: str) -> Any:
    try:
        module, there = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'digidouble' has no attribute {name!r}") from None
    value = getattr(import_module(f"digidouble.{module}"), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
