"""Passes on their way: the files of a segment's frames wait in a folder of their own until all segments are there, then are delivered.

000000048.passes/       the passes of the segment that begins with frame 48, complete and on the disk
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from digidouble.deliver.log import append_log, delivery_record, log_path
from digidouble.deliver.nuke import nuke_script
from digidouble.deliver.partial import output_errors
from digidouble.deliver.passes import PassesPlan, PassesWriter
from digidouble.deliver.settings import DeliveredFiles
from digidouble.deliver.writer import delivered_file
from digidouble.errors import OutputError
from digidouble.schema.layers import FramePasses
from digidouble.schema.time import FrameRange


def passes_folder(folder: Path, segment: FrameRange) -> Path:
    """Where the passes of a segment wait."""
    return folder / f"{segment.start:09d}.passes"


class StagedPasses:
    """Takes frames in any order from any thread, and completes segments."""

    def __init__(self, plan: PassesPlan, folder: Path, segments: Sequence[FrameRange]) -> None:
        self._plan, self._folder, self._writer = plan, folder, PassesWriter(plan)
        self._starts = [s.start for s in segments]

    def write(self, passes: FramePasses) -> None:
        """Raises OutputError: the frame is not in the range, or cannot be written."""
        start = self._starts[max(bisect_right(self._starts, passes.index) - 1, 0)]
        partial = self._partial(start)
        with output_errors(partial):
            partial.mkdir(exist_ok=True)
        self._writer.write(passes, partial)

    def finish(self, segment: FrameRange) -> None:
        """Give a segment's folder its name. Raises OutputError: files of it were not written."""
        partial = self._partial(segment.start)
        with output_errors(partial):
            for index in segment:
                for name in self._plan.names(index):
                    if not (partial / name).is_file():
                        raise OutputError(f"{self._plan.folder / name}: was not written")
                    with (partial / name).open("rb") as file:
                        os.fsync(file.fileno())
            partial.replace(passes_folder(self._folder, segment))

    def discard(self) -> None:
        """Remove what is not finished."""
        for start in self._starts:
            shutil.rmtree(self._partial(start), ignore_errors=True)

    def _partial(self, start: int) -> Path:
        return self._folder / f".{start:09d}.passes.partial"


def deliver_passes(plan: PassesPlan, folder: Path, segments: Sequence[FrameRange]) -> DeliveredFiles:
    """Move the passes of all segments from `folder`, on the same disk, to their names, with a Nuke script; log the delivery first.

    Raises:
        OutputError: a file is missing, or cannot be written.
    """
    with output_errors(plan.folder):
        pairs = [
            (passes_folder(folder, s) / name, plan.folder / name) for s in segments for i in s for name in plan.names(i)
        ]
        if plan.form == "exr":
            layers = [t.layer for t in plan.tracks]
            script = folder / f"{plan.stem}.nk"
            plate = Path(plan.shot.path).resolve()
            script.write_text(nuke_script(plan.shot, plan.frames, plan.pattern.resolve(), layers, plate), "utf-8")
            pairs.append((script, plan.folder / script.name))
        files = tuple(delivered_file(*pair) for pair in sorted(pairs, key=lambda pair: pair[1]))
        labels, shown = plan.settings.labels_for(plan.shot), min(len(plan.frames), plan.labelled)
        delivered = DeliveredFiles(
            files, log_path(plan.pattern), len(plan.frames), f"passes {plan.form}", labels, shown
        )
        append_log(delivered.log, delivery_record(delivered, plan.shot, plan.settings))
        for partial, final in pairs:
            partial.replace(final)
    return delivered
