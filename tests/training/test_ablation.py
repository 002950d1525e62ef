"""The ablation's own parts: a network that answers nothing changes nothing, one that answers is drawn, and the table averages."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import recipes

from digidouble.performance import load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.refine.fusion import Fusion, FusionAnswer, FusionKey
from digidouble.render import LookSettings
from digidouble.schema.colour import rgb8_from_frame


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return recipes.load("ablation", "run")[0]


class Answers:
    """Gain and flow the same everywhere."""

    def __init__(self, gain: float = 0.0, flow: float = 0.0) -> None:
        self.gain, self.flow = gain, flow

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs["keys"].shape[2:] == (7, 128, 128) and inputs["dynamic"].shape == (1, 7, 128, 128)
        assert inputs["facts"].shape == (1, 28)
        stripes = np.where(np.arange(128) // 4 % 2 == 0, 1.0, -1.0) * self.gain  # a flat gain is light, and taken out
        return {
            "gain": np.broadcast_to(stripes, (1, 3, 128, 128)).astype(np.float32),
            "flow": np.full((1, 2, 128, 128), self.flow, np.float32),
            "bias": np.zeros((1, 3, 128, 128), np.float32),
        }


def drawn(run: ModuleType, talk, talk_perf, persona, fusion: Fusion | None) -> np.ndarray:
    look = LookSettings(wrinkles=0.0)
    plan = prepare(load_performance(talk_perf), {"main": persona}, look)[0].plan
    with talk.footage() as footage:
        frame = footage.frame(3)
    return rgb8_from_frame(render_frame([run.FusedCast(plan, look, fusion)], frame)[0]).astype(float)


def test_fusion_is_drawn(run, talk, talk_perf, persona_b):
    plain = drawn(run, talk, talk_perf, persona_b, None)
    nothing = drawn(run, talk, talk_perf, persona_b, Fusion(runner=Answers()))
    striped = drawn(run, talk, talk_perf, persona_b, Fusion(runner=Answers(gain=0.3)))
    assert np.abs(nothing - plain).max() <= 1
    assert np.abs(striped - plain).max() > 8


def test_the_answer_is_applied_in_texels_of_any_atlas(run):
    rng = np.random.default_rng(0)
    atlas = rng.uniform(0.1, 0.5, (256, 256, 3)).astype(np.float32)
    key = FusionKey(np.full((128, 128, 3), 0.5, np.float32), np.ones((128, 128), np.float32), np.zeros((478, 3)))
    flow = np.zeros((128, 128, 2), np.float32)
    flow[..., 0] = 2.0  # of 128 texels: four of 256
    answer = FusionAnswer(np.zeros((128, 128, 3), np.float32), flow, np.zeros((128, 128, 3), np.float32))
    out = run.applied(atlas, key, answer)
    assert np.allclose(out[20:200, 20:200], atlas[20:200, 24:204], atol=2e-3)


def test_a_persona_is_made_of_this_runs_pictures_only(run, talk, tmp_path, monkeypatch):
    """Pictures that another run left in the folder are gone."""
    shop = SimpleNamespace(folder=tmp_path, capture_movie=lambda name: name)
    monkeypatch.setattr(run, "open_footage", lambda movie: talk.footage())
    monkeypatch.setattr(run, "capture", lambda folders, consent: sorted(p.name for p in folders[0].iterdir()))
    monkeypatch.setattr(run, "build_persona", lambda found, name: found)
    left = tmp_path / "sources" / "a-0.4" / "9999.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another run")
    found = run.persona_at(shop, "a", 0.4)
    assert len(found) == run.LOOKS and "9999.png" not in found


def test_the_table_holds_means_over_pairs(run):
    numbers = dict.fromkeys(("identity", "margin", "r", "detail", "flicker", "flicker_full"), 0.25) | {"ms": 10.0}
    text = run.table({"a": {"product": numbers}, "b": {"product": dict.fromkeys(numbers, 0.75) | {"ms": 30.0}}})
    assert text.splitlines()[-1] == "| product | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 20 |"


def test_pictures_are_kept_of_the_same_frames_and_boxes_for_every_row(run, tmp_path):
    """A face box of 40 by 60 px whose centre moves by 3 px a frame; 0.7 of its longer side to every side, cut at the picture's rim."""
    count = 20
    done = [np.full((100, 165, 3), k, np.uint8) for k in range(count)]
    for k, picture in enumerate(done):
        picture[50, 100 + 3 * k - 30] = (255, 0, 0)
    centre = 100 + 3 * np.arange(count) - 30.0
    watched = SimpleNamespace(box=lambda k: (centre[k] - 20, 20.0, centre[k] + 20, 80.0))
    run.save_pictures(tmp_path / "row", "a-b", done, watched)
    names = sorted(p.name for p in (tmp_path / "row").iterdir())
    assert len(names) == run.PICTURES and names[0] == "a-b-0000.png" and names[-1] == "a-b-0019.png"
    for name in names:
        kept, k = cv2.imread(str(tmp_path / "row" / name)), int(name[4:8])
        assert kept.shape == (84, min(84, 165 - (28 + 3 * k)), 3)
        assert kept[42, 42].tolist() == [0, 0, 255], "its middle is the face's, red stays red"
        assert kept[0, 0].tolist() == [k] * 3
