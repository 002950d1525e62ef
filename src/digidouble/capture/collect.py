"""Photographs and videos of one person -> CaptureSet: find the face, keep the best and most different looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from digidouble.capture.settings import CaptureSettings
from digidouble.errors import MediaError, NoFace, SettingsError, SeveralFaces
from digidouble.footage import Footage, open_footage
from digidouble.perception.detail import grain, sharpness
from digidouble.perception.detector import Detection, FaceDetector
from digidouble.perception.identity import IdentityEmbedder, points5_from_mesh
from digidouble.perception.matte import Matter
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.perception.shape import actions_of, pose_and_shape
from digidouble.schema.capture import CaptureSet, Look
from digidouble.schema.colour import linear_from_frame, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import face_model
from digidouble.schema.persona import Consent, PersonaSource

MARGIN = 0.35  # of the face's width, kept around it
SAME_PERSON = 0.40
MIN_SCORE = 0.6
SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".exr",
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".m4v",
    ".mxf",
}
MAX_SOURCES = 2000


def expand(sources: list[Path]) -> list[Path]:
    """Files as given, folders as the media files in them (sorted, not recursive).

    Raises:
        SettingsError: a folder holds no media file, or there are too many.
    """
    out: list[Path] = []
    for s in sources:
        if s.is_dir():
            inside = sorted(f for f in s.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file())
            if not inside:
                raise SettingsError(f"{s}: holds no photographs or videos ({', '.join(sorted(SUFFIXES))}).")
            out += inside
        else:
            out.append(s)
    if not 1 <= len(out) <= MAX_SOURCES:
        raise SettingsError(f"{len(out)} sources: expected 1..{MAX_SOURCES} photographs or videos.")
    return out


class Collector:
    """Holds the networks while sources are read."""

    def __init__(self, settings: CaptureSettings) -> None:
        self.settings = settings
        self.detector, self.mesher = FaceDetector(), FaceMesher()
        self.embedder, self.matter = IdentityEmbedder(), Matter()

    def look(self, frame: Frame, rgb8: UInt8[np.ndarray, "h w 3"], detection: Detection, source: int) -> Look | None:
        """The look at one detected face, or None when the mesh does not take hold."""
        first = self.mesher.mesh(rgb8, roi_from_detection(detection)[None])[0]
        seen = self.mesher.mesh_averaged(rgb8, roi_from_mesh(first.points_px), 4)
        points = seen.points_px
        if seen.score < MIN_SCORE or np.ptp(points[:468, 0]) < self.settings.min_face_px * 0.7:
            return None
        h, w = rgb8.shape[:2]
        pad = MARGIN * float(np.ptp(points[:468, 0]))
        low, high = points[:, :2].min(0) - pad, points[:, :2].max(0) + pad
        roi = Roi(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1).clipped((w, h))
        if roi.empty:
            return None
        local = points - np.array([roi.x0, roi.y0, 0], np.float32)
        matte, to_px = self.matter.matte(rgb8, points)
        to_local = to_px - np.array([[0, 0, roi.x0], [0, 0, roi.y0]], np.float32)
        visible = cv2.warpAffine(matte, to_local, roi.size_wh, flags=cv2.INTER_LINEAR)
        luma = (
            cv2.cvtColor(np.ascontiguousarray(rgb8[roi.y0 : roi.y1, roi.x0 : roi.x1]), cv2.COLOR_RGB2GRAY).astype(
                np.float32
            )
            / 255
        )
        inside = visible > 128
        identity = self.embedder.embed(rgb8, points5_from_mesh(points))
        return Look(
            linear_from_frame(frame, roi),
            local,
            visible,
            seen.score,
            sharpness(luma, inside, grain(luma, inside)),
            identity,
            source,
        )


def _still(collector: Collector, footage: Footage, path: Path, source: int) -> Iterator[Look]:
    frame = footage.frame(0)
    rgb8 = rgb8_from_frame(frame)
    found = [d for d in collector.detector.detect(rgb8) if d.size_px >= collector.settings.min_face_px * 0.7]
    # A passer-by far smaller than the subject is not a second subject.
    if found:
        largest = max(d.size_px for d in found)
        found = sorted((d for d in found if d.size_px > 0.35 * largest), key=lambda d: float(d.box_xyxy[0]))
    if not found:
        raise NoFace(
            f"{path}: no face found (at least {collector.settings.min_face_px} px wide is needed). Use a photograph that shows the face clearly."
        )
    face = collector.settings.face
    if len(found) > 1 and not 1 <= face <= len(found):
        places = ", ".join(
            f"{i} at x={int(d.box_xyxy[[0, 2]].mean())}, y={int(d.box_xyxy[[1, 3]].mean())}"
            for i, d in enumerate(found, 1)
        )
        raise SeveralFaces(
            f"{path}: {len(found)} faces ({places}). Say which one with --face 1..{len(found)} (counted from the left), or crop the photograph."
        )
    look = collector.look(frame, rgb8, found[face - 1 if len(found) > 1 else 0], source)
    if look is None:
        raise NoFace(f"{path}: the face found is too small, too blurred or turned too far. Use a clearer photograph.")
    yield look


def _moving(collector: Collector, footage: Footage, path: Path, source: int) -> Iterator[tuple[int, Look]]:
    count = footage.shot.frame_count
    wanted = set(
        np.unique(np.linspace(0, count - 1, min(count, collector.settings.video_samples)).round().astype(int)).tolist()
    )
    anyone = False
    for frame in footage.frames():
        if frame.index not in wanted:
            continue
        rgb8 = rgb8_from_frame(frame)
        found = sorted(collector.detector.detect(rgb8), key=lambda d: -d.size_px)[:4]
        for d in found:
            if d.size_px >= collector.settings.min_face_px * 0.7 and (look := collector.look(frame, rgb8, d, source)):
                anyone = True
                yield frame.index, look
    if not anyone:
        raise NoFace(f"{path}: no face found in {len(wanted)} frames. Use footage that shows the face clearly.")


def capture(
    sources: list[Path],
    consent: Consent,
    settings: CaptureSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CaptureSet:
    """Collect looks at the person from photographs and videos.

    Raises:
        NoFace: a photograph or video shows no usable face (the only source; among several it is left out with a note).
        SeveralFaces: a single photograph shows several and `settings.face` does not say which.
        MediaError: a file cannot be read.
    """
    settings = settings or CaptureSettings()
    files = expand(sources)
    collector, looks, facts, rejected = Collector(settings), [], [], []
    for i, path in enumerate(files):
        try:
            with open_footage(path) as footage:
                sha = footage.shot.sha256
                if footage.shot.kind == "image":
                    for look in _still(collector, footage, path, 0):
                        looks.append(replace(look, source=len(facts)))
                        facts.append(PersonaSource(path.name, sha, 0))
                else:
                    for index, look in _moving(collector, footage, path, 0):
                        looks.append(replace(look, source=len(facts)))
                        facts.append(PersonaSource(path.name, sha, index))
        except (NoFace, MediaError, SeveralFaces) as e:
            if len(files) == 1:
                raise
            rejected.append(str(e))
        if progress:
            progress(i + 1, len(files))
    if not looks:
        raise NoFace("no source shows a usable face: " + "; ".join(rejected[:5]))
    looks, notes = _one_person(looks, facts)
    kept = _most_different(looks, settings.looks)
    return CaptureSet(consent, tuple(kept), tuple(facts), tuple(rejected + notes))


def _one_person(looks: list[Look], facts: list[PersonaSource]) -> tuple[list[Look], list[str]]:
    """Keep the person most looks agree on (largest group by identity, size breaks ties)."""
    e = np.stack([k.identity for k in looks])
    like = e @ e.T > SAME_PERSON
    votes = like @ np.array([k.face_px for k in looks])
    centre = int(votes.argmax())
    mean = e[like[centre]].mean(0)
    same = e @ (mean / np.linalg.norm(mean)) > SAME_PERSON
    same[centre] = True
    notes = [
        f"{facts[k.source].name} frame {facts[k.source].frame}: another person, left out"
        for k, ok in zip(looks, same, strict=True)
        if not ok
    ]
    return [k for k, ok in zip(looks, same, strict=True) if ok], notes


def _describe(look: Look) -> Float32[np.ndarray, "d"]:
    pose, shape = pose_and_shape(look.points_px, face_model().mean_cm)
    yaw, pitch, _ = pose.euler_deg
    actions = actions_of(shape[None], face_model().mean_cm)[0]
    return np.concatenate([actions, [yaw / 25, pitch / 25]]).astype(np.float32)


def _quality(look: Look, best_px: float, best_sharpness: float) -> float:
    return (
        min(look.face_px / best_px, 1.0)
        * (0.3 + 0.7 * min(look.sharpness / max(best_sharpness, 1e-6), 1.0))
        * look.score
    )


def _most_different(looks: list[Look], count: int) -> list[Look]:
    """Greedy: the best look first, then whichever is farthest from those kept, weighted by its quality."""
    px, sharp = max(k.face_px for k in looks), float(np.quantile([k.sharpness for k in looks], 0.9))
    quality = np.array([_quality(k, px, sharp) for k in looks])
    d = np.stack([_describe(k) for k in looks])
    frontal: Float[np.ndarray, "n"] = np.linalg.norm(d[:, -2:], axis=1) + 0.5 * np.abs(d[:, :-2]).mean(1)
    kept = [int((quality - 0.5 * frontal).argmax())]
    while len(kept) < min(count, len(looks)):
        far = np.linalg.norm(d[:, None] - d[kept][None], axis=2).min(1) * quality**2
        far[kept] = -1
        best = int(far.argmax())
        if far[best] < 0.25:  # what is left repeats what is there
            break
        kept.append(best)
    return [looks[i] for i in kept]
