"""`digidouble speak`: a portrait that talks, and everything that is refused before work begins."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from command_line import cli, record, refused

from digidouble.deliver.labels import read_labels
from digidouble.footage import open_footage


@pytest.fixture
def small(astronaut_png, tmp_path) -> Path:
    """The face and a little around it."""
    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), cv2.imread(str(astronaut_png))[:256, 110:340])
    return path


@pytest.fixture
def silence(tmp_path) -> Path:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes(np.zeros(16000, "<i2").tobytes())
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as f:
        return [bytes(p) for p in f.demux(f.streams.audio[0]) if p.size]


@pytest.mark.slow
def test_a_portrait_talks_the_same_way_twice(small, astronaut_persona, tmp_path):
    pytest.importorskip("espeakng_loader")
    out = tmp_path / "talk.mp4"
    said = ("speak", small, "--persona", astronaut_persona, "--text", "Big boats! So happy.", "--seed", 3)
    done = cli(*said, "-o", out, "--json")
    assert done.exit_code == 0, done.stderr
    facts = record(done)
    labels = read_labels(out)
    assert labels.complete and labels.source_type == "trainedAlgorithmicMedia" and facts["visible_label_frames"] > 0
    assert (
        "joy" in facts["emotion"]["timeline"]
        and "inferred" in facts["emotion"]["from"]
        and facts["speech"]["phones"] > 10
    )
    page = Path(facts["report"]).read_text("utf-8")
    assert "Big boats" in page and "AI voice" in page and "inferred from the text" in page and "Seed" in page
    with open_footage(out) as movie:
        assert (
            movie.shot.has_audio
            and abs(movie.shot.frame_count / movie.shot.rate.fps - facts["speech"]["seconds"] - 0.5) < 0.1
        )
        first = [f.planes[0].copy() for f in movie.frames()]
    off = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(first)]
    assert 0.05 < np.mean(off) < 6 and max(off) < 15  # it moves, and never jumps
    corner = np.stack([f[-30:, -30:] for f in first]).astype(int)
    assert np.abs(corner - corner[0]).max() < 40 and np.abs(corner - corner[0]).mean() < 3  # what is no head stays
    again = tmp_path / "again.mp4"
    assert cli(*said, "-o", again, "--no-report").exit_code == 0
    with open_footage(again) as movie:
        assert all((f.planes[0] == a).all() for f, a in zip(movie.frames(), first, strict=True))


@pytest.mark.slow
def test_a_recording_over_footage_stays_as_it_is(excerpt, astronaut_persona, tmp_path):
    source = tmp_path / "tone.wav"
    t = np.arange(16000) / 16000
    with wave.open(str(source), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes((9000 * np.sin(2 * np.pi * 150 * t) * (np.sin(8 * t) > 0)).astype("<i2").tobytes())
    out = tmp_path / "double.mov"
    done = cli(
        "speak",
        excerpt.plate,
        "--persona",
        astronaut_persona,
        "--audio",
        source,
        "--emotion",
        "0:neutral 0.4:joy",
        "-o",
        out,
        "--json",
    )
    assert done.exit_code == 0, done.stderr
    facts = record(done)
    assert b"".join(packets(out)) == b"".join(packets(source))
    assert facts["source_type"] == "compositeWithTrainedAlgorithmicMedia" and "as asked" in facts["emotion"]["from"]
    assert any("to and fro" in w for w in facts["warnings"])  # 12 frames of plate for a second and a half


def test_what_is_refused(small, faceless_png, astronaut_persona, silence, tmp_path):
    out = tmp_path / "x.mp4"
    who = ("--persona", astronaut_persona, "-o", out)
    refused(cli("speak", small, *who), 2, "--text", "--audio")
    refused(cli("speak", small, *who, "--text", "   "), 1, "text")
    refused(cli("speak", small, *who, "--text", "Hi", "--emotion", "glee"), 1, "glee", "joy")
    refused(cli("speak", small, *who, "--text", "Hi", "--emotion", "joy:7"), 1, "0..1")
    refused(cli("speak", small, *who, "--text", "Hi", "--language", "xx-klingon"), 1, "klingon")
    refused(cli("speak", small, *who, "--text", "Hi", "--voice", "siren"), 2, "siren")
    refused(cli("speak", small, *who, "--audio", tmp_path / "none.wav"), 1, "none.wav")
    refused(cli("speak", faceless_png, *who, "--text", "Hi"), 1, "no face")
    refused(cli("speak", small, *who, "--text", "Hi", "--track", "7"), 1, "7")
    refused(cli("speak", small, *who, "--text", "Hi", "--seed", "-4"), 2, "seed")
    refused(cli("speak", small, *who, "--text", "Hi", "--purpose", "advertising"), 1, "advertising")
    refused(cli("speak", small, "--persona", astronaut_persona, "--text", "Hi", "-o", tmp_path / "x.txt"), 1, ".txt")
    assert not out.exists()


def test_two_faces_ask_who_speaks(astronaut_png, astronaut_persona, tmp_path):
    one = cv2.imread(str(astronaut_png))[:256, 110:340]
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([one, one[:, ::-1]]))
    refused(
        cli("speak", tmp_path / "two.png", "--persona", astronaut_persona, "--text", "Hi", "-o", tmp_path / "x.mp4"),
        1,
        "2 faces",
        "--track",
    )


def test_silence_leaves_a_living_face(small, astronaut_persona, silence, tmp_path):
    out = tmp_path / "still.mp4"
    done = cli("speak", small, "--persona", astronaut_persona, "--audio", silence, "-o", out, "--json", "--no-report")
    assert done.exit_code == 0, done.stderr
    assert any("silent" in w for w in record(done)["warnings"]) and out.exists()
