"""The embedded voice: sound with phone times; and that no fault of its process is ours."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from digidouble.errors import SettingsError, VoiceError
from digidouble.speech import SpeechSettings, languages, read_text, voice
from digidouble.speech.phones import TARGETS, closes_lips


def level(samples: np.ndarray, rate: int, start: float, end: float) -> float:
    return float(np.sqrt(np.mean(samples[int(start * rate) : int(end * rate)] ** 2)))


def test_phones_are_in_order_and_where_the_sound_says():
    speech = read_text("Papa paid a copper penny.")
    assert [p.symbol for p in speech.phones if p.symbol][:4] == ["p", "ɑ", "p", "ə"]
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in zip(speech.phones, speech.phones[1:], strict=False))
    assert speech.phones[-1].end_s <= speech.duration_s + 1e-6
    # Independent truth: in the closure of a p between vowels there is next to no sound.
    inside = [
        p
        for a, p in zip(speech.phones, speech.phones[1:], strict=False)
        if p.symbol == "p" and a.symbol and p.word >= 0
    ]
    vowel = max((p for p in speech.phones if p.symbol == "ɑ"), key=lambda p: p.end_s - p.start_s)
    loud = level(speech.samples, speech.rate, vowel.start_s, vowel.end_s)
    assert len(inside) >= 3
    for p in inside:
        assert (
            level(speech.samples, speech.rate, p.start_s + 0.005, p.start_s + 0.3 * (p.end_s - p.start_s)) < 0.2 * loud
        )
    assert any(p.stressed for p in speech.phones) and {p.word for p in speech.phones} >= {0, 1, 2, 3, 4}


def test_phones_that_start_together_share_their_time():
    phones = [p for p in read_text("twelve").phones if p.symbol]
    assert [p.symbol for p in phones] == ["t", "w", "ɛ", "l", "v"]
    assert all(p.end_s - p.start_s > 0.01 for p in phones)


def test_mandarin_closes_lips_on_its_initials():
    speech = read_text("爸爸不怕妈妈。")
    assert speech.language == "cmn"
    assert sum(closes_lips(p.symbol) for p in speech.phones) == 6


def test_a_change_of_language_inside_a_sentence_makes_no_long_pause():
    speech = read_text("我爱 Python 编程")
    words = [p for p in speech.phones if p.symbol]
    gaps = [b.start_s - a.end_s for a, b in itertools.pairwise(words)]
    assert max(gaps) < 0.12
    assert "cmn, en-us" in speech.notices[0]


@pytest.mark.parametrize("text", ["<speak><break time='9s'/>hello</speak>", "[[h@loU]] hello", "hello &amp; &#65;"])
def test_markup_is_only_text(text: str):
    plain, tricked = read_text("hello"), read_text(text)
    assert len(tricked.phones) > len(plain.phones)  # its words are read out
    silence = max(p.end_s - p.start_s for p in tricked.phones if p.silent)
    assert silence < 1.0


def test_embedded_commands_do_not_reach_the_voice():
    assert np.array_equal(read_text("150P hello").samples, read_text("\x01150P hello").samples)


def test_old_versions_are_not_trusted_with_mandarin(monkeypatch: pytest.MonkeyPatch):
    ask = voice._ask

    def older(request, timeout_s: float):
        header, sound = ask(request, timeout_s)
        assert header["version"].startswith("1.5")
        return header | {"version": "1.51"}, sound

    monkeypatch.setattr(voice, "_ask", older)
    with pytest.raises(VoiceError, match=r"1\.51 reads Mandarin's tones"):
        read_text("你好")
    assert read_text("hello").phones


def test_languages_and_unknown_ones():
    assert {"en-us", "en-gb", "cmn", "de"} <= set(languages()) and len(languages()) > 100
    assert read_text("Guten Tag", SpeechSettings(language="de")).language == "de"
    with pytest.raises(SettingsError, match=r"'xx-yy' is not one of the \d+"):
        read_text("hello", SpeechSettings(language="xx-yy"))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-us", "The quick brown fox judged vexing lizards at the pub, though pure joy was the measure."),
        ("cmn", "我去公园散步，看见一只小鸟在树上唱歌，真好听。日本人吃饭。女儿二十四岁，知道自己的雨衣。"),
        ("de", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Computer sind schön."),
        ("fr-fr", "Portez ce vieux whisky au juge blond qui fume. Un bon vin blanc, le software."),
        ("ja", "こんにちは、おはようございます。ふじさん。"), ("ru", "Съешь же ещё этих мягких французских булок."),
    ],
)  # fmt: skip
def test_every_phone_of_a_language_has_a_mouth(language: str, text: str):
    letters = {c for p in read_text(text, SpeechSettings(language=language)).phones for c in p.symbol}
    assert letters - set(TARGETS) <= {"h"} and len(letters) > 12


def test_speed_and_speaker():
    slow, fast = (read_text("a b c d", SpeechSettings(speed=s)) for s in (0.7, 1.6))
    assert slow.duration_s > 1.5 * fast.duration_s
    assert not np.array_equal(read_text("ah").samples, read_text("ah", SpeechSettings(variant="f2")).samples)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("import os; os.abort()", "ended with code -6"),
        ("raise SystemExit(3)", "ended with code 3"),
        ("import time; time.sleep(60)", "did not answer within"),
        ("print('nonsense')", "something else than expected"),
        ('print(\'{"rate": 22050, "runs": [{"samples": 9, "events": []}]}\')', "0 bytes of sound where 18"),
    ],
)
def test_a_crash_or_hang_of_the_voice_is_an_error_of_ours(
    fault: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    languages()  # known before the fault
    worker = tmp_path / "worker.py"
    worker.write_text(fault)
    monkeypatch.setattr(voice, "_WORKER", worker)
    if "sleep" in fault:
        monkeypatch.setattr(voice, "START_TIMEOUT_S", 1.0)
    with pytest.raises(VoiceError, match=message):
        read_text("hello")


def test_without_the_extra_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(VoiceError, match=r"pip install 'digidouble\[speech\]'"):
        voice.espeak_library()
    monkeypatch.setattr("ctypes.util.find_library", lambda name: "libespeak-ng.so.1")
    assert voice.espeak_library() == ("libespeak-ng.so.1", "-")


@pytest.mark.parametrize(
    "wrong",
    [{"voice": "hal"}, {"language": "e n"}, {"speed": 9.0}, {"pitch": 0.0}, {"variant": "../x"}, {"max_seconds": -1.0}],
)
def test_settings_say_what_they_expect(wrong: dict):
    with pytest.raises(SettingsError, match="expected"):
        SpeechSettings(**wrong)


@pytest.mark.parametrize(
    "text",
    ["1" * 400, "a" * 3000, "$(rm -rf /); `id` && ../../etc/passwd", "𝒽𝑒𝓁𝓁𝑜", "Z̷̛͈a̶̢l̸g̵o̷", "ﷺ" * 40, "\u202eabc\u202c", "(((x)))", "é" * 50 + "\n" * 99 + "ß"],
    ids=lambda t: ascii(t[:8]),
)  # fmt: skip
def test_whatever_is_typed_is_said_or_refused(text: str):
    try:
        speech = read_text(text)
    except (SettingsError, VoiceError) as error:
        assert str(error)
    else:
        assert np.isfinite(speech.samples).all() and speech.duration_s > 0.05
        assert all(p.end_s <= speech.duration_s + 1e-6 for p in speech.phones)
