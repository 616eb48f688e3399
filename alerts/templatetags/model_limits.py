"""Limits on the page of a model: the page belongs to monitoring, which knows no rules; the template brings both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django import template
from django.urls import reverse

from alerts.reach import Reaching, reaching
from monitoring.promql import ParseError, QueryError, parse

log = structlog.get_logger(__name__)
register = template.Library()


@dataclass(frozen=True)
class Shown:
    """One limit as the page shows it."""

    rule: str
    url: str
    severity: str
    words: str
    selector: str
    is_override: bool
    limit: Reaching


@register.simple_tag
def limits_of(model: str, at: datetime, may_see: bool) -> list[Shown]:
    """Return the limits that reach a model, for who may see rules; none when the store does not answer."""
    if not may_see:
        return []
    try:
        found = reaching(model, at)
    except QueryError as error:
        log.warning("limits_of_model_unknown", model=model, error=str(error))
        return []
    return [
        Shown(
            one.rule, reverse("admin:alerts_rule_change", args=[one.rule_id]), one.severity, one.words, one.selector,
            one.is_override, one,
        )
        for one in found
    ]  # fmt: skip


@register.filter
def with_limits(panel: Any, limits: Sequence[Shown]) -> str:
    """Return a chart's options with a line for each limit on exactly the metrics that it draws."""
    metrics: set[str] = set()
    for one in panel.spec.queries:
        try:
            metrics.update(parse(one.expr.replace("$__rate_interval", "5m")).metric_names())
        except ParseError:
            return str(panel.options)
    options = json.loads(panel.options)
    lines = {
        (value, shown.severity or "info"): None
        for shown in limits
        if shown.limit.metrics == metrics
        for value in shown.limit.values
    }
    options["steps"] += [{"value": value, "severity": severity} for value, severity in lines]
    return json.dumps(options)
