"""The report stands alone and trusts nobody; sheets show what they were given."""

from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from digidouble.deliver.report import Curve, Report, Series, Sheet, Timing, chart_of, render_report, write_report
from digidouble.deliver.sheets import contact_sheet
from digidouble.errors import OutputError, SettingsError

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


def full_report(text: str = "clip.mp4") -> Report:
    picture = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    series = (Series(text, [0, 1, 2, 3], [0.1, 0.5, math.nan, 0.3]), Series("plate", [0, 3], [0.2, 0.2]))
    return Report(
        title=text,
        facts={"Plate": text, text: "24000/1001"},
        sheets=(Sheet(text, picture),),
        curves=(Curve(text, "px", series),),
        timings=(Timing(text, 12.5, 0.75), Timing("encode", 4.0, 0.25)),
        warnings=(text,),
        labels={"AIGC": text},
        consent={"Person": text},
    )


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def parsed(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    return elements


def test_report_is_self_contained():
    html = render_report(full_report())
    assert not re.search(r"https?:|//cdn|@import|url\(", html)
    for tag, attributes in parsed(html).seen:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "prefers-color-scheme: dark" in html
    for heading in (
        "Facts",
        "基本信息",
        "Curves",
        "曲线",
        "Labels",
        "标识",
        "Consent",
        "授权",
        "Warnings",
        "Time",
        "耗时",
    ):
        assert heading in html


def test_hostile_names_stay_text():
    html = render_report(full_report(HOSTILE))
    elements = parsed(html)
    assert not [tag for tag, attributes in elements.seen if tag == "script" or "onerror" in attributes]
    assert sum(HOSTILE in word for word in elements.words) >= 9
    assert parsed(render_report(full_report())).seen.__len__() == len(elements.seen)


def test_pictures_are_inside():
    html = render_report(full_report())
    (data,) = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", html)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert picture.shape == (40, 60, 3)
    assert np.abs(picture.astype(int) - (200, 100, 50)).max() <= 4


def test_svg_is_well_formed_and_breaks_at_gaps():
    html = render_report(full_report())
    svg = ElementTree.fromstring(re.search(r"<svg.*?</svg>", html, re.S).group())
    paths = [path.attrib["d"] for path in svg.findall("path")]
    assert paths[0].count("M") == 2 and paths[0].count("L") == 1
    assert paths[1].count("M") == 1


def test_chart_places_values_linearly():
    chart = chart_of(Curve("c", "", (Series("s", [0, 10], [0.0, 1.0]),)))
    left, top, right, bottom = chart.frame
    assert chart.paths == (("s", f"M{left} {bottom}L{right} {top}"),)
    assert {text: y for y, text in chart.grid_y}["0.5"] == pytest.approx((top + bottom) / 2)


@pytest.mark.parametrize("ys", [[], [3.0], [0.0, 0.0], [math.nan, math.inf], [1e-9, 2e-9], [-5e8, 7e9]])
def test_charts_of_odd_data(ys):
    chart = chart_of(Curve("c", "", (Series("s", list(range(len(ys))), ys),)))
    assert len(chart.grid_y) >= 2 and len(chart.grid_y) < 12
    assert "nan" not in chart.paths[0][1] and "inf" not in chart.paths[0][1]


def test_long_series_are_thinned_without_losing_a_spike():
    ys = [0.0] * 100_000
    ys[54_321] = 1.0
    chart = chart_of(Curve("c", "", (Series("s", range(100_000), ys),)))
    assert len(chart.paths[0][1]) < 60_000
    assert f" {chart.frame[1]}" in chart.paths[0][1]


def test_empty_report_and_atomic_write(tmp_path):
    write_report(tmp_path / "report.html", Report("empty", {}))
    assert "Curves" not in (tmp_path / "report.html").read_text("utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError):
        write_report(tmp_path / "no" / "report.html", Report("empty", {}))
    (tmp_path / "dir.html").mkdir()
    with pytest.raises(OutputError):
        write_report(tmp_path / "dir.html", Report("empty", {}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir.html", "report.html"]


def test_report_refusals():
    with pytest.raises(SettingsError):
        Sheet("x", np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(SettingsError):
        Series("x", [1, 2], [1])


def test_sheet_holds_its_pictures_at_their_aspect():
    red, green = np.full((50, 100, 3), (255, 0, 0), np.uint8), np.full((200, 100, 3), (0, 255, 0), np.uint8)
    gray = np.full((100, 100), 128, np.uint8)
    sheet = contact_sheet([[red, green], [gray]], [["one", "two"], ["three"]], ["first row", "second"], cell_height=100)
    assert int((sheet == (255, 0, 0)).all(axis=2).sum()) == 200 * 100
    assert int((sheet == (0, 255, 0)).all(axis=2).sum()) == 50 * 100
    assert int((sheet == (128, 128, 128)).all(axis=2).sum()) >= 100 * 100


def test_captions_are_written_below_and_cut():
    cell = np.zeros((100, 100, 3), np.uint8)
    bare, short = contact_sheet([[cell]], [[""]]), contact_sheet([[cell]], [["frame 12"]])
    long = contact_sheet([[cell]], [["frame " * 60]])
    assert bare.shape == short.shape == long.shape
    ink = np.argwhere((bare != short).any(axis=2))
    assert len(ink) > 100 and ink[:, 0].min() >= 240
    assert np.argwhere((bare != long).any(axis=2))[:, 1].max() < bare.shape[1] - 7


def test_sheet_refusals():
    for bad in ([], [[]], [[np.zeros((4, 4, 4), np.uint8)]], [[np.zeros((4, 4, 3), np.float32)]]):
        with pytest.raises(SettingsError):
            contact_sheet(bad)
    with pytest.raises(SettingsError):
        contact_sheet([[np.zeros((4, 4), np.uint8)]], cell_height=5000)
