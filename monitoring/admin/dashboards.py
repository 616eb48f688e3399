"""Dashboards in the admin: their panels, and each panel with its queries and a preview of what is typed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import (
    ChoicesDropdownFilter,
    HistoryAdmin,
    JsonWidget,
    StackedInline,
    TabularInline,
    UnfoldAdminTextareaWidget,
    admin_url,
    display,
)
from monitoring.dashboard_views import panel_options
from monitoring.dashboards import answers, rows
from monitoring.dashboards.choices import choose_for
from monitoring.dashboards.grafana_panel import query_problem
from monitoring.dashboards.macros import probe_values
from monitoring.dashboards.window import DEFAULT_RANGE, RANGES, read_points, read_window
from monitoring.models import Dashboard, Panel, PanelQuery
from monitoring.promql import QueryError
from monitoring.templatetags.portal import ago


class PromqlWidget(UnfoldAdminTextareaWidget):
    """A monospaced field with completion; without JavaScript it is just a field."""

    template_name = "monitoring/dashboards/promql_widget.html"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        given = {
            "rows": 2, "class": "aq-mono", "spellcheck": "false", "autocapitalize": "off", "autocomplete": "off",
            "data-aq-promql": "",
        }  # fmt: skip
        super().__init__({**given, **(attrs or {})})


class PanelInline(TabularInline):
    """The panels of a dashboard, a line each; the last column leads to their queries."""

    model = Panel
    fields = ["position", "title", "kind", "unit", "width", "height", "section", "asks"]
    readonly_fields = ["asks"]
    ordering = ["position", "number"]
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Panel]:
        """Return the panels with the number of their queries."""
        return super().get_queryset(request).annotate(query_count=Count("queries"))

    @display(description="Queries")
    def asks(self, panel: Panel) -> SafeString | str:
        """How many queries it has, leading to them."""
        if not panel.pk:
            return "save first"
        count = getattr(panel, "query_count", 0)
        words = f"{count} {'query' if count == 1 else 'queries'}" if count else "add a query"
        return format_html('<a class="aq-link" href="{}">{}</a>', admin_url(panel), words)


class DashboardForm(forms.ModelForm):
    """A dashboard; the time shown at first is one of those on offer."""

    class Meta:
        model = Dashboard
        fields = [
            "title", "slug", "description", "owner", "tags", "default_range", "refresh_seconds", "variables",
            "shows_alerts", "alert_matchers",
        ]  # fmt: skip
        widgets = {
            "description": UnfoldAdminTextareaWidget({"rows": 2}),
            "tags": JsonWidget({"rows": 1}),
            "variables": JsonWidget({"rows": 5}),
        }

    def clean_default_range(self) -> str:
        """Refuse a range that the page does not offer."""
        chosen: str = self.cleaned_data["default_range"] or DEFAULT_RANGE
        if chosen not in RANGES:
            raise ValidationError(f"Choose one of {', '.join(RANGES)}.")
        return chosen


@admin.register(Dashboard)
class DashboardAdmin(HistoryAdmin):
    """Pages of panels; what is built in may be edited like any other and is then left alone by new releases."""

    form = DashboardForm
    list_display = ["title", "origin", "panel_count", "owner", "viewed"]
    list_filter = [("source", ChoicesDropdownFilter), "owner"]
    search_fields = ["title", "description"]
    prepopulated_fields = {"slug": ["title"]}
    autocomplete_fields = ["owner"]
    inlines = [PanelInline]
    fieldsets = [
        (None, {"fields": ["title", "slug", "description", "owner", "tags"]}),
        ("Page", {"fields": ["default_range", "refresh_seconds", "variables", "shows_alerts", "alert_matchers"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dashboard]:
        """Return the dashboards with the number of their panels."""
        return super().get_queryset(request).select_related("owner").annotate(panels_here=Count("panels"))

    def view_on_site(self, dashboard: Dashboard) -> str:
        """Return the page itself."""
        return reverse("monitoring:dashboard", args=[dashboard.slug])

    @display(description="Source", ordering="source", label={"built in": "info", "imported from Grafana": "warning"})
    def origin(self, dashboard: Dashboard) -> str:
        """Where it came from."""
        return str(dashboard.get_source_display())

    @display(description="Panels", ordering="panels_here")
    def panel_count(self, dashboard: Dashboard) -> int:
        """How many panels it has."""
        return int(dashboard.panels_here)  # type: ignore[attr-defined]

    @display(description="Last view", ordering="viewed_at")
    def viewed(self, dashboard: Dashboard) -> SafeString:
        """When somebody last looked at it."""
        return ago(dashboard.viewed_at, timezone.now())


class PanelForm(forms.ModelForm):
    """A panel without its queries."""

    class Meta:
        model = Panel
        fields = [
            "dashboard", "title", "kind", "unit", "minimum", "maximum", "is_stacked", "calculation", "thresholds",
            "width", "height", "position", "section", "description",
        ]  # fmt: skip
        widgets = {"description": UnfoldAdminTextareaWidget({"rows": 2}), "thresholds": JsonWidget({"rows": 2})}


class QueryForm(forms.ModelForm):
    """One query of a panel."""

    class Meta:
        model = PanelQuery
        fields = ["expr", "legend", "position"]
        widgets = {"expr": PromqlWidget()}


class QueryFormSet(BaseInlineFormSet):
    """The queries of a panel; each must be PromQL once its dashboard's variables are filled in."""

    def clean(self) -> None:
        """Point at the place of a query that is no PromQL."""
        super().clean()
        panel: Panel = self.instance
        variables = rows.variables_of(panel.dashboard) if panel.dashboard_id else []
        for form in self.forms:
            expr = form.cleaned_data.get("expr", "") if hasattr(form, "cleaned_data") else ""
            if (
                expr
                and not form.cleaned_data.get("DELETE")
                and (problem := query_problem(expr, probe_values(variables)))
            ):
                form.add_error("expr", problem)


class QueryInline(StackedInline):
    """The queries of a panel, in order."""

    model = PanelQuery
    form = QueryForm
    formset = QueryFormSet
    ordering = ["position", "pk"]


@admin.register(Panel)
class PanelAdmin(HistoryAdmin):
    """One panel; reached from its dashboard."""

    form = PanelForm
    list_display = ["name", "dashboard", "kind", "unit"]
    list_filter = ["dashboard", ("kind", ChoicesDropdownFilter)]
    list_select_related = ["dashboard"]
    search_fields = ["title", "queries__expr"]
    inlines = [QueryInline]
    change_form_template = "monitoring/dashboards/panel_form.html"
    autocomplete_fields = ["dashboard"]
    fieldsets = [
        (None, {"fields": ["dashboard", "title", "kind", "unit"]}),
        (
            "Look",
            {
                "fields": [
                    ("minimum", "maximum"), ("is_stacked", "calculation"), "thresholds", ("width", "height"),
                    ("position", "section"), "description",
                ]
            },
        ),
    ]  # fmt: skip

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Panels are no place of their own in the admin's index: they belong to dashboards."""
        return False

    def get_urls(self) -> list[Any]:
        """The preview comes before the row's own addresses."""
        preview = self.admin_site.admin_view(self.preview)
        return [path("preview/", preview, name="monitoring_panel_preview"), *super().get_urls()]

    def view_on_site(self, panel: Panel) -> str:
        """Return the dashboard's page, at the panel."""
        return f"{reverse('monitoring:dashboard', args=[panel.dashboard.slug])}#panel-{panel.number}"

    @display(description="Panel", ordering="title")
    def name(self, panel: Panel) -> str:
        """Its title, or its number."""
        return str(panel)

    @display(description="Dashboard", ordering="dashboard__title")
    def dashboard_link(self, panel: Panel) -> SafeString:
        """The dashboard, leading to its form."""
        return format_html('<a href="{}">{}</a>', admin_url(panel.dashboard), panel.dashboard.title)

    def preview(self, request: HttpRequest) -> HttpResponse:
        """Return what the typed panel would show in the last hour: {"options", "data"}, or 422 with `error`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        number = request.POST.get("dashboard", "")
        dashboard = Dashboard.objects.filter(pk=number).first() if number.isdecimal() and len(number) < 19 else None
        spec = rows.panel_spec(_typed_panel(request), _typed_queries(request))
        variables = rows.variables_of(dashboard) if dashboard else []
        window = read_window({}, timezone.now(), DEFAULT_RANGE)
        try:
            texts = [text for one in spec.queries for text in (one.expr, one.legend)]
            values = choose_for(texts, variables, {}, window.start, window.end)
            data = answers.show(spec, window.span(read_points("")), values)
        except QueryError as error:
            return JsonResponse({"error": answers.words_of(error)}, status=422)
        return JsonResponse({"options": panel_options(spec), "data": data})


def _typed_panel(request: HttpRequest) -> Panel:
    """Return the panel as typed; what does not make sense is left out, the form says so when it is saved."""
    panel = Panel(number=1)
    wanted = {"title", "kind", "unit", "calculation", "minimum", "maximum", "thresholds"}
    for model_field in Panel._meta.fields:
        name, field = model_field.name, model_field.formfield() if model_field.name in wanted else None
        if field is not None:
            try:
                setattr(panel, name, field.clean(request.POST.get(name, "")))
            except ValidationError:
                continue
    panel.is_stacked = request.POST.get("is_stacked") == "on"
    try:
        panel.clean()
    except ValidationError:
        panel.thresholds = []
    panel.thresholds = panel.thresholds or []
    return panel


def _typed_queries(request: HttpRequest) -> list[PanelQuery]:
    total = request.POST.get("queries-TOTAL_FORMS", "")
    count = min(int(total), 26) if total.isascii() and total.isdigit() and len(total) < 4 else 0
    found = []
    for place in range(count):
        expr = request.POST.get(f"queries-{place}-expr", "").strip()
        if expr and not request.POST.get(f"queries-{place}-DELETE"):
            found.append(PanelQuery(expr=expr, legend=request.POST.get(f"queries-{place}-legend", "")[:500]))
    return found
