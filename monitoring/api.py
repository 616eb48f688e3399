"""The read side of Prometheus' HTTP API over the portal's samples and targets: /api/v1/query and its neighbours.

Shapes: Prometheus 3, web/api/v1/api.go. Grafana, promtool and every Prometheus client library are its users.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from . import metadata as metric_metadata
from . import promql, query, targets
from .api_answer import TRUNCATED, endpoint, listed, success
from .api_answer import dumps as to_json
from .api_params import BadData, Params
from .api_result import encode, is_longer_than
from .deploy_views import deploys
from .models import Target, TargetStatus
from .promql import Labels, Limits, Matcher
from .promql.nodes import DOCUMENTED
from .promql.printer import duration_text

SAMPLES = "monitoring.view_host"
TARGETS = "monitoring.view_target"
#: The release whose API this is; clients switch features on by it.
SPOKEN_VERSION = "3.5.0"
MIN_TIMEOUT_SECONDS = 0.001
_BEGIN, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NEVER = "0001-01-01T00:00:00Z"
_HEALTH = {TargetStatus.State.UP: "up", TargetStatus.State.DOWN: "down"}


@endpoint(SAMPLES, "GET", "POST")
def instant_query(params: Params) -> HttpResponse:
    """Answer an expression at one time."""
    limit, at, limits = params.limit(), params.time("time", timezone.now()), _limits(params)
    return _answer(query.instant(params.text("query"), at, limits=limits), limit, params)


@endpoint(SAMPLES, "GET", "POST")
def range_query(params: Params) -> HttpResponse:
    """Answer an expression at each step of a range."""
    limit = params.limit()
    start, end, step_seconds = _range_of(params)
    limits = _limits(params)
    parsed = promql.parse(params.text("query"))
    if parsed.type not in ("scalar", "vector"):
        kind = DOCUMENTED[parsed.type]
        problem = f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
        raise BadData(f'invalid parameter "query": {problem}')
    return _answer(query.range_(parsed, start, end, step_seconds, limits=limits), limit, params)


def _answer(result: promql.Result, limit: int, params: Params) -> HttpResponse:
    warnings = [*result.warnings, TRUNCATED] if is_longer_than(result, limit) else result.warnings
    return success(encode(result, limit, stats=bool(params.text("stats"))), warnings, result.infos)


def _range_of(params: Params) -> tuple[datetime, datetime, float]:
    for name, kind in (("start", "timestamp"), ("end", "timestamp"), ("step", "duration")):
        if not params.text(name):
            raise BadData(f'invalid parameter "{name}": cannot parse "" to a valid {kind}')
    start, end = params.time("start", _BEGIN), params.time("end", _END)
    if end < start:
        raise BadData('invalid parameter "end": end timestamp must not be before start time')
    step_seconds = params.seconds("step") or 0.0
    if round(step_seconds * 1000) <= 0:
        problem = "zero or negative query resolution step widths are not accepted. Try a positive integer"
        raise BadData(f'invalid parameter "step": {problem}')
    most = query.default_limits().max_steps
    if (end - start).total_seconds() / step_seconds > most:
        problem = f"exceeded maximum resolution of {most:,} points per timeseries"
        raise BadData(f"{problem}. Try decreasing the query resolution (?step=XX)")
    return start, end, step_seconds


def _limits(params: Params) -> Limits:
    """The usual limits, the time limit lowered to what the caller is willing to wait."""
    if params.text("lookback_delta"):
        raise BadData('invalid parameter "lookback_delta": it cannot be changed here; it is 5m')
    seconds = params.seconds("timeout")
    if seconds is None:
        return query.default_limits()
    usual = query.default_limits()
    return replace(usual, timeout_seconds=min(max(seconds, MIN_TIMEOUT_SECONDS), usual.timeout_seconds))


@endpoint(SAMPLES, "GET", "POST")
def format_query(params: Params) -> HttpResponse:
    """Answer an expression in canonical form."""
    return success(to_json(promql.parse(params.text("query")).pretty()))


@endpoint(SAMPLES, "GET", "POST")
def series(params: Params) -> HttpResponse:
    """Answer the label sets that match."""
    limit, selectors, (start, end) = params.limit(), params.selectors(is_required=True), params.span()
    found: set[Labels] = set()
    for matchers in selectors:
        found.update(query.series(matchers, start or _BEGIN, end or _END))
    return listed([labels.as_dict() for labels in sorted(found)], limit)


@endpoint(SAMPLES, "GET", "POST")
def label_names(params: Params) -> HttpResponse:
    """Answer the names of labels."""
    limit, (start, end) = params.limit(), params.span()
    sets = _selectors(params)
    return listed(sorted({name for matchers in sets for name in query.label_names(matchers, start, end)}), limit)


@endpoint(SAMPLES, "GET")
def label_values(params: Params, name: str) -> HttpResponse:
    """Answer the values of a label."""
    label, limit, (start, end) = _unescaped(name), params.limit(), params.span()
    sets = _selectors(params)
    return listed(
        sorted({value for matchers in sets for value in query.label_values(label, matchers, start, end)}), limit
    )


def _selectors(params: Params) -> Sequence[Sequence[Matcher]]:
    return params.selectors() or [()]


def _unescaped(name: str) -> str:
    """Return a label name that was escaped for the address (Prometheus, model.UnescapeName: U__my_2e_label)."""
    if not name.startswith("U__"):
        return name
    try:
        return re.sub(r"__|_([0-9A-Fa-f]{1,6})_", lambda found: chr(int(found[1], 16)) if found[1] else "_", name[3:])
    except (ValueError, OverflowError) as error:
        raise BadData(f'invalid label name: "{name}"') from error


@endpoint(SAMPLES, "GET")
def metadata(params: Params) -> HttpResponse:
    """Answer type, help and unit of metrics: what targets say, else what names say."""
    limit, wanted, most = params.limit(), params.text("metric"), params.limit("limit_per_metric")
    known = metric_metadata.metadata(query.metric_names())
    rows = {name: entries[: most or None] for name, entries in known.items() if wanted in ("", name)}
    return success(to_json(dict(list(rows.items())[: limit or None])))


@endpoint(SAMPLES, "GET", "POST")
def exemplars(params: Params) -> HttpResponse:
    """Answer that there are none: the portal keeps no exemplars; a bad expression is told all the same."""
    promql.parse(params.text("query"))
    return success("[]")


@endpoint(SAMPLES, "GET")
def build_information(params: Params) -> HttpResponse:
    """Answer which release's API this is; the portal's own version is the revision."""
    own = {
        "revision": f"alphaq-portal-{settings.VERSION}",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }
    return success(to_json({"version": SPOKEN_VERSION, **own}))


@endpoint(TARGETS, "GET")
def scrape_targets(params: Params) -> HttpResponse:
    """Answer what is scraped, and as dropped what is switched off."""
    state, pool = params.text("state", "any").lower(), params.text("scrapePool")
    rows = Target.objects.select_related("status", "deployment__version__model").order_by("job", "instance_label")
    found = [target for target in rows if pool in ("", target.job)]
    active = [target for target in found if _is_active(target)]
    dropped = [target for target in found if not _is_active(target)]
    body: dict[str, Any] = {"activeTargets": [], "droppedTargets": []}
    if state in ("any", "active"):
        body["activeTargets"] = [_active_target(target) for target in active]
    if state in ("any", "dropped"):
        body["droppedTargets"] = [
            {"discoveredLabels": _discovered(target), "scrapePool": target.job} for target in dropped
        ]
    counts = Counter(target.job for target in dropped)
    body["droppedTargetCounts"] = {job: counts[job] for job in sorted({target.job for target in found})}
    return success(to_json(body))


def _is_active(target: Target) -> bool:
    return target.is_enabled and (target.deployment is None or target.deployment.is_enabled)


def _discovered(target: Target) -> dict[str, str]:
    parts = urlsplit(target.url)
    return {
        "__address__": parts.netloc,
        "__metrics_path__": parts.path,
        "__scheme__": parts.scheme,
        "job": target.job,
        **target.labels,
    }


def _active_target(target: Target) -> dict[str, Any]:
    spec, status = targets.spec_of(target), getattr(target, "status", None)
    return {
        "discoveredLabels": _discovered(target),
        "labels": dict(spec.labels),
        "scrapePool": target.job,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": status.error if status else "",
        "lastScrape": status.scraped_at.isoformat().replace("+00:00", "Z") if status else _NEVER,
        "lastScrapeDuration": status.duration_seconds if status else 0,
        "health": _HEALTH.get(status.state, "unknown") if status else "unknown",
        "scrapeInterval": duration_text(spec.interval_ms),
        "scrapeTimeout": duration_text(round(spec.timeout_seconds * 1000)),
    }


app_name = "api"
urlpatterns = [
    path("query", instant_query, name="query"),
    path("query_range", range_query, name="query_range"),
    path("query_exemplars", exemplars, name="query_exemplars"),
    path("format_query", format_query, name="format_query"),
    path("series", series, name="series"),
    path("labels", label_names, name="labels"),
    path("label/<str:name>/values", label_values, name="label_values"),
    path("metadata", metadata, name="metadata"),
    path("targets", scrape_targets, name="targets"),
    path("models/<path:name>/deploys", deploys, name="deploys"),
    path("status/buildinfo", build_information, name="buildinfo"),
]
