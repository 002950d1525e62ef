"""Which clips and photographs the matte is trained, validated and tested on, and their aligned crops with base labels.

A base is a crop (224 px, margin 1.8) of a face with nothing pasted on it yet, a label (1 face, 0 not) and a weight (0 where
nobody knows). Inside the mesh hull, hair is found by GrabCut seeded with the mesh: the core of the face is sure, the rim is
decided by colour. The lists were chosen by looking at contact sheets; one identity is only ever in one list.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import crop as crop_module
import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

BASE = 224
BASE_MARGIN = 1.8

# name: (number of frames, rule). `hair`: GrabCut decides the rim. `clear`: nothing on the face, the whole hull is face.
# `locks`: as `hair`, and dark hair that hangs in from the hull's edge is hair, also over an eye.
# `open`: the rim is left unknown (GrabCut is fooled by light on this clip); the core is face.
Rule = tuple[int, str]
TRAIN: dict[str, Rule] = {
    "dance_small_face": (14, "hair"),
    "emotion_contempt": (30, "hair"),
    "emotion_disgusted": (36, "hair"),
    "emotion_happy": (30, "hair"),
    "emotion_surprised": (44, "open"),
    "expressions_tilt": (44, "hair"),
    "expressions_yaw": (50, "hair"),
    "eyes_rolled_12fps": (40, "hair"),
    "face_then_none": (20, "hair"),
    "smile_30fps": (10, "hair"),
    "grid_talk_1": (26, "hair"),
    "grin_greenscreen": (26, "hair"),
    "happy_talk": (40, "locks"),
    "laugh_15fps": (30, "hair"),
    "outdoors_small": (30, "open"),
    "presenter_portrait_1080x1920": (40, "hair"),
    "sign_yes": (20, "hair"),
    "talk_700px": (30, "hair"),
    "waist_up": (30, "hair"),
    "wide_turns_lamp": (50, "hair"),
    "two_at_table_720p": (40, "open"),
    "puffed_cheeks": (50, "hair"),
    "turn_window_720p": (40, "hair"),
    "rage_fast": (60, "hair"),
    "grid_talk_2": (30, "hair"),
    "group-1": (99, "open"),
    "group-2": (99, "open"),
    "group-3": (99, "open"),
    "stock-group-1": (99, "open"),
    **{f"stock-emotions-a-{k}": (1, "open") for k in range(1, 9)},
    **{f"man_{k:02d}": (1, "hair") for k in (0, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19)},
    **{f"openhand_{k:02d}": (1, "hair") for k in range(30)},
    **{f"woman_{k:02d}": (1, "hair") for k in (20, 21, 26, 30, 34, 36, 37, 39)},
}
OFTEN = {"happy_talk": 6.0}
"""Seen more often than their frames would be: the first three stages learnt the hair over this clip's eye as face."""
VAL: dict[str, Rule] = {"emotion_sad": (30, "hair"), "grid_talk_3": (30, "hair")}
TEST: dict[str, Rule] = {
    "grimaces_long": (40, "hair"),
    "crying_man": (20, "hair"),
    "emotion_fear": (30, "open"),
    "webcam_hand_at_chin": (30, "hair"),
}
# Faces of the group photographs with something in front of them, or with a mesh that misses.
SKIP = {("group-1", 13), *(("stock-group-1", k) for k in (0, 2, 3, 6, 7, 9, 10, 11, 12, 13, 14, 15))}
# Two training clips wear glasses: rims, bridge and temples were drawn by hand on the first frame (base crop pixels) and
# follow the mesh by a similarity of the points round the eyes.
Line = tuple[tuple[float, float], ...]
GLASSES: dict[str, tuple[Line, ...]] = {
    "puffed_cheeks": (
        ((60.5, 89), (62, 84), (66, 80), (73, 78.3), (82, 78.3), (91, 80), (97, 84), (100.5, 89), (100.5, 95), (98, 101),
         (92, 107), (84, 110), (76, 110), (69, 107), (63.5, 101), (60.8, 95), (60.5, 89)),
        ((114.5, 88), (116.5, 84), (121, 80), (128, 77.8), (138, 77.3), (147, 79), (153, 83), (155.3, 88.5), (155, 94),
         (152, 101), (147, 106.5), (139, 109.5), (131, 109.5), (124, 106.5), (118.5, 101), (115, 95), (114.5, 88)),
        ((100, 87.6), (115, 87.3)), ((54, 88.5), (60.5, 88)), ((155, 87.5), (164, 87.3)),
        ((99.5, 93), (99, 97)), ((115.5, 93), (117, 97)),
    ),
    "grid_talk_2": (
        ((79, 84), (79.5, 91), (83, 95), (90, 97), (98, 97), (105, 94), (108.5, 89), (110, 84), (107, 80.5), (98, 79.5),
         (86, 79.5), (80, 81), (79, 84)),
        ((121, 85), (122.5, 90), (126, 95), (133, 97), (142, 97), (150, 95), (153.5, 90), (154, 85), (150, 80.5),
         (140, 79.5), (128, 80), (122, 81.5), (121, 85)),
        ((109.5, 83.5), (113, 81.7), (119, 82), (121.5, 84)), ((67, 88), (72, 86), (78, 84.5)), ((154, 86), (160, 88)),
    ),
}  # fmt: skip
EYE_AREA = (33, 133, 362, 263, 168, 6, 197)
REAL = (
    "sad_glasses_dark", "laugh_glasses", "glasses_studio", "webcam_hand_at_chin", "funny_hand_chin", "sign_eat",
    "sign_thanks", "sign_hungry", "stage_mic_three", "two_people_pass_in_front", "dance_hands_face", "talk_200s",
    "emotion_fear", "grimaces_long", "crying_man",
)  # fmt: skip
"""Never trained on, looked at as they are."""


def source_files(data: Path) -> dict[str, Path]:
    """Name to file of every clip and photograph below the data folder (its `reference/` is left out: GPL)."""
    found = [p for folder in ("clips", "photos", "people_synthetic") for p in sorted((data / folder).iterdir())]
    return {p.stem: p for p in found}


def pictures(path: Path, indexes: list[int]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pictures (BGR) of the asked frames of a clip, in order; a photograph answers every index."""
    if path.suffix in (".jpg", ".png"):
        picture = cv2.imread(str(path))
        for _ in indexes:
            yield picture
        return
    import av

    wanted, last = set(indexes), max(indexes)
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for k, frame in enumerate(container.decode(video=0)):
            if k in wanted:
                yield frame.to_ndarray(format="bgr24")
            if k >= last:
                return


def aligned(picture: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "n 2"], size: int, margin: float):
    """The crop and the mesh in its pixels. Outside the picture the border is repeated, in training as at run time."""
    crop_from_px = crop_module.crop_from_mesh(points_px, size, margin)
    flags = cv2.INTER_AREA if crop_from_px[0, 0] < 0.5 else cv2.INTER_LINEAR
    # A strong reduction first shrinks the picture, else thin things alias.
    scale = float(np.hypot(*crop_from_px[0, :2]))
    if scale < 0.6:
        picture = cv2.resize(picture, None, fx=scale * 1.5, fy=scale * 1.5, interpolation=cv2.INTER_AREA)
        points_px = (np.asarray(points_px) + 0.5) * scale * 1.5 - 0.5
        crop_from_px = crop_module.crop_from_mesh(points_px, size, margin)
        flags = cv2.INTER_LINEAR
    warped = cv2.warpAffine(picture, crop_from_px, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped, crop_module.apply(crop_from_px, points_px).astype(np.float32)


def face_core(points: Float[np.ndarray, "n 2"], size: int) -> UInt8[np.ndarray, "size size"]:
    """1 where a face is certain on an unoccluded picture: brows to chin, a tenth of the face inside the hull's edge."""
    extent = np.ptp(points[list(crop_module.OVAL), 1])
    hull = (crop_module.hull_mask(points, size) > 127).astype(np.uint8)
    inner = cv2.erode(hull, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(0.22 * extent) | 1,) * 2))
    brow_top = points[[105, 334, 66, 296], 1].min()
    inner[: max(int(brow_top), 0)] = 0
    jaw = cv2.erode(hull, np.ones((5, 5), np.uint8))
    jaw[: int(points[[61, 291], 1].mean())] = 0
    brows = np.zeros_like(hull)
    for part in ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)):
        cv2.fillConvexPoly(brows, cv2.convexHull(np.round(points[list(part), :2]).astype(np.int32)), 1)
    return ((inner | jaw | brows) & hull).astype(np.uint8)


def label_of(
    picture: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "n 2"], rule: str
) -> tuple[UInt8[np.ndarray, "s s"], UInt8[np.ndarray, "s s"]]:
    """Label and weight (0..255) of a base crop under the clip's rule; nothing is in front of it but perhaps hair.

    The label means something only where the weight is not 0; outside the hull it is 255 with weight 0.
    """
    size = len(picture)
    hull = crop_module.hull_mask(points, size)
    inside = hull > 127
    core = face_core(points, size)
    extent = int(np.ptp(points[list(crop_module.OVAL), 1]))
    ellipse = lambda r: cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1,) * 2)  # noqa: E731
    if rule == "clear":
        return np.full_like(hull, 255), np.where(inside, 255, 0).astype(np.uint8)
    if rule == "open":
        safe = cv2.erode(inside.astype(np.uint8), ellipse(extent // 12))
        safe[: int(points[[105, 334], 1].min() - 0.06 * extent)] = 0
        return np.full_like(hull, 255), np.where(safe | core, 255, 0).astype(np.uint8)
    mask = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    far = cv2.dilate(inside.astype(np.uint8), ellipse(extent // 8)) == 0
    mask[far] = cv2.GC_BGD
    mask[core > 0] = cv2.GC_FGD
    # The neck has the face's colour: it must not teach the background model.
    chin = int(points[list(crop_module.OVAL), 1].max())
    use = slice(0, min(chin + 4, size))
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)
    part = np.ascontiguousarray(mask[use])
    cv2.setRNGSeed(1)
    cv2.grabCut(
        np.ascontiguousarray(lab[use]), part, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK
    )
    mask[use] = part
    face = (((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)) & inside).astype(np.uint8)
    face = cv2.morphologyEx(face, cv2.MORPH_OPEN, ellipse(2)) | core
    face = cv2.morphologyEx(face, cv2.MORPH_CLOSE, ellipse(2)) & inside
    # Outside the hull nothing is known; calling it face there keeps the label from fading at the hull's own edge.
    label = 255 - cv2.GaussianBlur((inside & (face == 0)).astype(np.uint8) * 255, (0, 0), 0.7)
    weight = np.where(inside, 255, 0).astype(np.uint8)
    edge = cv2.dilate(face, ellipse(2)) != cv2.erode(face, ellipse(2))
    weight[edge & cv2.erode(inside.astype(np.uint8), ellipse(2)).astype(bool)] = 60  # GrabCut's edge is a guess
    return cut_locks(picture, points, label, weight) if rule == "locks" else (label, weight)


def cut_locks(
    picture: UInt8[np.ndarray, "s s 3"],
    points: Float[np.ndarray, "n 2"],
    label: UInt8[np.ndarray, "s s"],
    weight: UInt8[np.ndarray, "s s"],
) -> tuple[UInt8[np.ndarray, "s s"], UInt8[np.ndarray, "s s"]]:
    """Label and weight with dark hair over the core taken out: what is dark, broader than a brow and hangs together with hair that
    GrabCut found. Unknown along its edge."""
    disc = lambda r: cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1,) * 2)  # noqa: E731
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (0, 0), 1.0)
    inside = crop_module.hull_mask(points, len(picture)) > 127
    skin = float(np.median(grey[face_core(points, len(picture)) > 0]))
    dark = ((grey < 0.62 * skin) & inside).astype(np.uint8)
    broad = cv2.morphologyEx(dark, cv2.MORPH_OPEN, disc(3))
    _, parts = cv2.connectedComponents(broad)
    found = np.unique(parts[(label < 128) & (broad > 0)])
    hair = np.isin(parts, found[found > 0]).astype(np.uint8)
    eyes = np.zeros_like(hair)
    for ring in ((33, 160, 159, 158, 133, 153, 145, 144), (263, 387, 386, 385, 362, 380, 374, 373)):
        cv2.fillConvexPoly(eyes, cv2.convexHull(np.round(points[list(ring), :2]).astype(np.int32)), 1)
    eyes = cv2.dilate(eyes, disc(2))  # irises and lashes are dark too, and touch the hair
    unknown = ((cv2.dilate(hair, disc(2)) > 0) & (cv2.erode(hair, disc(1)) == 0)) | ((eyes > 0) & (hair > 0))
    hair[eyes > 0] = 0
    label = np.minimum(label, 255 - cv2.GaussianBlur(hair * 255, (0, 0), 0.7))
    return label, np.where(unknown & inside, 0, weight).astype(np.uint8)


def cut_glasses(
    label: UInt8[np.ndarray, "s s"],
    weight: UInt8[np.ndarray, "s s"],
    lines: tuple[Line, ...],
    now_from_first: Float[np.ndarray, "2 3"],
) -> tuple[UInt8[np.ndarray, "s s"], UInt8[np.ndarray, "s s"]]:
    """Label and weight with hand-drawn glasses taken out: 0 on the lines, unknown within three pixels of them."""
    rim, band = np.zeros_like(label), np.zeros_like(label)
    for line in lines:
        moved = np.array(line) @ now_from_first[:, :2].T + now_from_first[:, 2]
        fixed = [np.round(moved * 16).astype(np.int32)]
        cv2.polylines(rim, fixed, False, 255, 2, cv2.LINE_AA, 4)
        cv2.polylines(band, fixed, False, 255, 8, cv2.LINE_8, 4)
    unknown = (band > 0) & (rim < 200)
    return np.minimum(label, 255 - rim), np.where(unknown, 0, weight).astype(np.uint8)


def turn(points: Float[np.ndarray, "n 2"]) -> float:
    """How far the head is turned: the nose's tip off the middle of the oval's box over its width; 0 frontal, 0.5 profile."""
    oval = points[list(crop_module.OVAL), 0]
    return float(abs(points[1, 0] - (oval.min() + oval.max()) / 2) / np.ptp(oval))


def labelled(
    data: Path, tracks: Path, names: dict[str, Rule]
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(clip, frame, crop BGR, mesh, label, weight) of every usable base."""
    first: dict[str, np.ndarray] = {}
    for name, frame, picture, points, rule in collect(data, tracks, names):
        if (name, frame) in SKIP or turn(points) > 0.45:  # beyond, the hull is not the face
            continue
        label, weight = label_of(picture, points, rule)
        if name in GLASSES:
            start = first.setdefault(name, points)
            area = list(EYE_AREA)
            now_from_first, _ = cv2.estimateAffinePartial2D(start[area], points[area], method=cv2.LMEDS)
            label, weight = cut_glasses(label, weight, GLASSES[name], now_from_first)
        yield name, frame, picture, points, label, weight


def collect(data: Path, tracks: Path, names: dict[str, Rule]) -> Iterator[tuple[str, int, np.ndarray, np.ndarray, str]]:
    """(clip, frame, crop 224 BGR, mesh in crop pixels, rule) of every listed base, frames spread evenly over the clip."""
    files = source_files(data)
    for name, (count, rule) in names.items():
        track = np.load(tracks / f"{name}.npz")
        frames: Int[np.ndarray, " n"] = track["i"]
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int))
        for k, picture in zip(chosen, pictures(files[name], [int(frames[k]) for k in chosen]), strict=True):
            crop, points = aligned(picture, track["p"][k][:, :2].astype(np.float64), BASE, BASE_MARGIN)
            yield name, int(frames[k]), crop, points, rule
