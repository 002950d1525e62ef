"""The door of the fusion network against its contract, and the recipe's arithmetic against independent truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import recipes

from digidouble.errors import SettingsError, WeightsError
from digidouble.perception.uvgrid import uv_grid
from digidouble.refine.fusion import Fusion, FusionAnswer, FusionKey, Moment
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.transfer import srgb_decode, srgb_encode

ROOT = Path(__file__).parents[2]


def load(*names: str) -> list[ModuleType]:
    """Modules of training/fusion; the test is skipped without torch."""
    pytest.importorskip("torch", reason="the training recipe needs torch")
    return recipes.load("fusion", *names)


class Recorder:
    """Keeps what it was asked and answers with a known gain."""

    def __init__(self) -> None:
        self.asked: dict[str, np.ndarray] = {}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked = dict(inputs)
        sizes = {"gain": 3, "flow": 2, "bias": 3}
        return {k: np.full((1, n, 128, 128), n / 10, np.float32) for k, n in sizes.items()}


def key(value: float = 0.5, shift: float = 0.0) -> FusionKey:
    return FusionKey(
        np.full((128, 128, 3), value, np.float32), np.ones((128, 128), np.float32), np.full((478, 3), shift)
    )


def moment(shift: float = 0.0) -> Moment:
    points = face_model().mean_cm * FLIP_YZ * 20 + [300, 300, 0]
    return Moment(np.full((478, 3), shift), points, np.linspace(-1, 1, 26), np.array([5.0, -3.0]))


def test_the_network_is_asked_what_its_contract_says() -> None:
    runner = Recorder()
    answer = Fusion(runner=runner).answer([key(0.5, 0.25), key(0.7)], moment(-0.5))
    covered, asked = uv_grid(128).covered, runner.asked
    assert asked["keys"].shape == (1, 2, 7, 128, 128)
    assert all(v.dtype == np.float32 for v in asked.values())
    assert np.allclose(asked["keys"][0, :, 0, 0, 0], [0.5, 0.7])
    assert np.allclose(asked["keys"][0, 0, 4:, covered], 0.25, atol=1e-5)
    assert np.allclose(asked["dynamic"][0, :3, covered], -0.5, atol=1e-5)
    nose = np.round(face_model().uv[4] * 128).astype(int)
    assert asked["dynamic"][0, 5, nose[1], nose[0]] > 0.7, "the tip of the nose faces the camera"
    assert np.allclose(asked["dynamic"][0, 6], 0), "no ratio is a ratio of one"
    assert np.allclose(asked["facts"][0, -2:], [5, -3])
    assert answer.gain.shape == (128, 128, 3)
    assert answer.flow.shape == (128, 128, 2)
    assert np.allclose(answer.flow, 0.2)


def test_a_gain_in_the_tone_band_is_taken_out_and_a_crease_stays() -> None:
    skin = np.full((128, 128, 3), 0.6, np.float32)
    flat = FusionAnswer(np.full((128, 128, 3), 0.3, np.float32), np.zeros((128, 128, 2), np.float32), skin * 0)
    assert np.abs(flat.linear_gain(skin) - 1)[uv_grid(128).covered].max() < 0.03
    crease = np.zeros((128, 128, 3), np.float32)
    crease[60, 50:80] = -0.2
    lines = FusionAnswer(crease, flat.flow, flat.bias).linear_gain(skin)
    wanted = srgb_decode(np.float32([0.6 * np.exp(-0.2)])) / srgb_decode(np.float32([0.6]))
    assert lines[60, 65] == pytest.approx(np.repeat(wanted, 3), rel=0.05)
    assert np.abs(lines[100, 65] - 1).max() < 0.01
    assert (lines[0, 0] == 1).all(), "off the face nothing changes"


def test_keys_of_any_size_become_what_the_network_reads() -> None:
    atlas = np.full((320, 320, 3), 0.2, np.float32)
    made = FusionKey.of_atlas(atlas, np.full((320, 320), 0.5, np.float32), np.zeros((478, 3)))
    assert made.skin == pytest.approx(float(srgb_encode(np.float32([0.2]))[0]), abs=1e-4)
    assert made.seen.shape == (128, 128)


def test_wrong_material_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one key"):
        Fusion(runner=Recorder()).answer([], moment())
    with pytest.raises(WeightsError, match="no fusion network is shipped"):
        Fusion()


def test_flow_reads_the_key_elsewhere_and_nothing_does_nothing() -> None:
    (model,) = load("model")
    import torch

    skin = torch.rand(1, 3, 128, 128) * 0.8 + 0.1
    zero, flow = torch.zeros(1, 3, 128, 128), torch.zeros(1, 2, 128, 128)
    assert torch.allclose(model.rendered(skin, zero, flow, zero), skin, atol=1e-4)
    flow[:, 0] = 2
    moved = model.rendered(skin, zero, flow, zero)
    assert torch.allclose(moved[..., 5:120], skin[..., 7:122], atol=1e-4)
    assert torch.allclose(model.rendered(skin, zero + 0.1, flow * 0, zero), skin * np.exp(0.1), atol=1e-3)


def test_an_untrained_network_leaves_the_key_and_keeps_the_bias_in_the_openings() -> None:
    (model,) = load("model")
    import torch

    torch.manual_seed(0)
    net = model.FusionNet()
    net.opening[..., 80:90, 50:70] = 1
    asked = torch.rand(1, 2, 7, 128, 128), torch.rand(1, 7, 128, 128), torch.rand(1, 28)
    with torch.no_grad():
        assert all(float(v.abs().max()) == 0 for v in net(*asked))
        net.last.bias += 1
        gain, flow, bias = net(*asked)
    assert float(gain.min()) > 0.5
    assert float(flow.abs().max()) <= model.FLOW_TEXELS
    assert float(bias[..., :80, :].abs().max()) == 0
    assert float(bias[..., 85, 60].min()) > 0.1


def test_tone_matching_forgives_tone_and_nothing_else() -> None:
    (pack,) = load("pack")
    import torch

    torch.manual_seed(0)
    truth, weight = torch.rand(1, 3, 128, 128) * 0.3 + 0.4, torch.ones(1, 1, 128, 128)
    y = torch.linspace(0, 1, 128)[None, None, :, None]
    tinted = (truth + pack.EPS) * torch.exp(0.3 * y) - pack.EPS
    wanted = torch.log(truth + pack.EPS)
    inner = (..., slice(20, 108), slice(20, 108))
    assert (pack.toned(tinted, truth, weight) - wanted)[inner].abs().max() < 0.03
    stripe = truth.clone()
    stripe[..., 60:62, :] *= 0.8
    assert (pack.toned(stripe, truth, weight) - wanted)[..., 60:62, 40:90].mean() < -0.12


def test_mirroring_actions_twice_is_nothing() -> None:
    (pack,) = load("pack")
    names = list(face_model().action_names)
    index, sign = pack.mirrored_actions(names)
    assert index[index].tolist() == list(range(len(names)))
    left = next(k for k, n in enumerate(names) if n.startswith("lid_close_L"))
    assert names[index[left]].startswith("lid_close_R")
    assert [n for n, s in zip(names, sign, strict=True) if s < 0] == [n for n in names if n.startswith("jaw_left")]


def crease(pack: ModuleType):
    """Two samples of one key: the second is told to crease, and does."""
    import torch

    keys = torch.rand(1, 1, 7, 128, 128).repeat(2, 1, 1, 1, 1) * 0.02 + 0.5
    target = keys[:, 0, :3].clone()
    target[1, :, 40:48, 30:100] *= 0.5
    dynamic = torch.zeros(2, 7, 128, 128)
    dynamic[1, :3] = 0.5
    return pack.Batch(keys, dynamic, torch.zeros(2, 28), target, torch.ones(2, 1, 128, 128))


def test_the_loss_is_least_at_the_truth_and_most_at_its_opposite() -> None:
    train, pack = load("train", "pack")
    import torch

    b, nothing = crease(pack), torch.zeros(2, 2, 128, 128)
    truth = torch.log(b.target / b.keys[:, 0, :3])
    at = lambda share: float(train.loss_of(b, share * truth, nothing, 0 * truth))  # noqa: E731
    losses = [at(share) for share in (1.0, 0.5, 0.0, -0.5)]
    assert losses == sorted(losses)
    assert losses[0] < 0.2 * losses[2]


@pytest.mark.slow
def test_the_network_can_learn_a_crease_by_heart() -> None:
    model, pack = load("model", "pack")
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    net, b = model.FusionNet(dim=40, heads=4, identity_layers=1, dynamic_layers=1, width=8), crease(pack)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(60):
        answer = net(b.keys, b.dynamic, b.facts)
        loss = ((model.rendered(b.keys[:, 0, :3], *answer) - b.target) ** 2).mean()
        optimiser.zero_grad()
        (100 * loss).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        gain = net(b.keys, b.dynamic, b.facts)[0]
    told, untold = (float(gain[k, :, 42:46, 40:90].mean()) for k in (1, 0))
    assert told < -0.4
    assert abs(untold) < 0.1
