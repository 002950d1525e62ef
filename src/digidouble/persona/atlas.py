"""One look at a face -> its skin in UV, with the light of the moment divided out."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from digidouble.perception.light import fit_light, shading
from digidouble.perception.traits import wears_rims
from digidouble.perception.uvgrid import uv_grid
from digidouble.schema.capture import Look
from digidouble.schema.colour import LUMA
from digidouble.schema.mesh import BROWS, OUTER_LIPS, camera_normals, face_model, surface_distance
from digidouble.schema.persona import TEXELS_PER_PX
from digidouble.schema.ramp import smoothstep
from digidouble.schema.track import SKIN_GRID

FOREHEAD_CM = 2.0  # above the eyes, over the brows of the mean face
BROW_CM, LID_CM = 0.55, 0.9  # how far around them a feature reaches
BRIGHTEST, PALEST = 0.3, 0.7  # natural log of red and blue over the skin's: beyond is a wall or a cap
RIM_SHARE = 0.05  # of the atlas: how far hair's shade reaches into skin
BEARD_CM = -4.5  # height of the nose's base
BRIDGE_CM = 1.2  # lenses leave the nose free, which shines of itself
GLARE, RIM = 1.6, 0.6  # times the skin's brightness
TEMPLE_CM, HAIR = 4.6, 0.5  # sideways from the middle; times the skin's brightness
TEMPLE_SHARE = 0.16  # of the atlas: hair at a temple is taller
STRAND_WIDTH, STRAND_LENGTH = 0.055, 0.07  # of the atlas: widest strand, shortest that counts
BAND_WIDTH = 0.13  # of the atlas: widest edge of hair
EDGE_SHARE = 0.012  # of the atlas: over which a fill takes the tone of the skin right beside it
# Of the atlas: over which a brow that hair cuts off, and skin beside hair, run out.
TAIL_SHARE, CHEEK_SHARE = 0.04, 0.03
LINE_SHARE, BESIDE_SHARE = 0.02, 0.08  # of the atlas: width of what hair leaves down a cheek; how far from its edge
LINES_SIZE = 512  # such lines are coarser than a large atlas
DELIGHT_LIMIT = 0.9  # natural log: shading beyond this is cast shadow or highlight, not to be divided by


def atlas_size(face_px: float | int) -> int:
    """Side of the atlas that keeps a source's resolution, a multiple of 32 in 128..4096."""
    return int(np.clip(32 * np.ceil(TEXELS_PER_PX * face_px / 32), 128, 4096))


def _seen(look: Look, at: Float32[np.ndarray, "s s 2"]) -> Float32[np.ndarray, "s s"]:
    """The look's matte at texel positions `at`, 0..1."""
    mx, my = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return cv2.remap(look.matte, mx, my, cv2.INTER_LINEAR).astype(np.float32) / 255


def glasses_zone(look: Look, size: int) -> Float32[np.ndarray, "s s"]:
    """1 around the eyes of somebody who wears glasses, else 0.

    The matte calls spectacle frames "in front of the face". On a source they belong to the person: cut out, they would leave
    their outline and the reflections of the lenses behind.
    """
    coarse = uv_grid(64)
    hidden = 1 - _seen(look, coarse.carried(look.points_px[:, :2].astype(np.float32)))
    return eye_zone(size) if wears_rims(hidden) else np.zeros((size, size), np.float32)


def glare(
    albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"], glasses: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s"]:
    """1 on lamps and windows that worn glasses (1 where they may be) mirror, 0 elsewhere: far brighter than the person's skin, and no eye."""
    size = albedo.shape[0]
    luma, skin = albedo @ LUMA, uv_grid(size).skin & (confidence > 0.5)
    if not glasses.any() or not skin.any():
        return np.zeros((size, size), np.float32)
    eyes = np.maximum(eye_opening(size, "right_eye"), eye_opening(size, "left_eye"))
    tone = np.median(luma[skin])
    found = (luma > GLARE * tone) & (glasses > 0.5) & (eyes < 0.5) & (_sideways_cm(size) > BRIDGE_CM)
    # Bright rims are thin and belong to the person: only what is as wide as a lamp counts.
    wide, reach = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(size // k, 1) + 1,) * 2) for k in (130, 40))
    around = cv2.dilate(cv2.morphologyEx(found.astype(np.float32), cv2.MORPH_OPEN, wide), reach)
    return cv2.blur(around * (luma > RIM * tone), (3, 3)) * (eyes < 0.5)  # a dark rim beside it stays


def _sideways_cm(size: int) -> Float32[np.ndarray, "s s"]:
    """From the middle of the face, on the mean face."""
    return np.abs(uv_grid(size).carried(face_model().mean_cm[:, :1].astype(np.float32))[..., 0])


def eye_zone(size: int) -> Float32[np.ndarray, "s s"]:
    """1 where spectacles may sit, 0 elsewhere, soft between."""
    place = uv_grid(size).carried(face_model().mean_cm)
    x, y = np.abs(place[..., 0]), place[..., 1]
    zone = np.clip((6.8 - x) / 0.6, 0, 1) * np.clip((y + 4.2) / 0.6, 0, 1) * np.clip((3.4 - y) / 0.5, 0, 1)
    return (zone * uv_grid(size).covered).astype(np.float32)


@lru_cache(maxsize=8)
def eye_opening(size: int, loop: str) -> Float32[np.ndarray, "s s"]:
    """1 between the lids of an eye ("left_eye", "right_eye"), 0 elsewhere, soft outwards."""
    grid, m = uv_grid(size), face_model()
    inside = np.isin(grid.points, m.loops[loop]).all(-1) & (grid.triangle >= len(m.triangles))
    reach = 2 * max(size // 100, 1) + 1
    return cv2.blur(cv2.dilate(inside.astype(np.float32), np.ones((reach, reach))), (3, 3))


def unwrap(look: Look, size: int) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """Scene-linear colour per texel, and confidence 0..1 (facing the camera, inside the picture, nothing in front)."""
    grid = uv_grid(size)
    at = grid.carried(look.points_px[:, :2].astype(np.float32))
    h, w = look.linear.shape[:2]
    mx, my = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    colour = cv2.remap(look.linear, mx, my, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    low = cv2.remap(look.linear, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colour = np.clip(colour, 0.8 * low, 1.25 * low + 1e-4)  # cubic ringing stays near the samples
    facing = grid.carried(camera_normals(look.points_px)[:, 2:3])[..., 0]
    inside = (mx > 1) & (my > 1) & (mx < w - 2) & (my < h - 2)
    # The matte's edge is a pixel of its crop wide; a strand of hair at the edge would be copied to every plate.
    seen = cv2.erode(_seen(look, at), np.ones((3, 3)), iterations=max(1, size // 80))
    glasses = glasses_zone(look, size)
    seen = np.maximum(seen, glasses)
    confidence = grid.covered * inside * np.clip((facing - 0.12) / 0.45, 0, 1) * np.clip(seen * 1.6 - 0.6, 0, 1)
    # Dark rims are no hair, nor is what they hang together with: temples are judged by `skin_likelihood`.
    confidence *= 1 - loose_hair(colour, confidence.astype(np.float32), glasses < 0.5)
    # Inside the openings there is no surface whose facing could be judged.
    opening = grid.triangle >= len(face_model().triangles)
    confidence[opening] = (inside * grid.covered)[opening]
    return np.maximum(colour, 0), confidence.astype(np.float32)


def loose_hair(
    colour: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"], judged: Bool[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s"]:
    """0..1, where hair lies on the skin that the matte is too coarse for; every double would wear it.

    Two kinds: a strand along the cheek, or its shadow, is darker than the skin on both sides and runs down the face; the edge of
    hair is a dark band along what is not seen of the face. Both are found as what a morphological closing of log luminance fills
    (the band after the unseen is given the skin's brightness). Beards are neither: they are wide, or short hairs, and low.
    Nothing is found outside `judged`.
    """
    size, model = colour.shape[0], face_model()
    grid = uv_grid(size)
    log = np.asarray(np.log(cv2.GaussianBlur(np.maximum(colour @ LUMA, 1e-4), (0, 0), max(size / 250, 0.5))))
    side = 2 * max(size // 120, 1) + 1
    place = grid.carried(model.mean_cm)
    x, y = np.abs(place[..., 0]), place[..., 1]

    cheek = _cheek(size)
    strand = cv2.morphologyEx(log, cv2.MORPH_CLOSE, np.ones((1, int(STRAND_WIDTH * size) | 1), np.uint8)) - log
    # Lines across the forehead and between the brows are the person's, what hangs down elsewhere is a fringe.
    forehead = ((y > 4.0) | ((y > 2.6) & (x > 1.2))) & _featureless(size) & grid.covered
    marked = _runs_down((strand > 0.1) & cheek & judged, STRAND_LENGTH * size) | _runs_down(
        (strand > 0.045) & forehead & judged, 0.25 * STRAND_LENGTH * size
    )

    unseen, skin = confidence < 0.1, (confidence > 0.5) & grid.skin
    if skin.any():
        log[unseen] = np.median(log[skin])
        round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(BAND_WIDTH * size) | 1,) * 2)
        band = cv2.morphologyEx(log, cv2.MORPH_CLOSE, round_) - log
        where = judged & grid.covered & (y > -6) & _featureless(size) & ((x > 3.0) | (y > 2.0))
        count, parts = cv2.connectedComponents(((band > 0.3) & where).astype(np.uint8))
        labels: Int[np.ndarray, "s s"] = np.asarray(parts, np.int64)
        rim = np.asarray(cv2.dilate(unseen.astype(np.uint8), np.ones((5, 5), np.uint8))) > 0
        touching: Bool[np.ndarray, "n"] = np.bincount(labels[rim], minlength=count) > 0
        touching[0] = False
        marked = marked | touching[labels]
    return cv2.blur(cv2.dilate(marked.astype(np.float32), np.ones((side, side))), (3, 3)) * _tails_fade(size)


@lru_cache(maxsize=2)
def _cheek(size: int) -> Bool[np.ndarray, "s s"]:
    """The sides of the face below the eyes, down to the jaw."""
    grid = uv_grid(size)
    place = grid.carried(face_model().mean_cm)
    x, y = np.abs(place[..., 0]), place[..., 1]
    beside = 2.9 + np.clip(-1.2 * (y + 1.5), 0, 1.7)  # the fold from nose to mouth corner is the person's
    return (x > beside) & (y < -0.7) & (y > -7) & grid.covered


def _runs_down(found: Bool[np.ndarray, "s s"], least: float) -> Bool[np.ndarray, "s s"]:
    """The connected parts of `found` that are taller than `least` texels and at least twice as tall as wide."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    tall, wide = stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_WIDTH]
    runs = (tall > least) & (wide < 0.5 * tall)
    runs[0] = False
    return runs[np.asarray(parts, np.int64)]


def _from_features(size: int) -> tuple[Float32[np.ndarray, "s s"], ...]:
    """Centimetres from the brows, from the lids, and sideways from the middle."""
    model, grid = face_model(), uv_grid(size)
    near = np.stack(
        [surface_distance(model.mean_cm, model.triangles, BROWS), model.hole_cm, np.abs(model.mean_cm[:, 0])], 1
    )
    return tuple(np.ascontiguousarray(c) for c in np.moveaxis(grid.carried(near.astype(np.float32)), -1, 0))


@lru_cache(maxsize=2)
def _featureless(size: int) -> Bool[np.ndarray, "s s"]:
    """Where neither brows nor lids and lashes are near. Unlike `_away_from_features` it ends at the temple: hair begins there."""
    brow, lid, x = _from_features(size)
    return ((brow > BROW_CM) | (x > 5.3)) & ((lid > LID_CM) | (x > 5.0))


@lru_cache(maxsize=2)
def _tails_fade(size: int) -> Float32[np.ndarray, "s s"]:
    """1, but for the tails of brows and lashes, which run out under the hair rather than end at a line."""
    brow, lid, x = _from_features(size)
    return np.where((brow > BROW_CM) & (lid > LID_CM), 1, np.clip((x - 4.9) / 1.6, 0, 1)).astype(np.float32)


@lru_cache(maxsize=4)
def _run_out(size: int) -> tuple[Float32[np.ndarray, "s s"], Float32[np.ndarray, "s s"]]:
    """1 on the outer ends of brows, lids and lashes, and on the skin beside and below them, 0 elsewhere, soft."""
    brow, lid, x = _from_features(size)
    near = np.maximum(np.clip((BROW_CM + 0.4 - brow) / 0.4, 0, 1), np.clip((LID_CM + 0.4 - lid) / 0.4, 0, 1))
    outer = np.clip((x - 3.4) / 0.6, 0, 1)
    return (near * outer).astype(np.float32), ((1 - near) * outer).astype(np.float32)


def _inwards(confidence: Float32[np.ndarray, "s s"], share: float) -> Float32[np.ndarray, "s s"]:
    """0 where nothing was seen, rising to 1 a `share` of the atlas away from there."""
    seen = (confidence > 0.2).astype(np.uint8)
    away = cv2.distanceTransform(seen, cv2.DIST_L2, 5) / np.float32(share * len(confidence))
    return smoothstep(away).astype(np.float32)


def light_of_look(look: Look) -> Float[np.ndarray, "9 3"]:
    """SH light of a source from its own skin."""
    colour, confidence = unwrap_grid(look)
    grid = uv_grid(SKIN_GRID)
    use = grid.skin & (confidence > 0.1)
    if use.sum() < 60:
        use = grid.covered
    n = grid.carried(camera_normals(look.points_px))[use]
    return fit_light(
        colour[use], n / (np.linalg.norm(n, axis=1, keepdims=True) + 1e-6), np.maximum(confidence[use], 0.05)
    )


def unwrap_grid(look: Look) -> tuple[Float32[np.ndarray, "g g 3"], Float32[np.ndarray, "g g"]]:
    """`unwrap` at the coarse grid, area-averaged."""
    big, conf = unwrap(look, SKIN_GRID * 4)
    weight = conf[..., None] + 1e-3
    small = cv2.resize(big * weight, (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA)
    norm = cv2.resize(weight, (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA)
    return small / norm[..., None], cv2.resize(conf, (SKIN_GRID, SKIN_GRID), interpolation=cv2.INTER_AREA)


def delight(colour: Float32[np.ndarray, "s s 3"], look: Look) -> Float32[np.ndarray, "s s 3"]:
    """Divide the look's SH shading out, keeping the mean tone of the skin."""
    light = light_of_look(look)
    size = colour.shape[0]
    coarse = 64
    grid = uv_grid(coarse)
    n = grid.carried(camera_normals(look.points_px))
    n /= np.linalg.norm(n, axis=-1, keepdims=True) + 1e-6
    lit = shading(light, n)
    weight = grid.covered.astype(np.float32)[..., None]
    mean = (lit * grid.skin[..., None]).sum((0, 1)) / grid.skin.sum()
    log_ratio = (np.log(lit / mean) * weight).astype(np.float32)
    soft, norm = cv2.GaussianBlur(log_ratio, (0, 0), 1.5), cv2.GaussianBlur(weight[..., 0], (0, 0), 1.5)
    log_ratio = soft / (norm[..., None] + 1e-3)
    log_ratio = DELIGHT_LIMIT * np.tanh(log_ratio / DELIGHT_LIMIT)
    return colour / np.exp(cv2.resize(log_ratio, (size, size), interpolation=cv2.INTER_CUBIC))


def skin_likelihood(
    albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"], glasses: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s"]:
    """1 where the colour can be this person's skin, 0 where fringe, cap, collar or background reached into the face.

    Only the outer face is judged, against the skin of nose and cheeks (Mahalanobis distance in log colour): features inside
    the face differ from skin and belong to it.
    """
    size = albedo.shape[0]
    grid = uv_grid(size)
    rim = grid.carried(face_model().rim_cm[:, None].astype(np.float32))[..., 0]
    blurred = cv2.GaussianBlur(albedo, (0, 0), max(size / 150, 0.8))
    x = np.log(blurred + 2e-3)
    core = grid.skin & (rim > 4.0) & (confidence > 0.3)
    if core.sum() < 50:
        return np.ones_like(confidence)
    middle = np.median(x[core], 0)
    near = x[core] - middle
    near = near[(np.abs(near) < 3 * np.median(np.abs(near), 0) + 0.02).all(1)]
    spread = np.cov(near.T) + 0.05**2 * np.eye(3)

    def fit(brightness: float) -> Float32[np.ndarray, "s s"]:
        inverse = np.linalg.inv(spread + brightness**2 * np.ones((3, 3)))
        d2 = np.einsum("rcd,de,rce->rc", x - middle, inverse, x - middle)
        return np.clip((14 - d2) / 8, 0, 1).astype(np.float32)

    height = grid.carried(face_model().mean_cm[:, 1:2].astype(np.float32))[..., 0]
    # Shading left in the albedo is grey, so brightness may differ more than hue; a beard, which belongs to the person, more still.
    fits = np.where(height > BEARD_CM, fit(0.14), fit(0.8)).astype(np.float32)
    forehead = np.clip((height - FOREHEAD_CM) / 0.3, 0, 1)
    glasses = glasses * (1 - _temple_hair(blurred @ LUMA, float(np.exp(middle) @ LUMA)))
    judged = np.maximum(np.clip((5.0 - rim) / 0.8, 0, 1), forehead) * _away_from_features(size) * (1 - glasses)
    fits = np.maximum(fits, _overexposed((x - middle).astype(np.float32)))
    # Where hair thins out into skin the mixture passes as skin: step back from what was refused.
    k = 2 * max(1, size // 40) + 1
    fits = cv2.erode(fits, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k)))
    clean = (1 - judged * (1 - fits)).astype(np.float32)
    outer = np.clip((4.5 - rim) / 0.8, 0, 1) * (1 - glasses)
    return clean * (1 - outer * _mixed_rim(x, confidence * clean))


def _overexposed(away: Float32[np.ndarray, "s s 3"]) -> Bool[np.ndarray, "s s"]:
    """Where skin is on its way to white (`away`: log colour over the skin's own): no darker, and the paler the brighter.

    What is merely brighter in skin's own hue, as everything is in a grey picture, may be a wall, a collar, white hair.
    """
    red, green, blue = np.moveaxis(away, -1, 0)
    paler = (green > red + 0.05) & (blue > green + 0.05) & (blue - red > 0.15 + np.maximum(red, 0))
    return (red > -0.08) & (red < BRIGHTEST) & paler & (blue < PALEST)


def _outside(confidence: Float32[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s"]:
    """1 on what is not seen around the face, and not the shadows of nostrils and lips in it."""
    _, parts = cv2.connectedComponents((confidence <= 0.2).astype(np.uint8))
    return (np.asarray(parts) == parts[0, 0]).astype(np.uint8)


def _mixed_rim(
    log_albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s"]:
    """1 along what is not seen, where the skin takes another colour than a little further in: hair's shade, mixed with skin.

    It would draw a line down the cheek where the fill begins.
    """
    size = confidence.shape[0]
    reach = RIM_SHARE * size
    away = _away_from_features(size)
    inwards = cv2.distanceTransform(1 - _outside(confidence), cv2.DIST_L2, 3)
    inner = (confidence * (inwards > reach) * away).astype(np.float32)
    off = log_albedo - low_pass(log_albedo, inner, RIM_SHARE)
    # Without skin further in there is no other colour.
    near = np.clip(4 * cv2.GaussianBlur(inner, (0, 0), 1.5 * reach), 0, 1)
    bright = off @ LUMA
    hue = np.linalg.norm(off - bright[..., None], axis=-1)
    other = np.clip(hue / 0.08 - 0.5, 0, 1)
    return (near * other * away * np.clip(2 - 2 * inwards / reach, 0, 1)).astype(np.float32)


def _temple_hair(luma: Float32[np.ndarray, "s s"], skin: float) -> Float32[np.ndarray, "s s"]:
    """1 on what is dark at the temples and wider than the arm of spectacles. skin: its brightness."""
    size = luma.shape[0]
    side = _sideways_cm(size) > TEMPLE_CM
    arm, reach = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(size // k, 1) + 1,) * 2) for k in (50, 60))
    dark = ((luma < HAIR * skin) & side).astype(np.uint8)
    wide = cv2.dilate(cv2.morphologyEx(dark, cv2.MORPH_OPEN, arm), reach)
    # Hair goes on upwards or downwards; what ends after a brow's height is the end of a thick rim.
    _, parts, stats, _ = cv2.connectedComponentsWithStats(wide)
    tall = stats[:, cv2.CC_STAT_HEIGHT] > TEMPLE_SHARE * size
    tall[0] = False
    return tall[np.asarray(parts, np.int64)].astype(np.float32)


@lru_cache(maxsize=4)
def _away_from_features(size: int) -> Float32[np.ndarray, "s s"]:
    """0 within half a centimetre of brows, eyes and lips on the mean face, 1 elsewhere."""
    m, grid = face_model(), uv_grid(size)
    at = grid.carried(m.mean_cm)
    rows = (BROWS[:5], BROWS[5:10], BROWS[10:15], BROWS[15:20], OUTER_LIPS)
    points = np.concatenate(
        [0.5 * (m.mean_cm[r] + m.mean_cm[np.roll(r, -1)])[:-1] for r in rows] + [m.mean_cm[r] for r in rows]
    )
    near = np.full(at.shape[:2], np.inf, np.float32)
    for p in points:
        near = np.minimum(near, np.linalg.norm(at - p, axis=-1))
    hole = grid.carried(m.hole_cm[:, None])[..., 0]
    # The eye sockets, up to the brows: lids and their shadows are nobody's cheek colour.
    socket = np.hypot((np.abs(at[..., 0]) - 2.95) / 2.5, (at[..., 1] - 0.6) / 2.0)
    away = np.clip((near - 0.45) / 0.15, 0, 1) * np.clip((hole - 0.6) / 0.2, 0, 1) * np.clip((socket - 1) / 0.1, 0, 1)
    return away.astype(np.float32)


def mirrored(atlas: np.ndarray) -> np.ndarray:
    """The other side's texels: UV is symmetric about u = 0.5."""
    return atlas[:, ::-1]


def low_pass(
    log_albedo: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"], share: float
) -> Float32[np.ndarray, "s s 3"]:
    """Weighted blur with a sigma of `share` of the atlas, computed small. Weightless places take what is near."""
    size = log_albedo.shape[0]
    n = 96
    w = cv2.resize(weight, (n, n), interpolation=cv2.INTER_AREA) + 1e-4
    x = cv2.resize(log_albedo * (weight + 1e-4)[..., None], (n, n), interpolation=cv2.INTER_AREA)
    near_w, near = cv2.GaussianBlur(w, (0, 0), share * n), cv2.GaussianBlur(x, (0, 0), share * n)
    far_w, far = cv2.GaussianBlur(w, (0, 0), 4 * share * n), cv2.GaussianBlur(x, (0, 0), 4 * share * n)
    wide = far / (far_w[..., None] + 1e-6)
    out = (near + 0.02 * wide) / (near_w[..., None] + 0.02)
    return cv2.resize(out.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _step(off: Float32[np.ndarray, "s s 3"], weight: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s 3"]:
    """What a fill is still off by right beside what was seen, carried a little way into it: else there would be a line."""
    sigma = EDGE_SHARE * len(weight)
    near = cv2.GaussianBlur(weight, (0, 0), sigma)
    known = cv2.GaussianBlur(off * weight[..., None], (0, 0), sigma) / np.maximum(near, 1e-4)[..., None]
    return known * np.clip(near / 0.2, 0, 1)[..., None]


def _without_lines(
    log_albedo: Float32[np.ndarray, "s s 3"], confidence: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s 3"]:
    """Without what runs down the cheek beside what was not seen: the bleeding colour of hair, once for each look that fills.

    Every single line is weak; on a plate with even skin they are streaks. A line is what differs from the skin on both sides and
    stays when averaged downwards, which pores, freckles and stubble do not.
    """
    size, n = len(confidence), min(len(confidence), LINES_SIZE)
    shown = cv2.resize(confidence, (n, n), interpolation=cv2.INTER_AREA)
    outside = _outside(shown)
    edge = cv2.distanceTransform(1 - outside, cv2.DIST_L2, 5) + cv2.distanceTransform(outside, cv2.DIST_L2, 5)
    zone = (np.clip(2 - edge / (BESIDE_SHARE * n), 0, 1) * _cheek(n)).astype(np.float32)
    zone = cv2.GaussianBlur(zone, (0, 0), 0.01 * n) * _cheek(n)
    inside = (zone > 0).astype(np.float32)

    def mean(values: Float32[np.ndarray, "n n 3"], across: float, down: float) -> Float32[np.ndarray, "n n 3"]:
        weight = cv2.GaussianBlur(inside, (0, 0), sigmaX=across, sigmaY=down)
        total = cv2.GaussianBlur(values * inside[..., None], (0, 0), sigmaX=across, sigmaY=down)
        return (total / np.maximum(weight, 1e-3)[..., None]).astype(np.float32)

    skin = cv2.resize(log_albedo, (n, n), interpolation=cv2.INTER_AREA)
    lines = mean(skin - mean(skin, LINE_SHARE * n, 0.5), 0.5, 2 * LINE_SHARE * n) * zone[..., None]
    return log_albedo - cv2.resize(lines, (size, size), interpolation=cv2.INTER_LINEAR)


def completed(
    albedo: Float32[np.ndarray, "s s 3"],
    confidence: Float32[np.ndarray, "s s"],
    prior: Float32[np.ndarray, "s s 3"] | None,
) -> tuple[Float32[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
    """Fill what the source did not show: the person's fused skin if given, else the other side, else a smooth continuation.

    Only detail is borrowed; the tone continues the surroundings, so a fill has no edge.
    """
    eps = 1e-3
    log_own = np.log(albedo + eps)
    tails, cheeks = _run_out(albedo.shape[0])
    whole = 1 - np.maximum(
        tails * (1 - _inwards(confidence, TAIL_SHARE)), cheeks * (1 - _inwards(confidence, CHEEK_SHARE))
    )
    # The tone to continue is that of skin: brows, lashes and lips must not smear into the fill, nor what is half hair.
    clear = confidence * np.clip(2.5 * confidence - 0.75, 0, 1) * _away_from_features(albedo.shape[0])
    if prior is None:
        other, other_conf, other_clear = (
            np.ascontiguousarray(mirrored(a)) for a in (albedo, confidence * whole, clear)
        )
        log_other = np.log(other + eps)
        # Both tones are of skin alone: were the other's darkened by a brow, lids beside it would come out bright.
        detail = (log_other - low_pass(log_other, other_clear * other_conf, 0.04)) * other_conf[..., None]
        fill = low_pass(log_own, clear, 0.04) + detail
    else:
        log_other = np.log(prior + eps)
        fill = log_other + low_pass(log_own - log_other, clear, 0.04)
    fill = fill + _step(log_own - fill, clear)
    k = cv2.GaussianBlur(np.clip(confidence * 1.5, 0, 1), (0, 0), max(albedo.shape[0] / 200, 0.8))
    k = (whole * np.minimum(k, np.clip(confidence * 2.5, 0, 1)))[..., None]
    out = np.exp(_without_lines((k * log_own + (1 - k) * fill).astype(np.float32), confidence)) - eps
    return np.maximum(out, 0).astype(np.float32), np.round(255 * np.clip(confidence, 0, 1)).astype(np.uint8)
