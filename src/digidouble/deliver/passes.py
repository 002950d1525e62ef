"""Passes for compositors: one multi-layer EXR (or a set of 16-bit PNGs) and one JSON sidecar a frame, and a Nuke script.

    DIR/NAME.####.exr    all layers, see `layers_of`        DIR/NAME.####.json    see `sidecar`
    DIR/NAME.nk          see `nuke`                         DIR/NAME.exr.delivery.json

Every frame has its files and every file the same layers: where there is no face they are blank. Frames are numbered like
the plate. Files may be written in any order from any thread; `staged_passes` gives them their names when all are there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from digidouble.deliver import cryptomatte
from digidouble.deliver.exr import ExrInfo, ExrLayer, write_exr
from digidouble.deliver.images import SequenceName, exr_colour, png_bytes
from digidouble.deliver.partial import output_errors
from digidouble.deliver.settings import DeliverySettings
from digidouble.deliver.sidecar import PassTrack, focal_px, frame_json
from digidouble.deliver.visible_label import VisibleLabel, choose_corner, label_frame, labelled_frames
from digidouble.errors import OutputError, SettingsError
from digidouble.perception.hair import HairLook
from digidouble.schema.frame import ColourTags, Frame, PixelLayout, Roi
from digidouble.schema.layers import FacePasses, FramePasses
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange
from digidouble.schema.timecode import timecode_at
from digidouble.schema.transfer import srgb_encode

PassesFormat = Literal["exr", "png16"]
NOTHING_CM = 1e10  # depth where there is no face, as Blender writes it
_DATA = (
    ("albedo", ("R", "G", "B")), ("shading", ("R", "G", "B")), ("specular", ("R", "G", "B")), ("refine", ("R", "G", "B")),
    ("N", ("X", "Y", "Z")), ("uv", ("u", "v")), ("forward", ("u", "v")), ("backward", ("u", "v")), ("conf", ("Y",)),
)  # fmt: skip
_MATTES = ("core", "occl", "hair", "worn")
_MATTE, _WORN = (
    "_matte",
    "_worn",
)  # appended to a double's layer name, for its mattes; the second by the PNG writer alone
_RESERVED = {name.lower() for name, _ in _DATA} | {
    "comp",
    "depth",
    cryptomatte.PLATE,
    "rgba",
    "rgb",
    "alpha",
    "mask",
    "motion",
}


def layer_names(names: Sequence[tuple[int, str]]) -> dict[int, str]:
    """Track id -> layer name, from (track id, persona name): letters and digits of the name, the track's number where that is not enough."""
    plain = {track: re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()[:32] for track, name in names}
    count = list(plain.values())
    out = {}
    for track, name in plain.items():
        ours = name in _RESERVED or name.startswith("crypto") or name.endswith((_MATTE, _WORN))
        taken = not name or ours or name[0].isdigit() or count.count(name) > 1
        out[track] = f"{name or 'double'}_t{track}" if taken else name
    if len(set(out.values())) < len(out):
        out = {track: f"double_t{track}" for track in out}
    return out


def pass_stem(out: Path) -> str:
    """What the passes of an output are called: its name without suffix and frame field, in characters every tool takes."""
    stem = re.sub(r"[._-]?(#+|%0?\d*d)", "", out.stem)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._") or "passes"


def layers_of(passes: FramePasses, tracks: Sequence[PassTrack], shot: Shot) -> list[ExrLayer]:
    """All layers of a frame, full size, scene-linear.

    `R G B A` comp. Each double, by its layer's name: `.R .G .B .A` premultiplied, over each other from the farthest to the
    nearest they give the comp; `_matte.core .occl .hair .worn`: coverage if nothing were in front; what is held out of that; how
    much of `occl` is hair; what glasses took. The nearest face at each pixel: `albedo shading specular refine` (albedo x shading + specular + refine = colour
    of the patch, not premultiplied; refine is what blur and grain changed), `N` (camera axes: x right, y up, z to the viewer),
    `uv` (v up, as an STMap reads it), `forward` and `backward` (pixels to where this skin is in the next and last frame, v up),
    `depth.Z` (centimetres from the camera, 1e10 where nothing is), `conf.Y`. Cryptomatte: `CryptoDouble00` and so on.
    """
    h, w = passes.comp_linear.shape[:2]
    comp = np.ones((h, w, 4), np.float32)
    comp[..., :3] = passes.comp_linear
    out = [ExrLayer("", ("R", "G", "B", "A"), comp)]
    by_track = {face.layer.track_id: face for face in passes.faces}
    for cast in tracks:
        face = by_track.get(cast.track.track_id)
        patch, matte = np.zeros((h, w, 4), np.float32), np.zeros((h, w, 4), np.float32)
        if face is not None:
            window = _window(face.layer.roi)
            patch[window], matte[window] = _patch(face), _mattes(face, cast, passes.index)
        out.append(ExrLayer(cast.layer, ("R", "G", "B", "A"), patch))
        out.append(ExrLayer(f"{cast.layer}{_MATTE}", _MATTES, matte))
    data = {name: np.zeros((h, w, len(channels)), np.float32) for name, channels in _DATA}
    depth = np.full((h, w, 1), NOTHING_CM, np.float32)
    for face in reversed(passes.faces):  # nearest first: it wins by being written last
        cast = next(t for t in tracks if t.track.track_id == face.layer.track_id)
        window, there = _window(face.layer.roi), (face.layer.triangle >= 0) | (face.layer.alpha > 0)
        for name, values in _data(face).items():
            np.copyto(data[name][window], values, where=there[..., None])
        np.copyto(depth[window], _depth_cm(face, cast, passes.index, shot)[..., None], where=there[..., None])
    exact = ("uv",)  # half floats count 2,048 steps: too few for an atlas
    out += [ExrLayer(name, channels, data[name], full_float=name in exact) for name, channels in _DATA]
    out.append(ExrLayer("depth", ("Z",), depth, full_float=True))
    return out + cryptomatte.layers(*_nearest_first(passes, tracks, (h, w)))


@dataclass(frozen=True)
class PassesPlan:
    """What is delivered: where, of which shot, whose, and how.

    Attributes:
        folder: made if need be. stem: of the files' names. frames: those delivered. settings: labels, consent, threads.
        keep_clear: faces in the first frame, for the visible label in the comp. plate: as the Nuke script should read it.
    """

    folder: Path
    stem: str
    shot: Shot
    frames: FrameRange
    tracks: tuple[PassTrack, ...]
    settings: DeliverySettings
    form: PassesFormat = "exr"
    keep_clear: tuple[Roi, ...] = ()

    def __post_init__(self) -> None:
        if self.form not in ("exr", "png16"):
            raise SettingsError(f"passes format {self.form!r}: expected exr or png16")
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is a file; name a folder for the passes")
        if not self.folder.parent.is_dir():
            raise OutputError(f"{self.folder}: the folder {self.folder.parent} does not exist: create it first")

    @property
    def pattern(self) -> Path:
        return self.folder / f"{self.stem}.####{'.exr' if self.form == 'exr' else '.png'}"

    @property
    def hair(self) -> dict[int, HairLook]:
        """The performers' hair, by track."""
        return {t.track.track_id: t.hair for t in self.tracks if t.hair is not None}

    @cached_property
    def label(self) -> VisibleLabel | None:
        """The visible label of the comp, in its corner."""
        wanted = VisibleLabel(self.settings.label_corner) if self.settings.visible_label else None
        return choose_corner(self.shot.size_wh, wanted, self.keep_clear) if wanted else None

    @property
    def labelled(self) -> int:
        """How many of the first frames carry it."""
        return labelled_frames(self.shot, self.label)

    def name(self, index: int, part: str = "") -> str:
        """The file name of a frame, or of a part of it."""
        pattern = self.pattern.with_name(f"{self.stem}.{part}.####.png") if part else self.pattern
        return SequenceName(pattern).name(self.shot.start_number + index)

    def names(self, index: int) -> list[str]:
        """All files of a frame, the sidecar last."""
        doubles = [f"{t.layer}{part}" for t in self.tracks for part in ("", _MATTE, _WORN)]
        parts = [""] if self.form == "exr" else ["comp", *doubles, "albedo", "N", "uv", "conf"]
        return [*(self.name(index, part) for part in parts), Path(self.name(index)).with_suffix(".json").name]


class PassesWriter:
    """Writes frames' passes. May be called from several threads; encoding is done by one at a time (memory)."""

    def __init__(self, plan: PassesPlan) -> None:
        self._plan, self._lock = plan, threading.Lock()
        self._labels = plan.settings.labels_for(plan.shot)

    def write(self, passes: FramePasses, folder: Path) -> None:
        """A frame's files into a folder, under the names of `PassesPlan.names`.

        Raises:
            OutputError: the frame is not in the range, or cannot be written.
        """
        plan = self._plan
        if passes.index not in plan.frames:
            raise OutputError(f"{plan.pattern}: frame {passes.index} is outside {plan.frames}")
        if passes.index - plan.frames.start < plan.labelled and plan.label is not None:
            passes = replace(passes, comp_linear=_labelled(passes.comp_linear, plan.shot, plan.label))
        name = plan.name(passes.index)
        with self._lock, output_errors(plan.folder / name):
            layers = layers_of(passes, plan.tracks, plan.shot)
            if plan.form == "exr":
                write_exr(folder / name, layers, self._info(passes.index))
            else:
                self._write_png(folder, passes.index, layers)
            (folder / plan.names(passes.index)[-1]).write_text(
                frame_json(passes, plan.shot, plan.tracks, name), "utf-8"
            )

    def _info(self, index: int) -> ExrInfo:
        shot = self._plan.shot
        timecode = timecode_at(shot.timecode, shot.rate, index) if shot.timecode else None
        names = [t.layer for t in self._plan.tracks]
        primaries, colour = exr_colour(shot, own_samples=False)
        return ExrInfo(
            shot.rate if shot.kind != "image" else None, timecode, primaries, self._labels,
            comments=f"digidouble passes; depth in cm for a focal length of {focal_px(shot.size_wh):.1f} px",
            more=cryptomatte.metadata(names) | colour,
        )  # fmt: skip

    def _write_png(self, folder: Path, index: int, layers: Sequence[ExrLayer]) -> None:
        for layer in layers:
            pixels = _displayable(layer)
            if pixels is None:
                continue
            name = layer.name or "comp"
            if layer.channels == _MATTES:  # a fourth channel would be alpha, and picture readers multiply by it
                worn = name.removesuffix(_MATTE) + _WORN
                self._write_picture(folder / self._plan.name(index, worn), pixels[..., 3:])
                pixels = pixels[..., :3]
            self._write_picture(folder / self._plan.name(index, name), pixels)

    def _write_picture(self, path: Path, pixels: Float32[np.ndarray, "h w c"]) -> None:
        codes = np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)
        path.write_bytes(png_bytes(codes, self._labels))


def _window(roi: Roi) -> tuple[slice, slice]:
    return slice(roi.y0, roi.y1), slice(roi.x0, roi.x1)


def _patch(face: FacePasses) -> Float32[np.ndarray, "h w 4"]:
    alpha = face.layer.alpha[..., None]
    return np.dstack([face.layer.rgb * alpha, alpha])


def _mattes(face: FacePasses, cast: PassTrack, index: int) -> Float32[np.ndarray, "h w 4"]:
    """core, occl, hair, worn: (core - occl) x presence is the patch's alpha; hair is a part of occl."""
    presence = max(cast.track.shown_at(index), 1e-6)
    held = np.clip(face.core - face.layer.alpha / np.float32(presence), 0, 1)
    return np.dstack([face.core, held, held * face.hair, face.surface.worn]).astype(np.float32)


def _data(face: FacePasses) -> dict[str, Float32[np.ndarray, "h w c"]]:
    s = face.surface
    up = np.array([1, -1], np.float32)
    return {
        "albedo": s.albedo, "shading": s.shading, "specular": s.specular,
        "refine": face.layer.rgb - (s.albedo * s.shading + s.specular),
        "N": s.normal, "uv": np.array([0, 1], np.float32) + s.uv * up, "forward": s.forward_px * up,
        "backward": s.backward_px * up, "conf": s.confidence[..., None],
    }  # fmt: skip


def _depth_cm(face: FacePasses, cast: PassTrack, index: int, shot: Shot) -> Float32[np.ndarray, "h w"]:
    """Distance along the camera's axis, for the focal length of the sidecar's matrix."""
    pose = cast.track.pose(index)
    z = (focal_px(shot.size_wh) + face.layer.depth_px - float(pose.origin_px[2])) / pose.px_per_cm
    return np.where(np.isfinite(z), z, NOTHING_CM).astype(np.float32)


def _nearest_first(
    passes: FramePasses, tracks: Sequence[PassTrack], size_hw: tuple[int, int]
) -> tuple[list[str], Float32[np.ndarray, "n h w"]]:
    """(layer names, mattes) of all doubles, those that are not in the frame last and blank."""
    layer = {t.track.track_id: t.layer for t in tracks}
    here = [face.layer.track_id for face in passes.faces]
    mattes = np.zeros((len(tracks), *size_hw), np.float32)
    for n, face in enumerate(passes.faces):
        mattes[n][_window(face.layer.roi)] = face.layer.alpha
    return [layer[t] for t in here] + [name for t, name in layer.items() if t not in here], mattes


def _labelled(comp: Float32[np.ndarray, "h w 3"], shot: Shot, label: VisibleLabel) -> Float32[np.ndarray, "h w 3"]:
    layout = PixelLayout("rgbf32le", "rgb", 32, is_float=True)
    frame = Frame(0, shot.rate.seconds_at(0), (comp,), layout, ColourTags(1, 8, 0, True))
    return label_frame(frame, label).planes[0]


def _displayable(layer: ExrLayer) -> Float32[np.ndarray, "h w c"] | None:
    """A layer as a PNG can show it; None for those that need numbers outside 0..1.

    Colour: sRGB, alpha not premultiplied. Mattes, uv and confidence as they are. N as (n + 1) / 2.
    """
    pixels = layer.pixels
    if layer.channels == ("R", "G", "B", "A") and not layer.full_float:
        colour = pixels[..., :3] / np.maximum(pixels[..., 3:], 1e-6)
        return np.dstack([srgb_encode(np.clip(colour, 0, 1)), pixels[..., 3:]]).astype(np.float32)
    if layer.name == "albedo":
        return srgb_encode(np.clip(pixels, 0, 1)).astype(np.float32)
    if layer.name == "N":
        return (0.5 * (pixels + 1)).astype(np.float32)
    if layer.name == "uv":
        return np.dstack([pixels, np.zeros_like(pixels[..., :1])])
    if layer.name == "conf":
        return pixels
    return pixels if layer.channels == _MATTES else None
