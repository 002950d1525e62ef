"""Track every face of a folder of clips and photographs for `fit.py`, with the product's own detector and mesh.

    python training/shape/collect.py --data ../shared/data --out TRACKS

One .npz a file: `p` frames x 478 x 3 (pixels), `i` frame indices. Clips: the largest face; photographs: every face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from digidouble.errors import MediaError
from digidouble.footage import open_footage
from digidouble.perception.detector import FaceDetector
from digidouble.perception.mesh import FaceMesher, roi_from_detection, roi_from_mesh
from digidouble.schema.colour import rgb8_from_frame

FRAMES = 700  # of a clip are enough
FOLDERS = ("clips", "photos", "people_synthetic")  # reference/ is GPL and stays out


def largest_face(path: Path, detector: FaceDetector, mesher: FaceMesher) -> tuple[np.ndarray, np.ndarray]:
    """Meshes of the largest face of a clip, followed from frame to frame, and their frame indices."""
    points, indices, roi = [], [], None
    with open_footage(path) as footage:
        for frame in footage.frames():
            if frame.index >= FRAMES:
                break
            rgb8 = rgb8_from_frame(frame)
            if roi is None:
                found = sorted(detector.detect(rgb8), key=lambda d: -d.size_px) if frame.index % 5 == 0 else []
                if not found:
                    continue
                roi = roi_from_mesh(mesher.mesh(rgb8, roi_from_detection(found[0])[None])[0].points_px)
            seen = mesher.mesh(rgb8, roi[None])[0]
            if seen.score < 0.5:
                roi = None
                continue
            points.append(seen.points_px)
            indices.append(frame.index)
            roi = roi_from_mesh(seen.points_px)
    return np.array(points, np.float32), np.array(indices)


def every_face(path: Path, detector: FaceDetector, mesher: FaceMesher) -> tuple[np.ndarray, np.ndarray]:
    """Meshes of all faces of a photograph."""
    with open_footage(path) as footage:
        rgb8 = rgb8_from_frame(footage.frame(0))
    points = []
    for detection in sorted(detector.detect(rgb8), key=lambda d: -d.size_px):
        first = mesher.mesh(rgb8, roi_from_detection(detection)[None])[0]
        seen = mesher.mesh(rgb8, roi_from_mesh(first.points_px)[None])[0]
        if seen.score > 0.5:
            points.append(seen.points_px)
    return np.array(points, np.float32), np.arange(len(points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    detector, mesher = FaceDetector(), FaceMesher()
    for folder in FOLDERS:
        for path in sorted((args.data / folder).iterdir()):
            target = args.out / f"{path.stem}.npz"
            if target.exists():
                continue
            follow = every_face if path.suffix.lower() in (".jpg", ".png") else largest_face
            try:
                points, indices = follow(path, detector, mesher)
            except MediaError as e:
                print("left out:", e)
                continue
            np.savez_compressed(target, p=points, i=indices)
            print(path.stem, len(points), flush=True)


if __name__ == "__main__":
    main()
