"""The audio-to-mouth recipe's material, and the shipped network against its contract."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from recipes import load

from digidouble.speech.articulation import CLOSURE, COLUMNS, OPENING

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "digidouble" / "shipped" / "audio_mouth.onnx"

(collect,) = load("audio_mouth", "collect")


def test_made_readings_come_with_their_mouths(tmp_path: Path):
    text = tmp_path / "text.md"
    text.write_text(
        "The quick brown fox jumps over a lazy dog every morning. 每天早上一只狐狸跳过一条懒狗。\n", "utf-8"
    )
    collect.made(tmp_path, [text], 0.1, np.random.default_rng(4))
    files = sorted(tmp_path.glob("made_*.npz"))
    assert files
    agreement = []
    for file in files:
        with np.load(file, allow_pickle=False) as f:
            assert f["target"].shape == (-(-len(f["samples"]) // 160), len(COLUMNS)) and f["known"].all()
            level = np.array(
                [np.abs(f["samples"][k : k + 160].astype(float)).mean() for k in range(0, len(f["samples"]), 160)]
            )
            agreement.append(np.corrcoef(np.log(level + 10), f["target"][:, OPENING])[0, 1])
    # The mouth is open where it sounds: the target of another reading would not agree.
    assert np.mean(agreement) > 0.2 and min(agreement) > 0.1


def test_phones_of_the_recogniser_are_known_to_the_visemes():
    from digidouble.speech.phones import TARGETS

    assert all(letter in TARGETS for symbol in collect.ARPABET.values() for letter in symbol)


def test_the_measured_clips_are_in_no_recipe_command():
    card = (ROOT / "training" / "audio_mouth" / "MODEL_CARD.md").read_text("utf-8")
    for command in re.findall(r"`(?:python training|collect\.py|train\.py)[^`]*`", card):
        assert "grid_talk" not in command and "expressions_yaw" not in command


def test_the_shipped_network_keeps_its_contract():
    assert SHIPPED.stat().st_size < 3_000_000
    session = onnxruntime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
    for frames in (1, 7, 400):
        mel = np.random.default_rng(frames).normal(-1, 0.5, (1, frames, 80)).astype(np.float32)
        (out,) = session.run(None, {"mel": mel})
        assert out.shape == (1, frames, len(COLUMNS)) and out.min() >= 0 and out.max() <= 1.2
    # It is the same wherever in a recording it looks: moved by 100 frames, the answer moves along.
    mel = np.random.default_rng(0).normal(-1, 0.5, (1, 600, 80)).astype(np.float32)
    whole = session.run(None, {"mel": mel})[0]
    part = session.run(None, {"mel": mel[:, 100:]})[0]
    assert np.allclose(whole[0, 200:], part[0, 100:], atol=1e-4)


def test_the_network_can_learn_a_mouth_by_heart(tmp_path: Path):
    """Overfit: bands that are loud when the mouth is open, known closures; what was learnt comes back from the file."""
    torch = pytest.importorskip("torch", reason="the training recipe needs torch")
    model, train = load("audio_mouth", "model", "train")
    torch.manual_seed(0)
    torch.set_num_threads(2)
    t = torch.arange(200)[None] + torch.tensor([[0], [37], [61], [95]])
    opening = 0.5 + 0.4 * torch.sin(t / 9.0)
    shut = (opening < 0.2).float()
    target = torch.stack([opening, opening, 0.5 + 0 * opening, 0.5 + 0 * opening, 1 - opening, shut], -1)
    mel = torch.randn(4, 200, 80) * 0.1
    mel[..., 20:40] += 2 * opening[..., None]
    known = torch.ones(4, 6, dtype=torch.bool)
    net = model.AudioMouth(width=24, dropout=0.0)
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(120):
        loss = train.loss_of(net, mel, target, known)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    train.export(net, tmp_path / "mouth.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "mouth.onnx"), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"mel": mel[:1].numpy()})
    assert np.corrcoef(out[0, :, OPENING], opening[0])[0, 1] > 0.97
    assert np.abs(out[0, :, OPENING] - opening[0].numpy()).mean() < 0.08
    closed = shut[0].numpy() > 0.5
    assert out[0, closed, CLOSURE].mean() > 0.6 > 0.3 > out[0, ~closed, CLOSURE].mean()
