"""Ray: the same bits as on this machine, a lost worker costs nothing, and what is missing is said."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from test_segments import UNMARKED, files, render, same, segments_folder, short_segments  # noqa: F401

from digidouble.errors import FarmError, SettingsError
from digidouble.farm import RenderSettings, cluster, pool, render_shot
from digidouble.farm.node import Job, Node, job_of, packed
from digidouble.farm.segments import Place, SegmentStore
from digidouble.farm.settings import RAY
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


def test_a_node_renders_what_this_machine_renders_and_refuses_other_versions(files, tmp_path, monkeypatch):  # noqa: F811
    plate, perf, persona = files
    seen = {}
    monkeypatch.setattr("digidouble.farm.node.PART_BYTES", 4096)
    monkeypatch.setattr(
        cluster,
        "render_on_cluster",
        lambda store, assets, *a: seen.update(store=store, plate=assets[0]) or (_ for _ in ()).throw(KeyError),
    )
    with pytest.raises(KeyError):
        render(files, tmp_path / "a.mp4", RenderSettings(workers="ray://local"))
    store: SegmentStore = seen["store"]
    job = Job(store.plan, RenderSettings(workers=2), store.facts, seen["plate"].settings)
    for shipped in (False, True):
        node = Node(job, packed(perf), {"main": load_persona(persona)}, 2)
        assert node.has_plate()
        node.open(packed(plate) if shipped else None)
        seconds = node.render(store.segments[1:])
        assert seconds["draw"] > 0
        again = SegmentStore(Place.beside(replace(store.plan, out=tmp_path / "b.mp4"), None), store.facts)
        for segment in store.segments[1:]:
            again.receive(segment, partial(in_parts, node, segment))
            node.drop(segment)
        again.close(finished=False)
        node.close()
    assert render(files, tmp_path / "b.mp4").continued == 28  # what the node rendered is believed and taken over
    render(files, tmp_path / "c.mp4")
    assert same(tmp_path / "b.mp4", tmp_path / "c.mp4")
    other = Node(
        replace(job, facts=store.facts | {"versions": {"numpy": "0"}}), packed(perf), {"main": load_persona(persona)}, 1
    )
    with pytest.raises(FarmError, match="versions differ"):
        other.open(None)
    other.close()


def test_a_node_is_told_what_hair_looks_like(files, tmp_path, monkeypatch):  # noqa: F811
    """It learns nothing itself, writes the passes this machine writes, and refuses where it was not told."""
    _, perf, persona = files
    look = HairLook(np.full(CELLS, 255, np.uint8), np.full(3, 0.5, np.float32))
    monkeypatch.setattr("digidouble.pipeline.hair_look", lambda views: look)
    told: dict = {}

    class Told(Exception):
        pass

    def telling(*of) -> None:
        told["job"] = job_of(*of)
        raise Told

    monkeypatch.setattr(cluster, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(cluster, "packed", lambda path: path)
    monkeypatch.setattr(cluster, "job_of", telling)
    settings = RenderSettings(passes=tmp_path / "p", frame_range=FrameRange(0, 2))
    with pytest.raises(Told):
        render(files, tmp_path / "a.mp4", replace(settings, workers="ray://local"))
    job: Job = told["job"]
    assert job.hair[1].sha256 == look.sha256
    monkeypatch.setattr("digidouble.pipeline.hair_look", None)
    node = Node(job, packed(perf), {"main": load_persona(persona)}, 1)
    node.open(None)
    node.render([FrameRange(0, 2)])
    there = node.read(FrameRange(0, 2), "passes/a.0000.exr", 0)
    node.close()
    ignorant = Node(replace(job, hair={}), packed(perf), {"main": load_persona(persona)}, 1)
    with pytest.raises(FarmError, match="passes differ"):
        ignorant.open(None)
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


@pytest.mark.slow
def test_ray_gives_the_same_bits_even_when_a_worker_is_killed(files, tmp_path, monkeypatch):  # noqa: F811
    ray = pytest.importorskip("ray")
    monkeypatch.setattr("digidouble.farm.segments.SEGMENT_FRAMES", 48)  # as it is in the workers' own processes
    render(files, tmp_path / "here.mp4")
    killed = []
    start = pool.Pool.start

    def start_and_kill(self, meanwhile) -> None:
        start(self, meanwhile)
        pid = ray.get(self._machines[0].actor.pid.remote())
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    monkeypatch.setattr(pool.Pool, "start", start_and_kill)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        made = render(files, tmp_path / "ray.mp4", RenderSettings(workers="ray://local"))
    finally:
        ray.shutdown()
    assert killed and made.frames == 44
    assert same(tmp_path / "ray.mp4", tmp_path / "here.mp4")
    assert not segments_folder(tmp_path / "ray.mp4").exists()
