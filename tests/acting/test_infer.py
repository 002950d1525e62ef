"""The guess from words and voice."""

from __future__ import annotations

import numpy as np
import pytest

from digidouble.acting import infer
from digidouble.schema.speech import Phone, Prosody, Speech


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I am so happy to see you!", "joy"), ("我们今天非常高兴！", "joy"), ("Unfortunately he died alone.", "sadness"),
        ("她很伤心。", "sadness"), ("This is outrageous, I am furious!", "anger"), ("气死我了！", "anger"),
        ("Run! There is danger!", "fear"), ("救命！", "fear"), ("That is disgusting.", "disgust"), ("真恶心。", "disgust"),
        ("Wow, unbelievable!", "surprise"), ("哇，真的吗？！", "surprise"), ("Haha, hilarious!", "laughter"), ("哈哈哈！", "laughter"),
        ("The train leaves at nine.", "neutral"), ("火车九点开。", "neutral"), ("I am not happy.", "neutral"), ("我不高兴。", "neutral"),
        ("He has a classroom glossary.", "neutral"),
    ],
)  # fmt: skip
def test_sentences(text, emotion):
    found = infer(text)
    assert found.beats[0].emotion == emotion
    assert ("neutral" in found.why) == (emotion == "neutral")


def test_exclamation_is_stronger():
    assert infer("I am happy!").beats[0].intensity > infer("I am happy.").beats[0].intensity


def test_each_sentence_at_its_own_time():
    phones = tuple(Phone("a", k * 0.5, k * 0.5 + 0.4, word=k) for k in range(8))
    speech = Speech(np.zeros(4 * 16000, np.float32), 16000, phones, "en", "", "test")
    found = infer("It is nine now. I am very sad.", speech)
    assert [b.emotion for b in found.beats] == ["neutral", "sadness"]
    assert found.beats[1].start_s == pytest.approx(2.0)


def prosody(melody, loud):
    n = 100
    pitch = 150 * np.exp(melody * np.sin(np.arange(n)) * np.sqrt(2))
    return Prosody(np.arange(n) / 25, np.full(n, loud), pitch, np.zeros(n))


def test_voice_has_a_say_only_without_words():
    assert infer("Nine.", None, prosody(0.35, 0.8)).beats[0].emotion == "joy"
    assert infer("Nine.", None, prosody(0.03, 0.2)).beats[0].emotion == "sadness"
    assert infer("Nine.", None, prosody(0.15, 0.5)).beats[0].emotion == "neutral"
    assert "voice" in infer("", None, prosody(0.35, 0.8)).why
    assert infer("I am furious", None, prosody(0.35, 0.8)).beats[0].emotion == "anger"
