"""Build the data pack: bases with labels, keyed hands, masks with alpha and textures without faces, one .npz under 64 MiB.

    python training/matte/prepare.py --data ../shared/data --tracks /tmp/tracks --out .work/matte_data/pack.npz

`tracks` holds one npz per clip or photograph: `p` [n, 478, 3] mesh points in pixels, `i` [n] frame indexes (what the
perception package finds). Pictures are kept as JPEG 95 or PNG bytes, so the pack holds no pickled object.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import bases
import crop as crop_module
import cv2
import numpy as np
import occluders

TEXTURE = 128
TEXTURE_TEST = ("talk_200s", "two_people_pass_in_front", "stage_mic_three", "funny_hand_chin", "no_face")
"""Textures of the test occluders come from these clips only."""


def encode(kind: str, pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures as one byte array and the offsets between them."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if kind == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    blobs = [cv2.imencode(kind, p, options)[1].ravel() for p in pictures]
    return np.concatenate(blobs), np.cumsum([0] + [len(b) for b in blobs])


def decode(data: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """The inverse of `encode`."""
    return [cv2.imdecode(data[a:b], cv2.IMREAD_UNCHANGED) for a, b in pairwise(offsets)]


def hands(data: Path) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Keyed hands with their origin and split: the photographs 0-449 and hand_white train, 450-499 val, hand_blue test."""
    sources = []
    for k, path in enumerate(sorted((data / "occluders" / "hands").iterdir())):
        sources.append((cv2.imread(str(path)), path.stem, "train" if k < 450 else "val"))
    for name, split, step in (("hand_white", "train", 5), ("hand_blue", "test", 5)):
        reader = cv2.VideoCapture(str(data / "clips" / f"{name}.mp4"))
        count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        for k in range(count):
            ok, picture = reader.read()
            if ok and k % step == 0:
                sources.append((picture, f"{name}:{k}", split))
        reader.release()
    with ThreadPoolExecutor(2) as pool:
        layers = list(pool.map(lambda s: occluders.keyed(s[0]), sources))
    kept = [(layer, name, split) for layer, (_, name, split) in zip(layers, sources, strict=True) if layer is not None]
    return [k[0] for k in kept], [k[1] for k in kept], [k[2] for k in kept]


def textures(data: Path, tracks: Path, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Patches of pictures that hold no face: clothes, walls, hair, bodies; train from the training list, test apart."""
    random, files, out = np.random.default_rng(seed), bases.source_files(data), []
    split_of = dict.fromkeys(bases.TRAIN, "train") | dict.fromkeys(TEXTURE_TEST, "test")
    for name, split in split_of.items():
        track = np.load(tracks / f"{name}.npz") if (tracks / f"{name}.npz").exists() else {"p": [], "i": []}
        still = files[name].suffix in (".jpg", ".png")
        for picture in bases.pictures(files[name], [0] if still else [3, 40]):
            h, w = picture.shape[:2]
            for _ in range(14):
                side = int(random.uniform(0.18, 0.4) * min(h, w))
                y, x = random.integers(0, h - side), random.integers(0, w - side)
                boxes = [(p[:, 0].min(), p[:, 1].min(), p[:, 0].max(), p[:, 1].max()) for p in track["p"][:40]]
                patch = picture[y : y + side, x : x + side]
                clear = all(x > b[2] or x + side < b[0] or y > b[3] or y + side < b[1] for b in boxes)
                if clear and patch.std() > 9:
                    out.append((cv2.resize(patch, (TEXTURE, TEXTURE), interpolation=cv2.INTER_AREA), split))
    return [o[0] for o in out], [o[1] for o in out]


def _face_of(points: np.ndarray, both: np.ndarray) -> np.ndarray:
    """The label inside the hull, 0..255, from a base's points and its label and weight side by side."""
    return np.minimum(both[:, : bases.BASE], crop_module.hull_mask(points, bases.BASE))


def main() -> None:
    """Write the pack and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pack: dict[str, np.ndarray] = {}
    everything = []
    for split, names in (("train", bases.TRAIN), ("val", bases.VAL), ("test", bases.TEST)):
        for name, frame, picture, points, label, weight in bases.labelled(args.data, args.tracks, names):
            everything.append((name, frame, split, picture, points, np.hstack([label, weight])))
    pack["base"], pack["base_at"] = encode(".jpg", [e[3] for e in everything])
    pack["label"], pack["label_at"] = encode(".png", [e[5] for e in everything])
    pack["points"] = np.stack([e[4] for e in everything]).astype(np.float32)
    pack["clip"], pack["split"] = np.array([e[0] for e in everything]), np.array([e[2] for e in everything])
    locks = [(e, occluders.own_hair(e[3], e[4], _face_of(e[4], e[5]))) for e in everything[::2]]
    locks = [(e, hair) for e, hair in locks if hair is not None]
    pack["lock"], pack["lock_at"] = encode(".png", [hair for _, hair in locks])
    pack["lock_split"] = np.array([e[2] for e, _ in locks])
    pack["lock_base"] = np.array([k for k, e in enumerate(everything) if any(e is lock for lock, _ in locks)])
    layers, names, splits = hands(args.data)
    pack["hand"], pack["hand_at"] = encode(".png", layers)
    pack["hand_name"], pack["hand_split"] = np.array(names), np.array(splits)
    names, layers = occluders.masks(args.data / "occluders" / "masks")
    pack["mask"], pack["mask_at"] = encode(".png", layers)
    pack["mask_name"] = np.array(names)
    pack["mask_split"] = np.array(["test" if n.startswith(("N95", "gas")) else "train" for n in names])
    patches, splits = textures(args.data, args.tracks, args.seed)
    pack["texture"], pack["texture_at"] = encode(".jpg", patches)
    pack["texture_split"] = np.array(splits)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **pack)
    for key in ("split", "lock_split", "hand_split", "mask_split", "texture_split"):
        print(key, dict(zip(*[a.tolist() for a in np.unique(pack[key], return_counts=True)], strict=True)))
    print(f"{args.out} {args.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
