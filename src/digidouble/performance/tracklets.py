"""First pass over a plate: follow every face from frame to frame, in order, in constant memory.

A *tracklet* is an unbroken run of one face. Its observations go to a temporary file as they are made (`Raw`); joining
tracklets into tracks (`join.py`) and everything two-sided (`finish.py`) comes afterwards.

Only the mesh, and what turned heads are followed by, must be known before the next frame can be looked at. The rest of an observation
is read by helpers meanwhile.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.perception.detail import grain, sharpness
from digidouble.perception.detector import Detection, FaceDetector
from digidouble.perception.identity import IdentityEmbedder, points5_from_mesh
from digidouble.perception.matte import Matter, matte_at
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.perception.uvgrid import uv_grid
from digidouble.perception.veil import darkest, places
from digidouble.performance.settings import PerformSettings
from digidouble.performance.skin_motion import SkinView, skin_motion, skin_view
from digidouble.performance.turns import Carried, Turning
from digidouble.performance.wrinkles import LUMA_SIDE, luma_crop
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import camera_normals, face_model, iris_places
from digidouble.schema.track import MATTE_SIZE, SKIN_GRID

MIN_SCORE = 0.5
SURE_MESH, NO_MESH = 0.03, 0.065  # spread of the looks at a face
LONGEST_SLIP = 0.6  # of the face's width between where a face was expected and where it is found
IDENTITY_LOOKS = 6  # embeddings a tracklet
JUMP = 0.15  # of the face's width: further than this from where it was heading, a run may have changed faces
VEIL_EVERY = 8  # observations of which one is asked for its darkest place: a veil is the shot's
UNREAD = 2  # observations of a run that helpers may still be reading: each keeps its frame in memory
RECORD = np.dtype(
    [
        ("index", "<i4"),
        ("score", "<f4"),
        ("sharpness", "<f4"),
        ("grain", "<f4"),
        ("iris", "<f4", 3),
        ("dark", "<f4", 3),  # see `perception.veil.Dark.ratio`; infinite where it was not looked for
        ("points", "<f4", (478, 3)),
        ("skin", "<f2", (SKIN_GRID, SKIN_GRID, 3)),
        ("matte", "u1", (MATTE_SIZE, MATTE_SIZE)),
        ("crop", "<f4", (2, 3)),
        # Where the pixels carried each point from the frame before, less where the mesh has it (px), and how sure that is.
        ("carried", "<f2", (478, 2)),
        ("trust", "u1", 478),
        ("luma", "u1", (LUMA_SIDE, LUMA_SIDE)),
        # Of turned heads (see `turns`): the network's own mesh, how far it counts, how much of the points is not its own,
        # the step from the frame before by the skin, and how sure that is.
        ("seen", "<f4", (478, 3)),
        ("sure", "<f4"),
        ("share", "<f4"),
        ("step", "<f4", 6),
        ("tied", "<f4"),
    ]
)


@runtime_checkable
class Perceiver(Protocol):
    """The networks the first pass needs; tests bring their own."""

    def detect(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> list[Detection]: ...
    def mesh(
        self, rgb8: UInt8[np.ndarray, "h w 3"], roi: Float32[np.ndarray, "4"]
    ) -> tuple[Float32[np.ndarray, "478 3"], float]: ...
    def embed(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> Float32[np.ndarray, "d"]: ...
    def matte(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> tuple[UInt8[np.ndarray, "m m"], Float32[np.ndarray, "2 3"]]: ...


class Networks:
    """The product's own perceiver."""

    def __init__(self, settings: PerformSettings) -> None:
        self._detector, self._mesher = FaceDetector(), FaceMesher()
        self._embedder, self._matter = IdentityEmbedder(), Matter()
        self._jitters = settings.mesh_jitters

    def detect(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        return self._detector.detect(rgb8)

    def mesh(
        self, rgb8: UInt8[np.ndarray, "h w 3"], roi: Float32[np.ndarray, "4"]
    ) -> tuple[Float32[np.ndarray, "478 3"], float]:
        seen = (
            self._mesher.mesh_averaged(rgb8, roi, self._jitters)
            if self._jitters > 1
            else self._mesher.mesh(rgb8, roi[None])[0]
        )
        return seen.points_px, seen.score * steadiness(seen.spread)

    def embed(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> Float32[np.ndarray, "d"]:
        return self._embedder.embed(rgb8, points5_from_mesh(points_px))

    def matte(
        self, rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float32[np.ndarray, "478 3"]
    ) -> tuple[UInt8[np.ndarray, "m m"], Float32[np.ndarray, "2 3"]]:
        return self._matter.matte(rgb8, points_px)


def steadiness(spread: float) -> float:
    """1 where looks at a face agree, 0 where the mesh only guesses (true profiles): see `MeshObservation.spread`."""
    return float(np.clip((NO_MESH - spread) / (NO_MESH - SURE_MESH), 0, 1))


@dataclass
class Tracklet:
    """One unbroken run. Observations lie in `file`, one RECORD a frame."""

    number: int
    start: int
    file: Path
    stream: BinaryIO
    points: Float32[np.ndarray, "478 3"]
    velocity: Float32[np.ndarray, "2"]
    turning: Turning
    frames: int = 0
    area_px: float = 0.0
    centrality: float = 0.0
    misses: int = 0
    identities: list[Float32[np.ndarray, "d"]] = field(default_factory=list)
    best_width: float = 0.0
    view: SkinView | None = None  # of the frame before
    unread: deque[tuple[np.ndarray, Future[None]]] = field(default_factory=deque)

    @property
    def end_exclusive(self) -> int:
        return self.start + self.frames

    def write(self, but: int = 0) -> None:
        """Observations to the file, in order, as helpers are done with them; the last few may be left for later."""
        while len(self.unread) > but:
            record, reading = self.unread.popleft()
            reading.result()
            self.stream.write(record.tobytes())

    def records(self, first: int, count: int) -> np.ndarray:
        """Observations `first` .. `first + count` (row numbers), read from disk."""
        return np.fromfile(self.file, RECORD, count, offset=first * RECORD.itemsize)


@dataclass(frozen=True)
class Move:
    """Where a run would go in the next frame. slip: how far that is from where it was heading, in widths of the face."""

    run: Tracklet
    points: Float32[np.ndarray, "478 3"]
    score: float
    velocity: Float32[np.ndarray, "2"]
    slip: float
    carried: Carried | None = None


def face_box(points_px: Float[np.ndarray, "478 3"]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of the mesh."""
    low, high = points_px[:, :2].min(0), points_px[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return w * h / max(smaller, 1e-6)


class FacePass:
    """Feeds frames in order; afterwards `tracklets` holds every run."""

    def __init__(self, settings: PerformSettings, folder: Path, perceiver: Perceiver, helpers: Executor) -> None:
        self._settings, self._folder, self._see, self._helpers = settings, folder, perceiver, helpers
        self._active: list[Tracklet] = []
        self.tracklets: list[Tracklet] = []
        self._since_detection = 10**9

    def push(self, frame: Frame, rgb8: UInt8[np.ndarray, "h w 3"], is_cut: bool) -> None:
        """One frame: continue the runs there are, look for new ones when due."""
        if is_cut:
            self.close()
            self._since_detection = 10**9
        lost = False
        moves: list[Move] = []
        for t in list(self._active):
            move = self._move(t, rgb8)
            if move is None:
                self._end(t)
                lost = True
            else:
                moves.append(move)
        for m in self._one_run_a_face(moves):
            m.run.velocity = m.velocity
            self._observe(m.run, frame, rgb8, m)
        self._since_detection += 1
        if (
            lost
            or self._since_detection >= self._settings.detect_every
            or (not self._active and self._since_detection >= 3)
        ):
            self._look(frame, rgb8)
            self._since_detection = 0

    def _move(self, t: Tracklet, rgb8: UInt8[np.ndarray, "h w 3"]) -> Move | None:
        """Where a run goes in this frame; None where it is lost."""
        away = t.turning.away and t.view is not None
        roi = roi_from_mesh(t.turning.guess() if away else t.points)
        if not away:
            roi[:2] += t.velocity
        points, score = self._see.mesh(rgb8, roi)
        fits = score >= MIN_SCORE and self._plausible(points, t.points, rgb8.shape)
        carried: Carried | None = None
        if away and t.view is not None:
            # A mesh that doubts is still asked for what it knows; one that is somewhere else is not.
            read = points if score > 0.1 and self._plausible(points, t.turning.guess(), rgb8.shape) else None
            carried = t.turning.carried(t.view, rgb8, read, score)
            if (
                carried is None
                or carried.score < MIN_SCORE
                or not self._plausible(carried.points, t.points, rgb8.shape)
            ):
                return None
            points, score = carried.points, carried.score
        elif not fits:
            return None
        velocity = (points[:, :2].mean(0) - t.points[:, :2].mean(0)).astype(np.float32)
        slip = float(np.linalg.norm(velocity - t.velocity)) / max(float(np.ptp(points[:, 0])), 1.0)
        if slip > LONGEST_SLIP:  # this is another face; identity will join the runs if it is not
            return None
        if carried is None:
            t.turning.seen(points, score)
        return Move(t, points, score, velocity, slip, carried)

    def close(self) -> None:
        """End every run."""
        for t in list(self._active):
            self._end(t)

    def _plausible(
        self, new: Float32[np.ndarray, "478 3"], old: Float32[np.ndarray, "478 3"], shape: tuple[int, ...]
    ) -> bool:
        a, b = face_box(new), face_box(old)
        width, before = a[2] - a[0], b[2] - b[0]
        inside = a[2] > 0 and a[3] > 0 and a[0] < shape[1] and a[1] < shape[0]
        return inside and width > 8 and 0.6 < (width + a[3] - a[1]) / max(before + b[3] - b[1], 1e-6) < 1.6

    def _end(self, t: Tracklet) -> None:
        t.write()
        t.stream.close()
        t.view = None  # 0.3 MB that nobody will ask for again
        self._active.remove(t)

    def _one_run_a_face(self, moves: list[Move]) -> list[Move]:
        """Of two runs on one face the one that jumped there stops (its own face went behind the other), else the younger."""
        kept: list[Move] = []
        for m in sorted(moves, key=lambda m: (m.slip > JUMP, m.run.start, m.slip)):
            if any(_overlap(face_box(m.points), face_box(k.points)) > 0.7 for k in kept):
                self._end(m.run)
            else:
                kept.append(m)
        return kept

    def _look(self, frame: Frame, rgb8: UInt8[np.ndarray, "h w 3"]) -> None:
        found = sorted(self._see.detect(rgb8), key=lambda d: -d.size_px)
        for d in found:
            width = float(d.box_xyxy[2] - d.box_xyxy[0])
            if len(self._active) >= self._settings.max_faces or width < self._settings.min_face_px:
                continue
            box = tuple(float(v) for v in d.box_xyxy)
            if any(_overlap(box, face_box(t.points)) > 0.4 for t in self._active):
                continue
            points, score = self._see.mesh(rgb8, roi_from_detection(d))
            if score >= MIN_SCORE:
                points, score = self._see.mesh(rgb8, roi_from_mesh(points))
            taken = any(_overlap(face_box(points), face_box(t.points)) > 0.4 for t in self._active)
            if score < MIN_SCORE or taken or _overlap(box, face_box(points)) < 0.3:
                continue
            number = len(self.tracklets)
            file = self._folder / f"tracklet-{number:05d}.raw"
            still = np.zeros(2, np.float32)
            t = Tracklet(number, frame.index, file, file.open("wb"), points, still, Turning(points))
            self.tracklets.append(t)
            self._active.append(t)
            self._observe(t, frame, rgb8, Move(t, points, score, still, 0.0))

    def _observe(
        self,
        t: Tracklet,
        frame: Frame,
        rgb8: UInt8[np.ndarray, "h w 3"],
        move: Move,
    ) -> None:
        points, score, carried = move.points, move.score, move.carried
        t.points = points
        h, w = rgb8.shape[:2]
        x0, y0, x1, y1 = face_box(points)
        width = x1 - x0
        record = np.zeros((), RECORD)
        record["index"], record["score"], record["points"] = frame.index, score, points
        record["seen"], record["sure"] = points, 1
        reading = self._helpers.submit(self._read, record, frame, rgb8, points, t.frames % VEIL_EVERY == 0)
        if carried:
            record["seen"], record["sure"], record["share"] = carried.read, carried.sure, carried.share
            record["step"], record["tied"] = carried.step, carried.tied
            reading.result()
            if near_half_hidden(record["matte"], record["crop"], points):
                t.turning.covered()
        if self._settings.smoothing > 0 or t.turning.away:
            view = skin_view(rgb8, points)
            if t.view is not None and self._settings.smoothing > 0:
                carried, trust = skin_motion(t.view, view)
                record["carried"], record["trust"] = np.clip(carried, -999, 999), np.round(255 * trust)
            t.view = view
        t.unread.append((record, reading))
        t.write(but=UNREAD)
        t.frames += 1
        t.area_px += width * (y1 - y0)
        off = np.hypot(((x0 + x1) / 2 / w - 0.5) * 2, ((y0 + y1) / 2 / h - 0.5) * 2)
        t.centrality += float(np.exp(-(off**2)))
        if len(t.identities) < IDENTITY_LOOKS and (t.frames in (1, 12) or width > 1.1 * t.best_width):
            t.identities.append(self._see.embed(rgb8, points))
            t.best_width = max(t.best_width, width)

    def _read(
        self, record: np.ndarray, frame: Frame, rgb8: UInt8[np.ndarray, "h w 3"], points: Float32[np.ndarray, "478 3"], asked: bool,
    ) -> None:  # fmt: skip
        """The part of an observation that only its points are needed for. asked: whether it is for its darkest place."""
        record["iris"] = iris_colour(frame, points)
        record["matte"], record["crop"] = self._see.matte(rgb8, points)
        record["sharpness"], record["grain"] = face_detail(rgb8, points)
        record["luma"] = luma_crop(rgb8, points)
        x0, y0, x1, y1 = face_box(points)
        roi = Roi(int(x0) - 4, int(y0) - 4, int(x1) + 5, int(y1) + 5).clipped(frame.size_wh)
        dark = None
        if not roi.empty:
            picture = linear_from_frame(frame, roi)
            record["skin"] = skin_grid(picture, roi, points)
            if asked:
                seen = matte_at(record["matte"], record["crop"], places(points)) > 0.5
                dark = darkest(picture, points - [roi.x0, roi.y0, 0], seen)
        record["dark"] = np.inf if dark is None else dark.ratio


def near_half_hidden(
    matte: UInt8[np.ndarray, "m m"], px_from_crop: Float[np.ndarray, "2 3"], points_px: Float[np.ndarray, "478 3"]
) -> bool:
    """Whether most of the skin that faces the camera has something in front of it."""
    inverse = cv2.invertAffineTransform(px_from_crop.astype(np.float64))
    use = np.flatnonzero((camera_normals(points_px)[:468, 2] > 0.3) & (face_model().rim_cm[:468] > 0.5))
    at = np.round(points_px[use, :2] @ inverse[:, :2].T + inverse[:, 2]).astype(int)
    inside = ((at >= 0) & (at < matte.shape[0])).all(1)
    seen = matte[at[inside, 1], at[inside, 0]]
    return len(seen) > 0 and float((seen > 127).mean()) < 0.5


def skin_grid(
    picture: Float32[np.ndarray, "h w 3"], roi: Roi, points_px: Float[np.ndarray, "478 3"]
) -> Float32[np.ndarray, "g g 3"]:
    """Scene-linear radiance of the face at the UV grid, area-averaged over about one texel. picture: the plate's in `roi`."""
    x0, y0, x1, y1 = face_box(points_px)
    # One texel is about 1/32 of the face; shrink until it is two pixels wide.
    factor = min(1.0, 2 * SKIN_GRID / max(x1 - x0, y1 - y0, 1))
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else picture
    sx, sy = small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]
    grid = uv_grid(SKIN_GRID)
    at = grid.carried(points_px[:, :2].astype(np.float32))
    mx = ((at[..., 0] - roi.x0 + 0.5) * sx - 0.5).astype(np.float32)
    my = ((at[..., 1] - roi.y0 + 0.5) * sy - 0.5).astype(np.float32)
    out = cv2.remap(small, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(out, 0, 60000) * grid.covered[..., None]


def iris_colour(frame: Frame, points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "3"]:
    """Scene-linear colour of the irises beside the pupils; zero when an iris is outside the frame or under 3 px."""
    w, h = frame.size_wh
    found = []
    for x, y in iris_places(points_px):
        x, y = round(x), round(y)
        if 0 <= x < w and 0 <= y < h:
            roi = Roi(x, y, x + 1, y + 1).clipped((w, h))
            found.append(
                linear_from_frame(frame, roi)[min(y - roi.y0, roi.size_hw[0] - 1), min(x - roi.x0, roi.size_hw[1] - 1)]
            )
    return np.median(found, 0).astype(np.float32) if len(found) >= 4 else np.zeros(3, np.float32)


def face_detail(rgb8: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "478 3"]) -> tuple[float, float]:
    """(sharpness, grain) of the inner face."""
    h, w = rgb8.shape[:2]
    oval = points_px[face_model().loops["oval"], :2]
    centre = oval.mean(0)
    inner = centre + 0.8 * (oval - centre)
    x0, y0 = np.maximum(inner.min(0).astype(int), 0)
    x1, y1 = np.minimum(inner.max(0).astype(int) + 1, [w, h])
    if x1 - x0 < 12 or y1 - y0 < 12:
        return 0.0, 0.0
    luma = cv2.cvtColor(np.ascontiguousarray(rgb8[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    inside = np.zeros(luma.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.round(inner - [x0, y0]).astype(np.int32), 1)
    noise = grain(luma, inside > 0)
    return sharpness(luma, inside > 0, noise), noise
