"""Contact sheets: rows of pictures with captions, on one dark page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import UInt8

from digidouble.errors import SettingsError

if TYPE_CHECKING:
    from PIL import ImageFont

MAX_SHEET_PIXELS = 200_000_000
_PAGE, _INK, _EMPTY = (24, 25, 28), (226, 228, 232), (40, 42, 47)


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, ...]]],
    captions: Sequence[Sequence[str]] | None = None,
    row_titles: Sequence[str] | None = None,
    cell_height: int = 240,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay out pictures in rows.

    Every picture is fitted into its column's cell, aspect kept; the cell's width follows the widest picture of the
    column. Rows may be of different lengths. Captions stand below their pictures, cut with an ellipsis where they are
    too long; characters the built-in font lacks are shown as boxes.

    Args:
        rows: display-referred RGB (h, w, 3) or gray (h, w), 8 bits, any sizes.
        captions: one for each picture, in the same rows; shorter rows are padded with nothing.
        row_titles: one for each row, above it.
        cell_height: height of every picture on the sheet, in pixels, 32..2160.

    Raises:
        SettingsError: no picture, one that is not UInt8 RGB or gray, or a sheet over 200 megapixels.
    """
    if not rows or not any(len(row) for row in rows):
        raise SettingsError("contact sheet: expected at least one picture")
    if not 32 <= cell_height <= 2160:
        raise SettingsError(f"contact sheet: expected cells of 32 to 2160 pixels, got {cell_height}")
    cells = [[_fitted(picture, cell_height) for picture in row] for row in rows]
    columns = max(len(row) for row in cells)
    widths = [max(row[c].shape[1] for row in cells if c < len(row)) for c in range(columns)]
    gap = max(4, cell_height // 30)
    text = max(12, cell_height // 14)
    caption_h = round(1.7 * text) if captions is not None else 0
    title_h = round(2.0 * text) if row_titles is not None else 0
    page_w = sum(widths) + gap * (columns + 1)
    page_h = gap + len(rows) * (title_h + cell_height + caption_h + gap)
    if page_w * page_h > MAX_SHEET_PIXELS:
        raise SettingsError(f"contact sheet: {page_w}x{page_h} is too large; use fewer pictures or smaller cells")
    page = np.full((page_h, page_w, 3), _PAGE, np.uint8)
    y = gap
    for r, row in enumerate(cells):
        if row_titles is not None and r < len(row_titles):
            draw_text(page[y : y + title_h, gap : page_w - gap], row_titles[r], round(1.2 * text))
        y += title_h
        x = gap
        for c, cell in enumerate(row):
            h, w = cell.shape[:2]
            page[y : y + cell_height, x : x + widths[c]] = _EMPTY
            top, left = y + (cell_height - h) // 2, x + (widths[c] - w) // 2
            page[top : top + h, left : left + w] = cell
            if captions is not None and r < len(captions) and c < len(captions[r]):
                draw_text(page[y + cell_height : y + cell_height + caption_h, x : x + widths[c]], captions[r][c], text)
            x += widths[c] + gap
        y += cell_height + caption_h + gap
    return page


def draw_text(area: UInt8[np.ndarray, "h w 3"], text: str, size: int) -> None:
    """Write one line into an area in place, centred vertically, cut with an ellipsis where it is too long."""
    from PIL import Image, ImageDraw

    font = _font(size)
    line = " ".join(text.split())
    if font.getlength(line) > area.shape[1]:
        while line and font.getlength(line + "...") > area.shape[1]:
            line = line[:-1]
        line += "..."
    canvas = Image.fromarray(np.ascontiguousarray(area))
    ImageDraw.Draw(canvas).text((0, area.shape[0] // 2), line, font=font, fill=_INK, anchor="lm")
    area[...] = np.asarray(canvas)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise SettingsError("Pillow was built without FreeType: install the wheel from PyPI to draw captions")
    return font


def _fitted(picture: UInt8[np.ndarray, ...], height: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at the given height, at most four times as wide as high."""
    gray = picture.ndim == 2
    if picture.dtype != np.uint8 or not (gray or (picture.ndim == 3 and picture.shape[2] == 3)) or not picture.size:
        raise SettingsError(f"contact sheet: expected 8-bit RGB or gray, got {picture.dtype} {picture.shape}")
    h, w = picture.shape[:2]
    scale = min(height / h, 4 * height / w)
    size_wh = max(1, round(w * scale)), max(1, round(h * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(picture, size_wh, interpolation=method)
    return np.repeat(fitted[..., None], 3, axis=2) if gray else fitted
