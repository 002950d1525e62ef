"""Text before it is spoken: what is left out, what is refused, where the language changes."""

from __future__ import annotations

import pytest

from digidouble.errors import SettingsError
from digidouble.speech.text import clean, guess_language, runs


def test_emoji_are_left_out_and_said_so():
    cleaned = clean("Hello 😀 world 👨‍👩‍👧❤️!", 100)
    assert cleaned.text == "Hello world !"
    assert len(cleaned.notices) == 1 and "emoji" in cleaned.notices[0]
    assert clean("Plain words.", 100).notices == ()


def test_commands_to_voices_are_no_longer_there():
    assert clean("a\x01150P\x00b\u202ec\ue000", 100).text == "a150Pbc"
    assert clean("one\r\ntwo\tthree", 100).text == "one\ntwo three"


@pytest.mark.parametrize("text", ["", "   \n", "😀😀", "...!?", "\x01\x02"])
def test_nothing_to_say_is_refused(text: str):
    with pytest.raises(SettingsError, match="give words"):
        clean(text, 100)


def test_too_long_is_refused_with_the_limit():
    with pytest.raises(SettingsError, match="11 characters, the limit is 10"):
        clean("a" * 11, 10)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Good morning", "en-us"), ("你好，世界", "cmn"), ("こんにちは世界", "ja"), ("안녕하세요", "ko"), ("Привет", "ru"), ("Γειά σου", "el"),
        ("مرحبا", "ar"), ("שלום", "he"), ("नमस्ते", "hi"), ("12.5", "en-us"), ("我爱 Python 编程", "cmn"), ("The word 好 is good", "en-us"),
    ],
)  # fmt: skip
def test_the_script_tells_the_language(text: str, language: str):
    assert guess_language(text) == language


def test_mixed_scripts_are_cut_and_nothing_is_lost():
    text = "Hello, 你好 Bob 12, 我 3 岁。"
    parts = runs(text)
    assert [(p.language, p.text) for p in parts] == [
        ("en-us", "Hello,"),
        ("cmn", "你好"),
        ("en-us", "Bob 12,"),
        ("cmn", "我 3 岁。"),
    ]
    assert [p.pauses for p in parts] == [True, False, True, True]
    assert "".join("".join(p.text.split()) for p in parts) == "".join(text.split())


def test_the_asked_language_reads_its_own_script_only():
    assert [(p.language, p.text) for p in runs("Guten Tag 你好", "de")] == [("de", "Guten Tag"), ("cmn", "你好")]
    assert [p.language for p in runs("你好 world", "yue")] == ["yue", "en-us"]
    assert [p.language for p in runs("Привіт", "uk")] == ["uk"]
    assert [p.language for p in runs("123", "fr")] == ["fr"]
    assert [p.text for p in runs("«12 abc»")] == ["«12 abc»"]
