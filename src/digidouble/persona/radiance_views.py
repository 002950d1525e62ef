"""Pictures of a fitted radiance field for people: how the fit went, and moments of the person beside what was filmed."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.perception.radiance import FieldView
from digidouble.perception.uvgrid import uv_grid
from digidouble.persona.exposures import Exposures
from digidouble.persona.radiance_fit import Fitted
from digidouble.schema.colour import display_rgb8
from digidouble.schema.transfer import srgb_decode

CELL, MOMENTS = 192, 6
PAPER, INK, LINE, FIRST = 250, (60, 60, 60), (30, 90, 200), (160, 160, 160)


def fit_sheet(fitted: Fitted, exposures: Exposures) -> UInt8[np.ndarray, "h w 3"]:
    """The curve on top; below, filmed skin and the field's answer in UV for moments from calm to lively."""
    width = MOMENTS * CELL
    rows = _moments(exposures)
    view = FieldView(fitted.radiance, CELL)
    covered = uv_grid(CELL).covered[..., None]
    filmed, answered = [], []
    for i in rows:
        lit = cv2.resize(exposures.lit[i].astype(np.float32), (CELL, CELL), interpolation=cv2.INTER_LINEAR)
        atlas, _ = view.atlas(exposures.conditions[i], exposures.slant[i])
        atlas = cv2.resize(atlas, (CELL, CELL), interpolation=cv2.INTER_LINEAR)
        answered.append(np.where(covered, display_rgb8(np.clip(atlas * lit, 0, 1)), PAPER))
        seen = cv2.resize(exposures.display[i].astype(np.float32), (CELL, CELL), interpolation=cv2.INTER_LINEAR)
        filmed.append(np.where(covered, display_rgb8(srgb_decode(np.clip(seen, 0, 1))), PAPER))
    blank = [np.full((CELL, CELL, 3), PAPER)] * (MOMENTS - len(rows))
    bands = [
        _curve(fitted, width),
        _said("filmed", width),
        np.hstack(filmed + blank),
        _said("the field", width),
        np.hstack(answered + blank),
    ]
    return np.vstack(bands).astype(np.uint8)


def _moments(exposures: Exposures) -> list[int]:
    """From the calmest to the liveliest."""
    effort = np.linalg.norm(exposures.conditions - np.median(exposures.conditions, axis=0), axis=1)
    order = np.argsort(effort, kind="stable")
    return [int(order[k]) for k in np.unique(np.linspace(0, len(order) - 1, MOMENTS).round().astype(int))]


def _said(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    page = np.full((26, width, 3), PAPER, np.uint8)
    cv2.putText(page, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return page


def _curve(fitted: Fitted, width: int, height: int = 200) -> UInt8[np.ndarray, "h w 3"]:
    """PSNR on the frames left out, by step."""
    page = np.full((height, width, 3), PAPER, np.uint8)
    points = np.array([(step, value) for _, step, value in fitted.curve], float).reshape(-1, 2)
    facts = f"{int(fitted.radiance.quality['frames'])} frames, {fitted.stopped_at} steps kept, {fitted.seconds:.0f} s on {fitted.device}"
    cv2.putText(page, facts, (12, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    if len(points) < 2:
        return page
    low, high = points[:, 1].min() - 0.1, points[:, 1].max() + 0.1
    for value in (points[:, 1].min(), points[:, 1].max()):
        y = _at(value, low, high, height)
        cv2.line(page, (70, y), (width - 12, y), FIRST, 1)
        cv2.putText(page, f"{value:.2f} dB", (6, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
    x = 70 + (width - 90) * points[:, 0] / max(points[:, 0].max(), 1)
    y = [_at(v, low, high, height) for v in points[:, 1]]
    cv2.polylines(page, [np.stack([x.round().astype(np.int32), np.array(y, np.int32)], 1)], False, LINE, 2, cv2.LINE_AA)
    return page


def _at(value: float, low: float, high: float, height: int) -> int:
    return round(height - 15 - (height - 55) * (value - low) / max(high - low, 1e-6))
