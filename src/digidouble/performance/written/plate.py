"""The plate as acted: footage whose face makes the written movements, so that nothing of its own mouth, chin or eyes is left under the
double; and a portrait that comes to life as such footage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32, Num

from digidouble.footage import Footage
from digidouble.performance.written.eyes import Eyeball, eye_patches, eyeballs_of
from digidouble.performance.written.mouth import Patch, mouth_patch
from digidouble.performance.written.shape import LOWER_LIP, UPPER_LIP, Written, written
from digidouble.performance.written.warp import Warp, warp_of
from digidouble.schema.acting import Acting
from digidouble.schema.colour import frame_with, linear_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange
from digidouble.schema.track import FaceTrack, TrackSample

MENDED_CM = 0.12  # lips that are further apart on the plate are mended
LIP_EDGE_CM = 0.16  # teeth show this far beyond the tracked rim of the lips
EYE_RIM_CM = 0.07  # lashes, which go with the lids
BACKWARDS = 24  # frames that are held while a plate is played backwards


def played(plate_frames: int, frames: int) -> list[int]:
    """Which plate frame each frame of the result shows: forwards, then backwards, and so on."""
    if plate_frames == 1:
        return [0] * frames
    period = 2 * (plate_frames - 1)
    return [min(k % period, period - k % period) for k in range(frames)]


@dataclass(frozen=True)
class Score:
    """What is played on which plate: plate track, acting, and the plate frame of every row."""

    track: FaceTrack
    acting: Acting
    rows: tuple[int, ...]
    still: bool

    def at(self, row: int) -> Written | None:
        """The face of one frame of the result; None where the plate shows no face."""
        index = self.rows[row]
        if self.track.shown_at(index) <= 0:
            return None
        return written(self.track, index, self.acting, row, self.still)

    def warp(self, face: Written, row: int, size_wh: tuple[int, int]) -> Warp:
        """How the plate is bent for it."""
        head = (self.track.pose(self.rows[row]), face.pose) if self.still else None
        return warp_of(face.source_px, face.points_px, size_wh, head)


@dataclass(frozen=True)
class Layers:
    """A portrait taken apart: `person` 0..1, and `behind`, the portrait's planes with the person filled in from around."""

    person: Float32[np.ndarray, "h w"]
    behind: tuple[Num[np.ndarray, "..."], ...]


class ActedFootage(Footage):
    """The plate of a written performance.

    `shot`: facts of the result, from `acted_shot`. `layers`: of a portrait, None for footage (which stays where it is around the face).
    """

    def __init__(self, plate: Footage, score: Score, shot: Shot, layers: Layers | None = None) -> None:
        self._plate, self._score, self._layers = plate, score, layers
        self.shot, self.warnings = shot, plate.warnings
        self._balls: tuple[Eyeball, ...] = ()
        self._still: Frame | None = None
        if score.still:
            self._still = plate.frame(0)
            points = score.track.sample(0).points_px
            self._balls = eyeballs_of(self._still, points)
            size = float(score.track.px_per_cm[0])
            self._still = lips_mended(self._still, points, size)
            if len(self._balls) == 2:
                self._still = eyes_mended(self._still, points, size)

    def _stream(self, frame_range: FrameRange) -> Iterator[Frame]:
        if self._still is not None:
            for row in frame_range:
                yield self._acted(self._still, row)
            return
        for row, frame in zip(
            frame_range, _in_order(self._plate, [self._score.rows[r] for r in frame_range]), strict=True
        ):
            yield self._acted(frame, row)

    def _seek(self, index: int) -> Frame:
        frame = self._still if self._still is not None else self._plate.frame(self._score.rows[index])
        return self._acted(frame, index)

    def close(self) -> None:
        self._plate.close()

    def _acted(self, frame: Frame, row: int) -> Frame:
        face = self._score.at(row)
        frame = replace(frame, index=row, pts_seconds=self.shot.rate.seconds_at(row))
        if face is None:
            return frame
        warp = self._score.warp(face, row, frame.size_wh)
        sample = self._score.track.sample(self._score.rows[row])
        if self._still is None:
            frame = lips_mended(frame, face.source_px, face.pose.px_per_cm)
        out = _bent(frame, warp)
        if self._layers is not None:
            out = _over_background(out, warp, self._layers)
        patches: list[Patch] = eye_patches(face, self._balls, frame.size_wh)
        mouth = mouth_patch(face, self._score.track.neutral_cm, skin_of(sample), frame.size_wh)
        for patch in [*patches, *([mouth] if mouth else [])]:
            under = linear_from_frame(out, patch.roi)
            out = frame_with(out, patch.roi, under + patch.alpha[..., None] * (patch.rgb - under), patch.alpha)
        return out


def acted_shot(plate: Shot, frames: int, acting: Acting) -> Shot:
    """Facts of the result; its sound is the delivery's business."""
    return replace(
        plate, kind="movie", frame_count=frames, rate=acting.rate, cuts=(), timecode=None, variable_rate=False,
        has_audio=False, start_number=0,
    )  # fmt: skip


def skin_of(sample: TrackSample) -> Float[np.ndarray, "3"]:
    """Mean radiance of the face's visible skin, scene-linear."""
    weight = sample.skin_weight.astype(np.float64)
    if weight.sum() <= 0:
        return np.full(3, 0.2)
    return (sample.skin_linear.astype(np.float64) * weight[..., None]).sum((0, 1)) / weight.sum()


def _in_order(plate: Footage, indices: Sequence[int]) -> Iterator[Frame]:
    """Frames of a plate played to and fro; backwards in stretches of BACKWARDS that are decoded forwards."""
    at = 0
    while at < len(indices):
        step = indices[at + 1] - indices[at] if at + 1 < len(indices) else 1
        end = at + 1
        while end < len(indices) and indices[end] - indices[end - 1] == step and step != 0:
            end += 1
        if step >= 0:
            yield from plate.frames(FrameRange(indices[at], indices[end - 1] + 1))
            at = end
        else:
            end = min(end, at + BACKWARDS)
            yield from reversed(list(plate.frames(FrameRange(indices[end - 1], indices[at] + 1))))
            at = end


def lips_mended(frame: Frame, points_px: Float[np.ndarray, "478 3"], px_per_cm: float) -> Frame:
    """The frame with whatever shows between its lips replaced by lip: what is between the written ones is painted anew, and where they
    are shut no tooth of the plate must be left."""
    gap = float((points_px[LOWER_LIP, 1] - points_px[UPPER_LIP, 1])[3:6].mean()) / px_per_cm
    return _mended(frame, points_px, "inner_lips", LIP_EDGE_CM * px_per_cm) if gap >= MENDED_CM else frame


def eyes_mended(frame: Frame, points_px: Float[np.ndarray, "478 3"], px_per_cm: float) -> Frame:
    """The frame with its eyes filled in from their lids: eyeballs are drawn anew, and nothing white is left where lids meet."""
    for loop in ("left_eye", "right_eye"):
        frame = _mended(frame, points_px, loop, -EYE_RIM_CM * px_per_cm)
    return frame


def _mended(frame: Frame, points_px: Float[np.ndarray, "478 3"], loop: str, grown_px: float) -> Frame:
    """The frame with the inside of a loop, grown or shrunk, filled in from around."""
    rim = points_px[face_model().loops[loop], :2].astype(np.float64)
    pad = 12 + 2 * abs(grown_px) + 0.3 * float(np.ptp(rim[:, 0]))
    roi = Roi(*(int(v) for v in (*np.floor(rim.min(0) - pad), *np.ceil(rim.max(0) + pad)))).clipped(frame.size_wh)
    if roi.empty:
        return frame
    h, w = roi.size_hw
    hole = np.zeros((h, w), np.uint8)
    cv2.fillPoly(hole, [np.round((rim - [roi.x0, roi.y0]) * 16).astype(np.int32)], 255, shift=4)
    side = 2 * max(round(abs(grown_px)), 1) + 1
    change = cv2.dilate if grown_px > 0 else cv2.erode
    gone_luma = change(hole, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))).astype(np.float32) / 255
    planes = []
    for n, plane in enumerate(frame.planes):
        sx, sy = frame.layout.chroma_shift_xy if frame.layout.kind == "yuv" and n in (1, 2) else (0, 0)
        window = (
            slice(roi.y0 >> sy, (roi.y1 + (1 << sy) - 1) >> sy),
            slice(roi.x0 >> sx, (roi.x1 + (1 << sx) - 1) >> sx),
        )
        part = plane[window].astype(np.float32)
        gone = gone_luma if not (sx or sy) else cv2.resize(gone_luma, part.shape[1::-1], interpolation=cv2.INTER_AREA)
        filled = _filled(part, gone)
        soft = np.maximum(gone, cv2.GaussianBlur(gone, (0, 0), 0.7))
        mixed = part + (soft if part.ndim == 2 else soft[..., None]) * (filled - part)
        out = plane.copy()
        out[window] = np.clip(np.round(mixed), 0, np.iinfo(plane.dtype).max) if plane.dtype.kind == "u" else mixed
        planes.append(out)
    return replace(frame, planes=tuple(planes))


def _bent(frame: Frame, warp: Warp) -> Frame:
    """The frame's own samples, moved: luma and chroma each at their own resolution; nothing outside the region changes."""
    roi = warp.roi
    planes = []
    for n, plane in enumerate(frame.planes):
        sx, sy = frame.layout.chroma_shift_xy if frame.layout.kind == "yuv" and n in (1, 2) else (0, 0)
        at = warp.map_px
        if sx or sy:
            at = at[:: 1 << sy, :: 1 << sx]
            # A chroma sample lies half a luma row lower (MPEG-2), in the source as in the result: the halves cancel.
            at = np.stack([at[..., 0] / (1 << sx), at[..., 1] / (1 << sy)], -1)
        x0, y0 = roi.x0 >> sx, roi.y0 >> sy
        moved = cv2.remap(
            plane,
            np.ascontiguousarray(at[..., 0]),
            np.ascontiguousarray(at[..., 1]),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        out = plane.copy()
        h, w = out[y0:, x0:].shape[:2]
        moved = moved[:h, :w]
        out[y0 : y0 + moved.shape[0], x0 : x0 + moved.shape[1]] = moved
        planes.append(out)
    return replace(frame, planes=tuple(planes))


def _over_background(frame: Frame, warp: Warp, layers: Layers) -> Frame:
    """Where the person no longer is, what lies behind."""
    person = cv2.remap(
        layers.person, warp.map_px[..., 0], warp.map_px[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if warp.head is not None:  # where nothing moves, the portrait stays as it is
        person = 1 - (1 - person) * warp.head
    planes = []
    for n, (plane, behind) in enumerate(zip(frame.planes, layers.behind, strict=True)):
        sx, sy = frame.layout.chroma_shift_xy if frame.layout.kind == "yuv" and n in (1, 2) else (0, 0)
        k = person if not (sx or sy) else cv2.resize(person, plane.shape[1::-1], interpolation=cv2.INTER_AREA)
        k = k if plane.ndim == 2 else k[..., None]
        mixed = behind + k * (plane.astype(np.float32) - behind)
        if plane.dtype.kind == "u":
            mixed = np.clip(np.round(mixed), 0, np.iinfo(plane.dtype).max)
        planes.append(mixed.astype(plane.dtype))
    return replace(frame, planes=tuple(planes))


def layers_of(frame: Frame, person: Float32[np.ndarray, "h w"]) -> Layers:
    """A portrait taken apart along a soft matte of the person in it."""
    k = np.clip((person - 0.35) / 0.4, 0, 1).astype(np.float32)
    sure = cv2.dilate(k, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    behind = []
    for n, plane in enumerate(frame.planes):
        sx, sy = frame.layout.chroma_shift_xy if frame.layout.kind == "yuv" and n in (1, 2) else (0, 0)
        gone = sure if not (sx or sy) else cv2.resize(sure, plane.shape[1::-1], interpolation=cv2.INTER_AREA)
        behind.append(_filled(plane.astype(np.float32), gone))
    return Layers(k, tuple(behind))


def _filled(plane: Float32[np.ndarray, "..."], gone: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "..."]:
    """The plane with what is gone filled in from around, finest levels first (push and pull)."""
    flat = plane if plane.ndim == 3 else plane[..., None]
    known = (gone < 0.02).astype(np.float32)
    levels = [(flat * known[..., None], known)]
    while min(levels[-1][1].shape) > 2 and levels[-1][1].min() <= 0:
        v, k = levels[-1]
        small = ((k.shape[1] + 1) // 2, (k.shape[0] + 1) // 2)
        v2, k2 = cv2.resize(v, small, interpolation=cv2.INTER_AREA), cv2.resize(k, small, interpolation=cv2.INTER_AREA)
        v2 = v2.reshape(*k2.shape, -1)
        grow = np.minimum(1, 3 * k2) / np.maximum(k2, 1e-6)
        levels.append(((v2 * grow[..., None]).astype(np.float32), (k2 * grow).astype(np.float32)))
    v, k = levels[-1]
    out = v / np.maximum(k, 1e-6)[..., None]
    for v, k in reversed(levels[:-1]):
        wide = cv2.resize(out, (k.shape[1], k.shape[0]), interpolation=cv2.INTER_CUBIC).reshape(*k.shape, -1)
        out = v + (1 - np.minimum(k, 1))[..., None] * wide
    return out.reshape(plane.shape).astype(np.float32)
