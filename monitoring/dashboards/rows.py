"""Dashboards between rows and specifications: saved, read back, found for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.text import slugify

from monitoring.dashboards.spec import (
    DashboardSpec,
    PanelSpec,
    QuerySpec,
    Step,
    VariableSpec,
    plain_variable,
    variable_of,
)
from monitoring.models import Dashboard, Panel, PanelQuery

#: A page that refreshes must not write a row each time.
VIEW_EVERY = timedelta(minutes=1)
_MOST_SLUG = 90


def save(spec: DashboardSpec, source: str, *, replacing: Dashboard | None = None, builtin_key: str = "") -> Dashboard:
    """Return the saved dashboard; `replacing` keeps its address and loses its panels. In one transaction."""
    with transaction.atomic():
        row = replacing or Dashboard(slug=free_slug(spec.slug or spec.title), builtin_key=builtin_key)
        row.title, row.description, row.tags = spec.title, spec.description, list(spec.tags)
        row.variables = [plain_variable(one) for one in spec.variables]
        row.default_range, row.refresh_seconds = spec.default_range, spec.refresh_seconds
        row.source, row.loaded_digest = source, spec.digest()
        row.full_clean()
        row.save()
        if replacing:
            row.panels.all().delete()
        for position, panel in enumerate(spec.panels):
            _save_panel(row, position, panel)
    return row


def _save_panel(dashboard: Dashboard, position: int, spec: PanelSpec) -> None:
    content = asdict(spec)
    del content["queries"]
    content["thresholds"] = [asdict(step) for step in spec.thresholds]
    panel = Panel(dashboard=dashboard, position=position, **content)
    panel.full_clean(exclude=["dashboard"], validate_unique=False)
    panel.save()
    for place, one in enumerate(spec.queries):
        query = PanelQuery(panel=panel, position=place, expr=one.expr, legend=one.legend)
        query.full_clean(exclude=["panel"])
        query.save()


def free_slug(text: str) -> str:
    """Return an address for a title that no dashboard has yet: "gpu", then "gpu-2"."""
    wanted = slugify(text)[:_MOST_SLUG] or "dashboard"
    # What addresses under /dashboards/ mean already.
    taken = {"import", "new", *Dashboard.objects.filter(slug__startswith=wanted).values_list("slug", flat=True)}
    number, slug = 2, wanted
    while slug in taken:
        number, slug = number + 1, f"{wanted}-{number}"
    return slug


def spec_of(dashboard: Dashboard) -> DashboardSpec:
    """Return a dashboard with its panels, in two queries; variables that no longer make sense are left out."""
    panels = dashboard.panels.order_by("position", "number").prefetch_related("queries")
    return DashboardSpec(
        title=dashboard.title,
        panels=tuple(panel_spec(panel, list(panel.queries.all())) for panel in panels),
        description=dashboard.description,
        tags=tuple(dashboard.tags),
        variables=tuple(variables_of(dashboard)),
        default_range=dashboard.default_range,
        refresh_seconds=dashboard.refresh_seconds,
        slug=dashboard.slug,
    )


def panel_spec(panel: Panel, queries: Sequence[PanelQuery]) -> PanelSpec:
    """Return a panel as a value; the rows need not be saved."""
    return PanelSpec(
        number=panel.number,
        title=panel.title,
        kind=panel.kind,
        queries=tuple(QuerySpec(one.expr, one.legend) for one in queries),
        description=panel.description,
        section=panel.section,
        width=panel.width,
        height=panel.height,
        unit=panel.unit,
        minimum=panel.minimum,
        maximum=panel.maximum,
        is_stacked=panel.is_stacked,
        calculation=panel.calculation,
        thresholds=tuple(Step(step.get("value"), step.get("severity", "info")) for step in panel.thresholds),
    )


def variables_of(dashboard: Dashboard) -> list[VariableSpec]:
    """Return the dashboard's variables."""
    return [variable_of(one) for one in dashboard.variables if isinstance(one, dict) and one.get("name")]


def note_view(dashboard: Dashboard, at: datetime) -> None:
    """Remember that somebody looked at a dashboard, at most once a minute."""
    if dashboard.viewed_at is None or at - dashboard.viewed_at > VIEW_EVERY:
        Dashboard.objects.filter(pk=dashboard.pk).update(viewed_at=at)
