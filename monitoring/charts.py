"""The charts of hosts and of the store: what each asks, in which unit, and its answer as columns for the browser.

Hides: how a question gets its host and window, how many series a reader can tell apart, how steps are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from monitoring import query
from monitoring.promql import Labels, Matcher, Result

# More lines than this are a ball of wool; the busiest are kept and the rest is counted.
MAX_SERIES = 10
# However young the data: a chart is at least this many steps wide.
MIN_POINTS = 20
# Steps that put points on round times; the first that needs no more points than asked for is taken.
STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
RANGES = {"15m": 900, "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800, "30d": 2592000}
DEFAULT_RANGE = "1h"


@dataclass(frozen=True)
class Chart:
    """One chart: PromQL with `$host` where matchers of the host go and `$window` for rates."""

    title: str
    unit: str
    questions: tuple[tuple[str, str], ...]  # (prefix of the series' names, PromQL)
    legend: tuple[str, ...] = ()  # labels that name a series; the host's is left out on the page of one host
    maximum: float | None = None
    is_stacked: bool = False
    order: tuple[str, ...] = ()  # names of series that come first, in this order: the bottom of a stack


@dataclass(frozen=True)
class Span:
    """The time a chart shows; both ends lie on the grid of its step, so that a refresh moves whole steps."""

    start: datetime
    end: datetime
    step_seconds: int


def _one(expr: str) -> tuple[tuple[str, str], ...]:
    return (("", expr),)


CHARTS: dict[str, Chart] = {
    "cpu": Chart("CPU", "percent", _one("cpu_usage_percent{$host}"), ("host",), 100),
    "memory": Chart(
        "Memory in use", "percent", _one("100 * memory_usage_bytes{$host} / memory_total_bytes{$host}"), ("host",), 100
    ),
    "gpu": Chart("GPU", "percent", _one("gpu_usage_percent{$host}"), ("host", "gpu"), 100),
    "cpu_modes": Chart(
        "CPU by mode",
        "percent",
        _one('100 * sum by (mode) (rate(cpu_seconds_total{$host,mode!="idle"}[$window])) / scalar(cpu_count{$host})'),
        ("mode",),
        100,
        is_stacked=True,
        order=("user", "system", "iowait"),
    ),
    "load": Chart(
        "Load",
        "short",
        (
            ("1 min", "load_average_1m{$host}"),
            ("5 min", "load_average_5m{$host}"),
            ("15 min", "load_average_15m{$host}"),
            ("cores", "cpu_count{$host}"),
        ),
    ),
    "memory_bytes": Chart(
        "Memory",
        "bytes",
        (
            ("in use", "memory_usage_bytes{$host}"),
            ("total", "memory_total_bytes{$host}"),
            ("swap in use", "swap_usage_bytes{$host}"),
        ),
    ),
    "disk_io": Chart(
        "Disk traffic",
        "bytes/s",
        (
            ("read", "rate(disk_read_bytes_total{$host}[$window])"),
            ("written", "rate(disk_written_bytes_total{$host}[$window])"),
        ),
        ("device",),
    ),
    "disk_busy": Chart(
        "Disk busy",
        "percent",
        _one("clamp_max(100 * rate(disk_io_busy_seconds_total{$host}[$window]), 100)"),
        ("device",),
        100,
    ),
    "disk_space": Chart(
        "Disk space in use",
        "percent",
        _one("100 * (1 - filesystem_avail_bytes{$host} / filesystem_size_bytes{$host})"),
        ("mountpoint",),
        100,
    ),
    "network": Chart(
        "Network",
        "bytes/s",
        (
            ("in", 'rate(network_receive_bytes_total{$host,device!="lo"}[$window])'),
            ("out", 'rate(network_transmit_bytes_total{$host,device!="lo"}[$window])'),
        ),
        ("device",),
    ),
    "network_errors": Chart(
        "Network errors and drops",
        "/s",
        (
            (
                "errors",
                "rate(network_receive_errors_total{$host}[$window])"
                " + rate(network_transmit_errors_total{$host}[$window])",
            ),
            (
                "drops",
                "rate(network_receive_drops_total{$host}[$window])"
                " + rate(network_transmit_drops_total{$host}[$window])",
            ),
        ),
        ("device",),
    ),
    "gpu_memory": Chart(
        "GPU memory in use",
        "percent",
        _one("100 * gpu_memory_usage_bytes{$host} / gpu_memory_total_bytes{$host}"),
        ("host", "gpu"),
        100,
    ),
    "gpu_temperature": Chart("GPU temperature", "°C", _one("gpu_temperature_celsius{$host}"), ("host", "gpu")),
    "gpu_power": Chart("GPU power", "W", _one("gpu_power_watts{$host}"), ("host", "gpu")),
    "store_bytes": Chart("Size of the store", "bytes", _one("alphaq_store_bytes"), ("tier",), is_stacked=True),
    "store_rate": Chart("Samples written a second", "short", (("samples/s", "sum(alphaq_store_samples_per_second)"),)),
    "store_series": Chart("Series known", "short", (("series", "sum(alphaq_store_series)"),)),
    "store_lag": Chart(
        "Housekeeping behind",
        "seconds",
        (
            ("rows not turned", "max(alphaq_store_pivot_lag_seconds)"),
            ("not compacted", "max(alphaq_store_compact_lag_seconds)"),
            ("not merged", "86400 * max(alphaq_store_merge_lag_days)"),
        ),
    ),
}


def span_of(end: datetime, seconds: int, points: int) -> Span:
    """Return the time of a chart of `seconds` before `end` with at most `points` points."""
    step = next((step for step in STEPS if seconds / step <= points), STEPS[-1])
    last = math.floor(end.timestamp() / step) * step
    finish = datetime.fromtimestamp(last, tz=UTC)
    return Span(finish - timedelta(seconds=math.ceil(seconds / step) * step), finish, step)


def draw(chart: Chart, span: Span, host: str = "") -> dict[str, Any]:
    """Return the chart's columns: {"x": [unix seconds], "series": [{"name", "values": [number or None]}], "note"?}.

    The time before the first sample is left out.

    Raises what monitoring.query raises (QueryError) when the question cannot be answered.
    """
    lines: list[tuple[str, np.ndarray]] = []
    x: list[int] = []
    for prefix, expr in chart.questions:
        answer = query.range_(ask(expr, host, span.step_seconds), span.start, span.end, span.step_seconds)
        x = [int(at) // 1000 for at in answer.ts]
        names = _names(prefix, answer.labels, [label for label in chart.legend if not (host and label == "host")])
        lines += zip(names, _values(answer), strict=True)
    rank = {name: place for place, name in enumerate(chart.order)}
    kept = _busiest(sorted(lines, key=lambda line: rank.get(line[0], len(rank))), MAX_SERIES)
    first = _first(kept, len(x))
    series = [{"name": name, "values": _plain(line[first:])} for name, line in kept]
    columns: dict[str, Any] = {"x": x[first:], "series": series}
    if len(lines) > len(kept):
        columns["note"] = f"{len(kept)} of {len(lines)} series, those with the highest values"
    return columns


def latest(at: datetime) -> dict[str, dict[str, float]]:
    """Return what each host reported last: {host: {"cpu", "memory", "gpu": percent}}; the busiest GPU counts."""
    names = "cpu_usage_percent|memory_usage_bytes|memory_total_bytes|gpu_usage_percent"
    # One selector: the page of all hosts asks the store once, not once a column.
    answer = query.instant(f'max by (__name__, host) ({{__name__=~"{names}",host!=""}})', at)
    found: dict[str, dict[str, float]] = {}
    for labels, value in zip(answer.labels, answer.values.tolist(), strict=True):
        if math.isfinite(value):
            found.setdefault(labels.get("host"), {})[labels.get("__name__")] = value
    return {host: _shares(values) for host, values in found.items()}


def _shares(values: dict[str, float]) -> dict[str, float]:
    shares = {"cpu": values.get("cpu_usage_percent"), "gpu": values.get("gpu_usage_percent")}
    used, total = values.get("memory_usage_bytes"), values.get("memory_total_bytes")
    if used is not None and total:
        shares["memory"] = 100 * used / total
    return {name: value for name, value in shares.items() if value is not None}


def fired(span: Span, host: str) -> list[dict[str, Any]]:
    """Return when alerts of a host fired: [{"from", "to", "severity", "label"}] in unix seconds, from ALERTS."""
    answer = query.range_(
        ask('max by (alertname, severity) (ALERTS{$host,alertstate="firing"})', host, span.step_seconds),
        span.start,
        span.end,
        span.step_seconds,
    )
    bands = []
    for labels, present in zip(answer.labels, answer.present, strict=True):
        for first, last in _runs(present):
            bands.append(
                {
                    "from": int(answer.ts[first]) // 1000,
                    "to": int(answer.ts[last]) // 1000,
                    "severity": labels.get("severity"),
                    "label": labels.get("alertname"),
                }
            )
    return bands


def ask(expr: str, host: str, step_seconds: int) -> str:
    """Return the question with its host and window filled in; every host when `host` is empty."""
    # A rate needs two samples: four intervals of 15 s, or two steps so that nothing falls between the points.
    window = max(60, 2 * step_seconds)
    expr = expr.replace("$window", f"{window}s")
    if not host:
        return expr.replace("$host,", "").replace("$host", "")
    return expr.replace("$host", str(Matcher("=", "host", host)))


def _names(prefix: str, rows: Sequence[Labels], legend: Sequence[str]) -> list[str]:
    """Name each series by its legend labels; those that would share a name show all their labels."""
    names = []
    for labels in rows:
        parts = [f"GPU {value}" if label == "gpu" else value for label in legend if (value := labels.get(label))]
        names.append(" ".join(part for part in (" · ".join(parts), prefix) if part) or str(labels))
    return [name if names.count(name) == 1 else str(labels) for name, labels in zip(names, rows, strict=True)]


def _values(answer: Result) -> list[np.ndarray]:
    return list(np.where(answer.present & np.isfinite(answer.values), answer.values, np.nan))


def _busiest(lines: list[tuple[str, np.ndarray]], most: int) -> list[tuple[str, np.ndarray]]:
    """Return the lines with the highest peaks, in their old order."""
    lines = [line for line in lines if np.isfinite(line[1]).any()]
    if len(lines) <= most:
        return lines
    ranked = sorted(range(len(lines)), key=lambda place: -np.nanmax(lines[place][1]))[:most]
    return [lines[place] for place in sorted(ranked)]


def _first(lines: list[tuple[str, np.ndarray]], points: int) -> int:
    """Return the point to begin at: a portal that runs for a minute shows that minute, not an hour of nothing."""
    filled = [int(np.flatnonzero(np.isfinite(line))[0]) for _, line in lines]
    return max(0, min(min(filled, default=0) - 1, points - MIN_POINTS))


def _plain(line: np.ndarray) -> list[float | None]:
    """Return JSON numbers of six digits; a point without a sample is None, a gap."""
    return [float(f"{value:.6g}") if value == value else None for value in line.tolist()]


def _runs(present: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, last) positions of each unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], present.astype(np.int8), [0]))))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
