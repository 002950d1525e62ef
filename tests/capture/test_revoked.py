"""Revocation lists: what they say, whom they stop, and that a list that cannot be read stops everyone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from digidouble.capture import read_revocations
from digidouble.capture.revoked import ENV
from digidouble.errors import ConsentError

TODAY = date(2026, 11, 22)


def listed(tmp_path, text: str):
    path = tmp_path / "revoked.toml"
    path.write_text(text, "utf-8")
    return read_revocations(path)


def test_no_list_stops_nobody(persona_b, monkeypatch):
    monkeypatch.delenv(ENV, raising=False)
    read_revocations().check(persona_b, TODAY)


def test_subject_persona_and_record(persona_b, tmp_path, monkeypatch):
    known = replace(persona_b, sha256="ab" * 32)
    subject, evidence = known.consent.subject, known.consent.evidence
    cases = {
        f'subject = " {subject.upper()} "': True,
        'subject = "Someone Else"': False,
        f'persona = "{"AB" * 8}"': True,
        f'persona = "{"ac" * 8}"': False,
        f'subject = "{subject}"\nevidence = "{evidence}"': True,
        f'subject = "{subject}"\nevidence = "another contract"': False,
    }
    for text, stopped in cases.items():
        found = listed(tmp_path, f'[[revoked]]\nsince = 2026-11-22\nreason = "by letter"\n{text}\n')
        if stopped:
            with pytest.raises(ConsentError, match=r"revoked on 2026-11-22 .by letter., says revoked\.toml"):
                found.check(known, TODAY)
        else:
            found.check(known, TODAY)
        found.check(known, date(2026, 11, 21))  # the day before
    monkeypatch.setenv(ENV, str(tmp_path / "revoked.toml"))
    assert len(read_revocations().entries) == 1 and len(read_revocations().sha256) == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("revoked = 3", "tables"),
        ("[[revoked]]\nsince = 2026-01-01", "names nobody"),
        ('[[revoked]]\nsubject = "a"', "since"),
        ('[[revoked]]\nsubject = "a"\nsince = 2026-01-01T00:00:00', "since"),
        ('[[revoked]]\npersona = "abc"\nsince = 2026-01-01', "16 to 64"),
        ('[[revoked]]\nsubject = 3\nsince = 2026-01-01', "texts"),
        ('[[revoked]]\nsubjekt = "a"\nsince = 2026-01-01', "fields"),
        ('other = 1', "tables"),
        ("[[", "TOML"),
        ("a = " + "[" * 3000, "TOML"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_never_ignored(tmp_path, text, said):
    with pytest.raises(ConsentError, match=said):
        listed(tmp_path, text)


def test_an_absent_or_huge_list(tmp_path):
    with pytest.raises(ConsentError, match="nothing is rendered without it"):
        read_revocations(tmp_path / "absent.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (9 << 20))
    with pytest.raises(ConsentError, match="larger"):
        read_revocations(tmp_path / "huge.toml")
