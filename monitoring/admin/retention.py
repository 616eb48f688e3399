"""Retention rules in the admin: which series are kept longer or shorter than the rest, and what that costs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import ModelAdmin, display
from monitoring import store, units
from monitoring.models import Retention
from monitoring.promql import QueryError, parse_matchers


def kept_words(rule: Retention) -> str:
    """Return what a rule keeps, in words: series, metrics and about how many bytes."""
    try:
        found = store.kept_by(parse_matchers(rule.selector), rule.days)
    except QueryError as error:
        return f"cannot be read: {error}"
    if not found.series:
        return "no series that is known now"
    names = ", ".join(found.metrics) + (f" and {found.more_metrics:,} more metrics" if found.more_metrics else "")
    size = f"; about {units.number(found.bytes, 'bytes')} after {rule.days} days" if found.bytes else ""
    return f"{found.series:,} of {found.total:,} series ({names}){size}"


@admin.register(Retention)
class RetentionAdmin(ModelAdmin):
    """Selectors with days. Of several that fit a series the longest counts; the rest follows ALPHAQ_RETENTION_DAYS."""

    list_display = ["selector", "kept_for", "keeps", "reason"]
    search_fields = ["selector", "reason"]
    ordering = ["-days", "selector"]
    fields = ["selector", "days", "reason", "keeps"]
    readonly_fields = ["keeps"]

    @display(description="Kept for", ordering="days")
    def kept_for(self, rule: Retention) -> str:
        """Return the days, and how that compares with the default."""
        default = settings.ENV.retention_days
        more = "as all others" if rule.days == default else "longer" if rule.days > default else "shorter"
        return f"{rule.days} day{'' if rule.days == 1 else 's'}, {more}"

    @display(description="Keeps now")
    def keeps(self, rule: Retention) -> SafeString:
        """Return what the rule keeps of the series known now."""
        if rule.pk is None:
            return format_html('<span class="aq-muted">{}</span>', "shown once the rule is saved")
        return format_html('<span class="aq-rule">{}</span>', kept_words(rule))

    def save_model(self, request: HttpRequest, obj: Retention, form: ModelForm[Any], change: bool) -> None:
        """Save the rule and say what it keeps, or that it keeps nothing yet."""
        super().save_model(request, obj, form, change)
        words = kept_words(obj)
        level = messages.WARNING if words.startswith("no series") else messages.INFO
        self.message_user(request, f"{obj.selector} keeps {words}.", level)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Say in the list what holds for everything else."""
        days = settings.ENV.retention_days
        subtitle = f"Everything else is kept for {days} days (ALPHAQ_RETENTION_DAYS)"
        return super().changelist_view(request, {"subtitle": subtitle, **(extra_context or {})})
