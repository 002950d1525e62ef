"""persona build, show, consent-template; and everything that may be wrong with what they are given."""

from __future__ import annotations

import json
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import cli, consent_file, left_behind, record, refused

from digidouble import assets
from digidouble.capture import read_consent
from digidouble.persona import load_persona


def rewritten(persona: Path, out: Path, change) -> Path:
    """A copy of an asset whose members (name -> bytes) went through `change`."""
    with zipfile.ZipFile(persona) as source:
        members = {i.filename: source.read(i) for i in source.infolist()}
    change(members)
    with zipfile.ZipFile(out, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return out


def test_build_then_show(astronaut_png, tmp_path):
    out, sheet = tmp_path / "collins.persona", tmp_path / "sheet.png"
    built = cli(
        "persona", "build", astronaut_png, "--name", "Collins", "--consent", consent_file(tmp_path), "-o", out, "--json"
    )
    assert built.exit_code == 0, built.stderr
    facts = record(built)
    assert facts["ok"] and facts["name"] == "Collins" and facts["keys"] == 1
    assert facts["consent"]["scope"] == ["demo"]
    assert [s["name"] for s in facts["sources"]] == ["astronaut.png"]
    assert 0.3 < facts["seen_share"] < 1
    shown = cli("persona", "show", out, "-o", sheet)
    assert shown.exit_code == 0 and "Eileen Collins" in shown.stdout and "2999-01-01" in shown.stdout
    picture = cv2.imread(str(sheet))
    assert picture.shape[0] > 1000
    # The frontal view of the neutral face is skin in the middle and page around it.
    cell = picture[40:340, 630:930].astype(int)
    middle, corner = cell[150, 150], cell[10, 10]
    assert middle[2] > middle[0] + 20 and middle[2] > 100
    assert corner.max() < 60


def test_detail_is_added_when_asked_for_and_always_stated(astronaut_png, astronaut_persona, tmp_path):
    """A face of 93 px: twice the resolution, said by build and show; without the flag the sources' own."""
    out = tmp_path / "fine.persona"
    build = ("persona", "build", astronaut_png, "--name", "Collins", "--consent", consent_file(tmp_path), "-o", out)
    built = record(cli(*build, "--detail", "--json"))
    own = load_persona(astronaut_persona)
    assert built["detail"]["factor"] == pytest.approx(2, abs=0.2) and len(built["detail"]["network"]) == 64
    assert own.detail is None and built["atlas_px"] > 1.5 * own.keys[0].albedo.shape[0]
    finer = f"made up, finer than the sources' own by {built['detail']['factor']:.1f}"
    assert finer in cli("persona", "show", out).stdout
    shown = cli("persona", "show", astronaut_persona)
    assert "added detail" in shown.stdout and "made up" not in shown.stdout


def test_detail_and_a_size_of_the_atlases_are_refused_before_anything_is_looked_at(tmp_path):
    """The source is not even there: what comes first is the message about the settings."""
    said = cli(
        "persona", "build", tmp_path / "nothing.png", "--name", "Collins", "--consent", consent_file(tmp_path),
        "-o", tmp_path / "x.persona", "--detail", "--atlas-px", "1024",
    )  # fmt: skip
    assert said.exit_code != 0 and "--atlas-px asks for 1024" in " ".join(said.stderr.split())
    assert not (tmp_path / "x.persona").exists()


def test_sharp_sources_take_no_detail(astronaut_png, tmp_path):
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), cv2.resize(cv2.imread(str(astronaut_png)), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
    build = (
        "persona",
        "build",
        large,
        "--name",
        "Collins",
        "--consent",
        consent_file(tmp_path),
        "-o",
        tmp_path / "x.persona",
    )
    built = cli(*build, "--detail")
    assert (
        built.exit_code == 0 and "sharp enough" in built.stdout and load_persona(tmp_path / "x.persona").detail is None
    )


def test_show_says_that_consent_ended(astronaut_persona, tmp_path):
    def expire(members):
        manifest = json.loads(members["manifest.json"])
        manifest["facts"]["consent"]["expires"] = "2001-01-01"
        members["manifest.json"] = json.dumps(manifest).encode()

    shown = cli("persona", "show", rewritten(astronaut_persona, tmp_path / "old.persona", expire), "--json")
    assert shown.exit_code == 0
    assert any("expired on 2001-01-01" in w for w in record(shown)["warnings"])


def test_template_is_a_record_that_wants_filling_in(tmp_path):
    out = tmp_path / "consent.toml"
    assert cli("persona", "consent-template", "-o", out).exit_code == 0
    refused(
        cli("persona", "build", "x.jpg", "--name", "x", "--consent", out, "-o", tmp_path / "x.persona"),
        1,
        "consent",
        "empty",
    )
    text = out.read_text("utf-8").replace('""', '"somebody"').replace("scope      = []", 'scope = ["film"]')
    out.write_text(text, "utf-8")
    assert read_consent(out).scope == ("film",)
    refused(cli("persona", "consent-template", "-o", out), 1, "already exists")
    assert out.read_text("utf-8") == text
    assert "granted_by" in cli("persona", "consent-template").stdout


def test_no_consent_no_persona(astronaut_png, tmp_path):
    out = tmp_path / "x.persona"
    refused(cli("persona", "build", astronaut_png, "--name", "x", "-o", out), 2, "--consent")
    absent = tmp_path / "absent.toml"
    refused(
        cli("persona", "build", astronaut_png, "--name", "x", "--consent", absent, "-o", out), 1, "consent-template"
    )
    expired = consent_file(tmp_path, "2001-01-01")
    refused(
        cli("persona", "build", astronaut_png, "--name", "x", "--consent", expired, "-o", out),
        1,
        "expired on 2001-01-01",
    )
    assert left_behind(tmp_path) == ["consent.toml"]


def test_source_without_a_face(faceless_png, tmp_path):
    out = tmp_path / "x.persona"
    built = cli(
        "persona", "build", faceless_png, "--name", "x", "--consent", consent_file(tmp_path), "-o", out, "--json"
    )
    refused(built, 1, "coffee.png", "no face")
    assert record(built) == {
        "ok": False,
        "error": {"kind": "NoFace", "message": record(built)["error"]["message"]},
        "warnings": [],
    }
    assert not out.exists()


def test_two_faces_in_a_source_are_counted_and_chosen(astronaut_png, tmp_path):
    one = cv2.imread(str(astronaut_png))
    two, out = tmp_path / "two.png", tmp_path / "x.persona"
    cv2.imwrite(str(two), np.hstack([one, one[:, ::-1]]))
    arguments = ("persona", "build", two, "--name", "x", "--consent", consent_file(tmp_path), "-o", out)
    refused(cli(*arguments), 1, "2 faces", "--face")
    assert not out.exists()
    left, right = (record(cli(*arguments, "--face", n, "--json")) for n in (1, 2))
    assert left["ok"] and right["ok"] and left["sha256"] != right["sha256"]


@pytest.mark.parametrize(
    ("name", "data"), [("empty.jpg", b""), ("text.png", b"hello"), ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF")]
)
def test_sources_that_are_no_pictures(name, data, tmp_path):
    source, out = tmp_path / name, tmp_path / "x.persona"
    source.write_bytes(data)
    refused(cli("persona", "build", source, "--name", "x", "--consent", consent_file(tmp_path), "-o", out), 1, name)
    assert not out.exists()


def test_levels_and_settings_out_of_range_are_refused(astronaut_png, tmp_path):
    build = ("persona", "build", astronaut_png, "--name", "x", "--consent", consent_file(tmp_path), "-o", "x.persona")
    refused(cli(*build, "--level", "hologram"), 2, "atlas, radiance")
    refused(cli(*build, "--keys", "0"), 2, "1..64")
    refused(cli(*build, "--steps", "-1"), 2, "0..100000")


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_radiance_field_without_torch_says_what_to_install(astronaut_png, tmp_path):
    out = tmp_path / "x.persona"
    done = cli(
        "persona",
        "build",
        astronaut_png,
        "--name",
        "x",
        "--consent",
        consent_file(tmp_path),
        "-o",
        out,
        "--level",
        "radiance",
    )
    refused(done, 1, "pip install 'digidouble[neural]'")
    assert not out.exists()


class TestHostilePersonas:
    def test_changed_member(self, astronaut_persona, tmp_path):
        def flip(members):
            data = bytearray(members["keys/000.safetensors"])
            data[-100] ^= 1
            members["keys/000.safetensors"] = bytes(data)

        refused(cli("persona", "show", rewritten(astronaut_persona, tmp_path / "x.persona", flip)), 1, "sha256 differs")

    def test_newer_schema(self, astronaut_persona, tmp_path):
        def age(members):
            members["manifest.json"] = members["manifest.json"].replace(b'"schema_version": 5', b'"schema_version": 99')

        refused(
            cli("persona", "show", rewritten(astronaut_persona, tmp_path / "x.persona", age)),
            1,
            "schema 99",
            "pip install -U",
        )

    def test_path_escape(self, astronaut_persona, tmp_path):
        def escape(members):
            members["../escaped.txt"] = b"!"

        refused(
            cli("persona", "show", rewritten(astronaut_persona, tmp_path / "x.persona", escape)),
            1,
            "would leave the asset",
        )
        assert not (tmp_path.parent / "escaped.txt").exists()

    def test_bomb(self, astronaut_persona, monkeypatch):
        monkeypatch.setattr(assets, "MAX_MEMBER_BYTES", 1000)
        refused(cli("persona", "show", astronaut_persona), 1, "expands beyond")

    def test_unknown_member_and_truncation(self, astronaut_persona, tmp_path):
        def add(members):
            members["more.txt"] = b"?"

        refused(
            cli("persona", "show", rewritten(astronaut_persona, tmp_path / "x.persona", add)), 1, "not in the manifest"
        )
        cut = tmp_path / "cut.persona"
        cut.write_bytes(astronaut_persona.read_bytes()[:5000])
        refused(cli("persona", "show", cut), 1, "cut.persona")

    def test_not_there_or_another_kind(self, excerpt, tmp_path):
        refused(cli("persona", "show", tmp_path / "none.persona"), 1, "no such persona")
        refused(cli("persona", "show", excerpt.perf), 1, "performance", "expected a persona")


def test_a_persona_may_be_a_folder(astronaut_persona, tmp_path):
    folder = tmp_path / "unpacked.persona"
    shutil.unpack_archive(astronaut_persona, folder, "zip")
    assert load_persona(folder).sha256 == load_persona(astronaut_persona).sha256
    assert cli("persona", "show", folder).exit_code == 0


def test_output_that_cannot_be_written(astronaut_png, astronaut_persona, tmp_path):
    in_the_way = tmp_path / "folder.persona"
    in_the_way.mkdir()
    refused(
        cli("persona", "build", astronaut_png, "--name", "x", "--consent", consent_file(tmp_path), "-o", in_the_way),
        1,
        "is a folder",
    )
    refused(cli("persona", "show", astronaut_persona, "-o", tmp_path / "no" / "sheet.png"), 1, "does not exist")
    refused(cli("persona", "show", astronaut_persona, "-o", tmp_path / "sheet.gif"), 1, ".png")
    assert left_behind(tmp_path) == ["consent.toml", "folder.persona"]
