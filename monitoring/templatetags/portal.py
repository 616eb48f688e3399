"""Filters and tags of the pages: numbers with units, moments, charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.contrib.staticfiles import finders
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from monitoring import units

register = template.Library()
register.filter("span", units.span)


@register.filter("unit")
def with_unit(value: float | None, unit: str = "short") -> str:
    """Return a number with its unit, as monitoring.units.number writes it."""
    return units.number(value, unit)


@register.filter
def with_query(url: str, query: str) -> str:
    """Return an address with a query, which is already encoded."""
    return f"{url}?{query}" if query else url


@register.simple_tag
def ago(moment: datetime | None, at: datetime) -> SafeString:
    """Return a time element that says how long ago; its title is UTC and the browser adds the local time."""
    if moment is None:
        return format_html("<span>{}</span>", "never")
    return format_html(
        '<time class="aq-time" datetime="{}" title="{} UTC">{}</time>',
        moment.isoformat(timespec="seconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S"),
        units.age(moment, at),
    )


@register.simple_tag
def cells(results: Sequence[Sequence[Any]]) -> SafeString:
    """Return the last results of a probe (monitoring.models.ProbeState.results) as a row of cells, oldest first."""
    marks = format_html_join("", '<span class="aq-cell {}" title="{}"></span>', (_cell(*one) for one in results))
    failed = sum(not one[1] for one in results)
    words = f"{len(results) - failed} of {len(results)} answers well"
    return format_html('<span class="aq-cells" role="img" aria-label="{}">{}</span>', words, marks)


def _cell(at: int, is_ok: bool, status: int, seconds: float, error: str) -> tuple[str, str]:
    moment = datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = f"HTTP {status}" if is_ok else error or "not well"
    return "is-ok" if is_ok else "is-critical", f"{moment}: {words}, {seconds * 1000:.0f} ms"


@register.inclusion_tag("portal/chart_assets.html")
def chart_assets() -> dict[str, bool]:
    """Return the scripts of charts: uPlot where it was fetched, else they draw with the bundled Chart.js."""
    return {"has_uplot": finders.find("vendor/uplot/uPlot.iife.min.js") is not None}


@register.inclusion_tag("portal/chart.html")
def chart(
    title: str,
    url: str,
    unit: str = "short",
    *,
    sync: str = "page",
    refresh: int = 0,
    maximum: float | None = None,
    stacked: bool = False,
    thresholds: Sequence[dict[str, Any]] = (),
    empty: str = "No samples in this time.",
) -> dict[str, Any]:
    """Return a chart that fetches its columns from `url` and, with `refresh` in seconds, again and again.

    thresholds: {"value": number, "label": text, "severity": "critical"|"warning"|"info"}.
    """
    return {
        "title": title, "url": url, "unit": unit, "sync": sync, "refresh": refresh, "maximum": maximum,
        "stacked": stacked, "thresholds": json.dumps(list(thresholds)) if thresholds else "", "empty": empty,
    }  # fmt: skip
