"""The value of an alert over time as a PNG, for places that cannot draw: its series, its limit, when it fired.

Hides: Pillow, scales and round ticks.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

WIDTH, HEIGHT = 1000, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 24, 52, 40
# Drawn larger and shrunk: Pillow's lines have hard edges.
_SCALE = 2
_PAPER, _INK, _SOFT, _GRID = "#ffffff", "#1f2430", "#697083", "#e6e8ee"
_BANDS = {"critical": "#fbe3e3", "warning": "#fdecd6", "info": "#e0edfb"}
_LIMITS = {"critical": "#d32f2f", "warning": "#e07000", "info": "#1976d2"}
_SERIES = ("#4f46e5", "#0891b2", "#7c3aed", "#059669", "#b45309", "#be185d", "#475569", "#65a30d", "#0284c7", "#9333ea")
_TICKS = 5
_MOST_NAMES = 4
Point = tuple[float, float]
Format = Callable[[float], str]


@dataclass(frozen=True)
class _Scale:
    """Where seconds and values lie on the picture."""

    start: float
    end: float
    low: float
    high: float

    def x(self, at: float) -> float:
        share = (at - self.start) / max(self.end - self.start, 1.0)
        return (_LEFT + share * (WIDTH - _LEFT - _RIGHT)) * _SCALE

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return (HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)) * _SCALE


def png(title: str, columns: Mapping[str, Any], limits: Sequence[Mapping[str, Any]], say: Format) -> bytes | None:
    """The picture of `columns` (as of alert_story.chart) with `limits` (as of chart_limits); None without a value.

    say: a value with its unit, for the ticks.
    """
    times = [float(at) for at in columns.get("x", ())]
    lines = [(str(one["name"]), [_finite(v) for v in one["values"]]) for one in columns.get("series", ())]
    known = [value for _, values in lines for value in values if value is not None]
    if not times or not known:
        return None
    marks = [float(one["value"]) for one in limits if math.isfinite(float(one["value"]))]
    low, high = _range([*known, *marks])
    scale = _Scale(times[0], max(times[-1], times[0] + 1), low, high)
    image = _library("Image").new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _PAPER)
    draw = _library("ImageDraw").Draw(image)
    _bands(draw, scale, columns.get("bands", ()))
    _grid(draw, scale, say)
    for number, (_, values) in enumerate(lines):
        _line(draw, scale, times, values, _SERIES[number % len(_SERIES)])
    _limits(draw, scale, limits, say)
    _words(draw, (_LEFT, 14), _cut(title, 60), 18, _INK)
    _names(draw, [name for name, _ in lines])
    out = io.BytesIO()
    image.resize((WIDTH, HEIGHT), _library("Image").Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(float(value)) else None


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest value with some air; a flat line lies in the middle."""
    low, high = min(values), max(values)
    air = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low <= (high - low) * 0.6 else low - air), high + air


def _steps(low: float, high: float) -> list[float]:
    """Round values between low and high, about _TICKS of them."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((one * power for one in (1, 2, 2.5, 5) if one * power >= raw), 10 * power)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _grid(draw: ImageDraw.ImageDraw, scale: _Scale, say: Format) -> None:
    right = (WIDTH - _RIGHT) * _SCALE
    for value in _steps(scale.low, scale.high):
        y = scale.y(value)
        draw.line([(_LEFT * _SCALE, y), (right, y)], fill=_GRID, width=_SCALE)
        _words(draw, (_LEFT - 8, y / _SCALE), say(value), 13, _SOFT, "rm")
    pattern = "%H:%M" if scale.end - scale.start < 86_400 else "%d %b %H:%M"
    for number in range(_TICKS + 1):
        at = scale.start + (scale.end - scale.start) * number / _TICKS
        anchor = "lm" if number == 0 else "rm" if number == _TICKS else "mm"
        text = f"{datetime.fromtimestamp(at, UTC):{pattern}}" + (" UTC" if number == _TICKS else "")
        _words(draw, (scale.x(at) / _SCALE, HEIGHT - 22), text, 13, _SOFT, anchor)


def _bands(draw: ImageDraw.ImageDraw, scale: _Scale, bands: Iterable[Mapping[str, Any]]) -> None:
    for band in bands:
        left, right = max(float(band["from"]), scale.start), min(float(band["to"]), scale.end)
        if right >= left:
            place = [
                scale.x(left),
                _TOP * _SCALE,
                max(scale.x(right), scale.x(left) + _SCALE),
                (HEIGHT - _BOTTOM) * _SCALE,
            ]
            draw.rectangle(place, fill=_BANDS.get(str(band.get("severity")), _BANDS["critical"]))


def _line(
    draw: ImageDraw.ImageDraw, scale: _Scale, times: Sequence[float], values: Sequence[float | None], color: str
) -> None:
    """One series; where it has no sample the line breaks, and a lonely sample is a dot."""
    run: list[Point] = []
    for at, value in [*zip(times, values, strict=False), (0.0, None)]:
        if value is not None:
            run.append((scale.x(at), scale.y(value)))
            continue
        if len(run) > 1:
            draw.line(run, fill=color, width=2 * _SCALE, joint="curve")
        elif run:
            x, y = run[0]
            draw.ellipse([x - 2 * _SCALE, y - 2 * _SCALE, x + 2 * _SCALE, y + 2 * _SCALE], fill=color)
        run = []


def _limits(draw: ImageDraw.ImageDraw, scale: _Scale, limits: Sequence[Mapping[str, Any]], say: Format) -> None:
    dash = 8 * _SCALE
    for one in limits:
        value, color = float(one["value"]), _LIMITS.get(str(one.get("severity")), _LIMITS["warning"])
        y = scale.y(value)
        for x in range(_LEFT * _SCALE, (WIDTH - _RIGHT) * _SCALE, 2 * dash):
            draw.line([(x, y), (x + dash, y)], fill=color, width=2 * _SCALE)
        _words(draw, (_LEFT + 4, y / _SCALE - 5), f"limit {say(value)}", 13, color, "ls")


def _names(draw: ImageDraw.ImageDraw, names: Sequence[str]) -> None:
    """Which colour is which series; one alone needs no key."""
    if len(names) < 2:
        return
    x = float(WIDTH - _RIGHT)
    more = len(names) - _MOST_NAMES
    shown = [*names[:_MOST_NAMES], *([f"+ {more} more"] if more > 0 else [])]
    for number in reversed(range(len(shown))):
        text = _cut(shown[number], 24)
        color = _SERIES[number] if number < _MOST_NAMES else _SOFT
        _words(draw, (x, 40), text, 13, color, "rm")
        x -= draw.textlength(text, font=_font(13)) / _SCALE + 16


def _words(draw: ImageDraw.ImageDraw, at: Point, text: str, size: int, color: str, anchor: str = "la") -> None:
    draw.text((at[0] * _SCALE, at[1] * _SCALE), text, fill=color, font=_font(size), anchor=anchor)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont = _library("ImageFont").load_default(size * _SCALE)
    return font


@cache
def _library(part: str) -> Any:
    # Every process would pay 3 MB for what one of them draws now and then.
    return importlib.import_module(f"PIL.{part}")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
