"""The passes of `digidouble faces --passes`: every track's RGB, depth, flow and matte as pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digidouble.app.sheets import spread, write_sheet
from digidouble.deliver.partial import output_errors
from digidouble.errors import OutputError

if TYPE_CHECKING:
    from digidouble.footage import Footage
    from digidouble.schema.modalities import Modalities
    from digidouble.schema.performance import Performance
    from digidouble.schema.track import FaceTrack

CELL_PX = 200
LEAST_FLOW_PX = 1.0  # a still face is shown as still, not as noise in full colour
COLUMNS = ("rgb", "depth", "flow", "matte")


@dataclass(frozen=True)
class Row:
    """One frame of one track: four pictures of one size (UInt8), and what to write below them."""

    index: int
    pictures: tuple[Any, Any, Any, Any]
    captions: tuple[str, str, str, str]


def write_passes(
    performance: Performance, plate: Footage, folder: Path, frames: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """For every track a sheet `track-ID.png` and the single pictures `track-ID/frame-NNNNNN-PASS.png` of evenly spread frames.

    Returns what was written, and how it was measured.

    Raises:
        OutputError: the folder cannot be made or written. MediaError: the plate cannot be read.
    """
    from digidouble.deliver.sheets import contact_sheet
    from digidouble.performance.modalities import Senses
    from digidouble.performance.settings import PerformSettings

    if folder.is_file():
        raise OutputError(f"{folder}: is a file; name a folder for the passes")
    senses = cache(lambda: Senses.of(PerformSettings()))
    wanted = {
        t.track_id: spread([i for i in t.frames if t.shown_at(i) > 0] or list(t.frames), frames)
        for t in performance.tracks
    }
    total, done, sheets, pictures = sum(map(len, wanted.values())), 0, [], []
    for track in performance.tracks:
        rows = []
        of_track = folder / f"track-{track.track_id}"
        with output_errors(of_track):
            of_track.mkdir(parents=True, exist_ok=True)
        for index in wanted[track.track_id]:
            row = _row(performance, plate, track, index, senses)
            done += 1
            progress(done, total)
            if row is not None:
                rows.append(row)
                for name, picture in zip(COLUMNS, row.pictures, strict=True):
                    pictures.append(write_sheet(of_track / f"frame-{index:06d}-{name}.png", picture))
        if rows:
            titles = [f"track {track.track_id}, frame {r.index}" for r in rows]
            sheet = contact_sheet([r.pictures for r in rows], [r.captions for r in rows], titles, CELL_PX)
            sheets.append(write_sheet(folder / f"track-{track.track_id}.png", sheet))
    how = performance.modalities or senses().facts()
    kept = "as kept in the performance" if performance.modalities else "measured now"
    return {
        "folder": folder, "sheets": sheets, "pictures": pictures, "measured_by": how,
        "how": f"flow by {how.get('flow')}, depth from {how.get('depth')}, {kept}",
    }  # fmt: skip


def _row(
    performance: Performance, plate: Footage, track: FaceTrack, index: int, senses: Callable[[], Any]
) -> Row | None:
    from digidouble.performance.modalities import modalities_at

    seen = modalities_at(performance, plate, track, index, senses)
    return None if seen is None else row_of(seen, track.sample(index).matte, index)


def row_of(seen: Modalities, matte: Any, index: int) -> Row:
    """RGB, depth, flow to the next frame (to the last one where a run ends) and matte, all at the size of the crop."""
    import cv2
    import numpy as np

    from digidouble.perception.depth import depth_picture
    from digidouble.perception.flow import colour_wheel

    size_wh = seen.rgb8.shape[1], seen.rgb8.shape[0]
    face = cv2.resize(matte, seen.depth_cm.shape[::-1], interpolation=cv2.INTER_AREA) > 127
    near, far = (float(v) for v in np.quantile(seen.depth_cm[face], (0.01, 0.99))) if face.any() else (0.0, 0.0)
    flow, where = (
        (seen.flow_next_px, "to the next") if seen.flow_next_px is not None else (seen.flow_last_px, "to the last")
    )
    if flow is None:
        flow, where = np.zeros((*seen.depth_cm.shape, 2), np.float32), "no neighbour"
    most = max(float(np.quantile(np.linalg.norm(flow, axis=-1), 0.98)), LEAST_FLOW_PX)

    def large(picture: Any) -> Any:
        return cv2.resize(picture, size_wh, interpolation=cv2.INTER_NEAREST)

    pictures = seen.rgb8, large(depth_picture(seen.depth_cm)), large(colour_wheel(flow, most)), matte
    return Row(
        index, pictures, ("plate", f"face {near:+.0f}..{far:+.0f} cm", f"{where}: {most:.1f} px", "visible face")
    )
