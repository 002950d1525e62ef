"""Text laid over a delivery: a line for the viewer it is made for, in the viewer's language.

Drawn like the visible label, into the frame's own samples; those outside its rectangle keep their exact values. The font is the one
named, or Pillow's own (Latin; the same on every machine), or else this machine's that have the characters.
"""

from __future__ import annotations

import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from digidouble.deliver.visible_label import draw_letters
from digidouble.errors import SettingsError
from digidouble.schema.frame import Frame, Roi

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

Place = Literal["top", "centre", "bottom", "top_left", "top_right", "bottom_left", "bottom_right"]
PLACES: tuple[Place, ...] = ("top", "centre", "bottom", "top_left", "top_right", "bottom_left", "bottom_right")
MAX_TEXT = 200
MAX_LINES = 4
_BOX_DARKNESS, _TEXT_OPACITY = 0.45, 0.96
_WIDEST = 0.9  # of the picture
_MAX_FONT_BYTES = 64 << 20
# Scripts whose letters join or reorder; without a shaping engine they would be drawn wrong.
_SHAPED = (
    "ARABIC",
    "HEBREW",
    "SYRIAC",
    "DEVANAGARI",
    "BENGALI",
    "TAMIL",
    "TELUGU",
    "THAI",
    "KHMER",
    "MYANMAR",
    "GUJARATI",
)
# Fonts of many scripts first, by the names systems ship them under.
_WIDE_FONTS = (
    "notosanscjk", "sourcehan", "pingfang", "msyh", "hiragino", "droidsansfallback", "wqy", "simhei", "arialuni",
    "notosans-regular", "dejavusans.",
)  # fmt: skip


@dataclass(frozen=True)
class TextOverlay:
    """What is written, where and when.

    Attributes:
        text: up to 200 characters; it is wrapped where it is wider than the picture.
        place: where in the picture.
        height: height of a line over the shortest side of the picture, 0.02..0.3.
        start_s, end_s: seconds from the first delivered frame; None is to the end.
        box: a dark box behind the letters.
        font: a .ttf, .otf or .ttc file; "" finds some that have the characters.
    """

    text: str
    place: Place = "bottom"
    height: float = 0.07
    start_s: float = 0.0
    end_s: float | None = None
    box: bool = True
    font: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip() or len(self.text) > MAX_TEXT:
            raise SettingsError(f"overlay text: expected 1 to {MAX_TEXT} characters, got {len(self.text)}")
        hidden = [
            c for c in self.text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and c != "\n"
        ]
        if hidden:  # controls, and marks that reverse the reading direction
            raise SettingsError(f"overlay text {self.text[:40]!r}: U+{ord(hidden[0]):04X} is not a printed character")
        if self.place not in PLACES:
            raise SettingsError(f"overlay place {self.place!r}: expected one of {', '.join(PLACES)}")
        if not 0.02 <= self.height <= 0.3:
            raise SettingsError(f"overlay height: expected 0.02 to 0.3 of the shortest side, got {self.height}")
        if self.start_s < 0 or (self.end_s is not None and self.end_s <= self.start_s):
            raise SettingsError(f"overlay time: expected 0 <= start < end, got {self.start_s} to {self.end_s}")


@dataclass(frozen=True)
class DrawnOverlay:
    """An overlay as pixels for pictures of one size: rectangle, letters (0 black .. 1 white) and cover (0..1)."""

    roi: Roi
    letters: Float[np.ndarray, "h w"]
    cover: Float[np.ndarray, "h w"]
    start_s: float
    end_s: float | None

    def shown_at(self, seconds: float) -> bool:
        return self.start_s <= seconds and (self.end_s is None or seconds < self.end_s)

    def over(self, frame: Frame) -> Frame:
        """A copy of the frame with the text in it."""
        return draw_letters(frame, self.roi, self.letters, self.cover)


def draw_overlay(overlay: TextOverlay, size_wh: tuple[int, int]) -> DrawnOverlay:
    """The overlay for pictures of this size.

    Raises:
        SettingsError: no font has its characters, or it does not fit into the picture.
    """
    from PIL import Image, ImageDraw

    text = unicodedata.normalize("NFC", overlay.text)
    line_h = max(8, round(overlay.height * min(size_wh)))
    typeface = typeface_for(text, overlay.font, round(0.8 * line_h))
    lines = _wrapped(text, typeface, _WIDEST * size_wh[0] - line_h)
    pad = round(0.35 * line_h)
    w = min(_even(max(int(np.ceil(typeface.length(line))) for line in lines) + 2 * pad), size_wh[0] & ~1)
    h = _even(line_h * len(lines) + pad)
    if h > 0.6 * size_wh[1] or w < 2:
        raise SettingsError(
            f"overlay {text[:40]!r}: {len(lines)} lines do not fit a {size_wh[0]}x{size_wh[1]} picture; shorten it or lower its height"
        )
    canvas = Image.new("L", (w, h), 0)
    pen = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        typeface.write(pen, line, w / 2, pad / 2 + (i + 0.78) * line_h)
    ink = _TEXT_OPACITY * np.asarray(canvas, np.float32) / 255.0
    cover = ink + (1.0 - ink) * (_BOX_DARKNESS if overlay.box else 0.0)
    letters = np.divide(ink, cover, out=np.zeros_like(ink), where=cover > 0)
    return DrawnOverlay(_roi(overlay.place, (w, h), size_wh), letters, cover, overlay.start_s, overlay.end_s)


@dataclass(frozen=True)
class Typeface:
    """Fonts that have a text's characters between them: a name in Chinese may stand in an English line."""

    fonts: tuple[ImageFont.FreeTypeFont, ...]
    of: Mapping[str, int]

    def runs(self, line: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """Pieces of a line that are of one font; blanks stay with the piece before them."""
        last = next((self.of[c] for c in line if not c.isspace()), 0)
        piece = ""
        for character in line:
            font = last if character.isspace() else self.of[character]
            if font != last:
                yield self.fonts[last], piece
                piece, last = "", font
            piece += character
        if piece:
            yield self.fonts[last], piece

    def length(self, line: str) -> float:
        """Its width in pixels."""
        return sum(font.getlength(piece) for font, piece in self.runs(line))

    def write(self, pen: ImageDraw.ImageDraw, line: str, middle: float, baseline: float) -> None:
        """Draw a line centred at `middle`."""
        x = middle - self.length(line) / 2
        for font, piece in self.runs(line):
            pen.text((x, baseline), piece, font=font, fill=255, anchor="ls")
            x += font.getlength(piece)


def typeface_for(text: str, file: str, size: int) -> Typeface:
    """The font named, or the fonts found, that have every character of the text.

    Raises:
        SettingsError: none has them, or the file named is no font.
    """
    from PIL import ImageFont, features

    shaped = next((c for c in text if unicodedata.name(c, "").startswith(_SHAPED)), None)
    if shaped is not None and not features.check("raqm"):
        raise SettingsError(
            f"overlay {text[:40]!r}: {unicodedata.name(shaped)} needs text shaping, which this Pillow lacks (libraqm): "
            "install libraqm and fribidi, or give the text as part of the plate"
        )
    left = "".join(dict.fromkeys(c for c in text if not c.isspace()))
    if file:
        font = _opened(file, size)
        if font is None:
            raise SettingsError(
                f"{file}: is not a font that can be read (.ttf, .otf, .ttc, up to {_MAX_FONT_BYTES >> 20} MiB)"
            )
        if missing := _missing(font, left):
            raise SettingsError(f"overlay {text[:40]!r}: {file} has no {_named(missing)}; name a font that has it")
        return Typeface((font,), dict.fromkeys(left, 0))
    fonts: list[ImageFont.FreeTypeFont] = []
    of: dict[str, int] = {}
    own = ImageFont.load_default(size)
    found = (_opened(path, size) for path in system_fonts())
    for font in chain([own if isinstance(own, ImageFont.FreeTypeFont) else None], found):
        missing = _missing(font, left) if font is not None else left
        if font is not None and missing != left:
            of |= dict.fromkeys((c for c in left if c not in missing), len(fonts))
            fonts.append(font)
        left = missing
        if not left:
            return Typeface(tuple(fonts), of)
    raise SettingsError(
        f"overlay {text[:40]!r}: no font of this machine has {_named(left)}; install one (Noto Sans CJK for Chinese) "
        "or name a file: font: fonts/NotoSansSC-Regular.otf"
    )


def font_digest(overlay: TextOverlay) -> str:
    """What identifies the letters' shapes: the file's hash, or the names of the fonts found."""
    if overlay.font:
        with Path(overlay.font).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    typeface = typeface_for(unicodedata.normalize("NFC", overlay.text), "", 32)
    return ", ".join("/".join(str(part) for part in font.getname()) for font in typeface.fonts)


@lru_cache(maxsize=1)
def system_fonts() -> tuple[str, ...]:
    """Font files of this machine that cover many scripts, best first."""
    found = [str(p) for folder in _font_folders() for p in _font_files(folder)]

    def rank(path: str) -> tuple[int, str]:
        name = Path(path).name.lower().replace("-vf", "")
        return next((i for i, known in enumerate(_WIDE_FONTS) if name.startswith(known)), len(_WIDE_FONTS)), path

    return tuple(p for p in sorted(found, key=rank) if rank(p)[0] < len(_WIDE_FONTS))


def _font_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts"]


def _font_files(folder: Path) -> Iterator[Path]:
    for count, path in enumerate(sorted(folder.rglob("*")) if folder.is_dir() else []):
        if count > 20_000:
            return
        if path.suffix.lower() in (".ttf", ".otf", ".ttc"):
            yield path


def _opened(path: str, size: int) -> ImageFont.FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(path, size) if Path(path).stat().st_size <= _MAX_FONT_BYTES else None
    except OSError:
        return None


def _missing(font: ImageFont.FreeTypeFont, text: str) -> str:
    """Characters that the font draws as its mark for missing ones."""
    absent = _glyph(font, "\U0010fffe")
    return "".join(c for c in dict.fromkeys(text) if not c.isspace() and _glyph(font, c) == absent)


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    from PIL import Image, ImageDraw

    side = round(2 * font.size)
    canvas = Image.new("L", (side, side), 0)
    ImageDraw.Draw(canvas).text((side / 2, side / 2), character, font=font, fill=255, anchor="mm")
    return canvas.tobytes()


def _named(characters: str) -> str:
    shown = [f"{c} (U+{ord(c):04X})" for c in characters[:4]]
    return ", ".join(shown) + (f" and {len(characters) - 4} more" if len(characters) > 4 else "")


def _wrapped(text: str, typeface: Typeface, width: float) -> list[str]:
    """Lines no wider than that, broken between words, or between characters where a word has no blanks (Chinese)."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if typeface.length(joined) <= width:
                line = joined
                continue
            if line and typeface.length(word) <= width:
                lines.append(line)
                line = word
                continue
            for character in (" " if line else "") + word:
                if typeface.length(line + character) > width:
                    lines.append(line)
                    line = ""
                line += character
        lines.append(line)
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > MAX_LINES:
        raise SettingsError(
            f"overlay {text[:40]!r}: takes {len(lines)} lines, expected {MAX_LINES} or fewer; shorten it or lower its height"
        )
    return lines


def _roi(place: Place, box_wh: tuple[int, int], size_wh: tuple[int, int]) -> Roi:
    """The box in the picture, on even coordinates, within title-safe margins (5 %)."""
    (w, h), (width, height) = box_wh, size_wh
    margin_x, margin_y = min(round(0.05 * width), (width - w) // 2), min(round(0.05 * height), max(0, height - h) // 2)
    x = margin_x if place.endswith("left") else width - margin_x - w if place.endswith("right") else (width - w) // 2
    y = (
        margin_y
        if place.startswith("top")
        else height - margin_y - h
        if place.startswith("bottom")
        else (height - h) // 2
    )
    x, y = max(0, x) & ~1, max(0, y) & ~1
    return Roi(x, y, x + w, y + h).clipped(size_wh)


def _even(value: int) -> int:
    return value + (value & 1)
