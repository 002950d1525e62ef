"""What the mouth is after for every sound: phones of the International Phonetic Alphabet to targets of the lips and jaw.

A target says where a sound wants an articulator and how much it insists (its dominance, 0 none .. 1 whatever the neighbours want). Places
of vowels follow the IPA chart (height: opening, backness with rounding: rounding, fronting: spread lips); consonants their
place of articulation, after the viseme classes of Fisher 1968 and MPEG-4 (ISO/IEC 14496-2, table C.1). Openings are in units of
the tracker's lips_part. They were set by hand, then moved class by class to the ridge solution for one talking person (`talk_700px`, 6 s);
the solution for three speakers of the GRID corpus, who are measured, was within .1 of it but for "again" and its like (.2).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_STRESS, _SECONDARY = "ˈ", "ˌ"
# Length, tone, aspiration, palatalisation, ties, stress: nothing of it is seen on the lips. (Labialisation, ʷ, is, and stays.)
_UNSEEN = set("ːˑ˞ʰʲˠˤʼ˥˦˧˨˩↓↑'ˌˈ.-_|^;\"*?!ˀʱⁿˡ") | set("0123456789⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Target:
    """Where a sound wants the mouth.

    Attributes:
        opening: between the inner lips, 0 shut .. 1 the 99th percentile. jaw: 0 up .. 1 down. rounding, spread: of the lips, 0..1.
        teeth: 0..1, lower lip at the upper teeth. closes: the lips must meet.
        insists: dominance over the neighbours' opening and jaw; insists_lips: over their rounding and spread.
    """

    opening: float
    jaw: float
    rounding: float = 0.0
    spread: float = 0.0
    teeth: float = 0.0
    closes: bool = False
    insists: float = 1.0
    insists_lips: float = 1.0


def _vowel(opening: float, rounding: float = 0.0, spread: float = 0.0) -> Target:
    return Target(opening, opening, rounding, spread, insists=1.0, insists_lips=0.9)


def _stop(
    opening: float, insists: float, rounding: float = 0.0, spread: float = 0.0, jaw: float | None = None
) -> Target:
    lips = 0.75 if rounding else 0.4 if spread else 0.1
    return Target(opening, opening if jaw is None else jaw, rounding, spread, insists=insists, insists_lips=lips)


SILENCE = Target(0.0, 0.0, insists=0.9, insists_lips=0.5)
_BILABIAL = Target(0.0, 0.1, closes=True, insists=1.0, insists_lips=0.15)
_LABIODENTAL = Target(0.14, 0.2, teeth=1.0, insists=0.95, insists_lips=0.3)
_DENTAL, _ALVEOLAR = _stop(0.38, 0.6), _stop(0.46, 0.45, jaw=0.36)
_SIBILANT = _stop(0.48, 0.75, spread=0.3, jaw=0.22)
_HUSHED = _stop(0.46, 0.75, rounding=0.55, jaw=0.24)
_RETROFLEX = _stop(0.44, 0.6, rounding=0.35, jaw=0.3)
_PALATAL = _stop(0.46, 0.5, spread=0.5, jaw=0.36)
_BACK = _stop(0.52, 0.2)  # velars to glottals: made behind the lips, which do as the neighbours do
_UNKNOWN = _stop(0.45, 0.3)

TARGETS: dict[str, Target] = {
    # vowels, front to back and close to open
    "i": _vowel(0.48, 0.0, 0.75), "y": _vowel(0.28, 0.95), "ɪ": _vowel(0.52, 0.0, 0.4), "ᵻ": _vowel(0.50, 0.0, 0.3),
    "ʏ": _vowel(0.38, 0.75), "e": _vowel(0.62, 0.0, 0.55), "ø": _vowel(0.46, 0.8), "ɛ": _vowel(0.74, 0.0, 0.35),
    "œ": _vowel(0.64, 0.55), "æ": _vowel(0.90, 0.0, 0.4), "a": _vowel(1.0, 0.0, 0.1), "ɶ": _vowel(0.90, 0.4),
    "ɨ": _vowel(0.46, 0.0, 0.3), "ʉ": _vowel(0.30, 0.8), "ɘ": _vowel(0.56), "ɵ": _vowel(0.44, 0.6), "ə": _vowel(0.56),
    "ɜ": _vowel(0.62, 0.15), "ɝ": _vowel(0.56, 0.35), "ɚ": _vowel(0.54, 0.3), "ɞ": _vowel(0.66, 0.3), "ɐ": _vowel(0.68),
    "ɯ": _vowel(0.44, 0.0, 0.3), "u": _vowel(0.26, 1.0), "ʊ": _vowel(0.40, 0.65), "ɤ": _vowel(0.58), "o": _vowel(0.50, 0.8),
    "ʌ": _vowel(0.70), "ɔ": _vowel(0.70, 0.55), "ɑ": _vowel(1.0), "ɒ": _vowel(0.80, 0.45),
    # Mandarin: the vowels of zi and zhi
    "ɿ": _vowel(0.44, 0.0, 0.4), "ʅ": _vowel(0.44, 0.15, 0.1),
    # consonants, lips to throat
    **dict.fromkeys("pbmɓʙʘ", _BILABIAL), **dict.fromkeys("fvɱʋⱱ", _LABIODENTAL),
    **dict.fromkeys("ɸβ", Target(0.10, 0.15, 0.3, insists=0.9, insists_lips=0.5)),
    **dict.fromkeys("wʍɥ", Target(0.14, 0.18, 1.0, insists=0.85, insists_lips=1.0)),
    "ʷ": Target(0.22, 0.25, 0.8, insists=0.5, insists_lips=0.8),
    **dict.fromkeys("θðǀ", _DENTAL), **dict.fromkeys("tdnlrɾɫɬɮɗǃǂǁɺ", _ALVEOLAR), **dict.fromkeys("sz", _SIBILANT),
    **dict.fromkeys("ʃʒɧ", _HUSHED), **dict.fromkeys("ʂʐɻʈɖɳɽɭ", _RETROFLEX), "ɹ": _stop(0.42, 0.55, rounding=0.45),
    **dict.fromkeys("ɕʑjçʝɲʎcɟʄ", _PALATAL), **dict.fromkeys("kɡgŋxɣɰʟɠqɢɴχʁʀʛħʕʜʢhɦʔ", _BACK),
}  # fmt: skip


def plain_symbol(name: str) -> tuple[str, bool]:
    """A voice's name of a phone without stress, length and tone, and whether it carries the main stress.

    Letters with marks that have no target of their own are their plain letters (ä: a). espeak-ng's "(en)", which tells of a change of
    language, is no phone.
    """
    if name.startswith("("):
        return "", False
    kept = ""
    for c in unicodedata.normalize("NFC", name):
        for d in c if c in TARGETS else unicodedata.normalize("NFD", c):
            if d in TARGETS or not (d in _UNSEEN or unicodedata.category(d) in ("Mn", "Lm", "Cc", "Zs")):
                kept += d
    return kept, _STRESS in name


@lru_cache(maxsize=4096)
def targets_of(symbol: str) -> tuple[tuple[Target, float], ...]:
    """Targets that a phone goes through, with their shares of its time (sum 1): one, or the parts of a diphthong or affricate.

    A sound that is not known opens the mouth a little. Aspiration ("ph" in espeak-ng's Mandarin) is part of its consonant.
    """
    if not symbol:
        return ((SILENCE, 1.0),)
    letters = [c for i, c in enumerate(symbol) if not (c == "h" and i and symbol[i - 1] in "ptkɡgcsɕʂq")]
    found = [TARGETS.get(c, _UNKNOWN) for c in letters]
    shares = {1: (1.0,), 2: (0.55, 0.45), 3: (0.4, 0.32, 0.28)}.get(len(found), (1 / len(found),) * len(found))
    return tuple(zip(found, shares, strict=True))


def closes_lips(symbol: str) -> bool:
    """Whether a sound cannot be made without the lips meeting: p, b, m and their kin."""
    return any(t.closes for t, _ in targets_of(symbol))


def touches_teeth(symbol: str) -> bool:
    """Whether the lower lip is at the upper teeth: f, v and their kin."""
    return any(t.teeth > 0.5 for t, _ in targets_of(symbol))


def stops_lips(symbol: str) -> bool:
    """Whether the sound begins with lips shut and nothing to hear: p, b and their kin, not m."""
    return symbol[:1] in set("pbɓ")
