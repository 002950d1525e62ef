"""A campaign carried out: files, deduplication, what a second run makes, and that nothing is lost or half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from digidouble.app.cli import app
from digidouble.campaign import check_campaign, onepass, run_campaign
from digidouble.campaign.run import batches
from digidouble.deliver.log import read_log
from digidouble.deliver.writer import Writer
from digidouble.errors import CampaignError, DigidoubleError, OutputError
from digidouble.farm import RenderSettings, render_shot
from digidouble.footage import open_footage
from digidouble.performance import load_performance
from digidouble.persona import load_persona

NO_TEXT = {"defaults: {cast: b, language: en}": "defaults: {cast: b}"}
HELLO = {"defaults: {cast: b, language: en}": "defaults: {cast: b, language: en, overlay: hello}"}
ONE_BY_ONE = {"at_once: 2": "at_once: 1"}


def cli(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout) if "--json" in arguments else result.stdout


def table(out: Path) -> list[dict]:
    return pq.read_table(out / "results.parquet").to_pylist()


def decoded(out: Path, names: str = "*.mp4") -> dict[str, str]:
    """Hash of the pixels of every variant: files hold the time of their signature."""
    found = {}
    for path in sorted((out / "variants").glob(names)):
        digest = sha256()
        with open_footage(path) as footage:
            for frame in footage.frames():
                for plane in frame.planes:
                    digest.update(np.ascontiguousarray(plane).tobytes())
        found[path.name] = digest.hexdigest()
    return found


def hashes(out: Path) -> dict[str, str]:
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in (out / "variants").glob("*.mp4")}


def half_written(out: Path) -> list[Path]:
    return [p for p in out.rglob("*") if ".partial-" in p.name]


def test_viewers_get_their_files_and_equal_versions_are_one(campaign, tmp_path):
    file, out = campaign(swaps=NO_TEXT), tmp_path / "out"
    code, said = cli("campaign", "run", file, "-o", out, "--json")
    assert code == 0 and said["ok"] and said["variants_rendered"] == 2 and said["rows_rendered"] == 4
    rows = table(out)
    assert [(r["viewer"], r["status"], r["cast"], r["rule"]) for r in rows] == [
        ("v1", "rendered", "main=c", "sporty"), ("v2", "rendered", "main=b", "defaults"),
        ("v3", "rendered", "main=b", "defaults"), ("v4", "rendered", "main=c", "sporty"),
    ]  # fmt: skip
    for r in rows:
        data = (out / r["file"]).read_bytes()
        assert r["file"] == f"viewers/{['north', 'south', 'cn', 'north'][r['row'] - 1]}/{r['viewer']}.mp4"
        assert (sha256(data).hexdigest(), len(data), r["frames"]) == (r["sha256"], r["bytes"], 10) and r["seconds"] > 0
    assert (out / rows[0]["file"]).stat().st_ino == (out / rows[3]["file"]).stat().st_ino
    assert len(hashes(out)) == 2 and rows[0]["variant"] == rows[3]["variant"] != rows[1]["variant"]
    logged = read_log(next((out / "variants").glob("*.delivery.json")))[-1]
    assert "Someone" in logged["consents"][0] and logged["labels"]["visible_frames"] == 10
    page = (out / "report.html").read_text("utf-8")
    assert "2 unique" in page and "data:image/jpeg" in page and "granted by the tests" in page


def test_pixels_are_those_of_a_single_render_whatever_is_made_beside(campaign, car, people, tmp_path):
    lossless = NO_TEXT | {"{id}.mp4": "{id}.mkv"}
    lossless["concurrency"] = "delivery: {visible_label: false, reason: test of pixels}\nconcurrency"
    out = tmp_path / "out"
    assert run_campaign(campaign(swaps=lossless), out).ok
    from digidouble.deliver.labels import read_labels
    from digidouble.deliver.settings import DeliverySettings

    plain = DeliverySettings(quality="draft", threads=1, visible_label=False, label_waiver_reason="x")
    performance = load_performance(car / "car.perf")
    for viewer, who in (("north/v1", "c"), ("south/v2", "b")):
        single = tmp_path / f"{who}.mkv"
        found = read_labels(out / "viewers" / f"{viewer}.mkv")
        assert found is not None and found.aigc is not None
        same_mark = replace(plain, produce_id=found.aigc.produce_id)
        with open_footage(car / "car.mp4") as plate:
            double = load_persona(people / f"{who}.persona")
            render_shot(plate, performance, {"main": double}, single, RenderSettings(workers=1), same_mark)
        with open_footage(single) as a, open_footage(out / "viewers" / f"{viewer}.mkv") as b:
            for x, y in zip(a.frames(), b.frames(), strict=True):
                assert all((p == q).all() for p, q in zip(x.planes, y.planes, strict=True))


def test_a_cast_is_rendered_once_for_all_its_texts_and_encoders_are_bounded(campaign, tmp_path, monkeypatch):
    count, open_now, most = [0], [0], [0]
    render, open_writer = onepass.render_frame, onepass.open_writer

    def counting(*a, **k):
        count[0] += 1
        return render(*a, **k)

    def opening(*a):
        open_now[0] += 1
        most[0] = max(most[0], open_now[0])
        return open_writer(*a)

    def closing(outcome, close=onepass._close):
        close(outcome)
        open_now[0] -= 1

    monkeypatch.setattr(onepass, "render_frame", counting)
    monkeypatch.setattr(onepass, "open_writer", opening)
    monkeypatch.setattr(onepass, "_close", closing)
    viewers = "id,name,age,region,tags\n" + "".join(f"v{i},Viewer {i},50,n,\n" for i in range(7))
    result = run_campaign(campaign(viewers, HELLO | {"at_once: 2": "at_once: 3"}), tmp_path / "out")
    assert result.ok and result.rendered == 7 and len({r.sha256 for r in result.rows}) == 7
    assert count[0] == 3 * 10  # three passes over ten frames, not seven
    assert most[0] == 3


def test_bad_rows_and_refused_personas_do_not_stop_the_others(campaign, tmp_path):
    viewers = "id,name,age,region,tags\nv1,Ada,22,north,sport\nv2,Bo,soon,north,\nv1,Cy,30,north,\nv5,Di,70,film,\nshort\nv6,Ed,40,south,\n"
    swaps = NO_TEXT | {"defaults:": "  - {when: {region: film}, use: {cast: film}}\ndefaults:"}
    file, out = campaign(viewers, swaps), tmp_path / "out"
    code, said = cli("campaign", "run", file, "-o", out, "--json")
    assert code == 1 and not said["ok"]
    assert [r["status"] for r in table(out)] == ["rendered", "failed", "failed", "refused", "failed", "rendered"]
    errors = [r["error"] for r in table(out)]
    for error, words in zip(
        errors, ("", "'soon' is not a number", "row 1 too", "not advertising", "1 cells", ""), strict=True
    ):
        assert words in error and bool(words) is bool(error)
    assert [f["row"] for f in said["failed"]] == [2, 3, 4, 5]
    assert sorted(p.name for p in (out / "viewers").rglob("*.mp4")) == ["v1.mp4", "v6.mp4"]


def test_a_second_run_makes_only_what_changed(campaign, tmp_path):
    out = tmp_path / "out"
    first = run_campaign(campaign(swaps=HELLO), out)
    assert first.ok and first.rendered == 4
    when = {p: p.stat().st_mtime_ns for p in (out / "variants").glob("*.mp4")}
    again = run_campaign(campaign(swaps=HELLO), out)
    assert again.ok and (again.rendered, again.reused) == (0, 4) and {r.status for r in again.rows} == {"reused"}
    assert {p: p.stat().st_mtime_ns for p in when} == when
    german = HELLO | {"{cast: c}": "{cast: c, language: de}"}
    changed = run_campaign(campaign(swaps=german), out)  # two of the four texts
    assert changed.ok and (changed.rendered, changed.reused) == (2, 2)
    assert [r.overlay for r in changed.rows] == ["Hallo Ada", "Hello Bo", "Hello Cy", "Hallo Di"]
    assert changed.rows[0].sha256 != first.rows[0].sha256
    assert (out / changed.rows[0].file).read_bytes() == (
        out / "variants" / f"{changed.rows[0].variant}.mp4"
    ).read_bytes()
    renamed = run_campaign(campaign(swaps=german | {"{region}/{id}": "{id}"}), out)  # names are no reason to render
    assert renamed.ok and renamed.rendered == 0 and renamed.rows[0].file == "viewers/v1.mp4"


def test_a_damaged_or_missing_file_is_made_again_to_the_bit(campaign, tmp_path):
    out, file = tmp_path / "out", campaign(swaps=NO_TEXT)
    first = run_campaign(file, out)
    before = decoded(out)
    a, b = sorted((out / "variants").glob("*.mp4"))
    data = bytearray(a.read_bytes())
    data[len(data) // 2] ^= 1
    a.unlink()
    a.write_bytes(data)
    b.unlink()
    with (out / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"variant": "cut off by a power')
    again = run_campaign(file, out)
    assert again.ok and again.rendered == 2 and decoded(out) == before
    assert [r.status for r in again.rows] == [r.status for r in first.rows]
    assert run_campaign(file, out).rendered == 0


class Flaky:
    """The writer of one variant fails `times` times at its third frame."""

    def __init__(self, monkeypatch, times: int, error: Exception) -> None:
        self.left, self.error = times, error
        self.victim: Path | None = None
        write = Writer.write

        def failing(writer: Writer, frame, keep_clear=()):
            self.victim = self.victim or writer._out
            if writer._out == self.victim and frame.index == 2 and self.left:
                self.left -= 1
                raise self.error
            return write(writer, frame, keep_clear)

        monkeypatch.setattr(Writer, "write", failing)


@pytest.mark.parametrize("error", [OutputError("x: cannot be written: the disk is full"), ZeroDivisionError("a bug")])
def test_what_may_pass_is_tried_again(campaign, tmp_path, monkeypatch, error):
    Flaky(monkeypatch, 1, error)
    result = run_campaign(campaign(swaps=HELLO), tmp_path / "out", retries=1)
    assert result.ok and sorted(r.attempts for r in result.rows) == [1, 1, 1, 2]


def test_a_variant_that_keeps_failing_is_a_failed_row_and_the_next_run_makes_it(campaign, tmp_path, monkeypatch):
    out, file = tmp_path / "out", campaign(swaps=HELLO)
    with monkeypatch.context() as broken:
        flaky = Flaky(broken, 99, OutputError("x: cannot be written: the disk is full"))
        result = run_campaign(file, out, retries=2)
    assert flaky.left == 99 - 3 and [r.status for r in result.rows].count("failed") == 1 and not result.ok
    failed = next(r for r in result.rows if r.status == "failed")
    assert "disk is full" in failed.error and failed.attempts == 3 and failed.file == failed.sha256 == ""
    assert not half_written(out) and len(hashes(out)) == 3
    again = run_campaign(file, out)
    assert again.ok and (again.rendered, again.reused) == (1, 3)


def test_ctrl_c_keeps_what_is_done(campaign, tmp_path):
    out, file = tmp_path / "out", campaign(swaps=HELLO | ONE_BY_ONE)

    def stop(done: int, total: int) -> None:
        assert total == 40
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_campaign(file, out, progress=stop)
    assert sorted(r["status"] for r in table(out)) == ["pending", "pending", "rendered", "rendered"]
    assert not half_written(out) and len(hashes(out)) == 2
    again = run_campaign(file, out)
    assert again.ok and (again.rendered, again.reused) == (2, 2)
    undisturbed = run_campaign(file, tmp_path / "other")
    assert undisturbed.ok and decoded(out) == decoded(tmp_path / "other")


def test_a_killed_run_continues(campaign, tmp_path):
    out, file = tmp_path / "out", campaign(swaps=HELLO | ONE_BY_ONE)
    command = [sys.executable, "-m", "digidouble", "campaign", "run", str(file), "-o", str(out)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = out / "journal.jsonl"
    for _ in range(4000):
        if run.poll() is not None or (journal.is_file() and journal.read_bytes().count(b"\n") >= 1):
            break
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = journal.read_bytes().count(b"\n")
    assert done >= 1
    again = run_campaign(file, out)
    assert again.ok and again.reused == done and again.rendered == 4 - done and not half_written(out)


def test_two_runs_into_one_folder_and_links_out_of_it_are_refused(campaign, tmp_path):
    out, file = tmp_path / "out", campaign(swaps=NO_TEXT)
    refused = []

    def second(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(OutputError, match="another campaign run"):
                run_campaign(file, out)
            refused.append(True)

    assert run_campaign(file, out, progress=second).ok and refused
    for name in ("north", "outside"):
        (tmp_path / name).mkdir()
    for old in (out / "viewers" / "north").iterdir():
        old.unlink()
    (out / "viewers" / "north").rmdir()
    (out / "viewers" / "north").symlink_to(tmp_path / "outside")
    again = run_campaign(file, out)
    assert [r.status for r in again.rows] == ["failed", "reused", "reused", "failed"] and "leads outside" in again.rows[
        0
    ].error
    assert list((tmp_path / "outside").iterdir()) == []


def test_names_that_meet_are_failed_rows(campaign, tmp_path):
    result = run_campaign(campaign(swaps=NO_TEXT | {"{region}/{id}": "{region}"}), tmp_path / "out")
    assert [r.status for r in result.rows] == ["rendered", "rendered", "rendered", "failed"]
    assert "row 1 too; put {key}" in result.rows[3].error


def test_budgets(campaign, tmp_path):
    with pytest.raises(CampaignError, match="4 variants are to be made, the budget allows 3"):
        run_campaign(campaign(swaps=HELLO | {"concurrency": "budget: {variants: 3}\nconcurrency"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    spent = HELLO | ONE_BY_ONE | {"concurrency": "budget: {seconds: 0.05}\nconcurrency"}
    result = run_campaign(campaign(swaps=spent), tmp_path / "out")
    assert [r.status for r in result.rows].count("pending") == 3 and not result.ok
    assert "budget" in next(r.error for r in result.rows if r.status == "pending")
    assert run_campaign(campaign(swaps=HELLO | ONE_BY_ONE), tmp_path / "out").reused == 1


def test_a_dry_run_counts_measures_and_writes_nothing(campaign, tmp_path):
    file, out = campaign(swaps=HELLO | {"concurrency": "budget: {price_per_hour: 3600}\nconcurrency"}), tmp_path / "out"
    before = sorted(tmp_path.iterdir())
    code, said = cli("campaign", "check", file, "--json")
    assert code == 0 and (said["viewers"], said["variants"], said["to_render"], said["frames"]) == (4, 4, 4, 40)
    assert said["seconds"] > 0 and said["disk_bytes"] > 0 and said["cost"] == pytest.approx(said["seconds"])
    code, dry = cli("campaign", "run", file, "-o", out, "--dry-run", "--json")
    assert code == 0 and dry["variants"] == 4 and sorted(tmp_path.iterdir()) == before
    made = run_campaign(file, out)
    size = sum((out / "variants" / f"{r.variant}.mp4").stat().st_size for r in made.rows)
    assert size / 3 < said["disk_bytes"] < size * 3
    after = check_campaign(file, out)
    assert (after.to_render, after.frames, after.seconds) == (0, 0, 0.0)
    code, said = cli(
        "campaign", "check", campaign("id,name,age,region,tags\nv1,A,x,n,\n", HELLO), "--no-probe", "--json"
    )
    assert code == 1 and said["failed"][0]["error"] == "age: 'x' is not a number"
    assert CliRunner().invoke(app, ["campaign", "check", str(file), "--workers", "ray:h"]).exit_code == 2


def test_large_pictures_are_encoded_fewer_at_a_time(campaign):
    from digidouble.campaign.plan import plan_campaign
    from digidouble.campaign.spec import read_campaign

    plan = plan_campaign(read_campaign(campaign(swaps=HELLO)))
    facts = plan.plates["car"]
    wide = replace(facts, shot=replace(facts.shot, size_wh=(3840, 2160)))
    variants = list(plan.variants.values())
    assert [len(b) for b in batches(variants, facts, 8)] == [4]
    assert [len(b) for b in batches(variants, wide, 8)] == [1, 1, 1, 1]


def test_a_plate_that_cannot_be_analysed_fails_its_rows(campaign, tmp_path, monkeypatch):
    def fails(*_):
        raise DigidoubleError("weights are missing")

    monkeypatch.setattr("digidouble.campaign.run.analyse", fails)
    result = run_campaign(campaign(swaps=NO_TEXT | {", performance: car.perf": ""}), tmp_path / "out")
    assert {(r.status, r.error) for r in result.rows} == {("failed", "weights are missing")}


def test_thumbs_are_of_the_result(campaign, tmp_path):
    import cv2

    out = tmp_path / "out"
    result = run_campaign(campaign(swaps=NO_TEXT), out)
    row = result.rows[0]
    thumb = cv2.imread(str(out / "thumbs" / f"{row.variant}.jpg"))[..., ::-1].astype(float)
    with open_footage(out / row.file) as movie:
        from digidouble.schema.colour import rgb8_from_frame

        rgb = rgb8_from_frame(movie.frame(4))
    expected = cv2.resize(rgb, (thumb.shape[1], thumb.shape[0]), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(thumb - expected).mean() < 6


def test_the_gate_sees_a_plate_once_and_a_refused_cast_is_not_the_others_refusal(campaign, tmp_path, monkeypatch):
    """Two passes over one plate; the first cast's third picture is refused, and the log of the others says they passed."""
    from digidouble.errors import ContentRefused
    from digidouble.perception.content import ContentGate

    looks: list[tuple[int, str, int]] = []

    def look(gate, where, frame, rgb8, real=ContentGate.look):
        looks.append((id(gate), where, frame))
        results = list(dict.fromkeys(g for g, w, _ in looks if w == "result"))
        if where == "result" and results[0] == id(gate):
            gate._scores.append(type("S", (), {"where": where, "frame": frame, "score": 0.99})())
            raise ContentRefused(f"frame {frame} of one cast")
        return real(gate, where, frame, rgb8)

    monkeypatch.setattr(ContentGate, "look", look)
    out = tmp_path / "out"
    result = run_campaign(campaign(swaps=HELLO), out)
    plate = [f for _, w, f in looks if w == "plate"]
    assert len(plate) == len(set(plate)) > 1
    failed = [r for r in result.rows if r.status == "failed"]
    made = [r for r in result.rows if r.status == "rendered"]
    assert failed and made and all("of one cast" in r.error for r in failed)
    logs = list((out / "variants").glob("*.delivery.json"))
    assert len(logs) == len({r.variant for r in made})
    for log in logs:
        for record in read_log(log):
            assert record["content_gate"]["decision"] == "passed"
