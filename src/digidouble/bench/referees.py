"""The only door to networks that judge: dlib's 68 landmarks and ResNet, and a second identity network.

They are for measurement. The second identity network is MobileFaceNet-192, whose weights are of unstated origin: it confirms
or contradicts the first, and that is all it may do. dlib's landmark model was trained on 300-W, whose terms are non-commercial: it must never be used
to make a product or a picture that leaves the bench. dlib's ResNet is CC0. Nothing outside `digidouble.bench` imports this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble import weights
from digidouble.errors import WeightsError

INSTALL = "pip install 'digidouble[bench]'"
SHAPE_FILE, RESNET_FILE = "shape_predictor_68_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
SEARCH_SIDES = (480, 960)  # long sides to which a picture is brought when a face is sought for the first time
FACE_SEARCHED = 110  # pixels a known face is brought to before it is sought again; the detector needs 80
VIEWS = ((0.0, 0.0, 1.0), (0.03, 0.0, 1.03), (-0.03, 0.0, 0.97), (0.0, 0.03, 0.97), (0.0, -0.03, 1.03))
# Moves and sizes of the box under which landmarks are found and averaged: dlib's points jump with the box by whole pixels.
BROW_VIEWS = tuple((0.0, up, grow) for grow in (1.0, 1.15, 1.3) for up in (-0.12, -0.06, 0.0))
# Wider and higher boxes, under which raised brows are not lost: on the real takes of `emotion_material` (395 frames) the inner brow goes
# with the product's own mesh at r .74 instead of .67, and is more than 0.4 cm off in 3.3 % of them instead of 6.1 %. Eyes and mouth are
# placed better by VIEWS.
BROWS = slice(17, 27)  # of the 68
JUMP = 0.35  # of a face's width: a found face further away than this from the last one is another face
SAME_PERSON = 0.90  # cosine of dlib's vectors at which errors balance on 186 photographs (distance .097)
SECOND = "mobilefacenet-192"  # name in `digidouble.weights`
# Eyes, nose and mouth corners in a 112-pixel crop (ArcFace), as MobileFaceNet was trained on; picture left first.
TEMPLATE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

Box = tuple[float, float, float, float]


def _model(name: str) -> Path:
    # The package is located, not imported: its __init__ wants pkg_resources, which newer setuptools do not have.
    spec = find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / "models" / name).is_file():
            return path
    raise WeightsError(f"the bench's referee {name} is not installed. Install it with: {INSTALL}")


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as e:
        raise WeightsError(f"the bench's referees need dlib. Install it with: {INSTALL}") from e
    return dlib


def installed() -> bool:
    """Whether dlib and its models are here."""
    return find_spec("dlib") is not None and find_spec("face_recognition_models") is not None


@lru_cache(maxsize=4)
def fingerprints(second: Path | None = None) -> dict[str, str]:
    """sha256 of every referee's file in use, for the record. `second`: file of the second identity network, if it judges."""
    files = {"dlib-68-landmarks": _model(SHAPE_FILE), "dlib-resnet": _model(RESNET_FILE)}
    if second is not None:
        files[SECOND] = second
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def second_network(tell: Callable[[str], None]) -> Path | None:
    """File of the second identity network, fetched when it is not here; None where it cannot be had, and `tell` hears why."""
    try:
        return weights.fetch(SECOND, progress=tell)
    except WeightsError as e:
        tell(f"identity is judged by dlib alone, without {SECOND}: {e}")
        return None


class Landmarker:
    """dlib's HOG detector and 68-point shape model (Kazemi & Sullivan 2014)."""

    def __init__(self) -> None:
        dlib = _dlib()
        self._rectangle = dlib.rectangle
        self._detect, self._shape = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(_model(SHAPE_FILE)))

    def boxes(self, rgb8: UInt8[np.ndarray, "h w 3"], near: Box | None = None) -> list[Box]:
        """Faces found, largest first: x0, y0, x1, y1 in pixels. With `near`, only around that box."""
        if near is not None:
            w = near[2] - near[0]
            h_px, w_px = rgb8.shape[:2]
            x0, y0 = max(0, int(near[0] - 0.6 * w)), max(0, int(near[1] - 0.6 * w))
            x1, y1 = min(w_px, int(near[2] + 0.6 * w)), min(h_px, int(near[3] + 0.6 * w))
            if x1 - x0 < 16 or y1 - y0 < 16:
                return []
            return [
                (a + x0, b + y0, c + x0, d + y0) for a, b, c, d in self._found(rgb8[y0:y1, x0:x1], FACE_SEARCHED / w)
            ]
        for side in SEARCH_SIDES:
            if found := self._found(rgb8, side / max(rgb8.shape[:2])):
                return found
        return []

    def _found(self, rgb8: UInt8[np.ndarray, "h w 3"], scale: float) -> list[Box]:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(np.ascontiguousarray(rgb8), None, fx=scale, fy=scale, interpolation=method)
        found = [
            (r.left() / scale, r.top() / scale, r.right() / scale, r.bottom() / scale)
            for r in self._detect(np.ascontiguousarray(small), 0)
        ]
        return sorted(found, key=lambda b: (b[0] - b[2]) * (b[3] - b[1]))

    def landmarks(
        self, rgb8: UInt8[np.ndarray, "h w 3"], box: Box, views: tuple[tuple[float, float, float], ...] | None = None
    ) -> Float32[np.ndarray, "68 2"]:
        """68 points inside a box, mean over `views` of it: moves in box widths, and sizes. None: brows under BROW_VIEWS, else VIEWS."""
        if views is None:
            found = self.landmarks(rgb8, box, VIEWS)
            found[BROWS] = self.landmarks(rgb8, box, BROW_VIEWS)[BROWS]
            return found
        x0, y0, x1, y1 = box
        middle, size = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.array([x1 - x0, y1 - y0])
        picture, found = np.ascontiguousarray(rgb8), []
        for dx, dy, grow in views:
            at = middle + size * [dx, dy]
            corners = (*(at - grow * size / 2), *(at + grow * size / 2))
            shape = self._shape(picture, self._rectangle(*(round(float(v)) for v in corners)))
            found.append([(p.x, p.y) for p in shape.parts()])
        return np.mean(found, axis=0).astype(np.float32)


class FaceFollower:
    """One face through a plate: the detector's box where it sees the face, else the box moved along with the landmarks."""

    def __init__(self, landmarker: Landmarker, near_x: float | None = None) -> None:
        """`near_x`: where to begin, as a share of the picture's width; None takes the largest face."""
        self._landmarker, self._near = landmarker, near_x
        self._box: Box | None = None
        self._points: Float32[np.ndarray, "68 2"] | None = None
        self.detected = False
        """Whether the detector saw the face in the last step; else its box was moved along with the landmarks."""

    def step(self, rgb8: UInt8[np.ndarray, "h w 3"]) -> tuple[Box, Float32[np.ndarray, "68 2"]] | None:
        """Box and landmarks in the next frame; None before the face is first seen."""
        boxes = self._landmarker.boxes(rgb8, self._box)
        if self._box is None:
            if self._near is not None:
                wanted = self._near * rgb8.shape[1]
                boxes.sort(key=lambda b: abs((b[0] + b[2]) / 2 - wanted))
            self._box = boxes[0] if boxes else None
            self.detected = bool(boxes)
        else:
            self._box = self._continued(self._box, boxes)
        if self._box is None:
            return None
        self._points = self._landmarker.landmarks(rgb8, self._box)
        return self._box, self._points

    def _continued(self, last: Box, boxes: list[Box]) -> Box:
        width = last[2] - last[0]

        def away(b: Box) -> float:
            return float(np.hypot(b[0] + b[2] - last[0] - last[2], b[1] + b[3] - last[1] - last[3])) / 2

        near = [b for b in boxes if away(b) < JUMP * width and 0.6 < (b[2] - b[0]) / width < 1.6]
        self.detected = bool(near)
        if near:
            return min(near, key=away)
        assert self._points is not None
        # dlib's boxes run from the brows to just below the lips and are square.
        core = self._points[17:]
        centre, side = (core.min(0) + core.max(0)) / 2, width
        centre[1] += 0.03 * side
        return (
            float(centre[0] - side / 2), float(centre[1] - side / 2), float(centre[0] + side / 2), float(centre[1] + side / 2),
        )  # fmt: skip


class IdentityReferee:
    """dlib's ResNet-29 (CC0), 128 numbers from a 150-pixel chip aligned on the referee's own landmarks."""

    def __init__(self) -> None:
        dlib = _dlib()
        self._dlib, self._net = dlib, dlib.face_recognition_model_v1(str(_model(RESNET_FILE)))

    def embed(self, rgb8: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "128"]:
        """Unit vector of one face."""
        dlib = self._dlib
        low, high = points.min(0), points.max(0)
        box = dlib.rectangle(*(round(float(v)) for v in (*low, *high)))
        shape = dlib.full_object_detection(box, [dlib.point(round(float(x)), round(float(y))) for x, y in points])
        v = np.array(self._net.compute_face_descriptor(np.ascontiguousarray(rgb8), shape), np.float32)
        return v / max(float(np.linalg.norm(v)), 1e-9)


def five_points(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "5 2"]:
    """Middles of the eyes, tip of the nose, corners of the mouth, in the order of TEMPLATE_112."""
    return np.array([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]], np.float64)


def similarity_onto(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """Least-squares similarity that brings `source` to `target` (Umeyama 1991, as complex numbers in the plane)."""
    a, b = (p - p.mean(0) for p in (source, target))
    z = np.vdot(a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]) / max(float((a * a).sum()), 1e-9)
    turn = np.array([[z.real, -z.imag], [z.imag, z.real]])
    return np.column_stack([turn, target.mean(0) - turn @ source.mean(0)])


class SecondIdentityReferee:
    """MobileFaceNet-192: 192 numbers from a crop of 112 pixels aligned on five of the referee's landmarks. RGB, -1..1."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def embed(self, rgb8: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "192"]:
        """Unit vector of one face."""
        onto = similarity_onto(five_points(points), TEMPLATE_112)
        # Large faces are brought down in steps of two first: a bilinear sample of every eighth pixel is not the face.
        halvings = max(0, int(np.floor(-np.log2(max(float(np.linalg.norm(onto[:, 0])), 1e-3)))))
        for _ in range(halvings):
            rgb8 = cv2.pyrDown(rgb8)
        onto[:, :2] *= 2**halvings
        crop = cv2.warpAffine(rgb8, onto, (112, 112), flags=cv2.INTER_LINEAR)
        planes = ((crop.astype(np.float32) - 127.5) / 128)[None]
        v = np.asarray(self._session.run(None, {self._input: planes})[0])[0].astype(np.float32)
        return v / max(float(np.linalg.norm(v)), 1e-9)
