"""The page of one model: how it does, its versions and deploys, where it runs, whether it answers, what fired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import structlog
from django.db.models import Count, Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring import model_facts
from monitoring.dashboard_views import panel_options
from monitoring.dashboards import answers, marks
from monitoring.dashboards.builtin_specs import MODEL, MODEL_PAGE, VERSION
from monitoring.dashboards.macros import ALL, Values
from monitoring.dashboards.spec import PanelSpec, Step
from monitoring.dashboards.window import read_points, read_window
from monitoring.models import Deployment, ModelVersion, ServedModel
from monitoring.promql import Matcher, QueryError

log = structlog.get_logger(__name__)
VIEW = "monitoring.view_servedmodel"
SHOWN_DEPLOYS = 20
REFRESH_SECONDS = 15
#: Of monitoring.dashboards.window.RANGES, those that a row of buttons has room for.
SHOWN_RANGES = ("15m", "1h", "6h", "24h", "7d", "30d")
#: Numbers of this page stand in tiles above; its charts are those of the built-in dashboard.
PANELS = tuple(panel for panel in MODEL_PAGE.panels if panel.kind == "timeseries")


@dataclass(frozen=True)
class Tile:
    """One number of now; `tone` is a severity or empty."""

    name: str
    value: float | None
    unit: str = "short"
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class PanelView:
    """A chart of the page; `exprs` are its queries, for whoever knows limits on them."""

    spec: PanelSpec
    url: str
    options: str


class ModelPage(PortalPageMixin, TemplateView):
    """Everything about one model on one page."""

    template_name = "portal/model.html"
    permission = VIEW

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the model, its numbers now, its charts and its rows."""
        model = get_object_or_404(ServedModel.objects.select_related("owner"), name=kwargs["name"])
        at = timezone.now()
        window = read_window(self.request.GET, at)
        facts, past, problem = _measured(model.name, at)
        versions = list(
            model.versions.annotate(deployed_at=Max("deploys__at"), places=Count("deployments", distinct=True))
        )
        range_query = urlencode({"range": window.name})
        user = self.request.user
        return super().get_context_data(
            title=f"Model {model.name}",
            trail=[("Models", admin_url(ServedModel))],
            here=model.name,
            model=model,
            at=at,
            facts=facts,
            tiles=_tiles(facts, versions),
            problem=problem,
            panels=[_panel(model, panel, versions, range_query) for panel in PANELS],
            marks_url=f"{reverse('monitoring:model_marks', args=[model.name])}?{range_query}",
            range=window.name,
            ranges=SHOWN_RANGES,
            refresh=REFRESH_SECONDS,
            versions=versions,
            unregistered=sorted(set(facts.seen) - {one.version for one in versions}),
            deploys=model.deploys.select_related("version", "deployment__host")[:SHOWN_DEPLOYS],
            deployments=_deployments(model),
            past=past,
            alerts_url=_address("alerts:alerts", q=model.name),
            rules_url=_address("admin:alerts_rule_changelist"),
            change_url=admin_url(model) if user.has_perm("monitoring.change_servedmodel") else "",
            add_deployment_url=admin_url(Deployment, "add") if user.has_perm("monitoring.add_deployment") else "",
            **kwargs,
        )


def _measured(name: str, at: datetime) -> tuple[model_facts.Facts, list[model_facts.PastAlert], str]:
    """Return what the store says, or why it says nothing: the registry's part of the page shows all the same."""
    try:
        facts = model_facts.newest(at, name).get(name, model_facts.Facts())
        return facts, model_facts.past_alerts(name, at), ""
    except QueryError as error:
        log.warning("model_page_without_numbers", model=name, error=str(error))
        return model_facts.Facts(), [], str(error)


def _tiles(facts: model_facts.Facts, versions: Sequence[ModelVersion]) -> list[Tile]:
    baseline = _baseline(versions)
    share = facts.error_ratio
    wanted = f"baseline {baseline:.4g}" if baseline is not None else ""
    is_worse = facts.accuracy is not None and baseline is not None and facts.accuracy < baseline
    return [
        Tile("Inferences", facts.requests_per_second, "/s", "over 5 min"),
        Tile("p95 latency", facts.p95_seconds, "seconds", "over 5 min"),
        Tile("Errors", share, "ratio", "of inferences, over 5 min", "warning" if share else ""),
        Tile("Accuracy", facts.accuracy, "ratio", wanted, "warning" if is_worse else ""),
        Tile("Queue", facts.queue, "short", "waiting now"),
        Tile("Batch", facts.batch, "short", "inputs at a time"),
    ]


def _baseline(versions: Sequence[ModelVersion]) -> float | None:
    """The accuracy that the newest version in production was accepted with."""
    production = [one for one in versions if one.stage == ModelVersion.Stage.PRODUCTION and one.baseline]
    newest = max(production, key=lambda one: one.promoted_at.timestamp() if one.promoted_at else 0, default=None)
    value = newest.baseline.get("accuracy") if newest else None
    return float(value) if isinstance(value, int | float) else None


def _panel(model: ServedModel, panel: PanelSpec, versions: Sequence[ModelVersion], query: str) -> PanelView:
    baseline = _baseline(versions)
    if baseline is not None and panel.unit == "ratio":
        panel = replace(panel, thresholds=(Step(baseline, "info"),))
    url = reverse("monitoring:model_panel", args=[model.name, panel.number])
    return PanelView(panel, f"{url}?{query}", json.dumps(panel_options(panel)))


def _deployments(model: ServedModel) -> list[Deployment]:
    rows = Deployment.objects.filter(version__model=model)
    return list(
        rows.select_related("version__model", "host", "target__status", "probe__state").order_by("-deployed_at")
    )


def _address(name: str, **query: str) -> str:
    try:
        url = reverse(name)
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode(query)}" if query else url


def _values(name: str) -> Values:
    return Values((MODEL, VERSION), {"model": (name,), "version": (ALL,)})


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in again."}, status=401)
    if not request.user.has_perm(VIEW):
        return JsonResponse({"error": "You may not see models."}, status=403)
    return None


@require_GET
def panel_json(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Return the columns of a chart of a model (monitoring.dashboards.answers.show); 422 with `error` in words."""
    if refused := _refusal(request):
        return refused
    panel = next((one for one in PANELS if one.number == number), None)
    if panel is None:
        raise Http404
    span = read_window(request.GET, timezone.now()).span(read_points(request.GET.get("points", "")))
    try:
        return JsonResponse(answers.show(panel, span, _values(name)))
    except QueryError as error:
        return JsonResponse({"error": answers.words_of(error)}, status=422)


@require_GET
def marks_json(request: HttpRequest, name: str) -> HttpResponse:
    """Return when alerts of a model fired and its versions were deployed: {"bands", "deploys"}."""
    if refused := _refusal(request):
        return refused
    span = read_window(request.GET, timezone.now()).span(read_points(request.GET.get("points", "")))
    scope = marks.Scope((Matcher("=", "model_name", name),), (name,))
    try:
        return JsonResponse({"bands": marks.bands(span, scope), "deploys": marks.deploys(span, scope)})
    except QueryError as error:
        return JsonResponse({"error": answers.words_of(error)}, status=422)
