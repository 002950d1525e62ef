"""The documentation's pictures, from what `make demo` left: python docs/pictures/make.py [DEMO_FOLDER]"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from digidouble.app.demo import COLLINS, HOPPER, packaged
from digidouble.app.passes import row_of
from digidouble.app.sheets import faces_sheet, persona_sheet
from digidouble.deliver.labels import read_labels, xmp_packet
from digidouble.deliver.sheets import contact_sheet
from digidouble.footage import Footage, open_footage
from digidouble.performance import PerformSettings, analyse, load_performance
from digidouble.performance.crops import part_roi
from digidouble.performance.modalities import Senses, flow_px, modalities_at
from digidouble.persona import load_persona
from digidouble.pipeline import prepare, render_frame, with_detail
from digidouble.schema.colour import display_rgb8, rgb8_from_frame
from digidouble.schema.mark import payload_of
from digidouble.schema.performance import Performance

HERE = Path(__file__).parent
MAX_BYTES, MAX_WIDTH = 300_000, 1100


def save(name: str, rgb8: np.ndarray, labelled_like: Path) -> None:
    """A JPEG with the labels of a demo result, no larger than MAX_BYTES."""
    picture = Image.fromarray(rgb8)
    if picture.width > MAX_WIDTH:
        picture = picture.resize(
            (MAX_WIDTH, round(picture.height * MAX_WIDTH / picture.width)), Image.Resampling.LANCZOS
        )
    for quality in (90, 84, 76, 68):
        picture.save(HERE / name, quality=quality, xmp=xmp_packet(read_labels(labelled_like), with_aigc=True))
        if (HERE / name).stat().st_size <= MAX_BYTES:
            return
    raise SystemExit(f"{name}: larger than {MAX_BYTES} bytes")


def passes_of(performance: Performance, plate: Footage, name: str) -> tuple[list[np.ndarray], list[str], str]:
    """A row of the passes' picture: the heaviest track of a portrait, with the flow of a small turn of the picture."""
    track = performance.tracks[0]
    senses = Senses.of(PerformSettings())
    seen = modalities_at(performance, plate, track, 0, lambda: senses)
    if seen is None:
        raise SystemExit(f"{name}: no face")
    # A portrait does not move: show the flow that a turn by two degrees about the crop's centre would have.
    side = len(seen.rgb8)
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), 2.0, 1.0)
    turned = cv2.warpAffine(seen.rgb8, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    flow = flow_px(senses.flow, (seen.rgb8, seen.px_from_crop), (turned, seen.px_from_crop))
    row = row_of(replace(seen, flow_next_px=flow), track.sample(0).matte, 0)
    return list(row.pictures), ["plate", row.captions[1], "turned by 2 degrees", row.captions[3]], name


def layers_of_exr(path: Path) -> tuple[list[list[np.ndarray]], list[list[str]]]:
    """Two rows of a delivered EXR's layers around the face, made visible, and what to write below them."""
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {name: np.array(c.pixels, np.float32) for name, c in file.channels().items()}
    name = next(n.partition("_matte")[0] for n in planes if n.endswith("_matte.core"))

    def layer(prefix: str, channels: str) -> np.ndarray:
        return np.dstack([planes[f"{prefix}.{c}" if prefix else c] for c in channels])

    def gray(plane: np.ndarray) -> np.ndarray:
        return np.repeat(plane[..., None], 3, axis=2)

    matte = planes[f"{name}.A"]
    ys, xs = np.nonzero(matte > 0)
    pad = round(0.25 * np.ptp(ys))
    window = (slice(max(ys.min() - pad, 0), ys.max() + pad), slice(max(xs.min() - pad, 0), xs.max() + pad))
    depth, face = planes["depth.Z"], matte > 0.5
    near, far = np.quantile(depth[face], (0.01, 0.99))
    there = (matte > 0)[..., None]
    uv = np.dstack([planes["uv.u"], planes["uv.v"], np.zeros_like(matte)])
    shown = [
        ("comp", display_rgb8(layer("", "RGB"))),
        (f"{name} (patch)", display_rgb8(layer(name, "RGB"))),
        (f"{name}_matte.core", display_rgb8(gray(planes[f"{name}_matte.core"]))),
        (f"{name}.A", display_rgb8(gray(matte))),
        ("albedo", display_rgb8(layer("albedo", "RGB"))),
        ("shading", display_rgb8(0.5 * layer("shading", "RGB"))),
        ("specular x 4", display_rgb8(4 * layer("specular", "RGB"))),
        ("refine x 4 + 0.2", display_rgb8(np.where(there, 0.2 + 4 * layer("refine", "RGB"), 0))),
        ("N", np.rint(255 * np.where(there, 0.5 + 0.5 * layer("N", "XYZ"), 0)).astype(np.uint8)),
        ("uv", np.rint(255 * np.clip(np.where(there, uv, 0), 0, 1)).astype(np.uint8)),
        ("depth.Z", display_rgb8(gray(np.where(matte > 0, np.clip((far - depth) / (far - near), 0, 1), 0)))),
        ("conf", display_rgb8(gray(planes["conf.Y"]))),
    ]
    pictures, below = [p[window] for _, p in shown], [text for text, _ in shown]
    return [pictures[:6], pictures[6:]], [below[:6], below[6:]]


def talking(demo: Path) -> None:
    """Frames of what the demo's portrait says, and ten emotions on it."""
    from fractions import Fraction

    from digidouble.acting import EMOTIONS, face_of, recipe
    from digidouble.pipeline import prepare, render_frame, written_plate
    from digidouble.schema.acting import Acting
    from digidouble.schema.time import FrameRate

    window = (slice(20, 240), slice(110, 330))
    rows, captions = [], []
    for name in ("collins_talks.mp4", "collins_talks_zh.mp4"):
        with open_footage(demo / name) as movie:
            at = np.linspace(60, movie.shot.frame_count - 20, 5).astype(int)
            rows.append([rgb8_from_frame(movie.frame(int(k)))[window] for k in at])
            captions.append([f"{k / float(movie.shot.rate.fps):.1f} s" for k in at])
    with tempfile.TemporaryDirectory() as folder, open_footage(packaged(COLLINS.package, COLLINS.member)) as plate:
        found = load_performance(analyse(plate, Path(folder) / "plate.perf", PerformSettings()))
        faces, n = np.stack([face_of(e) for e in EMOTIONS]), len(EMOTIONS)
        head = np.array([recipe(e).head_deg for e in EMOTIONS])
        still = Acting(FrameRate(Fraction(25)), faces, np.zeros(n), np.zeros(n), -head[:, :2], head, np.zeros((n, 2)))
        acted, performance = written_plate(plate, found, "main", still, Path(folder) / "written.perf", {})
        casts = prepare(performance, {"main": load_persona(demo / "collins.persona")}, purpose="demo")
        cells = [rgb8_from_frame(render_frame(casts, acted.frame(k))[0])[window] for k in range(n)]
    rows += [cells[:5], cells[5:]]
    captions += [list(EMOTIONS[:5]), list(EMOTIONS[5:])]
    save("talking.jpg", contact_sheet(rows, captions, None, 210), demo / "collins_talks.mp4")


def held_out(portrait: Path, persona: Path, folder: Path) -> tuple[list[list[np.ndarray]], list[list[str]]]:
    """A portrait with a drawn lock and a drawn hand in front, and what a double's mattes say."""
    from digidouble.bench.occluders import Moment, hand, lock, put_in_front
    from digidouble.bench.protocols.follow import SRGB, Altered
    from digidouble.pipeline import hair_looks, render_passes
    from digidouble.schema.frame import Frame

    rows = []
    with open_footage(portrait) as plate:
        points = load_performance(analyse(plate, folder / "bare.perf")).tracks[0].sample(0).points_px
        for kind, draw, gone in (("lock", lock, 0.25), ("hand", hand, 0.4)):
            layer = draw(np.random.default_rng(5), np.array([205.0, 150.0, 125.0]))

            def change(f: Frame, layer=layer, moment=Moment(kind, gone)) -> Frame:  # noqa: B008
                return Frame(0, f.pts_seconds, (put_in_front(rgb8_from_frame(f), layer, moment, points)[0],), *SRGB)

            covered = Altered(plate, change, SRGB)
            found = load_performance(analyse(covered, folder / f"{kind}.perf"))
            casts = prepare(found, {"main": load_persona(persona)})
            result, _, passes = render_passes(casts, covered.frame(0), hair=hair_looks(casts, covered))
            face = passes.faces[0]
            roi, occl = face.layer.roi, np.clip(face.core - face.layer.alpha, 0, 1)
            hair, gray = occl * face.hair, 0.35 * face.core
            mattes = np.zeros((*result.size_hw, 3), np.uint8)
            part = np.rint(255 * np.dstack([gray + hair, gray, gray + occl - hair]).clip(0, 1)).astype(np.uint8)
            mattes[roi.y0 : roi.y1, roi.x0 : roi.x1] = part
            window = (slice(max(roi.y0 - 60, 0), roi.y1 + 30), slice(roi.x0 - 50, roi.x1 + 50))
            rows += [p[window] for p in (rgb8_from_frame(covered.frame(0)), mattes)]
    return [rows], [["a drawn lock in front", "hair red, the rest of occl blue", "a drawn hand in front", "the same"]]


def marked(plate: Path, persona: Path, folder: Path) -> list[np.ndarray]:
    """A double without its invisible mark, with it, and twelve times the difference; the plate is enlarged four times."""
    large = folder / "large.png"
    with Image.open(plate) as picture:
        picture.convert("RGB").crop((110, 0, 350, 260)).resize((960, 1040), Image.Resampling.BICUBIC).save(large)
    with open_footage(large) as footage:
        performance = load_performance(analyse(footage, folder / "large.perf"))
        casts = prepare(performance, {"main": load_persona(persona)})
        plain, with_mark = (
            rgb8_from_frame(render_frame(casts, footage.frame(0), mark=m)[0]) for m in (None, payload_of("docs"))
        )
        roi = part_roi(performance.tracks[0].sample(0).points_px, "face", footage.shot.size_wh)
    many = np.clip(128 + 12 * (with_mark.astype(int) - plain), 0, 255).astype(np.uint8)
    return [picture[roi.y0 : roi.y1, roi.x0 : roi.x1] for picture in (plain, with_mark, many)]


def fine_detail(demo: Path) -> None:
    """Eye, cheek and mouth of a portrait's atlas, without and with detail."""
    own = load_persona(demo / "collins.persona")
    pictures = []
    for u, v in ((0.33, 0.36), (0.34, 0.56), (0.5, 0.7)):
        for persona in (own, with_detail(own)):
            atlas = cv2.resize(persona.keys[0].albedo.astype(np.float32), (1024, 1024), interpolation=cv2.INTER_CUBIC)
            x, y, half = int(1024 * u), int(1024 * v), 112
            pictures.append(display_rgb8(atlas[y - half : y + half, x - half : x + half]))
    captions = ["as photographed", "with --detail"] * 3
    save("detail.jpg", contact_sheet([pictures], [captions], None, 180), demo / "hopper_as_collins.png")


def main() -> None:
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    portraits = {p.key: packaged(p.package, p.member) for p in (COLLINS, HOPPER)}
    double = demo / "carphone_as_collins.mp4"
    sheet = persona_sheet(load_persona(demo / "collins.persona"))
    save("persona_sheet.jpg", sheet, demo / "hopper_as_collins.png")
    # Only public-domain portraits are shown here: the demo's video clip stays out of the repository.
    rows, senses = [], []
    with tempfile.TemporaryDirectory() as folder:
        for plate_key, result in (("hopper", "hopper_as_collins.png"), ("collins", "collins_as_hopper.png")):
            with open_footage(portraits[plate_key]) as plate, open_footage(demo / result) as double:
                performance = load_performance(analyse(plate, Path(folder) / f"{plate_key}.perf"))
                points = performance.tracks[0].sample(0).points_px
                cells = []
                for part in ("face", "eyes", "mouth"):
                    roi = part_roi(points, part, plate.shot.size_wh)
                    window = (slice(roi.y0, roi.y1), slice(roi.x0, roi.x1))
                    cells += [rgb8_from_frame(f.frame(0))[window] for f in (plate, double)]
                rows.append(cells)
                senses.append(passes_of(performance, plate, plate_key.capitalize()))
                if plate_key == "hopper":
                    save("faces_sheet.jpg", faces_sheet(performance, plate, 8), demo / result)
        tiles = marked(portraits["collins"], demo / "collins.persona", Path(folder))
        texts = [["not marked", "marked, as delivered", "12 times the difference"]]
        save("mark.jpg", contact_sheet([tiles], texts, None, 360), demo / "hopper_as_collins.png")
        rows_of_hair, texts = held_out(portraits["collins"], demo / "hopper.persona", Path(folder))
        save("hair.jpg", contact_sheet(rows_of_hair, texts, None, 220), demo / "hopper_as_collins.png")
        exr = Path(folder) / "passes"
        cast = [
            "--cast",
            f"main={demo / 'collins.persona'}",
            "-o",
            str(Path(folder) / "hopper.png"),
            "--passes",
            str(exr),
        ]
        waiver = ["--no-visible-label", "--reason", "picture of the passes"]
        subprocess.run(["digidouble", "swap", str(portraits["hopper"]), *cast, *waiver], check=True)
        layers, texts = layers_of_exr(exr / "hopper.0000.exr")
        save("exr_layers.jpg", contact_sheet(layers, texts, None, 180), demo / "hopper_as_collins.png")
    pictures, below, above = (list(part) for part in zip(*senses, strict=True))
    save("passes.jpg", contact_sheet(pictures, below, above, 220), demo / "hopper_as_collins.png")
    captions = [["plate", "double", "its eyes", "double's", "its mouth", "double's"]] * 2
    titles = ["Collins on Hopper's plate", "Hopper on Collins's plate"]
    save("swap_frames.jpg", contact_sheet(rows, captions, titles, 200), demo / "hopper_as_collins.png")
    whole = [portraits["collins"], portraits["hopper"], demo / "hopper_as_collins.png", demo / "collins_as_hopper.png"]
    pictures = []
    for path in whole:
        with open_footage(path) as footage:
            pictures.append(rgb8_from_frame(footage.frame(0)))
    names = [
        "Eileen Collins (NASA)",
        "Grace Hopper (US Navy)",
        "Collins on Hopper's plate",
        "Hopper on Collins's plate",
    ]
    talking(demo)
    fine_detail(demo)
    save("portraits.jpg", contact_sheet([pictures], [names], None, 320), demo / "hopper_as_collins.png")


if __name__ == "__main__":
    main()
