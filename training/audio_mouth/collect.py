"""Material of the audio-to-mouth network: sound, and what the mouth does to it, as .npz files (samples at 16 kHz; articulators on the grid).

    collect.py made   --out DIR --text FILE... [--minutes 50]     espeak-ng in many voices; phone times are the voice's own
    collect.py read   --out DIR --list FILE                       recordings; phones by CMU pocketsphinx (only here, never in the product)
    collect.py seen   --out DIR --clip MOVIE --perf X.perf        a filmed speaker: articulators from the product's tracker

--list: JSON, [{"file", "name", "text" or null, "align": true or absent}]: with a text it is aligned, without one it is recognised first.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from digidouble.schema.mesh import face_model
from digidouble.schema.speech import Phone, Speech
from digidouble.speech import MouthStyle, SpeechSettings, read_audio, read_text
from digidouble.speech.articulation import COLUMNS, GRID_HZ, JAW, OPENING
from digidouble.speech.sound import ANALYSIS_HZ, read_sound, resampled
from digidouble.speech.visemes import articulate

VARIANTS = (
    "",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "croak",
    "klatt",
    "klatt2",
    "klatt3",
    "whisper",
)
LATIN = (
    "en-us",
    "en-us",
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "de",
    "fr-fr",
    "es",
    "it",
    "pl",
    "pt-br",
    "nl",
    "sv",
    "tr",
)
ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɝ",
    "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w",
    "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip


def save(path: Path, speech: Speech, known: tuple[str, ...] = COLUMNS, target: np.ndarray | None = None) -> None:
    """`known`: articulators whose target is to be believed."""
    if target is None:
        target, _ = articulate(speech.phones, speech.duration_s, MouthStyle())
    samples = resampled(speech.samples, speech.rate)
    rows = -(-len(samples) // (ANALYSIS_HZ // GRID_HZ))
    target = np.pad(target, ((0, max(0, rows - len(target))), (0, 0)))[:rows]
    np.savez(
        path,
        samples=(samples * 32767).astype(np.int16),
        target=target.astype(np.float16),
        known=np.isin(COLUMNS, known),
    )


def made(out: Path, texts: list[Path], minutes: float, rng: np.random.Generator) -> None:
    latin, han = [], []
    for file in texts:
        plain = re.sub(r"[`*_#|>\[\]()]|https?://\S+", " ", file.read_text("utf-8"))
        for sentence in re.split(r"(?<=[.!?。！？])\s*|\n\n", plain):
            s = " ".join(sentence.split())
            if len(re.findall(r"[\u4e00-\u9fff]", s)) > 6:
                han.append(s[:80])
            elif len(re.findall(r"[a-z]", s)) > 25 and not re.search(r"[/\\=<>{}]", s):
                latin.append(s[:200])
    words = [w for s in latin for w in re.findall(r"[A-Za-z]{2,}", s)]
    seconds, k = 0.0, 0
    while seconds < minutes * 60:
        if rng.random() < 0.25:
            language, text = "cmn", han[rng.integers(len(han))]
        else:
            language = LATIN[rng.integers(len(LATIN))]
            text = latin[rng.integers(len(latin))] if rng.random() < 0.6 else " ".join(rng.choice(words, 14))
        settings = SpeechSettings(
            language=language, variant=VARIANTS[rng.integers(len(VARIANTS))],
            speed=float(rng.uniform(0.8, 1.5)), pitch=float(rng.uniform(0.6, 1.6)),
        )  # fmt: skip
        speech = read_text(text, settings)
        save(out / f"made_{k:04d}.npz", speech)
        seconds += speech.duration_s
        k += 1
    print(f"{k} readings, {seconds / 60:.1f} minutes")


def _recognised(samples: np.ndarray, text: str | None) -> tuple[str, list[Phone]]:
    from pocketsphinx import Decoder, get_model_path

    models = Path(get_model_path()) / "en-us"
    given = {"hmm": str(models / "en-us"), "dict": str(models / "cmudict-en-us.dict"), "loglevel": "FATAL"}
    pcm = (samples / max(float(np.abs(samples).max()), 1e-6) * 0.7 * 32767).astype(np.int16).tobytes()

    def decode(decoder: Decoder) -> None:
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()

    if not text:
        first = Decoder(lm=str(models / "en-us.lm.bin"), **given)
        decode(first)
        text = first.hyp().hypstr if first.hyp() else ""
    if not text:
        return "", []
    aligner = Decoder(lm=None, **given)
    aligner.set_align_text(re.sub(r"[^a-z' ]", " ", text.lower()))
    decode(aligner)
    aligner.set_alignment()
    decode(aligner)
    phones = []
    for index, word in enumerate(aligner.get_alignment()):
        for p in word:
            symbol = ARPABET.get(p.name, "")
            begin = p.start / 100
            phones.append(Phone(symbol, begin, begin + p.duration / 100, False, index if symbol else -1))
    return text, phones


def read(out: Path, listed: list[dict]) -> None:
    for item in listed:
        if item.get("align"):  # long, with its text: the product's own alignment
            speech = read_audio(Path(item["file"]), item["text"])
            save(out / f"read_{item['name']}.npz", speech)
            print(item["name"], speech)
            continue
        whole = np.concatenate([read_sound(Path(item["file"]), 1800)])
        pieces = (
            [whole]
            if item["text"] or len(whole) < 25 * ANALYSIS_HZ
            else np.array_split(whole, len(whole) // (15 * ANALYSIS_HZ) + 1)
        )
        for k, samples in enumerate(pieces):
            try:
                text, phones = _recognised(samples, item["text"])
            except RuntimeError as error:  # its aligner gives up where the recognised words do not fit
                print(item["name"], k, error)
                continue
            if phones:
                save(
                    out / f"read_{item['name']}_{k}.npz",
                    Speech(samples.astype(np.float32), ANALYSIS_HZ, tuple(phones), "en", text, "pocketsphinx"),
                )
            print(item["name"], k, f"{len(samples) / ANALYSIS_HZ:.1f} s", text[:100])


def seen(out: Path, clip: Path, perf: Path) -> None:
    """Opening and jaw of a tracked speaker above their own rest (3rd percentile), at the grid's times; the rest is not believed."""
    from digidouble.performance import load_performance

    performance = load_performance(perf)
    track, names = performance.tracks[0], list(face_model().action_names)
    samples = read_sound(clip, 1800)
    frames = track.frames.start + np.arange(len(track.frames))
    at = np.arange(-(-len(samples) // (ANALYSIS_HZ // GRID_HZ))) / GRID_HZ
    target = np.zeros((len(at), len(COLUMNS)))
    m = face_model()
    gap = track.actions @ (m.action_fields_cm[:, [13, 82, 312], 1] - m.action_fields_cm[:, [14, 87, 317], 1]).mean(1)
    per_part = float((m.action_fields_cm[3, [13, 82, 312], 1] - m.action_fields_cm[3, [14, 87, 317], 1]).mean())
    jaw = track.actions[:, names.index("jaw_drop_AU26/jaw_clench")] / 0.62
    for column, curve in ((OPENING, gap / per_part), (JAW, jaw)):
        target[:, column] = np.interp(at, frames / float(performance.shot.rate.fps), curve - np.percentile(curve, 3))
    save(
        out / f"seen_{clip.stem}.npz",
        Speech(samples, ANALYSIS_HZ, (), "", "", "tracker"),
        ("opening",),
        np.clip(target, 0, 1.2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("made", "read", "seen"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--list", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--perf", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.kind == "made":
        made(a.out, a.text, a.minutes, np.random.default_rng(a.seed))
    elif a.kind == "read":
        read(a.out, json.loads(a.list.read_text("utf-8")))
    else:
        seen(a.out, a.clip, a.perf)


if __name__ == "__main__":
    main()
