"""The training packs' recipe: people stay in one split, and the frames chosen are the diverse ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from recipes import load

ROOT = Path(__file__).parents[2]


people, build = load("data", "people", "build")


def test_every_person_is_in_one_split_and_every_clip_may_be_trained_on() -> None:
    splits: dict[str, set[str]] = {}
    for clip in people.CLIPS:
        splits.setdefault(clip.person, set()).add(clip.split)
        assert clip.licence.startswith(("MIT", "Apache-2.0", "BSD", "CC-BY")), clip
        assert "reference" not in clip.file
    assert all(len(s) == 1 for s in splits.values())
    assert {s for v in splits.values() for s in v} == {"train", "val", "test"}
    assert len({c.file for c in people.CLIPS}) == len(people.CLIPS)


@dataclass
class Track:
    """What `chosen_frames` reads of a track."""

    presence: np.ndarray
    score: np.ndarray
    px_per_cm: np.ndarray
    neutral_cm: np.ndarray
    sharpness: np.ndarray
    rotation: np.ndarray
    actions: np.ndarray
    gaze_deg: np.ndarray


def track(n: int = 60) -> Track:
    neutral = np.zeros((478, 3))
    neutral[1, 0] = 14.0
    rotation = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
    return Track(
        np.ones(n),
        np.ones(n),
        np.full(n, 12.0),
        neutral,
        np.full(n, 0.4),
        rotation,
        np.zeros((n, 26)),
        np.zeros((n, 2)),
    )


def test_frames_are_diverse_and_the_relaxed_one_comes_first() -> None:
    t = track()
    t.actions += 0.05
    t.actions[17] = 0
    for k, row in enumerate((5, 30, 44)):
        t.actions[row, k] = 1.0
    chosen = build.chosen_frames(t, 4)
    assert chosen[0] == 17
    assert set(chosen[1:]) == {5, 30, 44}


@pytest.mark.parametrize(
    ("name", "value"), [("presence", 0.5), ("score", 0.3), ("px_per_cm", 3.0), ("sharpness", 0.05)]
)
def test_bad_frames_are_left_out(name: str, value: float) -> None:
    t = track()
    t.actions[8, 0] = 1.0
    getattr(t, name)[8] = value
    assert 8 not in build.chosen_frames(t, 20)
    assert build.chosen_frames(t, 20)


def test_a_pack_reads_back_without_pickle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(rng.random((64, 64, 3)), (0, 0), 6) for _ in range(3)]
    pictures = [np.round(255 * (p - p.min()) / np.ptp(p)).astype(np.uint8) for p in pictures]
    pack = build.Pack()
    for k, p in enumerate(pictures):
        pack.add(p, 95, person=f"p{k}", number=k, seen=np.full((4, 4), k, np.uint8))
    pack.write(tmp_path / "x.npz", {"seed": 9}, beside=np.arange(5))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        z = dict(file)
    text = json.loads(z["text"].tobytes())
    assert text["person"] == ["p0", "p1", "p2"]
    assert text["about"] == {"seed": 9}
    assert z["number"].tolist() == [0, 1, 2]
    assert z["seen"].shape == (3, 4, 4)
    assert z["beside"].tolist() == [0, 1, 2, 3, 4]
    starts = np.r_[0, z["ends"][:-1]]
    for a, b, p in zip(starts, z["ends"], pictures, strict=True):
        back = cv2.imdecode(z["pictures"][a:b], cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(back.astype(int) - p).mean() < 3
