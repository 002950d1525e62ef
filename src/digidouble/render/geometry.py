"""Where the double's mesh goes: the plate's performance with the persona's proportions.

Inside the face the persona's own proportions win, at the silhouette the plate's do, so nothing behind the face is uncovered.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from digidouble.perception.lids import lid_gaps, lid_weights, with_lid_gaps
from digidouble.perception.mesh_points import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from digidouble.perception.shape import proportions_onto
from digidouble.schema.mesh import EYE_CORNERS, FLIP_YZ, LID_PAIRS, face_model, vertex_normals
from digidouble.schema.pose import Pose
from digidouble.schema.ramp import smoothstep

INSIDE_CM = 2.6  # distance from the oval at which the persona's proportions hold in full
FEATHER_CM = 1.1  # over which the double fades into the plate, along the face
LIDS_CM = (0.5, 0.95)  # from the edge of the lids: lid in full, and no lid any more
LASHES_CM, TONE_CM = 0.3, 0.35  # lashes end; over how much skin its tone is taken
LOWERED, SHUT = 0.65, 0.3  # opening of an eye over its neutral opening at which lids begin, and cease, to come down
READ_SHARE = 0.4  # of what sets one face apart from another the mesh network reads: it leans towards the mean face
MOUTH_CORNERS, MOUTH_MIDDLE = [RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER], [13, 14]
MIRRORED = np.array([-1.0, 1.0, 1.0])
AT_REST, IN_ACTION = 0.3, 0.5  # mean strength of muscle actions at which a face was seen at rest, and no longer
RIGID_CM, LOOSE_CM = 0.45, 1.0  # how far muscles move skin that is taken for bone, and that is all expression
LARGEST_CM = 0.6  # no point is taken further than this from the plate's own face


@lru_cache(maxsize=1)
def inside_weight() -> Float32[np.ndarray, "478"]:
    """0 at the oval, 1 deep inside. Irises go with the lids."""
    rim = face_model().rim_cm.copy()
    rim[468:] = INSIDE_CM
    return smoothstep(rim / INSIDE_CM).astype(np.float32)


@lru_cache(maxsize=1)
def feather() -> Float32[np.ndarray, "478"]:
    """Coverage of the double by distance from the oval."""
    return smoothstep(face_model().rim_cm / FEATHER_CM).astype(np.float32)


@lru_cache(maxsize=1)
def opening_weight() -> Float32[np.ndarray, "478"]:
    """1 on the inner-lip and lid contours, 0 from the next ring on: how far the plate's own pixels show."""
    return np.clip(1 - face_model().hole_cm / 0.18, 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def _lid_lines() -> tuple[tuple[int, int, Float[np.ndarray, "7"]], ...]:
    """For each eye its outer and inner corner, and where its lid pairs lie from one to the other, 0..1."""
    x = face_model().mean_cm[:, 0]
    return tuple(
        (outer, inner, (x[[list(p) for p in pairs]].mean(1) - x[outer]) / (x[inner] - x[outer]))
        for (outer, inner), pairs in zip(EYE_CORNERS, LID_PAIRS, strict=True)
    )


@lru_cache(maxsize=1)
def lid_skin() -> Float32[np.ndarray, "478 2"]:
    """1 on the lids of the right and the left eye, 0 on brow bone and cheek."""
    m = face_model()
    near = smoothstep((LIDS_CM[1] - m.hole_cm) / (LIDS_CM[1] - LIDS_CM[0]))
    out = np.zeros((478, 2), np.float32)
    for e, (outer, inner) in enumerate(EYE_CORNERS):
        middle = (m.mean_cm[outer] + m.mean_cm[inner]) / 2
        out[:468, e] = near[:468] * (np.linalg.norm(m.mean_cm[:468] - middle, axis=1) < 3.0)
    return out


@lru_cache(maxsize=1)
def lid_tone() -> Float32[np.ndarray, "478 478"]:
    """Whose skin gives a point of the lids its tone: the skin a little away from the lashes, nearest first; rows sum to 1."""
    m = face_model()
    source = (m.hole_cm > LASHES_CM) & (m.hole_cm < LIDS_CM[1] + 0.3)
    source[468:] = False
    apart = np.linalg.norm(m.mean_cm[:, None] - m.mean_cm[None], axis=2)
    weight = np.exp(-0.5 * (apart / TONE_CM) ** 2) * source * (lid_skin().sum(1) > 0)[:, None] + 1e-12
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def lids_down(shape_cm: Float[np.ndarray, "478 3"], neutral_cm: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "2"]:
    """How far the lids of the right and the left eye are down: 0 open as usual, 1 shut."""
    now, rest = (lid_gaps(s).reshape(2, 7)[:, 1:6].mean(1) for s in (shape_cm, neutral_cm))
    return smoothstep((LOWERED - now / np.maximum(rest, 0.25)) / (LOWERED - SHUT))


def plate_share(down: Float[np.ndarray, "2"]) -> Float32[np.ndarray, "478"]:
    """0..1, how far the plate's own pixels show at every point: eyes and mouth with their borders, and lids that are `down`
    (`lids_down`), whose skin nobody filmed on the persona."""
    return np.maximum(opening_weight(), lid_skin() @ down).astype(np.float32)


def target_shape(
    plate_shape_cm: Float[np.ndarray, "478 3"],
    plate_neutral_cm: Float[np.ndarray, "478 3"],
    offset_cm: Float[np.ndarray, "478 3"],
) -> Float[np.ndarray, "478 3"]:
    """The double's shape in the plate's head frame.

    Proportions are added; the opening of the eyes is carried as a ratio instead, so that eyes that shut on the plate shut on
    the double whatever their size, along the plate's line between the double's corners.
    """
    out = plate_shape_cm + inside_weight()[:, None] * offset_cm
    now, rest = np.maximum(lid_gaps(plate_shape_cm), 0), np.maximum(lid_gaps(plate_neutral_cm), 0.15)
    own = np.maximum(lid_gaps(plate_neutral_cm + offset_cm), 0.15)
    out = with_lid_gaps(out, now * np.clip(own / rest, 0.7, 1.4))
    down = lids_down(plate_shape_cm, plate_neutral_cm)
    if down.any():
        moved = (out - plate_shape_cm)[:, 1]
        wanted = np.stack(
            [moved[outer] + (moved[inner] - moved[outer]) * along for outer, inner, along in _lid_lines()]
        )
        bend = wanted - np.array([moved[list(pair)].mean() for pairs in LID_PAIRS for pair in pairs]).reshape(2, 7)
        out[:, 1] += np.abs(lid_weights()) @ (down[:, None] * bend).ravel()
    return out


@lru_cache(maxsize=1)
def looseness() -> Float[np.ndarray, "478"]:
    """0 where muscles hardly move the skin (bridge of the nose, temples), 1 on lips and brows."""
    moved = np.sqrt((face_model().action_fields_cm.astype(np.float64) ** 2).sum((0, 2)))
    return smoothstep((moved - RIGID_CM) / (LOOSE_CM - RIGID_CM))


def seen_at_rest(actions: Float[np.ndarray, "n a"]) -> float:
    """0..1: whether the most relaxed tenth of some moments is near enough to rest for their neutral face to be known, not inferred."""
    effort = float(np.quantile(np.abs(actions).mean(1), 0.1))
    return float(smoothstep(np.array((IN_ACTION - effort) / (IN_ACTION - AT_REST))))


def bend_cm(offset_cm: Float[np.ndarray, "478 3"]) -> float:
    """How far the corners of the mouth go up, more than its middle."""
    return float(offset_cm[MOUTH_CORNERS, 1].mean() - offset_cm[MOUTH_MIDDLE, 1].mean())


@lru_cache(maxsize=1)
def lips_bent() -> Float[np.ndarray, "478 3"]:
    """How the skin goes up with the corners of the mouth, for a `bend_cm` of 1."""
    model = face_model()
    pull = [n.startswith("lip_corner_pull") for n in model.action_names]
    field = model.action_fields_cm[pull].astype(np.float64).sum(0) * [0.0, 1.0, 0.0]
    return field / bend_cm(field)


def persona_offset(
    persona_neutral_cm: Float[np.ndarray, "478 3"], plate_neutral_cm: Float[np.ndarray, "478 3"], rest: float = 1.0
) -> Float[np.ndarray, "478 3"]:
    """What makes the plate's neutral face the persona's, size and place taken out.

    Both faces were read by a network that leans towards the mean: a double drawn with the plain difference, and read again, shows a
    third of it (docs/architecture.md). So the difference is divided by READ_SHARE, and bounded smoothly by LARGEST_CM. Only what is
    alike on both sides is taken: a crooked mouth read from a few frames is an expression or a turn of the head, not the person. How the
    line of the lips bends is an expression, too, for whoever looks: it is not enlarged (corners hung or smirked by up to half a centimetre).

    Args:
        rest: 0..1, whether both were `seen_at_rest`. A neutral that was inferred from nothing but smiles keeps some of the smile in lips
            and brows, and there the difference is taken as it is: enlarged, it makes lips of twice their thickness.
    """
    read = proportions_onto(persona_neutral_cm, plate_neutral_cm) - plate_neutral_cm
    read = (read + read[face_model().mirror] * MIRRORED) / 2
    bend = bend_cm(read) * lips_bent()
    read = read - bend
    share = READ_SHARE + (1 - READ_SHARE) * (1 - rest) * looseness()[:, None]
    far = np.linalg.norm(read, axis=1, keepdims=True) / share
    return read / share * (LARGEST_CM * np.tanh(far / LARGEST_CM) / np.maximum(far, 1e-9)) + bend


def facing_weight(points_px: Float[np.ndarray, "478 3"]) -> Float32[np.ndarray, "478"]:
    """0 for skin seen edge-on, 1 from about 15 degrees off the edge."""
    n = vertex_normals(points_px * FLIP_YZ, face_model().triangles)
    return smoothstep((n[:, 2] - 0.02) / 0.22).astype(np.float32)


def double_points(
    points_px: Float[np.ndarray, "478 3"],
    pose: Pose,
    neutral_cm: Float[np.ndarray, "478 3"],
    offset_cm: Float[np.ndarray, "478 3"],
) -> Float32[np.ndarray, "478 3"]:
    """The double's mesh in plate pixels.

    Proportions also give way where the face turns edge-on, so that nose and cheek contours stay the plate's.
    """
    shape = pose.head_from_px(points_px)
    out = pose.px_from_head(target_shape(shape, neutral_cm, offset_cm))
    keep = facing_weight(points_px)
    keep[468:] = 1
    return (points_px + keep[:, None] * (out - points_px)).astype(np.float32)
