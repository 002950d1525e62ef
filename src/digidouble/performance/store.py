"""`.perf` on disk: read back as a `Performance`, samples frame by frame with a small cache."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from digidouble.assets import AssetReader, bounded, expect
from digidouble.errors import DamagedAsset, DigidoubleError
from digidouble.performance import modalities
from digidouble.performance.attention import with_attention
from digidouble.performance.finish import CHUNK
from digidouble.schema.frame import ColourTags, PixelLayout
from digidouble.schema.mesh import face_model
from digidouble.schema.modalities import Modalities
from digidouble.schema.performance import Performance
from digidouble.schema.regions import REGIONS
from digidouble.schema.shot import Shot
from digidouble.schema.time import FrameRange, FrameRate
from digidouble.schema.track import (
    MATTE_SIZE,
    RATIO_GRID,
    SKIN_GRID,
    SLIDE_GRID,
    WRINKLE_GRID,
    FaceTrack,
    TrackSample,
    wrinkle_steps,
)

CACHED_CHUNKS = 2  # a track: frames in work lie at most on two sides of a boundary
FARTHEST_PX = 1e6  # no plate is this large; larger numbers would ask later stages for absurd sizes
SMALLEST_PX_PER_CM = 1e-2
COMPANDED = 4  # the schema from which creases are kept as `wrinkle_steps`; before,
VEILED = 5  # the schema from which tracks know their veil
EVEN_STEP = 0.7 / 127  # natural log
LARGEST = {  # far above what faces have, far below what overflows
    "rotation": 1.01, "px_per_cm": 1e5, "origin_px": FARTHEST_PX, "motion_px": FARTHEST_PX, "actions": 100.0, "gaze_deg": 360.0, "light_sh": 1e6,
    "sharpness": 1e3, "grain": 10.0, "presence": 1.01, "visibility": 1.01, "score": 1.01, "neutral_cm": 100.0, "iris_linear": 1e3, "veil": 0.5,
}  # fmt: skip


def shot_facts(shot: Shot) -> dict[str, Any]:
    """A shot as JSON values."""
    return {
        "path": shot.path, "kind": shot.kind, "size_wh": list(shot.size_wh), "rate": str(shot.rate.fps), "frame_count": shot.frame_count,
        "layout": {**vars(shot.layout), "chroma_shift_xy": list(shot.layout.chroma_shift_xy)},
        "colour": {k: v for k, v in vars(shot.colour).items() if k != "space" or v},
        "rotation_deg": shot.rotation_deg, "timecode": shot.timecode, "has_audio": shot.has_audio, "variable_rate": shot.variable_rate,
        "cuts": list(shot.cuts), "start_number": shot.start_number, "sha256": shot.sha256,
    }  # fmt: skip


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Layout(_Facts):
    name: str = Field(max_length=64)
    kind: Literal["yuv", "rgb", "gray"]
    bits: int = Field(ge=1, le=32)
    chroma_shift_xy: list[Annotated[int, Field(ge=0, le=2)]] = Field(min_length=2, max_length=2)
    has_alpha: bool
    is_float: bool


class _Colour(_Facts):
    primaries: int = Field(ge=0, le=255)
    transfer: int = Field(ge=0, le=255)
    matrix: int = Field(ge=0, le=255)
    full_range: bool
    space: str = Field("", max_length=1000)


class _ShotFacts(_Facts):
    """What a `.perf` says of its plate, as JSON has it. The rate is a text: `Fraction` would take "1e999999999", for hours."""

    path: str = Field(max_length=4096)
    kind: Literal["movie", "image", "sequence"]
    size_wh: list[int] = Field(min_length=2, max_length=2)
    rate: str = Field(pattern=r"^\d{1,9}(/\d{1,9})?$")
    frame_count: int = Field(le=10**9)
    layout: _Layout
    colour: _Colour
    rotation_deg: Literal[0, 90, 180, 270]
    timecode: str | None = Field(max_length=40)
    has_audio: bool
    variable_rate: bool
    cuts: list[int] = Field(max_length=10**6)
    start_number: int = Field(ge=0, le=10**12)
    sha256: str = Field(pattern=r"^[0-9a-f]{0,64}$")


def shot_from_facts(facts: Any, where: Path) -> Shot:
    """Inverse of `shot_facts`. Raises DamagedAsset."""
    try:
        f = _ShotFacts.model_validate(facts)
        of, (shift_x, shift_y), (w, h) = f.layout, f.layout.chroma_shift_xy, f.size_wh
        return Shot(
            path=f.path, kind=f.kind, size_wh=(w, h), rate=FrameRate(Fraction(f.rate)), frame_count=f.frame_count,
            layout=PixelLayout(of.name, of.kind, of.bits, (shift_x, shift_y), of.has_alpha, of.is_float),
            colour=ColourTags(f.colour.primaries, f.colour.transfer, f.colour.matrix, f.colour.full_range, f.colour.space),
            rotation_deg=f.rotation_deg, timecode=f.timecode, has_audio=f.has_audio, variable_rate=f.variable_rate,
            cuts=tuple(f.cuts), start_number=f.start_number, sha256=f.sha256,
        )  # fmt: skip
    except ValidationError as e:
        first = e.errors()[0]
        raise DamagedAsset(f"{where}: the shot facts are malformed: {first['loc']} {first['msg']}.") from e
    except (ValueError, ArithmeticError, DigidoubleError) as e:
        raise DamagedAsset(f"{where}: the shot facts are malformed ({e}).") from e


def _rows(tensors: dict[str, np.ndarray], name: str) -> int:
    """Length of an array that may be missing or of no dimension."""
    return tensors[name].shape[0] if name in tensors and tensors[name].ndim else 0


class PerfStore:
    """Reads chunks of samples; threads may share it."""

    def __init__(self, reader: AssetReader) -> None:
        self._reader, self._lock = reader, threading.Lock()
        self._chunks: OrderedDict[tuple[int, int], dict[str, np.ndarray]] = OrderedDict()
        self.starts: dict[int, int] = {}
        self.keeps_modalities = self.keeps_slides = False
        self._modal: tuple[tuple[int, int], dict[str, np.ndarray]] | None = None

    def sample(self, track_id: int, index: int) -> TrackSample:
        chunk, row = divmod(index - self.starts[track_id], CHUNK)
        with self._lock:
            key = (track_id, chunk)
            if key not in self._chunks:
                while len(self._chunks) >= CACHED_CHUNKS * len(self.starts):
                    self._chunks.popitem(last=False)  # before the next one is read: they are the largest things here
                self._chunks[key] = self._load(track_id, chunk)
            self._chunks.move_to_end(key)
            big = self._chunks[key]
        if row >= len(big["points_px"]):
            raise DamagedAsset(f"{self._reader.path}: track {track_id} has no frame {index}.")
        return TrackSample(**{k: values[row] for k, values in big.items()})

    def _load(self, track_id: int, chunk: int) -> dict[str, np.ndarray]:
        name = f"tracks/{track_id}/{chunk:06d}.safetensors"
        big = self._reader.tensors(name)
        n = _rows(big, "points_px")
        slides = {"slide": ("int8", (n, 2, SLIDE_GRID, SLIDE_GRID)), "ratio": ("int8", (n, RATIO_GRID, RATIO_GRID))}
        expect(
            big,
            {
                "points_px": ("float32", (n, 478, 3)),
                "skin_linear": ("float16", (n, SKIN_GRID, SKIN_GRID, 3)),
                "skin_weight": ("uint8", (n, SKIN_GRID, SKIN_GRID)),
                "matte": ("uint8", (n, MATTE_SIZE, MATTE_SIZE)),
                "matte_px_from_crop": ("float32", (n, 2, 3)),
                "wrinkles": ("int8", (n, WRINKLE_GRID, WRINKLE_GRID)),
                **(slides if self.keeps_slides else {}),
            },
            self._reader.path / name,
        )
        if (np.abs(big["matte_px_from_crop"]) > FARTHEST_PX).any() or (np.abs(big["points_px"]) > FARTHEST_PX).any():
            raise DamagedAsset(f"{self._reader.path / name}: places a face further than {FARTHEST_PX:.0f} pixels away.")
        if self._reader.manifest.schema_version < COMPANDED:
            big["wrinkles"] = wrinkle_steps(EVEN_STEP * np.arange(-128, 128))[big["wrinkles"].astype(np.int16) + 128]
        return big

    def modalities(self, track_id: int, index: int) -> Modalities | None:
        """The senses of one frame, where the performance keeps them and the face is tracked.

        Raises:
            DamagedAsset: they are promised and not there, or not what they should be.
        """
        if not self.keeps_modalities:
            return None
        chunk, row = divmod(index - self.starts[track_id], CHUNK)
        placement = self.sample(track_id, index).matte_px_from_crop
        with self._lock:
            if self._modal is None or self._modal[0] != (track_id, chunk):
                name = modalities.member(track_id, chunk)
                big = self._reader.tensors(name)
                expect(big, modalities.shapes(_rows(big, "known")), self._reader.path / name)
                self._modal = (track_id, chunk), big
            big = self._modal[1]
        if row >= len(big["known"]):
            raise DamagedAsset(f"{self._reader.path}: track {track_id} has no modalities of frame {index}.")
        return modalities.row_of(big, row, placement)

    def close(self) -> None:
        self._reader.close()


def load_performance(path: Path) -> Performance:
    """Open a `.perf`.

    Raises:
        AssetError: it cannot be trusted (see `digidouble.assets`).
        UnreadableMedia: there is no such file.
    """
    reader = AssetReader(path, "performance")
    try:
        facts = reader.facts
        if set(facts) - {"modalities"} != {"shot", "tracks", "settings", "weights"}:
            raise DamagedAsset(
                f"{path}: performance facts are {sorted(facts)}, expected settings, shot, tracks, weights (and modalities)."
            )
        kept = facts.get("modalities", {})
        if not isinstance(kept, dict):
            raise DamagedAsset(f"{path}: the facts of the modalities are a {type(kept).__name__}.")
        shot = shot_from_facts(facts["shot"], path)
        if not isinstance(facts["tracks"], list):
            raise DamagedAsset(f"{path}: the list of tracks is a {type(facts['tracks']).__name__}.")
        store = PerfStore(reader)
        store.keeps_modalities = bool(kept)
        store.keeps_slides = isinstance(facts["settings"], dict) and facts["settings"].get("slides") is True
        tracks = with_attention([_track(reader, store, t, path) for t in facts["tracks"]], shot)
    except BaseException:
        reader.close()
        raise
    stated = [
        json.dumps(facts, sort_keys=True),
        *(f"{n}:{m.sha256}" for n, m in sorted(reader.manifest.members.items())),
    ]
    digest = hashlib.sha256("\n".join(stated).encode()).hexdigest()
    return Performance(shot, tracks, facts["settings"], facts["weights"], kept, digest, str(path))


def _track(reader: AssetReader, store: PerfStore, facts: Any, path: Path) -> FaceTrack:
    try:
        track_id, weight = int(facts["track_id"]), float(facts["weight"])
        if not 0 <= weight <= 1 or track_id in store.starts:
            raise ValueError(f"track {track_id} of weight {weight}")
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise DamagedAsset(f"{path}: track facts are malformed ({e}).") from e
    t = reader.tensors(f"tracks/{track_id}/facts.safetensors")
    frames = t.pop("frames", np.zeros(0))
    if frames.shape != (2,) or frames.dtype != np.int64 or not 0 <= int(frames[0]) < int(frames[1]) <= 10**9:
        raise DamagedAsset(f"{path}: track {track_id} has no valid frame range.")
    n, a = int(frames[1] - frames[0]), len(face_model().action_names)
    shapes: dict[str, tuple[int | None, ...]] = {
        "presence": (n,), "visibility": (n, len(REGIONS)), "rotation": (n, 3, 3), "px_per_cm": (n,), "origin_px": (n, 3), "actions": (n, a), "gaze_deg": (n, 2),
        "light_sh": (n, 9, 3), "motion_px": (n, 2), "sharpness": (n,), "grain": (n,), "score": (n,),
        "neutral_cm": (478, 3), "iris_linear": (3,), "veil": (3,), "identity": (None,),
    }  # fmt: skip
    if reader.manifest.schema_version < VEILED:
        t.setdefault("veil", np.zeros(3, np.float32))
    known: dict[str, tuple[str, tuple[int | None, ...]]] = {k: ("float32", s) for k, s in shapes.items()}
    expect(t, known | {"worn": ("uint8", (WRINKLE_GRID, WRINKLE_GRID))}, path / f"track {track_id}")
    bounded(t, LARGEST, path / f"track {track_id}")
    if (t["px_per_cm"][t["presence"] > 0] < SMALLEST_PX_PER_CM).any():
        raise DamagedAsset(f"{path}: track {track_id} shows a face of no size.")
    store.starts[track_id] = int(frames[0])
    return FaceTrack(
        track_id=track_id, frames=FrameRange(int(frames[0]), int(frames[1])), weight=weight, store=store, **t
    )
