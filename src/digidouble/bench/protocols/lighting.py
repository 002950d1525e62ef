"""Light with known truth: a synthetic person photographed in one light stands in for another who was filmed in a second.

Both are meshes with the real skin of personas (`bench.synthetic`), brought to one mean colour, because skin tone and
illuminant cannot be told apart from a picture and taking the plate's tone is a choice, not an error of light. The truth is the
persona's skin on the plate's head under the plate's light. Three errors are taken:

    angle_deg   between the colours of the mean light, estimated and true (as in illuminant estimation)
    ratio       |log2| of (shadow side / lit side) over its true value, luminance
    seam        `pictures.seam_step` in CIELAB against the truth inside the double and the plate outside: where the two people's
                skins differ at the outline, so does the truth, and that is no error of light

`score` is 1 - mean of (error / error of the same picture left in its own light): 1 is perfect, 0 is a paste. The row `truth` is
the truth itself through JPEG 85.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from digidouble.bench.baselines.classic import Classic
from digidouble.bench.baselines.paste import Photograph
from digidouble.bench.material import CONSENT
from digidouble.bench.observe import remeasured
from digidouble.bench.pictures import seam_step
from digidouble.bench.protocol import Measured, Picture, Protocol, Record, Scope
from digidouble.bench.statistics import finite_mean
from digidouble.bench.synthetic import (
    COLD_HARD,
    COLD_STREET,
    FLAT,
    RED_NIGHT,
    WARM_ROOM,
    Lamp,
    Shown,
    photographed,
    pose_matrix,
)
from digidouble.bench.workshop import Workshop, cast_at, product_row
from digidouble.footage import open_footage
from digidouble.performance import analyse, load_performance
from digidouble.persona import build_persona
from digidouble.pipeline import render_frame
from digidouble.schema.colour import LUMA, display_rgb8, linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.persona import Persona

SIZE = 448
SOURCE_VIEWS = ((0.0, 0.0), (-18.0, 0.0), (18.0, 0.0), (0.0, 12.0))
PLATE_FRAMES, QUICK_FRAMES = 12, 6
LIGHTS: dict[str, tuple[Lamp, Lamp]] = {
    "warm room -> cold street": (WARM_ROOM, COLD_STREET),
    "warm room -> cold hard key": (WARM_ROOM, COLD_HARD),
    "flat -> red night": (FLAT, RED_NIGHT),
    "cold street -> warm room": (COLD_STREET, WARM_ROOM),
    "flat -> flat": (FLAT, FLAT),
}


@dataclass(frozen=True)
class Errors:
    """Of one picture against the truth."""

    angle_deg: float
    ratio: float
    seam: float


def ideal(truth: Shown, plate: Shown, core: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The truth where the double covers fully, else the plate: what a perfect double would show."""
    return np.where(core[..., None], truth.linear, plate.linear)


def light_errors(
    linear: Float[np.ndarray, "h w 3"],
    truth: Shown,
    plate: Shown,
    core: Bool[np.ndarray, "h w"],
    key: Float[np.ndarray, "3"],
) -> Errors:
    """Of a picture whose face should look like `truth`. `core`: where the double covers fully; `key`: direction to the lamp."""
    seen, true = linear[core].mean(0), truth.linear[core].mean(0)
    light = np.maximum(seen / np.maximum(true, 1e-6), 1e-6)
    cosine = light.sum() / np.sqrt(3 * (light * light).sum())
    toward = truth.normals @ (key / np.linalg.norm(key))
    sides = [core & (toward < np.quantile(toward[core], 0.25)), core & (toward > np.quantile(toward[core], 0.75))]

    def contrast(picture: Float[np.ndarray, "h w 3"]) -> float:
        shadow, lit = (float((picture[s] @ LUMA).mean()) for s in sides)
        return float(np.log2(max(shadow, 1e-5) / max(lit, 1e-5)))

    step = seam_step(display_rgb8(linear.astype(np.float32)), display_rgb8(ideal(truth, plate, core)), core)
    return Errors(
        float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), abs(contrast(linear) - contrast(truth.linear)), step
    )


def score(errors: Errors, unlit: Errors) -> float:
    """1 - mean error relative to the picture left in its own light. A light that needs no change (flat -> flat) has no score."""
    pairs = [
        (errors.angle_deg, unlit.angle_deg, 0.5),
        (errors.ratio, unlit.ratio, 0.05),
        (errors.seam, unlit.seam, 0.5),
    ]
    shares = [e / u for e, u, least in pairs if u > least]
    return 1 - float(np.mean(shares)) if shares else float("nan")


def with_tone(persona: Persona, mean: Float[np.ndarray, "3"]) -> Persona:
    """The persona with its fused atlas scaled to a mean skin colour."""
    gain = mean / np.maximum(persona.skin_linear, 1e-4)
    first = replace(persona.keys[0], albedo=(persona.keys[0].albedo.astype(np.float32) * gain).astype(np.float16))
    return replace(persona, keys=(first,), skin_linear=np.asarray(mean, np.float32))


def _source_persona(shop: Workshop, person: Persona, light: Lamp) -> Persona:
    from digidouble.capture import capture

    folder = shop.scratch / "lit"
    folder.mkdir(exist_ok=True)
    files = []
    for i, (yaw, pitch) in enumerate(SOURCE_VIEWS):
        picture = photographed(person, person.neutral_cm, pose_matrix(yaw, pitch), light, 2 * SIZE)
        files.append(folder / f"source-{i}.png")
        cv2.imwrite(str(files[-1]), display_rgb8(picture.linear)[..., ::-1])
    try:
        return build_persona(capture(files, CONSENT), "lit")
    finally:
        for f in files:
            f.unlink()


def _turns(count: int) -> list[Float[np.ndarray, "3 3"]]:
    at = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [pose_matrix(14 * np.sin(a), 5 * np.cos(a), 3 * np.sin(a)) for a in at]


def _measure(shop: Workshop, scope: Scope, item: str) -> Measured:
    source, light = LIGHTS[item]
    pair = scope.pairs[0]
    tone = np.array([0.42, 0.26, 0.20])
    person, other = (with_tone(shop.persona(n), tone) for n in (pair.persona, _other(shop, scope)))
    turns = _turns(QUICK_FRAMES if scope.quick else PLATE_FRAMES)
    plates = [photographed(other, other.neutral_cm, t, light, SIZE) for t in turns]
    truths = [photographed(person, other.neutral_cm, t, light, SIZE) for t in turns]
    pasted = [photographed(person, other.neutral_cm, t, source, SIZE) for t in turns]
    lit = _source_persona(shop, person, source)
    ours = {product_row(q): _doubled(shop, lit, plates, q) for q in scope.qualities}
    covers = next(iter(ours.values()))[1]  # one mask for all rows
    classic = _classic(shop, photographed(person, person.neutral_cm, pose_matrix(0, 0), source, SIZE), plates)
    names = ("truth", "unlit paste", "classic", *ours)
    found: dict[str, list[Errors]] = {n: [] for n in names}
    for i, (plate, truth) in enumerate(zip(plates, truths, strict=True)):
        core = covers[i] & truth.face
        naive = np.where(core[..., None], pasted[i].linear, plate.linear)
        again = _linear(remeasured(display_rgb8(ideal(truth, plate, core))))
        shown = (again, naive, classic[i], *(pictures[i] for pictures, _ in ours.values()))
        for name, picture in zip(names, shown, strict=True):
            if picture is not None:
                found[name].append(light_errors(picture, truth, plate, core, light.key_direction))
    means = {k: Errors(*(finite_mean([getattr(e, n) for e in v]) for n in ("angle_deg", "ratio", "seam"))) for k, v in found.items() if v}  # fmt: skip
    records = tuple(Record(item, k, {**vars(e), "score": score(e, means["unlit paste"])}) for k, e in means.items())
    show = {
        "source": pasted[0].linear,
        "plate": plates[0].linear,
        "truth": truths[0].linear,
        "classic": classic[0],
        **{name: pictures[0] for name, (pictures, _) in ours.items()},
    }
    return Measured(records, tuple(Picture(f"{k}: {item}", display_rgb8(v)) for k, v in show.items() if v is not None))


def _other(shop: Workshop, scope: Scope) -> str:
    """Another person of the run than the first pair's, without glasses if there is one: a double keeps the plate's glasses, and
    the truth here has none."""
    first = scope.pairs[0].persona
    names = list(dict.fromkeys([*(p.persona for p in scope.pairs), *(p.plate for p in scope.pairs)]))
    others = [n for n in names if n != first] or [first]
    for name in others:
        tracks = shop.performance(shop.plate(name)).tracks
        if tracks and not tracks[0].worn.any():
            return name
    return others[0]


def _doubled(
    shop: Workshop, persona: Persona, plates: list[Shown], quality: str
) -> tuple[list[Float32[np.ndarray, "h w 3"]], list[Bool[np.ndarray, "h w"]]]:
    """(scene-linear results, where the double covers in full) of the plates as a numbered sequence."""
    folder = shop.scratch / "lit"
    folder.mkdir(exist_ok=True)
    files = [folder / f"plate.{i:04d}.png" for i in range(len(plates))]
    for f, p in zip(files, plates, strict=True):
        cv2.imwrite(str(f), display_rgb8(p.linear)[..., ::-1])
    perf = folder / "plate.perf"
    pictures, covers = [], []
    try:
        with open_footage(folder / "plate.####.png") as footage:
            casts = cast_at(quality, load_performance(analyse(footage, perf)), persona)
            for frame in footage.frames():
                out, layers = render_frame(casts, frame)
                pictures.append(linear_from_frame(out, Roi(0, 0, SIZE, SIZE)))
                cover = np.zeros((SIZE, SIZE), bool)
                for layer in layers:
                    r = layer.roi
                    cover[r.y0 : r.y1, r.x0 : r.x1] |= layer.alpha > 0.95
                covers.append(cover)
    finally:
        for f in (*files, perf):
            f.unlink(missing_ok=True)
    return pictures, covers


def _classic(shop: Workshop, source: Shown, plates: list[Shown]) -> list[Float32[np.ndarray, "h w 3"] | None]:
    """The classic pipeline; None where its detector finds no face."""
    see = shop.observer.landmarker
    photo = display_rgb8(source.linear)
    boxes = see.boxes(photo)
    if not boxes:
        return [None] * len(plates)
    tool = Classic(Photograph(photo, see.landmarks(photo, boxes[0]).astype(np.float64)))
    out: list[Float32[np.ndarray, "h w 3"] | None] = []
    for plate in plates:
        rgb8 = display_rgb8(plate.linear)
        found = see.boxes(rgb8)
        points = see.landmarks(rgb8, found[0]).astype(np.float64) if found else None
        out.append(None if points is None else _linear(tool.frame(rgb8, points)))
    return out


def _linear(rgb8: np.ndarray) -> Float32[np.ndarray, "h w 3"]:
    from digidouble.schema.colour import srgb_decode

    return srgb_decode(rgb8.astype(np.float32) / 255)


def _items(_: Workshop, scope: Scope) -> list[str]:
    return list(LIGHTS)[:1] if scope.quick else list(LIGHTS)


LIGHTING = Protocol(
    "lighting", "Does the double take the plate's light? Synthetic people with real skin under known light.",
    ("score", "angle_deg", "ratio", "seam"), {"score": 1, "angle_deg": -1, "ratio": -1, "seam": -1}, _items, _measure,
    {"score": ">= 0.91", "seam": "<= 2"},
)  # fmt: skip
