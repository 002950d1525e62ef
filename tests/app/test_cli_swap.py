"""swap: from a plate and a persona to a labelled delivery with its report; and what it refuses."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from command_line import cli, left_behind, process, record, refused

from digidouble.deliver.labels import read_labels
from digidouble.deliver.log import read_log
from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance
from digidouble.persona import load_persona, save_persona
from digidouble.schema.colour import rgb8_from_frame


def samples_of(path: Path) -> list[np.ndarray]:
    with open_footage(path) as footage:
        return [plane for frame in footage.frames() for plane in frame.planes]


def test_plate_to_delivery_with_report(excerpt, astronaut_persona, tmp_path, analyses_cached_here):
    out = tmp_path / "double.mp4"
    arguments = ("swap", excerpt.plate, "--cast", f"main={astronaut_persona}", "-o", out, "--purpose", "film", "--json")
    first = cli(*arguments)
    assert first.exit_code == 0, first.stderr
    facts = record(first)
    assert facts["frames"] == 12 and facts["cast"] == [1] and not facts["analysis"]["reused"]
    assert set(facts["stages_s"]) >= {"decode", "draw", "composite", "encode"}
    with open_footage(out) as movie, open_footage(excerpt.plate) as plate:
        assert (movie.shot.size_wh, movie.shot.frame_count, movie.shot.rate) == (
            plate.shot.size_wh,
            12,
            plate.shot.rate,
        )
    assert read_labels(out).complete
    logged = read_log(Path(facts["log"]))[-1]
    assert "Eileen Collins" in logged["consents"][0] and logged["labels"]["waiver"] is None
    assert logged["files"][0]["sha256"] == facts["files"][0]["sha256"]
    page = (tmp_path / "double.report.html").read_text("utf-8")
    for words in (
        "Mouth opening",
        "Gaze",
        "Light on the face",
        "Presence",
        "ms / frame",
        "AIGC",
        "granted by the tests",
        "image/jpeg;base64",
    ):
        assert words in page
    assert left_behind(tmp_path) == ["double.mp4", "double.mp4.delivery.json", "double.report.html"]
    again = record(cli(*arguments))
    assert again["analysis"]["reused"] and again["frames"] == 12
    assert len(list((analyses_cached_here / "performances").iterdir())) == 1


def test_a_damaged_cache_is_made_anew(excerpt, astronaut_persona, tmp_path, analyses_cached_here):
    arguments = (
        "swap",
        excerpt.plate,
        "--cast",
        f"1={astronaut_persona}",
        "-o",
        tmp_path / "x.mp4",
        "--no-report",
        "--json",
    )
    assert cli(*arguments, "--range", "0:1").exit_code == 0
    (kept,) = (analyses_cached_here / "performances").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    again = record(cli(*arguments, "--range", "0:1"))
    assert not again["analysis"]["reused"] and "made anew" in again["warnings"][0]
    assert load_performance(kept).tracks
    assert not (tmp_path / "x.report.html").exists()


def test_the_face_changes_and_nothing_else(excerpt, astronaut_persona, tmp_path):
    out = tmp_path / "double.mkv"
    done = cli(
        "swap", excerpt.perf, "--cast", f"main={astronaut_persona}", "-o", out, "--no-visible-label", "--reason", "pixels are compared", "--profile"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "composite" in done.stdout and "frames/s" in done.stdout
    track = load_performance(excerpt.perf).tracks[0]
    with open_footage(out) as result, open_footage(excerpt.plate) as plate:
        for before, after in zip(plate.frames(), result.frames(), strict=True):
            points = track.sample(before.index).points_px[:468, :2]
            (x0, y0), (x1, y1) = points.min(0), points.max(0)
            pad = 0.25 * (x1 - x0)
            near = np.zeros(before.size_hw, bool)
            near[max(0, int(y0 - pad)) : int(y1 + pad) + 1, max(0, int(x0 - pad)) : int(x1 + pad) + 1] = True
            assert (before.planes[0][~near] == after.planes[0][~near]).all()
            a, b = rgb8_from_frame(before).astype(int), rgb8_from_frame(after).astype(int)
            hull = (
                cv2.fillConvexPoly(np.zeros(before.size_hw, np.uint8), cv2.convexHull(points.astype(np.int32)), 1) > 0
            )
            assert np.abs(a - b)[hull].mean() > 4
    assert read_log(tmp_path / "double.mkv.delivery.json")[0]["labels"]["waiver"] == "pixels are compared"


def test_fusion_bends_the_skin_and_asks_for_what_it_reads(excerpt, astronaut_persona, tmp_path, analyses_cached_here):
    def swapped(name: str, plate, *more) -> np.ndarray:
        out = tmp_path / f"{name}.mkv"
        done = cli(
            "swap", plate, "--cast", f"main={astronaut_persona}", "-o", out, "--range", "5:6", "--no-report", *more
        )
        assert done.exit_code == 0, done.stderr
        with open_footage(out) as result:
            return rgb8_from_frame(result.frame(0)).astype(int)

    plain, fused = swapped("plain", excerpt.plate), swapped("fused", excerpt.plate, "--fusion")
    kept = [load_performance(p) for p in sorted((analyses_cached_here / "performances").iterdir())]
    assert sorted(k.settings["slides"] for k in kept) == [False, True]
    assert [k.tracks[0].sample(5).slide is not None for k in kept] == [k.settings["slides"] for k in kept]
    told_less = swapped("told_less", excerpt.perf, "--fusion")
    assert np.abs(fused - plain).max() > 3 and np.abs(told_less - plain).max() > 3
    assert np.abs(fused - told_less).max() > 1, "a face of 70 px, nearly at rest"


def test_range_into_a_sequence(excerpt, astronaut_persona, tmp_path):
    done = cli(
        "swap",
        excerpt.perf,
        "--cast",
        f"1={astronaut_persona}",
        "-o",
        tmp_path / "f.####.png",
        "--range",
        "2:5",
        "--json",
    )
    assert done.exit_code == 0, done.stderr
    assert [Path(f["path"]).name for f in record(done)["files"]] == ["f.0002.png", "f.0003.png", "f.0004.png"]
    assert record(done)["report"] == str(tmp_path / "f.report.html")


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(excerpt, astronaut_persona, tmp_path, workers):
    out = tmp_path / "double.mkv"
    arguments = (
        "swap",
        excerpt.perf,
        "--cast",
        f"main={astronaut_persona}",
        "-o",
        out,
        "--range",
        "0:6",
        "--produce-id",
        "x",
        "--json",
    )
    assert cli(*arguments, "--workers", 2).exit_code == 0
    two = samples_of(out)
    assert cli(*arguments, "--workers", workers).exit_code == 0
    assert all((a == b).all() for a, b in zip(two, samples_of(out), strict=True))


def test_a_movie_of_one_frame_and_of_odd_size(excerpt, astronaut_persona, tmp_path):
    with open_footage(excerpt.plate) as plate:
        picture = rgb8_from_frame(plate.frame(0))[:143, :175]
    odd = tmp_path / "odd.mkv"
    with av.open(str(odd), "w") as movie:
        stream = movie.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 175, 143, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        movie.mux(stream.encode(frame))
        movie.mux(stream.encode(None))
    done = cli("swap", odd, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mkv", "--json")
    assert done.exit_code == 0, done.stderr
    assert record(done)["frames"] == 1
    with open_footage(tmp_path / "x.mkv") as movie:
        assert movie.shot.size_wh == (175, 143)
    assert cli("swap", odd, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.png").exit_code == 0


class TestRefusals:
    @pytest.fixture
    def arguments(self, excerpt, astronaut_persona, tmp_path):
        return ("swap", excerpt.perf, "--cast", f"main={astronaut_persona}", "-o", tmp_path / "x.mp4")

    def test_usage(self, arguments, excerpt, tmp_path):
        for more, words in (
            (("--quality", "nice"), ("expected one of draft, standard, final",)),
            (("--range", "5:2"), ("5:2",)),
            (("--range", "half"), ("A:B",)),
            (("--purpose", "fun"), ("film", "advertising")),
            (("--keep-tone", "2"), ("0..1",)),
            (("--crf", "99"), ("0 (lossless) to 51",)),
            (("--no-visible-label",), ("label_waiver_reason",)),
            (("--reason", "why not"), ("visible_label is on",)),
            (("--cast", "somebody"), ("TRACK=X.persona",)),
        ):
            refused(cli(*arguments, *more), 2, *words)
        refused(cli("swap", excerpt.plate, "--cast", "1=x", "-o", "x.mp4"), 1, "no such persona")
        refused(cli("swap", excerpt.plate, "-o", "x.mp4"), 2, "--cast")
        assert left_behind(tmp_path) == []

    def test_casting(self, arguments, astronaut_persona, tmp_path):
        refused(cli(*arguments, "--cast", f"7={astronaut_persona}"), 1, "no track '7'", "1 (frames 0:12)")
        refused(cli(*arguments, "--cast", f"1={astronaut_persona}"), 1, "cast twice")
        assert left_behind(tmp_path) == []

    def test_consent(self, excerpt, arguments, astronaut_persona, tmp_path, analyses_cached_here):
        refused(cli(*arguments, "--purpose", "advertising"), 1, "covers demo, film, not advertising")
        persona = load_persona(astronaut_persona)
        old = tmp_path / "old.persona"
        save_persona(replace(persona, consent=replace(persona.consent, expires=date(2001, 1, 1))), old)
        refused(
            cli("swap", excerpt.plate, "--cast", f"main={old}", "-o", tmp_path / "x.mp4"), 1, "expired on 2001-01-01"
        )
        assert list(analyses_cached_here.iterdir()) == []  # refused before the plate was analysed
        assert left_behind(tmp_path) == ["old.persona"]

    def test_plates_without_a_face_or_without_a_picture(self, astronaut_persona, faceless_png, excerpt, tmp_path):
        (tmp_path / "empty.mp4").write_bytes(b"")
        (tmp_path / "text.mp4").write_text("not a movie")
        (tmp_path / "cut.mp4").write_bytes(excerpt.plate.read_bytes()[:9000])
        with av.open(str(tmp_path / "sound.m4a"), "w") as movie:
            sound = movie.add_stream("aac", rate=48000, layout="mono")
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            noise.sample_rate = 48000
            movie.mux(sound.encode(noise))
            movie.mux(sound.encode(None))
        before = left_behind(tmp_path)
        out = tmp_path / "x.mp4"
        for plate, kind, words in (
            (faceless_png, "NoFace", "no face"),
            (tmp_path / "empty.mp4", "UnreadableMedia", "empty (0 bytes)"),
            (tmp_path / "text.mp4", "UnreadableMedia", "text.mp4"),
            (tmp_path / "cut.mp4", "UnreadableMedia", "cut.mp4"),
            (tmp_path / "sound.m4a", "NoPicture", "sound.m4a"),
            (tmp_path / "absent.mp4", "UnreadableMedia", "no such file"),
            (tmp_path, "UnreadableMedia", "is a folder"),
        ):
            to = out.with_suffix(".png") if plate == faceless_png else out
            done = cli("swap", plate, "--cast", f"main={astronaut_persona}", "-o", to, "--json")
            refused(done, 1, words)
            assert record(done)["error"]["kind"] == kind
        assert left_behind(tmp_path) == before

    def test_a_sequence_with_a_hole(self, astronaut_persona, astronaut_png, tmp_path):
        for number in (1, 2, 4):
            shutil.copy(astronaut_png, tmp_path / f"plate.{number:04d}.png")
        done = cli(
            "swap",
            tmp_path / "plate.####.png",
            "--cast",
            f"main={astronaut_persona}",
            "-o",
            tmp_path / "x.mov",
            "--json",
        )
        refused(done, 1, "3")
        assert record(done)["error"]["kind"] == "MissingFrame"

    def test_outputs(self, arguments, excerpt, tmp_path, analyses_cached_here):
        arguments = (*arguments[:1], excerpt.plate, *arguments[2:4], "-o")
        refused(cli(*arguments, tmp_path / "no" / "x.mp4"), 1, "does not exist")
        refused(cli(*arguments, tmp_path / "x.txt"), 1, "no format is known")
        refused(cli(*arguments, tmp_path / "x.png"), 1, "one picture cannot hold 12 frames", "x.####.png")
        refused(cli(*arguments, excerpt.plate), 1, "plate itself")
        refused(cli(*arguments, tmp_path / "x.mp4", "--range", "50:60"), 1, "holds no frame", "0:12")
        assert list(analyses_cached_here.iterdir()) == []  # refused before the plate was analysed
        assert left_behind(tmp_path) == []

    def test_plate_option_without_a_perf(self, excerpt, astronaut_persona, tmp_path):
        done = cli(
            "swap",
            excerpt.plate,
            "--plate",
            excerpt.plate,
            "--cast",
            f"1={astronaut_persona}",
            "-o",
            tmp_path / "x.mp4",
        )
        refused(done, 2, "--plate")

    def test_another_plate(self, arguments, astronaut_png):
        refused(cli(*arguments, "--plate", astronaut_png), 1, "another plate")


@pytest.fixture(scope="module")
def long_perf(carphone_mp4, excerpt, tmp_path_factory):
    """The analysis of a plate of 120 frames."""
    with open_footage(carphone_mp4) as plate:
        return analyse(plate, tmp_path_factory.mktemp("long") / "long.perf")


class TestProcess:
    """What only a process of its own can show."""

    @pytest.fixture
    def slow(self, long_perf, astronaut_persona, tmp_path):
        """A swap that takes seconds: lossless, one worker, a plate of 120 frames. -> (arguments, folder of the output)"""
        folder = tmp_path / "out"
        folder.mkdir()
        return (
            "swap",
            long_perf,
            "--cast",
            f"main={astronaut_persona}",
            "-o",
            folder / "x.mkv",
            "--workers",
            1,
            "--json",
        ), folder

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted_in_the_middle(self, slow, number, code):
        arguments, folder = slow
        (folder / "x.mkv").write_text("an earlier result")
        running = process(*arguments)
        while len(left_behind(folder)) < 2 and running.poll() is None:
            time.sleep(0.005)
        time.sleep(0.3)
        assert running.poll() is None, running.communicate()
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
        assert running.returncode == code, err
        assert "Traceback" not in err
        assert set(left_behind(folder)) <= {"x.mkv", "x.mkv.segments"}  # what a second run continues from
        assert (folder / "x.mkv").read_text() == "an earlier result"
        if number == signal.SIGINT:
            assert json.loads(out)["error"]["kind"] == "Interrupted"

    @pytest.mark.parametrize("seconds", [0.0, 0.3, 0.9])
    def test_interrupted_analysis(self, carphone_mp4, tmp_path, seconds):
        running = process("perform", carphone_mp4, "-o", tmp_path / "x.perf")
        while not left_behind(tmp_path) and running.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 130, err
        assert left_behind(tmp_path) == []

    def test_full_disk(self, excerpt, astronaut_persona, tmp_path):
        """Files may not grow beyond a few kilobytes: what a full disk does to an encoder."""

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

        out = tmp_path / "out"
        out.mkdir()
        running = process(
            "swap", excerpt.perf, "--cast", f"main={astronaut_persona}", "-o", out / "x.mkv", "--json",
            preexec_fn=small_files,
        )  # fmt: skip
        text, err = running.communicate(timeout=120)
        assert running.returncode == 1, err
        assert json.loads(text)["error"]["kind"] == "OutputError"
        assert left_behind(out) == []

    def test_runs_as_a_module(self):
        version = process("--version")
        assert version.communicate()[0].startswith("digidouble ")
