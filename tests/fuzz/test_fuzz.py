"""A few hundred damaged inputs, and the findings of the ten thousand (`make fuzz`), each as a test of its own."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_seeds import make_seeds

from digidouble.capture.consent import read_consent
from digidouble.deliver.labels import read_labels
from digidouble.deliver.verify import verify
from digidouble.errors import CampaignError, DamagedAsset, UnreadableMedia
from digidouble.footage import open_footage
from digidouble.footage.edit import media_of, read_edit
from digidouble.performance import load_performance
from digidouble.persona import load_persona
from fuzz import fuzz

INPUTS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    make_seeds(folder / "good")
    return folder


def test_damaged_inputs_are_read_or_refused(folder):
    report = fuzz(list(range(INPUTS)), "tests", folder)
    assert not report.findings, report.findings[0]
    answers = {outcome for _, outcome in report.outcomes}
    assert answers == {"read", "refused"} and sum(report.outcomes.values()) == INPUTS


def test_the_watch_sees_a_hang_a_death_and_a_write_outside(folder, tmp_path, monkeypatch):
    """The tool itself: targets that misbehave are found, whatever the input."""
    bad = tmp_path / "bad"
    bad.mkdir()
    for file in Path(__file__).parent.glob("fuzz*.py"):
        shutil.copy(file, bad / file.name)
    shutil.copytree(Path(__file__).parents[1] / "shots", tmp_path / "shots")
    code = (bad / "fuzz_targets.py").read_text()
    code += """
import ctypes, itertools, os, time

NUMBERS = itertools.count(int(os.environ["MISBEHAVE"]))

def _misbehaves(place, file, draw):
    number = next(NUMBERS)
    if number == 0:
        raise KeyError("x")
    if number == 1:
        bytearray(1200 << 20)
    if number == 2:
        time.sleep(60)
    if number == 3:
        (place.out.parent / "escaped").write_text("x")
    if number == 4:
        ctypes.string_at(0)

TARGETS = dict.fromkeys(TARGETS, _misbehaves)
"""
    (bad / "fuzz_targets.py").write_text(code)
    monkeypatch.setattr("fuzz.HERE", bad)
    for first, outcomes in ((0, ["crash", "memory"]), (3, ["outside", "died"])):
        monkeypatch.setenv("MISBEHAVE", str(first))
        found = fuzz(list(range(7, 7 + len(outcomes))), "tests", folder).findings
        assert [f["outcome"] for f in found] == outcomes, found
    # Only where nothing but a hang can happen is patience short: on a machine at work 1.2 GB may take longer than this.
    # The first answer has the patience for imports in any case.
    monkeypatch.setattr("fuzz.HANG_S", 4.0)
    monkeypatch.setattr("fuzz.IDLE_S", 4.0)
    monkeypatch.setenv("MISBEHAVE", "1")
    found = fuzz([7, 8], "tests", folder).findings
    assert [f["outcome"] for f in found] == ["memory", "hang"], found


# --- what the ten thousand found -----------------------------------------------------------------------------------------


def repacked(source: Path, target: Path, change) -> Path:
    """An asset with its manifest's facts and the arrays of its members changed by `change(facts, name, arrays)`, hashes right."""
    import hashlib

    from safetensors.numpy import load, save

    with zipfile.ZipFile(source) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    for name, data in members.items():
        arrays = {k: v.copy() for k, v in load(data).items()}
        change(manifest["facts"], name, arrays)
        members[name] = save(arrays)
    manifest["members"] = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in members.items()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in (*members.items(), ("manifest.json", json.dumps(manifest).encode())):
            archive.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("array", "value"),
    [("px_per_cm", 0.0), ("px_per_cm", 1e30), ("rotation", 1e9), ("neutral_cm", 1e30), ("actions", -1e9), ("motion_px", 1e30)],
)  # fmt: skip
def test_a_track_of_absurd_numbers_is_refused(folder, tmp_path, array, value):
    def change(facts, name, arrays):
        if array in arrays:
            arrays[array][:] = value

    with pytest.raises(DamagedAsset, match=array if value else "no size"):
        load_performance(repacked(folder / "good" / "plate.perf", tmp_path / "x.perf", change))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("colour", "matrix"), "1"), (("colour", "full_range"), 3), (("layout", "chroma_shift_xy"), "é" * 300), (("layout", "bits"), 10**9),
        (("rate",), "1e999999999"), (("timecode",), {}), (("cuts",), [None]), (("sha256",), "../x"), (("path",), None),
    ],
)  # fmt: skip
def test_shot_facts_of_another_kind_are_refused(folder, tmp_path, place, value):
    def change(facts, name, arrays):
        holder = facts["shot"]
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value

    with pytest.raises(DamagedAsset, match="shot facts"):
        load_performance(repacked(folder / "good" / "plate.perf", tmp_path / "x.perf", change))


@pytest.mark.parametrize("array", ["neutral_cm", "iris_linear", "view_deg", "actions"])
def test_a_persona_of_absurd_numbers_is_refused(folder, tmp_path, array):
    def change(facts, name, arrays):
        if array in arrays:
            arrays[array][:] = -1e20

    with pytest.raises(DamagedAsset, match=array):
        load_persona(repacked(folder / "good" / "b.persona", tmp_path / "x.persona", change))


def test_repacking_alone_changes_nothing(folder, tmp_path):
    same = load_persona(repacked(folder / "good" / "b.persona", tmp_path / "x.persona", lambda *_: None))
    assert (same.neutral_cm == load_persona(folder / "good" / "b.persona").neutral_cm).all()


def test_a_movie_in_an_unknown_codec_is_refused(folder, tmp_path):
    data = (folder / "good" / "media" / "a.mp4").read_bytes()
    assert data.count(b"avc1") >= 1
    movie = tmp_path / "x.mp4"
    movie.write_bytes(data.replace(b"avc1", b"zzzz").replace(b"avcC", b"free"))
    with pytest.raises(UnreadableMedia, match="codec"):
        open_footage(movie)


def test_a_movie_that_asks_for_more_memory_than_there_is_is_refused(tmp_path, monkeypatch):
    import av
    from av.error import MemoryError as NoMemory

    def opened(*_, **__):
        raise NoMemory(12, "Cannot allocate memory")

    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(UnreadableMedia, match="labels"):
        read_labels(tmp_path / "x.mp4")


def test_a_tiff_that_pillow_stumbles_over_is_refused(tmp_path):
    """XMP (700) stored as text: Pillow 12.0 searches it with a bytes pattern."""
    from PIL import Image, TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = "<x/>"
    tags.tagtype[700] = 2
    picture = tmp_path / "x.tif"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(picture, tiffinfo=tags)
    with suppress(UnreadableMedia):
        open_footage(picture).close()  # where Pillow is mended


def test_sound_in_an_unknown_codec_is_left_out_and_said(folder, tmp_path):
    from digidouble.deliver.settings import DeliverySettings
    from digidouble.deliver.writer import open_writer

    data = (folder / "good" / "media" / "j.mov").read_bytes()
    assert data.count(b"sowt") == 1
    movie = tmp_path / "x.mov"
    movie.write_bytes(data.replace(b"sowt", b"zzzz"))
    with open_footage(movie) as footage, open_writer(tmp_path / "y.mkv", footage.shot, DeliverySettings()) as writer:
        for frame in footage.frames():
            writer.write(frame)
        made = writer.close()
    assert any("sound" in warning and "left out" in warning for warning in made.warnings)


def test_a_picture_that_claims_to_be_enormous_has_no_labels(folder, tmp_path):
    data = bytearray((folder / "good" / "delivered" / "d.tif").read_bytes())
    at = int.from_bytes(data[4:8], "little")
    for n in range(int.from_bytes(data[at : at + 2], "little")):
        entry = at + 2 + 12 * n
        if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):
            data[entry + 2 : entry + 12] = b"\4\0\1\0\0\0" + (10**6).to_bytes(4, "little")
    picture = tmp_path / "x.tif"
    picture.write_bytes(data)
    with pytest.raises(UnreadableMedia, match="larger than a picture"):
        read_labels(picture)


LONG = "é" * 300  # more bytes than a file's name may have


def test_names_that_no_file_system_takes(folder, tmp_path):
    edit = tmp_path / "cut.edl"
    line = "001  A001 V C 00:00:00:00 00:00:00:02 01:00:00:00 01:00:00:02\n"
    edit.write_text(f"{line}* FROM CLIP NAME: {LONG}.mov\n{line.replace('001 ', '002 ')}* FROM CLIP NAME: a\0b.mov\n")
    for shot in read_edit(edit):
        with pytest.raises(UnreadableMedia, match="no file"):
            media_of(shot, edit, tmp_path)
    record = tmp_path / "consent.toml"
    record.write_text((folder / "good" / "consent" / "consent.toml").read_text().replace("drawn", LONG[:250]))
    assert read_consent(record).evidence_sha256 == ""
    from digidouble.campaign.spec import read_campaign

    shutil.copytree(folder / "good" / "campaign", tmp_path / "campaign")
    spec = tmp_path / "campaign" / "c.yaml"
    spec.write_text(spec.read_text().replace("b.persona", LONG))
    with pytest.raises(CampaignError, match="no such file"):
        for name in ("plate.mkv", "plate.perf"):
            shutil.copy(folder / "good" / name, spec.parent / name)
        read_campaign(spec)


def test_the_command_line_says_so_of_a_name_that_is_too_long(tmp_path):
    from typer.testing import CliRunner

    from digidouble.app.cli import app

    for arguments in (["verify", f"{LONG}.png"], ["perform", f"{LONG}.mp4", "-o", str(tmp_path / "x.perf")]):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert (
            result.exit_code == 1
            and "name too long" in result.stderr.replace("\n", " ")
            and "Traceback" not in result.stderr
        )


# --- nobody is asked -----------------------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    """(port, what was sent to it)."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                heard.append(caller.recv(200))
                caller.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], heard


def test_a_file_that_names_an_address_makes_nobody_ask_it(listener, tmp_path):
    """A manifest kept elsewhere (dcterms:provenance) is neither fetched by verify nor when the file is the plate of a delivery."""
    from PIL import Image, PngImagePlugin

    from digidouble.deliver.settings import DeliverySettings
    from digidouble.deliver.writer import open_writer

    port, heard = listener
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="http://127.0.0.1:{port}/m.c2pa"/></rdf:RDF></x:xmpmeta>'
    )
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    plate = tmp_path / "plate.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(plate, pnginfo=info)

    class Faceless:
        def read(self, pictures):
            return list(pictures)[:0]

    check = next(c for c in verify(plate, reader=Faceless()).checks if c.name == "c2pa")
    assert check.state == "missing" and f"127.0.0.1:{port}" in check.said
    with open_footage(plate) as footage, open_writer(tmp_path / "out.png", footage.shot, DeliverySettings()) as writer:
        writer.write(footage.frame(0))
        writer.close()
    assert heard == []


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/s.ts\n#EXT-X-ENDLIST\n",
                                  "ffconcat version 1.0\nfile http://127.0.0.1:{port}/s.ts\n"])  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_playlist_in_a_movies_clothes_is_refused(listener, tmp_path, text, suffix):
    port, heard = listener
    movie = tmp_path / f"x{suffix}"
    movie.write_text(text.format(port=port))
    with pytest.raises(UnreadableMedia):
        open_footage(movie)
    with pytest.raises(UnreadableMedia):
        read_labels(movie)
    assert heard == []
