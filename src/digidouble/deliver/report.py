"""The quality report: one HTML file that needs nothing else, neither network nor scripts, in English and in Chinese.

`write_report` renders a `Report` with `templates/report.html.j2` with everything inline: style, pictures as
base64 JPEG, curves as SVG. Autoescape is on: names in it come from strangers' files.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Num, UInt8

from digidouble.deliver.partial import write_text
from digidouble.deliver.report_words import chinese
from digidouble.errors import SettingsError

MAX_CURVE_POINTS = 2000
Samples = Num[np.ndarray, "n"]
Values = Sequence[float | int] | Samples
_CHART_WH = (720.0, 220.0)
_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 52.0, 12.0, 12.0, 26.0


@dataclass(frozen=True)
class Sheet:
    """A captioned picture, display-referred RGB."""

    caption: str
    rgb8: UInt8[np.ndarray, "h w 3"]

    def __post_init__(self) -> None:
        if self.rgb8.ndim != 3 or self.rgb8.shape[2] != 3 or self.rgb8.dtype != np.uint8 or not self.rgb8.size:
            raise SettingsError(
                f"sheet {self.caption!r}: expected UInt8[h w 3], got {self.rgb8.dtype}{self.rgb8.shape}"
            )


@dataclass(frozen=True)
class Series:
    """One line of a chart. NaN in `ys` interrupts the line."""

    name: str
    xs: Values
    ys: Values

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise SettingsError(f"series {self.name!r}: {len(self.xs)} x values, {len(self.ys)} y values")


@dataclass(frozen=True)
class Curve:
    """A chart of one quantity, usually over frame index."""

    name: str
    unit: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Timing:
    """Time of a stage: milliseconds a frame, and its share 0..1 of the whole."""

    stage: str
    ms_per_frame: float
    share: float


@dataclass(frozen=True)
class Report:
    """Everything a quality report says.

    Attributes:
        title: name of the delivery.
        facts: label -> value, shown as a table in the given order.
        sheets, curves, timings: pictures, charts, cost by stage.
        warnings: what the user should know, one sentence each.
        labels: what marks the output as synthetic, label -> value.
        consent: the consent that allows it, label -> value.
        gate: what was checked and decided before it was delivered, label -> value.
    """

    title: str
    facts: Mapping[str, str]
    sheets: tuple[Sheet, ...] = ()
    curves: tuple[Curve, ...] = ()
    timings: tuple[Timing, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    consent: Mapping[str, str] | None = None
    gate: Mapping[str, str] | None = None


def write_report(path: Path, report: Report) -> None:
    """Render and write the report, atomically.

    Raises:
        OutputError: the file cannot be written; nothing is left then.
    """
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """The report as one HTML document."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("digidouble.deliver", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        chinese=chinese,
        sheets=[(sheet.caption, _jpeg_base64(sheet.rgb8)) for sheet in report.sheets],
        charts=[(curve, chart_of(curve)) for curve in report.curves],
        slowest=max((timing.ms_per_frame for timing in report.timings), default=0.0),
        total_ms=sum(timing.ms_per_frame for timing in report.timings),
    )


@dataclass(frozen=True)
class Chart:
    """A curve in SVG coordinates: path data for each series, and gridlines as (position, text)."""

    size_wh: tuple[float, float]
    frame: tuple[float, float, float, float]
    paths: tuple[tuple[str, str], ...]
    grid_x: tuple[tuple[float, str], ...]
    grid_y: tuple[tuple[float, str], ...]


def chart_of(curve: Curve) -> Chart:
    """Lay a curve out. Long series are thinned to their extremes in each step, so that no spike is lost."""
    points = [point for series in curve.series for point in _points(series) if _finite(*point)]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    ticks_x, ticks_y = _ticks(min(xs), max(xs), 8), _ticks(min(ys), max(ys), 4)
    x_lo, x_hi = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, min(xs) + 0.5)
    y_lo, y_hi = min(ticks_y[0], min(ys)), max(ticks_y[-1], max(ys))
    w, h = _CHART_WH
    left, top, right, bottom = _MARGIN_LEFT, _MARGIN_TOP, w - _MARGIN_RIGHT, h - _MARGIN_BOTTOM

    def px(x: float) -> float:
        return round(left + (x - x_lo) / (x_hi - x_lo) * (right - left), 2)

    def py(y: float) -> float:
        return round(bottom - (y - y_lo) / ((y_hi - y_lo) or 1.0) * (bottom - top), 2)

    def path(series: Series) -> str:
        commands, pen_down = [], False
        for x, y in _thinned(series):
            if not _finite(x, y):
                pen_down = False
                continue
            commands.append(f"{'L' if pen_down else 'M'}{px(x)} {py(y)}")
            pen_down = True
        return "".join(commands)

    grid_x = tuple((px(x), _number(x)) for x in ticks_x if x_lo <= x <= x_hi)
    grid_y = tuple((py(y), _number(y)) for y in ticks_y)
    paths = tuple((series.name, path(series)) for series in curve.series)
    return Chart(_CHART_WH, (left, top, right, bottom), paths, grid_x, grid_y)


def _points(series: Series) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(series.xs, series.ys, strict=True)]


def _thinned(series: Series) -> list[tuple[float, float]]:
    pairs = _points(series)
    if len(pairs) <= MAX_CURVE_POINTS:
        return pairs
    step = math.ceil(2 * len(pairs) / MAX_CURVE_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(pairs), step):
        chunk = [pair for pair in pairs[start : start + step] if _finite(*pair)]
        if chunk:
            low, high = min(chunk, key=lambda p: p[1]), max(chunk, key=lambda p: p[1])
            kept += sorted({low, high})
        else:
            kept.append(pairs[start])
    return kept


def _finite(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover low..high."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / about * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _jpeg_base64(rgb8: UInt8[np.ndarray, "h w 3"]) -> str:
    ok, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb8[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not ok:
        raise SettingsError(f"sheet of {rgb8.shape}: the JPEG encoder refused it")
    return base64.b64encode(data.tobytes()).decode("ascii")
