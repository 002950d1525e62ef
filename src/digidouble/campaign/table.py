"""The table of viewers: CSV or Parquet, every cell as text, bounded. A bad row is that row's error and nobody else's."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

from digidouble.errors import CampaignError

MAX_BYTES = 512 << 20
MAX_ROWS = 200_000
MAX_COLUMNS = 200
MAX_CELL = 10_000


@dataclass(frozen=True)
class Viewer:
    """One row. `row` counts from 1 without the head; `error` says why it cannot be used, "" when it can."""

    row: int
    key: str
    cells: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows."""

    columns: tuple[str, ...]
    viewers: tuple[Viewer, ...]


def read_table(path: Path, key: str) -> Table:
    """All viewers, each named by its cell in column `key`.

    Raises:
        CampaignError: the file cannot be read, is too large, or lacks the key's column.
    """
    try:
        size = path.stat().st_size
    except OSError as e:
        raise CampaignError(f"{path}: the table of viewers cannot be read ({e.strerror})") from e
    if size > MAX_BYTES:
        raise CampaignError(f"{path}: {size >> 20} MiB; a table of viewers has {MAX_BYTES >> 20} MiB or less")
    kinds = {".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix.lower() not in kinds:
        raise CampaignError(f"{path}: expected a table of viewers as .csv or .parquet")
    rows = kinds[path.suffix.lower()](path)
    columns = tuple(next(rows))
    _check_columns(path, columns, key)
    viewers: list[Viewer] = []
    first_of: dict[str, int] = {}
    for number, cells in enumerate(rows, 1):
        if number > MAX_ROWS:
            raise CampaignError(f"{path}: more than {MAX_ROWS} rows; split the campaign")
        viewers.append(_viewer(number, columns, cells, key, first_of))
    return Table(columns, tuple(viewers))


def _check_columns(path: Path, columns: tuple[str, ...], key: str) -> None:
    if len(columns) > MAX_COLUMNS:
        raise CampaignError(f"{path}: {len(columns)} columns; expected {MAX_COLUMNS} or fewer")
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice or not all(columns):
        raise CampaignError(f"{path}: a column has {'the name of another: ' + twice[0] if twice else 'no name'}")
    if key not in columns:
        raise CampaignError(f"{path}: has no column {key!r}, which should name each viewer; it has {_named(columns)}")


def _viewer(
    number: int, columns: tuple[str, ...], cells: list[str] | str, key: str, first_of: dict[str, int]
) -> Viewer:
    if isinstance(cells, str):
        return Viewer(number, "", error=cells)
    if len(cells) != len(columns):
        return Viewer(number, "", error=f"has {len(cells)} cells; the table has {len(columns)} columns")
    named = dict(zip(columns, cells, strict=True))
    name = named[key]
    long = next((c for c, v in named.items() if len(v) > MAX_CELL), None)
    if long is not None:
        return Viewer(number, name[:100], error=f"{long}: {len(named[long])} characters; expected {MAX_CELL} or fewer")
    if not name:
        return Viewer(number, "", named, f"the key ({key}) is empty")
    if name in first_of:
        return Viewer(number, name, named, f"the key {name!r} is that of row {first_of[name]} too")
    first_of[name] = number
    return Viewer(number, name, named)


def _csv_rows(path: Path) -> Iterator[list[str] | str]:
    """The head, then rows; blank lines are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            yield [_plain(c) for c in next(reader, [])]
            for cells in reader:
                if cells:
                    yield [_plain(c) for c in cells]
    except UnicodeDecodeError as e:
        raise CampaignError(f"{path}: is not UTF-8 text (byte {e.start}); save it as UTF-8") from e
    except csv.Error as e:
        raise CampaignError(f"{path}: is not a CSV table: {e}") from e


def _parquet_rows(path: Path) -> Iterator[list[str] | str]:
    import_error = "Parquet tables need pyarrow: pip install 'digidouble[campaign]'"
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise CampaignError(import_error) from e
    try:
        with pq.ParquetFile(path, thrift_string_size_limit=16 << 20, thrift_container_size_limit=1_000_000) as file:
            facts = file.metadata
            unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
            if facts.num_rows > MAX_ROWS or facts.num_columns > MAX_COLUMNS or unpacked > 2 * MAX_BYTES:
                raise CampaignError(
                    f"{path}: {facts.num_rows} rows, {facts.num_columns} columns, {unpacked >> 20} MiB unpacked; "
                    f"expected at most {MAX_ROWS}, {MAX_COLUMNS}, {MAX_BYTES >> 19}"
                )
            yield [_plain(n) for n in file.schema_arrow.names]
            for batch in file.iter_batches(4096):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    yield [_text(c) for c in cells]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise CampaignError(f"{path}: is not a readable Parquet table ({str(e).splitlines()[0][:200]})") from e


def _text(cell: Any) -> str:
    """A cell as people write it: lists as a;b, whole numbers without a point."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, (datetime, date, clock_time)):
        return cell.isoformat()
    if isinstance(cell, (list, tuple)):
        return ";".join(_text(c) for c in cell[:1000])
    return _plain(str(cell))


def _plain(text: str) -> str:
    """Composed form (NFC), so that equal looks are equal texts; no blanks around."""
    return unicodedata.normalize("NFC", text).strip()


def _named(columns: tuple[str, ...]) -> str:
    return ", ".join(columns[:20]) + (" ..." if len(columns) > 20 else "")
