"""The detail network through the whole product: pictures of people it was never trained on, halved, made a persona of, and restored.

    python training/diffusion/product.py --clips DATA/clips --synthetic DATA/people_synthetic

Truth is the persona of the same picture at full size, on as many texels. Both were found by their own mesh, so texels agree only to a fraction of one:
spectra are compared, and how far coarse detail moves. Rings and distance are those of `evaluate.py`, on plain skin that was seen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from digidouble.bench.material import CONSENT
from digidouble.capture import CaptureSettings, capture
from digidouble.footage import open_footage
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona import PersonaSettings, build_persona
from digidouble.refine.atlases import detailed
from digidouble.refine.diffusion import SkinDetail
from digidouble.schema.colour import LUMA, rgb8_from_frame
from digidouble.schema.persona import Persona
from digidouble.schema.transfer import srgb_encode

RINGS, TOP, FIRST = 16, 13, 8  # as in evaluate.py; the condition of factor 2 holds the rings below FIRST
PATCH = 48
SOURCES = (
    ("grimaces_long.mp4", 5), ("wide_turns_lamp.mp4", 2), ("expressions_tilt.mp4", 3), ("laugh_15fps.mp4", 3),
    ("man_13.jpg", 0), ("man_08.jpg", 0),
)  # fmt: skip


def spectrum(luma: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """Mean radial power over windows that lie inside, [RINGS]; None when there is none."""
    window, f = np.hanning(PATCH), np.fft.fftfreq(PATCH)
    ring = (np.hypot(f[:, None], f[None]) * 2 * RINGS).astype(int)
    rows = []
    for y in range(0, len(luma) - PATCH + 1, PATCH // 4):
        for x in range(0, len(luma) - PATCH + 1, PATCH // 4):
            if inside[y : y + PATCH, x : x + PATCH].mean() > 0.9:
                p = luma[y : y + PATCH, x : x + PATCH]
                power = np.abs(np.fft.fft2((p - p.mean()) * window[:, None] * window)) ** 2
                rows.append([power[ring == k].mean() for k in range(RINGS)])
    return np.mean(rows, 0) if rows else None


def persona_of(rgb8: np.ndarray, folder: Path, quality: int, atlas_px: int = 0) -> Persona:
    """A persona of one picture; as PNG, or as JPEG of a quality."""
    path = folder / ("x.jpg" if quality else "x.png")
    cv2.imwrite(str(path), rgb8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality] if quality else [])
    return build_persona(
        capture([path], CONSENT, CaptureSettings(min_face_px=36)), "x", PersonaSettings(atlas_px=atlas_px)
    )


def shown(persona: Persona, texels: int) -> np.ndarray:
    """Its atlas at a size, display-referred."""
    atlas = cv2.resize(persona.keys[0].albedo.astype(np.float32), (texels, texels), interpolation=cv2.INTER_CUBIC)
    return srgb_encode(np.maximum(atlas, 0))


def compared(rgb8: np.ndarray, quality: int, network: SkinDetail, folder: Path) -> dict[str, np.ndarray | float] | None:
    """Spectra of one picture, and how far the low band moved; None when too little skin was seen."""
    own = persona_of(cv2.resize(rgb8, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), folder, quality)
    began = time.perf_counter()
    fine = detailed(own, network)
    seconds = time.perf_counter() - began
    texels = len(fine.keys[0].albedo)
    real = persona_of(rgb8, folder, 0, texels)
    seen = (fine.keys[0].confidence > 128) & (real.keys[0].confidence > 128)
    skin, low, high = seen & uv_grid(texels).skin, shown(own, texels), shown(fine, texels)
    sigma = 1.2  # the unsharp mask of evaluate.py at factor 2
    sharp = {f"unsharp {a:g}": low + a * (low - cv2.GaussianBlur(low, (0, 0), sigma)) for a in (1.0, 2.0, 4.0)}
    rows = {"real": shown(real, texels), "bicubic": low, "restored": high, **sharp}
    spectra = {k: spectrum(v @ LUMA.astype(np.float32), skin) for k, v in rows.items()}
    if any(v is None for v in spectra.values()):
        return None
    moved = float(np.abs(cv2.blur(high - low, (8, 8)))[seen].mean() * 255)
    return {k: v for k, v in spectra.items() if v is not None} | {
        "moved": moved,
        "seconds": seconds,
        "face": own.keys[0].face_px,
    }


def error(found: np.ndarray, real: np.ndarray) -> float:
    """Mean relative error of the power over the rings that the source did not hold."""
    return float(np.abs(found / real - 1)[FIRST:TOP].mean())


def main() -> None:
    """Print a line a picture, and the people together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    args = parser.parse_args()
    network = SkinDetail(threads=1)
    for quality in (0, 80):
        found = []
        for name, index in SOURCES:
            with open_footage((args.synthetic if name.endswith("jpg") else args.clips) / name) as footage:
                rgb8 = rgb8_from_frame(footage.frame(index))
            with tempfile.TemporaryDirectory() as folder:
                row = compared(rgb8, quality, network, Path(folder))
            if row is None:
                print(f"{name}: too little skin for a window")
                continue
            found.append(row)
            errors = {
                k: round(error(v, row["real"]), 2) for k, v in row.items() if isinstance(v, np.ndarray) and k != "real"
            }
            print(
                f"{name} jpeg {quality} face {row['face']:.0f} px {errors} low band {row['moved']:.2f}/255 {row['seconds']:.1f} s",
                flush=True,
            )
        real = [row["real"][FIRST:TOP].mean() for row in found]  # every person weighs the same
        pooled = {
            k: sum(r[k] / w for r, w in zip(found, real, strict=True))
            for k in found[0]
            if isinstance(found[0][k], np.ndarray)
        }
        print(
            "together",
            {
                k: (round(error(v, pooled["real"]), 3), np.round(v / pooled["real"], 2)[6:14].tolist())
                for k, v in pooled.items()
                if k != "real"
            },
        )


if __name__ == "__main__":
    main()
