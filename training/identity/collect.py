"""Clips and photographs -> `faces.npz`: aligned faces with their mesh, who they show, and what the teacher says of them.

    python training/identity/collect.py --clips DATA/clips --photos DATA/photos --synthetic DATA/people_synthetic --out .work/identity_data

Splits are by person. Clips with one person follow `training/data/people.py`; of photographs with one person every fifth person is for the
test; pictures with several people go to one side whole. Who is who in those is told by the teacher, and people whose mean vectors
agree are one person, who stays where he does no harm: in the test, or in validation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from digidouble.footage import open_footage
from digidouble.perception.crop import fit_similarity, sample_affine
from digidouble.perception.detector import FaceDetector
from digidouble.perception.identity import TEMPLATE, IdentityEmbedder, aligned_crop, points5_from_mesh
from digidouble.perception.mesh import FaceMesher, roi_from_detection
from digidouble.schema.colour import rgb8_from_frame

sys.path.append(str(Path(__file__).resolve().parent.parent / "data"))
from people import CLIPS

SIDE, MARGIN = 160, 24  # the 112 px template with room around it, for crops that are not quite on it
MIN_FACE_PX, MIN_SCORE = 36, 0.6
FRAMES = 56  # a clip
SAME_PERSON = 0.45
SEED = 9
# station_crowd_1080p and group_circle are left out: passers-by and profiles of whom nobody can say that they are adults.
CROWDS = {"two_at_table_720p.mp4": "test", "sign_thanks.mkv": "train"}
GROUP_PHOTOS = {"group-1.jpg": "train", "group-2.jpg": "test", "group-3.jpg": "train", "stock-group-1.jpg": "train"}
ORDER = {"train": 0, "val": 1, "test": 2}


@dataclass
class Faces:
    """Rows while they are collected."""

    crops: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    teacher: list[np.ndarray] = field(default_factory=list)
    person: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)


@dataclass
class Eyes:
    """The networks, and what they say of one picture."""

    detector: FaceDetector = field(default_factory=FaceDetector)
    mesher: FaceMesher = field(default_factory=FaceMesher)
    embedder: IdentityEmbedder = field(default_factory=IdentityEmbedder)

    def faces(self, rgb8: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(crop of SIDE px, mesh in its pixels [478, 2], the teacher's vector), largest face first."""
        for found in sorted(self.detector.detect(rgb8), key=lambda d: -d.size_px):
            if found.size_px < MIN_FACE_PX:
                continue
            seen = self.mesher.mesh(rgb8, roi_from_detection(found)[None])[0]
            if seen.score < MIN_SCORE:
                continue
            five = points5_from_mesh(seen.points_px)
            picture_from_crop = fit_similarity(TEMPLATE + MARGIN, five)
            crop_from_picture = cv2.invertAffineTransform(picture_from_crop)
            mesh = seen.points_px[:, :2] @ crop_from_picture[:, :2].T + crop_from_picture[:, 2]
            yield (
                sample_affine(rgb8, picture_from_crop, SIDE),
                mesh.astype(np.float32),
                self.embedder.embed_crops(aligned_crop(rgb8, five)[None])[0],
            )


def add(faces: Faces, found: tuple[np.ndarray, np.ndarray, np.ndarray], person: str, split: str, source: str) -> None:
    """One row."""
    for column, value in zip((faces.crops, faces.points, faces.teacher), found, strict=True):
        column.append(value)
    faces.person.append(person)
    faces.split.append(split)
    faces.source.append(source)


def pictures(path: Path, count: int) -> Iterator[np.ndarray]:
    """`count` frames spread over the file, as 8-bit RGB."""
    with open_footage(path) as footage:
        total = footage.shot.frame_count
        wanted = set(np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist())
        for frame in footage.frames():
            if frame.index in wanted:
                yield rgb8_from_frame(frame)


class Strangers:
    """Tells faces of a source with several people apart by the teacher: the nearest person so far, or a new one."""

    def __init__(self, name: str) -> None:
        self.name, self.people = name, list[list[np.ndarray]]()

    def who(self, vector: np.ndarray) -> str:
        """Name of the person."""
        like = [float(vector @ np.mean(p, 0) / np.linalg.norm(np.mean(p, 0))) for p in self.people]
        if like and max(like) > SAME_PERSON:
            k = int(np.argmax(like))
            self.people[k].append(vector)
        else:
            k = len(self.people)
            self.people.append([vector])
        return f"{self.name}{k}"


def collect(args: argparse.Namespace) -> Faces:
    """Everything, source after source."""
    faces, eyes = Faces(), Eyes()
    for clip in CLIPS:
        for rgb8 in pictures(args.clips / clip.file, FRAMES):
            found = next(eyes.faces(rgb8), None)
            if found is not None:
                add(faces, found, clip.person, clip.split, clip.file)
        print(clip.file, len(faces.crops), flush=True)
    for name, split in (CROWDS | GROUP_PHOTOS).items():
        strangers = Strangers(f"{Path(name).stem}:")
        for rgb8 in pictures((args.clips if name in CROWDS else args.photos) / name, FRAMES):
            for found in eyes.faces(rgb8):
                add(faces, found, strangers.who(found[2]), split, name)
        print(name, len(faces.crops), len(strangers.people), flush=True)
    strangers = Strangers("photo")
    skip = ("group", "stock-group", "painting")
    for path in sorted(
        p for f in (args.photos, args.synthetic) for p in f.glob("*.jpg") if not p.name.startswith(skip)
    ):
        found = next(eyes.faces(next(pictures(path, 1))), None)
        if found is not None:
            person = strangers.who(found[2])
            k = int(person.removeprefix("photo"))
            add(faces, found, person, "test" if k % 5 == SEED % 5 else "val" if k % 10 == 3 else "train", path.name)
    print("photographs", len(faces.crops), len(strangers.people), flush=True)
    return faces


def merged(faces: Faces) -> tuple[list[str], list[str]]:
    """Names and splits with one name for every person: people whose mean vectors agree are one, in the strictest of their splits."""
    names = sorted(set(faces.person))
    vectors = np.stack(faces.teacher)
    of = {n: np.flatnonzero(np.array(faces.person) == n) for n in names}
    means = np.stack([vectors[of[n]].mean(0) / np.linalg.norm(vectors[of[n]].mean(0)) for n in names])
    alias = {n: n for n in names}
    for i, j in np.argwhere(np.triu(means @ means.T > SAME_PERSON, 1)):
        a, b = alias[names[i]], alias[names[j]]
        if a != b:
            print(f"one person: {a} = {b} ({means[i] @ means[j]:.2f})")
            alias = {k: a if v == b else v for k, v in alias.items()}
    person = [alias[p] for p in faces.person]
    strictest = {
        p: max((s for q, s in zip(person, faces.split, strict=True) if q == p), key=ORDER.get) for p in set(person)
    }
    return person, [strictest[p] for p in person]


def main() -> None:
    """Collect, merge, write, and say who is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("clips", "photos", "synthetic", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    faces = collect(args)
    person, split = merged(faces)
    text = {"person": np.array(person), "split": np.array(split), "source": np.array(faces.source)}
    np.savez_compressed(
        args.out / "faces.npz", crops=np.stack(faces.crops), points=np.stack(faces.points).astype(np.float16),
        teacher=np.stack(faces.teacher).astype(np.float32), **text,
    )  # fmt: skip
    for s in ORDER:
        rows = [p for p, q in zip(person, split, strict=True) if q == s]
        print(s, len(rows), "faces of", len(set(rows)), "people")


if __name__ == "__main__":
    main()
