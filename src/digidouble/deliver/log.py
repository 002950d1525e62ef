"""The delivery log: one JSON object a line, beside the output, one line a delivery.

Earlier lines stay when an output is delivered again: whoever gets a copy without a visible label must be able to be
named later (Labelling Measures art. 9: logs of unlabelled copies are kept for six months or more).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from digidouble.deliver.settings import DeliveredFiles, DeliverySettings
from digidouble.errors import OutputError, UnreadableMedia
from digidouble.schema.mark import payload_of
from digidouble.schema.shot import Shot

MAX_LOG_BYTES = 64 << 20


def log_path(out: Path) -> Path:
    """`shot.mp4` -> `shot.mp4.delivery.json`; a sequence's frame field is left out of the name."""
    return out.with_name(plain_name(out) + ".delivery.json")


def plain_name(out: Path) -> str:
    """The file name without a sequence's frame field: `shot.####.exr` -> `shot.exr`."""
    return re.sub(r"[._-]?(#+|%0?\d*d)", "", out.name)


def delivery_record(
    delivered: DeliveredFiles, shot: Shot, settings: DeliverySettings, notes: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The log line as a JSON-ready object. `notes`: what else belongs on record (the gate's decisions)."""
    notes = notes or {}
    labels = delivered.labels
    return {
        "schema": "digidouble.delivery/1",
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [{"name": f.path.name, "bytes": f.size_bytes, "sha256": f.sha256} for f in delivered.files],
        "sidecars": [{"name": f.path.name, "bytes": f.size_bytes, "sha256": f.sha256} for f in delivered.sidecars],
        "frames": delivered.frame_count,
        "encoding": delivered.encoding,
        "plate": {"name": Path(shot.path).name, "sha256": shot.sha256},
        "labels": {
            "aigc": json.loads(labels.aigc.to_json()) if labels.aigc else None,
            "source_type": labels.source_type,
            "mark": f"{payload_of(labels.aigc.produce_id):06x}" if labels.aigc and settings.personas else None,
            "provenance": delivered.provenance,
            "visible_frames": delivered.visible_label_frames,
            "waiver": settings.label_waiver_reason or None,
        },
        "consents": list(settings.consent_ids),
        "personas": [{"name": name, "sha256": sha256} for name, sha256 in settings.personas],
        **notes,
        "settings": settings.to_record(),
        "versions": {name: _version(name) for name in ("digidouble", "av", "OpenEXR", "Pillow", "numpy")},
        "warnings": list(delivered.warnings),
    }


def append_log(path: Path, record: dict[str, object]) -> None:
    """Add a line, atomically: the log is either as it was or one line longer.

    Raises:
        OutputError: the log cannot be written, or what stands under its name is too large to be one.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        earlier = b""
        if path.exists():
            if path.stat().st_size > MAX_LOG_BYTES:
                raise OutputError(f"{path}: larger than {MAX_LOG_BYTES >> 20} MiB: move the old log away")
            earlier = path.read_bytes()
        if earlier and not earlier.endswith(b"\n"):
            earlier += b"\n"
        partial.write_bytes(earlier + json.dumps(record, ensure_ascii=False).encode() + b"\n")
        partial.replace(path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: the delivery log cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_log(path: Path) -> tuple[dict[str, object], ...]:
    """The deliveries on record, oldest first.

    Raises:
        UnreadableMedia: the file is missing, too large or not a delivery log.
    """
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise ValueError(f"larger than {MAX_LOG_BYTES >> 20} MiB")
        records = tuple(json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip())
        if not all(isinstance(record, dict) for record in records):
            raise ValueError("a line is no JSON object")
        return records
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableMedia(f"{path}: not a readable delivery log ({error})") from error


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
