"""What a persona's sources covered: views, expressions, skin; and what to photograph next, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import KeyAtlas, KeyLight, Persona

TURNED_DEG, NODDED_DEG = 18.0, 10.0  # from which a look shows a side, the brow from above or the jaw from below
CLEAR = 0.35  # of full strength, from which an expression counts as seen
SHUT = 0.6
TEETH_SHARE = (
    0.2  # of the mouth's opening that is bright and no redder than skin; measured: closed lips 0, grins 0.3 to 0.6
)
SMALL_FACE_PX = 200.0
SOFT_LIGHT = 0.35  # contrast of the light up to which no side of the face is in shade
DEEP_TINT = 0.75  # log red over green of the skin, beyond which a lamp has taken the colours (daylight 0.3 to 0.7)
THUMB_PX = 56


@dataclass(frozen=True)
class ViewSeen:
    """One kept look. yaw_deg > 0: turned to the subject's left; pitch_deg > 0: looks up. source: file name. light: None when unknown."""

    key: int
    yaw_deg: float
    pitch_deg: float
    face_px: float
    source: str
    light: KeyLight | None = None


@dataclass(frozen=True)
class Coverage:
    """views: of every kept look. expressions: strength 0..1 with which each was seen, and `seen` whether that is enough.

    advice: what to add, the most useful first; empty when nothing is missing.
    """

    views: tuple[ViewSeen, ...]
    expressions: Mapping[str, float]
    advice: tuple[str, ...]

    @property
    def lights(self) -> int:
        """How many lights the looks were taken in; 0 when that is not known."""
        return len({v.light.group for v in self.views if v.light})

    def seen(self, expression: str) -> bool:
        """Whether an expression was seen clearly. Raises KeyError for an unknown one."""
        return self.expressions[expression] >= _ENOUGH[expression]

    def to_record(self) -> dict[str, Any]:
        """For machines."""
        return {
            "views": [
                {"key": v.key, "yaw_deg": round(v.yaw_deg, 1), "pitch_deg": round(v.pitch_deg, 1),
                 "face_px": round(v.face_px), "source": v.source, "light": _light_record(v.light)}
                for v in self.views
            ],
            "expressions": {
                name: {"seen": self.seen(name), "strength": round(value, 2)} for name, value in self.expressions.items()
            },
            "lights": self.lights,
            "advice": list(self.advice),
        }  # fmt: skip


def _light_record(light: KeyLight | None) -> dict[str, Any] | None:
    if light is None:
        return None
    return {"contrast": round(light.contrast, 2), "from": light_words(light), "group": light.group}


def light_words(light: KeyLight) -> str:
    """Where the main light comes from, as the camera sees it, and whether it is a lamp's."""
    x, y = light.toward
    sides = [
        word
        for word, there in (("left", x < -0.2), ("right", x > 0.2), ("above", y > 0.3), ("below", y < -0.3))
        if there
    ]
    words = "soft" if light.contrast < SOFT_LIGHT else " and ".join(sides)
    return f"{words}, warm" if light.tint[0] > DEEP_TINT else words


_ENOUGH = {
    "smile": CLEAR, "teeth": TEETH_SHARE, "mouth open": CLEAR, "eyes closed": SHUT, "brows up": CLEAR, "frown": CLEAR,
}  # fmt: skip
_ADVICE = {
    "smile": "smile with the lips closed",
    "teeth": "smile with teeth",
    "mouth open": "open the mouth wide, as in saying 'ah'",
    "eyes closed": "close the eyes",
    "brows up": "raise the brows",
    "frown": "frown: draw the brows down and together",
}


def moments(persona: Persona) -> tuple[int, ...]:
    """The keys that are single moments; a persona of one look has only the fused one."""
    return tuple(range(1, len(persona.keys))) or (0,)


def coverage(persona: Persona) -> Coverage:
    """What was seen and what is missing."""
    views = tuple(_view(persona, i) for i in moments(persona))
    each = [_expressions(persona.keys[i]) for i in moments(persona)]
    expressions = {name: max(e[name] for e in each) for name in _ENOUGH}
    found = Coverage(views, MappingProxyType(expressions), ())
    missing = [_ADVICE[name] for name in _ENOUGH if not found.seen(name)]
    # A smile with teeth shows the smile, too.
    if not found.seen("smile") and not found.seen("teeth"):
        missing.remove(_ADVICE["smile"])
    return Coverage(views, found.expressions, (*_turns(views), *missing, *_lit(views), *_sharper(views)))


def _view(persona: Persona, key: int) -> ViewSeen:
    k = persona.keys[key]
    name = persona.sources[k.source].name if 0 <= k.source < len(persona.sources) else "unknown"
    return ViewSeen(key, float(k.view_deg[0]), float(k.view_deg[1]), float(k.face_px), name, k.light)


def _turns(views: tuple[ViewSeen, ...]) -> list[str]:
    yaws, pitches = [v.yaw_deg for v in views], [v.pitch_deg for v in views]
    wanted = (
        (max(yaws) < TURNED_DEG, "turn left more (your left, until one ear is hidden)"),
        (min(yaws) > -TURNED_DEG, "turn right more (your right, until one ear is hidden)"),
        (min(abs(y) for y in yaws) > TURNED_DEG, "look straight into the camera"),
        (max(pitches) < NODDED_DEG, "look up"),
        (min(pitches) > -NODDED_DEG, "look down"),
    )
    return [text for needed, text in wanted if needed]


def _lit(views: tuple[ViewSeen, ...]) -> list[str]:
    """What the lights of the looks leave to wish for; nothing when they are unknown."""
    lights = [v.light for v in views if v.light]
    if not lights:
        return []
    out = []
    if min(k.contrast for k in lights) > SOFT_LIGHT:
        worst = light_words(min(lights, key=lambda k: k.contrast)).removesuffix(", warm")
        out.append(f"add a picture in soft light (all are lit from {worst})")
    if min(k.tint[0] for k in lights) > DEEP_TINT:
        out.append("add a picture in daylight: lamps take the blue out of the skin")
    if all(abs(k.tint[0]) < 0.03 and abs(k.tint[1]) < 0.03 for k in lights):
        out.append("add a picture in colour")
    return out


def _sharper(views: tuple[ViewSeen, ...]) -> list[str]:
    widest = max(v.face_px for v in views)
    return [f"come closer: the largest face is {widest:.0f} px wide"] if widest < SMALL_FACE_PX else []


def _expressions(key: KeyAtlas) -> dict[str, float]:
    """0..1 by name, from the muscle actions of the moment; teeth from what the mouth shows."""
    names = [n.split("/")[0] for n in face_model().action_names]

    def strength(*parts: str, sign: float = 1.0) -> float:
        both = [
            np.clip(sign * key.actions[names.index(f"{p}_{side}_{au}")], 0, 1)
            for p, au in map(_split, parts)
            for side in "LR"
        ]
        return float(np.mean(both))

    def single(name: str) -> float:
        return float(np.clip(key.actions[names.index(name)], 0, 1))

    apart = single("lips_part_AU25")
    return {
        "smile": strength("lip_corner_pull AU12"),
        "teeth": teeth_share(key) if apart > CLEAR else 0.0,
        "mouth open": single("jaw_drop_AU26"),
        "eyes closed": strength("lid_close AU43"),
        "brows up": strength("inner_brow_raise AU1", "outer_brow_raise AU2"),
        "frown": max(strength("inner_brow_raise AU1", sign=-1.0), strength("brow_draw AU4")),
    }


def _split(text: str) -> tuple[str, str]:
    part, unit = text.split()
    return part, unit


def teeth_share(key: KeyAtlas) -> float:
    """0..1, share of the mouth's opening that is brighter than 0.6 of the skin and hardly redder: lips and gums are redder, the
    dark of a mouth is darker."""
    grid, size = uv_grid(256), 256
    albedo = cv2.resize(np.ascontiguousarray(key.albedo, np.float32), (size, size), interpolation=cv2.INTER_AREA)
    loop = face_model().uv[face_model().loops["inner_lips"]] * size
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(loop).astype(np.int32)], 1)
    inside, skin = albedo[mask > 0], albedo[grid.skin].mean(0)
    bright = inside @ LUMA > 0.6 * float(skin @ LUMA)
    return float((bright & (_redness(inside) < 1.1 * float(_redness(skin[None])[0]))).mean())


def _redness(rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """How far red stands above blue, 0 for grey."""
    return (rgb[:, 0] - rgb[:, 2]) / np.maximum(rgb[:, 0] + rgb[:, 2], 1e-5)
