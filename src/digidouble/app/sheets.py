"""Sheets that commands leave: which pictures stand beside which. Cropping and layout are done elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digidouble.deliver.partial import output_errors, partial_path
from digidouble.errors import OutputError

if TYPE_CHECKING:
    from digidouble.deliver.labels import Labels
    from digidouble.farm import Sample
    from digidouble.footage import Footage
    from digidouble.schema.performance import Performance
    from digidouble.schema.persona import Persona

YAWS_DEG = (-45.0, -20.0, 0.0, 20.0, 45.0)
MAX_ATLASES = 8


def write_sheet(path: Path, rgb8: Any, labels: Labels | None = None) -> Path:
    """Write a sheet as PNG, atomically; `labels` mark one that shows a double.

    Raises:
        OutputError: not a .png, or it cannot be written; nothing is left then.
    """
    import cv2

    from digidouble.deliver.labels import label_png

    check_sheet(path)
    partial = partial_path(path)
    with output_errors(path):
        data = cv2.imencode(".png", rgb8[..., ::-1])[1].tobytes()
        try:
            partial.write_bytes(label_png(data, labels) if labels else data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def check_sheet(path: Path) -> None:
    """Refuse before the work what `write_sheet` would refuse after it.

    Raises:
        OutputError: not a .png, the folder is missing, or a folder is in the way.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path}: sheets are written as PNG; name a file that ends in .png")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist: create it first")
    if path.is_dir():
        raise OutputError(f"{path}: a folder of that name is in the way")


def persona_sheet(persona: Persona) -> Any:
    """Neutral face and shape from several sides, every atlas, its confidence, and the coverage (UInt8, display-referred RGB)."""
    import numpy as np

    from digidouble.app.coverage_panel import coverage_panel
    from digidouble.deliver.sheets import contact_sheet
    from digidouble.persona.coverage import coverage
    from digidouble.persona.views import atlas_picture, confidence_picture, neutral_view

    keys = persona.keys[:MAX_ATLASES]
    names = ["fused" if len(persona.keys) > 1 else "atlas"] + [
        f"key {i}: {_source_name(persona, i)}" for i in range(1, len(keys))
    ]
    turned = [f"{yaw:+.0f} deg" for yaw in YAWS_DEG]
    rows = [
        [neutral_view(persona, yaw) for yaw in YAWS_DEG],
        [neutral_view(persona, yaw, clay=True) for yaw in YAWS_DEG],
        [atlas_picture(k) for k in keys],
        [confidence_picture(k) for k in keys],
    ]
    sides = [f"face {k.face_px:.0f} px, yaw {k.view_deg[0]:+.0f}" for k in keys]
    titles = [
        f"{persona.name}: neutral face",
        "shape",
        "skin, light removed",
        "confidence: blue is filled in, yellow is seen",
    ]
    sheet = contact_sheet(rows, [turned, turned, names, sides], titles, 300)
    panel = coverage_panel(persona, coverage(persona), sheet.shape[1])
    wider = np.full((sheet.shape[0], panel.shape[1], 3), sheet[0, 0], np.uint8)
    wider[:, : sheet.shape[1]] = sheet
    return np.vstack([wider, panel])


def _source_name(persona: Persona, key: int) -> str:
    source = persona.keys[key].source
    return persona.sources[source].name if 0 <= source < len(persona.sources) else "unknown"


def faces_sheet(performance: Performance, plate: Footage, crops: int) -> Any:
    """One row a track: who is it, when, and which share of the shot (UInt8, display-referred RGB)."""
    from digidouble.deliver.sheets import contact_sheet
    from digidouble.performance.crops import part_roi
    from digidouble.schema.colour import rgb8_from_frame

    rows, captions, titles = [], [], []
    for track in performance.tracks:
        seen = [i for i in track.frames if track.shown_at(i) > 0]
        row, caption = [], []
        for index in spread(seen or list(track.frames), crops):
            roi = part_roi(track.sample(index).points_px, "face", plate.shot.size_wh)
            if roi.empty:
                continue
            row.append(rgb8_from_frame(plate.frame(index))[roi.y0 : roi.y1, roi.x0 : roi.x1])
            caption.append(f"frame {index}, {100 * track.attention_at(index):.0f} % attention")
        rows.append(row)
        captions.append(caption)
        titles.append(
            f"track {track.track_id}: frames {track.frames.start}:{track.frames.end_exclusive}, "
            f"seen in {len(seen)}, weight {track.weight:.2f}"
        )
    return contact_sheet(rows, captions, titles, 200)


def samples_sheet(samples: Sequence[Sample]) -> Any:
    """Plate above result, frame by frame (UInt8, display-referred RGB)."""
    from digidouble.deliver.sheets import contact_sheet

    captions = [f"frame {s.index}" for s in samples]
    return contact_sheet(
        [[s.plate for s in samples], [s.result for s in samples]], [captions, captions], ["plate", "result"], 260
    )


def spread(frames: Sequence[int], count: int) -> list[int]:
    """`count` of them, evenly spread, first and last included."""
    if len(frames) <= count:
        return list(frames)
    if count == 1:
        return [frames[len(frames) // 2]]
    return [frames[round(k * (len(frames) - 1) / (count - 1))] for k in range(count)]
