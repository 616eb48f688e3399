"""Pages of dashboards: the list, one dashboard, its panels as JSON, import and export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring.dashboards import answers, grafana_in, grafana_out, marks, rows
from monitoring.dashboards.choices import Choice, choose, choose_for, values_of
from monitoring.dashboards.grafana_json import MAX_BYTES, GrafanaError
from monitoring.dashboards.macros import Values, fill
from monitoring.dashboards.spec import DashboardSpec, PanelSpec
from monitoring.dashboards.window import RANGES, Window, read_points, read_window
from monitoring.models import Dashboard, Panel
from monitoring.promql import QueryError

VIEW = "monitoring.view_dashboard"
REFRESHES = (0, 5, 15, 30, 60, 300, 900)
#: What a rule asks where a chart's own step stood: the window of a rate that survives a missed scrape or two.
RULE_WINDOWS = {
    "__rate_interval": "5m", "__interval": "1m", "__range": "1h", "__rate_interval_ms": "300000",
    "__interval_ms": "60000", "__range_s": "3600", "__range_ms": "3600000",
}  # fmt: skip
#: Django takes 2.5 MB of a form (DATA_UPLOAD_MAX_MEMORY_SIZE), encoded; a larger dashboard goes as a file.
MOST_TYPED = 1_500_000
#: Longer addresses are cut by servers on the way.
_MOST_EXPR = 1500


@dataclass(frozen=True)
class Door:
    """A way from a query of a panel to another page; `rule` is empty for who may not make rules."""

    name: str
    explore: str
    rule: str


@dataclass(frozen=True)
class PanelView:
    """A panel as its page shows it: the title filled in, the address of its data, the ways on."""

    spec: PanelSpec
    title: str
    url: str
    options: str
    doors: tuple[Door, ...]
    edit_url: str
    begins_section: bool


class DashboardList(PortalPageMixin, TemplateView):
    """All dashboards, with where they came from and when somebody last looked."""

    template_name = "monitoring/dashboards/list.html"
    title = "Dashboards"
    permission = VIEW

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the dashboards that fit the search."""
        wanted = self.request.GET.get("q", "").strip()[:100]
        found = Dashboard.objects.select_related("owner").annotate(panel_count=Count("panels"))
        if wanted:
            found = found.filter(
                Q(title__icontains=wanted) | Q(description__icontains=wanted) | Q(tags__icontains=wanted)
            )
        user = self.request.user
        return super().get_context_data(
            dashboards=found.order_by("title"),
            wanted=wanted,
            at=timezone.now(),
            import_url=reverse("monitoring:import_dashboard") if user.has_perm("monitoring.add_dashboard") else "",
            add_url=admin_url(Dashboard, "add") if user.has_perm("monitoring.add_dashboard") else "",
            **kwargs,
        )


class DashboardPage(PortalPageMixin, TemplateView):
    """One dashboard: time, variables, refresh, panels; each panel fetches its answer when it comes into view."""

    template_name = "monitoring/dashboards/dashboard.html"
    permission = VIEW

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the dashboard, its choices and its panels."""
        at = timezone.now()
        row = get_object_or_404(Dashboard, slug=kwargs["slug"])
        spec = rows.spec_of(row)
        rows.note_view(row, at)
        asked = self.request.GET
        window = read_window(asked, at, spec.default_range)
        choices = choose(spec.variables, wanted_in(asked), window.start, window.end)
        query = page_query(window, choices)
        seconds = _refresh(asked.get("refresh", ""), row.refresh_seconds)
        return super().get_context_data(
            title=spec.title,
            trail=[("Dashboards", reverse("monitoring:dashboards"))],
            dashboard=row,
            panels=self._panels(row, spec, values_of(choices), query),
            choices=[one for one in choices if one.variable.kind != "constant"],
            window=window,
            ranges=[(name, f"?{_with_range(asked, name)}") for name in RANGES],
            refresh=0 if window.is_fixed else seconds,
            refreshes=[(one, _refresh_words(one)) for one in sorted({*REFRESHES, seconds})],
            marks_url=f"{reverse('monitoring:dashboard_marks', args=[row.slug])}?{query}",
            edit_url=admin_url(row) if self.request.user.has_perm("monitoring.change_dashboard") else "",
            export_url=reverse("monitoring:export_dashboard", args=[row.slug]),
            **kwargs,
        )

    def _panels(self, row: Dashboard, spec: DashboardSpec, values: Values, query: str) -> list[PanelView]:
        edits = {}
        if self.request.user.has_perm("monitoring.change_panel"):
            edits = {panel.number: admin_url(panel) for panel in row.panels.all()}
        found: list[PanelView] = []
        section = ""
        for panel in spec.panels:
            url = reverse("monitoring:panel", args=[row.slug, panel.number])
            found.append(
                PanelView(
                    spec=panel,
                    title=fill(panel.title, values, is_title=True),
                    url=f"{url}?{query}",
                    options=json.dumps(panel_options(panel)),
                    doors=doors(self.request, panel, values, query),
                    edit_url=edits.get(panel.number, ""),
                    begins_section=panel.section != section,
                )
            )
            section = panel.section
        return found


def panel_options(panel: PanelSpec) -> dict[str, Any]:
    """Return what static/js/dashboard.js needs to draw a panel."""
    return {
        "kind": panel.kind, "unit": panel.unit or "short", "minimum": panel.minimum, "maximum": panel.maximum,
        "stacked": panel.is_stacked, "height": panel.height,
        "steps": [{"value": one.value, "severity": one.severity} for one in panel.thresholds],
    }  # fmt: skip


def doors(request: HttpRequest, panel: PanelSpec, values: Values, query: str) -> tuple[Door, ...]:
    """Return the ways from each query of a panel to explore and to a new rule."""
    try:
        add_rule = reverse("admin:alerts_rule_add") if request.user.has_perm("alerts.add_rule") else ""
    except NoReverseMatch:
        add_rule = ""
    time = [(name, value) for name, value in QueryDict(query).items() if name in ("range", "from", "to")]
    found = []
    for place, one in enumerate(panel.queries):
        if len(one.expr) > _MOST_EXPR:
            continue
        explore = f"{reverse('monitoring:explore')}?{urlencode([('expr', fill(one.expr, values)), *time])}"
        rule = f"{add_rule}?{urlencode({'expr': fill(one.expr, values, RULE_WINDOWS)})}" if add_rule else ""
        found.append(Door(answers.letter(place) if len(panel.queries) > 1 else "", explore, rule))
    return tuple(found)


def wanted_in(asked: QueryDict) -> dict[str, list[str]]:
    """Return the values of variables in an address: var-host=a&var-host=b."""
    return {name.removeprefix("var-"): asked.getlist(name) for name in asked if name.startswith("var-")}


def page_query(window: Window, choices: Sequence[Choice]) -> str:
    """Return the part of an address that says which time and which values a page shows."""
    pairs = [("range", window.name)]
    if window.is_fixed:
        pairs = [("from", window.start.isoformat()), ("to", window.end.isoformat())]
    pairs += [(f"var-{one.variable.name}", value) for one in choices for value in one.chosen]
    return urlencode(pairs)


def _with_range(asked: QueryDict, name: str) -> str:
    changed = asked.copy()
    for gone in ("from", "to"):
        changed.pop(gone, None)
    changed["range"] = name
    return changed.urlencode()


def _refresh(text: str, standard: int) -> int:
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else standard
    return 0 if wanted == 0 else max(5, wanted)


def _refresh_words(seconds: int) -> str:
    if not seconds:
        return "no refresh"
    return f"every {seconds // 60} min" if seconds % 60 == 0 else f"every {seconds} s"


def refusal(request: HttpRequest, permission: str) -> HttpResponse | None:
    """Return the answer to somebody who may not have JSON: 401 for strangers, 403 for the rest; None for who may."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in again."}, status=401)
    if not request.user.has_perm(permission):
        return JsonResponse({"error": "You may not see dashboards."}, status=403)
    return None


@require_GET
def panel_json(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Return what a panel shows, as monitoring.dashboards.answers.show gives it; 422 with `error` in words.

    Query: `range` or `from` and `to`, `var-…`, `points` (how many fit on the screen).
    """
    if refused := refusal(request, VIEW):
        return refused
    found = Panel.objects.select_related("dashboard").prefetch_related("queries")
    row = get_object_or_404(found, dashboard__slug=slug, number=number)
    panel = rows.panel_spec(row, list(row.queries.all()))
    window = read_window(request.GET, timezone.now(), row.dashboard.default_range)
    texts = [text for one in panel.queries for text in (one.expr, one.legend)]
    try:
        variables = rows.variables_of(row.dashboard)
        values = choose_for(texts, variables, wanted_in(request.GET), window.start, window.end)
        return JsonResponse(answers.show(panel, window.span(read_points(request.GET.get("points", ""))), values))
    except QueryError as error:
        return JsonResponse({"error": answers.words_of(error)}, status=422)


@require_GET
def marks_json(request: HttpRequest, slug: str) -> HttpResponse:
    """Return what happened in the time a dashboard shows: {"bands": alerts that fired, "deploys"}."""
    if refused := refusal(request, VIEW):
        return refused
    row = get_object_or_404(Dashboard, slug=slug)
    window = read_window(request.GET, timezone.now(), row.default_range)
    span = window.span(read_points(request.GET.get("points", "")))
    wanted = wanted_in(request.GET)
    variables = [one for one in rows.variables_of(row) if one.name in wanted]
    try:
        texts = [f"${one.name}" for one in variables]
        scope = marks.scope_of(row.alert_matchers, choose_for(texts, variables, wanted, window.start, window.end))
        bands = marks.bands(span, scope) if row.shows_alerts else []
    except QueryError as error:
        return JsonResponse({"error": answers.words_of(error)}, status=422)
    return JsonResponse({"bands": bands, "deploys": marks.deploys(span, scope)})


class ImportPage(PortalPageMixin, TemplateView):
    """A Grafana file, uploaded or pasted: first what would become of each panel, then the dashboard."""

    template_name = "monitoring/dashboards/import.html"
    title = "Import a Grafana dashboard"
    permission = "monitoring.add_dashboard"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return an empty form."""
        trail = [("Dashboards", reverse("monitoring:dashboards"))]
        return super().get_context_data(**{"trail": trail, "text": "", "most_typed": MOST_TYPED, **kwargs})

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Report on the file; with `import` also save it. A file that cannot be read is said with 422."""
        text = _file_text(request)
        try:
            done = grafana_in.read(text)
        except GrafanaError as error:
            shown = text if isinstance(text, str) else ""
            context = self.get_context_data(error=str(error), text=shown)
            return render(request, self.template_name, context, status=422)
        if "import" in request.POST:
            saved = rows.save(done.spec, Dashboard.Source.IMPORTED)
            # Everything was converted: nothing to read before looking at it.
            if all(one.outcome == grafana_in.Outcome.CONVERTED for one in done.findings):
                return redirect("monitoring:dashboard", slug=saved.slug)
            context = self.get_context_data(done=done, saved=saved)
        else:
            shown = text.decode("utf-8-sig") if isinstance(text, bytes) else text
            context = self.get_context_data(done=done, text=shown)
        return render(request, self.template_name, context)


def _file_text(request: HttpRequest) -> str | bytes:
    file = request.FILES.get("file")
    if isinstance(file, UploadedFile):
        return file.read(MAX_BYTES + 1)
    return str(request.POST.get("text", ""))


@require_GET
def export_json(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a dashboard as a file that Grafana imports."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    row = get_object_or_404(Dashboard, slug=slug)
    answer = JsonResponse(grafana_out.write(rows.spec_of(row)), json_dumps_params={"indent": 2})
    answer["Content-Disposition"] = f'attachment; filename="{row.slug}.json"'
    return answer
