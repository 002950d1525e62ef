"""Our RAFT against the published one: parameter table, ability to learn a known flow, and the way to the package's door."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from recipes import load

torch = pytest.importorskip("torch", reason="the training recipe needs torch")

ROOT = Path(__file__).parents[2]
# Of torchvision 0.28.0's raft_large().state_dict(): sha256 of "name [shape]" lines, sorted; entries; trainable numbers.
PUBLISHED = "119492c560fcc8e33c405adc2867f9f1c7f1b3db3abbf48677d2f1d6372bfdd4", 169, 5_257_536


model, export = load("flow", "model", "export")


def table(network) -> tuple[str, int, int]:
    lines = sorted(f"{k} {list(v.shape)}" for k, v in network.state_dict().items())
    numbers = sum(p.numel() for p in network.parameters())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), len(lines), numbers


def textures(flows: np.ndarray, side: int = 128) -> tuple:
    """Pairs of smooth noise, the second moved by `flows` [n, 2, side, side]: second(p + flow) = first(p), inverted to second order."""
    import cv2

    random = np.random.default_rng(1)
    first, second = [], []
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for f in flows:
        big = cv2.GaussianBlur(random.normal(size=(side, side, 3)).astype(np.float32), (0, 0), 2.0)
        big = np.clip(0.5 + 0.25 * big / big.std(), 0, 1)
        u, v = f
        for _ in range(8):  # fixed point of back(p) = -flow(p + back(p))
            u, v = (cv2.remap(c, x - u, y - v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in f)
        moved = cv2.remap(big, x - u, y - v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        first.append(big.transpose(2, 0, 1))
        second.append(moved.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(first)), torch.from_numpy(np.stack(second)), torch.from_numpy(flows)


def known_flows(count: int, side: int = 128) -> np.ndarray:
    """Shifts by up to 6 px with a gentle stretch."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    out = []
    for _ in range(count):
        shift, bend = random.uniform(-6, 6, 2), random.uniform(-3, 3, 4)
        out.append(np.stack([shift[0] + bend[0] * x + bend[1] * y, shift[1] + bend[2] * x + bend[3] * y]))
    return np.array(out, np.float32)


def test_names_and_shapes_are_the_published_ones() -> None:
    assert table(model.Raft()) == PUBLISHED
    assert table(model.Raft(model.TINY))[1] == PUBLISHED[1]  # the small one has the same parts


def test_same_answers_as_torchvision() -> None:
    """Where torchvision is installed: random weights of its network give its flow."""
    try:
        theirs_module = importlib.import_module("torchvision.models.optical_flow")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        pytest.skip(f"compared where torchvision is installed ({error})")
    torch.manual_seed(0)
    theirs = theirs_module.raft_large(weights=None).eval()
    ours = model.Raft(updates=3).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    a, b = torch.rand(2, 1, 3, 136, 160)
    with torch.no_grad():
        expected = theirs(2 * a - 1, 2 * b - 1, num_flow_updates=3)
        for mine, wanted in zip(ours.every(a, b), expected, strict=True):
            torch.testing.assert_close(mine, wanted, atol=1e-4, rtol=0)


def test_look_up_reads_the_pyramid_where_the_flow_points() -> None:
    """Against the definition: correlation of a(p) with b(p + flow + offset), at whole cells inside the picture."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 5, 16, 16)
    at = model.grid_like(a) + torch.tensor([2.0, -1.0])[None, :, None, None]
    found = model.look_up(model.correlations(a, b), at, 1)
    assert found.shape == (1, 4 * 9, 16, 16)
    for slot, (dx, dy) in enumerate((dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
        expected = (a[0, :, 7, 6] * b[0, :, 7 - 1 + dy, 6 + 2 + dx]).sum() / 5**0.5
        assert found[0, slot, 7, 6] == pytest.approx(float(expected), abs=1e-4)
    level1 = b.reshape(5, 8, 2, 8, 2).mean((2, 4))  # cell (x, y) of level 0 is (x / 2, y / 2) of level 1
    expected = (a[0, :, 7, 6] * level1[:, 3, 4]).sum() / 5**0.5
    assert found[0, 9 + 4, 7, 6] == pytest.approx(float(expected), abs=1e-4)


def test_enlarged_is_convex_and_scales_by_eight() -> None:
    flow = torch.full((1, 2, 16, 16), 1.5)
    fine = model.enlarged(flow, torch.randn(1, 9 * 64, 16, 16))
    assert fine.shape == (1, 2, 128, 128)
    torch.testing.assert_close(fine[..., 8:-8, 8:-8], torch.full((1, 2, 112, 112), 12.0))


def trained(steps: int, updates: int = 4):
    """A tiny network, overfitted to two pairs; returns it with the pairs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads on a busy machine wait for each other
    network = model.Raft(model.TINY, updates)
    pairs = textures(known_flows(2))
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps, pct_start=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = model.sequence_loss(network.every(pairs[0], pairs[1]), pairs[2])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval(), pairs


def end_point_error(flow, truth) -> float:
    return float((flow - truth).square().sum(1).sqrt()[:, 12:-12, 12:-12].mean())


def test_learns_a_known_flow_and_reaches_the_door(tmp_path) -> None:
    """Overfit, save as published weights are saved, load, export, open with onnxruntime: the same flow, and the right one."""
    from digidouble.perception.flow import RaftFlow

    network, (first, second, truth) = trained(60)
    with torch.no_grad():
        found = network(first, second)
    still = end_point_error(torch.zeros_like(truth), truth)
    assert end_point_error(found, truth) < 0.2 * still, (end_point_error(found, truth), still)

    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    again = export.loaded(tmp_path / "tiny.pth", model.TINY, network.updates)
    export.export(again, tmp_path / "tiny.onnx")
    door = RaftFlow(tmp_path / "tiny.onnx")
    assert door.name == "raft (tiny.onnx)"
    eight_bit = [(255 * p[0].permute(1, 2, 0)).round().byte().numpy() for p in (first, second)]
    seen = door.flow(*eight_bit)
    np.testing.assert_allclose(seen, found[0].permute(1, 2, 0).numpy(), atol=0.35)  # 8 bits move it a little
    assert np.abs(seen - found[0].permute(1, 2, 0).numpy()).mean() < 0.03
    with torch.no_grad():  # another size than it was exported with
        a, b = torch.rand(2, 1, 3, 144, 168)
        expected = again(a, b)[0].permute(1, 2, 0).numpy()
    got = door._runner.run({"first": a.numpy(), "second": b.numpy()})["flow"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_weights_of_another_network_or_with_code_are_refused(tmp_path) -> None:
    torch.save(model.Raft(model.TINY).state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(RuntimeError, match="size mismatch"):
        export.loaded(tmp_path / "tiny.pth")

    class Code:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"conv.weight": Code()}, tmp_path / "hostile.pth")
    with pytest.raises(pickle.UnpicklingError):
        export.loaded(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()
