"""Photographs and videos of one person -> CaptureSet: find the face, keep the best and most different looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.capture.choose import grouped_by_light, most_different, same_eyewear, thinned, without_soft
from digidouble.capture.people import one_person
from digidouble.capture.settings import CaptureSettings
from digidouble.errors import MediaError, NoFace, SettingsError, SeveralFaces
from digidouble.footage import Footage, open_footage
from digidouble.perception.detail import grain, sharpness
from digidouble.perception.detector import Detection, FaceDetector
from digidouble.perception.identity import IdentityEmbedder, points5_from_mesh
from digidouble.perception.matte import Matter
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.perception.traits import traits_of
from digidouble.schema.capture import CaptureSet, Look
from digidouble.schema.colour import linear_from_frame, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.persona import Consent, LeftOut, PersonaSource

MARGIN = 0.35  # of the face's width, kept around it
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
MAX_FACES = 8  # of one photograph
NO_COLOUR = "all sources are greyscale, so the double is: give it one picture in colour"


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
        self.embedder, self.matter = IdentityEmbedder(), Matter(hair=False)

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
        linear = linear_from_frame(frame, roi)
        return Look(
            linear,
            local,
            visible,
            seen.score,
            sharpness(luma, inside, grain(luma, inside)),
            identity,
            source,
            traits_of(linear, local, visible),
        )


def _still(collector: Collector, footage: Footage, path: Path) -> list[tuple[int, Look]]:
    """Every face of a photograph from the left; a passer-by far smaller than the largest is not a second subject."""
    frame = footage.frame(0)
    rgb8 = rgb8_from_frame(frame)
    found = [d for d in collector.detector.detect(rgb8) if d.size_px >= collector.settings.min_face_px * 0.7]
    if not found:
        raise NoFace(
            f"{path}: no face found (at least {collector.settings.min_face_px} px wide is needed). Use a photograph that shows the face clearly."
        )
    largest = max(d.size_px for d in found)
    found = sorted((d for d in found if d.size_px > 0.35 * largest), key=lambda d: float(d.box_xyxy[0]))[:MAX_FACES]
    looks = [(0, look) for d in found if (look := collector.look(frame, rgb8, d, 0)) is not None]
    if not looks:
        raise NoFace(f"{path}: the face found is too small, too blurred or turned too far. Use a clearer photograph.")
    return looks


def _which(path: Path, looks: list[tuple[int, Look]], face: int, size_wh: tuple[int, int]) -> list[tuple[int, Look]]:
    """The one face of the only photograph.

    Raises:
        SeveralFaces: it shows several and `face` names none of them.
    """
    if len(looks) == 1 or 1 <= face <= len(looks):
        return looks if len(looks) == 1 else [looks[face - 1]]
    raise SeveralFaces(
        f"{path}: {len(looks)} faces in {size_wh[0]}x{size_wh[1]} px. Say which one with --face 1..{len(looks)} (counted from the left), "
        "or crop the photograph."
    )


def _moving(collector: Collector, footage: Footage, path: Path) -> list[tuple[int, Look]]:
    """(frame, look) of the faces in evenly spread frames of a video."""
    count = footage.shot.frame_count
    wanted = set(
        np.unique(np.linspace(0, count - 1, min(count, collector.settings.video_samples)).round().astype(int)).tolist()
    )
    looks: list[tuple[int, Look]] = []
    for frame in footage.frames():
        if frame.index not in wanted:
            continue
        rgb8 = rgb8_from_frame(frame)
        found = sorted(collector.detector.detect(rgb8), key=lambda d: -d.size_px)[:4]
        for d in sorted(found, key=lambda d: float(d.box_xyxy[0])):
            if d.size_px >= collector.settings.min_face_px * 0.7 and (look := collector.look(frame, rgb8, d, 0)):
                looks.append((frame.index, look))
    if not looks:
        raise NoFace(f"{path}: no face found in {len(wanted)} frames. Use footage that shows the face clearly.")
    return looks


@dataclass
class _Found:
    """What reading the sources collects: looks with the facts of each, and what was left out."""

    looks: list[Look] = field(default_factory=list)
    facts: list[PersonaSource] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    wanted: Look | None = None  # the face that the user pointed at

    def add(self, path: Path, sha256: str, seen: list[tuple[int, Look]], face: int) -> None:
        """Carry a source's looks on, except those that would spoil the double."""
        kept = []
        for index, look in seen:
            if look.traits is not None and look.traits.eyewear == "dark glasses":
                self.left_out.append(LeftOut(path.name, index, "dark glasses hide the eyes, left out"))
            else:
                kept.append((index, look))
        first = [look for index, look in kept if index == seen[0][0]]
        keep = {id(k) for k in thinned([k for _, k in kept])} | {id(k) for k in first}
        for index, look in kept:
            if id(look) not in keep:
                continue
            self.looks.append(replace(look, source=len(self.facts)))
            self.facts.append(PersonaSource(path.name, sha256, index))
            if self.wanted is None and face and len(first) >= face and look is first[face - 1]:
                self.wanted = self.looks[-1]


def capture(
    sources: list[Path],
    consent: Consent,
    settings: CaptureSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CaptureSet:
    """Collect looks at the person from photographs and videos.

    Raises:
        NoFace: a photograph or video shows no usable face (the only source; among several it is left out with a note), or none
            is left.
        SeveralFaces: a single photograph shows several and `settings.face` does not say which; or two people are in as many sources.
        MediaError: a file cannot be read.
    """
    settings = settings or CaptureSettings()
    files = expand(sources)
    collector, found = Collector(settings), _Found()
    for i, path in enumerate(files):
        try:
            with open_footage(path) as footage:
                if footage.shot.kind == "image":
                    seen = _still(collector, footage, path)
                    if len(files) == 1:
                        seen = _which(path, seen, settings.face, footage.shot.size_wh)
                else:
                    seen = _moving(collector, footage, path)
                found.add(path, footage.shot.sha256, seen, settings.face if len(files) > 1 else 0)
        except (NoFace, MediaError) as e:
            if len(files) == 1:
                raise
            found.left_out.append(LeftOut(path.name, 0, str(e).removeprefix(f"{path}: ")))
        if progress:
            progress(i + 1, len(files))
    if not found.looks:
        raise NoFace("no source shows a usable face: " + "; ".join(map(str, found.left_out[:5])))
    if settings.face and len(files) > 1 and found.wanted is None:
        raise SeveralFaces(f"--face {settings.face}: no source begins with so many faces. Count from the left, from 1.")
    looks, others = one_person(found.looks, found.facts, found.wanted)
    looks = same_eyewear(looks, [found.facts[k.source].name for k in looks])
    looks, soft = without_soft(looks)
    found.left_out += [LeftOut(found.facts[k.source].name, found.facts[k.source].frame, why) for k, why in soft]
    kept = grouped_by_light(most_different(looks, settings.looks))
    notes = [*found.left_out, *others, *_repeats(looks, kept, found.facts)]
    if all(k.traits is not None and k.traits.grey for k in kept):
        notes.append(LeftOut(found.facts[kept[0].source].name, found.facts[kept[0].source].frame, NO_COLOUR))
    return CaptureSet(consent, tuple(kept), tuple(found.facts), tuple(notes))


def _repeats(looks: list[Look], kept: list[Look], facts: list[PersonaSource]) -> list[LeftOut]:
    """Files none of whose looks at the person was kept."""
    used = {facts[k.source].name for k in kept}  # what is said about the others is said by file
    unused = {facts[k.source].name: facts[k.source].frame for k in looks if facts[k.source].name not in used}
    return [
        LeftOut(name, frame, "shows nothing that better looks do not show, left out") for name, frame in unused.items()
    ]
