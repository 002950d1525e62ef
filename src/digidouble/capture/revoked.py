"""Reading a revocation list: `--revoked FILE` or DIGIDOUBLE_REVOKED.

[[revoked]]
subject = "Ada Example"          # the person, as in the consent record
since   = 2026-11-01             # first day on which nothing may be rendered any more
reason  = "withdrawn by letter"  # optional

[[revoked]]
persona = "3f2a..."              # or one persona: its sha256, 16 digits at least
since   = 2026-11-01

[[revoked]]
subject  = "Ben Example"         # or one record of a person: both must match
evidence = "contract 17"
since    = 2026-11-01
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from digidouble.errors import ConsentError
from digidouble.schema.revocation import Revocation, Revocations

ENV = "DIGIDOUBLE_REVOKED"
MAX_BYTES = 8 << 20
MAX_ENTRIES = 100_000
_FIELDS = {"since", "persona", "subject", "evidence", "reason"}


def read_revocations(path: Path | None = None) -> Revocations:
    """The list at `path`, else at DIGIDOUBLE_REVOKED, else an empty one.

    Raises:
        ConsentError: a list is named and cannot be read or understood: it is never ignored.
    """
    chosen = path or (Path(text).expanduser() if (text := os.environ.get(ENV, "").strip()) else None)
    if chosen is None:
        return Revocations()
    try:
        with chosen.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConsentError(
            f"{chosen}: the revocation list cannot be read ({e.strerror}); nothing is rendered without it"
        ) from e
    if len(data) > MAX_BYTES:
        raise ConsentError(f"{chosen}: the revocation list is larger than {MAX_BYTES >> 20} MiB")
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ConsentError(f"{chosen}: the revocation list is not valid TOML ({e})") from e
    entries = raw.get("revoked", [])
    if set(raw) - {"revoked"} or not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise ConsentError(f"{chosen}: expected only [[revoked]] tables, at most {MAX_ENTRIES}; got {sorted(raw)[:5]}")
    found = tuple(_entry(chosen, n, entry) for n, entry in enumerate(entries, 1))
    return Revocations(found, chosen.name, hashlib.sha256(data).hexdigest())


def _entry(path: Path, number: int, raw: Any) -> Revocation:
    where = f"{path}: revocation {number}"
    if not isinstance(raw, dict) or set(raw) - _FIELDS:
        raise ConsentError(f"{where}: expected fields {', '.join(sorted(_FIELDS))}, got {raw!r:.80}")
    since = raw.get("since")
    if type(since) is not date:
        raise ConsentError(f"{where}: since = {since!r}; expected a date such as 2026-11-01 (without quotes)")
    texts = {name: raw.get(name, "") for name in ("persona", "subject", "evidence", "reason")}
    if not all(isinstance(text, str) and len(text) <= 1000 for text in texts.values()):
        raise ConsentError(f"{where}: persona, subject, evidence and reason are texts of at most 1000 characters")
    if not any(texts[name].strip() for name in ("persona", "subject", "evidence")):
        raise ConsentError(f"{where}: names nobody; expected a persona, a subject or an evidence")
    if texts["persona"] and not re.fullmatch(r"[0-9a-fA-F]{16,64}", texts["persona"]):
        raise ConsentError(f"{where}: persona = {texts['persona']!r:.80}; expected 16 to 64 digits of its sha256")
    return Revocation(since, **texts)
