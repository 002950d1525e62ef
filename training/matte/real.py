"""Look at the matte on real frames: a contact sheet of plate, hull and matte for clips never trained on.

    python training/matte/real.py --data ../shared/data --tracks /tmp/tracks --model matte.onnx --out sheet.png [--clips a b]

What the matte hides inside the hull is painted red, what it keeps is left as it is, outside the hull is dimmed. The sheets
show people: they are for the eye of the trainer and are never committed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import bases
import crop as crop_module
import cv2
import numpy as np
import torch
from evaluate import Matte, onnx_matte


def matte_of(model: Matte, picture: np.ndarray, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(crop RGB 0..1, hull 0..1, alpha 0..1) of one face, exactly as the runtime makes them."""
    crop, points = bases.aligned(picture, points_px, crop_module.CROP, crop_module.MARGIN)
    hull = crop_module.hull_mask(points).astype(np.float32) / 255
    rgb = crop[..., ::-1].astype(np.float32) / 255
    pixels = np.concatenate([rgb.transpose(2, 0, 1), hull[None]])[None]
    return rgb, hull, model(torch.from_numpy(pixels))[0, 0].numpy()


def cell(rgb: np.ndarray, hull: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Plate above, matte below, BGR 8 bit."""
    hidden = (hull * (1 - alpha))[..., None]
    over = rgb * (0.3 + 0.7 * hull[..., None]) * (1 - 0.75 * hidden) + hidden * np.array([0.75, 0, 0])
    plate = (rgb[..., ::-1] * 255).astype(np.uint8)
    return np.vstack([plate, (np.clip(over[..., ::-1], 0, 1) * 255).astype(np.uint8)])


def main() -> None:
    """Write the sheet and print the share of the hull that is hidden, per frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "tracks", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--clips", nargs="*", default=list(bases.REAL))
    parser.add_argument("--frames", type=int, default=11)
    args = parser.parse_args()
    model, files, rows = onnx_matte(args.model), bases.source_files(args.data), []
    for name in args.clips:
        track = np.load(args.tracks / f"{name}.npz")
        chosen = np.unique(np.linspace(0, len(track["i"]) - 1, args.frames).astype(int))
        row, shares = [], []
        for k, picture in zip(chosen, bases.pictures(files[name], [int(track["i"][k]) for k in chosen]), strict=True):
            rgb, hull, alpha = matte_of(model, picture, track["p"][k][:, :2].astype(np.float64))
            shares.append(f"{track['i'][k]}:{1 - alpha.sum() / max(hull.sum(), 1):.2f}")
            row.append(cell(rgb, hull, alpha))
        row += [np.zeros_like(row[0])] * (args.frames - len(row))
        print(name, *shares)
        strip = np.hstack(row)
        cv2.putText(strip, name, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 255, 255), 1)
        rows.append(strip)
    cv2.imwrite(str(args.out), np.vstack(rows))


if __name__ == "__main__":
    main()
