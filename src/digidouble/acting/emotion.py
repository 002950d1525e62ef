"""Emotions as action units, and as coefficients of the muscle basis.

An emotion is a set of facial action units (Ekman & Friesen 1978, Facial Action Coding System; the sets follow EMFACS, Friesen &
Ekman 1983, as tabulated in Ekman, Friesen & Hager 2002, ch. 12, and the measured production patterns of Du, Tao & Martinez 2014,
"Compound facial expressions of emotion", PNAS 111(15), table 1). Laughter follows Ruch & Ekman 2001, "The expressive pattern of
laughter"; crying Vingerhoets 2013, "Why only humans weep", ch. 5, and the sadness set. Each recipe names the units it takes from there,
and those that are ours; the numbers are ours, too: 1 is the 99th percentile of real clips (`FaceModel.action_fields_cm`). Full strength
was brought near to how far landmarks of real people go in the same emotion (`bench.emotion_material`; their apex, a tenth to a half beyond the
middle of a take) by hand, beside a least-squares solution for the mean face, and by pictures (docs/speak.md has the lengths).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from digidouble.errors import SettingsError
from digidouble.schema.mesh import face_model


@dataclass(frozen=True)
class Recipe:
    """One emotion at full strength.

    Attributes:
        units: the source's action units that are used, as FACS numbers them, for people. ours: what was added to them, for the lengths of real faces.
        source: where the set comes from.
        actions: name of a muscle action without its side -> coefficient; both sides. "NAME_L", "NAME_R" for one side.
        rise_s, fall_s: time from none to full and back (Ekman & Friesen 1982; startle-like emotions rise faster).
        blinks: factor of the usual blink rate (Karson 1988: more under arousal, fewer under attention).
        gaze_deg: (yaw, pitch) that the eyes tend to.
        head_deg: (yaw, pitch, roll) that the head tends to.
    """

    units: str
    source: str
    actions: Mapping[str, float]
    ours: str = ""
    rise_s: float = 0.45
    fall_s: float = 0.7
    blinks: float = 1.0
    gaze_deg: tuple[float, float] = (0.0, 0.0)
    head_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


LEFT_STRONGER = 0.18
"""The subject's left half of a face moves further, its right half less, by this share (Sackeim, Gur & Saucy 1978; Borod 1993); set by how uneven
mouth and brows of real takes are (docs/speak.md). Lids are one nerve's business and go together (Hering's law)."""
EMFACS = "EMFACS (Friesen & Ekman 1983); Du et al. 2014"
RECIPES: Mapping[str, Recipe] = {
    "neutral": Recipe("none", "no action unit", {}),
    "joy": Recipe(
        "6+12, 25", EMFACS,
        {"lip_corner_pull_AU12": 1.15, "cheek_raise_AU6": 1.3, "lips_part_AU25": 0.6, "jaw_drop_AU26": 0.06, "lid_tighten_AU7": 1.0,
         "lip_stretch_AU20": 1.0, "upper_lip_raise_AU10": 0.45, "nose_wrinkle_AU9": 0.4, "cheek_puff_AD34": 0.6, "lid_close_AU43": 0.18},
        ours="7, 9, 10, 20, 26, 34, 43",
        head_deg=(0.0, 1.0, 1.5),
    ),
    "laughter": Recipe(
        "6+7+12, 25+26", "Ruch & Ekman 2001",
        {"lip_corner_pull_AU12": 0.8, "cheek_raise_AU6": 1.4, "lips_part_AU25": 1.2, "jaw_drop_AU26": 1.4, "jaw_thrust_AD29": -0.6,
         "lid_tighten_AU7": 0.9, "lip_stretch_AU20": 1.1, "upper_lip_raise_AU10": 0.85, "lower_lip_drop_AU16": 0.3,
         "lid_close_AU43": 0.33, "nose_wrinkle_AU9": 0.8, "cheek_puff_AD34": 0.4, "inner_brow_raise_AU1": 1.0,
         "outer_brow_raise_AU2": 0.5},
        ours="1, 2, 9, 10, 16, 20, 34, 43, jaw back",
        rise_s=0.3, head_deg=(0.0, 4.0, 2.0),
    ),
    "sadness": Recipe(
        "1+4+15, 17", EMFACS,
        {"inner_brow_raise_AU1": 0.5, "brow_draw_AU4": 0.75, "outer_brow_raise_AU2": -0.4, "lip_corner_pull_AU12": -0.72,
         "lower_lip_drop_AU16": -0.4, "lid_close_AU43": 0.12, "lid_tighten_AU7": 0.2, "upper_lip_raise_AU10": -0.15},
        ours="7, 28, 43, outer brows down",
        rise_s=0.8, fall_s=1.2, blinks=1.1, gaze_deg=(0.0, -7.0), head_deg=(0.0, -4.0, 2.0),
    ),
    "crying": Recipe(
        "1+4+6+7+9+15+20, 25", "Vingerhoets 2013; sadness of EMFACS",
        {"inner_brow_raise_AU1": 0.05, "brow_draw_AU4": 1.3, "outer_brow_raise_AU2": -1.1, "cheek_raise_AU6": 1.15,
         "lid_tighten_AU7": 1.3, "lid_close_AU43": 0.66, "nose_wrinkle_AU9": 0.9, "upper_lip_raise_AU10": 0.28,
         "lip_corner_pull_AU12": -0.34, "lip_stretch_AU20": 1.2, "lips_part_AU25": 0.32, "jaw_drop_AU26": 0.6},
        ours="10, 26, 43, outer brows down",
        rise_s=0.7, fall_s=1.5, blinks=1.8, gaze_deg=(0.0, -8.0), head_deg=(0.0, -5.0, 2.5),
    ),
    "anger": Recipe(
        "4+7, 17+24, 10 (slight)", EMFACS,
        {"inner_brow_raise_AU1": -1.3, "brow_draw_AU4": 1.2, "lid_tighten_AU7": 0.95, "lips_part_AU25": -0.65,
         "lower_lip_drop_AU16": -0.3, "upper_lip_raise_AU10": 0.25, "nose_wrinkle_AU9": 0.4, "cheek_raise_AU6": 0.2,
         "lid_close_AU43": 0.1, "lip_corner_pull_AU12": -0.05},
        ours="6, 9, 15, 43",
        rise_s=0.35, blinks=0.7, head_deg=(0.0, -4.0, 0.0),
    ),
    "fear": Recipe(
        "1+2+4+5+20, 25+26", EMFACS,
        {"inner_brow_raise_AU1": 0.92, "outer_brow_raise_AU2": 0.15, "brow_draw_AU4": 0.78, "lid_close_AU43": -1.05,
         "lid_tighten_AU7": -1.3, "lip_stretch_AU20": 0.7, "lips_part_AU25": 0.5, "jaw_drop_AU26": 0.32, "jaw_thrust_AD29": -0.15,
         "lower_lip_drop_AU16": 0.45, "lip_corner_pull_AU12": -0.5, "upper_lip_raise_AU10": 0.78, "cheek_raise_AU6": -0.3},
        ours="10, 15, 16, lower lids loose, jaw back, cheeks down",
        rise_s=0.2, blinks=1.5, head_deg=(0.0, 1.5, 0.0),
    ),
    "surprise": Recipe(
        "1+2+5, 25+26", EMFACS,
        {"inner_brow_raise_AU1": 0.9, "outer_brow_raise_AU2": 0.8, "lid_close_AU43": -0.8, "lid_tighten_AU7": -0.6,
         "jaw_drop_AU26": 1.25, "jaw_thrust_AD29": -0.4, "lips_part_AU25": 0.7, "lower_lip_drop_AU16": 0.4,
         "lip_corner_pull_AU12": -0.65, "lip_stretch_AU20": -0.45, "cheek_raise_AU6": -0.4},
        ours="15, 16, 18, lower lids loose, jaw back, cheeks down",
        rise_s=0.15, fall_s=0.5, blinks=0.7, head_deg=(0.0, 2.0, 0.0),
    ),
    "disgust": Recipe(
        "9, 10+16, 25", EMFACS,
        {"nose_wrinkle_AU9": 1.3, "upper_lip_raise_AU10": 1.2, "lower_lip_drop_AU16": 0.3, "brow_draw_AU4": 0.35,
         "outer_brow_raise_AU2": -0.3, "lid_tighten_AU7": 1.2, "cheek_raise_AU6": 1.35,
         "lid_close_AU43": 0.52, "lip_corner_pull_AU12_L": 0.25, "lip_corner_pull_AU12_R": -0.2, "lips_part_AU25": 0.4},
        ours="4, 6, 7, 12 on one side, 15 on the other, 43, outer brows down",
        head_deg=(3.0, 1.5, 0.0),
    ),
    "contempt": Recipe(
        "12 on one side", "Ekman & Friesen 1986, a new pan-cultural facial expression of emotion; EMFACS",
        {"lip_corner_pull_AU12_L": 1.0, "lip_corner_pull_AU12_R": -0.2, "lip_stretch_AU20_L": 0.55, "cheek_raise_AU6_L": 0.5,
         "lips_part_AU25": -0.3, "upper_lip_raise_AU10": 0.1, "outer_brow_raise_AU2_R": 0.5, "inner_brow_raise_AU1_R": 0.25,
         "inner_brow_raise_AU1_L": -0.35, "lid_close_AU43": 0.14, "lid_tighten_AU7_L": 0.5},
        ours="20 there for 14, which the basis lacks; 6, 7 there; 1, 2, 15 on the other side; 4, 10, 24, 43",
        rise_s=0.6, head_deg=(-3.0, 3.0, 2.5),
    ),
}  # fmt: skip
EMOTIONS = tuple(RECIPES)


def recipe(name: str) -> Recipe:
    """An emotion by name.

    Raises:
        SettingsError: there is none of that name; the message lists those there are.
    """
    if name not in RECIPES:
        raise SettingsError(f"emotion {name!r} is not known; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


@lru_cache(maxsize=1)
def columns() -> dict[str, tuple[int, ...]]:
    """Muscle action -> its columns: "cheek_raise_AU6" is both sides, the subject's left first, "cheek_raise_AU6_L" the subject's left."""
    out: dict[str, tuple[int, ...]] = {}
    for k, pair in enumerate(face_model().action_names):
        first = pair.split("/")[0]
        stem, _, unit = first.rpartition("_")
        if stem.endswith(("_L", "_R")):
            both = f"{stem[:-2]}_{unit}"
            out[both] = (*out.get(both, ()), k)
            out[both + stem[-2:]] = (k,)
        else:
            out[first] = (k,)
    return out


@lru_cache(maxsize=len(RECIPES))
def face_of(name: str) -> Float[np.ndarray, "a"]:
    """Coefficients of an emotion at full strength. Raises SettingsError as `recipe`."""
    out = np.zeros(len(face_model().action_names))
    for action, value in recipe(name).actions.items():
        at = columns()[action]
        uneven = 0.0 if len(at) == 1 or action.startswith("lid_") else LEFT_STRONGER
        for k, share in zip(at, (1 + uneven, 1 - uneven), strict=False):
            out[k] = value * share
    out.flags.writeable = False
    return out
