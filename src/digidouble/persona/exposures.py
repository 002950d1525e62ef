"""What a radiance field is fitted to: frames of a person's own footage, unrolled into UV, with what the face did in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float16, Float32

from digidouble.errors import NoFace, SettingsError
from digidouble.footage import Footage
from digidouble.perception.light import shading
from digidouble.perception.radiance import conditions_of, slant_of
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.atlas import unwrap
from digidouble.schema.capture import Look
from digidouble.schema.colour import linear_from_frame
from digidouble.schema.frame import Roi
from digidouble.schema.mesh import camera_normals
from digidouble.schema.persona import TEXELS_PER_PX
from digidouble.schema.radiance import COARSE
from digidouble.schema.track import FaceTrack
from digidouble.schema.transfer import srgb_encode

SHOWN = 0.9  # presence of a frame worth learning from
MARGIN_PX = 4
SIDES = (128, 512)
SAME_PERSON = 0.40  # cosine of the identity embedder


@dataclass(frozen=True)
class Exposures:
    """n frames of one person.

    Attributes:
        display: sRGB-encoded colour in UV. weight: 0..1, how far a texel shows the face and faces the camera.
        lit: irradiance relative to the source's own mean over skin. slant: see `perception.radiance.slant_of`.
        conditions: see `perception.radiance.conditions_of`. points_px: meshes, for the neutral shape. source: which footage.
    """

    display: Float16[np.ndarray, "n s s 3"]
    weight: Float16[np.ndarray, "n s s"]
    lit: Float16[np.ndarray, "n g g 3"]
    slant: Float32[np.ndarray, "n g g 3"]
    conditions: Float32[np.ndarray, "n c"]
    points_px: Float32[np.ndarray, "n 478 3"]
    source: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.conditions)

    @property
    def side(self) -> int:
        return self.display.shape[1]

    @classmethod
    def joined(cls, parts: Sequence[Exposures]) -> Exposures:
        """Those of several sources; all of one side."""
        if not parts or len({p.side for p in parts}) != 1:
            raise SettingsError("exposures to join: expected one or more, unrolled to one size")
        arrays = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("display", "weight", "lit", "slant", "conditions", "points_px")
        }
        return cls(**arrays, source=tuple(i for i, p in enumerate(parts) for _ in range(len(p))))

    def chosen(self, rows: Sequence[int] | np.ndarray) -> Exposures:
        """Some of them."""
        at = np.asarray(rows, int)
        return Exposures(
            self.display[at], self.weight[at], self.lit[at], self.slant[at], self.conditions[at], self.points_px[at],
            tuple(self.source[i] for i in at),
        )  # fmt: skip


def side_for(face_px: float) -> int:
    """Texels a side that keep a source's resolution, up to what a field holds."""
    return int(np.clip(32 * round(TEXELS_PER_PX * face_px / 32), *SIDES))


def face_px_of(track: FaceTrack) -> float:
    """Width of the face in pixels, median over the frames shown."""
    rows = usable_rows(track)[:: max(1, len(usable_rows(track)) // 16)]
    widths = [float(np.ptp(track.sample(track.frames.start + r).points_px[:468, 0])) for r in rows]
    return float(np.median(widths)) if widths else 0.0


def usable_rows(track: FaceTrack) -> list[int]:
    """Rows of a track in which the face is to be seen without doubt."""
    return np.flatnonzero(track.presence > SHOWN).tolist()


def expose(
    footage: Footage,
    track: FaceTrack,
    rows: Sequence[int],
    side: int,
    progress: Callable[[int, int], None] | None = None,
) -> Exposures:
    """Unroll some rows of a track.

    Raises:
        NoFace: there is no row. MediaError: the footage cannot be read.
    """
    if not rows:
        raise NoFace(f"{footage.shot.path}: shows no face that is seen well enough to learn from")
    light, grid, out = np.median(track.light_sh[list(rows)], axis=0), uv_grid(COARSE), []
    for done, row in enumerate(rows):
        index = track.frames.start + row
        sample, pose = track.sample(index), track.pose(index)
        look = _look(footage, track, index, side)
        colour, weight = unwrap(look, side)
        lit = grid.carried(shading(light, camera_normals(sample.points_px)).astype(np.float32))
        shape = pose.head_from_px(sample.points_px)
        out.append(
            (
                srgb_encode(np.clip(colour, 0, 4)).astype(np.float16), weight.astype(np.float16), lit,
                slant_of(sample.points_px, pose.px_per_cm), conditions_of(shape, track.actions[row], pose.rotation),
                sample.points_px.astype(np.float32),
            )
        )  # fmt: skip
        if progress:
            progress(done + 1, len(rows))
    display, seen, lits, slant, conditions, points = (np.stack(x) for x in zip(*out, strict=True))
    mean = lits[:, grid.skin].mean((0, 1))
    return Exposures(
        display, seen, (lits / mean).astype(np.float16), slant, conditions, points, (0,) * len(rows)
    )  # fmt: skip


def _look(footage: Footage, track: FaceTrack, index: int, side: int) -> Look:
    """The face of one frame, brought down to what `side` texels can hold."""
    frame, sample = footage.frame(index), track.sample(index)
    points = sample.points_px.astype(np.float32)
    low, high = np.floor(points[:, :2].min(0)) - MARGIN_PX, np.ceil(points[:, :2].max(0)) + MARGIN_PX + 1
    roi = Roi(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clipped(frame.size_wh)
    linear = linear_from_frame(frame, roi)
    local = points - np.array([roi.x0, roi.y0, 0], np.float32)
    to_local = sample.matte_px_from_crop.astype(np.float32) - np.array([[0, 0, roi.x0], [0, 0, roi.y0]], np.float32)
    matte = cv2.warpAffine(sample.matte, to_local, roi.size_wh, flags=cv2.INTER_LINEAR)
    share = side / (TEXELS_PER_PX * float(np.ptp(points[:468, 0])))
    if share < 0.85:
        size = max(8, round(roi.size_wh[0] * share)), max(8, round(roi.size_wh[1] * share))
        scale = np.array([size[0] / roi.size_wh[0], size[1] / roi.size_wh[1]], np.float32)
        linear = cv2.resize(linear, size, interpolation=cv2.INTER_AREA)
        matte = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
        local[:, :2] = (local[:, :2] + 0.5) * scale - 0.5
        local[:, 2] *= share
    return Look(linear, local, matte, float(track.score[track.row(index)]), 0.0, track.identity, 0)
