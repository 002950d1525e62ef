"""Depth that does not flicker: every frame's map agrees with its neighbours' along the motion of what is seen, both ways, without lag.

A cell is followed through the kept flow to the frames before and after. Of what it meets there a median says what is common, and
a mean weighted by nearness in time and to that median is kept. Frames count only in pairs, as many before as after: a face that comes
nearer is neither ahead nor late.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digidouble.schema.modalities import MODAL_SIZE

REACH = 4  # frames on each side
BELL = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / 2.0) ** 2).astype(np.float32)
LIKE_CM, LIKE_SHARE = 0.6, 0.05  # cells that differ from the median by this, and this share of its depth, count 0.6
_CENTRES = 2.0 * np.arange(MODAL_SIZE) + 0.5  # of cells, in crop pixels


def steadied(
    depth_cm: Float[np.ndarray, "n s s"],
    flow_next_px: Float[np.ndarray, "n s s 2"],
    flow_last_px: Float[np.ndarray, "n s s 2"],
    linked: np.ndarray,
    px_from_crop: Float[np.ndarray, "n 2 3"],
    rows: range,
) -> Float32[np.ndarray, "r s s"]:
    """The maps of `rows`. `linked[i]`: whether frame i + 1 shows the same run, so that flow leads there and back."""
    depth = depth_cm.astype(np.float32)
    out = np.empty((len(rows), *depth.shape[1:]), np.float32)
    for k, t in enumerate(rows):
        after = _linked_run(linked[t : t + REACH])
        before = _linked_run(linked[max(t - REACH, 0) : t][::-1])
        reach = min(after, before)
        met, seen = [depth[t]], [np.ones(depth.shape[1:], bool)]
        for step, flows in ((1, flow_next_px), (-1, flow_last_px)):
            at = _plate_px(px_from_crop[t])
            for i in range(1, reach + 1):
                here = t + step * (i - 1)
                at = at + _sampled(flows[here].astype(np.float32), _cells(at, px_from_crop[here]))
                cells = _cells(at, px_from_crop[here + step])
                met.append(_looked_up(depth[here + step], cells))
                seen.append(np.asarray(((cells >= -0.5) & (cells <= MODAL_SIZE - 0.5)).all(-1), bool))
        out[k] = _common(np.stack(met), np.stack(seen), reach)
    return out


def _linked_run(linked: np.ndarray) -> int:
    """How many from the start are true."""
    return int(np.argmin(linked)) if not linked.all() else len(linked)


def _common(met: Float32[np.ndarray, "k s s"], seen: np.ndarray, reach: int) -> Float32[np.ndarray, "s s"]:
    """Mean around the median. Order: the frame itself, those after it, those before it; a pair counts if both were seen."""
    if reach == 0:
        return met[0]
    both = seen[1 : reach + 1] & seen[reach + 1 :]
    seen = np.concatenate([seen[:1], both, both])
    values = np.where(seen, met, met[0])
    middle = np.median(values, axis=0)
    time = np.concatenate([BELL[REACH : REACH + 1], np.tile(BELL[REACH + 1 : REACH + reach + 1], 2)])
    like = LIKE_CM + LIKE_SHARE * np.abs(middle)
    weight = time[:, None, None] * seen * np.exp(-0.5 * ((values - middle) / like) ** 2)
    total = weight.sum(0)
    return np.where(total > 1e-4, (weight * values).sum(0) / np.maximum(total, 1e-4), middle).astype(np.float32)


def _plate_px(px_from_crop: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "s s 2"]:
    at = np.stack(np.meshgrid(_CENTRES, _CENTRES), -1)
    return at @ px_from_crop[:, :2].T.astype(np.float64) + px_from_crop[:, 2]


def _cells(px: Float[np.ndarray, "s s 2"], px_from_crop: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "s s 2"]:
    inverse = cv2.invertAffineTransform(px_from_crop.astype(np.float64))
    return (px @ inverse[:, :2].T + inverse[:, 2] - 0.5) / 2


def _looked_up(depth: Float32[np.ndarray, "s s"], cells: Float[np.ndarray, "s s 2"]) -> Float32[np.ndarray, "s s"]:
    """Depth between cells; at a step from face to background the nearer cell's, for there is nothing between."""
    column, row = (np.clip(np.rint(cells[..., i]), 0, MODAL_SIZE - 1).astype(int) for i in (0, 1))
    nearest = depth[row, column]
    between = _sampled(depth, cells)
    return np.where(np.abs(between - nearest) < LIKE_CM, between, nearest)


def _sampled(values: np.ndarray, cells: Float[np.ndarray, "s s 2"]) -> np.ndarray:
    x, y = (np.ascontiguousarray(cells[..., i], np.float32) for i in (0, 1))
    return cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
