"""One double in one frame: geometry, light, pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float16, Float32, Float64, Int8, Int32

from digidouble.perception.radiance import FieldView, conditions_of, slant_of
from digidouble.perception.uvgrid import uv_grid
from digidouble.render import kernels
from digidouble.render.geometry import (
    double_points,
    facing_weight,
    feather,
    inside_weight,
    lid_skin,
    lid_tone,
    lids_down,
    plate_share,
)  # fmt: skip
from digidouble.render.gloss import plate_lobe
from digidouble.render.light import LookSettings, point_gains, skin_at_points
from digidouble.render.plan import CastPlan
from digidouble.render.tone import PlateSkin, contrast_share, plate_skin, suited, with_creases_of, without_blue
from digidouble.schema.colour import LUMA
from digidouble.schema.frame import Roi
from digidouble.schema.layers import Layer
from digidouble.schema.mesh import LEFT_IRIS, RIGHT_IRIS, camera_normals, face_model
from digidouble.schema.persona import Persona
from digidouble.schema.pose import Pose
from digidouble.schema.regions import over_points
from digidouble.schema.track import SKIN_GRID, FaceTrack, TrackSample, wrinkle_log

MARGIN_PX = 6  # around the mesh, for blur
CONTOUR = 0.012  # of the face's width, over which its outline is smoothed
LID_BLUR = 0.015  # of the face's width, over which the plate's lids are averaged
LID_LIMIT = 1.2  # natural log
LID_BRIGHTER = 0.1  # natural log, that a lid may be above the skin it stands for
IRIS_CHROMA, IRIS_BRIGHTNESS = (0.7, 1.4), (0.5, 2.0)  # least and most gain


@dataclass(frozen=True)
class PreparedKey:
    """A key atlas at the size a track needs, and its skin on the coarse grid."""

    atlas: Float32[np.ndarray, "s s 3"]
    grid: Float32[np.ndarray, "g g 3"]


Bend = Callable[[int, int, Float[np.ndarray, "478 3"]], Float32[np.ndarray, "b b 5"]]
"""What a refinement does to a key's skin (key, row, points), as `kernels.shade` takes it (`refine.fusion.FusedSkin`)."""


class PreparedField:
    """A persona's radiance field at the size a track needs, its skin held to the plate's contrast like an atlas', as far as the
    plate shows somebody else (`strange`, 0..1)."""

    def __init__(self, persona: Persona, size: int, plate: PlateSkin | None, strange: float = 1.0) -> None:
        assert persona.radiance is not None
        self.field = persona.radiance
        self.view = FieldView(self.field, size)
        middle = 0.5 * (self.field.low + self.field.high)
        usual = self.view.colour(middle.astype(np.float32))
        grid = cv2.resize(usual, (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA)
        calm = _suited(usual, persona, plate, contrast_share(plate, grid), strange)
        # What the plate's contrast and colour take from the skin that does not change, it takes from every frame.
        self._gain = np.clip((calm + 1e-4) / (usual + 1e-4), 0.5, 2)

    def key(self, track: FaceTrack, row: int, points_px: Float[np.ndarray, "478 3"]) -> PreparedKey:
        """The skin of one frame, as an atlas."""
        pose = Pose(track.rotation[row], float(track.px_per_cm[row]), track.origin_px[row])
        conditions = conditions_of(pose.head_from_px(points_px), track.actions[row], pose.rotation)
        atlas, _ = self.view.atlas(conditions, slant_of(points_px, pose.px_per_cm))
        atlas *= self._gain
        grid = cv2.resize(atlas, (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA)
        return PreparedKey(atlas, grid * uv_grid(SKIN_GRID).covered[..., None])

    def missing(self, actions: Float[np.ndarray, "a"]) -> float:
        """0..1, the share of an expression beyond what the field has seen."""
        count = len(actions)
        beyond = actions - np.clip(actions, self.field.low[:count], self.field.high[:count])
        return float(np.clip(np.linalg.norm(beyond) / max(float(np.linalg.norm(actions)), 0.2), 0, 1))


class PreparedCast:
    """A plan with its atlases resized to the track's resolution: made once, read by every worker.

    `radiance`: draw the skin from the persona's radiance field, if it has one, instead of from its key atlases. `bend`: what else happens
    to the atlases frame by frame.
    """

    def __init__(self, plan: CastPlan, look: LookSettings, radiance: bool = False, bend: Bend | None = None) -> None:
        self.plan, self.look = plan, look
        used = sorted(set(plan.key_a.tolist()) | set(plan.key_b.tolist()))
        self.worn = plan.track.worn.astype(np.float32) / 255
        size, plate = self._size(), plate_skin(plan.track)
        wanted = radiance and plan.persona.radiance is not None
        self.field = PreparedField(plan.persona, size, plate, plan.strange) if wanted else None
        self.bend = None if self.field else bend
        self.keys = {} if self.field else {k: self._prepared(plan.persona, k, size, plate) for k in used}
        self.lobe = plate_lobe(plan.track, self._seen_skin)
        skin, iris = np.maximum(plan.persona.skin_linear, 1e-5), plan.persona.iris_linear
        if iris.min() > 0:  # else it is not known
            iris = without_blue((iris * skin)[None, None], skin, plate)[0, 0] / skin
        self.iris_gain = iris_gain(iris, plan.track.iris_linear)

    def _seen_skin(self, row: int) -> Float32[np.ndarray, "g g 3"]:
        """The albedo a row is drawn with, on the coarse grid."""
        track = self.plan.track
        return self.skin(row, track.sample(track.frames.start + row).points_px)[0].grid

    def skin(self, row: int, points_px: Float[np.ndarray, "478 3"]) -> tuple[PreparedKey, PreparedKey, float]:
        """Two atlases and how much of the second a frame takes."""
        if self.field is not None:
            key = self.field.key(self.plan.track, row, points_px)
            return key, key, 0.0
        plan = self.plan
        return self.keys[int(plan.key_a[row])], self.keys[int(plan.key_b[row])], float(plan.mix[row])

    def bent(self, row: int, points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "b b 5"]:
        """What the refinement does to the skin of `skin`; both keys' answers cross-fade as they do."""
        if self.bend is None:
            return kernels.UNBENT
        plan = self.plan
        mix = float(plan.mix[row])
        first = self.bend(int(plan.key_a[row]), row, points_px)
        return (
            first if mix == 0 else first + np.float32(mix) * (self.bend(int(plan.key_b[row]), row, points_px) - first)
        )

    def crease_strength(self, row: int) -> float:
        """How much of the plate's creases is drawn. Keys bring no folds of their own; a field brings those of expressions it has seen."""
        missing = self.field.missing(self.plan.track.actions[row]) if self.field is not None else 1.0
        return self.look.wrinkles * missing

    def _size(self) -> int:
        """Texels that match the plate's pixels: a texel of 0.8 px at the largest face of the track (upper decile), coarser
        where the track has less than full detail."""
        model = face_model()
        e = model.triangles
        uv_length = np.linalg.norm(model.uv[e[:, 0]] - model.uv[e[:, 1]], axis=1)
        cm_length = np.linalg.norm(model.mean_cm[e[:, 0]] - model.mean_cm[e[:, 1]], axis=1)
        cm_per_uv = float(np.median(cm_length / np.maximum(uv_length, 1e-6)))
        shown = self.plan.track.px_per_cm[self.plan.track.presence > 0]
        px_per_cm = float(np.quantile(shown, 0.9)) if len(shown) else float(self.plan.track.px_per_cm.max())
        return int(np.clip(cm_per_uv * px_per_cm / 0.8 * self.plan.detail, 64, 4096))

    def _prepared(self, persona: Persona, key: int, size: int, plate: PlateSkin | None) -> PreparedKey:
        atlas = _resized(persona.keys[key].albedo, size)
        grid = cv2.resize(
            persona.keys[key].albedo.astype(np.float32), (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA
        )
        if key > 0 and self.look.wrinkles > 0:
            rest = persona.keys[0].albedo  # fused from all expressions
            if len(rest) == persona.keys[key].albedo.shape[0]:
                atlas = with_creases_of(atlas, _resized(rest, size), min(self.look.wrinkles, 1.0))
        share = contrast_share(plate, grid)
        atlas, grid = (_suited(x, persona, plate, share, self.plan.strange) for x in (atlas, grid))
        return PreparedKey(np.ascontiguousarray(atlas), grid * uv_grid(SKIN_GRID).covered[..., None])


def _suited(
    atlas: Float32[np.ndarray, "s s 3"], persona: Persona, plate: PlateSkin | None, share: Float[np.ndarray, "4"], strange: float
) -> Float32[np.ndarray, "s s 3"]:  # fmt: skip
    """`tone.suited` as far as the plate shows somebody else: a plate can show its own person's contrast and hues."""
    if strange == 0:
        return atlas
    held = suited(atlas, persona.skin_linear, plate, share)
    return held if strange == 1 else atlas + np.float32(strange) * (held - atlas)


def _resized(albedo: Float16[np.ndarray, "s s 3"], size: int) -> Float32[np.ndarray, "t t 3"]:
    """An atlas no larger than `size`."""
    atlas = albedo.astype(np.float32)
    return cv2.resize(atlas, (size, size), interpolation=cv2.INTER_AREA) if size < len(atlas) else atlas


def layer_roi(points_px: Float[np.ndarray, "478 3"], size_wh: tuple[int, int], motion_px: float = 0.0) -> Roi:
    """Region of the plate a mesh can touch when it moves by `motion_px` a frame (motion blur reaches a quarter of that)."""
    margin = MARGIN_PX + min(int(motion_px / 4) + 1, 32)
    low, high = np.floor(points_px[:, :2].min(0)) - margin, np.ceil(points_px[:, :2].max(0)) + margin + 1
    big = 1 << 20
    x0, y0, x1, y1 = (int(np.clip(v, -big, big)) for v in (*low, *high))
    return Roi(x0, y0, x1, y1).clipped(size_wh)


@dataclass(frozen=True)
class MeshInPlace:
    """A double's mesh in a region of the plate, and everything its pixels are computed from (see `kernels.shade`).

    Attributes:
        depth_px, triangle, barycentric: as in `Layer`.
        vertex: per point: u, v (texels), gain r g b, alpha, inner, plate x, plate y, inner gain r g b.
        crease: gain over the UV grid of creases. bend: see `kernels.shade`. worn: 0..1 over the same, what is worn in front of the skin.
        normals: unit, camera axes. irises: centre x, y and radius of both, pixels of the region, and 0..1 how far they show. shine: peak of the lobe.
        skin_luma: of the plate's visible skin. skin: two atlases, and how much of the second is taken.
    """

    depth_px: Float32[np.ndarray, "h w"]
    triangle: Int32[np.ndarray, "h w"]
    barycentric: Float32[np.ndarray, "h w 2"]
    vertex: Float64[np.ndarray, "478 12"]
    crease: Float32[np.ndarray, "g g"]
    bend: Float32[np.ndarray, "b b 5"]
    worn: Float32[np.ndarray, "g g"]
    normals: Float32[np.ndarray, "478 3"]
    irises: Float64[np.ndarray, "2 4"]
    shine: Float64[np.ndarray, "3"]
    skin_luma: float
    skin: tuple[PreparedKey, PreparedKey, float]


def draw(
    cast: PreparedCast,
    index: int,
    plate_linear: Float32[np.ndarray, "h w 3"],
    roi: Roi,
    points_px: Float32[np.ndarray, "478 3"],
) -> Layer:
    """The double in frame `index`, lit and in place, before blur and grain. `points_px`: from `place`."""
    mesh = mesh_in_place(cast, index, plate_linear, roi, points_px)
    return layer_of(cast, index, mesh, shaded(cast, index, mesh, plate_linear), roi, points_px)


def layer_of(
    cast: PreparedCast, index: int, mesh: MeshInPlace, shaded: tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]],
    roi: Roi, points_px: Float32[np.ndarray, "478 3"],
) -> Layer:  # fmt: skip
    """Shaded pixels (colour, alpha) as a layer with a soft contour."""
    rgb, alpha = shaded
    contour = soft_contour(mesh.triangle, float(np.ptp(points_px[:, 0])))
    rank = 0 if cast.plan.rank is None else int(cast.plan.rank[cast.plan.track.row(index)])
    return Layer(
        cast.plan.track.track_id, roi, rgb, alpha * contour, mesh.depth_px, mesh.triangle, mesh.barycentric, rank
    )


def mesh_in_place(
    cast: PreparedCast, index: int, plate_linear: Float32[np.ndarray, "h w 3"], roi: Roi, points_px: Float32[np.ndarray, "478 3"]
) -> MeshInPlace:  # fmt: skip
    """Light, coverage and place of every point, and the triangle under every pixel."""
    plan, track = cast.plan, cast.plan.track
    sample, row, model = track.sample(index), track.row(index), face_model()
    a, b, mix = cast.skin(row, points_px)
    grid = a.grid + mix * (b.grid - a.grid) if mix > 0 else a.grid
    skin = plan.persona.skin_linear
    normals = camera_normals(points_px)
    gains, shine = point_gains(sample, track.light_sh[row], grid, normals, skin, cast.look, cast.lobe)
    vertex = np.empty((478, 12))
    vertex[:, :2] = model.uv * a.atlas.shape[0]
    vertex[:, 2:5] = gains
    # Edge-on skin fades towards the oval only: inside, where nose covers cheek, a fade would let the plate through.
    vertex[:, 5] = (
        feather() * np.maximum(facing_weight(points_px), inside_weight()) * over_points(track.visibility[row])
    )
    # Lids that come down are the plate's own, in the double's tone.
    down = lids_down(track.pose(index).head_from_px(sample.points_px), track.neutral_cm)
    vertex[:, 6] = plate_share(down)
    vertex[:, 7:9] = sample.points_px[:, :2] - [roi.x0, roi.y0]
    vertex[:, 9:12] = lid_gains(vertex[:, 7:9], down, plate_linear, skin_at_points(grid) * gains) if down.any() else 1.0
    local = points_px.astype(np.float64) - [roi.x0, roi.y0, 0]
    irises = np.array(
        [
            [*local[i[0], :2], np.linalg.norm(local[i[1], :2] - local[i[3], :2]) / 2, 1 - shut]
            for i, shut in zip((RIGHT_IRIS, LEFT_IRIS), down, strict=True)
        ]
    )
    h, w = roi.size_hw
    depth, triangle = np.empty((h, w), np.float32), np.empty((h, w), np.int32)
    bary = np.zeros((h, w, 2), np.float32)
    kernels.rasterise(local, model.all_triangles, depth, triangle, bary)
    crease = crease_gain(sample.wrinkles, cast.crease_strength(row))
    return MeshInPlace(
        depth, triangle, bary, vertex, crease, cast.bent(row, points_px), cast.worn, normals, irises, shine, skin_luma(sample), (a, b, mix)
    )  # fmt: skip


def lid_gains(
    at_px: Float64[np.ndarray, "478 2"], down: Float[np.ndarray, "2"], plate_linear: Float32[np.ndarray, "h w 3"],
    skin: Float32[np.ndarray, "478 3"],
) -> Float[np.ndarray, "478 3"]:  # fmt: skip
    """Gain that gives the plate's lids the double's tone as far as they are down. `at_px`: the plate's mesh in the region, `skin`: the
    double's colour at its points."""
    size = 2 * max(int(LID_BLUR * np.ptp(at_px[:, 0])), 1) + 1
    soft = cv2.blur(plate_linear, (size, size), borderType=cv2.BORDER_REPLICATE)
    x, y = at_px.T.astype(np.float32)[..., None]
    plate = cv2.remap(soft, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    ratio = np.log((np.maximum(skin, 0) + 1e-3) / (np.maximum(plate, 0) + 1e-3))
    # A lid is often brighter than the socket around it, which gives the tone: nothing gets brighter than the double's skin there.
    gain = np.minimum(lid_tone() @ ratio, ratio + LID_BRIGHTER)
    return np.exp((lid_skin() @ down)[:, None] * np.clip(gain, -LID_LIMIT, LID_LIMIT))


def shaded(
    cast: PreparedCast, index: int, mesh: MeshInPlace, plate_linear: Float32[np.ndarray, "h w 3"]
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """(colour, coverage before the soft contour) of every pixel."""
    model = face_model()
    a, b, mix = mesh.skin
    h, w = mesh.triangle.shape
    rgb, alpha = np.empty((h, w, 3), np.float32), np.empty((h, w), np.float32)
    kernels.shade(
        mesh.triangle,
        mesh.barycentric,
        model.all_triangles,
        len(model.triangles),
        mesh.vertex,
        a.atlas,
        b.atlas,
        mix,
        mesh.crease,
        mesh.bend,
        mesh.worn,
        plate_linear,
        mesh.irises,
        cast.iris_gain,
        mesh.skin_luma,
        mesh.normals,
        mesh.normals @ cast.lobe.half,
        cast.lobe.doublings,
        mesh.shine,
        rgb,
        alpha,
    )
    return rgb, alpha


def soft_contour(triangle: Int32[np.ndarray, "h w"], face_px: float) -> Float32[np.ndarray, "h w"]:
    """0 outside the mesh, 1 a little inside: the contour against the background is no staircase of pixels, nor, on a turned
    head, the saw of triangles that just face the camera."""
    reach = 2 * int(np.clip(CONTOUR * face_px, 1, 12)) + 1
    cover = cv2.blur((triangle >= 0).astype(np.float32), (reach, reach), borderType=cv2.BORDER_REPLICATE)
    return np.clip(2 * cv2.blur(cover, (3, 3), borderType=cv2.BORDER_REPLICATE) - 1, 0, 1)


def crease_gain(wrinkles: Int8[np.ndarray, "w w"], strength: float) -> Float32[np.ndarray, "w w"]:
    """Gain of the skin by the plate's creases."""
    by_step = np.exp(np.float32(strength) * wrinkle_log(np.arange(-128, 128).astype(np.int8)))
    return by_step[wrinkles.astype(np.int16) + 128]


def skin_luma(sample: TrackSample) -> float:
    """Mean luminance of the plate's visible skin; 0 when there is none."""
    weight = sample.skin_weight.astype(np.float32)
    total = float(weight.sum())
    return float((sample.skin_linear.astype(np.float32) @ LUMA * weight).sum()) / total if total else 0.0


def iris_gain(persona_iris: Float[np.ndarray, "3"], plate_iris: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Gain that gives the plate's iris the persona's colour, both relative to their own skin; 1 when either is unknown.

    Irises are small and dark: a measured colour that is far from the plate's is more likely wrong than right.
    """
    if persona_iris.min() <= 0 or plate_iris.min() <= 0:
        return np.ones(3)
    ratio = persona_iris.astype(np.float64) / plate_iris
    brightness = float(ratio @ LUMA)
    return np.clip(ratio / brightness, *IRIS_CHROMA) * float(np.clip(brightness, *IRIS_BRIGHTNESS))


def place(cast: PreparedCast, index: int) -> Float32[np.ndarray, "478 3"]:
    """The double's mesh in plate pixels in frame `index`."""
    plan = cast.plan
    sample = plan.track.sample(index)
    return double_points(sample.points_px, plan.track.pose(index), plan.track.neutral_cm, plan.offset_cm)
