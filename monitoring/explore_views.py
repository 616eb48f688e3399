"""Explore: a question in PromQL, typed by hand; its answer as graph and table, its error at line and column."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin
from monitoring import promql, query
from monitoring.charts import Span
from monitoring.dashboard_views import RULE_WINDOWS, refusal
from monitoring.dashboards import answers
from monitoring.dashboards.macros import Values, fill, windows
from monitoring.dashboards.spec import QuerySpec
from monitoring.dashboards.window import DEFAULT_RANGE, RANGES, read_points, read_step, read_window
from monitoring.promql import NAME, ParseError, QueryError

VIEW = "monitoring.view_dashboard"
#: Somebody who explores wants to see more than a reader of a dashboard.
MAX_LINES = 50
# A list to choose from; whoever has more metrics types another letter.
MOST_NAMES = 5000
MOST_VALUES = 500
STEPS = ("", "15s", "30s", "1m", "5m", "15m", "1h", "6h", "1d")


class ExplorePage(PortalPageMixin, TemplateView):
    """The field for a question and the room for its answer; the address says both, so that it can be shared."""

    template_name = "monitoring/dashboards/explore.html"
    title = "Explore"
    permission = VIEW

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the question of the address."""
        asked = self.request.GET
        window = read_window(asked, timezone.now())
        step = asked.get("step", "")[:10]
        try:
            rule_url = reverse("admin:alerts_rule_add") if self.request.user.has_perm("alerts.add_rule") else ""
        except NoReverseMatch:
            rule_url = ""
        return super().get_context_data(
            expr=asked.get("expr", "")[:100_000],
            window=window,
            range=window.name if window.name in RANGES else DEFAULT_RANGE,
            ranges=list(RANGES),
            step=step,
            steps=STEPS if step in STEPS else (*STEPS, step),
            rule_url=rule_url,
            rule_windows=RULE_WINDOWS,
            examples=EXAMPLES,
            **kwargs,
        )


EXAMPLES = (
    ("CPU of every host", "cpu_usage_percent"),
    ("Requests by route", "sum by (endpoint) (rate(http_requests_total[$__rate_interval]))"),
    (
        "p90 of each model",
        "histogram_quantile(0.9, sum by (le, model_name) "
        "(rate(model_inference_duration_seconds_bucket[$__rate_interval])))",
    ),
    ("What fires", 'ALERTS{alertstate="firing"}'),
)


@require_POST
def answer_json(request: HttpRequest) -> HttpResponse:
    """Return the answer to a typed question: {"type", "chart", "table", "text", "stats", "step_seconds", "filled"}.

    Form: `expr`, `range` or `from` and `to`, `step`, `points`. 422 with `error` in words, and for a text that is no
    PromQL its `line`, `column` and the line with a `caret` under the place.
    """
    if refused := refusal(request, VIEW):
        return refused
    asked = request.POST
    window = read_window(asked, timezone.now())
    span = read_step(asked.get("step", ""), window, read_points(asked.get("points", "")))
    if window.problem:
        return JsonResponse({"error": window.problem}, status=422)
    macros = windows(window.start.timestamp(), window.end.timestamp(), span.step_seconds)
    expr = fill(asked.get("expr", ""), Values(), macros)
    try:
        return JsonResponse(_answer(expr, span, window.end))
    except ParseError as error:
        place = {"line": error.line, "column": error.column, "caret": error.caret_text}
        return JsonResponse({"error": error.message, **place}, status=422)
    except QueryError as error:
        return JsonResponse({"error": str(error)}, status=422)


def _answer(expr: str, span: Span, at: datetime) -> dict[str, Any]:
    parsed = promql.parse(expr)
    now = query.instant(parsed, at)
    asked = answers.Asked(QuerySpec(expr), now)
    found: dict[str, Any] = {
        "type": parsed.type, "filled": expr, "step_seconds": span.step_seconds, "chart": None, "text": "",
        "stats": {"series": now.stats.series, "samples": now.stats.samples, "seconds": now.stats.wall_seconds},
        "warnings": [*now.warnings, *now.infos],
    }  # fmt: skip
    if parsed.type == "string":
        return {**found, "text": now.string, "table": {"columns": [], "rows": [], "numbers": []}}
    if now.raw:
        return {**found, "table": _raw_table(now)}
    drawn = query.range_(parsed, span.start, span.end, span.step_seconds)
    stats = {"series": drawn.stats.series, "samples": drawn.stats.samples, "seconds": drawn.stats.wall_seconds}
    chart = answers.columns([answers.Asked(QuerySpec(expr), drawn)], MAX_LINES)
    warnings = list(dict.fromkeys([*now.warnings, *now.infos, *drawn.warnings, *drawn.infos]))
    return {**found, "chart": chart, "table": answers.table([asked]), "stats": stats, "warnings": warnings}


def _raw_table(answer: promql.Result) -> dict[str, Any]:
    """Return a range selector's answer, which cannot be drawn: how many samples a series has, and its newest."""
    names = sorted({name for one in answer.raw for name, _ in one.labels}, key=lambda name: (name != NAME, name))
    rows = [
        [*(one.labels.get(name) for name in names), len(one.ts), *answers.plain(one.values[-1:])]
        for one in answer.raw[: answers.MAX_ROWS]
    ]
    titles = ["metric" if name == NAME else name for name in names]
    return {
        "columns": [*titles, "samples", "newest value"], "rows": rows, "numbers": [len(titles), len(titles) + 1],
        "note": "This selects a range: wrap it into a function such as rate(…) to draw it.",
    }  # fmt: skip


@require_GET
def names_json(request: HttpRequest) -> HttpResponse:
    """Return words to complete with: metrics and functions; with `metric` its labels, with `label` its values."""
    if refused := refusal(request, VIEW):
        return refused
    metric, label = request.GET.get("metric", ""), request.GET.get("label", "")
    matchers = (promql.Matcher("=", NAME, metric),) if metric else ()
    if label:
        return JsonResponse({"values": query.label_values(label, matchers)[:MOST_VALUES]})
    if metric:
        return JsonResponse({"labels": [name for name in query.label_names(matchers) if name != NAME]})
    functions = [{"name": one.name, "detail": one.signature, "help": one.help} for one in promql.FUNCTIONS.values()] + [
        {"name": name, "detail": "aggregation", "help": text} for name, text in promql.AGGREGATION_HELP.items()
    ]
    return JsonResponse({"metrics": query.metric_names()[:MOST_NAMES], "functions": functions})
