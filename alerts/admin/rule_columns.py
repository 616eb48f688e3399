"""Columns of the list of rules that are read for the whole page at once: the value against its limit, who is told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts import rule_glance
from alerts.admin.rule_filters import OWNER
from alerts.engine.units import Unit, format_value, unit_of
from alerts.models import Rule, Threshold
from alerts.rule_glance import Glance, Point
from alphaq_portal.ui import display
from monitoring import promql

_WIDTH, _HEIGHT, _MARGIN = 80.0, 26.0, 2.0
_SHOWN_RECEIVERS = 2
_FEWEST = 8  # points that a line has room for at least
_NONE = format_html('<span class="aq-muted">{}</span>', "–")


class GlanceColumns:
    """Two columns; each rule of the page carries its `glance`."""

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list with each of its rules at a glance."""
        changelist: ChangeList = super().get_changelist_instance(request)  # type: ignore[misc]
        found = rule_glance.glances(list(changelist.result_list), timezone.now())
        for rule in changelist.result_list:
            rule.glance = found[rule.pk]
        return changelist

    @display(description="Value and limit")
    def value_line(self, rule: Rule) -> SafeString:
        """The series nearest to its limit over six hours, with the limit as a dashed line."""
        points = _begun(_glance(rule).points)
        last = next((one for one in reversed(points) if one is not None), None)
        if last is None:
            return _NONE
        unit = _unit(rule.expr)
        words = format_value(last.value, unit)
        limit = f", limit {format_value(last.limit, unit)}" if last.limit is not None else ""
        values, limits = _paths(points)
        return format_html(
            '<span class="aq-line-cell{}" title="{}{}: the series nearest to its limit, over 6 hours">'
            '<svg class="aq-line" viewBox="0 0 {} {}" aria-hidden="true"><path class="limit" d="{}"/>'
            '<path class="value" d="{}"/></svg><span>{}</span></span>',
            " is-critical" if last.is_past else "", words, limit, f"{_WIDTH:g}", f"{_HEIGHT:g}", limits, values, words,
        )  # fmt: skip

    @display(description="Told to")
    def told_to(self, rule: Rule) -> SafeString:
        """Where its alerts go by the routes of now, and the team that the rule's label names."""
        team = rule.labels.get(OWNER, "") if isinstance(rule.labels, dict) else ""
        owner = format_html('<br><span class="aq-muted">team {}</span>', team) if team else ""
        hearings = _glance(rule).hearings
        if not hearings:
            return format_html("{}{}", _NONE, owner)
        names = format_html_join(
            ", ", '<span title="receiver {}, by {}">{}</span>',
            ((one.receiver, one.route, ", ".join(one.ways) or f"nobody ({one.receiver})")
             for one in hearings[:_SHOWN_RECEIVERS]),
        )  # fmt: skip
        rest = len(hearings) - _SHOWN_RECEIVERS
        more = format_html(' <span class="aq-muted">+{}</span>', rest) if rest > 0 else ""
        return format_html('<span class="aq-told-to">{}{}</span>{}', names, more, owner)


def _glance(rule: Rule) -> Glance:
    found: Any = getattr(rule, "glance", None)
    return found if isinstance(found, Glance) else Glance()


def _begun(points: Sequence[Point | None]) -> Sequence[Point | None]:
    """The points from the first that is known: the line of a new rule is not a speck at the right."""
    first = next((number for number, one in enumerate(points) if one is not None), 0)
    return points[min(first, len(points) - _FEWEST) :]


def limit_text(rule: Rule, row: Threshold) -> str:
    """A limit as people read it: > 200 ms."""
    value = format_value(row.value, _unit(rule.expr))
    return f"{row.operator} {value}"


@lru_cache(maxsize=4096)
def _unit(expr: str) -> Unit:
    try:
        return unit_of(promql.parse(expr))
    except promql.ParseError:
        return Unit()


def _paths(points: Sequence[Point | None]) -> tuple[str, str]:
    """The two lines as SVG paths, on one scale; a moment without a record breaks them."""
    known = [one for one in points if one is not None]
    numbers = [one.value for one in known] + [one.limit for one in known if one.limit is not None]
    low, high = min(numbers), max(numbers)
    span = high - low or 1.0

    def place(number: int, value: float) -> str:
        x = number / max(len(points) - 1, 1) * _WIDTH
        y = _HEIGHT - _MARGIN - (value - low) / span * (_HEIGHT - 2 * _MARGIN)
        return f"{x:.1f} {y:.1f}"

    return (
        _path([place(number, one.value) if one else "" for number, one in enumerate(points)]),
        _path([place(number, one.limit) if one and one.limit is not None else "" for number, one in enumerate(points)]),
    )


def _path(places: Sequence[str]) -> str:
    parts, is_open = [], False
    for number, place in enumerate(places):
        if place:
            after = places[number + 1] if number + 1 < len(places) else ""
            # A lone point is a dot: a line of no length with round ends.
            parts.append(f"{'L' if is_open else 'M'}{place}{'' if is_open or after else 'h0'}")
        is_open = bool(place)
    return "".join(parts)
