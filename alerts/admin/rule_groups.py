"""Rule groups: how often their rules run, and the way to each of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts import actions
from alerts.admin.listing import AlertsHistoryAdmin, ago, dot
from alerts.engine.durations import format_duration
from alerts.models import Rule, RuleGroup
from alerts.rulefile.owner import detach
from alphaq_portal.ui import TabularInline, action, admin_url, dialog_done, display

# What a rule file decides about the groups that it owns.
OWNED_FIELDS = ("name", "interval_seconds", "query_offset_seconds", "limit")


class RulesInline(TabularInline):
    """The rules of a group, each a link to its own form."""

    model = Rule
    fields = readonly_fields = ["rule_link", "kind", "life", "expr"]
    ordering = ["position", "name"]
    can_delete = False
    hide_title = True
    show_change_link = False
    max_num = 0
    verbose_name_plural = "rules, in the order in which they run"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A rule is made on its own form."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A rule is changed on its own form."""
        return False

    @display(description="Rule")
    def rule_link(self, rule: Rule) -> SafeString:
        """The name, leading to the rule's form."""
        return format_html('<a class="aq-strong" href="{}">{}</a>', admin_url(rule), rule.name)


@admin.register(RuleGroup)
class RuleGroupAdmin(AlertsHistoryAdmin):
    """Rules that are evaluated together, at one interval and with one timestamp."""

    list_display = ["name", "state", "every", "rules_count", "last_run", "took", "missed", "managed_by"]
    list_filter = ["is_enabled"]
    search_fields = ["name"]
    inlines = [RulesInline]
    fieldsets = [
        (None, {"fields": ["name", ("interval_seconds", "query_offset_seconds", "limit"), "is_enabled", "managed_by"]})
    ]
    readonly_fields = ["managed_by"]
    actions = ["export_selected"]
    actions_detail = ["detach"]
    empty_icon, empty_title = "stacks", "No rule group yet."
    empty_text = "Rules live in groups: the rules of a group run together, one after the other, at one interval."

    def get_readonly_fields(self, request: HttpRequest, obj: RuleGroup | None = None) -> Any:
        """A group that a file owns is changed in the file; only whether it runs is decided here."""
        own = list(super().get_readonly_fields(request, obj))
        return [*own, *OWNED_FIELDS] if obj is not None and obj.managed_by else own

    @action(description="Export as YAML of Prometheus", permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[RuleGroup]) -> HttpResponse:
        """The chosen groups as a rule file."""
        ids = ",".join(str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True))
        return redirect(f"{reverse('alerts:rules_export')}?groups={ids}")

    @action(
        description="Detach from file", url_path="detach", permissions=["change"], icon="link_off",
        dialog={
            "title": "Detach this group from its file?",
            "description": "Staff change its rules from now on. The next import of the file makes the group anew.",
        },
    )  # fmt: skip
    def detach(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Give a group that a file owns to staff."""
        group = get_object_or_404(RuleGroup, pk=object_id)
        if not group.managed_by:
            self.message_user(request, "No file owns this group.", messages.INFO)
        else:
            (group,) = detach([group])
            self.message_user(request, f"{group.name} belongs to staff now.", messages.SUCCESS)
        return dialog_done(admin_url(group))

    def get_queryset(self, request: HttpRequest) -> QuerySet[RuleGroup]:
        """The groups with their clocks and the number of their rules."""
        counted = Count("rules", filter=Q(rules__life__in=[Rule.Life.LIVE, Rule.Life.SHADOW]))
        return super().get_queryset(request).select_related("clock").annotate(running=counted, all_rules=Count("rules"))

    @display(description="State", ordering="is_enabled")
    def state(self, group: RuleGroup) -> SafeString:
        """On or off, with the error of the last evaluation."""
        if not group.is_enabled:
            return dot("none", "off")
        clock = getattr(group, "clock", None)
        if clock is None:
            return dot("info", "starts soon")
        return dot("critical", "error") if clock.last_error else dot("ok", "on")

    @display(description="Every", ordering="interval_seconds")
    def every(self, group: RuleGroup) -> str:
        """The interval."""
        return format_duration(group.interval_seconds)

    @display(description="Rules")
    def rules_count(self, group: RuleGroup) -> SafeString:
        """How many rules it has, leading to them."""
        url = admin_url(Rule, group__id__exact=group.pk)
        return format_html('<a href="{}">{} of {} run</a>', url, group.running, group.all_rules)  # type: ignore[attr-defined]

    @display(description="Last evaluation")
    def last_run(self, group: RuleGroup) -> SafeString:
        """When its rules ran last."""
        return ago(_clock(group, "last_slot_at"), timezone.now())

    @display(description="Took")
    def took(self, group: RuleGroup) -> str:
        """How long the last evaluation took."""
        seconds = _clock(group, "last_duration_seconds")
        return "–" if seconds is None else f"{seconds * 1000:.0f} ms"

    @display(description="Missed")
    def missed(self, group: RuleGroup) -> int:
        """Evaluations that came too late and were skipped."""
        return int(_clock(group, "missed_slots") or 0)

    def save_model(self, request: HttpRequest, obj: RuleGroup, form: Any, change: bool) -> None:
        """Save; a group that is switched off lets go of what its rules had raised."""
        super().save_model(request, obj, form, change)
        if change and "is_enabled" in form.changed_data and not obj.is_enabled:
            _end_all(obj, request.user, timezone.now(), "The rule group was switched off.")

    def delete_model(self, request: HttpRequest, obj: RuleGroup) -> None:
        """Delete; what its rules had raised ends first."""
        _end_all(obj, request.user, timezone.now(), "The rule group was deleted.")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RuleGroup]) -> None:
        """Delete several, as one."""
        for group in queryset:
            self.delete_model(request, group)


def _clock(group: RuleGroup, name: str) -> Any:
    clock = getattr(group, "clock", None)
    return getattr(clock, name) if clock else None


def _end_all(group: RuleGroup, user: Any, at: datetime, words: str) -> None:
    for rule in group.rules.all():
        actions.end_alerts(rule, user, at, words)
