"""The doors for better voices, with stand-ins of the same signature: a buzz for every token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from digidouble.errors import SettingsError, VoiceError
from digidouble.speech import SpeechSettings, read_text
from digidouble.speech.text import Run
from digidouble.speech.voice import phone_names

PER_TOKEN = 1200


def stand_in(path: Path, tokens: str, others: dict[str, tuple[int, list]]) -> Path:
    """An ONNX network that buzzes PER_TOKEN samples for every token, louder for a larger one; the other inputs are taken and unused."""
    buzz = (0.3 * np.sign(np.sin(2 * np.pi * 120 * np.arange(PER_TOKEN) / 22050))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [tokens], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["f", "last"], ["column"]),
        helper.make_node("Mul", ["column", "buzz"], ["rows"]),
        helper.make_node("Mul", ["rows", "gain"], ["quiet"]),
        helper.make_node("Reshape", ["quiet", "flat"], ["output"]),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [2]), helper.make_tensor("flat", TensorProto.INT64, [3], [1, 1, -1]),
        helper.make_tensor("buzz", TensorProto.FLOAT, [PER_TOKEN], buzz), helper.make_tensor("gain", TensorProto.FLOAT, [1], [0.01]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info(tokens, TensorProto.INT64, [1, "n"])]
    inputs += [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in others.items()]
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "t"])
    model = helper.make_model(
        helper.make_graph(nodes, "voice", inputs, [out], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


@pytest.fixture
def piper(tmp_path: Path) -> Path:
    path = stand_in(
        tmp_path / "voice.onnx", "input",
        {"input_lengths": (TensorProto.INT64, [1]), "scales": (TensorProto.FLOAT, [3])},
    )  # fmt: skip
    table = {c: [k + 3] for k, c in enumerate("abdefhijklmnopstuvwzˈːəɪʊ .,")} | {"_": [0], "^": [1], "$": [2]}
    path.with_name("voice.onnx.json").write_text(json.dumps({"phoneme_id_map": table, "audio": {"sample_rate": 22050}}))
    return path


def test_names_for_better_voices_keep_stress_and_pauses():
    names = "".join(phone_names([Run("Hello, Bob.", "en-us", True)], SpeechSettings()))
    assert "ˈ" in names and ", " in names and names.count(" ") >= 1 and "b" in names


def test_piper(piper: Path):
    speech = read_text("Hello Bob.", SpeechSettings(voice="piper", voice_file=str(piper)))
    assert speech.rate == 22050 and "voice.onnx" in speech.made_by and "licence" in speech.made_by
    # One buzz for each of: start, pads, phones in the table, end; so its length says that every token arrived.
    assert len(speech.samples) % PER_TOKEN == 0 and len(speech.samples) > 12 * PER_TOKEN
    assert [p.symbol for p in speech.phones if p.symbol] == [
        p.symbol for p in read_text("Hello Bob.").phones if p.symbol
    ]


def test_kokoro(tmp_path: Path):
    path = stand_in(
        tmp_path / "kokoro.onnx", "tokens", {"style": (TensorProto.FLOAT, [1, 256]), "speed": (TensorProto.FLOAT, [1])}
    )
    (tmp_path / "config.json").write_text(
        json.dumps({"vocab": {c: k + 1 for k, c in enumerate("abdefhijklmnopstuvwzˈəɪʊ ")}})
    )
    np.savez(tmp_path / "voices.npz", ann=np.zeros((510, 1, 256), np.float32))
    settings = SpeechSettings(voice="kokoro", voice_file=str(path))
    assert read_text("Hello Bob.", settings).rate == 24_000
    with pytest.raises(SettingsError, match=r"voices\.npz has ann"):
        read_text("Hello", SpeechSettings(voice="kokoro", voice_file=str(path), variant="zoe"))
    (tmp_path / "voices.npz").write_bytes(b"no voices")
    with pytest.raises(VoiceError, match="no file of voices"):
        read_text("Hello", settings)


@pytest.mark.parametrize("name", ["piper", "kokoro"])
def test_without_files_the_licence_and_the_way_out_are_said(name: str, tmp_path: Path):
    with pytest.raises(VoiceError, match=r"no voice_file is given.*licence.*espeak"):
        read_text("Hello", SpeechSettings(voice=name))
    with pytest.raises(VoiceError, match="no such file"):
        read_text("Hello", SpeechSettings(voice=name, voice_file=str(tmp_path / "none.onnx")))
    (tmp_path / "bad.onnx").write_text("no network")
    with pytest.raises(VoiceError, match="cannot load"):
        read_text("Hello", SpeechSettings(voice=name, voice_file=str(tmp_path / "bad.onnx")))


def test_files_beside_are_checked(piper: Path):
    settings = SpeechSettings(voice="piper", voice_file=str(piper))
    beside = piper.with_name("voice.onnx.json")
    beside.write_text("{}")
    with pytest.raises(VoiceError, match="not a Piper voice's"):
        read_text("Hello", settings)
    beside.write_text("{")
    with pytest.raises(VoiceError, match="no JSON"):
        read_text("Hello", settings)
    beside.unlink()
    with pytest.raises(VoiceError, match="belongs beside"):
        read_text("Hello", settings)


def test_a_network_of_another_kind(tmp_path: Path, piper: Path):
    stand_in(piper, "input", {"mystery": (TensorProto.FLOAT, [1])})
    with pytest.raises(VoiceError, match="mystery"):
        read_text("Hello", SpeechSettings(voice="piper", voice_file=str(piper)))
    with pytest.raises(SettingsError, match="only with voice"):
        SpeechSettings(voice_file="x.onnx")
