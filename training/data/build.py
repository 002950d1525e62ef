"""Clips, performances and photographs -> the two packs that travel to a GPU: `fusion.npz` and `detail.npz`.

    python training/data/build.py --clips DIR --perfs DIR --photos DIR --synthetic DIR --out .work/refine_data

fusion.npz, one row a frame (about 3,000 rows, 128 texels): skin in UV with the light divided out (JPEG, display-referred
sRGB; what the frame does not show is completed as the product does), how far it was seen, displacement from the track's
neutral, normals, actions, gaze, light, view, and who it is. detail.npz, one row a picture: skin in UV at the picture's own
resolution. Every number is made by the product's own code, so that training sees what a render sees.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from people import CLIPS, Clip, Split

from digidouble.capture.collect import Collector
from digidouble.capture.settings import CaptureSettings
from digidouble.errors import DigidoubleError
from digidouble.footage import open_footage
from digidouble.perception.uvgrid import uv_grid
from digidouble.performance import load_performance
from digidouble.persona.atlas import atlas_size, completed, delight, light_of_look, skin_likelihood, unwrap
from digidouble.schema.capture import Look
from digidouble.schema.colour import display_rgb8, linear_from_frame, rgb8_from_frame
from digidouble.schema.frame import Frame, Roi
from digidouble.schema.mesh import camera_normals, face_model
from digidouble.schema.track import FaceTrack

SIZE = 128  # texels of the fusion pack
JPEG = 95
PHOTO_PERSON = 0.45  # cosine of two photographs of one person
MIN_FACE_PX = 80
SEED = 9


@dataclass
class Pack:
    """Rows while they are collected; arrays of one length each when written."""

    rows: dict[str, list[Any]] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)

    def add(self, picture: np.ndarray, quality: int, **values: Any) -> None:
        """One row: an RGB picture and its facts."""
        ok, blob = cv2.imencode(
            ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        )
        if not ok:
            raise RuntimeError("a texture could not be encoded")
        self.blobs.append(blob.tobytes())
        for key, value in values.items():
            self.rows.setdefault(key, []).append(value)

    def write(self, path: Path, about: dict[str, Any], **beside: np.ndarray) -> None:
        """One npz without pickled objects: text goes as JSON bytes, `beside` are arrays that belong to no row."""
        arrays = {k: np.array(v) for k, v in self.rows.items() if not isinstance(v[0], str)}
        text = {k: v for k, v in self.rows.items() if isinstance(v[0], str)}
        ends = np.cumsum([len(b) for b in self.blobs])
        np.savez_compressed(
            path, ends=ends, pictures=np.frombuffer(b"".join(self.blobs), np.uint8),
            text=np.frombuffer(json.dumps(text | {"about": about}).encode(), np.uint8), **arrays, **beside,
        )  # fmt: skip
        print(f"{path}: {len(self.blobs)} rows, {path.stat().st_size / 2**20:.1f} MiB", flush=True)


def chosen_frames(track: FaceTrack, count: int) -> list[int]:
    """Rows of a track: the sharpest, most relaxed one first, then whichever is farthest from those chosen (actions, gaze, view)."""
    face_px = track.px_per_cm * float(np.ptp(track.neutral_cm[:468, 0]))
    good = (track.presence > 0.99) & (track.score > 0.6) & (face_px > MIN_FACE_PX)
    if good.any():
        good &= track.sharpness >= 0.6 * np.quantile(track.sharpness[good], 0.8)
    rows = np.flatnonzero(good)
    if len(rows) == 0:
        return []
    view = np.stack([track.rotation[rows, 0, 2], track.rotation[rows, 1, 2]], 1) / 0.4
    what = np.concatenate([track.actions[rows], track.gaze_deg[rows] / 40, view], 1).astype(np.float32)
    effort = np.abs(track.actions[rows]).mean(1) + 0.5 * np.abs(view).mean(1)
    kept = [int(effort.argmin())]
    near = np.linalg.norm(what - what[kept[0]], axis=1)
    while len(kept) < min(count, len(rows)):
        kept.append(int(near.argmax()))
        near = np.minimum(near, np.linalg.norm(what - what[kept[-1]], axis=1))
        near[kept] = -1
    return [int(rows[k]) for k in kept]


def look_at(frame: Frame, track: FaceTrack) -> Look:
    """The look a persona would have been given of this frame, from the track instead of a new detection."""
    sample, row = track.sample(frame.index), track.row(frame.index)
    points = sample.points_px.astype(np.float32)
    pad = 0.35 * float(np.ptp(points[:468, 0]))
    low, high = points[:, :2].min(0) - pad, points[:, :2].max(0) + pad
    roi = Roi(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1).clipped(frame.size_wh)
    to_local = sample.matte_px_from_crop - np.array([[0, 0, roi.x0], [0, 0, roi.y0]], np.float32)
    matte = cv2.warpAffine(sample.matte, to_local, roi.size_wh, flags=cv2.INTER_LINEAR)
    local = (points - np.array([roi.x0, roi.y0, 0])).astype(np.float32)
    return Look(
        linear_from_frame(frame, roi), local, matte, float(track.score[row]), float(track.sharpness[row]), track.identity, 0
    )  # fmt: skip


def skin_of(look: Look, size: int) -> tuple[np.ndarray, np.ndarray]:
    """8-bit display-referred completed albedo and confidence 0..255 at `size` texels."""
    colour, confidence = unwrap(look, size)
    albedo = delight(colour, look)
    confidence = confidence * skin_likelihood(albedo, confidence)
    full, seen = completed(albedo, confidence, None)
    return display_rgb8(full), seen


def frames_of(clip: Clip, folder: Path, perfs: Path, count: int) -> Iterator[tuple[int, Frame, FaceTrack]]:
    """The chosen frames of the heaviest track; the most relaxed one is number 0."""
    performance = load_performance(perfs / f"{Path(clip.file).stem}.perf")
    if not performance.tracks:
        return
    track = performance.tracks[0]
    wanted = {track.frames.start + r: k for k, r in enumerate(chosen_frames(track, count))}
    with open_footage(folder / clip.file) as footage:
        for frame in footage.frames():
            if frame.index in wanted:
                yield wanted[frame.index], frame, track


def add_clip(fusion: Pack, detail: Pack, clip: Clip, folder: Path, perfs: Path) -> None:
    """Frames of one clip into both packs."""
    count = 130 if clip.split == "train" else 90
    for number, frame, track in frames_of(clip, folder, perfs, count):
        look, row = look_at(frame, track), track.row(frame.index)
        skin, seen = skin_of(look, SIZE)
        shape = track.pose(frame.index).head_from_px(track.sample(frame.index).points_px)
        fusion.add(
            skin, JPEG, person=clip.person, split=clip.split, clip=clip.file, number=number, frame=frame.index,
            seen=cv2.resize(seen, (64, 64), interpolation=cv2.INTER_AREA),
            shift_cm=(shape - track.neutral_cm).astype(np.float16),
            normals=np.round(127 * camera_normals(look.points_px)).astype(np.int8),
            actions=track.actions[row].astype(np.float32), gaze_deg=track.gaze_deg[row].astype(np.float32),
            light_sh=light_of_look(look).astype(np.float32), rotation=track.rotation[row].astype(np.float32),
            sharpness=np.float32(track.sharpness[row]), face_px=np.float32(look.face_px),
        )  # fmt: skip
        if clip.sharp and number < 10:
            add_detail(detail, look, clip.person, clip.split, clip.file)


def grid_arrays() -> dict[str, np.ndarray]:
    """The UV grid, so that the machine that trains needs no face model: where each texel lies in the mesh, and what it is."""
    grid, model = uv_grid(SIZE), face_model()
    return {
        "uv_points": grid.points.astype(np.int16), "uv_weights": grid.weights, "covered": grid.covered, "plain_skin": grid.skin,
        "opening": grid.triangle >= len(model.triangles), "mirror": model.mirror.astype(np.int16),
        "mean_cm": model.mean_cm.astype(np.float32),
    }  # fmt: skip


def add_detail(detail: Pack, look: Look, person: str, split: Split, name: str) -> None:
    """One picture's skin at its own resolution, padded to nothing: rows differ in size."""
    size = min(atlas_size(look.face_px), 1024)
    skin, seen = skin_of(look, size)
    detail.add(
        skin, 98, person=person, split=split, name=name, seen=cv2.resize(seen, (128, 128), interpolation=cv2.INTER_AREA),
        face_px=np.float32(look.face_px), sharpness=np.float32(look.sharpness), texels=np.int32(size),
    )  # fmt: skip


def add_photographs(detail: Pack, folders: list[Path]) -> None:
    """Photographs with one usable face; people are told apart by the embedder, every fifth person is for the test."""
    collector = Collector(CaptureSettings())
    found: list[tuple[str, Look]] = []
    for path in sorted(p for f in folders for p in f.glob("*.jpg") if not p.name.startswith(("group", "stock-group"))):
        try:
            with open_footage(path) as footage:
                frame = footage.frame(0)
            rgb8 = rgb8_from_frame(frame)
            faces = sorted(collector.detector.detect(rgb8), key=lambda d: -d.size_px)
            look = collector.look(frame, rgb8, faces[0], 0) if faces else None
        except DigidoubleError as e:
            print(path.name, e, flush=True)
            continue
        if look is not None and look.face_px > 100:
            found.append((path.name, look))
    people: list[np.ndarray] = []
    for name, look in found:
        if name.startswith("painting"):
            continue
        like = [float(look.identity @ p) for p in people]
        who = int(np.argmax(like)) if like and max(like) > PHOTO_PERSON else len(people)
        if who == len(people):
            people.append(look.identity)
        split: Split = "test" if who % 5 == SEED % 5 else "val" if who % 10 == 3 else "train"
        add_detail(detail, look, f"photo{who}", split, name)
    print(f"{len(found)} photographs of {len(people)} people", flush=True)


def main() -> None:
    """Build both packs and say who is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("clips", "perfs", "photos", "synthetic", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", help="one clip, to try the recipe")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    fusion, detail = Pack(), Pack()
    for clip in CLIPS:
        if args.only in (None, clip.file):
            before = len(fusion.blobs)
            add_clip(fusion, detail, clip, args.clips, args.perfs)
            print(clip.file, len(fusion.blobs) - before, flush=True)
    if args.only is None:
        add_photographs(detail, [args.photos, args.synthetic])
    about = {"seed": SEED, "clips": [asdict(c) for c in CLIPS], "actions": list(face_model().action_names)}
    fusion.write(args.out / "fusion.npz", about, **grid_arrays())
    detail.write(args.out / "detail.npz", about | {"photographs": "MIT (vladmandic/human), Apache-2.0 (echomimic_v2)"})


if __name__ == "__main__":
    main()
