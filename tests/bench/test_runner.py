from __future__ import annotations

import numpy as np
import pytest

from digidouble.bench.material import Clip, Pair
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.report import read_report
from digidouble.bench.runner import run, work_folder
from digidouble.bench.workshop import Workshop
from digidouble.errors import NoFace


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
