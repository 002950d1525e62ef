"""A stranger's campaign file: what is refused, where the message points, and that refusing is cheap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from digidouble.campaign.document import MAX_BYTES, read_document
from digidouble.campaign.spec import read_campaign
from digidouble.errors import CampaignError

LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CampaignError) as caught:
        read_document(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (LAUGHS, "1:4", "anchors"),
        ("a: 1\nb: *x\n", "2:4", "aliases"),
        ("x: !!python/object/apply:os.system ['touch /tmp/owned']\n", "1:4", "tags are not allowed"),
        ("x: !!binary aGk=\n", "1:4", "tags"),
        ("a: 1\nb: 2\na: 3\n", "3:1", "given twice (first in line 1)"),
        ("a: [1, 2\nb: 3\n", "2:", "not YAML"),
        ("a: 1\n---\nb: 2\n", "2:1", "second document"),
        ("a:\n\t- b\n", "2:1", "not YAML"),
        ("? [a, b]\n: c\n", "1:3", "expected a name"),
        ("[" * 60, "1:13", "deep"),
        ("{a: " * 30 + "1" + "}" * 30, "1:", "deep"),
    ],
)
def test_refusals_name_line_and_column(tmp_path, text, place, words):
    said = refusal(tmp_path, text)
    assert f"c.yaml:{place}" in said and words in said, said
    assert not Path("/tmp/owned").exists()


def test_size_encoding_emptiness_and_number_of_values(tmp_path):
    assert "larger than" in refusal(tmp_path, b"#" * (MAX_BYTES + 1))
    assert "UTF-8" in refusal(tmp_path, b"a: \xff\xfe")
    assert "empty" in refusal(tmp_path, "# nothing\n")
    started = time.perf_counter()
    assert "more than 50000 values" in refusal(tmp_path, "[" + "1," * 60_000 + "]")
    assert time.perf_counter() - started < 20
    with pytest.raises(CampaignError, match="cannot be read"):
        read_document(tmp_path / "absent.yaml")


def test_words_stay_words(tmp_path):
    """YAML 1.1 would make False, 750, a date and 7 of these."""
    path = tmp_path / "c.yaml"
    path.write_text("{a: no, b: 12:30, c: 2026-01-31, d: 007, e: '1', f: 1.5, g: -2, h: true, i: , j: 1e3}")
    values = {k: i.value for k, i in read_document(path).mapping().items()}
    assert values == {
        "a": "no", "b": "12:30", "c": "2026-01-31", "d": "007", "e": "1", "f": 1.5, "g": -2, "h": True, "i": None, "j": 1000.0,
    }  # fmt: skip
    assert type(values["g"]) is int


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("campaign: Autumn", "campain: Autumn", "1:1", "Did you mean campaign?"),
        ("car.mp4,", "cars.mp4,", "4:15", "no such file"),
        ("{cast: c}", "{cast: d}", "11:17", "no persona is called 'd'; there is b, c, film"),
        ("{cast: c}", "{cast: {first: c}}", "11:18", "expected main, all or the id"),
        ("{age: {from", "{aeg: {from", "10:12", "no column 'aeg'"),
        ("from: 18, below: 30", "from: 30, below: 18", "10:17", "nobody is in there"),
        ("from: 18, below: 30", "from: 18, below: soon", "10:35", "expected a number, a time"),
        ("{has: sport}", "{hass: sport}", "10:47", "Did you mean has?"),
        ("Hello {name}", "Hello {nam}", "7:22", "no such column"),
        ("place: bottom", "place: below", "7:66", "expected one of top"),
        ("{region}/{id}.mp4", "../{id}.mp4", "13:16", "inside the folder"),
        ("{region}/{id}.mp4", "/etc/{id}.mp4", "13:16", "inside the folder"),
        ("{region}/{id}.mp4", "{id}", "13:16", "suffix"),
        ("{region}/{id}.mp4", "{ide}.mp4", "13:16", "{ide} is not known"),
        ("{region}/{id}.mp4", "x{{id}}.mp4", "13:16", "brace"),
        ("at_once: 2", "at_once: 2.5", "14:24", "whole number"),
        ("at_once: 2", "at_once: 0", "14:24", "expected 1 to 64"),
        ("key: id", "key: customer", "", "has no column 'customer'"),
        ("concurrency", "look: {keep_tone: 9}\nconcurrency", "14:7", "keep_tone"),
        ("concurrency", "delivery: {visible_label: false}\nconcurrency", "14:11", "say why"),
        ("concurrency", "delivery: {crf: 99}\nconcurrency", "14:17", "expected 0 to 51"),
        ("concurrency", "match: any\nconcurrency", "14:8", "expected one of first, weighted"),
    ],
)
def test_what_is_wrong_in_a_campaign_is_said_with_its_place(campaign, old, new, place, words):
    with pytest.raises(CampaignError) as caught:
        read_campaign(campaign(swaps={old: new}))
    said = str(caught.value)
    assert words in said, said
    assert not place or f"campaign.yaml:{place}:" in said, said
