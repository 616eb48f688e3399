"""What the form of a rule asks while somebody types: the check, the chart, and names to complete with."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from alerts import backtest_content, backtest_runs, backtest_views, preview, spread, winners
from alerts.admin.rule_form import simple_fields, typed
from alerts.admin.slack_view import view
from alerts.engine import message_slack, simple
from alerts.engine.units import scales
from alerts.message_preview import Told
from alerts.models import Backtest, Rule
from monitoring import promql, query
from monitoring.promql import QueryError

if TYPE_CHECKING:
    from alerts.admin.rules import RuleAdmin

# A list to choose from; whoever has more metrics types another letter.
MOST_NAMES = 5000
MOST_VALUES = 500
# How far back a row says how often it fired.
_LATELY = timedelta(days=30)


def check(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """The answer to what was typed; saves nothing.

    {"html", "told": who would be told and the message as HTML, "rows": {place: {"words", "tone"}}, "ok", "expr": the
    question in PromQL, "simple": the fields of simple mode or null, "units": [[name, size]], "scopes": {label: values},
    "objects": the registry's among these, "applies": {place: which of them a row is for, in words}, "ties": {place:
    that another row is as exact}, "episodes": {place: how often it fired in 30 days}}.
    """
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        rule, rows = _typed(admin, request)
    except simple.SimpleError as error:
        html = render_to_string("admin/alerts/rule/check.html", {"simple_problem": str(error)}, request)
        return JsonResponse({"html": html, "rows": {}, "ok": False, "field": error.field})
    interval_seconds = rule.group.interval_seconds if rule.group_id else 15.0
    found = preview.check(rule, rows, timezone.now(), interval_seconds, request.POST.get("which_series", ""))
    fields = simple_fields(rule.expr)
    is_open = request.POST.get("mode") == "simple" and rule.kind == Rule.Kind.ALERT and not rows
    needs_limit = is_open and fields and not fields["operator"]
    context = {"check": found, "rule": rule, "needs_limit": needs_limit}
    html = render_to_string("admin/alerts/rule/check.html", context, request)
    return JsonResponse(
        {
            "html": html,
            "told": "" if needs_limit else _told(request, found.told),
            "rows": {row.place: {"words": row.words, "tone": row.tone} for row in found.rows},
            "applies": {one.place: one.row.scope_words for one in rows if one.row is not None and one.row.scope_words},
            "ok": found.is_ok,
            "expr": rule.expr,
            "simple": fields,
            "units": scales(found.unit),
            "ties": found.ties,
            "episodes": winners.episodes({one.place: one.row for one in rows if one.row}, timezone.now() - _LATELY),
            "scopes": found.scopes,
            "objects": spread.registered(found.scopes),
        }
    )


def _told(request: HttpRequest, found: Told | None) -> str:
    """Who would be told, and the message as Slack shows it; "" when the rule tells nobody."""
    if found is None:
        return ""
    message = found.message
    shown = view(message_slack.slack_blocks(message, interactive=True)) if message is not None else None
    return render_to_string("admin/alerts/rule/told.html", {"told": found, "view": shown}, request)


def chart(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """The last hour of what was typed, for static/js/chart.js; {"error"} in words with 422."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        rule, rows = _typed(admin, request)
        return JsonResponse(preview.chart(rule.expr, rows, timezone.now()))
    except (QueryError, simple.SimpleError) as error:
        return JsonResponse({"error": str(error)}, status=422)


def backtest(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """Try what was typed on the past, beside what is saved: its page, or {"url", "state"} for a script."""
    return _ask_history(admin, request, Backtest.Kind.BACKTEST)


def suggest(admin: RuleAdmin, request: HttpRequest) -> HttpResponse:
    """Look for limits that fit the row `suggest_row`: {"url", "state"}; nothing is applied."""
    return _ask_history(admin, request, Backtest.Kind.SUGGEST)


def backtest_all(request: HttpRequest, rules: Iterable[Rule]) -> HttpResponse | None:
    """Queue a backtest of each saved rule and go to their list; None when none could be asked for, with a message."""
    batch, count = uuid.uuid4().hex, 0
    try:
        for rule in rules:
            backtest_views.asked(backtest_runs.sides(rule, None), request, batch=batch)
            count += 1
    except backtest_runs.Refused as error:
        messages.error(request, str(error))
    return redirect(f"{reverse('alerts:backtests')}?batch={batch}") if count else None


def _ask_history(admin: RuleAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Queue a run of what was typed; 422 with {"error"} when it cannot be asked for."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_change_permission(request) and not admin.has_add_permission(request):
        raise PermissionDenied
    try:
        rule, rows = _typed(admin, request)
        made = _asked(request, rule, rows, kind)
    except (backtest_runs.Refused, QueryError, ValueError) as error:
        if request.accepts("text/html"):
            return HttpResponse(str(error), status=422, content_type="text/plain; charset=utf-8")
        return JsonResponse({"error": str(error)}, status=422)
    url = reverse("alerts:backtest", args=[made.pk])
    if request.accepts("text/html"):
        return redirect(url)
    return JsonResponse({"url": url, "state": reverse("alerts:backtest_state", args=[made.pk])})


def _asked(request: HttpRequest, rule: Rule, rows: list[preview.TypedRow], kind: str) -> Backtest:
    for one in rows:
        if one.row is None:
            raise backtest_runs.Refused(f"Complete the rows of limits first: {one.problem or 'one is not complete'}")
    typed = backtest_content.freeze("as typed", rule, [one.row for one in rows if one.row is not None])
    if kind == Backtest.Kind.SUGGEST:
        places = [one.place for one in rows]
        place = request.POST.get("suggest_row", "")
        row = places.index(place) if place in places else (0 if places else None)
        return backtest_views.asked([{**typed, "row": row, "place": place}], request, kind=kind)
    saved = Rule.objects.select_related("group").filter(pk=rule.pk).first()
    return backtest_views.asked(backtest_runs.sides(saved or rule, typed), request)


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
    """The rule and its rows as typed; whoever may only look may check as well, since nothing is saved.

    Raises PermissionDenied, and SimpleError when simple mode is not filled in.
    """
    if not admin.has_view_permission(request):
        raise PermissionDenied
    saved = Rule.objects.select_related("group").filter(pk=_number(request.GET.get("rule"))).first()
    return typed(request.POST, saved)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0
