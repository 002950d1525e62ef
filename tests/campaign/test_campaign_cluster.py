"""A campaign on a cluster: the same pixels as on this machine, and a machine that is killed costs nothing."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_campaign_run import HELLO, decoded, half_written

from digidouble.campaign import cluster, run_campaign
from digidouble.campaign.node import PassNode, PlateFacts
from digidouble.campaign.onepass import Job
from digidouble.deliver.log import read_log
from digidouble.deliver.overlay import TextOverlay
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.writer import open_writer
from digidouble.errors import FarmError, SettingsError
from digidouble.farm import pool
from digidouble.farm.node import packed
from digidouble.farm.segments import versions
from digidouble.footage import FootageSettings, open_footage
from digidouble.performance import load_performance
from digidouble.persona import load_persona
from digidouble.render import LookSettings
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange

WAIVED = DeliverySettings(quality="draft", visible_label=False, label_waiver_reason="x", crf=0)


def facts_of(shot: Shot, perf: Path, versions: dict) -> PlateFacts:
    of = perf, load_performance(perf).sha256, FrameRange(0, 10), FootageSettings(), LookSettings(), "advertising"
    return PlateFacts(shot, *of, versions)


@pytest.fixture
def node(car):
    """A machine with the plate sent to it, as on a cluster without a shared disk."""
    with open_footage(car / "car.mp4") as footage:
        shot = footage.shot
    facts = facts_of(shot, car / "car.perf", versions())
    made = PassNode(facts, 2)
    assert made.has() == (True, True)
    made.open(packed(car / "car.mp4"), packed(car / "car.perf"))
    yield made
    made.close()


def test_a_machine_renders_variants_into_segments_and_tells_of_those_that_fail(node, people, car, tmp_path):
    persona = load_persona(people / "b.persona")
    cast = (("main", "b"),)
    jobs = [
        Job("one", cast, (), tmp_path / "one.mp4", WAIVED, ()),
        Job("none", (("9", "b"),), (), tmp_path / "none.mp4", WAIVED, ()),
        Job("still", cast, (TextOverlay("Hi"),), tmp_path / "still.mkv", WAIVED),
    ]
    made, seconds = node.render(jobs, ["b"], persona)
    assert [(m.variant_id, bool(m.plan)) for m in made] == [("one", True), ("none", False), ("still", True)]
    assert "no track '9'" in made[1].error and made[1].final and seconds > 0 and list(tmp_path.iterdir()) == []
    assert made[0].plan and made[0].gate["decision"] == "passed" and made[0].thumb is not None
    segment = tmp_path / "one.segment"
    segment.write_bytes(node.read("one", 0))
    assert node.read("one", segment.stat().st_size) == b""
    with open_writer(tmp_path / "one.mp4", made[0].plan.shot, made[0].plan.settings) as writer:
        writer.adopt(segment, FrameRange(0, 10))
    with open_footage(tmp_path / "one.mp4") as footage:
        assert len(list(footage.frames())) == 10
    node.drop("one")
    with pytest.raises(FileNotFoundError):
        node.read("one", 0)


def test_other_versions_refuse(car):
    with open_footage(car / "car.mp4") as footage:
        facts = facts_of(footage.shot, car / "car.perf", {})
    node = PassNode(facts, 1)
    with pytest.raises(FarmError, match="versions"):
        node.open(None, None)
    node.close()
    other = PassNode(replace(facts, versions=versions(), performance_sha256="0" * 64), 1)
    assert other.has() == (True, False)
    with pytest.raises(FarmError, match="performance"):
        other.open(None, packed(car / "car.perf"))
    other.close()


def test_addresses_that_are_none_are_refused_before_anything_is_done(campaign, tmp_path):
    with pytest.raises(SettingsError, match="ray://HOST:PORT"):
        run_campaign(campaign(), tmp_path / "out", workers="ray:h")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ray_makes_the_same_pixels_even_when_a_machine_is_killed(campaign, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    lossless = HELLO | {"{id}.mp4": "{id}.mkv"}
    file = campaign(swaps=lossless)
    assert run_campaign(file, tmp_path / "here").ok
    killed = []
    start = pool.Pool.start

    def start_and_kill(self) -> None:
        start(self)
        pid = ray.get(self._machines[0].actor.do.remote("pid"))
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    class Clean:
        def run(self, inputs):
            import numpy as np

            return {"scores": np.array([[0.99, 0.01]], np.float32)}

    class Node(PassNode):
        """Without the gate's network, which tests do not load."""

        def open(self, plate, performance):
            from digidouble.campaign import node
            from digidouble.perception.content import ContentGate

            node.default_gate = lambda: ContentGate(runner=Clean())
            super().open(plate, performance)

    monkeypatch.setattr(cluster, "PassNode", Node)
    monkeypatch.setattr(pool.Pool, "start", start_and_kill)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        made = run_campaign(file, tmp_path / "ray", workers="ray://local")
    finally:
        ray.shutdown()
    assert killed and made.ok and [r.status for r in made.rows] == ["rendered"] * 4
    assert pixels(tmp_path / "ray") == pixels(tmp_path / "here") and not half_written(tmp_path / "ray")
    assert not (tmp_path / "ray" / "variants" / ".incoming").exists()
    for log in (tmp_path / "ray" / "variants").glob("*.delivery.json"):
        assert all(r["content_gate"]["decision"] == "passed" for r in read_log(log))


def pixels(out: Path) -> dict[str, str]:
    found = decoded(out, "*.mkv")
    assert len(found) == 4
    return found
