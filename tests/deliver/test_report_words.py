"""The report speaks both languages: every word and sentence of its own has Chinese, and what is not its own stays."""

from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import digidouble
from digidouble.app.quality_report import quality_report
from digidouble.deliver.labels import AigcLabel, Labels
from digidouble.deliver.report import Report, Sheet, render_report
from digidouble.deliver.report_words import Theirs, chinese
from digidouble.farm.settings import Sample

SOURCE = Path(digidouble.__file__).parent


def has_chinese(text: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def warnings_in(file: Path) -> list[str]:
    """Every text that the code of a file appends to its warnings, with 7 for what is filled in."""
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append"):
            continue
        into = node.func.value
        if (into.id if isinstance(into, ast.Name) else getattr(into, "attr", "")) != "warnings" or not node.args:
            continue
        text = node.args[0]
        if isinstance(text, ast.Constant):
            found.append(text.value)
        elif isinstance(text, ast.JoinedStr):
            found.append("".join(p.value if isinstance(p, ast.Constant) else "7" for p in text.values))
    return found


def test_every_warning_of_deliveries_and_plates_has_chinese():
    texts = [
        t for folder in ("deliver", "footage") for f in sorted((SOURCE / folder).rglob("*.py")) for t in warnings_in(f)
    ]
    assert len(texts) > 14
    rate = (
        "a.mov: frame times stray up to 0.7 frames from a constant 25 frames/s; every frame is kept once, at that rate"
    )
    for text in (*(t for t in texts if t != "7: 7; every frame is kept once, at that rate"), rate):
        assert has_chinese(chinese(text)), text
    assert "0.7" in chinese(rate) and "25" in chinese(rate) and "a.mov" in chinese(rate)


@pytest.fixture(scope="module")
def page() -> str:
    stages = dict.fromkeys(
        ["decode", "place", "convert", "draw", "refine", "mark", "composite", "encode", "gate", "passes", "hair"], 0.1
    )
    label = AigcLabel("studio", "ab12")
    names = ("jaw drop", "lips part", "lip corner pull (left)", "inner brow raise (left)", "lid close (left)", "gaze yaw (degrees)",
             "light (linear)", "presence", "key", "attention of track 1")  # fmt: skip
    delivered = SimpleNamespace(
        files=[SimpleNamespace(path=Path("o.mp4"), sha256="ab" * 32)], encoding="libx264 yuv420p", log=Path("o.mp4.delivery.json"),
        labels=Labels(label, "compositeWithTrainedAlgorithmicMedia"), visible_label_frames=48, provenance="signed",
        warnings=("JPEG has no alpha channel; the plate's alpha was dropped",),
    )  # fmt: skip
    gate = {
        "model": "open-nsfw",
        "threshold": 0.8,
        "decision": "passed",
        "frames": [{"score": 0.01, "where": "plate", "frame": 3}],
    }
    picture = np.zeros((20, 20, 3), np.uint8)
    result = SimpleNamespace(
        delivered=delivered, frames=48, wall_s=4.0, continued=12, notes=("continued: 12 of 48 frames were there already",), stages=stages,
        samples=(Sample(0, picture, picture),), curves={n: ([0, 1], [0.1, 0.2]) for n in names}, gate=gate, revocation_list="",
    )  # fmt: skip
    shot = SimpleNamespace(path="plate.mov", size_wh=(64, 48), rate="24", layout=SimpleNamespace(name="yuv420p"))
    consent = SimpleNamespace(
        subject="Ada", granted_by="Ada", scope=("film",), expires=date(2030, 1, 1), evidence="contract 17"
    )
    ada = SimpleNamespace(name="ada", consent=consent)
    facts = {"Analysis": "made in 3.20 s", "Quality": "draft", "Look": "LookSettings()"}
    return render_report(quality_report(result, SimpleNamespace(shot=shot), {"main": ada}, facts, ()))


def test_a_whole_report_is_in_both(page):
    """Headings, names of rows, stages, captions and what the program itself says in the cells."""
    assert "<script" not in page
    for tag in ("h2", "th[^>]*", "figcaption", "h3", "li"):
        for inside in re.findall(f"<{tag}>(.*?)</", page, re.S):
            own = re.sub(r"<[^>]*>", "", inside).strip()
            if own and own not in ("%", "Ada"):  # the person's own name
                assert re.search(rf"<{tag}>\s*<span lang=\"en\">{re.escape(own)}</span><span lang=\"zh\">", page), own
    for words in ("前 48 帧", "48 帧，用时 4.0 秒（9.0 帧/秒）", "续渲：48 帧中已有 12 帧", "由 Ada 授权，用途：film，有效期至 2030-01-01；依据：contract 17",
                  "open-nsfw，上限 0.8：通过", "0.010（底片，第 3 帧）", "用时 3.20 秒", "草稿", "未指定", "轨迹 1 的注意力", "注意力", "分层"):  # fmt: skip
        assert words in page, words


def test_the_gates_cost_is_in_it(page):
    at = page.index('<span lang="en">gate</span>')
    assert "2.08" in page[at : at + 300]  # 0.1 s over 48 frames, in milliseconds


def test_what_people_say_stays_even_where_it_is_one_of_our_words():
    """A spoken "final", a person called Text, a sentence of ours in somebody's mouth."""
    sentence = "made in 3.20 s"
    assert chinese("final") != "final" and chinese(sentence) != sentence
    picture = np.zeros((4, 4, 3), np.uint8)
    facts = {"Text": Theirs("final"), "Quality": "final", "Campaign": Theirs(sentence)}
    made = render_report(
        Report("t", facts, sheets=(Sheet(Theirs("Gaze"), picture),), consent={Theirs("Text"): "granted by A for film until None; 7"})
    )  # fmt: skip
    assert '<td><span lang="en">final</span><span lang="zh">终版</span></td>' in made  # the quality
    assert f"<td>{sentence}</td>" in made and "<figcaption>Gaze</figcaption>" in made
    assert '<span lang="zh">文本</span></th><td>final</td>' in made
    assert '<th scope="row">Text</th><td><span lang="en">granted' in made


def test_names_stay():
    for text in ("plate.mov", "granted", "first of all", "in 3 s", "limit 4"):
        assert chinese(text) == text
