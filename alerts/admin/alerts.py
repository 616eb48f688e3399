"""Alerts and their events in the admin: read-only records; what people do is done on the alert's page."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts import actions
from alerts.admin.listing import LargeAdmin, ago, dot
from alerts.models import Alert, Event, Mark
from alphaq_portal.ui import ChoicesDropdownFilter, ReadOnlyMixin, RelatedDropdownFilter, action, admin_url, display

STATE_TONES = {Alert.State.FIRING: "critical", Alert.State.PENDING: "warning", Alert.State.RESOLVED: "ok"}


@admin.register(Alert)
class AlertAdmin(ReadOnlyMixin, LargeAdmin):
    """Every alert there was, as rows."""

    list_display = [
        "name",
        "state_label",
        "severity",
        "labels_line",
        "value",
        "limit_value",
        "since",
        "marks_line",
        "is_shadow",
    ]
    actions = ["mark_useful", "mark_noise"]
    list_filter = [
        ("state", ChoicesDropdownFilter), ("severity", ChoicesDropdownFilter), ("source", ChoicesDropdownFilter),
        "is_shadow", ("rule", RelatedDropdownFilter),
    ]  # fmt: skip
    search_fields = ["name", "=fingerprint"]
    ordering = ["-id"]
    empty_icon, empty_title = "check_circle", "No alert has ever fired."
    empty_text = "As soon as a rule finds something past its limit, it is listed here and kept as history."
    empty_link = ("Alerts as they are now", "alerts:alerts")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        """The alerts with their rules."""
        rows = super().get_queryset(request).select_related("rule", "threshold", "acknowledged_by")
        return rows.prefetch_related("marks")

    def has_act_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Whether the user may say something about alerts; their rows stay as they are."""
        return request.user.has_perm("alerts.change_alert")

    @action(description="Mark as useful", permissions=["act"])
    def mark_useful(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        """Being told of these was useful."""
        self._mark(request, queryset, Mark.Verdict.USEFUL)

    @action(description="Mark as noise", permissions=["act"])
    def mark_noise(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        """Being told of these was noise."""
        self._mark(request, queryset, Mark.Verdict.NOISE)

    def _mark(self, request: HttpRequest, queryset: QuerySet[Alert], verdict: str) -> None:
        ids = list(queryset.order_by().values_list("pk", flat=True))
        marked = actions.mark_all(ids, request.user, verdict, timezone.now())
        self.message_user(request, f"{len(marked)} alert{'' if len(marked) == 1 else 's'} marked as {verdict}.")

    def view_on_site(self, alert: Alert) -> str:
        """The page with chart, timeline and verbs."""
        return reverse("alerts:alert", args=[alert.pk])

    @display(description="State", ordering="state")
    def state_label(self, alert: Alert) -> SafeString:
        """Pending, firing or resolved."""
        return dot(STATE_TONES[alert.state], alert.state)  # type: ignore[index]

    @display(description="Labels")
    def labels_line(self, alert: Alert) -> str:
        """The labels that tell it from others."""
        shown = (f"{name}={value}" for name, value in alert.labels.items() if name not in ("alertname", "severity"))
        return ", ".join(shown)[:200]

    @display(description="Marked")
    def marks_line(self, alert: Alert) -> str:
        """What people said of it."""
        return ", ".join(sorted({mark.verdict for mark in alert.marks.all()}))

    @display(description="Since", ordering="active_since")
    def since(self, alert: Alert) -> SafeString:
        """When it became active."""
        return ago(alert.active_since, timezone.now())


@admin.register(Event)
class EventAdmin(ReadOnlyMixin, LargeAdmin):
    """What happened to alerts and rules, with reasons."""

    list_display = ["at", "kind_label", "of", "reason", "actor"]
    list_filter = [("kind", ChoicesDropdownFilter), ("rule", RelatedDropdownFilter)]
    search_fields = ["reason"]
    ordering = ["-at", "-id"]
    empty_icon, empty_title = "history", "Nothing has happened yet."
    empty_text = "Every change of an alert, every message and every action of a person leaves a line here."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """The events with what they speak of."""
        return super().get_queryset(request).select_related("alert", "rule", "actor")

    @display(description="What", ordering="kind")
    def kind_label(self, event: Event) -> str:
        """What happened."""
        return event.get_kind_display()

    @display(description="Of")
    def of(self, event: Event) -> SafeString | str:
        """The alert or the rule."""
        if event.alert is not None:
            return format_html('<a href="{}">{}</a>', reverse("alerts:alert", args=[event.alert_id]), event.alert.name)
        return format_html('<a href="{}">{}</a>', admin_url(event.rule), event.rule.name) if event.rule else "–"
