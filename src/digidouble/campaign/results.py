"""The results table: one row a viewer, as Parquet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from digidouble.deliver.partial import output_errors, partial_path
from digidouble.errors import CampaignError

RESULTS = "results.parquet"
STATUSES = ("rendered", "reused", "failed", "refused", "pending")


@dataclass(frozen=True)
class ResultRow:
    """What became of one viewer.

    Attributes:
        row, viewer: number and key in the table of viewers. variant: id of the version; equal for equal versions.
        status: rendered (now), reused (was there), failed, refused (consent), pending (not reached in this run).
        file: relative to the campaign's folder, "" when there is none. sha256, bytes, frames: of it.
        seconds: what the variant took, shared by the viewers who get it.
        plate, cast, language, overlay, rule: what was chosen, and by which rule. attempts: tries in this run. error: why not.
    """

    row: int
    viewer: str
    variant: str
    status: str
    file: str
    sha256: str
    bytes: int
    frames: int
    seconds: float
    plate: str
    cast: str
    language: str
    overlay: str
    rule: str
    attempts: int
    error: str


def write_results(path: Path, rows: tuple[ResultRow, ...]) -> None:
    """Write the table, atomically.

    Raises:
        OutputError: it cannot be written. CampaignError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise CampaignError("the results table needs pyarrow: pip install 'digidouble[campaign]'") from e
    kinds = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    schema = pa.schema([(f.name, kinds[str(f.type)]) for f in fields(ResultRow)])
    partial = partial_path(path)
    with output_errors(path):
        try:
            pq.write_table(pa.Table.from_pylist([asdict(r) for r in rows], schema), partial, compression="zstd")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
