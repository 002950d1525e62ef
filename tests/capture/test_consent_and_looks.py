"""Consent records from disk, and which looks of which person are kept."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from scenes import consent, look_at, person
from synthetic import still

from digidouble.capture import TEMPLATE, CaptureSettings, read_consent
from digidouble.capture.choose import WITNESSES, most_different
from digidouble.capture.collect import expand
from digidouble.capture.people import one_person
from digidouble.errors import ConsentError, NoFace, SettingsError
from digidouble.schema.capture import CaptureSet
from digidouble.schema.persona import Consent, LeftOut, PersonaSource

FILLED = (
    TEMPLATE.replace('subject    = ""', 'subject    = "Ada"').replace('granted_by = ""', 'granted_by = "Ada"')
    .replace("scope      = []", 'scope      = ["film", "demo"]').replace('evidence   = ""', 'evidence   = "contract 7"')
)  # fmt: skip


def read(tmp_path, text: str | bytes) -> Consent:
    path = tmp_path / "consent.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_consent(path)


def test_the_template_parses_once_filled_in(tmp_path):
    assert read(tmp_path, FILLED) == Consent("Ada", "Ada", ("film", "demo"), date(2027, 12, 31), "contract 7")


def test_the_empty_template_is_refused(tmp_path):
    with pytest.raises(ConsentError, match="subject is empty"):
        read(tmp_path, TEMPLATE)


@pytest.mark.parametrize("field", ["subject", "granted_by", "scope", "expires", "evidence"])
def test_every_missing_field_is_named(tmp_path, field):
    text = "\n".join(line for line in FILLED.splitlines() if not line.startswith(field))
    with pytest.raises(ConsentError, match=f"missing fields.*{field}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FILLED + "\nsubjet = 'x'", "unknown fields.*subjet"), (FILLED.replace('"Ada"', '"  "'), "empty"),
        (FILLED.replace('"film", "demo"', '"anything"'), "anything"),
        (FILLED.replace('["film", "demo"]', '"film"'), "list of words"), (FILLED.replace('["film", "demo"]', "[1]"), "list of words"),
        (FILLED.replace("2027-12-31", '"2027-12-31"'), "without quotes"), (FILLED.replace("2027-12-31", "2027-12-31T10:00:00"), "without quotes"),
        (FILLED.replace("2027-12-31", "2027-02-30"), "TOML"), (FILLED.replace('"Ada"', "7"), "empty"), ("not toml = = ", "TOML"), ("", "missing"),
        (b"\xff\xfe", "TOML"), (FILLED + "#" * (1 << 17), "larger"), ("a=" + "[" * 60_000, "TOML"),
    ],
)  # fmt: skip
def test_bad_records_say_why(tmp_path, text, says):
    with pytest.raises(ConsentError, match=says):
        read(tmp_path, text)


def test_absent_record(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConsentError, match="consent-template"):
            read_consent(path)


def test_evidence_beside_the_record_is_hashed(tmp_path):
    import hashlib

    (tmp_path / "signed.pdf").write_bytes(b"%PDF signed")
    c = read(tmp_path, FILLED.replace("contract 7", "signed.pdf"))
    assert c.evidence_sha256 == hashlib.sha256(b"%PDF signed").hexdigest()
    for elsewhere in ("../signed.pdf", "/etc/hostname", "sub/../signed.pdf"):
        assert read(tmp_path, FILLED.replace("contract 7", elsewhere)).evidence_sha256 == ""


@pytest.mark.parametrize("scope", [(), ("film", "war")])
def test_scope_is_known(scope):
    with pytest.raises(ConsentError, match="scope"):
        consent(scope=scope)


# --- looks -----------------------------------------------------------------------------------------------------------


def looks_of(seed: int, yaws, **more):
    return [
        look_at(still(person(seed), 1, (100, 68), yaw_deg=np.array([float(y)])), source=i) for i, y in enumerate(yaws)
    ]


def test_the_person_most_looks_agree_on():
    mine, other = looks_of(3, (0, 10, 20)), looks_of(5, (0,))
    looks = [mine[0], *other, *mine[1:]]
    looks = [dataclasses.replace(k, source=i) for i, k in enumerate(looks)]
    facts = [PersonaSource(f"{i}.png", "0" * 64, 0) for i in range(4)]
    kept, notes = one_person(looks, facts)
    assert [k.source for k in kept] == [0, 2, 3]
    assert len(notes) == 1 and notes[0].name == "1.png" and "another person" in notes[0].reason


def test_themost_different_looks_are_kept_frontal_first():
    looks = looks_of(3, (2, 0, 1, 30, -30, 29))
    kept = most_different(looks, 3)
    yaws = [(2, 0, 1, 30, -30, 29)[k.source] for k in kept]
    assert abs(yaws[0]) <= 2 and any(y > 25 for y in yaws) and any(y < -25 for y in yaws)


def test_repeats_are_not_kept():
    """Beyond the few that can outvote a bad one."""
    looks = looks_of(3, np.linspace(0, 0.6, 9))
    assert len(most_different(looks, 9)) == WITNESSES
    assert len(most_different([*looks, *looks_of(3, (25,))], 9)) == WITNESSES


def test_sharp_large_looks_win():
    looks = looks_of(3, (0, 0.5))
    looks[0] = dataclasses.replace(looks[0], sharpness=0.05)
    assert most_different(looks, 1)[0].source == 1


def test_a_set_needs_a_look():
    with pytest.raises(NoFace, match="too dark"):
        CaptureSet(consent(), (), (), (LeftOut("a.png", 0, "too dark"),))


def test_expand(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "c.mov"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub.png").mkdir()
    assert [p.name for p in expand([tmp_path])] == ["a.JPG", "b.png", "c.mov"]
    assert expand([tmp_path / "x.png"]) == [tmp_path / "x.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="holds no"):
        expand([tmp_path / "empty"])
    with pytest.raises(SettingsError, match="0 sources"):
        expand([])


@pytest.mark.parametrize("bad", [{"face": -1}, {"looks": 0}, {"video_samples": 0}, {"min_face_px": 5}])
def test_settings_refuse(bad):
    with pytest.raises(SettingsError, match=next(iter(bad))):
        CaptureSettings(**bad)
