"""Who sees what, under which name: conditions, weights, tables, and names that cannot escape."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from digidouble.campaign.document import read_document
from digidouble.campaign.naming import MAX_PART_BYTES, file_name, same_file
from digidouble.campaign.rules import Rule, Use, choose, read_tests
from digidouble.campaign.table import MAX_CELL, Viewer, read_table
from digidouble.errors import CampaignError


@pytest.mark.parametrize(
    ("when", "cell", "holds"),
    [
        ("north", "North", True), ("north", "south", False), ("[north, east]", "east", True), ("7", "7", True), ("true", "true", True),
        ("{from: 18, below: 35}", "18", True), ("{from: 18, below: 35}", "34.9", True), ("{from: 18, below: 35}", "35", False),
        ("{below: 18}", "9", True), ("{from: 18}", "", False), ("{from: 9}", "10", True),
        ("{from: '06:00', below: '12:00'}", "2026-11-22T08:30:00", True), ("{from: '06:00', below: '12:00'}", "12:00", False),
        ("{from: 22:00, below: 06:00}", "23:30", True), ("{from: 22:00, below: 06:00}", "05:59", True),
        ("{from: 22:00, below: 06:00}", "06:00", False),
        ("{from: 2026-11-01, below: 2026-12-01}", "2026-11-30T23:59", True), ("{from: 2026-11-01}", "2026-10-31", False),
        ("{has: sport}", "Music; Sport", True), ("{has: port}", "sport", False), ("{has_all: [a, b]}", "b|a|c", True),
        ("{has_all: [a, b]}", "a", False), ("{has_none: [a]}", "b", True), ("{has_none: a}", "a,b", False),
        ("{empty: true}", "", True), ("{empty: false}", "", False),
    ],
)  # fmt: skip
def test_conditions(tmp_path, when, cell, holds):
    (tmp_path / "c.yaml").write_text(f"x: {when}")
    (test,) = read_tests(read_document(tmp_path / "c.yaml"))
    assert test.holds(cell) is holds


def test_a_word_where_a_number_belongs_is_an_error_and_not_no(tmp_path):
    (tmp_path / "c.yaml").write_text("age: {from: 18}")
    (test,) = read_tests(read_document(tmp_path / "c.yaml"))
    with pytest.raises(ValueError, match="age: 'old' is not a number"):
        test.holds("old")


def test_weights_share_viewers_out_and_a_viewer_keeps_his_share():
    rules = (Rule("a", (), Use(), 3), Rule("b", (), Use(), 1), Rule("never", (), Use(), 0))
    viewers = [Viewer(i, f"viewer {i}", {}) for i in range(4000)]
    drawn = [choose(rules, True, "seed", v) for v in viewers]
    names = [r.name for r in drawn if r]
    assert len(names) == 4000 and abs(names.count("a") / 4000 - 0.75) < 0.03 and "never" not in names
    assert drawn[7] is choose(rules, True, "seed", Viewer(999, "viewer 7", {"new": "cell"}))
    assert [choose(rules, True, "other", v) for v in viewers] != drawn
    first = choose(rules, False, "seed", viewers[0])
    assert first is not None and first.name == "a"


def test_tables_say_the_same_as_csv_and_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "v.csv").write_bytes("\ufeffid,age,tags,at\r\na,22,x;y,2026-11-22T08:30:00\r\n\r\nb,,,\r\n".encode())
    columns = {
        "id": ["a", "b"],
        "age": [22.0, None],
        "tags": [["x", "y"], None],
        "at": [datetime(2026, 11, 22, 8, 30), None],
    }
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    assert read_table(tmp_path / "v.csv", "id") == read_table(tmp_path / "v.parquet", "id")


def test_bad_rows_are_theirs_alone_and_bad_tables_are_refused(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text(f"id,x\na,1\nb\n,2\na,3\nc,{'y' * (MAX_CELL + 1)}\nd,4\n")
    rows = read_table(path, "id").viewers
    assert [bool(v.error) for v in rows] == [False, True, True, True, True, False]
    assert "1 cells" in rows[1].error and "empty" in rows[2].error and "row 1" in rows[3].error
    for text, words in (
        ("id,id\n", "name of another"),
        ("id,\n", "no name"),
        ('id\n"a', "CSV"),
        ("x\n", "no column 'id'"),
    ):
        path.write_text(text)
        with pytest.raises(CampaignError, match=words):
            read_table(path, "id")
    for name, data in (
        ("v.parquet", b"PAR1 nonsense PAR1"),
        ("v.parquet", b""),
        ("v.csv", b"id\n\xff"),
        ("v.xlsx", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CampaignError):
            read_table(tmp_path / name, "id")


@given(st.text(max_size=300), st.text(max_size=300))
@example("../../etc/passwd", "..")
@example("a/b\\c", "C:")
@example("con", "nul.txt")
@example("\u202egpj.exe", "\ud800")
@example("界" * 200, ".hidden")
@example("", "\x00")
@example("#### %d", "name.")
def test_names_never_leave_the_folder(region, key):
    name = file_name("{region}/{key}.mp4", {"region": region, "key": key})
    parts = PurePosixPath(name).parts
    assert len(parts) == 2 and name.endswith(".mp4")
    for part in parts:
        encoded = part.encode()  # no lone surrogates
        assert 0 < len(encoded) <= MAX_PART_BYTES
        assert not part.startswith(".") and not set(part) & set('/\\:*?"<>|#%\0')
        assert part.rstrip(" .") == part and part.casefold().split(".")[0] not in ("con", "nul", "aux", "prn")


@given(st.text(max_size=120), st.text(max_size=120))
def test_two_keys_share_a_name_only_where_they_look_alike(a, b):
    import unicodedata

    def look(text: str) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFC", text).casefold())

    names = [file_name("{key}.mp4", {"key": k}) for k in (a, b)]
    if look(a) != look(b):
        assert names[0] != names[1]
    assert same_file("Ä.mp4") == same_file("a\u0308.MP4")
