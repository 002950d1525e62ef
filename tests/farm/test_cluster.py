"""Ray: the same bits as on this machine, a lost worker costs nothing, and what is missing is said."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_ray import FakeRay, Lost
from test_segments import FRAMES, UNMARKED, files, render, same, segments_folder, short_segments  # noqa: F401

from digidouble.errors import FarmError, SettingsError
from digidouble.farm import RenderSettings, cluster, pool, processes, render_shot
from digidouble.farm.node import Node, packed, unpacked
from digidouble.farm.segments import Place, SegmentStore
from digidouble.farm.settings import RAY
from digidouble.farm.shares import Shares
from digidouble.perception.hair import CELLS, HairLook
from digidouble.performance import load_performance
from digidouble.persona import load_persona
from digidouble.schema.time import FrameRange


def test_addresses():
    assert RenderSettings(workers="ray://10.0.0.1:10001").workers == "ray://10.0.0.1:10001"
    for bad in ("ray", "http://x", "ray://", "ray://a b", "2"):
        with pytest.raises(SettingsError, match="workers"):
            RenderSettings(workers=bad)
    assert RAY.fullmatch("ray://local")


def test_without_ray_the_error_says_what_to_install(files, tmp_path, monkeypatch):  # noqa: F811
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(FarmError, match=r"pip install 'digidouble\[farm\]'"):
        render(files, tmp_path / "a.mp4", RenderSettings(workers="ray://local"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_cannot_be_sent(talk, talk_perf, persona_b, tmp_path):
    with pytest.raises(FarmError, match="files"):
        render_shot(
            talk.footage(),
            load_performance(talk_perf),
            {"main": persona_b},
            tmp_path / "a.mp4",
            RenderSettings(workers="ray://local"),
            UNMARKED,
        )


def asked_of(monkeypatch, files, out, settings) -> cluster.Asked:  # noqa: F811
    """What a cluster would be asked to do."""
    seen = []

    def noted(self, asked) -> None:
        seen.append(asked)
        raise KeyError

    with monkeypatch.context() as here:
        here.setattr(cluster.Cluster, "render", noted)
        here.setattr(cluster, "connected", lambda address: contextlib.nullcontext())
        with pytest.raises(KeyError):
            render(files, out, replace(settings, workers="ray://local"))
    return seen[0]


def test_a_node_renders_what_this_machine_renders_and_refuses_other_versions(files, tmp_path, monkeypatch):  # noqa: F811
    plate, perf, persona = files
    monkeypatch.setattr("digidouble.farm.node.PART_BYTES", 4096)
    asked = asked_of(monkeypatch, files, tmp_path / "a.mp4", RenderSettings())
    store, job, double = asked.store, asked.job, {"main": load_persona(persona)}
    for shipped, threads in ((False, 1), (True, 2)):
        node = Node(job, threads)
        assert node.has() == (True, True)
        node.open(*((packed(plate), packed(perf)) if shipped else (None, None)), double)
        again = SegmentStore(Place.beside(replace(store.plan, out=tmp_path / "b.mp4"), None), store.facts)
        for run in ([store.segments[1]], [store.segments[2]]) if threads == 1 else (store.segments[1:],):
            assert unpacked(node.render(run)).stages["draw"] > 0
        for segment in store.segments[1:]:
            again.receive(segment, partial(in_parts, node, segment))
            node.drop(segment)
        again.close(finished=False)
        node.close()
        assert render(files, tmp_path / "b.mp4").continued == 28  # what the node rendered is believed and taken over
        render(files, tmp_path / "c.mp4")
        assert same(tmp_path / "b.mp4", tmp_path / "c.mp4")
    other = Node(replace(job, facts=store.facts | {"versions": {"numpy": "0"}}), 1)
    with pytest.raises(FarmError, match="versions differ"):
        other.open(None, None, double)
    other.close()
    elsewhere = Node(replace(job, performance=tmp_path / "none.perf"), 1)
    assert elsewhere.has() == (True, False)
    elsewhere.close()


def test_a_node_is_told_what_hair_looks_like(files, tmp_path, monkeypatch):  # noqa: F811
    """It learns nothing itself, writes the passes this machine writes, and refuses where it was not told."""
    _, perf, persona = files
    look = HairLook(np.full(CELLS, 255, np.uint8), np.full(3, 0.5, np.float32))
    monkeypatch.setattr("digidouble.pipeline.hair_look", lambda views: look)
    settings = RenderSettings(passes=tmp_path / "p", frame_range=FrameRange(0, 2))
    job, double = asked_of(monkeypatch, files, tmp_path / "a.mp4", settings).job, {"main": load_persona(persona)}
    assert job.hair[1].sha256 == look.sha256
    monkeypatch.setattr("digidouble.pipeline.hair_look", None)
    node = Node(job, 1)
    node.open(None, packed(perf), double)
    node.render([FrameRange(0, 2)])
    there = node.read(FrameRange(0, 2), "passes/a.0000.exr", 0)
    node.close()
    ignorant = Node(replace(job, hair={}), 1)
    with pytest.raises(FarmError, match="passes differ"):
        ignorant.open(None, None, double)
    ignorant.close()
    monkeypatch.setattr("digidouble.pipeline.hair_look", lambda views: look)
    shutil.rmtree(tmp_path / "p", ignore_errors=True)
    render(files, tmp_path / "a.mp4", settings)
    assert (tmp_path / "p" / "a.0000.exr").read_bytes() == there


def in_parts(node: Node, segment: FrameRange, key: str):
    offset = 0
    while part := node.read(segment, key, offset):
        assert len(part) <= 4096
        offset += len(part)
        yield part


ON_RAY = RenderSettings(workers="ray://fake:1")


@pytest.fixture
def machines(monkeypatch):
    """Makes a cluster and has it answer when it is let: (cores, meets, answers) -> FakeRay."""

    def made(cores, meets=lambda number, method: None, answers: threading.Event | None = None) -> FakeRay:
        ray = FakeRay(cores, meets)

        @contextlib.contextmanager
        def connected(address):
            assert answers is None or answers.wait(60)
            yield ray

        monkeypatch.setattr(cluster, "connected", connected)
        return ray

    return made


def own_waits(monkeypatch, until: Callable[[], bool], segments: int = 1) -> None:
    """This process renders so many segments, and goes on when something is true: without that it would have done all before."""
    run, begun = Shares.run, []

    def later(self, worker: int, longest: int):
        end = time.monotonic() + 60
        while worker == 0 and len(begun) >= segments and not until() and time.monotonic() < end:
            time.sleep(0.01)
        if worker == 0:
            begun.append(worker)
        return run(self, worker, longest)

    monkeypatch.setattr(Shares, "run", later)
    monkeypatch.setattr(processes, "WORTH_IT", 1)


def test_the_one_who_asks_begins_before_the_cluster_answers(files, tmp_path, machines):  # noqa: F811
    answers = threading.Event()
    ray = machines([2], answers=answers)
    made = render(files, tmp_path / "ray.mkv", ON_RAY)
    assert made.frames == FRAMES and any("before the cluster answered" in n for n in made.notes) and ray.called == []
    answers.set()
    render(files, tmp_path / "here.mkv")
    assert same(tmp_path / "ray.mkv", tmp_path / "here.mkv")


@pytest.mark.parametrize("name", ["a.mkv", "shot.####.png"])
def test_machines_share_the_work_and_do_not_change_a_bit(files, tmp_path, machines, monkeypatch, name):  # noqa: F811
    """Two machines begin when they are ready: one never is. What it had is done by others; nothing they have is sent."""
    never = threading.Event()
    ray = machines([1, 1], lambda number, method: None if number or method != "open" else never.wait(10) and None)
    own_waits(monkeypatch, lambda: (1, "drop") in ray.called)
    monkeypatch.setattr(
        "digidouble.farm.looks.render_frame", None
    )  # who renders a frame shows it: nothing is rendered twice
    for folder in ("ray", "here"):
        (tmp_path / folder).mkdir()
    calls = []
    made = render(files, tmp_path / "ray" / name, ON_RAY, progress=lambda done, total: calls.append(done))
    never.set()
    one = render(files, tmp_path / "here" / name)
    assert same(tmp_path / "ray" / name, tmp_path / "here" / name)
    assert (1, "render") in ray.called and (0, "render") not in ray.called
    assert len(ray.stored) == 1  # personas; plate and performance lie under their paths
    assert calls[-1] == FRAMES and calls == sorted(calls) and made.notes == ()
    assert made.gate["frames"] == one.gate["frames"]
    assert all((a.result == b.result).all() for a, b in zip(one.samples, made.samples, strict=True))


def test_a_machine_without_the_files_is_sent_them_once(files, tmp_path, machines, monkeypatch):  # noqa: F811
    ray = machines([1, 1])
    monkeypatch.setattr(Node, "has", lambda self: (False, False))
    own_waits(monkeypatch, lambda: {(0, "open"), (1, "open")} <= set(ray.called) and (0, "drop") in ray.called)
    render(files, tmp_path / "ray.mkv", ON_RAY)
    assert [v.size for v in ray.stored[1:]] == [files[0].stat().st_size, files[1].stat().st_size]
    render(files, tmp_path / "here.mkv")
    assert same(tmp_path / "ray.mkv", tmp_path / "here.mkv")


@pytest.mark.parametrize("when", ["has", "open", "render", "read"])
def test_a_cluster_that_is_lost_altogether_costs_nothing(files, tmp_path, machines, monkeypatch, when):  # noqa: F811
    def meets(number: int, method: str) -> None:
        if method == when or number:  # the actor that replaces it never gets ready
            raise Lost

    ray = machines([1], meets)
    own_waits(monkeypatch, lambda: (0, when) in ray.called)
    made = render(files, tmp_path / "ray.mkv", ON_RAY)
    assert made.frames == FRAMES and any("machines of the cluster were lost" in n for n in made.notes)
    render(files, tmp_path / "here.mkv")
    assert same(tmp_path / "ray.mkv", tmp_path / "here.mkv")


def test_work_under_which_machines_are_lost_again_and_again_is_not_tried_for_ever(
    files, tmp_path, machines, monkeypatch  # noqa: F811
):  # fmt: skip
    lost = []

    def meets(number: int, method: str) -> None:
        if method == "render":
            lost.append(number)
            raise Lost

    machines([1], meets)
    own_waits(monkeypatch, lambda: len(lost) > pool.RETRIES)
    with pytest.raises(FarmError, match="lost 4 times under the same work"):
        render(files, tmp_path / "ray.mkv", ON_RAY)
    assert lost == [0, 1, 2, 3]
    assert render(files, tmp_path / "ray.mkv").continued >= 16


def test_what_this_process_refuses_ends_the_run(files, tmp_path, machines):  # noqa: F811
    def interrupt(done: int, total: int) -> None:
        if done > 16:
            raise KeyboardInterrupt

    machines([1], answers=threading.Event())
    with pytest.raises(KeyboardInterrupt):
        render(files, tmp_path / "ray.mkv", ON_RAY, progress=interrupt)
    assert not [t for t in threading.enumerate() if t.name == "own"]
    assert render(files, tmp_path / "ray.mkv").continued == 16


def test_what_a_machine_refuses_ends_the_run(files, tmp_path, machines, monkeypatch):  # noqa: F811
    ray = machines([1])

    class Task(Lost):
        cause = FarmError("other versions there")

    ray.meets = lambda number, method: (_ for _ in ()).throw(Task()) if method == "open" else None
    own_waits(monkeypatch, lambda: (0, "close") in ray.called)
    with pytest.raises(FarmError, match="other versions there"):
        render(files, tmp_path / "ray.mkv", ON_RAY)


def test_this_machine_is_told_from_others():
    here = {"NodeManagerHostname": socket.gethostname(), "NodeManagerAddress": "127.0.0.1"}
    assert cluster.is_here(here)
    assert not cluster.is_here(here | {"NodeManagerHostname": "another"})
    assert not cluster.is_here(here | {"NodeManagerAddress": "192.0.2.77"})


def test_leaving_does_not_wait_for_a_cluster_that_does_not_answer(machines):
    answers, left = threading.Event(), []

    @contextlib.contextmanager
    def connected(address):
        answers.wait(60)
        yield None
        left.append(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "connected", connected)
        with cluster.Cluster("ray://fake:1"):
            pass
        assert left == []
        answers.set()
        end = time.monotonic() + 60
        while not left and time.monotonic() < end:
            time.sleep(0.01)
    assert left == ["ray://fake:1"]  # disconnected by who was still connecting


@pytest.mark.slow
def test_ray_gives_the_same_bits_even_when_a_worker_is_killed(files, tmp_path, monkeypatch):  # noqa: F811
    ray = pytest.importorskip("ray")
    monkeypatch.setattr("digidouble.farm.segments.SEGMENT_FRAMES", 48)  # as it is in the workers' own processes
    render(files, tmp_path / "here.mp4")
    killed = []
    start = pool.Pool.start

    def start_and_kill(self) -> None:
        start(self)
        pid = ray.get(self._machines[0].actor.do.remote("pid"))
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    monkeypatch.setattr(pool.Pool, "start", start_and_kill)
    monkeypatch.setattr(cluster, "is_here", lambda node: False)  # or this process would be in the actor's place
    own_waits(monkeypatch, lambda: bool(killed), 0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        made = render(files, tmp_path / "ray.mp4", RenderSettings(workers="ray://local"))
    finally:
        ray.shutdown()
    assert killed and made.frames == 44
    assert same(tmp_path / "ray.mp4", tmp_path / "here.mp4")
    assert not segments_folder(tmp_path / "ray.mp4").exists()
