"""The tree that leads from an alert to its receivers, and the times when a branch speaks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts import dispatch, route_check
from alerts.admin.fields import MatchersField, NamesField
from alerts.admin.listing import AlertsHistoryAdmin
from alerts.admin.owned import OwnedByFileMixin
from alerts.engine.durations import format_duration
from alerts.engine.intervals import parse_interval
from alerts.engine.routing import RouteError
from alerts.models import Route, TimeInterval
from alphaq_portal.ui import action, admin_url, display


class RouteForm(forms.ModelForm):
    """A node of the tree, its matchers a line each."""

    matchers = MatchersField(required=False, help_text='One a line, such as severity="critical". All must hold.')
    group_by = NamesField(
        required=False, empty_is_none=True, help_text="Label names between commas; ... for all; empty: as the parent."
    )

    class Meta:
        model = Route
        fields = "__all__"  # noqa: DJ007  (the admin's fieldsets say which)

    def clean_parent(self) -> Route | None:
        """Refuse a second root in words, before the database does in code."""
        parent: Route | None = self.cleaned_data["parent"]
        if parent is None and Route.objects.filter(parent__isnull=True).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("There is a root route already; choose the parent of this one.")
        return parent


@admin.register(Route)
class RouteAdmin(OwnedByFileMixin, AlertsHistoryAdmin):
    """The routing tree: an alert goes down the first branch whose matchers hold, and on where “continue” is set."""

    form = RouteForm
    list_display = ["tree", "tells", "grouped", "waits", "escalates", "continues"]
    list_display_links = None
    search_fields = ["matchers", "receiver__name"]
    list_before_template = "admin/alerts/remarks.html"
    list_per_page = 500  # a tree that is cut into pages is no tree
    fieldsets = [
        (None, {"fields": [("parent", "position"), "matchers", ("receiver", "goes_on")]}),
        (
            "Grouping and timing; empty fields are as the parent's",
            {"fields": ["group_by", ("group_wait_seconds", "group_interval_seconds", "repeat_interval_seconds")]},
        ),
        ("When it speaks", {"fields": [("active_intervals", "mute_intervals")]}),
        ("When nobody acknowledges", {"fields": ["escalation"]}),
    ]
    autocomplete_fields = ["receiver", "escalation"]
    actions_list = ["try_routes", "import_file", "export_file"]
    actions_detail = ["detach"]
    empty_icon, empty_title = "alt_route", "No route yet."
    empty_text = "The root route takes every alert; branches below it lead some of them elsewhere."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        """The nodes with their receivers."""
        return super().get_queryset(request).select_related("receiver", "parent", "escalation")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list in the order of the tree, each node with its depth and the receiver it ends at."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = _in_tree_order(list(changelist.result_list))
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with what is suspicious about the tree above it."""
        try:
            remarks = [(finding.level, finding.message) for finding in route_check.findings()]
        except RouteError as error:
            remarks = [("error", problem) for problem in error.problems]
        return super().changelist_view(request, {"remarks": remarks, **(extra_context or {})})

    @action(description="Where would an alert go?", url_path="try", permissions=["view"], icon="conversion_path")
    def try_routes(self, request: HttpRequest) -> HttpResponse:
        """The tester: labels in, the way through the tree out."""
        return redirect("alerts:route_test")

    @action(description="Import", url_path="import-file", permissions=["add"], icon="upload_file")
    def import_file(self, request: HttpRequest) -> HttpResponse:
        """The page that takes an Alertmanager file."""
        return redirect("alerts:alertmanager_import")

    @action(description="Export", url_path="export-file", permissions=["view"], icon="download")
    def export_file(self, request: HttpRequest) -> HttpResponse:
        """The tree with all it needs as an Alertmanager file."""
        return redirect("alerts:alertmanager_export")

    @display(description="Route")
    def tree(self, route: Route) -> SafeString:
        """The matchers, indented by depth."""
        matchers = ", ".join(route.matchers) or ("everything else" if route.parent_id is None else "everything")
        return format_html(
            '<span class="aq-tree aq-depth-{}"><a class="aq-strong aq-mono" href="{}">{}</a></span>',
            min(route.depth, 9), admin_url(route), matchers,  # type: ignore[attr-defined]
        )  # fmt: skip

    @display(description="Tells")
    def tells(self, route: Route) -> SafeString | str:
        """The receiver; grey where it is inherited."""
        if route.receiver:
            return format_html('<a href="{}">{}</a>', admin_url(route.receiver), route.receiver.name)
        name = route.inherited or "nobody"  # type: ignore[attr-defined]
        return format_html('<span class="aq-muted">{} (from above)</span>', name)

    @display(description="One message per")
    def grouped(self, route: Route) -> SafeString | str:
        """The labels that make a group."""
        if route.group_by is None:
            return format_html('<span class="aq-muted">{}</span>', "as above")
        return ", ".join(route.group_by) or "nothing: all in one"

    @display(description="Wait / interval / repeat")
    def waits(self, route: Route) -> str:
        """The three times; a dash is inherited."""
        times = (route.group_wait_seconds, route.group_interval_seconds, route.repeat_interval_seconds)
        return " / ".join("–" if seconds is None else format_duration(seconds) for seconds in times)

    @display(description="If nobody acknowledges")
    def escalates(self, route: Route) -> SafeString | str:
        """The policy; grey where it is inherited."""
        if route.escalation:
            return format_html('<a href="{}">{}</a>', admin_url(route.escalation), route.escalation.name)
        name = route.inherited_policy  # type: ignore[attr-defined]
        return format_html('<span class="aq-muted">{} (from above)</span>', name) if name else "–"

    @display(description="Continue")
    def continues(self, route: Route) -> str:
        """Whether later siblings are tried as well."""
        return "goes on" if route.goes_on else ""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save, then lead what fires now through the new tree."""
        super().save_related(request, form, formsets, change)
        dispatch.reroute(timezone.now())

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        """Delete the node with all below it, then lead what fires now through the new tree."""
        super().delete_model(request, obj)
        dispatch.reroute(timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        """Delete several, then lead what fires now through the new tree."""
        super().delete_queryset(request, queryset)
        dispatch.reroute(timezone.now())


def _in_tree_order(routes: list[Route]) -> list[Route]:
    """Depth first; a node whose parent is not among them, as in a search, stands at the top."""
    known = {route.pk for route in routes}
    below: dict[int | None, list[Route]] = {}
    for route in routes:
        below.setdefault(route.parent_id if route.parent_id in known else None, []).append(route)
    ordered: list[Route] = []
    stack = [(route, 0, "", "") for route in reversed(_sorted(below.get(None, [])))]
    while stack:
        route, depth, inherited, policy = stack.pop()
        route.depth, route.inherited, route.inherited_policy = depth, inherited, policy  # type: ignore[attr-defined]
        ordered.append(route)
        name = route.receiver.name if route.receiver else inherited
        policy = route.escalation.name if route.escalation else policy
        stack += [(child, depth + 1, name, policy) for child in reversed(_sorted(below.get(route.pk, [])))]
    return ordered


def _sorted(routes: list[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: (route.position, route.pk))


class TimeIntervalForm(forms.ModelForm):
    """A named set of times."""

    class Meta:
        model = TimeInterval
        fields = ["name", "spec"]

    def clean_spec(self) -> Any:
        """Refuse what is no list of Alertmanager intervals, in the parser's words."""
        spec = self.cleaned_data["spec"]
        if not isinstance(spec, list):
            raise forms.ValidationError('Give a list, such as [{"weekdays": ["monday:friday"]}].')
        for number, item in enumerate(spec, 1):
            try:
                parse_interval(item)
            except (ValueError, TypeError, AttributeError) as error:
                raise forms.ValidationError(f"Interval {number}: {error}") from error
        return spec


@admin.register(TimeInterval)
class TimeIntervalAdmin(OwnedByFileMixin, AlertsHistoryAdmin):
    """Named times that routes speak in, or keep quiet in."""

    form = TimeIntervalForm
    list_display = ["name", "says", "managed_by"]
    search_fields = ["name"]
    actions_detail = ["detach"]
    fieldsets = [
        (
            None,
            {
                "fields": ["name", "spec"],
                "description": "As Alertmanager writes it, in JSON: times, weekdays, days_of_month, months, years.",
            },
        )
    ]
    empty_icon, empty_title = "schedule", "No time interval yet."
    empty_text = "Name the times of a working day once, and let routes speak only then, or keep quiet then."

    @display(description="Times")
    def says(self, interval: TimeInterval) -> str:
        """The interval as it is written."""
        return str(interval.spec)[:120]
