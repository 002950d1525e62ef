"""The identity recipe: invented people, honest scores, a student that learns, stops and goes on."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import recipes

from digidouble.perception.identity import IdentityEmbedder
from digidouble.perception.session import Session


def load(*names: str) -> list[ModuleType]:
    """Modules of training/identity."""
    return recipes.load("identity", *names)


def with_torch(*names: str) -> list[ModuleType]:
    """The same, skipped without torch."""
    pytest.importorskip("torch", reason="the training recipe needs torch")
    return load(*names)


def grid_points() -> np.ndarray:
    """478 points spread over the face's part of the crop."""
    x, y = np.meshgrid(np.linspace(40, 120, 22), np.linspace(45, 140, 22))
    return np.stack([x.ravel(), y.ravel()], 1)[:478].astype(np.float32)


def pack_file(path: Path, people: int = 4, each: int = 3) -> Path:
    """Random faces; every person has one vector with a little noise, and the last two people are validation and test."""
    rng = np.random.default_rng(0)
    n = people * each
    person = np.repeat([f"p{k}" for k in range(people)], each)
    split = np.repeat([*["train"] * (people - 2), "val", "test"], each)
    base = np.repeat(rng.standard_normal((people, 128)), each, 0) + 0.05 * rng.standard_normal((n, 128))
    points = np.repeat(grid_points()[None], n, 0) + rng.normal(0, 1, (n, 478, 2)).astype(np.float32)
    np.savez(
        path, crops=rng.integers(0, 255, (n, 160, 160, 3), np.uint8), points=points.astype(np.float16), person=person, split=split,
        teacher=(base / np.linalg.norm(base, axis=1, keepdims=True)).astype(np.float32), source=person,
    )  # fmt: skip
    return path


def test_a_bent_face_has_its_points_where_they_were_sent() -> None:
    (faces,) = load("faces")
    points = grid_points()
    goal = points + np.array([5.0, -3.0], np.float32)
    picture = np.zeros((160, 160, 3), np.uint8)
    picture[78:83, 78:83] = 255
    moved = faces.bent(picture, points, goal).astype(float)[..., 0]
    y, x = np.mgrid[:160, :160]
    centre = np.array([(x * moved).sum(), (y * moved).sum()]) / moved.sum()
    assert np.abs(centre - [85, 77]).max() < 0.7
    assert np.array_equal(faces.bent(picture, points, points), picture)
    corner = picture.copy()
    corner[0:3, 0:3] = 255  # far from the face nothing moves
    assert faces.bent(corner, points, goal)[0:3, 0:3].min() == 255


def test_parts_add_up_and_lie_where_features_are() -> None:
    (faces,) = load("faces")
    at = np.array([[62.0, 77], [98, 77], [80, 92], [80, 117], [10, 10]])
    weight = faces._part_weights(at)
    assert np.allclose(weight.sum(1), 1, atol=1e-6)
    assert weight[0].argmax() == weight[1].argmax() == 1 and weight[2].argmax() == 3 and weight[3].argmax() == 4
    assert weight[4, 0] > 0.99


def test_invented_people_are_neither_of_the_pack_nor_alike(tmp_path: Path) -> None:
    (faces,) = load("faces")
    pack = faces.Pack.read(pack_file(tmp_path / "faces.npz", people=6), "train")
    calls: list[int] = []

    def teacher(crops: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        return np.ones((len(crops), 128), np.float32)

    crops, vectors = faces.pool(pack, teacher, 5, seed=1)
    assert crops.shape == (5, 160, 160, 3) and crops.dtype == np.uint8 and vectors.shape == (5, 128) and sum(calls) == 5
    assert len({c.tobytes() for c in (*crops, *pack.crops)}) == 5 + len(pack)
    again, _ = faces.pool(pack, teacher, 5, seed=1)
    assert np.array_equal(crops, again)


def test_degraded_faces_repeat_with_their_seed() -> None:
    (faces,) = load("faces")
    crop = np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8)
    first, second = (faces.degraded(crop, np.random.default_rng(5)) for _ in range(2))
    assert first.shape == (112, 112, 3) and first.dtype == np.uint8 and np.array_equal(first, second)
    several = [faces.degraded(crop, np.random.default_rng(k)) for k in range(30)]
    assert len({c.tobytes() for c in several}) == 30


def test_retrieval_scores_what_it_should() -> None:
    """Truth known: people on axes of their own are always found; a crowd of copies always draws the answer away; noise is chance."""
    (evaluate,) = load("evaluate")
    person = np.repeat(["a", "b", "c", "d"], 6)
    own = np.repeat(np.eye(4, 16), 6, 0).astype(np.float32)
    nobody = np.zeros((0, 16), np.float32)
    assert evaluate.top1(own, own, person, nobody) == (1.0, 1.0)
    assert evaluate.top1(own, own, person, 2 * own[:1]) == (1.0, 0.75)  # "a" is always taken for the copy
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4000, 16)).astype(np.float32)
    many = np.repeat(["a", "b", "c", "d"], 1000)
    assert evaluate.top1(noise, noise, many, nobody)[0] == pytest.approx(0.25, abs=0.03)


def test_errors_meet_where_they_should() -> None:
    (evaluate,) = load("evaluate")
    person = np.repeat(["a", "b"], 5)
    apart = np.repeat(np.eye(2, 8), 5, 0).astype(np.float32)
    found = evaluate.pairs(apart, person)
    assert found["eer"] == 0 and found["same_mean"] == 1 and found["other_mean"] == 0
    assert evaluate.pairs(np.ones((10, 8), np.float32) / np.sqrt(8), person)["eer"] == pytest.approx(0.5, abs=0.01)


def test_one_person_under_two_names_stays_out_of_training() -> None:
    (collect,) = load("collect")
    one, two = np.eye(128, dtype=np.float32)[:2]
    faces = collect.Faces(person=["x", "y", "z"], split=["train", "test", "train"], teacher=[one, one, two])
    person, split = collect.merged(faces)
    assert person[0] == person[1] != person[2] and split == ["test", "test", "train"]


def test_the_student_keeps_the_teachers_contract(tmp_path: Path) -> None:
    model, train = with_torch("model", "train")
    net = model.IdentityNet()
    assert model.parameters(net) <= 2_000_000
    train.export(net, tmp_path / "identity.onnx")
    crops = np.random.default_rng(0).integers(0, 255, (3, 112, 112, 3), np.uint8)
    vectors = IdentityEmbedder(runner=Session(tmp_path / "identity.onnx")).embed_crops(crops)
    assert vectors.shape == (3, 128) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    import torch

    with torch.no_grad():
        own = net.eval()(torch.from_numpy(crops).permute(0, 3, 1, 2).float()).numpy()
    assert np.allclose(own / np.linalg.norm(own, axis=1, keepdims=True), vectors, atol=1e-4)


def test_the_student_can_learn(tmp_path: Path) -> None:
    """Overfit: eight faces, clean, by heart."""
    model, train = with_torch("model", "train")
    import torch

    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.integers(0, 255, (8, 3, 112, 112)).astype(np.float32))
    goal = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((8, 128)).astype(np.float32)), dim=1)
    torch.manual_seed(0)
    net = model.IdentityNet(model.Size(stem=(8, 16, 24, 32), blocks=2, heads=2))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(60):
        loss = train.loss_of(net(crops), goal, 2.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.15


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    import dataclasses

    (train,) = with_torch("train")
    faces = pack_file(tmp_path / "faces.npz", people=5)
    learn, held = (train.Pack.read(faces, s) for s in ("train", "val"))
    made = (learn.crops, learn.teacher)
    first = dataclasses.replace(train.CONFIGS["smoke"], batch=4, every=1, steps=2)
    train.train(first, learn, held, made, tmp_path)
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    train.train(dataclasses.replace(first, steps=3), learn, held, made, tmp_path)
    more = (tmp_path / "curve.csv").read_text().splitlines()
    assert more[: len(rows)] == rows and len(more) == len(rows) + 1 and more[-1].startswith("3,")
    state = (tmp_path / "state.pt").read_bytes()
    train.train(dataclasses.replace(first, steps=3), learn, held, made, tmp_path)  # finished: nothing is left to do
    assert (tmp_path / "state.pt").read_bytes() == state and (tmp_path / "curve.csv").read_text().splitlines() == more


def test_invented_people_are_kept_for_just_these_faces_seed_and_number(tmp_path: Path) -> None:
    import dataclasses

    (train,) = with_torch("train")
    learn = train.Pack.read(pack_file(tmp_path / "a.npz", people=5), "train")
    other = train.Pack.read(pack_file(tmp_path / "b.npz", people=6), "train")
    s = train.CONFIGS["smoke"]
    kept = train.pool_path(learn, s, tmp_path)
    assert kept == train.pool_path(learn, dataclasses.replace(s, minutes=9.0), tmp_path)
    more = [(learn, dataclasses.replace(s, seed=2)), (learn, dataclasses.replace(s, invented=17)), (other, s)]
    assert len({kept, *(train.pool_path(pack, t, tmp_path) for pack, t in more)}) == 4
