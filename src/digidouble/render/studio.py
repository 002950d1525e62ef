"""The double without a plate: one persona in a studio of soft, even light, in any pose and expression.

Skin is drawn by the kernels that draw it on plates. Openings have no plate to look through to: they take the texels of the key
that shows them best, and where no key does, an eye or a mouth is painted in the person's colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.errors import SettingsError
from digidouble.perception.lids import lid_gaps, with_lid_gaps
from digidouble.perception.light import shading
from digidouble.perception.radiance import FieldView, conditions_of, slant_of
from digidouble.render import kernels
from digidouble.render.geometry import opening_weight
from digidouble.render.gloss import NONE
from digidouble.render.plan import choose_keys
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import LEFT_IRIS, RIGHT_IRIS, camera_normals, face_model
from digidouble.schema.persona import Persona
from digidouble.schema.pose import Pose
from digidouble.schema.ramp import smoothstep

SUPERSAMPLED = 2
FILL = 0.43  # of the picture: the face's farthest point from its middle, whichever way it is turned
EXPOSURE = (0.10, 0.45)  # linear luminance the mean skin is kept within: a dark source is still to be seen
MOUTH_OPEN_CM = 0.35  # between the lips, from which a key shows what is behind them
EYE_OPEN_CM = 0.35  # between the lids, from which a key shows the eye
BACKGROUND = 0.20  # linear grey
# Even from left and right, a little from above and in front; harmonics of `perception.light`.
STUDIO_LIGHT = np.zeros((9, 3))
STUDIO_LIGHT[0], STUDIO_LIGHT[2], STUDIO_LIGHT[3] = 0.64, 0.16, 0.28
_EYES = (("right_eye", RIGHT_IRIS), ("left_eye", LEFT_IRIS))


@dataclass(frozen=True)
class StudioPicture:
    """rgb_linear: straight colour, zero where nothing is. alpha: 0..1. points_px: where the mesh is."""

    rgb_linear: Float32[np.ndarray, "s s 3"]
    alpha: Float32[np.ndarray, "s s"]
    points_px: Float32[np.ndarray, "478 3"]

    def over_grey(self) -> Float32[np.ndarray, "s s 3"]:
        """The picture on the studio's background."""
        a = self.alpha[..., None]
        return (a * self.rgb_linear + (1 - a) * np.float32(BACKGROUND)).astype(np.float32)


def head_turn(yaw_deg: float, pitch_deg: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """Camera axes from head axes: yaw > 0 to the subject's left, pitch > 0 up (see `schema.pose`)."""
    y, p = np.radians([yaw_deg, pitch_deg])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return about_x @ about_y


def studio_picture(
    persona: Persona, rotation: Float[np.ndarray, "3 3"], actions: Float[np.ndarray, "a"], size_px: int
) -> StudioPicture:
    """One picture of a persona. `rotation`: camera axes from head axes. `actions`: as `FaceModel.action_names`.

    Raises:
        SettingsError: a size outside 64..4096.
    """
    return Studio(persona, size_px).take(rotation[None], actions[None])(0)


class Studio:
    """A persona made ready for pictures of one size; `take` plans a sequence and hands out its pictures in any order."""

    def __init__(self, persona: Persona, size_px: int) -> None:
        if not 64 <= size_px <= 4096:
            raise SettingsError(f"studio picture of {size_px} px: expected 64..4096")
        self.persona, self.size_px = persona, size_px
        self._centre = 0.5 * (persona.neutral_cm[:468].min(0) + persona.neutral_cm[:468].max(0))
        radius = float(np.linalg.norm(persona.neutral_cm[:468] - self._centre, axis=1).max())
        self._px_per_cm = FILL * size_px * SUPERSAMPLED / radius
        luma = max(float(persona.skin_linear @ LUMA), 1e-4)
        self._exposure = float(np.clip(luma, *EXPOSURE)) / luma
        self._atlases: dict[int, Float32[np.ndarray, "s s 3"]] = {}
        self._field = FieldView(persona.radiance, 2 * size_px) if persona.radiance else None
        self._openings = _Openings(persona, min(persona.keys[0].albedo.shape[0], 2 * size_px))

    def take(self, rotations: Float[np.ndarray, "n 3 3"], actions: Float[np.ndarray, "n a"]) -> Take:
        """A sequence: keys are chosen by expression and view over all of it, as for a shot."""
        views = np.array([Pose(r, 1.0, np.zeros(3)).euler_deg[:2] for r in rotations]).reshape(-1, 2)
        return Take(self, rotations, actions, choose_keys(actions, views, self.persona))

    def _atlas(self, key: int) -> Float32[np.ndarray, "s s 3"]:
        if key not in self._atlases:
            self._atlases[key] = _resized(self.persona.keys[key].albedo, self._openings.size)
        return self._atlases[key]

    def _skin(
        self, rotation: Float[np.ndarray, "3 3"], actions: Float[np.ndarray, "a"], shape_cm: Float[np.ndarray, "478 3"],
        points: Float[np.ndarray, "478 3"], keys: tuple[int, int, float],
    ) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s 3"], float]:  # fmt: skip
        """Two atlases and how much of the second: the radiance field's own where there is one, else the keys."""
        if self._field is None:
            return self._atlas(keys[0]), self._atlas(keys[1]), keys[2]
        asked = conditions_of(shape_cm, actions, rotation)
        skin = _resized(self._field.atlas(asked, slant_of(points, self._px_per_cm))[0], self._openings.size)
        return skin, skin, 0.0

    def draw(
        self, rotation: Float[np.ndarray, "3 3"], actions: Float[np.ndarray, "a"], keys: tuple[int, int, float]
    ) -> StudioPicture:
        """`keys`: first, second, and how much of the second."""
        model, side = face_model(), self.size_px * SUPERSAMPLED
        shape = posed(self.persona, actions)
        middle = np.array([side / 2, side / 2, 0.0]) - 0.5
        pose = Pose(rotation, self._px_per_cm, middle - self._px_per_cm * (rotation @ self._centre) * [1, -1, -1])
        points = pose.px_from_head(shape)
        a, b, mix = self._skin(rotation, actions, shape, points, keys)
        vertex = np.empty((478, 12))
        vertex[:, :2] = model.uv * self._openings.size
        vertex[:, 2:5] = self._exposure * shading(STUDIO_LIGHT, camera_normals(points))
        vertex[:, 5] = 1.0
        vertex[:, 6] = opening_weight()
        # The rim of a lid that comes down is skin: it must not wear the eye behind it.
        gaps = lid_gaps(shape)
        for eye, (loop, _) in enumerate(_EYES):
            open_cm = float(np.median(gaps[7 * eye : 7 * eye + 7]))
            vertex[model.loops[loop], 6] *= _eased((open_cm - 0.1) / self._openings.eye_cm[eye])
        vertex[:, 7:9] = self._openings.texels_at(shape)
        vertex[:, 9:12] = vertex[:, 2:5]
        # Little light comes in between lips that hardly part.
        lips = model.loops["inner_lips"]
        vertex[lips, 9:12] *= 0.3 + 0.7 * _eased(lip_gap_cm(shape) / MOUTH_OPEN_CM)
        depth, triangle = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
        bary = np.zeros((side, side, 2), np.float32)
        rgb, alpha = np.empty((side, side, 3), np.float32), np.empty((side, side), np.float32)
        triangles, plain = model.all_triangles, np.ones((2, 2), np.float32)
        kernels.rasterise(points, triangles, depth, triangle, bary)
        kernels.shade(
            triangle, bary, triangles, len(model.triangles), vertex, a, b, mix, plain, kernels.UNBENT, 0 * plain,
            self._openings.texture, np.zeros((2, 3)), np.ones(3), 0.0, np.zeros((478, 3)), np.zeros(478), NONE.doublings,
            NONE.strength, rgb, alpha,
        )  # fmt: skip
        small = (self.size_px, self.size_px)
        cover = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
        light = cv2.resize(rgb * alpha[..., None], small, interpolation=cv2.INTER_AREA)
        straight = light / np.maximum(cover, 1e-6)[..., None]
        at = (points + 0.5) / SUPERSAMPLED - 0.5
        return StudioPicture(straight.astype(np.float32), cover, at.astype(np.float32))


class Take:
    """Pictures of one planned sequence; call with the number of the picture."""

    def __init__(
        self, studio: Studio, rotations: Float[np.ndarray, "n 3 3"], actions: Float[np.ndarray, "n a"], keys: tuple
    ) -> None:
        self._studio, self._rotations, self._actions, self._keys = studio, rotations, actions, keys

    def __len__(self) -> int:
        return len(self._rotations)

    def __call__(self, index: int) -> StudioPicture:
        a, b, mix = (k[index] for k in self._keys)
        return self._studio.draw(self._rotations[index], self._actions[index], (int(a), int(b), float(mix)))


def posed(persona: Persona, actions: Float[np.ndarray, "a"]) -> Float[np.ndarray, "478 3"]:
    """The persona's shape under muscle actions, head centimetres. Lids meet at full strength and never cross."""
    model = face_model()
    out = persona.neutral_cm + np.tensordot(actions, model.action_fields_cm, 1)
    names = [n.split("/")[0] for n in model.action_names]
    gaps = lid_gaps(out)
    wanted = np.maximum(gaps, 0)
    for side, name in enumerate(("lid_close_R_AU43", "lid_close_L_AU43")):
        shut = _eased((actions[names.index(name)] - 0.5) / 0.45)
        wanted[7 * side : 7 * side + 7] *= 1 - shut
    return with_lid_gaps(out, wanted)


def lip_gap_cm(shape: Float[np.ndarray, "478 3"]) -> float:
    """Between the middles of the inner lips."""
    return float(np.linalg.norm(shape[13] - shape[14]))


def _eased(x: float) -> float:
    """`smoothstep` of one number."""
    return float(smoothstep(np.array([x]))[0])


class _Openings:
    """What is behind lids and lips: a texture in UV, and where the rims of the openings look into it.

    An eyeball does not move with its lids, nor teeth with the lips: a rim that closes over the opening of the key it was
    photographed in covers texels rather than pressing them together.
    """

    def __init__(self, persona: Persona, size: int) -> None:
        self.size = size
        self._shape = [posed(persona, k.actions) for k in persona.keys]
        self.texture = _resized(persona.keys[0].albedo, size).copy()
        self._home: dict[str, tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "2 2"]]] = {}
        model = face_model()
        self.eye_cm: list[float] = []  # between the lids of the key that shows the eye
        for side, (loop, iris) in enumerate(_EYES):
            gaps = [float(np.median(lid_gaps(s)[7 * side : 7 * side + 7])) for s in self._shape]
            key = int(np.argmax([g - 0.3 * abs(k.view_deg[0]) / 45 for g, k in zip(gaps, persona.keys, strict=True)]))
            mask = _opening_mask(loop, size)
            shown = _resized(persona.keys[key].albedo, size)
            if gaps[key] < EYE_OPEN_CM or _too_dark(shown, mask, persona):
                shown = _painted_eye(persona, iris, size)
            self._put(shown, mask)
            self.eye_cm.append(max(0.75 * gaps[key], 0.2))
            self._home[loop] = self._shape[key], _texels_per_cm(self._shape[key], model.loops[loop], size)
        gaps = [lip_gap_cm(s) for s in self._shape]
        key = int(np.argmax(gaps))
        mask = _opening_mask("inner_lips", size)
        seen = _eased((gaps[key] - 0.6 * MOUTH_OPEN_CM) / (0.4 * MOUTH_OPEN_CM))
        inside = _painted_mouth(persona, size)
        self._put(inside + np.float32(seen) * (_resized(persona.keys[key].albedo, size) - inside), mask)
        self._home["inner_lips"] = self._shape[key], _texels_per_cm(self._shape[key], model.loops["inner_lips"], size)
        self._mouth_seen = seen

    def _put(self, texels: Float32[np.ndarray, "s s 3"], mask: Float32[np.ndarray, "s s"]) -> None:
        self.texture += mask[..., None] * (texels - self.texture)

    def texels_at(self, shape: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 2"]:
        """Where in `texture` every point of the mesh looks (whole numbers are texel centres)."""
        model = face_model()
        out = model.uv * self.size - 0.5
        for loop, (home, per_cm) in self._home.items():
            points = model.loops[loop]
            if loop == "inner_lips" and self._mouth_seen < 0.5:
                continue  # a painted mouth may stretch
            moved = (shape - home)[points, :2]
            moved = (moved - moved.mean(0) if loop == "inner_lips" else moved) @ per_cm
            # Beyond what the key showed there is only skin: an opening wider than the key's stretches instead.
            inward = out[points].mean(0) - out[points]
            reach = np.maximum((inward**2).sum(1), 1e-6)
            along = np.clip((moved * inward).sum(1) / reach, 0, 1)
            out[points] += along[:, None] * inward
        return out


def _resized(albedo: np.ndarray, size: int) -> Float32[np.ndarray, "s s 3"]:
    full = np.ascontiguousarray(albedo, np.float32)
    return full if full.shape[0] == size else cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA)


def _filled(points: Float[np.ndarray, "n 2"], size: int, soft: float) -> Float32[np.ndarray, "s s"]:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round((points * size - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(soft * size, 0.5))


def _opening_mask(loop: str, size: int) -> Float32[np.ndarray, "s s"]:
    """1 in an opening, a little soft at its rim."""
    return _filled(face_model().uv[face_model().loops[loop]], size, 0.0015)


def _texels_per_cm(shape: Float[np.ndarray, "478 3"], loop: np.ndarray, size: int) -> Float[np.ndarray, "2 2"]:
    """Linear map from movement in the face's plane to movement in the texture, around an opening (least squares)."""
    at, uv = shape[loop, :2] - shape[loop, :2].mean(0), face_model().uv[loop] * size
    gram = at.T @ at + 1e-3 * np.eye(2)
    return np.linalg.solve(gram, at.T @ (uv - uv.mean(0)))


def _too_dark(texels: Float32[np.ndarray, "s s 3"], mask: Float32[np.ndarray, "s s"], persona: Persona) -> bool:
    """Dark glasses or a shadow, no eye: even its brightest tenth is far below the skin."""
    inside = (texels @ LUMA)[mask > 0.5]
    return len(inside) > 0 and float(np.quantile(inside, 0.9)) < 0.2 * float(persona.skin_linear @ LUMA)


def _painted_eye(persona: Persona, iris: np.ndarray, size: int) -> Float32[np.ndarray, "s s 3"]:
    """White, iris in the person's colour where it is known, pupil."""
    uv, skin = face_model().uv, persona.skin_linear.astype(np.float32)
    radius = np.ptp(uv[iris[1:]], axis=0) / 2
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    brown = np.array([0.30, 0.20, 0.15], np.float32)
    colour = skin * (persona.iris_linear if persona.iris_linear.min() > 0 else brown)
    white = np.float32(1.15 * float(skin @ LUMA)) * np.array([1.0, 0.96, 0.93], np.float32)
    out = np.tile(white.astype(np.float32), (size, size, 1))
    for share, paint in ((1.0, colour), (0.4, 0.12 * colour)):
        k = _filled(uv[iris[0]] + share * ring, size, 0.0012)[..., None]
        out += k * (paint.astype(np.float32) - out)
    return out


def _painted_mouth(persona: Persona, size: int) -> Float32[np.ndarray, "s s 3"]:
    """Red-brown dusk behind the lips, darker towards the middle. No teeth: nobody has seen them."""
    loop = face_model().uv[face_model().loops["inner_lips"]]
    skin = float(persona.skin_linear @ LUMA)
    rim, deep = (np.float32(skin) * np.array(c, np.float32) for c in ((0.70, 0.26, 0.22), (0.24, 0.075, 0.065)))
    inner = loop.mean(0) + 0.75 * (loop - loop.mean(0))
    k = _filled(inner, size, 0.25 * float(np.ptp(loop[:, 1])))[..., None]
    return (rim + np.clip(1.3 * k, 0, 1) * (deep - rim)).astype(np.float32)
