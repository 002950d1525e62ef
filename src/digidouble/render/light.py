"""Relighting: how the persona's albedo is lit by the plate, as a gain per mesh point, and the shine on top.

    radiance = albedo x light(normal) x residual + shine(normal)

`light` is the plate's SH irradiance. `residual` is the low-frequency ratio of the plate's face to the persona so lit, on the UV
grid: it carries cast shadows and coloured lights that nine harmonics cannot, and closes the seam. At the rim it holds in full;
inside it is limited, and part of the persona's own tone is kept. `shine` is one specular lobe (`render.gloss`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64

from digidouble.perception.light import shading
from digidouble.perception.uvgrid import uv_grid
from digidouble.render.geometry import inside_weight
from digidouble.render.gloss import NONE, Lobe
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import face_model
from digidouble.schema.track import SKIN_GRID, TrackSample

RIM_TEXELS = 1.6  # of 32 over the face, about 5 % of its width: how finely the plate is followed at the rim
INSIDE_TEXELS = 4.2  # and inside, where what varies faster is the plate person's face rather than light
RESIDUAL_LIMIT = 0.4  # natural log, inside the face


@dataclass(frozen=True)
class LookSettings:
    """How the double takes the plate's look.

    Attributes:
        keep_tone: 0 takes the plate's skin tone over entirely, 1 keeps the persona's (as photographed, luminance aside).
        wrinkles: how deep the plate's creases are drawn into the double's skin; 0 leaves them out, 1 is as filmed. Creases are part of who a person is:
            what is left of the performer is what the double loses (docs/bench.md).
        detail_match: blur the double to the plate's sharpness. grain: add the plate's noise. motion_blur: follow the plate's.
    """

    keep_tone: float = 0.0
    wrinkles: float = 0.85
    detail_match: bool = True
    grain: bool = True
    motion_blur: bool = True

    def __post_init__(self) -> None:
        from digidouble.errors import SettingsError

        if not 0 <= self.keep_tone <= 1:
            raise SettingsError(f"keep_tone = {self.keep_tone}: expected 0..1")
        if not 0 <= self.wrinkles <= 2:
            raise SettingsError(f"wrinkles = {self.wrinkles}: expected 0..2")


@lru_cache(maxsize=1)
def _vertex_texels() -> tuple[Float32[np.ndarray, "478 1"], Float32[np.ndarray, "478 1"]]:
    at = (face_model().uv * SKIN_GRID - 0.5).astype(np.float32)
    return at[:, :1].copy(), at[:, 1:].copy()


def tone_shift(
    persona_skin: Float[np.ndarray, "3"], plate_skin: Float[np.ndarray, "3"], keep: float
) -> Float[np.ndarray, "3"]:
    """Log gain that leaves a share of the persona's own tone: chroma freely, luminance a third as much; at most +-0.3."""
    d = np.log(np.maximum(persona_skin, 1e-4)) - np.log(np.maximum(plate_skin, 1e-4))
    brightness = float(LUMA @ d)
    return np.clip(keep * ((d - brightness) + brightness / 3), -0.3, 0.3)


def skin_at_points(grid: Float[np.ndarray, "g g 3"]) -> Float32[np.ndarray, "478 3"]:
    """Colour on the coarse grid at the mesh's points."""
    return cv2.remap(grid.astype(np.float32), *_vertex_texels(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
        :, 0
    ]


def _at_points(known: Float32[np.ndarray, "g g 4"], sigma: float) -> Float32[np.ndarray, "478 3"]:
    """Weighted log ratios on the grid, blurred, at the mesh's points."""
    soft = cv2.GaussianBlur(known, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    # Where nothing trustworthy is near, the mean ratio holds: 0.02 of a texel is the prior's weight.
    local = soft[..., :3] / (soft[..., 3:] + 0.02)
    return skin_at_points(local)


def point_gains(
    sample: TrackSample, light_sh: Float[np.ndarray, "9 3"], albedo_grid: Float[np.ndarray, "g g 3"], normals: Float[np.ndarray, "478 3"],
    photographed_skin: Float[np.ndarray, "3"], look: LookSettings, lobe: Lobe = NONE,
) -> tuple[Float32[np.ndarray, "478 3"], Float64[np.ndarray, "3"]]:  # fmt: skip
    """(linear gain of the albedo at every mesh point, peak of the shine that comes on top).

    `normals` are the double's, in camera axes. The residual is that of persona and shine together, so what the match brings along
    of a highlight is not there twice.
    """
    grid = uv_grid(SKIN_GRID)
    lit = shading(light_sh, normals).astype(np.float32)
    weight = sample.skin_weight.astype(np.float32) / 255
    plate, persona = np.maximum(sample.skin_linear.astype(np.float32), 0), albedo_grid * grid.carried(lit)
    share = weight[..., None] / max(float(weight.sum()), 1e-3)
    plate_skin, persona_skin = (plate * share).sum((0, 1)), (persona * share).sum((0, 1))
    # A face hidden altogether has no skin to match: the light alone must do.
    known_skin = weight.sum() > 1
    shine = lobe.strength * plate_skin if known_skin and lobe.shines else np.zeros(3)
    highlight = np.zeros_like(plate)
    if shine.any():
        highlight = grid.carried((lobe.shape(normals)[:, None] * shine).astype(np.float32))
    matt = np.maximum(plate_skin - (highlight * share).sum((0, 1)), 0.3 * plate_skin)
    scale = matt / np.maximum(persona_skin, 1e-6) if known_skin else np.ones(3, np.float32)
    floor = 0.03 * plate_skin + 1e-5  # keeps the logarithm from being ruled by near-black texels
    spread = (np.log(plate + floor) - np.log(persona * scale + highlight + floor)) * weight[..., None]
    known = cv2.merge([spread.astype(np.float32), weight])
    inner = inside_weight()[:, None]
    at_points = _at_points(known, RIM_TEXELS) * (1 - inner) + _at_points(known, INSIDE_TEXELS) * inner
    limit = RESIDUAL_LIMIT + (1.6 - RESIDUAL_LIMIT) * (1 - inner)
    residual = limit * np.tanh(at_points / limit)
    tone = tone_shift(photographed_skin, plate_skin, look.keep_tone) if known_skin else np.zeros(3)
    gain = scale * np.exp(np.clip(residual + inner * tone, -3, 3))
    return (lit * gain).astype(np.float32), shine
