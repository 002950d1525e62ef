"""Renders on several processes: the same bits, killed helpers, errors from the other side, nobody left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_segments import FRAMES, PART, files, planes_of, render, same, short_segments  # noqa: F401

from digidouble.errors import ContentRefused, DigidoubleError, FarmError
from digidouble.farm import RenderSettings, local, processes
from digidouble.farm.node import Sources
from digidouble.farm.processes import Processes, worth_processes
from digidouble.farm.segments import segments_folder, split
from digidouble.farm.shares import Shares
from digidouble.footage import FootageSettings
from digidouble.perception.content import ContentGate
from digidouble.schema.time import FrameRange

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes cannot inherit a pipe here")
TWO = RenderSettings(workers=2)
NOTHING = Sources(Path("none.mkv"), FootageSettings(), Path("none.perf"), {}, RenderSettings())


@pytest.fixture
def eager(monkeypatch, files):  # noqa: F811
    """Processes for a few segments, of the length that these tests use. -> the helpers' process ids, as they start."""
    pids: list[int] = []
    begin = processes._Helper.__init__

    def noted(self) -> None:
        begin(self)
        pids.append(self.pid)

    monkeypatch.setattr(processes._Helper, "__init__", noted)
    monkeypatch.setattr(processes, "WORTH_IT", 1)
    program = f"import digidouble.farm.segments as s; s.SEGMENT_FRAMES = {PART}; {processes._PROGRAM}"
    monkeypatch.setattr(processes, "_PROGRAM", program)
    return pids


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def waits_for_helper(monkeypatch) -> None:
    """This process takes its first segment only when a helper has made one: without that it would have done all before."""
    own, rendered, made = processes._own, processes._Helper.rendered, []

    def later(crew, shares, done, seen) -> None:
        end = time.monotonic() + 60
        while not made and time.monotonic() < end:
            time.sleep(0.02)
        own(crew, shares, done, seen)

    def noted(self, segment):
        try:
            return rendered(self, segment)
        finally:
            made.append(segment)

    monkeypatch.setattr(processes, "_own", later)
    monkeypatch.setattr(processes._Helper, "rendered", noted)


def test_every_segment_is_dealt_out_once_and_stretches_are_read_on():
    segments = split(FrameRange(0, 10 * PART))
    shares = Shares(segments, 3)
    first = [shares.next(k) for k in range(3)]
    assert [s.start // PART for s in first if s] == [0, 3, 7]
    assert shares.next(0) == segments[1]  # follows its own
    rest = list(iter(lambda: shares.next(2), None))  # the others are slow
    assert sorted([*first, segments[1], *rest], key=lambda s: s.start) == segments
    assert sum(b.start != a.end_exclusive for a, b in itertools.pairwise(rest)) <= 4
    assert [shares.next(k) for k in range(3)] == [None] * 3
    shares.give_back(1, segments[5])
    assert shares.next(0) == segments[5] and shares.next(1) is None


def test_runs_shrink_towards_the_end_and_cover_everything_once():
    s = split(FrameRange(0, 40 * PART))
    missing = [*s[:7], *s[9:]]
    shares = Shares(missing, 1)
    first = shares.run(0, 6)
    assert first == s[:6] and len(shares) == 32
    shares.more(1)  # has nothing of its own: takes the second half of what the other has left
    assert shares.ahead(1, 6) == [] and shares.run(1, 6) == s[24:30]
    runs = [first, s[24:30], *iter(lambda: shares.run(0, 6), []), *iter(lambda: shares.run(1, 6), [])]
    assert sorted((x for run in runs for x in run), key=lambda x: x.start) == missing and len(shares) == 0
    assert runs[2] == [s[6]] and [len(r) for r in runs[-2:]] == [1, 1]  # a gap ends a run; the last ones are short
    assert all(a.end_exclusive == b.start for run in runs for a, b in itertools.pairwise(run))


def test_who_is_busy_is_not_given_its_last_segment():
    s = split(FrameRange(0, 4 * PART))
    shares = Shares(s, 2)
    assert [shares.ahead(0, 1), shares.ahead(0, 1)] == [[s[0]], []]
    assert shares.run(1, 1) == [s[2]] and shares.run(1, 1) == [s[3]] and shares.run(1, 1) == [s[1]]


def test_short_shots_stay_in_one_process():
    assert not worth_processes(11, 2) and worth_processes(12, 2) and not worth_processes(500, 1)


@pytest.mark.parametrize("name", ["a.mkv", "shot.####.png"])
def test_processes_do_not_change_a_bit_and_are_looked_at(files, tmp_path, eager, monkeypatch, name):  # noqa: F811
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    one = render(files, tmp_path / "one" / name, replace(TWO, workers=1, passes=tmp_path / "one" / "passes"))
    waits_for_helper(monkeypatch)
    calls = []
    settings = replace(TWO, passes=tmp_path / "two" / "passes")
    two = render(files, tmp_path / "two" / name, settings, progress=lambda done, total: calls.append((done, total)))
    assert same(tmp_path / "two" / name, tmp_path / "one" / name)
    for a in (tmp_path / "one" / "passes").glob("*.exr"):
        assert (planes_of(a)[0] == planes_of(tmp_path / "two" / "passes" / a.name)[0]).all()
    assert len(eager) == 1 and all(map(gone, eager))
    assert calls[-1] == (FRAMES, FRAMES) and [d for d, _ in calls] == sorted(d for d, _ in calls)
    assert [s.index for s in two.samples] == [s.index for s in one.samples]
    assert all((a.result == b.result).all() for a, b in zip(one.samples, two.samples, strict=True))
    assert two.gate["frames"] == one.gate["frames"]


def test_a_killed_helper_loses_nothing(files, tmp_path, eager, monkeypatch):  # noqa: F811
    render(files, tmp_path / "one.mkv", replace(TWO, workers=1))
    rendered, killed = processes._Helper.rendered, []

    def kill_first(self, segment):
        killed.append(segment)
        os.kill(self.pid, signal.SIGKILL)
        return rendered(self, segment)

    waits_for_helper(monkeypatch)
    monkeypatch.setattr(processes._Helper, "rendered", kill_first)
    monkeypatch.setattr(processes, "_own", lambda crew, shares, done, seen: done.put(None))  # nobody is left to take it
    made = render(files, tmp_path / "two.mkv", TWO)
    assert killed and made.frames == FRAMES
    assert any("1 worker processes were lost" in n for n in made.notes)
    assert same(tmp_path / "two.mkv", tmp_path / "one.mkv")
    assert not segments_folder(tmp_path / "two.mkv").exists()


def test_what_a_helper_refuses_ends_the_render(files, tmp_path, eager, monkeypatch):  # noqa: F811
    job_of = local.job_of
    monkeypatch.setattr(
        local, "job_of", lambda *args: replace(job := job_of(*args), facts=job.facts | {"machine": "another"})
    )
    monkeypatch.setattr(processes, "_own", lambda crew, shares, done, seen: None)
    with pytest.raises(FarmError, match="machine differ there"):
        render(files, tmp_path / "two.mkv", TWO)
    assert list(tmp_path.iterdir()) == [] and all(map(gone, eager))


def test_a_plate_that_is_refused_when_a_helper_shows_it_leaves_nothing(files, tmp_path, eager, monkeypatch):  # noqa: F811
    waits_for_helper(monkeypatch)

    def refuse(gate, where, frame, rgb8):
        if where == "plate":
            raise ContentRefused("adult content")

    monkeypatch.setattr(ContentGate, "look", refuse)
    with pytest.raises(ContentRefused):
        render(files, tmp_path / "two.mkv", TWO)
    assert eager and list(tmp_path.iterdir()) == [] and all(map(gone, eager))


def test_an_interruption_ends_helpers_and_keeps_what_is_done(files, tmp_path, eager):  # noqa: F811
    def interrupt(done: int, total: int) -> None:
        if done > PART:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(files, tmp_path / "two.mkv", TWO, progress=interrupt)
    assert len(eager) == 1 and all(map(gone, eager))
    assert not (tmp_path / "two.mkv").exists()
    rest = render(files, tmp_path / "two.mkv", TWO)
    assert rest.continued in range(PART, FRAMES)
    render(files, tmp_path / "one.mkv", replace(TWO, workers=1))
    assert same(tmp_path / "two.mkv", tmp_path / "one.mkv")


def test_helpers_end_with_whoever_started_them():
    program = "from digidouble.farm.processes import _Helper; h = _Helper(); print(h.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        helper = int(starter.stdout.readline())
        assert not gone(helper)
        starter.kill()
    end = time.monotonic() + 30
    while not gone(helper) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(helper)


def test_leaving_the_context_ends_them_even_before_they_are_ready():
    with Processes(2, NOTHING) as started:
        pids = [h.pid for h in started._helpers]
    assert len(pids) == 2 and all(map(gone, pids))


def test_sources_that_do_not_open_are_told_even_after_the_helper_has_ended():
    helper = processes._Helper()
    helper.tell(NOTHING)
    assert helper._pipe.poll(60)
    while not gone(helper.pid) and helper._process.poll() is None:
        time.sleep(0.02)
    with pytest.raises(DigidoubleError, match=r"none\.perf"):
        helper.ready(NOTHING)
    helper.end()
