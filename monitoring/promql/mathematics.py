"""Functions of single values: arithmetic, trigonometry, clamping, dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .values import Bools, Floats

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sgn": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "deg": np.degrees,
    "rad": np.radians,
}


def rounded(values: Floats, to: Floats | float) -> Floats:
    """Return values rounded to multiples of ``to``, halves upwards (functions.go funcRound)."""
    with np.errstate(all="ignore"):
        inverse = 1.0 / np.asarray(to, np.float64)
        return np.asarray(np.floor(values * inverse + 0.5) / inverse)


def clamped(values: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """Return values held between two bounds, with Go's Max and Min: an infinity wins over NaN."""
    with np.errstate(all="ignore"):
        held = np.minimum(values, high)
        held = np.where(np.isneginf(values) | np.isneginf(high), -np.inf, held)
        out = np.maximum(held, low)
        return np.where(np.isposinf(held) | np.isposinf(low), np.inf, out)


def _days(seconds: Any) -> Any:
    return seconds.astype("datetime64[s]").astype("datetime64[D]")


def _month(seconds: Any) -> Any:
    return seconds.astype("datetime64[s]").astype("datetime64[M]")


def _days_in_month(seconds: Any) -> Any:
    month = _month(seconds)
    return ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)


def _day_of_year(seconds: Any) -> Any:
    days = _days(seconds)
    return (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1


#: Parts of a date, from whole Unix seconds, UTC.
DATE_PARTS: dict[str, Callable[[Any], Any]] = {
    "year": lambda s: s.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970,
    "month": lambda s: _month(s).astype(np.int64) % 12 + 1,
    "day_of_month": lambda s: (_days(s) - _month(s).astype("datetime64[D]")).astype(np.int64) + 1,
    "day_of_week": lambda s: (_days(s).astype(np.int64) + 4) % 7,
    "day_of_year": _day_of_year,
    "days_in_month": _days_in_month,
    "hour": lambda s: (s // 3600) % 24,
    "minute": lambda s: (s // 60) % 60,
}


def date_part(name: str, seconds: Floats) -> Floats:
    """Return one part of the dates at Unix ``seconds``; NaN where there is no such date.

    Prometheus converts NaN and infinities by the processor's rule and answers something; nobody can rely on it.
    """
    usable: Bools = np.abs(seconds) < 1e15
    whole = np.floor(np.where(usable, np.trunc(np.where(usable, seconds, 0.0)), 0.0)).astype(np.int64)
    return np.where(usable, DATE_PARTS[name](whole).astype(np.float64), np.nan)
