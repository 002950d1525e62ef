"""verify: intact, stripped, changed, forged, re-encoded, wrong person, wrong signer, other tools' files, damaged files."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from command_line import cli, copied, left_behind, record, refused, verified
from PIL import Image

from digidouble.deliver.certificate import config_folder
from digidouble.deliver.log import read_log
from digidouble.deliver.verify import verify
from digidouble.errors import DigidoubleError
from digidouble.perception.content import ContentGate
from digidouble.persona import load_persona


@pytest.fixture(scope="module")
def delivered(astronaut_png, astronaut_persona, tmp_path_factory) -> Path:
    """Eileen Collins' portrait, twice as large, with another face, as PNG."""
    folder = tmp_path_factory.mktemp("delivered")
    with Image.open(astronaut_png) as picture:
        head = picture.convert("RGB").crop((120, 20, 340, 260))
        head.resize((660, 720), Image.Resampling.BICUBIC).save(folder / "plate.png")
    out = folder / "double.png"
    made = cli("swap", folder / "plate.png", "--cast", f"main={astronaut_persona}", "-o", out, "--no-report", "--json")
    assert made.exit_code == 0, made.stderr
    return out


@pytest.fixture
def copy(delivered, tmp_path) -> Path:
    return copied(delivered, tmp_path)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_a_delivery_is_intact(copy, astronaut_persona):
    states = verified(0, copy, "--persona", astronaut_persona)
    assert set(states.values()) == {"intact"}
    assert list(states) == ["log", "c2pa", "aigc", "iptc", "visible", "mark", "persona"]
    facts = record(cli("verify", copy, "--json"))["checks"]
    assert facts["c2pa"]["source_types"] == ["compositeWithTrainedAlgorithmicMedia"]
    relations = {i["title"]: i["relationship"] for i in facts["c2pa"]["ingredients"]}
    assert relations == {"plate.png": "parentOf", f"{load_persona(astronaut_persona).name}.persona": "componentOf"}
    logged = read_log(copy.with_name("double.png.delivery.json"))[-1]
    assert logged["personas"][0]["sha256"] == load_persona(astronaut_persona).sha256
    assert logged["content_gate"]["decision"] == "passed" and logged["revocations"]["list"] is None
    assert "C2PA in the file" in logged["labels"]["provenance"]


def test_stripped_of_all_metadata_the_mark_remains(copy):
    with Image.open(copy) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    Image.fromarray(pixels).save(copy)
    states = verified(3, copy)
    assert (states["c2pa"], states["aigc"], states["iptc"]) == ("missing",) * 3
    assert states["log"] == "altered" and states["mark"] == "intact"


def test_reencoded_as_jpeg_the_mark_is_found_with_the_log(copy, tmp_path):
    small = tmp_path / "sent.jpg"
    with Image.open(copy) as picture:
        picture.convert("RGB").save(small, quality=80)
    states = verified(3, small, "--log", copy.with_name("double.png.delivery.json"))
    assert states["mark"] == "intact" and states["c2pa"] == "missing"


def test_one_block_of_pixels_changed(copy):
    with Image.open(copy) as picture:
        pixels = np.asarray(picture.convert("RGB")).copy()
    pixels[8:16, 8:16] ^= 1
    plain = copy.with_name("plain.png")
    Image.fromarray(pixels).save(plain)
    kept = [c for c in chunks(copy.read_bytes()) if c[0] not in (b"IDAT", b"IEND")]
    new = [c for c in chunks(plain.read_bytes()) if c[0] in (b"IDAT", b"IEND")]
    copy.write_bytes(png([*kept, *new]))
    states = verified(3, copy)
    assert states["c2pa"] == "altered" and states["log"] == "altered"
    assert states["aigc"] == "intact" and states["mark"] == "intact"


def test_metadata_forged(copy):
    forged = [
        (kind, body.replace(b'"ProduceID":"', b'"ProduceID":"0')) if kind == b"tEXt" else (kind, body)
        for kind, body in chunks(copy.read_bytes())
    ]
    copy.write_bytes(png(forged))
    states = verified(3, copy)
    assert states["aigc"] == "altered" and states["c2pa"] == "altered"


def test_a_second_aigc_label_is_forged(copy):
    parts = chunks(copy.read_bytes())
    second = next(c for c in parts if c[0] == b"tEXt")
    copy.write_bytes(png([parts[0], second, *parts[1:]]))
    assert verified(3, copy)["aigc"] == "altered"


def test_the_wrong_persona(copy, persona_file):
    assert verified(3, copy, "--persona", persona_file)["persona"] == "altered"


def test_the_wrong_signer(copy, tmp_path, monkeypatch):
    ours = config_folder() / "c2pa" / "root.pem"
    assert verified(0, copy, "--trust", ours)["c2pa"] == "intact"
    monkeypatch.setenv("DIGIDOUBLE_CONFIG", str(tmp_path / "elsewhere"))
    from digidouble.deliver.certificate import credentials

    credentials()
    theirs = config_folder() / "c2pa" / "root.pem"
    assert verified(3, copy, "--trust", theirs)["c2pa"] == "altered"
    assert verified(0, copy)["c2pa"] == "intact"  # valid, though on no list here
    refused(cli("verify", copy, "--trust", tmp_path / "absent.pem"), 1, "root certificates")


def test_a_file_of_another_tool(astronaut_png, tmp_path):
    other = tmp_path / "astronaut.png"
    shutil.copy(astronaut_png, other)
    states = verified(4, other)
    assert (
        states["c2pa"] == states["aigc"] == states["iptc"] == states["mark"] == "missing"
        and states["visible"] == "unknown"
    )
    refused(cli("verify", tmp_path / "absent.png"), 1, "no such file")


def test_sequences_and_containers_without_room(excerpt, astronaut_persona, tmp_path):
    cast = ("--cast", f"main={astronaut_persona}", "--no-report", "--range", "0:3", "-o")
    for name in ("double.####.exr", "double.mkv"):
        assert cli("swap", excerpt.perf, *cast, tmp_path / name).exit_code == 0
        states = {c.name: c.state for c in verify(tmp_path / name, reader=Faceless()).checks}
        assert states["c2pa"] == states["log"] == states["aigc"] == "intact"
    assert {"double.mkv.c2pa", "double.exr.frames.json", "double.exr.frames.json.c2pa"} < set(left_behind(tmp_path))
    frame = tmp_path / "double.0001.exr"
    frame.write_bytes(frame.read_bytes()[:-1] + b"x")
    states = {c.name: c.state for c in verify(tmp_path / "double.####.exr", reader=Faceless()).checks}
    assert states["c2pa"] == states["log"] == "altered"
    (tmp_path / "double.mkv.c2pa").unlink()
    states = {c.name: c.state for c in verify(tmp_path / "double.mkv", reader=Faceless()).checks}
    assert states["c2pa"] == "missing"


class Faceless:
    """Finds no face: the fuzz is about parsers."""

    def read(self, pictures):
        list(pictures)
        return []


def test_damaged_files_are_answered_not_crashed_on(copy):
    draw = random.Random(3)
    good, log = copy.read_bytes(), copy.with_name("double.png.delivery.json")
    record_line = log.read_bytes()
    for n in range(120):
        data = bytearray(good)
        for _ in range(draw.randint(1, 12)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if n % 4 == 0:
            data = data[: draw.randrange(1, len(data))]
        copy.write_bytes(data)
        line = bytearray(record_line)
        if n % 3 == 0:
            line[draw.randrange(len(line))] = draw.randrange(256)
        log.write_bytes(line)
        try:
            verdict = verify(copy, reader=Faceless())
        except DigidoubleError:
            continue
        assert verdict.state == "altered" or bytes(data) == good
    log.write_text(json.dumps({"files": 3, "labels": []}))
    copy.write_bytes(good)
    assert verify(copy, reader=Faceless()).state == "altered"


def test_revoked_consent_is_refused_and_leaves_nothing(excerpt, astronaut_persona, tmp_path):
    revoked = tmp_path / "revoked.toml"
    revoked.write_text('[[revoked]]\nsubject = "Eileen Collins"\nsince = 2020-01-01\nreason = "a test"\n')
    swap = ("swap", excerpt.perf, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mp4")
    refused(cli(*swap, "--revoked", revoked), 1, "revoked on 2020-01-01 (a test)")
    refused(cli(*swap, "--revoked", tmp_path / "absent"), 1, "nothing is rendered without it")
    assert left_behind(tmp_path) == ["revoked.toml"]


@pytest.mark.parametrize("first_bad", [0, 8, 10])
def test_adult_content_is_refused_and_leaves_nothing(
    excerpt, astronaut_persona, tmp_path, monkeypatch, analyses_cached_here, first_bad
):
    class Turns:
        looks = 0

        def run(self, inputs):
            self.looks += 1
            return {"softmax": np.array([[0.05, 0.95 if self.looks > first_bad else 0.02]], np.float32)}

    monkeypatch.setattr("digidouble.app.swap.default_gate", lambda: ContentGate(runner=Turns()))
    swap = ("swap", excerpt.plate, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mp4")
    refused(cli(*swap), 1, "plate's" if first_bad < 8 else "result's", "adult content", "Nothing was written")
    assert left_behind(tmp_path) == []
    assert len(left_behind(analyses_cached_here / "performances")) == (0 if first_bad < 8 else 1)
