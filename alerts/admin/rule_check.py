"""What the form of a rule asks while somebody types: the check, the chart, and names to complete with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone

from alerts import preview
from alerts.admin.rule_form import typed
from alerts.models import Rule
from monitoring import promql, query
from monitoring.promql import QueryError

if TYPE_CHECKING:
    from alerts.admin.rules import RuleAdmin

# A list to choose from; whoever has more metrics types another letter.
MOST_NAMES = 5000
MOST_VALUES = 500


def check(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """The answer to what was typed: {"html", "rows": {place: {"words", "tone"}}, "ok"}; saves nothing."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    rule, rows = _typed(admin, request)
    found = preview.check(rule, rows, timezone.now(), rule.group.interval_seconds if rule.group_id else 15.0)
    html = render_to_string("admin/alerts/rule/check.html", {"check": found, "rule": rule}, request)
    told = {row.place: {"words": row.words, "tone": row.tone} for row in found.rows}
    return JsonResponse({"html": html, "rows": told, "ok": found.is_ok})


def chart(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """The last hour of what was typed, for static/js/chart.js; {"error"} in words with 422."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    rule, rows = _typed(admin, request)
    try:
        return JsonResponse(preview.chart(rule.expr, rows, timezone.now()))
    except QueryError as error:
        return JsonResponse({"error": str(error)}, status=422)


def names(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """Words to complete with: metrics and functions; with `metric` its labels, with `label` its values."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    metric, label = request.GET.get("metric", ""), request.GET.get("label", "")
    matchers = (promql.Matcher("=", promql.NAME, metric),) if metric else ()
    if label:
        return JsonResponse({"values": query.label_values(label, matchers)[:MOST_VALUES]})
    if metric:
        return JsonResponse({"labels": [name for name in query.label_names(matchers) if name != promql.NAME]})
    functions = [{"name": one.name, "detail": one.signature, "help": one.help} for one in promql.FUNCTIONS.values()] + [
        {"name": name, "detail": "aggregation", "help": text} for name, text in promql.AGGREGATION_HELP.items()
    ]
    return JsonResponse({"metrics": query.metric_names()[:MOST_NAMES], "functions": functions})


def _typed(admin: RuleAdmin, request: HttpRequest) -> tuple[Rule, list[preview.TypedRow]]:
    """The rule and its rows as typed; whoever may only look may check as well, since nothing is saved."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    saved = Rule.objects.select_related("group").filter(pk=_number(request.GET.get("rule"))).first()
    return typed(request.POST, saved)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0
