"""Drawings of the engineer's page: figures in; the places of an SVG's rectangles, lines and words out.

A template turns them into SVG, whose colours are classes, so that they follow light and dark. The one thing to know:
every drawing stands beside a table with the same figures, for who can't see it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from behavior_tasks.watch.kept_day import SHADES
from behavior_tasks.web.engineer_watch import HeatMap, Matured

CELL, ROW, NAMES = 22, 20, 260
"""Pixels: a field's width and height, and the room for names."""
WIDE, HIGH, EDGE = 640, 200, 36


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG's size and parts, each a mapping that its template understands."""

    width: int
    height: int
    fields: Sequence[Mapping[str, Any]] = ()
    words: Sequence[Mapping[str, Any]] = ()
    lines: Sequence[Mapping[str, Any]] = ()
    dots: Sequence[Mapping[str, Any]] = ()


def draw_heat(heat: HeatMap) -> Drawing:
    """Return the heat map: a row a column of data, a field a day; shade 0 (near) to 4 (far)."""
    fields = [
        {
            "x": NAMES + CELL * x,
            "y": ROW * y,
            "shade": bisect_right(SHADES, value),
            "title": f"{name}, {day}: {value:.2f}",
        }
        for y, (name, row) in enumerate(zip(heat.columns, heat.values, strict=True))
        for x, (day, value) in enumerate(zip(heat.days, row, strict=True))
        if value is not None
    ]
    bottom = ROW * len(heat.columns) + 16
    words = [{"x": NAMES - 8, "y": ROW * y + 14, "end": True, "text": name} for y, name in enumerate(heat.columns)]
    words += [
        {"x": NAMES + CELL * x, "y": bottom, "end": False, "text": f"{heat.days[x]:%d %b}"}
        for x in range(0, len(heat.days), 5)
    ]
    return Drawing(width=NAMES + CELL * max(len(heat.days), 3), height=bottom + 6, fields=fields, words=words)


def draw_matured(matured: Matured) -> Drawing:
    """Return F1 by served day with its interval, and a dashed line at what the test promised; F1 runs from 0 to 1."""
    days = matured.days
    first, last = days[0]["as_of"], days[-1]["as_of"]

    def x(day: date) -> float:
        return round(EDGE + (WIDE - 2 * EDGE) * ((day - first).days / max(1, (last - first).days)), 1)

    def y(value: float) -> float:
        return round(HIGH - 24 - (HIGH - 40) * value, 1)

    lines: list[dict[str, Any]] = [
        {"x1": EDGE, "x2": WIDE - EDGE, "y1": y(tick), "y2": y(tick), "look": "grid"}
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    words = [{"x": EDGE - 6, "y": y(tick) + 4, "end": True, "text": f"{tick:g}"} for tick in (0, 0.5, 1)]
    words += [{"x": EDGE, "y": HIGH - 6, "end": False, "text": str(first)}]
    if last != first:
        words += [{"x": WIDE - EDGE, "y": HIGH - 6, "end": True, "text": str(last)}]
    if matured.promised is not None:
        level = y(matured.promised)
        lines.append({"x1": EDGE, "x2": WIDE - EDGE, "y1": level, "y2": level, "look": "promised"})
    for day in days:
        if day["f1_lower"] is not None and day["f1_upper"] is not None:
            place = x(day["as_of"])
            lines.append({"x1": place, "x2": place, "y1": y(day["f1_lower"]), "y2": y(day["f1_upper"]), "look": "bar"})
    dots = [{"x": x(day["as_of"]), "y": y(day["f1"]), "title": f"{day['as_of']}: {day['f1']:.3f}"} for day in days]
    return Drawing(width=WIDE, height=HIGH, words=words, lines=lines, dots=dots)
