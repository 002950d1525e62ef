"""Text before it is spoken: cleaned, and cut into runs of one language.

Text is plain: nothing in it is markup or a command to the voice. Numbers, dates and abbreviations are left to the voice, which
knows its language's.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from digidouble.errors import SettingsError

DEFAULT_LANGUAGE = "en-us"
# Script -> the language it is taken for. Latin is anybody's: it is English unless the user says otherwise.
SCRIPT_LANGUAGES = {
    "han": "cmn", "kana": "ja", "hangul": "ko", "cyrillic": "ru", "greek": "el", "arabic": "ar", "hebrew": "he", "devanagari": "hi",
    "bengali": "bn", "tamil": "ta", "telugu": "te", "thai": "th", "georgian": "ka", "armenian": "hy", "latin": DEFAULT_LANGUAGE,
}  # fmt: skip
# Scripts of languages that are not written in Latin letters.
_LANGUAGE_SCRIPTS = {
    **dict.fromkeys(("cmn", "yue", "hak"), ("han",)),
    "ja": ("kana", "han"),
    "ko": ("hangul",),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "sr", "kk", "ky", "tt", "ba", "cv"), ("cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ur", "ug", "sd"), ("arabic",)),
    **dict.fromkeys(("hi", "mr", "ne", "kok"), ("devanagari",)),
    **dict.fromkeys(("el", "grc"), ("greek",)),
    **dict.fromkeys(("bn", "as", "bpy"), ("bengali",)),
    **dict.fromkeys(("hy", "hyw"), ("armenian",)),
    "he": ("hebrew",),
    "ta": ("tamil",),
    "te": ("telugu",),
    "th": ("thai",),
    "ka": ("georgian",),
}
_SCRIPT_PREFIXES = (
    ("CJK UNIFIED", "han"), ("CJK COMPATIBILITY", "han"), ("IDEOGRAPHIC", "han"), ("HIRAGANA", "kana"), ("KATAKANA", "kana"),
    ("HANGUL", "hangul"), ("CYRILLIC", "cyrillic"), ("GREEK", "greek"), ("ARABIC", "arabic"), ("HEBREW", "hebrew"),
    ("DEVANAGARI", "devanagari"), ("BENGALI", "bengali"), ("TAMIL", "tamil"), ("TELUGU", "telugu"), ("THAI", "thai"),
    ("GEORGIAN", "georgian"), ("ARMENIAN", "armenian"), ("LATIN", "latin"), ("FULLWIDTH LATIN", "latin"),
)  # fmt: skip
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U00002600-\U000027bf\U00002b00-\U00002bff\U00002300-\U000023ff"
    "\U000e0020-\U000e007f\ufe0e\ufe0f\u200d\u20e3]"
)
_SPACE = re.compile(r"[ \t\u00a0\u3000]+")
_PAUSE = re.compile(r"[.!?,;:…。！？，；：、\n]\W*$")


@dataclass(frozen=True)
class Run:
    """A stretch of text in one language. `pauses`: it ends with punctuation, so a pause follows."""

    text: str
    language: str
    pauses: bool


@dataclass(frozen=True)
class CleanText:
    """What will be spoken, and what a user should know about what will not."""

    text: str
    notices: tuple[str, ...]


def clean(text: str, max_characters: int) -> CleanText:
    """Text without emoji, control and formatting characters; spaces and line ends made plain.

    Raises:
        SettingsError: there is nothing to say in it, or more than `max_characters`.
    """
    if len(text) > max_characters:
        raise SettingsError(
            f"the text has {len(text)} characters, the limit is {max_characters}: split it into several, or raise max_characters"
        )
    plain = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    without, emoji = _EMOJI.subn(" ", plain)
    # Control characters are commands to some voices (espeak-ng's embedded commands begin with U+0001); unassigned and private ones
    # have no reading.
    kept = "".join(c for c in without if c in "\n\t" or unicodedata.category(c)[0] != "C")
    spoken = "\n".join(_SPACE.sub(" ", line).strip() for line in kept.split("\n")).strip()
    if not any(unicodedata.category(c)[0] in "LN" for c in spoken):
        what = "is empty" if not text.strip() else "holds nothing that can be said (no letter, no digit)"
        raise SettingsError(f"the text {what}: give words, for example --text 'Hello there.'")
    notices = (f"{emoji} emoji or symbol characters in the text are not spoken",) if emoji else ()
    return CleanText(spoken, notices)


def script_of(character: str) -> str:
    """A letter's script ("latin", "han", ...); "" for digits, punctuation, spaces, and scripts not listed here."""
    if not character.isalpha() and unicodedata.category(character)[0] not in "LM":
        return ""
    if character < "\u0250":
        return "latin"
    name = unicodedata.name(character, "")
    return next((script for prefix, script in _SCRIPT_PREFIXES if name.startswith(prefix)), "")


def guess_language(text: str) -> str:
    """The language of most of the text's letters, by their script; kana make Han Japanese. DEFAULT_LANGUAGE where no letter tells."""
    counts: dict[str, int] = {}
    for c in text:
        if script := script_of(c):
            counts[script] = counts.get(script, 0) + 1
    if not counts:
        return DEFAULT_LANGUAGE
    # A Chinese or Japanese character stands for about two or three letters.
    weight = {"han": 2.5, "kana": 2.0, "hangul": 2.0}
    top = max(counts, key=lambda s: counts[s] * weight.get(s, 1.0))
    return "ja" if top == "han" and counts.get("kana", 0) * 5 > counts["han"] else SCRIPT_LANGUAGES[top]


def _scripts_of_language(language: str) -> tuple[str, ...]:
    return _LANGUAGE_SCRIPTS.get(language.split("-")[0].lower(), ("latin",))


def runs(text: str, language: str = "") -> tuple[Run, ...]:
    """The text cut where its language changes. `language`: of the parts written in that language's script; others are guessed.

    Digits, punctuation and spaces belong to the run before them (or after, at the start).
    """
    chosen = dict(SCRIPT_LANGUAGES)
    main = language or guess_language(text)
    chosen |= dict.fromkeys(_scripts_of_language(main), main)
    parts: list[tuple[str, str]] = []
    lead = ""
    for c in text:
        script = script_of(c)
        spoken = chosen[script] if script else ""
        if spoken and (not parts or parts[-1][0] != spoken):
            parts.append((spoken, lead + c))
            lead = ""
        elif parts:
            parts[-1] = (parts[-1][0], parts[-1][1] + c)
        else:
            lead += c
    if lead:
        parts.append((main, lead))
    said = [Run(t.strip(), lang, bool(_PAUSE.search(t.rstrip(" ")))) for lang, t in parts]
    return tuple(r for r in said if r.text)
