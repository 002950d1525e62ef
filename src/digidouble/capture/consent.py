"""`consent.toml`: reading it, and the template that `digidouble persona consent-template` writes."""

from __future__ import annotations

import hashlib
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from digidouble.errors import ConsentError
from digidouble.schema.persona import SCOPES, Consent

MAX_BYTES = 64 << 10
MAX_EVIDENCE_BYTES = 256 << 20
FIELDS = {"subject", "granted_by", "scope", "expires", "evidence"}
TEMPLATE = f"""\
# Consent record. A persona cannot be built without it, and does not render after `expires`.
subject    = ""            # the person who will be doubled
granted_by = ""            # who signed: the subject, or the estate or agent entitled to
scope      = []            # what for, any of: {", ".join(SCOPES)}
expires    = 2027-12-31    # last day on which the double may be rendered
evidence   = ""            # where the signed record is: a contract number, or a file beside this one (its hash is kept)
"""


def read_consent(path: Path) -> Consent:
    """Read and validate a consent file.

    Raises:
        ConsentError: the file is absent, malformed, has unknown or missing fields, or a field is empty.
    """
    try:
        with path.open("rb") as f:
            data = f.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConsentError(
            f"{path}: consent record cannot be read ({e.strerror}). Write one with: digidouble persona consent-template -o {path}"
        ) from e
    if len(data) > MAX_BYTES:
        raise ConsentError(f"{path}: larger than {MAX_BYTES} bytes; expected a short TOML file.")
    try:
        raw: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ConsentError(f"{path}: not valid TOML ({e}). See: digidouble persona consent-template") from e
    if set(raw) != FIELDS:
        missing, unknown = sorted(FIELDS - set(raw)), sorted(set(raw) - FIELDS)
        raise ConsentError(
            f"{path}: missing fields {missing}, unknown fields {unknown}. See: digidouble persona consent-template"
        )
    expires = raw["expires"]
    if type(expires) is not date:
        raise ConsentError(f"{path}: expires = {expires!r}; expected a date such as 2027-12-31 (without quotes).")
    scope = raw["scope"]
    if not isinstance(scope, list) or not all(isinstance(s, str) for s in scope):
        raise ConsentError(f"{path}: scope must be a list of words, some of {', '.join(SCOPES)}.")
    return Consent(
        raw["subject"], raw["granted_by"], tuple(scope), expires, raw["evidence"], _evidence_hash(path, raw["evidence"])
    )


def _evidence_hash(path: Path, evidence: object) -> str:
    """sha256 of the evidence when it names a plain file beside the record."""
    if not isinstance(evidence, str) or "/" in evidence or "\\" in evidence or len(evidence) > 255 or "\0" in evidence:
        return ""
    file = path.parent / evidence
    try:
        if not file.is_file() or file.stat().st_size > MAX_EVIDENCE_BYTES:
            return ""
    except OSError:  # words that no file system would take for a name
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()
