from __future__ import annotations

import numpy as np
import pytest

from digidouble.bench.material import Clip, Pair
from digidouble.bench.protocol import QUALITIES, Case, Measured, Picture, Protocol, Record, Scope
from digidouble.bench.report import BenchReport, read_report, worst_table
from digidouble.bench.runner import run, work_folder
from digidouble.bench.workshop import Workshop, quality_of
from digidouble.errors import NoFace
from digidouble.farm import RenderSettings


@pytest.fixture
def shop(tmp_path) -> Workshop:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    clips = {n: Clip(tmp_path / f"{n}.mp4") for n in ("a", "b")}
    return Workshop(work_folder(tmp_path / "out.json"), clips)


def counted(calls: list[str], stop_at: str | None = None, fail_at: str | None = None) -> Protocol:
    def measure(_shop: Workshop, _scope: Scope, item: str) -> Measured:
        calls.append(item)
        if item == stop_at:
            raise KeyboardInterrupt
        if item == fail_at:
            raise NoFace("nobody there")
        number = float(len(item))
        return Measured((Record(item, "row", {"n": number}),), (Picture("p", np.full((8, 8, 3), 200, np.uint8)),))

    return Protocol("count", "How long?", ("n",), {"n": 1}, lambda *_: ["x", "yy", "zzz"], measure)


SCOPE = Scope((Pair("a", "b"),))


def test_a_stopped_run_goes_on_where_it_was(shop, tmp_path):
    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run([counted(calls, stop_at="zzz")], shop, SCOPE, tmp_path / "out.json")
    assert calls == ["x", "yy", "zzz"] and not (tmp_path / "out.json").exists()
    report = run([counted(calls)], shop, SCOPE, tmp_path / "out.json")
    assert calls[3:] == ["zzz"]
    assert [r.numbers["n"] for r in report.records["count"]] == [1, 2, 3]
    back = read_report(tmp_path / "out.json")
    assert back.records == report.records and set(back.facts["clips"]) == {"a", "b"}
    assert (tmp_path / "out.png").stat().st_size > 0


def test_worst_cases_are_kept_and_reported(shop, tmp_path, monkeypatch):
    calls: list[str] = []

    def measure(_shop: Workshop, _scope: Scope, item: str) -> Measured:
        calls.append(item)
        return Measured(
            (), cases=(Case(item, "digidouble draft", 1, 5, 3, float(len(item)), "because", {"turn_deg": 40.0}),)
        )

    p = Protocol("count", "How long?", ("n",), {}, lambda *_: ["x", "yy", "zzz", "zzzz"], measure, severity="letters")
    drawn: list[object] = []
    monkeypatch.setattr("digidouble.bench.runner.write_worst", lambda *a: drawn.append(a[2]))
    for _ in range(2):
        report = run([p], shop, SCOPE, tmp_path / "out.json")
    assert len(calls) == 4 and [c.severity for c in drawn[1]["count"]] == [4, 3, 2]  # type: ignore[index]
    back = read_report(tmp_path / "out.json")
    assert back.facts["worst"] == report.facts["worst"]
    table = worst_table(back, p)
    assert table is not None and table[1][0] == ["zzzz", "1-5", "4.000", "because"]
    assert worst_table(BenchReport({}, {}, {}), p) is None


def test_every_quality_that_renders_has_a_row():
    assert SCOPE.rows == ("plate", "paste", "classic", *(f"digidouble {q}" for q in QUALITIES)) and "draft" in QUALITIES
    assert Scope(SCOPE.pairs, quick=True).rows[3:] == ("digidouble draft",)
    assert [quality_of(r) for r in SCOPE.rows] == [None, None, None, *QUALITIES]
    for q in QUALITIES:
        assert RenderSettings(quality=q).quality == q  # type: ignore[arg-type]


def test_another_clip_or_scope_measures_anew(shop, tmp_path):
    calls: list[str] = []
    run([counted(calls)], shop, SCOPE, tmp_path / "out.json")
    run([counted(calls)], shop, Scope(SCOPE.pairs, quick=True), tmp_path / "out.json")
    assert len(calls) == 6
    other = tmp_path / "other" / "b.mp4"
    other.parent.mkdir()
    other.write_bytes(b"another b")
    run([counted(calls)], Workshop(shop.folder, {**shop.clips, "b": Clip(other)}), SCOPE, tmp_path / "out.json")
    assert len(calls) == 9


def test_a_failure_is_noted_and_tried_again(shop, tmp_path):
    calls: list[str] = []
    report = run([counted(calls, fail_at="yy")], shop, SCOPE, tmp_path / "out.json")
    assert [r.item for r in report.records["count"]] == ["x", "zzz"]
    assert report.failures == {"count": {"yy": "NoFace: nobody there"}}
    again = run([counted(calls)], shop, SCOPE, tmp_path / "out.json")
    assert calls == ["x", "yy", "zzz", "yy"] and len(again.records["count"]) == 3 and not again.failures["count"]
