"""The door of the fusion network against its contract, and the recipe's arithmetic against independent truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import recipes
from scipy.fft import dctn

from digidouble.perception.uvgrid import uv_grid
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.pipeline import prepare, render_frame
from digidouble.refine.fusion import FusedSkin, Fusion, FusionAnswer, FusionKey, Moment
from digidouble.schema.colour import rgb8_from_frame
from digidouble.schema.mesh import FLIP_YZ, face_model
from digidouble.schema.track import wrinkle_log
from digidouble.schema.transfer import srgb_decode, srgb_encode

ROOT = Path(__file__).parents[2]


def load(*names: str) -> list[ModuleType]:
    """Modules of training/fusion; the test is skipped without torch."""
    pytest.importorskip("torch", reason="the training recipe needs torch")
    return recipes.load("fusion", *names)


class Recorder:
    """Both halves: keeps what it was asked and answers with known numbers."""

    def __init__(self) -> None:
        self.asked: dict[str, np.ndarray] = {}
        self.reads = 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked |= dict(inputs)
        if "keys" in inputs:
            self.reads += 1
            return {"patches": np.full((1, 256, 160), 7, np.float32)}
        sizes = {"gain": (3, 128), "flow": (2, 128), "bias": (3, 128), "offset": (3, 16), "visible": (1, 64)}
        return {k: np.full((1, n, side, side), n / 10, np.float32) for k, (n, side) in sizes.items()}


def key(value: float = 0.5, shift: float = 0.0) -> FusionKey:
    return FusionKey(
        np.full((128, 128, 3), value, np.float32), np.ones((128, 128), np.float32), np.full((478, 3), shift)
    )


def moment(shift: float = 0.0) -> Moment:
    points = face_model().mean_cm * FLIP_YZ * 20 + [300, 300, 0]
    slide = np.stack([np.full((128, 128), 1.5), np.full((128, 128), -0.5)]).astype(np.float32)
    ratio = np.full((128, 128), 0.2, np.float32)
    return Moment(np.full((478, 3), shift), points, 20.0, np.linspace(-1, 1, 26), np.array([5.0, -3.0]), slide, ratio)


def test_the_network_is_asked_what_its_contract_says() -> None:
    runner = Recorder()
    fusion = Fusion((runner, runner))
    answer = fusion.answer(fusion.read(key(0.5, 0.25)), moment(-0.5))
    covered, asked = uv_grid(128).covered, runner.asked
    assert asked["keys"].shape == (1, 1, 7, 128, 128) and asked["dynamic"].shape == (1, 10, 128, 128)
    assert all(v.dtype == np.float32 for v in asked.values())
    assert asked["keys"][0, 0, 0, 0, 0] == 0.5
    assert np.allclose(asked["keys"][0, 0, 4:, covered], 0.25, atol=1e-5)
    assert np.allclose(asked["first"][0, :, covered], 0.25, atol=1e-5)
    assert (asked["patches"] == 7).all(), "what was read of the key is handed on"
    assert np.allclose(asked["dynamic"][0, :3, covered], -0.5, atol=1e-5)
    nose = np.round(face_model().uv[4] * 128).astype(int)
    assert asked["dynamic"][0, 5, nose[1], nose[0]] > 0.7, "the tip of the nose faces the camera"
    assert np.allclose(asked["dynamic"][0, 6:9, 64, 64], [0.2, 1.5, -0.5])
    z = face_model().mean_cm[:, 2]
    assert asked["dynamic"][0, 9, nose[1], nose[0]] == pytest.approx(z[4] - z.mean(), abs=0.3), "centimetres"
    assert np.allclose(asked["facts"][0, -2:], [5, -3])
    assert answer.gain.shape == (128, 128, 3) and answer.offset.shape == (16, 16, 3)
    assert np.allclose(answer.flow, 0.2) and np.allclose(answer.visible, 0.1)


def test_the_shipped_network_answers_and_its_flow_begins_with_the_plates() -> None:
    fusion = Fusion()
    read = fusion.read(key())
    told = fusion.answer(read, moment())
    still = replace(moment(), slide=np.zeros((2, 128, 128), np.float32))
    difference = (told.flow - fusion.answer(read, still).flow)[uv_grid(128).covered].mean(0)
    assert 0.3 < difference[0] < 2 and -0.8 < difference[1] < 0
    assert told.visible.min() >= 0 and told.visible.max() <= 1 and np.isfinite(told.gain).all()


def test_keys_are_read_once_and_atlases_are_told_in_shares_of_their_side(talk_perf, persona_b) -> None:
    runner, track = Recorder(), load_performance(talk_perf).track("main")
    fused = FusedSkin(Fusion((runner, runner)), persona_b, track)
    points = track.sample(track.frames.start + 2).points_px
    _, bent = (fused(0, row, points) for row in (2, 3))
    assert runner.reads == 1 and bent.shape == (128, 128, 5)
    assert np.allclose(bent[..., :2], 0.2 / 128), "texels of 128 as shares"
    assert np.abs(bent[..., 2:] - 1)[uv_grid(128).covered].max() < 0.06, "a flat gain is tone, and taken out"
    assert (runner.asked["dynamic"][0, 7:9] == 0).all(), "a performance that keeps no slides has its skin at the mesh"
    folds = wrinkle_log(track.sample(track.frames.start + 3).wrinkles).astype(float) / 2.2
    assert runner.asked["dynamic"][0, 6].mean() == pytest.approx(folds.mean(), abs=1e-4)


def test_slides_are_kept_when_asked_for_and_read(talk, tmp_path, persona_b) -> None:
    with talk.footage() as footage:
        path = analyse(footage, tmp_path / "slides.perf", PerformSettings(slides=True))
    track = load_performance(path).track("main")
    sample = track.sample(track.frames.start + 3)
    assert sample.slide is not None and sample.ratio is not None and sample.slide.any() and sample.ratio.any()
    runner = Recorder()
    FusedSkin(Fusion((runner, runner)), persona_b, track, 0.5)(0, 3, sample.points_px)
    asked = runner.asked["dynamic"][0]
    assert asked[7:9].mean((1, 2)) == pytest.approx(sample.slide.mean((1, 2)) / 16, abs=0.01)
    assert asked[6] == pytest.approx(sample.ratio / 50 * 0.5, abs=1e-5), "half of the plate's shade was asked for"


def test_fusion_is_drawn_and_the_plate_outside_stays(talk, talk_perf, persona_b) -> None:
    performance = load_performance(talk_perf)
    with talk.footage() as footage:
        frame = footage.frame(3)
    plain, fused = (
        rgb8_from_frame(render_frame(prepare(performance, {"main": persona_b}, fusion=f), frame)[0]).astype(int)
        for f in (False, True)
    )
    plate = rgb8_from_frame(frame).astype(int)
    assert np.abs(fused - plain).max() > 3
    assert (fused == plain)[(plain == plate).all(2)].mean() > 0.99


def test_a_gain_in_the_tone_band_is_taken_out_and_a_crease_stays() -> None:
    skin = np.full((128, 128, 3), 0.6, np.float32)
    rest = np.zeros((128, 128, 2), np.float32), skin * 0, np.zeros((16, 16, 3), np.float32), skin[:64, :64, :1]
    flat = FusionAnswer(np.full((128, 128, 3), 0.3, np.float32), *rest)
    assert np.abs(flat.linear_gain(skin) - 1)[uv_grid(128).covered].max() < 0.03
    crease = np.zeros((128, 128, 3), np.float32)
    crease[60, 50:80] = -0.2
    lines = FusionAnswer(crease, *rest).linear_gain(skin)
    wanted = srgb_decode(np.float32([0.6 * np.exp(-0.2)])) / srgb_decode(np.float32([0.6]))
    assert lines[60, 65] == pytest.approx(np.repeat(wanted, 3), rel=0.05)
    assert np.abs(lines[100, 65] - 1).max() < 0.01
    assert (lines[0, 0] == 1).all(), "off the face nothing changes"


def test_atlases_of_any_size_become_what_the_network_reads(persona_b) -> None:
    atlas = replace(
        persona_b.keys[0], albedo=np.full((320, 320, 3), 0.2, np.float16), confidence=np.full((320, 320), 128, np.uint8)
    )
    made = FusionKey.of_atlas(atlas)
    assert made.skin == pytest.approx(float(srgb_encode(np.float32([0.2]))[0]), abs=1e-3)
    assert made.seen == pytest.approx(128 / 255, abs=1e-3) and made.seen.shape == (128, 128)


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
    asked = torch.rand(1, 2, 7, 128, 128), torch.rand(1, 10, 128, 128), torch.rand(1, 28)
    with torch.no_grad():
        gain, flow, bias, offset, _ = net(*asked)
        share = 1 / (1 + np.exp(-model.FIRST_SHARE))
        assert torch.allclose(gain, share * asked[1][:, 6:7].expand(-1, 3, -1, -1), atol=1e-5), "the plate's own ratio"
        assert torch.allclose(flow, share * asked[1][:, 7:9], atol=1e-5), "and the plate's own slide"
        assert float(bias.abs().max()) == 0 and float(offset.abs().max()) == 0
        net.last.bias += 1
        gain, flow, bias = net(*asked)[:3]
    assert float(gain.min()) > 0.5
    assert float(flow.abs().max()) <= model.FLOW_TEXELS + 1
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
    dynamic = torch.zeros(2, 10, 128, 128)
    dynamic[1, :3] = 0.5
    one = torch.ones(2, 1, 128, 128)
    return pack.Batch(keys, dynamic, torch.zeros(2, 28), target, one, one, dynamic[:, :3])


def test_the_loss_is_least_at_the_truth_and_most_at_its_opposite() -> None:
    train, pack = load("train", "pack")
    import torch

    b, nothing = crease(pack), torch.zeros(2, 2, 128, 128)
    truth = torch.log(b.target / b.keys[:, 0, :3])
    rest = 0 * truth, torch.zeros(2, 3, 16, 16), torch.ones(2, 1, 64, 64)
    at = lambda share: float(train.loss_of(b, share * truth, nothing, *rest))  # noqa: E731
    losses = [at(share) for share in (1.0, 0.5, 0.0, -0.5)]
    assert losses == sorted(losses)
    assert losses[0] < 0.2 * losses[2]
    wrong = 0 * truth, torch.ones(2, 3, 16, 16), torch.zeros(2, 1, 64, 64) + 0.01
    assert float(train.loss_of(b, truth, nothing, *wrong)) > losses[0] + 0.1, "mesh and visibility count, too"


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
        loss = ((model.rendered(b.keys[:, 0, :3], *answer[:3]) - b.target) ** 2).mean()
        optimiser.zero_grad()
        (100 * loss).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        gain = net(b.keys, b.dynamic, b.facts)[0]
    told, untold = (float(gain[k, :, 42:46, 40:90].mean()) for k in (1, 0))
    assert told < -0.4
    assert abs(untold) < 0.1


def stand_in_pack(pack: ModuleType):
    """A pack of nothing but its random numbers."""
    import torch

    made = object.__new__(pack.Pack)
    made.device, made.rng = torch.device("cpu"), torch.Generator().manual_seed(0)
    made.covered = torch.ones(1, 1, 128, 128)
    return made


def test_a_stand_in_shows_the_moment_elsewhere_and_otherwise() -> None:
    (pack,) = load("pack")
    import torch

    made = stand_in_pack(pack)
    plate = torch.zeros(32, 3, 128, 128)
    plate[:, 0, 60:68, 30:100] = 0.4
    plate[:, 1] = 2.0
    shown = made.stand_in(plate)
    slide = shown[:, 1].mean((1, 2))
    assert 1.6 < float(slide.mean()) < 2.4 and float(slide.std()) > 0.2, "more here, less there"
    row = torch.arange(128.0)
    place = (shown[:, 0].clamp(min=0.15).sub(0.15).sum(2) * row).sum(1) / shown[:, 0].clamp(min=0.15).sub(0.15).sum(
        (1, 2)
    )
    assert float((place - 63.5).abs().mean()) > 0.3, "and elsewhere"
    assert float((place - 63.5).abs().max()) < 8


def test_blocks_are_those_of_the_cosine_transform_and_blobs_are_not_seen() -> None:
    (pack,) = load("pack")
    import torch

    made = stand_in_pack(pack)
    torch.manual_seed(1)
    skin = pack.blurred(torch.rand(48, 3, 128, 128), 2.0)
    done = made.compressed(skin)
    changed = (done - skin).abs().amax((1, 2, 3)) > 0
    assert 4 < int(changed.sum()) < 24, "every fourth"
    assert float((done - skin).abs().max()) < 0.15
    hit = done[changed][0, 0]
    blocks = hit.unfold(0, 8, 8).unfold(1, 8, 8).double().numpy()
    spectrum = np.abs(dctn(blocks, axes=(2, 3), norm="ortho"))
    assert (spectrum[..., 4:, 4:] < 1e-3).mean() > 0.9, "fine coefficients are gone, whole"
    covered, seen = made.covered_up(skin, torch.ones(48, 1, 128, 128))
    gone = seen[:, 0].amin((1, 2)) < 0.05
    assert 4 < int(gone.sum()) < 24
    assert torch.equal(covered[~gone], skin[~gone])


def test_light_changes_with_the_normal_only() -> None:
    (pack,) = load("pack")
    import torch

    made = stand_in_pack(pack)
    normal = torch.zeros(64, 3, 128, 128)
    normal[:, 2], normal[:, 2, :, 64:], normal[:, 0, :, 64:] = 1.0, 0.6, 0.8
    lit = made.relit(torch.full((64, 3, 128, 128), 0.4), normal)
    assert float(lit[..., :64].std((1, 2, 3)).max()) < 1e-6, "one normal, one light"
    step = (lit[..., 100] - lit[..., 20]).abs().amax((1, 2))
    assert 16 < int((step > 1e-3).sum()) < 48, "every second"


def test_a_slide_is_found() -> None:
    (pack,) = load("pack")
    import torch

    torch.manual_seed(0)
    rest = pack.blurred(torch.rand(1, 3, 128, 128), 2.0)
    rest = ((rest - rest.mean()) * 3 + 0.5).clamp(0.1, 0.9)
    now = rest.roll(2, -1)
    found = pack.slides(now, rest, torch.ones(1, 1, 128, 128))
    assert found.shape == (1, 2, 64, 64)
    assert float(found[:, 0, 8:56, 8:56].median()) == pytest.approx(-2, abs=0.3)
    assert float(found[:, 1, 8:56, 8:56].median()) == pytest.approx(0, abs=0.2)
