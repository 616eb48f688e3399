"""Pages of rules tried on the past: one run with its outcome, the list of runs, and what the rule form asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models.functions import JSONObject
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView, View

from alerts import backtest_runs, tasks
from alerts.backtest_report import SHOWN_EPISODES
from alerts.models import Backtest
from alphaq_portal.ui import PortalPageMixin, admin_url

STEPS = {"0": "as evaluated", "60": "1 min", "300": "5 min", "900": "15 min"}
_MOMENTS = frozenset(("start", "end", "first", "last", "from", "to", "at", "pending_at", "evaluated_until", "cut_at"))
_AROUND = timedelta(minutes=30)
_PAGE = 50
# In a form the newest few are enough; its page has all.
BRIEF = 8


class BacktestPage(PortalPageMixin, TemplateView):
    """One run: its progress, and once it is done its outcome; with `fragment` in the address only that part."""

    template_name = "alerts/backtest.html"
    permission = "alerts.view_rule"

    def get_template_names(self) -> list[str]:
        """The part alone for who waits for it."""
        return ["alerts/backtest_part.html"] if "fragment" in self.request.GET else [self.template_name]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The run, its sides as the template draws them, and what can be asked next."""
        run = get_object_or_404(Backtest.objects.select_related("rule", "asked_by"), pk=kwargs.pop("pk"))
        is_brief = self.request.GET.get("fragment") == "brief"
        result = shown(run, BRIEF if is_brief else SHOWN_EPISODES)
        return super().get_context_data(
            title=f"{run.name} on the past",
            trail=[("Backtests", reverse("alerts:backtests"))],
            here=f"{run.name} {run.pk}",
            run=run,
            result=result,
            waiting=_before(run),
            percent=math.floor(run.progress * 100),
            at=timezone.now(),
            spans=[*backtest_runs.SPANS, backtest_runs.ALL],
            steps=list(STEPS.items()),
            step=f"{run.step_seconds:g}",
            may_ask=self.request.user.has_perm("alerts.change_rule"),
            rule_url=admin_url(run.rule) if run.rule else "",
            **kwargs,
        )


class BacktestList(PortalPageMixin, TemplateView):
    """The newest runs with what came of them; those that were asked for together by their batch."""

    template_name = "alerts/backtests.html"
    title = "Backtests"
    permission = "alerts.view_rule"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """One page of runs; of their results only the figures that the list shows are read."""
        batch = self.request.GET.get("batch", "")[:32]
        runs = Backtest.objects.filter(kind=Backtest.Kind.BACKTEST)
        runs = runs.filter(batch=batch) if batch else runs
        figures = JSONObject(
            episodes="result__sides__0__episode_count", now="result__sides__1__episode_count",
            seconds="result__sides__0__firing_seconds", posts="result__sides__0__told__posts",
            problem="result__sides__0__problem",
        )  # fmt: skip
        rows = runs.select_related("rule", "asked_by").defer("result", "content").annotate(figures=figures)
        page = Paginator(rows, _PAGE).get_page(self.request.GET.get("page", 1))
        return super().get_context_data(
            page=page, batch=batch, at=timezone.now(), is_open=any(run.is_open for run in page), **kwargs
        )


class Again(PortalPageMixin, View):
    """The same rules once more, over another range or at another step."""

    permission = "alerts.change_rule"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue it and go to it."""
        run = get_object_or_404(Backtest, pk=pk)
        try:
            made = asked(run.content, request, kind=run.kind)
        except backtest_runs.Refused as error:
            messages.error(request, str(error))
            return redirect("alerts:backtest", pk)
        return redirect("alerts:backtest", made.pk)


class Stop(PortalPageMixin, View):
    """Stop a run that waits or is under way."""

    permission = "alerts.change_rule"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop it and go back to it."""
        backtest_runs.stop(pk, timezone.now())
        return redirect("alerts:backtest", pk)


@require_GET
def state_json(request: HttpRequest, pk: int) -> HttpResponse:
    """How far a run is and what came of it: {"state", "progress", "problem", "result"}; 401 or 403 without right."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in again."}, status=401)
    if not request.user.has_perm("alerts.view_rule"):
        return JsonResponse({"error": "You may not see rules."}, status=403)
    run = get_object_or_404(Backtest, pk=pk)
    return JsonResponse(
        {
            "state": run.state, "is_open": run.is_open, "progress": run.progress, "problem": run.problem,
            "result": run.result, "waiting": _before(run),
        }
    )  # fmt: skip


def asked(contents: Sequence[dict[str, Any]], request: HttpRequest, **more: Any) -> Backtest:
    """Queue a run over the range and step of the request; raises Refused."""
    typed = request.POST
    user = request.user if isinstance(request.user, User) else None
    default = backtest_runs.SUGGEST_SPAN if more.get("kind") == Backtest.Kind.SUGGEST else backtest_runs.DEFAULT_SPAN
    step = typed.get("backtest_step", "0")
    made = backtest_runs.ask(
        contents, user, timezone.now(), span=typed.get("backtest_span") or default,
        step_seconds=float(step) if step in STEPS else 0.0, **more,
    )  # fmt: skip
    tasks.enqueue_backtests()
    return made


def shown(run: Backtest, episodes: int = SHOWN_EPISODES) -> dict[str, Any] | None:
    """The result with its moments as datetimes, and for each of so many episodes its time in Explore."""
    if run.result is None or run.kind != Backtest.Kind.BACKTEST:
        return run.result
    # Charts go to the browser as they are.
    found: dict[str, Any] = _with_moments({**run.result, "sides": [_without_chart(one) for one in run.result["sides"]]})
    for side, stored in zip(found["sides"], run.result["sides"], strict=True):
        side["chart"] = {
            "data": stored["chart"], "unit": stored["unit"], "thresholds": stored["thresholds"], "sync": "backtest",
        }  # fmt: skip
        side["episodes"] = side["episodes"][:episodes]
        for episode in side["episodes"]:
            episode["explore"] = _explore(side["expr"], episode, found["end"])
    return found


def _without_chart(side: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in side.items() if name != "chart"}


def _with_moments(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _with_moments(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_moments(one) for one in value]
    return datetime.fromisoformat(value) if name in _MOMENTS and isinstance(value, str) else value


def _explore(expr: str, episode: Mapping[str, Any], end: datetime) -> str:
    """Explore around an episode, with half an hour on both sides."""
    first, last = episode["pending_at"] - _AROUND, (episode["end"] or end) + _AROUND
    form = "%Y-%m-%dT%H:%M:%SZ"
    return f"{reverse('monitoring:explore')}?" + urlencode(
        {"expr": expr, "from": first.strftime(form), "to": last.strftime(form)}
    )


def _before(run: Backtest) -> int:
    """How many runs come before one that waits."""
    if run.state != Backtest.State.QUEUED:
        return 0
    return Backtest.objects.filter(state__in=(Backtest.State.QUEUED, Backtest.State.RUNNING), pk__lt=run.pk).count()
