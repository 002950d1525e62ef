from __future__ import annotations

import json
import math

import numpy as np
import pytest

from digidouble.bench.protocol import Record
from digidouble.bench.protocols.pairs import EXPRESSION, IDENTITY
from digidouble.bench.report import BenchReport, compare, markdown, read_report, summary_table, write_report
from digidouble.bench.statistics import bootstrap, finite_mean, paired
from digidouble.errors import SettingsError, UnreadableMedia


def report(shift: float = 0.0, items: int = 12) -> BenchReport:
    rng = np.random.default_rng(0)
    records = tuple(
        Record(f"a{i}->b{i}", row, {"won": w + shift * (row == "digidouble"), "margin": 0.1 * w, "swing": math.nan})
        for i in range(items)
        for row, w in (("plate", 0.0), ("digidouble", float(rng.uniform(0.5, 0.9))))
    )
    return BenchReport({"machine": {"cpu": "x"}}, {"identity": records}, {"identity": {"c->d": "NoFace: none"}})


def test_a_report_reads_back(tmp_path):
    write_report(report(), tmp_path / "a.json")
    back = read_report(tmp_path / "a.json")
    assert back.facts == {"machine": {"cpu": "x"}} and back.failures == report().failures
    for a, b in zip(back.records["identity"], report().records["identity"], strict=True):
        assert (a.item, a.row) == (b.item, b.row)
        assert a.numbers["won"] == pytest.approx(b.numbers["won"], abs=1e-6) and math.isnan(a.numbers["swing"])
    json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)  # no NaN in the file


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99, "protocols": {}}', '{"schema": 1, "protocols": {"identity": 3}}']
)
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SettingsError, match=r"x\.json"):
        read_report(tmp_path / "x.json")
    with pytest.raises(UnreadableMedia, match="bench all"):
        read_report(tmp_path / "none.json")


def test_compare_finds_what_changed_and_only_that():
    changes = {(c.row, c.number): c for c in compare(report(), report(0.05), (IDENTITY, EXPRESSION))}
    won = changes["digidouble", "won"]
    assert won.verdict == "better" and won.change.mean == pytest.approx(0.05)
    assert [k for k, c in changes.items() if c.verdict] == [("digidouble", "won")]
    back = {(c.row, c.number): c for c in compare(report(0.05), report(), (IDENTITY,))}
    assert back["digidouble", "won"].verdict == "worse"


def test_one_item_is_never_a_clear_change():
    changes = compare(report(items=1), report(0.5, items=1), (IDENTITY,))
    assert changes and not any(c.verdict for c in changes)


def test_items_are_paired_by_name():
    few = report(0.05)
    some = BenchReport(few.facts, {"identity": few.records["identity"][10:]}, {})
    assert {c.change.count for c in compare(report(), some, (IDENTITY,))} == {7}


def test_the_bootstrap_interval_covers_the_mean():
    rng = np.random.default_rng(1)
    hits = 0
    for k in range(100):
        found = bootstrap(list(rng.normal(0.3, 1.0, 30)), seed=k)
        hits += found.low <= 0.3 <= found.high
    assert 86 <= hits <= 100
    assert not bootstrap([0.1, -0.1, 0.2, -0.2]).clear and bootstrap([0.1, 0.12, 0.11, 0.13]).clear
    assert bootstrap([math.nan]).count == 0
    assert paired([1, 2, math.nan], [2, 3, 4]).mean == 1
    assert finite_mean([1.0, math.nan, 3.0]) == 2.0


def test_tables():
    heads, body = summary_table(report(), IDENTITY)
    assert heads[:2] == ["row", "won"] and [r[0] for r in body] == ["plate", "digidouble", "to reach"]
    assert "swing" not in heads  # nothing was measured there
    lines = markdown(heads, body).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and ">= 0.95" in lines[-1]
