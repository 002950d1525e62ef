"""What is looked at while a shot is rendered: frames that the content gate sees, and pictures and curves for the report.

Whoever renders a frame that is wanted shows it. One that an earlier run made is rendered again: a frame is a pure function of cast and plate.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from digidouble.farm.gate import has_seen_plate, look_at
from digidouble.farm.settings import Sample
from digidouble.footage import Footage
from digidouble.perception.content import ContentGate
from digidouble.pipeline import render_frame
from digidouble.render import PreparedCast
from digidouble.schema.colour import LUMA, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.time import FrameRange

Curves = dict[str, tuple[list[int], list[float]]]


class Looks:
    """Takes finished frames as they pass, in any order; keeps or shows to the gate those that are wanted, and the plate's, too, if it has
    not seen the plate."""

    def __init__(
        self, casts: list[PreparedCast], frames: FrameRange, samples: int, gate: ContentGate, gate_frames: frozenset[int], mark: int | None
    ) -> None:  # fmt: skip
        """`samples`: pictures to keep, evenly spread over the frames in which the main face is shown."""
        self._casts, self._gate, self._gate_frames, self._mark = casts, gate, gate_frames, mark
        self._plate_too = not has_seen_plate(gate)
        track = casts[0].plan.track
        shown = [i for i in frames if track.shown_at(i) > 0.5] if samples else []
        wanted = np.linspace(0, len(shown) - 1, min(samples, len(shown))).round()
        self._sampled = {shown[int(k)] for k in wanted}
        self._samples: dict[int, Sample] = {}
        self._left, self._lock = self._sampled | gate_frames, threading.Lock()

    @property
    def wanted(self) -> frozenset[int]:
        """Frames that have not passed yet."""
        return frozenset(self._left)

    def take(self, source: Frame, result: Frame) -> None:
        """A frame of the plate and what became of it, from any thread. Raises ContentRefused: the gate saw adult content on either."""
        if result.index not in self._left:  # most frames: they do not wait while another one is looked at
            return
        with self._lock:
            if result.index not in self._left:
                return
            self._left.discard(result.index)
            if result.index in self._gate_frames:
                self._see(source, result)
            if result.index in self._sampled:
                self._samples[result.index] = _sample(self._casts[0], source, result)

    def _see(self, source: Frame, result: Frame) -> None:
        if self._plate_too:
            look_at(self._gate, "plate", source)
        look_at(self._gate, "result", result)

    def take_rest(self, plate: Footage) -> None:
        """Render those that have not passed. Raises as `take`."""

        def rendered(index: int) -> tuple[Frame, Frame]:
            source = plate.frame(index)
            return source, render_frame(self._casts, source, mark=self._mark)[0]

        left, at_once = sorted(self._left), os.cpu_count() or 1
        for n in range(0, len(left), at_once):  # no more frames in memory than can be worked on
            with ThreadPoolExecutor(at_once) as pool:
                for pair in pool.map(rendered, left[n : n + at_once]):
                    self.take(*pair)

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self._samples[i] for i in sorted(self._samples))


def _sample(cast: PreparedCast, source: Frame, result: Frame) -> Sample:
    points = cast.plan.track.sample(source.index).points_px
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pad = 0.3 * (high - low)
    w, h = source.size_wh
    roi = Roi(*(int(v) for v in (*(low - pad), *(high + pad)))).clipped((w, h))
    a, b = rgb8_from_frame(source), rgb8_from_frame(result)
    window = (slice(roi.y0, roi.y1), slice(roi.x0, roi.x1))
    return Sample(source.index, a[window].copy(), b[window].copy())


def curves_of(casts: list[PreparedCast], frames: FrameRange) -> Curves:
    """What the main face does, and every cast track's share of attention, frame by frame."""
    return _main_curves(casts[0], frames) | _attention(casts, frames)


def _main_curves(cast: PreparedCast, frames: FrameRange) -> Curves:
    track = cast.plan.track
    shown = [i for i in frames if track.shown_at(i) > 0]
    rows = [track.row(i) for i in shown]
    names = [n.split("/")[0] for n in face_model().action_names]

    def action(name: str) -> list[float]:
        return track.actions[rows, names.index(name)].tolist()

    luma = track.light_sh[:, 0] @ LUMA
    series = {
        "jaw drop": action("jaw_drop_AU26"),
        "lips part": action("lips_part_AU25"),
        "lip corner pull (left)": action("lip_corner_pull_L_AU12"),
        "inner brow raise (left)": action("inner_brow_raise_L_AU1"),
        "lid close (left)": action("lid_close_L_AU43"),
        "gaze yaw (degrees)": track.gaze_deg[rows, 0].tolist(),
        "light (linear)": luma[rows].tolist(),
        "presence": track.presence[rows].tolist(),
        "key": cast.plan.key_a[rows].astype(float).tolist(),
    }
    return {k: (shown, v) for k, v in series.items()}


def _attention(casts: list[PreparedCast], frames: FrameRange) -> Curves:
    out = {}
    for track in (c.plan.track for c in casts):
        shown = [i for i in frames if track.shown_at(i) > 0]
        out[f"attention of track {track.track_id}"] = shown, [track.attention_at(i) for i in shown]
    return out
