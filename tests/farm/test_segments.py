"""Renders that are cut off: killed processes continue to the same bits, changed inputs start anew, hostile folders are not believed."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic import TruthPerceiver, person, shoot, still

from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import OutputError
from digidouble.farm import RenderSettings, render_shot
from digidouble.farm.segments import runs_of, segments_folder, split
from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance
from digidouble.persona import load_persona
from digidouble.schema.time import FrameRange

UNMARKED = DeliverySettings(visible_label=False, label_waiver_reason="test of pixels", quality="draft", crf=0)
FRAMES, PART = 44, 16  # segments of 16, 16 and 12 frames: the whole of what a test needs, in little time
RUN = """
import sys
from pathlib import Path
import numpy as np
import digidouble.farm.segments
from digidouble.perception.content import ContentGate
from digidouble.deliver.settings import DeliverySettings
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import open_footage
from digidouble.performance import load_performance
from digidouble.persona import load_persona

class CleanPictures:
    def run(self, inputs):
        return {"scores": np.array([[0.99, 0.01]], np.float32)}

digidouble.farm.segments.SEGMENT_FRAMES = 16
plate, perf, persona, out = map(Path, sys.argv[1:5])
def slowly(done, total):
    import time
    print(done, flush=True)
    time.sleep(0.05)
with open_footage(plate) as footage:
    render_shot(footage, load_performance(perf), {"main": load_persona(persona)}, out, RenderSettings(workers=2),
                DeliverySettings(visible_label=False, label_waiver_reason="test of pixels", quality="draft", crf=0), slowly,
                ContentGate(runner=CleanPictures()))
"""


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr("digidouble.farm.segments.SEGMENT_FRAMES", PART)


@pytest.fixture(scope="module")
def files(tmp_path_factory, persona_file):
    """A movie of 44 frames, its performance and a persona -> (plate, perf, persona)."""
    folder = tmp_path_factory.mktemp("plate")
    t = np.arange(FRAMES)
    take = still(
        person(3), FRAMES, (48, 34), 4.0, yaw_deg=15 * np.sin(t / 9), actions={"jaw_drop": 0.3 + 0.3 * np.sin(t / 4)}
    )
    shot = shoot([take], (96, 88), grain=0.003)
    plate = folder / "plate.mp4"
    with open_writer(plate, shot.footage().shot, replace(UNMARKED, codec="h264", crf=0)) as writer:
        for frame in shot.frames:
            writer.write(frame)
    with open_footage(plate) as footage:
        shown = replace(shot, frames=tuple(footage.frames()))
        perf = analyse(footage, folder / "plate.perf", perceiver=TruthPerceiver(shown))
    return plate, perf, persona_file


def render(files, out: Path, settings=RenderSettings(workers=1), delivery=UNMARKED, progress=None):  # noqa: B008
    plate, perf, persona = files
    with open_footage(plate) as footage:
        return render_shot(
            footage, load_performance(perf), {"main": load_persona(persona)}, out, settings, delivery, progress
        )


def planes_of(path: Path) -> list[np.ndarray]:
    with open_footage(path) as footage:
        return [plane for f in footage.frames() for plane in f.planes]


def same(a: Path, b: Path) -> bool:
    """The same samples, every frame. (Not the same file: x264 itself now and then gives other bits for the same pictures, and
    Matroska's muxer draws a number at random. Here both are lossless.)"""
    x, y = planes_of(a), planes_of(b)
    return len(x) == len(y) and all((p == q).all() for p, q in zip(x, y, strict=True))


class Stop(Exception):
    """The end of a run, as far as the run is concerned."""


def stop_at(frame: int):
    def progress(done: int, total: int) -> None:
        if done == frame:
            raise Stop

    return progress


def stopped(files, out: Path, frame: int = 40, **more) -> Path:
    with pytest.raises(Stop):
        render(files, out, progress=stop_at(frame), **more)
    return segments_folder(out)


@pytest.mark.parametrize(
    ("frames", "expected"), [(1, [1]), (16, [16]), (27, [27]), (28, [16, 12]), (46, [16, 16, 14]), (33, [16, 17])]
)
def test_segments_cover_the_frames_once_and_none_is_a_crumb(frames, expected):
    parts = split(FrameRange(7, 7 + frames))
    assert [len(p) for p in parts] == expected
    assert parts[0].start == 7 and parts[-1].end_exclusive == 7 + frames
    assert all(a.end_exclusive == b.start for a, b in itertools.pairwise(parts))


def test_runs_are_neighbours():
    s = split(FrameRange(0, 6 * PART))
    assert runs_of([s[0], s[1], s[3], s[4], s[5]], 2) == [[s[0], s[1]], [s[3], s[4]], [s[5]]]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "shot.####.png"])
def test_workers_and_an_interruption_do_not_change_a_bit(files, tmp_path, name):
    for folder in ("one", "two", "cut"):
        (tmp_path / folder).mkdir()
    whole = render(files, tmp_path / "one" / name)
    assert whole.continued == 0 and whole.notes == ()
    render(files, tmp_path / "two" / name, RenderSettings(workers=3))
    left = stopped(files, tmp_path / "cut" / name)
    assert left.is_dir() and len(json.loads((left / "manifest.json").read_text())["segments"]) == 2
    assert [p.name for p in (tmp_path / "cut").iterdir()] == [left.name]  # nothing under the final name
    calls = []
    rest = render(files, tmp_path / "cut" / name, RenderSettings(workers=2), progress=lambda a, b: calls.append((a, b)))
    assert rest.continued == 32 and "continued" in rest.notes[0] and rest.frames == FRAMES
    assert calls == [(32, FRAMES), *((i, FRAMES) for i in range(33, FRAMES + 1))]
    assert [s.index for s in rest.samples] == [s.index for s in whole.samples]
    assert all((a.result == b.result).all() for a, b in zip(rest.samples, whole.samples, strict=True))
    for folder in ("two", "cut"):
        for a in (tmp_path / "one").iterdir():
            if a.suffix in (".mp4", ".mov", ".mkv", ".png"):
                assert same(a, tmp_path / folder / a.name)
        assert not segments_folder(tmp_path / folder / name).exists()


def test_the_join_has_the_pictures_of_the_parts_in_order_with_their_times(files, tmp_path):
    out = tmp_path / "a.mkv"
    one = replace(UNMARKED, produce_id="one")  # a number of its own would be another invisible mark
    render(files, out, delivery=one)
    render(files, tmp_path / "b.mkv", RenderSettings(frame_range=FrameRange(10, 40)), one)
    assert all((a == b).all() for a, b in zip(planes_of(out)[30:120], planes_of(tmp_path / "b.mkv"), strict=True))
    render(files, tmp_path / "c.mp4")
    with av.open(str(tmp_path / "c.mp4")) as movie:
        stream = movie.streams.video[0]
        packets = [p for p in movie.demux(stream) if p.size]
        keys = [round(p.pts * stream.time_base * stream.average_rate) for p in packets if p.is_keyframe]
        assert {0, 16, 32} <= set(keys) and len(packets) == FRAMES
        assert all(a.dts < b.dts for a, b in itertools.pairwise(packets)) and all(p.pts >= p.dts for p in packets)
        movie.seek(0)
        times = [f.pts * f.time_base * stream.average_rate for f in movie.decode(stream)]
    assert times == list(range(FRAMES))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_continues_to_the_same_bits(files, tmp_path, number):
    out, whole = tmp_path / "killed.mp4", tmp_path / "whole.mp4"
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, files), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where tests run in the background
    )
    assert running.stdout
    for line in running.stdout:
        if int(line) >= 20:
            break
    running.send_signal(number)
    assert running.wait(60) == (-number if number == signal.SIGKILL else running.returncode) != 0
    running.stdout.close()
    assert not out.exists() and segments_folder(out).is_dir()
    made = render(files, out, RenderSettings(workers=2))
    assert made.continued == 16
    render(files, whole)
    assert same(out, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "killed.mp4",
        "killed.mp4.delivery.json",
        "whole.mp4",
        "whole.mp4.delivery.json",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"delivery": replace(UNMARKED, crf=30)}, "delivery"),
        ({"settings": RenderSettings(workers=1, frame_range=FrameRange(0, 43))}, "frames"),
    ],
)
def test_other_settings_start_anew_and_say_so(files, tmp_path, change, named):
    out = tmp_path / "a.mp4"
    stopped(files, out)
    made = render(files, out, **change)
    assert made.continued == 0 and "started anew" in made.notes[0] and named in made.notes[0]


def test_another_persona_starts_anew(files, tmp_path, persona_b):
    out = tmp_path / "a.mp4"
    stopped(files, out)
    plate, perf, persona = files
    other = replace(load_persona(persona), sha256="0" * 64)
    with open_footage(plate) as footage:
        made = render_shot(footage, load_performance(perf), {"main": other}, out, RenderSettings(workers=1), UNMARKED)
    assert made.continued == 0 and "personas" in made.notes[0]


def damage_bytes(folder: Path) -> None:
    segment = folder / "000000016.segment"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)


def shorten(folder: Path) -> None:
    segment = folder / "000000016.segment"
    segment.write_bytes(segment.read_bytes()[:-7])


def link_away(folder: Path) -> None:
    segment = folder / "000000016.segment"
    shutil.copy(segment, folder.parent / "elsewhere")
    segment.unlink()
    segment.symlink_to(folder.parent / "elsewhere")


def remove(folder: Path) -> None:
    (folder / "000000016.segment").unlink()


@pytest.mark.parametrize("harm", [damage_bytes, shorten, link_away, remove])
def test_a_harmed_segment_is_rendered_again(files, tmp_path, harm):
    out = tmp_path / "a.mp4"
    harm(stopped(files, out))
    made = render(files, out)
    assert made.continued == 16
    render(files, tmp_path / "b.mp4")
    assert same(out, tmp_path / "b.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100000,
        '{"schema": "digidouble.segments/1", "segments": 3}',
        '{"schema": "x", "segments": {}}',
        "\x00",
        '{"a": NaN}',
    ],
)
def test_a_hostile_manifest_is_not_believed(files, tmp_path, text):
    out = tmp_path / "a.mp4"
    folder = stopped(files, out)
    (folder / "manifest.json").write_text(text)
    assert render(files, out).continued == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"bytes": True, "sha256": "0" * 64},
        {"bytes": 1},
        7,
        {"bytes": 1, "sha256": "../" * 20},
        {"bytes": 1e300, "sha256": "0" * 64},
    ],
)
def test_hostile_entries_are_not_believed(files, tmp_path, entry):
    out = tmp_path / "a.mp4"
    manifest = stopped(files, out) / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["segments"] |= {"0": entry, "../../x": raw["segments"]["0"]}
    manifest.write_text(json.dumps(raw))
    assert render(files, out).continued == 0


def test_a_second_run_into_the_same_output_refuses(files, tmp_path):
    out = tmp_path / "a.mp4"
    refusals = []

    def meddle(done: int, total: int) -> None:
        if done == 20:
            with pytest.raises(OutputError, match="another run"):
                render(files, out)
            refusals.append(done)

    assert render(files, out, progress=meddle).frames == FRAMES
    assert refusals == [20] and out.exists()


def test_what_is_in_the_way_is_left_alone(files, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "x").write_text("keep")
    segments_folder(tmp_path / "a.mp4").symlink_to(precious)
    with pytest.raises(OutputError, match="in the way"):
        render(files, tmp_path / "a.mp4")
    assert (precious / "x").read_text() == "keep"


def test_a_changed_clock_changes_nothing(files, tmp_path):
    out = tmp_path / "a.mp4"
    folder = stopped(files, out)
    for file in folder.iterdir():
        os.utime(file, (time.time() + 10**6, time.time() + 10**6))
    assert render(files, out).continued == 32


def rendered_with_passes(files, folder: Path, progress=None, workers: int = 1):
    folder.mkdir(exist_ok=True)
    settings = RenderSettings(workers=workers, passes=folder / "passes")
    return render(files, folder / "a.mkv", settings, progress=progress)


def test_passes_and_sidecars_are_the_same_after_an_interruption_and_wait_on_their_own_disk(files, tmp_path):
    whole = rendered_with_passes(files, tmp_path / "whole")
    with pytest.raises(Stop):
        rendered_with_passes(files, tmp_path / "cut", stop_at(40))
    waiting = tmp_path / "cut" / "passes" / "a.mkv.segments"
    assert sorted(p.name for p in waiting.iterdir()) == ["000000000.passes", "000000016.passes", "lock"]
    assert [p.name for p in (tmp_path / "cut" / "passes").iterdir()] == [waiting.name]
    made = rendered_with_passes(files, tmp_path / "cut", workers=3)
    assert made.continued == 32 and made.passes and whole.passes
    names = sorted(p.name for p in (tmp_path / "whole" / "passes").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "cut" / "passes").iterdir())
    assert len(names) == 2 * FRAMES + 2  # an EXR and a sidecar a frame, the script, the log
    for name in names:
        a, b = ((tmp_path / f / "passes" / name).read_bytes() for f in ("whole", "cut"))
        if name.endswith((".exr", ".json")) and "delivery" not in name:
            assert a == b, name


def test_a_pass_that_was_harmed_is_rendered_again(files, tmp_path):
    with pytest.raises(Stop):
        rendered_with_passes(files, tmp_path / "cut", stop_at(40))
    harmed = next((tmp_path / "cut" / "passes").rglob("a.0020.exr"))
    harmed.write_bytes(harmed.read_bytes()[:-9])
    assert rendered_with_passes(files, tmp_path / "cut").continued == 16


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize("refused", ["plate", "result"])
def test_nothing_refused_stays_and_no_other_frame_is_believed(files, tmp_path, refused, passes):
    """The gate sees its frames whoever rendered them: what it refuses is refused in a continued run, too, and is not kept."""
    from digidouble.errors import ContentRefused
    from digidouble.perception.content import ContentGate

    class Refuses(ContentGate):
        def look(self, where, frame, rgb8):
            if where == refused and frame == 0:
                raise ContentRefused("frame 0")
            return super().look(where, frame, rgb8)

    out = tmp_path / "a.mp4"
    settings = RenderSettings(passes=tmp_path / "passes" if passes else None)
    stopped(files, out, settings=settings)
    assert list(tmp_path.iterdir()) != []
    plate, perf, persona = files
    with open_footage(plate) as footage, pytest.raises(ContentRefused):
        casting = {"main": load_persona(persona)}
        render_shot(footage, load_performance(perf), casting, out, settings, UNMARKED, gate=Refuses())
    assert [f for f in tmp_path.rglob("*") if f != settings.passes] == []


def test_the_matte_is_in_the_alpha_of_every_segment_and_the_join_is_signed_once(files, tmp_path):
    from digidouble.deliver.provenance import read_manifest

    out = tmp_path / "a.mov"
    made = render(files, out, delivery=replace(UNMARKED, codec="prores4444"))
    manifest = read_manifest(out)
    assert manifest is not None and manifest["validation_state"] in ("Valid", "Trusted")
    assert "C2PA in the file" in made.delivered.provenance
    with av.open(str(out)) as movie:
        alphas = [np.frombuffer(f.planes[3], np.uint16) / 4095 for f in movie.decode(video=0)]
    assert len(alphas) == FRAMES and all(a.max() > 0.9 and a.min() == 0 for a in alphas)


def test_a_continued_run_hides_the_same_number(files, tmp_path):
    """The number follows from plate and settings; it is in the plan of every segment."""
    render(files, tmp_path / "whole.mkv")
    stopped(files, tmp_path / "cut.mkv")
    numbers = []
    for name in ("whole", "cut"):
        made = render(files, tmp_path / f"{name}.mkv")
        assert made.delivered.labels.aigc is not None
        numbers.append(made.delivered.labels.aigc.produce_id)
    assert numbers[0] == numbers[1] and same(tmp_path / "whole.mkv", tmp_path / "cut.mkv")


def test_a_full_disk_is_said_and_what_fits_is_continued_from(files, tmp_path, monkeypatch):
    from digidouble.deliver import segments

    written, write = [0], segments.write_packet

    def full_after_a_while(file, packet):
        written[0] += 1
        if written[0] > 24:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, packet)

    out = tmp_path / "a.mp4"
    with monkeypatch.context() as m:
        m.setattr(segments, "write_packet", full_after_a_while)
        with pytest.raises(OutputError, match="the disk is full"):
            render(files, out)
    left = [p.name for p in segments_folder(out).iterdir()]
    assert not out.exists() and sorted(left) == ["000000000.segment", "lock", "manifest.json"]
    assert render(files, out).continued == 16
    render(files, tmp_path / "b.mp4")
    assert same(out, tmp_path / "b.mp4")


def test_a_frame_that_does_not_decode_costs_no_other(files, tmp_path, monkeypatch):
    from digidouble.errors import UnreadableMedia
    from digidouble.footage.movie import MovieFootage

    read = MovieFootage.frames

    def broken(self, frame_range=None):  # in order; the gate reads its frames one by one
        for frame in read(self, frame_range):
            if frame.index == 35:
                raise UnreadableMedia("frame 35 does not decode")
            yield frame

    out = tmp_path / "a.mp4"
    with monkeypatch.context() as m:
        m.setattr(MovieFootage, "frames", broken)
        with pytest.raises(UnreadableMedia, match="frame 35"):
            render(files, out)
    assert not out.exists() and render(files, out).continued == 32
    render(files, tmp_path / "b.mp4")
    assert same(out, tmp_path / "b.mp4")
