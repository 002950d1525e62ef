"""The audio-to-mouth recipe's material, and the shipped network against its contract."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
from recipes import load

from digidouble.speech.articulation import COLUMNS, OPENING

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
