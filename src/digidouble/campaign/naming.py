"""File names from templates, safe whatever the table says: inside the folder, bounded, never two alike on any file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath

from digidouble.campaign.document import Item

MAX_VALUE = 80  # characters of one filled-in value
MAX_PART_BYTES = 180  # of one folder or file name; file systems allow 255, the delivery log adds to it
MAX_DEPTH = 6
SUFFIXES = (".mp4", ".mov", ".mkv", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|#%]')  # separators, what Windows refuses, and the marks of sequences
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def read_template(item: Item, known: tuple[str, ...]) -> str:
    """A name template such as `{region}/{key}.mp4`. Raises CampaignError with the place."""
    text = item.text(300)
    for name in _FIELD.findall(text):
        if name not in known:
            raise item.error(f"{{{name}}} is not known; expected some of {', '.join(known[:30])}")
    bare = _FIELD.sub("x", text)
    if "{" in bare or "}" in bare:
        raise item.error("a brace is left over; fields look like {region}")
    parts = bare.split("/")
    if any(p in ("", ".", "..") for p in parts) or len(parts) > MAX_DEPTH or _UNSAFE.search(bare.replace("/", "")):
        raise item.error(
            f'{text!r}: expected a plain name inside the folder, up to {MAX_DEPTH} deep, without .., \\ : * ? " < > | # %'
        )
    if PurePosixPath(bare).suffix.lower() not in SUFFIXES or PurePosixPath(text).suffix != PurePosixPath(bare).suffix:
        raise item.error(f"{text!r}: expected a suffix written out, one of {' '.join(SUFFIXES)}")
    return text


def file_name(template: str, values: Mapping[str, str]) -> str:
    """The template filled in. Values are cleaned; a cleaned or shortened one gets a hash of what it was, so that two stay two."""
    filled = _FIELD.sub(lambda m: _clean(values[m[1]]), template)
    return "/".join(_part(p) for p in filled.split("/"))


def same_file(name: str) -> str:
    """Equal for names that some file system takes for one (capitals, composed letters)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFC", name).casefold())


def _clean(value: str) -> str:
    kept = unicodedata.normalize("NFC", value)
    safe = "".join("_" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else c for c in kept)
    safe = _UNSAFE.sub("_", safe)[:MAX_VALUE].strip(" .")
    return safe if safe == kept and safe else f"{safe or '_'}~{_tag(value)}"


def _part(name: str) -> str:
    """One folder's or file's name: not reserved, not hidden, short enough in bytes."""
    if _RESERVED.fullmatch(name) or name.startswith("."):
        name = f"_{name}"
    if len(name.encode()) <= MAX_PART_BYTES:
        return name
    suffix = PurePosixPath(name).suffix if PurePosixPath(name).suffix.lower() in SUFFIXES else ""
    end = f"~{_tag(name)}{suffix}"
    stem = name.removesuffix(suffix).encode()[: MAX_PART_BYTES - len(end.encode())].decode("utf-8", "ignore")
    return stem.rstrip(" .") + end


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
