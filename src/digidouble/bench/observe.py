"""What the referees see in one row (plate, paste, classic, digidouble at a quality) of one pair, kept as arrays.

Boxes come from the plate and are the same for every row, so a row cannot gain by being found elsewhere. The plate row is the
plate measured a second time under a box moved by BOX_SHIFT and JPEG at quality 85: what a perfect double would score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from digidouble.bench.gaze import pupils_px
from digidouble.bench.landmarks import MIRROR, face_mask, seam_mask
from digidouble.bench.material import finished
from digidouble.bench.pictures import fine_detail, flow, seam_step, trusted, warp_error
from digidouble.bench.referees import Box, FaceFollower, IdentityReferee, Landmarker, SecondIdentityReferee
from digidouble.errors import NoFace

BOX_SHIFT = 0.02  # of the box's width
IDENTITY_EVERY = 5
CROP_FACE_PX = 160  # faces are brought down to this width for flow; never up
CROP_MARGIN = 0.3  # of the face's width, around all places where the face is in the excerpt
Rgb8 = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Watched:
    """The plate as the referee follows it: frames `first` to the end. `detected`: the detector saw the face there itself."""

    first: int
    boxes: Float[np.ndarray, "n 4"]
    landmarks: Float32[np.ndarray, "n 68 2"]
    detected: Bool[np.ndarray, "n"]

    def box(self, row: int) -> Box:
        x0, y0, x1, y1 = (float(v) for v in self.boxes[row])
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Seen:
    """One row as the referees see it.

    Attributes:
        landmarks, pupils: pixels, every frame. identity: unit vectors of frames `identity_at`. second: the same of the second
            identity network; of no length where it does not judge.
        face_warp, seam_warp: flow-warp error between neighbouring frames, along the plate's flow.
        detail: `pictures.fine_detail` of the face. step: `pictures.seam_step` in CIELAB, in frames `identity_at`.
    """

    landmarks: Float32[np.ndarray, "n 68 2"]
    pupils: Float[np.ndarray, "n 2 2"]
    identity_at: Int[np.ndarray, "k"]
    identity: Float32[np.ndarray, "k d"]
    second: Float32[np.ndarray, "k e"]
    face_warp: Float[np.ndarray, "m"]
    seam_warp: Float[np.ndarray, "m"]
    detail: Float[np.ndarray, "n"]
    step: Float[np.ndarray, "k"]


@dataclass(frozen=True)
class Likeness:
    """Mean unit vectors of a person: of the first identity judge, and of the second (of no length where it does not judge)."""

    first: Float32[np.ndarray, "d"]
    second: Float32[np.ndarray, "e"]


def save(path: Path, value: Watched | Seen | Likeness) -> None:
    """Arrays as .npz, under its name only when complete."""
    partial = finished(path)
    with partial.open("wb") as f:
        np.savez(f, allow_pickle=False, **{k.name: np.asarray(getattr(value, k.name)) for k in fields(value)})
    partial.replace(path)


def load_seen(path: Path) -> Seen:
    """Inverse of `save`."""
    with np.load(path, allow_pickle=False) as f:
        return Seen(**{k.name: f[k.name] for k in fields(Seen)})


def load_likeness(path: Path) -> Likeness:
    """Inverse of `save`."""
    with np.load(path, allow_pickle=False) as f:
        return Likeness(f["first"], f["second"])


def load_watched(path: Path) -> Watched:
    """Inverse of `save`."""
    with np.load(path, allow_pickle=False) as f:
        return Watched(int(f["first"]), f["boxes"], f["landmarks"], f["detected"])


def mirrored(frames: Iterable[Rgb8], watched: Watched, landmarker: Landmarker) -> Watched:
    """A plate (its frames from `watched.first` on) read in its mirror image, mirrored back: the same performance, to the muscle, by
    somebody who looks a little different."""
    found = []
    for row, rgb8 in enumerate(frames):
        x0, y0, x1, y1 = watched.box(row)
        right = rgb8.shape[1] - 1
        points = landmarker.landmarks(np.ascontiguousarray(rgb8[:, ::-1]), (right - x1, y0, right - x0, y1))[MIRROR]
        found.append(points * np.array([-1, 1]) + np.array([right, 0]))
    return replace(watched, landmarks=np.stack(found).astype(np.float32))


def watch(frames: Iterable[Rgb8], landmarker: Landmarker, where: str) -> Watched:
    """Follow the largest face of a plate.

    Raises:
        NoFace: the referee's detector finds none in any frame.
    """
    follower = FaceFollower(landmarker)
    first, boxes, points, detected = -1, [], [], []
    for index, rgb8 in enumerate(frames):
        found = follower.step(rgb8)
        if found:
            first = index if first < 0 else first
            boxes.append(found[0])
            points.append(found[1])
            detected.append(follower.detected)
    if not boxes:
        raise NoFace(f"{where}: the referee's detector finds no face, so this plate cannot be judged")
    return Watched(first, np.array(boxes), np.stack(points), np.array(detected))


def remeasured(rgb8: Rgb8) -> Rgb8:
    """The same picture through JPEG at quality 85."""
    decoded = cv2.imdecode(cv2.imencode(".jpg", rgb8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(decoded)[..., ::-1])


class Window:
    """The crop in which picture metrics are taken: one rectangle for the whole excerpt, so that motion stays motion."""

    def __init__(self, landmarks: Float[np.ndarray, "n 68 2"], size_hw: tuple[int, int]) -> None:
        width = float(np.median(np.ptp(landmarks[:, :17, 0], axis=1)))
        low = landmarks.min((0, 1)) - [CROP_MARGIN * width, (CROP_MARGIN + 0.35) * width]
        high = landmarks.max((0, 1)) + CROP_MARGIN * width
        self.low = np.maximum(np.floor(low).astype(int), 0)
        self.high = np.minimum(np.ceil(high).astype(int), size_hw[::-1])
        self.scale = min(1.0, CROP_FACE_PX / max(width, 1.0))

    def crop(self, rgb8: Rgb8) -> Rgb8:
        part = rgb8[self.low[1] : self.high[1], self.low[0] : self.high[0]]
        return np.ascontiguousarray(
            cv2.resize(part, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
            if self.scale < 1
            else part
        )

    def points(self, landmarks: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 2"]:
        return (landmarks - self.low) * self.scale


class PlateMotion:
    """The plate's flow and masks inside the window, shared by all rows of a plate."""

    def __init__(self, frames: Iterator[Rgb8], watched: Watched) -> None:
        first = next(frames)
        self.window = Window(watched.landmarks, first.shape[:2])
        self.flows: list[Float32[np.ndarray, "h w 2"]] = []
        self.faces: list[Bool[np.ndarray, "h w"]] = []
        self.seams: list[Bool[np.ndarray, "h w"]] = []
        last = self.window.crop(first)
        self.crops = [last]
        for row, rgb8 in enumerate(frames):
            crop = self.window.crop(rgb8)
            there, back = flow(last, crop), flow(crop, last)
            good = trusted(there, back)
            points = self.window.points(watched.landmarks[row])
            self.flows.append(there.astype(np.float16).astype(np.float32))
            self.faces.append(face_mask(points, crop.shape[:2]) & good)
            self.seams.append(seam_mask(points, crop.shape[:2]) & good)
            self.crops.append(crop)
            last = crop


class Observer:
    """Holds the referees while rows are watched. `second`: file of the second identity network, if it judges."""

    def __init__(self, second: Path | None = None) -> None:
        self.landmarker, self.identity = Landmarker(), IdentityReferee()
        self.second = SecondIdentityReferee(second) if second is not None else None

    def embed_second(self, rgb8: Rgb8, points: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "e"]:
        """Unit vector of the second identity network; of no length where it does not judge."""
        return self.second.embed(rgb8, points) if self.second else np.zeros(0, np.float32)

    def see(self, frames: Iterator[Rgb8], watched: Watched, motion: PlateMotion, shifted: bool = False) -> Seen:
        """One row. `frames` begin at `watched.first`; `shifted` measures under a moved box (the plate row)."""
        points, pupils, vectors, second, at, face, seam, detail, step = [], [], [], [], [], [], [], [], []
        last: Rgb8 | None = None
        for row, rgb8 in zip(range(len(watched.boxes)), frames, strict=False):
            x0, y0, x1, y1 = watched.box(row)
            move = BOX_SHIFT * (x1 - x0) * (1 if row % 2 else -1) if shifted else 0.0
            found = self.landmarker.landmarks(rgb8, (x0 + move, y0, x1 + move, y1))
            points.append(found)
            pupils.append(pupils_px(cv2.cvtColor(rgb8, cv2.COLOR_RGB2GRAY), found.astype(np.float64)))
            crop = motion.window.crop(rgb8)
            inside = face_mask(motion.window.points(watched.landmarks[row]), crop.shape[:2])
            detail.append(fine_detail(crop, inside))
            if row % IDENTITY_EVERY == 0:
                at.append(row)
                vectors.append(self.identity.embed(rgb8, found))
                second.append(self.embed_second(rgb8, found))
                step.append(seam_step(crop, motion.crops[row], inside))
            if last is not None:
                there = motion.flows[row - 1]
                face.append(warp_error(last, crop, there, motion.faces[row - 1]))
                seam.append(warp_error(last, crop, there, motion.seams[row - 1]))
            last = crop
        return Seen(
            np.stack(points), np.stack(pupils), np.array(at), np.stack(vectors), np.stack(second), np.array(face),
            np.array(seam), np.array(detail), np.array(step),
        )  # fmt: skip
