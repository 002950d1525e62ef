"""The coverage of a persona as a picture: where the looks were taken from, what was seen, what to add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digidouble.persona.coverage import Coverage
    from digidouble.schema.persona import Persona

HEIGHT, MAP_WIDTH = 340, 520
YAW_DEG, PITCH_DEG = 60.0, 30.0  # at the edges of the map
_PAGE, _FIELD, _LINE, _DOT = (24, 25, 28), (40, 42, 47), (74, 78, 86), (236, 196, 84)
_LIGHTS = ((236, 196, 84), (98, 180, 240), (230, 120, 200), (150, 220, 110), (240, 140, 90))
_SEEN, _MISSING = (96, 190, 120), (196, 92, 84)


def coverage_panel(persona: Persona, coverage: Coverage, width: int) -> Any:
    """The panel, `width` wide (at least 900; UInt8, display-referred RGB)."""
    import numpy as np

    from digidouble.deliver.sheets import draw_text

    panel = np.full((HEIGHT, max(width, 900), 3), _PAGE, np.uint8)
    draw_text(
        panel[0:34, 12:],
        "coverage: where the looks were taken from (subject's view), their light (line towards it), what was seen, what to add",
        20,
    )
    _draw_map(panel[40 : HEIGHT - 12, 12 : 12 + MAP_WIDTH], persona, coverage)
    left = MAP_WIDTH + 40
    for row, name in enumerate(coverage.expressions):
        y = 48 + 34 * row
        panel[y + 7 : y + 23, left : left + 16] = _SEEN if coverage.seen(name) else _MISSING
        draw_text(
            panel[y : y + 30, left + 28 : left + 280], f"{name}: {'seen' if coverage.seen(name) else 'missing'}", 18
        )
    y = 48 + 34 * len(coverage.expressions)
    lights = f"{coverage.lights} light(s): {', '.join(_lights(coverage))}" if coverage.lights else "light: not kept"
    draw_text(panel[y : y + 30, left : left + 290], lights, 16)
    advice = [f"- {text}" for text in coverage.advice] or ["nothing is missing"]
    for row, text in enumerate(advice[: (HEIGHT - 60) // 26]):
        y = 48 + 26 * row
        draw_text(panel[y : y + 26, left + 290 :], text, 18)
    return panel


def _lights(coverage: Coverage) -> list[str]:
    """The light of every group, in words."""
    from digidouble.persona.coverage import light_words

    groups = {v.light.group: light_words(v.light) for v in reversed(coverage.views) if v.light}
    return [groups[g] for g in sorted(groups)][:3]


def _draw_map(area: Any, persona: Persona, coverage: Coverage) -> None:
    """Yaw runs to the subject's left, pitch up; every look is its own skin in small, the largest face on top."""
    import cv2

    from digidouble.deliver.sheets import draw_text
    from digidouble.persona.coverage import THUMB_PX
    from digidouble.persona.views import atlas_picture

    h, w = area.shape[:2]
    area[:] = _FIELD

    def place(yaw: float, pitch: float) -> tuple[int, int]:
        x = w / 2 * (1 + max(-1.0, min(1.0, yaw / YAW_DEG)))
        y = h / 2 * (1 - max(-1.0, min(1.0, pitch / PITCH_DEG)))
        return int(x), int(y)

    for yaw in (-40, -20, 0, 20, 40):
        x, _ = place(yaw, 0)
        area[:, x] = _LINE
        draw_text(area[h - 20 : h, x + 3 : x + 50], f"{yaw:+d}", 12)
    for pitch in (-15, 0, 15):
        _, y = place(0, pitch)
        area[y] = _LINE
        draw_text(area[y - 18 : y, 3:50], f"{pitch:+d}", 12)
    for view in sorted(coverage.views, key=lambda v: v.face_px):
        x, y = place(view.yaw_deg, view.pitch_deg)
        x0, y0 = min(max(x - THUMB_PX // 2, 0), w - THUMB_PX), min(max(y - THUMB_PX // 2, 0), h - THUMB_PX)
        area[y0 : y0 + THUMB_PX, x0 : x0 + THUMB_PX] = atlas_picture(persona.keys[view.key], THUMB_PX)
    for view in coverage.views:
        x, y = place(view.yaw_deg, view.pitch_deg)
        if view.light:
            # The main light as a line from the dot towards it, as long as it is one-sided; one colour per group of like light.
            far = min(view.light.contrast, 1.0) * THUMB_PX / 2 / max(view.light.contrast, 1e-6)
            tip = (int(x + far * view.light.toward[0]), int(y - far * view.light.toward[1]))
            cv2.line(area, (x, y), tip, _LIGHTS[view.light.group % len(_LIGHTS)], 2, cv2.LINE_AA)
        cv2.circle(area, (x, y), 4, _LIGHTS[view.light.group % len(_LIGHTS)] if view.light else _DOT, -1, cv2.LINE_AA)
