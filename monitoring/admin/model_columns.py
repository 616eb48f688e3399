"""The columns of the list of models: what the registry says, and what their servers report now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import display
from monitoring import model_facts, units
from monitoring.model_facts import Facts
from monitoring.models import Deploy, ModelVersion, ServedModel
from monitoring.promql import QueryError
from monitoring.templatetags.portal import ago

log = structlog.get_logger(__name__)
STAGES = {
    "production": "success",
    "staging": "info",
    "development": "default",
    "archived": "default",
    "none": "default",
}
#: The furthest stage of its versions is a model's stage.
_ORDER = ("production", "staging", "development", "archived")


def facts_now() -> dict[str, Facts]:
    """Return the facts of all models, none when the store does not answer: the list must show all the same."""
    try:
        return model_facts.newest(timezone.now())
    except QueryError as error:
        log.warning("models_without_numbers", error=str(error))
        return {}


class SeenFilter(admin.SimpleListFilter):
    """Models whose servers are silent, or say they are another version than the registry knows."""

    title = "seen"
    parameter_name = "seen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("no", "no series"), ("drift", "versions differ from the registry")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ServedModel]) -> QuerySet[ServedModel]:
        """Return the models that fit the choice."""
        if self.value() not in ("no", "drift"):
            return queryset
        seen = {name: facts.seen for name, facts in facts_now().items() if facts.seen}
        if self.value() == "no":
            return queryset.exclude(name__in=seen)
        known = set(ModelVersion.objects.values_list("model__name", "version"))
        drifting = [name for name, versions in seen.items() if any((name, one) not in known for one in versions)]
        return queryset.filter(name__in=drifting)


class ModelColumns:
    """Columns for ServedModelAdmin; numbers of all models are asked for once a page, not once a row."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        """The models with their versions and the time of their last deploy."""
        newest = Deploy.objects.filter(model=OuterRef("pk")).order_by("-at").values("at")[:1]
        rows: QuerySet[ServedModel] = super().get_queryset(request)  # type: ignore[misc]
        return rows.prefetch_related("versions").annotate(last_deploy_at=Subquery(newest))

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with each row's facts on the row."""
        changelist: ChangeList = super().get_changelist_instance(request)  # type: ignore[misc]
        found = facts_now() if changelist.result_list else {}
        for model in changelist.result_list:
            model.facts, model.shown_at = found.get(model.name, Facts()), timezone.now()
        return changelist

    def view_on_site(self, model: ServedModel) -> str:
        """Return the page of the model."""
        return reverse("monitoring:model", args=[model.name])

    @display(description="Model", ordering="name")
    def title(self, model: ServedModel) -> SafeString:
        """The name, leading to the model's page."""
        return format_html('<a class="aq-strong" href="{}">{}</a>', self.view_on_site(model), model.name)

    @display(description="Stage", label=STAGES)
    def stage(self, model: ServedModel) -> str:
        """The furthest stage of its versions."""
        there = {version.stage for version in model.versions.all()}
        return next((stage for stage in _ORDER if stage in there), "none")

    @display(description="In production / seen")
    def versions_seen(self, model: ServedModel) -> SafeString:
        """The versions in production by the registry, and those that its servers say they are."""
        rows = list(model.versions.all())
        registered = ", ".join(one.version for one in rows if one.stage == ModelVersion.Stage.PRODUCTION) or "–"
        seen = _facts(model).seen
        is_drift = bool(set(seen) - {one.version for one in rows})
        tone = "aq-label is-warning" if is_drift else "aq-muted"
        return format_html('{} / <span class="{}">{}</span>', registered, tone, ", ".join(seen) or "–")

    @display(description="Inferences")
    def requests(self, model: ServedModel) -> SafeString | str:
        """Inferences a second over five minutes."""
        return _number(model, lambda facts: facts.requests_per_second, "/s")

    @display(description="p95")
    def p95(self, model: ServedModel) -> SafeString | str:
        """The 95th percentile of the latency over five minutes."""
        return _number(model, lambda facts: facts.p95_seconds, "seconds")

    @display(description="Errors")
    def errors(self, model: ServedModel) -> SafeString | str:
        """Failed inferences as a share of all."""
        return _number(model, lambda facts: facts.error_ratio, "ratio")

    @display(description="Accuracy")
    def accuracy(self, model: ServedModel) -> SafeString | str:
        """The lowest accuracy that any of its servers reports."""
        return _number(model, lambda facts: facts.accuracy, "ratio")

    @display(description="Firing")
    def firing(self, model: ServedModel) -> SafeString | str:
        """How many alerts of it fire."""
        facts = _facts(model)
        return (
            format_html('<span class="aq-label is-{}">{}</span>', facts.worst, facts.firing_count)
            if facts.firing
            else ""
        )

    @display(description="Last deploy", ordering="last_deploy_at")
    def last_deploy(self, model: ServedModel) -> SafeString | str:
        """How long ago a version of it was deployed."""
        at = model.last_deploy_at  # type: ignore[attr-defined]
        return ago(at, model.shown_at) if at else ""  # type: ignore[attr-defined]


def _facts(model: ServedModel) -> Facts:
    return getattr(model, "facts", None) or Facts()


def _number(model: ServedModel, value: Callable[[Facts], float | None], unit: str) -> SafeString | str:
    found = value(_facts(model))
    return "" if found is None else format_html('<span class="aq-nowrap">{}</span>', units.number(found, unit))
