"""verify on movies, ours and other tools': intact, remuxed, re-encoded, one block changed, forged, signed by somebody else."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from command_line import cli, copied, record, verified
from PIL import Image

FRAMES = 6


@pytest.fixture(scope="module")
def delivered(astronaut_png, astronaut_persona, tmp_path_factory) -> Path:
    """A pan over Eileen Collins' portrait, with another face, as H.264."""
    folder = tmp_path_factory.mktemp("movie")
    with Image.open(astronaut_png) as picture:
        whole = np.asarray(picture.convert("RGB").crop((90, 0, 370, 290)).resize((840, 870), Image.Resampling.BICUBIC))
    with av.open(str(folder / "plate.mp4"), "w") as movie:
        stream = movie.add_stream("libx264", rate=Fraction(24), options={"crf": "14"})
        stream.width, stream.height, stream.pix_fmt = 800, 860, "yuv420p"
        for n in range(FRAMES):
            shown = np.ascontiguousarray(whole[:860, 4 * n : 4 * n + 800])
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        movie.mux(stream.encode(None))
    out = folder / "double.mp4"
    made = cli("swap", folder / "plate.mp4", "--cast", f"main={astronaut_persona}", "-o", out, "--no-report", "--json")
    assert made.exit_code == 0, made.stderr
    return out


@pytest.fixture
def copy(delivered, tmp_path) -> Path:
    return copied(delivered, tmp_path)


def reencoded(source: Path, target: Path, crf: int, size_wh: tuple[int, int]) -> Path:
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream("libx264", rate=Fraction(24), options={"crf": str(crf)})
        (stream.width, stream.height), stream.pix_fmt = size_wh, "yuv420p"
        for frame in old.decode(video=0):
            small = frame.reformat(*size_wh, "yuv420p")
            new.mux(stream.encode(av.VideoFrame.from_ndarray(small.to_ndarray(), format="yuv420p")))
        new.mux(stream.encode(None))
    return target


def test_intact(copy, astronaut_persona):
    assert set(verified(0, copy, "--persona", astronaut_persona).values()) == {"intact"}


def test_light_carries_the_mark(delivered, astronaut_persona, tmp_path):
    """Scene-linear EXR, whose display takes another curve than a movie's."""
    out = tmp_path / "double.####.exr"
    plate = delivered.with_name("plate.mp4")
    made = cli("swap", plate, "--cast", f"main={astronaut_persona}", "--range", "0:2", "--no-report", "-o", out)
    assert made.exit_code == 0, made.stderr
    assert set(verified(0, out).values()) == {"intact"}


@pytest.mark.parametrize(("crf", "size_wh"), [(28, (800, 860)), (20, (400, 430))])
def test_reencoded_the_mark_is_found(copy, tmp_path, crf, size_wh):
    """As a site does it: other bits, other size, no metadata. The number is on record in the log."""
    sent = reencoded(copy, tmp_path / "sent.mp4", crf, size_wh)
    states = verified(3, sent, "--log", copy.with_name("double.mp4.delivery.json"))
    assert states["c2pa"] == states["aigc"] == "missing" and states["mark"] == "intact" and states["log"] == "altered"


def test_the_plate_itself_reencoded_has_no_mark(delivered, copy, tmp_path):
    sent = reencoded(delivered.with_name("plate.mp4"), tmp_path / "plate.mp4", 28, (800, 860))
    assert verified(3, sent, "--log", copy.with_name("double.mp4.delivery.json"))["mark"] == "missing"


def test_remuxed_the_manifest_is_gone(copy, tmp_path):
    sent = tmp_path / "copy.mp4"
    with av.open(str(copy)) as old, av.open(str(sent), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    states = verified(3, sent, "--log", copy.with_name("double.mp4.delivery.json"))
    assert states["c2pa"] == "missing" and states["log"] == "altered" and states["mark"] == "intact"


def test_one_block_changed(copy):
    """A few bytes of one picture."""
    data = bytearray(copy.read_bytes())
    middle = data.index(b"mdat") + 4 + 20_000
    data[middle : middle + 4] = bytes(b ^ 0x5A for b in data[middle : middle + 4])
    copy.write_bytes(data)
    states = verified(3, copy)
    assert states["c2pa"] == "altered" and states["log"] == "altered"


def test_metadata_forged(copy):
    data = copy.read_bytes()
    at = data.index(b'"ProduceID":"') + len(b'"ProduceID":"')
    copy.write_bytes(data[:at] + (b"f" if data[at : at + 1] != b"f" else b"0") + data[at + 1 :])
    states = verified(3, copy)
    assert states["aigc"] == "altered" and states["c2pa"] == "altered"


def test_the_wrong_persona(copy, persona_file):
    assert verified(3, copy, "--persona", persona_file)["persona"] == "altered"


def test_another_tools_signed_picture(astronaut_png, tmp_path):
    """A manifest and an AIGC record that are not ours are read; what is ours alone is missing."""
    import c2pa

    from digidouble.deliver.certificate import credentials
    from digidouble.deliver.labels import AigcLabel, Labels, label_png

    labels = Labels(AigcLabel("somebody else", "their number 7"), "trainedAlgorithmicMedia")
    plain = tmp_path / "plain.png"
    plain.write_bytes(label_png(astronaut_png.read_bytes(), labels))
    created = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    }
    definition = {
        "claim_generator_info": [{"name": "Another Tool", "version": "1"}], "format": "image/png", "title": "theirs.png",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }  # fmt: skip
    who, theirs = credentials(), tmp_path / "theirs.png"
    info = c2pa.C2paSignerInfo(who.algorithm.encode(), who.chain, who.key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder.from_json(json.dumps(definition)) as builder:
        builder.sign_file(str(plain), str(theirs), signer)
    result = cli("verify", theirs, "--json")
    checks = record(result)["checks"]
    states = {name: check["state"] for name, check in checks.items()}
    assert result.exit_code == 4 and states["c2pa"] == states["aigc"] == states["iptc"] == "intact"
    assert states["mark"] == states["log"] == "missing" and states["visible"] == "unknown" and "persona" not in states
    assert checks["c2pa"]["generator"][0]["name"] == "Another Tool" and "their number 7" in checks["aigc"]["said"]
