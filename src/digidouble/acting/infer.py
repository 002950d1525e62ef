"""Which emotion a text and a voice ask for, when nobody says: a short list of words, punctuation and the melody of the voice.

It is a guess and is reported as one. A sentence counts by its words (English and Mandarin, no more than these), weakened by "not" or
"不" right before; an exclamation mark makes it stronger, a question with "!" a surprise. The voice has a say only where the text has
none: lively and loud is a little joy, slow, low and soft a little sadness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from digidouble.acting.timeline import Beat
from digidouble.schema.speech import Prosody, Speech

WORDS: dict[str, str] = {
    "laughter": "haha hahaha hehe lol hilarious laughing 哈哈 嘻嘻 呵呵 笑死 大笑",
    "joy": "happy glad joy joyful delighted love lovely wonderful great fantastic amazing welcome congratulations thanks smile fun "
    "beautiful excited proud excellent perfect best 高兴 开心 快乐 喜欢 爱 太好了 欢迎 恭喜 谢谢 幸福 棒 美好 精彩 祝 新年快乐 真好",
    "crying": "crying sobbing weeping tears wept 哭 哭泣 流泪 眼泪 痛哭",
    "sadness": "sad sorry sorrow unhappy lonely miss lost loss died death grief regret unfortunately alone heartbroken funeral goodbye "
    "难过 伤心 悲伤 可惜 遗憾 孤独 想念 失去 去世 对不起 抱歉 悲痛 再见",
    "anger": "angry furious hate outrageous unacceptable rage stop idiot damn enough shut liar 生气 愤怒 讨厌 恨 可恶 混蛋 住口 够了 不可接受 气死",
    "fear": "afraid fear scared terrified danger dangerous panic horror nightmare frightened help run 害怕 恐惧 可怕 危险 吓 恐怖 救命 快跑 恐慌",
    "surprise": "wow surprise surprised unbelievable incredible suddenly astonishing whoa really what omg 惊讶 意外 居然 竟然 天哪 哇 真的吗 没想到 不敢相信",
    "disgust": "disgusting gross revolting filthy rotten nasty yuck ew sickening 恶心 讨厌死 脏 臭 呕 肮脏",
    "contempt": "pathetic ridiculous whatever loser worthless contempt please sneer 可笑 不屑 无能 鄙视 看不起 没用 废物",
}
WEAK = frozenset(
    (
        "please",
        "what",
        "really",
        "best",
        "help",
        "run",
        "stop",
        "great",
        "miss",
        "thanks",
        "谢谢",
        "再见",
        "爱",
        "棒",
        "脏",
        "臭",
        "吓",
        "祝",
    )
)
NOT = re.compile(r"(\bnot|\bno|\bnever|n't|不|没|别)\s*(\w+\s+)?$", re.IGNORECASE)
SENTENCE = re.compile(r"[^.!?。！？…\n]+[.!?。！？…\n]*")
STRENGTH, WEAK_STRENGTH, STRONGER = 0.65, 0.4, 0.2
LIVELY, FLAT = 0.22, 0.08  # standard deviation of the logarithm of pitch
HEARD = 0.35


@dataclass(frozen=True)
class Inferred:
    """The guess, and why, in words."""

    beats: tuple[Beat, ...]
    why: str


def infer(text: str, speech: Speech | None = None, prosody: Prosody | None = None) -> Inferred:
    """Beats for a text and its voice; neutral when nothing speaks for anything else."""
    found = [(m.start(), m.group(), _sentence(m.group())) for m in SENTENCE.finditer(text)]
    beats: list[Beat] = []
    reasons: list[str] = []
    length = max(len(text), 1)
    for start, sentence, guess in found:
        emotion, strength, reason = guess or ("neutral", 1.0, "")
        if reason:
            reasons.append(f"{emotion} {strength:.2g} from {reason}")
        at = 0.0 if not beats else _time_of(text, start, start / length, speech)
        if beats and beats[-1].emotion == emotion and abs(beats[-1].intensity - strength) < 0.05:
            continue
        if beats and at <= beats[-1].start_s:
            continue
        if sentence.strip():
            beats.append(Beat(round(at, 3), emotion, strength))
    if reasons:
        return Inferred(tuple(beats), "inferred from the text: " + "; ".join(reasons))
    heard = _heard(prosody)
    if heard is not None:
        return heard
    return Inferred((Beat(0.0, "neutral"),), "neutral: nothing in text or voice says otherwise")


def _sentence(sentence: str) -> tuple[str, float, str] | None:
    """(emotion, intensity, reason) of one sentence."""
    low = sentence.lower()
    scores: dict[str, tuple[float, str]] = {}
    for emotion, words in WORDS.items():
        for word in words.split():
            pattern = rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
            for m in re.finditer(pattern, low):
                if NOT.search(low[: m.start()]):
                    continue
                weight = WEAK_STRENGTH if word in WEAK else STRENGTH
                if weight > scores.get(emotion, (0.0, ""))[0]:
                    scores[emotion] = weight, f"“{word}”"
    if not scores:
        if re.search(r"[?？][!！]|[!！][?？]", sentence):
            return "surprise", 0.5, "“?!”"
        return None
    emotion = max(scores, key=lambda k: scores[k][0])
    strength, reason = scores[emotion]
    marks = len(re.findall(r"[!！]", sentence))
    if marks:
        strength, reason = min(strength + STRONGER * min(marks, 2) * 0.75, 1.0), reason + " and “!”"
    return emotion, round(strength, 2), reason


def _time_of(text: str, at: int, share: float, speech: Speech | None) -> float:
    """When a place in a text is spoken: by its word where words are timed, else by its share of the letters."""
    if speech is None:
        return share * 1.0
    starts: dict[int, float] = {}
    for phone in speech.phones:
        if phone.word >= 0:
            starts.setdefault(phone.word, phone.start_s)
    if starts and max(starts) > 0:
        before = len(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'\w+)?", text[:at]))
        total = max(len(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'\w+)?", text)), 1)
        word = min(round(before * (max(starts) + 1) / total), max(starts))
        near = min(starts, key=lambda k: abs(k - word))
        return starts[near]
    return share * speech.duration_s


def _heard(prosody: Prosody | None) -> Inferred | None:
    """A guess from melody and loudness alone."""
    if prosody is None:
        return None
    voiced = prosody.pitch_hz[prosody.pitch_hz > 0]
    loud = prosody.loudness[prosody.loudness > 0.1]
    if len(voiced) < 10 or len(loud) < 10:
        return None
    melody = float(np.std(np.log(voiced)))
    if melody > LIVELY:
        return Inferred(
            (Beat(0.0, "joy", HEARD),), f"joy {HEARD:.2g}, inferred from the voice: lively melody ({melody:.2f})"
        )
    if melody < FLAT and float(np.mean(loud)) < 0.45:
        return Inferred(
            (Beat(0.0, "sadness", HEARD),),
            f"sadness {HEARD:.2g}, inferred from the voice: flat melody ({melody:.2f}), soft",
        )
    return None
