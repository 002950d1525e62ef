"""Consent that was taken back: which personas must no longer be rendered, whatever their own record says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from digidouble.errors import ConsentError
from digidouble.schema.persona import Persona


@dataclass(frozen=True)
class Revocation:
    """One line of a revocation list. It names a persona (sha256), a person (subject), or one record of theirs (evidence).

    Attributes:
        persona, subject, evidence: what must match; those that are empty match anything, but not all of them may be empty.
        since: first day on which it counts. reason: for the message and the log.
    """

    since: date
    persona: str = ""
    subject: str = ""
    evidence: str = ""
    reason: str = ""

    def covers(self, persona: Persona, today: date) -> bool:
        """Whether this line forbids the persona today. Names are compared without regard to case and outer spaces."""
        consent = persona.consent
        pairs = ((self.subject, consent.subject), (self.evidence, consent.evidence))
        named = all(not mine or mine.strip().casefold() == theirs.strip().casefold() for mine, theirs in pairs)
        # At least 16 digits are asked for (`capture.revoked`), so a prefix is as good as the whole.
        return today >= self.since and named and persona.sha256.startswith(self.persona.lower())


@dataclass(frozen=True)
class Revocations:
    """A revocation list as read. `name`: the file, for messages and the log; "" when there is none. `sha256`: of that file."""

    entries: tuple[Revocation, ...] = ()
    name: str = ""
    sha256: str = ""

    def check(self, persona: Persona, today: date) -> None:
        """Refuse a persona whose consent was taken back.

        Raises:
            ConsentError: it was; with the date and the reason.
        """
        for entry in self.entries:
            if entry.covers(persona, today):
                reason = f" ({entry.reason})" if entry.reason else ""
                raise ConsentError(
                    f"{persona.consent.subject}'s consent was revoked on {entry.since}{reason}, says {self.name}. "
                    f"The persona {persona.name} must not be rendered any more; ask {persona.consent.granted_by}."
                )
