"""The linear basis against closed forms written another way, and against a made world whose law is known; attention against known maps."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import recipes

torch = pytest.importorskip("torch", reason="the training recipe needs torch")


@pytest.fixture(scope="module")
def recipe() -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(("basis", "pack", "evaluate"), recipes.load("fusion", "basis", "pack", "evaluate"), strict=True)))  # fmt: skip


def material(basis: ModuleType, people: int = 4, each: int = 6):
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(people * each, 3, 16, 16, generator=generator)
    return basis.Material.of(moved, np.repeat(np.arange(people), each)), generator


def test_ridge_is_least_squares_with_a_price_and_leaves_people_out(recipe) -> None:
    m, generator = material(recipe.basis)
    x, y = torch.randn(48, 5, generator=generator), torch.randn(48, 7, generator=generator)
    ridge = recipe.basis.Ridge.of(x, y, m)

    def least_squares(rows: np.ndarray) -> np.ndarray:
        root = np.sqrt(m.weight.numpy()[rows])[:, None]
        a = np.r_[root * x.numpy()[rows], np.sqrt(2.0) * np.eye(5)]
        return np.linalg.lstsq(a, np.r_[root * y.numpy()[rows], np.zeros((5, 7))], rcond=None)[0]

    assert np.allclose(ridge.solved(2.0), least_squares(np.arange(48)), atol=1e-4)
    left = whole = 0.0
    for p in range(4):
        out = np.flatnonzero(m.person == p)
        w = m.weight.numpy()[out, None]
        left += (w * (y.numpy()[out] - x.numpy()[out] @ least_squares(np.flatnonzero(m.person != p))) ** 2).sum()
        whole += (w * y.numpy()[out] ** 2).sum()
    assert ridge.explained(2.0) == pytest.approx(1 - left / whole, abs=1e-4)
    assert ridge.explained(2.0) < 0, "noise cannot be predicted"
    assert ridge.best((2.0, 1e9))[0] == 1e9


def test_components_are_of_mean_square_one_and_the_strongest_comes_first(recipe) -> None:
    m, generator = material(recipe.basis)
    mode = torch.randn(1, 3, 16, 16, generator=generator)
    mode = mode - recipe.basis.mirrored(mode, (-1, 1, 1))
    m.change[:] = 0.02 * m.change + 3 * torch.randn(48, 1, 1, 1, generator=generator) * mode
    parts = recipe.basis.components_of(m, rank=4)
    assert (m.change.flatten(1) @ parts).square().mean().item() == pytest.approx(1, abs=1e-3)
    first = parts[:, 0] / parts[:, 0].norm()
    assert abs(float(first @ mode.flatten() / mode.norm())) > 0.99


def made_world(recipe, people: int = 5, frames: int = 8):
    """Everybody creases alike when the mouth's corner moves: a dark line, as deep as the movement; skins differ."""
    generator = torch.Generator().manual_seed(1)
    n = people * frames
    told = torch.linspace(0, 1, frames).repeat(people).view(n, 1, 1, 1)
    zone = torch.zeros(1, 3, 128, 128)
    zone[:, 1, 70:100, 20:60] = 0.6
    line = torch.zeros(1, 3, 128, 128)
    line[..., 48:56, 24:60] = -0.4
    skin = recipe.pack.blurred(torch.rand(people, 3, 128, 128, generator=generator), 1.5).clamp(0.3, 0.7)
    skin = skin.repeat_interleave(frames, 0)
    keys = torch.cat([skin, torch.ones(n, 1, 128, 128), torch.zeros(n, 3, 128, 128)], 1)[:, None]
    dynamic = torch.cat([zone * told, torch.zeros(n, 7, 128, 128)], 1)
    target = skin * torch.exp(line * told)
    rows = torch.arange(n)

    def composed(_pack: object, which):
        one = torch.ones(len(which), 1, 128, 128)
        told = dynamic[which]
        return recipe.pack.Batch(keys[which], told, torch.zeros(len(which), 28), target[which], one, one, told[:, :3])

    pack = SimpleNamespace(split={"train": rows[: n - frames]}, person=torch.arange(people).repeat_interleave(frames))
    return pack, composed, rows[n - frames :], line


def test_a_common_crease_is_learnt_and_given_to_a_new_person(recipe, monkeypatch) -> None:
    pack, composed, unseen, line = made_world(recipe)
    monkeypatch.setattr(recipe.basis, "composed", composed)
    monkeypatch.setattr(recipe.basis.Ridge.best, "__defaults__", ((0.1, 1.0),))
    net, price = recipe.basis.fit(pack, every=1)
    assert price["gain"][1] > 0.8
    b = composed(pack, unseen)
    with torch.no_grad():
        gain, flow, bias = net(b.keys, b.dynamic, b.facts)
    crease = (slice(None), slice(None), slice(49, 55), slice(28, 56))
    assert float(gain[0].abs().max()) < 1e-6, "who does not move does not crease"
    assert float(gain[-1:][crease].mean()) == pytest.approx(float(line[crease].mean()), abs=0.15)
    assert float(gain[4:5][crease].mean()) == pytest.approx(4 / 7 * float(gain[-1:][crease].mean()), rel=0.02)
    assert float(gain[-1, :, 100:120, 20:100].abs().max()) < 0.1
    assert float(bias.abs().max()) == 0 and float(flow.abs().max()) < 1.5


def test_a_persons_own_moments_say_what_the_left_out_ones_do(recipe, monkeypatch) -> None:
    """Where creases follow the mesh by a law, the law fitted on three quarters gives the fourth; the nearest frame is near."""
    pack, composed, unseen, _line = made_world(recipe, people=3, frames=16)
    monkeypatch.setattr(recipe.basis, "composed", composed)
    monkeypatch.setattr(
        recipe.basis, "flow_between", lambda b: torch.zeros(len(b.target), 2, 64, 64)
    )  # nothing moves here
    monkeypatch.setattr(recipe.basis, "OWN_PRICE", 0.01)
    monkeypatch.setattr(recipe.basis.Ridge.best, "__defaults__", ((0.1, 1.0),))
    net, _price = recipe.basis.fit(pack, every=1)
    pack.clip, pack.number = pack.person, torch.arange(48)
    pack.split["test"], pack.opening = unseen, torch.zeros(1, 1, 128, 128)
    pack.trials = lambda split, count: (pack.split[split][-4:], None)
    b = composed(pack, unseen[-4:])
    key = float(recipe.evaluate.scores(b, b.keys[:, 0, :3], pack.opening)["psnr"].mean())
    found = recipe.basis.own_scores(pack, net, "test")
    assert found["basis"]["psnr"] > key + 1.5, "the line's edges lie between texels of 64"
    assert found["nearest"]["psnr"] > key + 1
    assert found["basis"]["psnr"] != found["nearest"]["psnr"]
    # The stretch itself is left out: the nearest of the last four is the last of the first twelve.
    last = composed(pack, unseen[11:12])
    again = recipe.evaluate.scores(b, last.target.expand(4, -1, -1, -1), pack.opening)["psnr"]
    assert found["nearest"]["psnr"] == pytest.approx(float(again.mean()), abs=1e-4)


def test_attention_is_counted_on_the_right_keys(recipe) -> None:
    opening, covered = torch.zeros(1, 1, 128, 128), torch.ones(1, 1, 128, 128)
    opening[..., 88:96, 56:72] = 1  # a mouth of two patches, and one eye
    opening[..., 40:48, 40:48] = 1
    covered[..., :8] = 0
    place = recipe.evaluate.regions(SimpleNamespace(opening=opening, covered=covered))
    count = [int((place == k).sum()) for k in range(3)]
    assert count == [3 * 4, 3 * 3, 256 - 16 - 12 - 9]
    own = recipe.evaluate.region_mass(torch.eye(256)[None, None], place)
    blind = recipe.evaluate.region_mass(torch.full((2, 3, 256, 256), 1 / 256), place)
    for name, n in zip(("mouth", "eyes", "rest"), count, strict=True):
        assert own[name]["mass"] == 1 and own[name]["others"] == 0
        assert blind[name]["mass"] == pytest.approx(n / 256) == pytest.approx(blind[name]["uniform"])


def test_identity_reaches_the_answer_by_attention_alone() -> None:
    (model,) = recipes.load("fusion", "model")
    torch.manual_seed(0)
    net = model.FusionNet(dim=40, heads=4, identity_layers=1, dynamic_layers=1, width=8).eval()
    torch.nn.init.normal_(net.last.weight, std=0.1)
    asked = torch.rand(1, 1, 7, 128, 128), torch.rand(1, 10, 128, 128), torch.rand(1, 28)
    other = asked[0].clone()
    other[:, :, :3] = torch.rand(1, 1, 3, 128, 128)

    def answer(keys, **dropped):
        for name in ("drop_tokens", "drop_identity"):
            setattr(net, name, dropped.get(name, False))
        with torch.no_grad():
            return net(keys, *asked[1:])[0]

    assert not torch.allclose(answer(asked[0]), answer(other), atol=1e-4)
    assert not torch.allclose(answer(asked[0]), answer(asked[0], drop_tokens=True), atol=1e-4)
    assert not torch.allclose(answer(asked[0], drop_tokens=True), answer(other, drop_tokens=True), atol=1e-4), (
        "the finer levels stay"
    )
    assert torch.allclose(answer(asked[0], drop_identity=True), answer(other, drop_identity=True), atol=1e-6)


def test_attention_begins_near_the_query_and_each_head_reaches_its_own_way() -> None:
    (model,) = recipes.load("fusion", "model")
    torch.manual_seed(0)
    attention = model.Attention(40, 4)
    with torch.no_grad():
        seen = attention(torch.zeros(1, 256, 40), torch.zeros(1, 512, 40), want_map=True)[1]
    near = seen[0, :, 5 * 16 + 7].reshape(4, 2, 16, 16)
    for head in near:
        assert int(head[0].argmax()) == 5 * 16 + 7, "the same place of the key first"
        assert torch.allclose(head[0], head[1]), "no key is preferred"
    assert near[0, 0].max() > 5 * near[-1, 0].max(), "one looks close, one everywhere"
