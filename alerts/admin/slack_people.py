"""Who is who in Slack, and what was pressed there."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.admin.listing import AlertsAdmin, LargeAdmin, ago, dot
from alerts.models import SlackClick, SlackLink
from alphaq_portal.ui import ChoicesDropdownFilter, ReadOnlyMixin, RelatedDropdownFilter, admin_url, display


class SlackLinkForm(forms.ModelForm):
    """A link that staff enter by hand."""

    class Meta:
        model = SlackLink
        fields = ["user", "slack_user_id", "team_id", "time_zone"]

    def clean_slack_user_id(self) -> str:
        """Refuse what is no member ID, such as a name."""
        value: str = self.cleaned_data["slack_user_id"].strip()
        if not (value[:1] in ("U", "W") and value.isalnum() and value.isupper() and len(value) > 2):
            raise forms.ValidationError("A member ID starts with U or W; in Slack: profile, ⋮, Copy member ID.")
        return value

    def clean_time_zone(self) -> str:
        """Refuse a zone that nobody knows."""
        value: str = self.cleaned_data["time_zone"].strip()
        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            raise forms.ValidationError("Give a name such as Europe/Berlin, or leave it empty for UTC.") from None
        return value


@admin.register(SlackLink)
class SlackLinkAdmin(AlertsAdmin):
    """Members of Slack workspaces and the users whose rights they have."""

    form = SlackLinkForm
    list_display = ["user", "slack_user_id", "team_id", "how", "time_zone", "linked_at"]
    list_filter = [("how", ChoicesDropdownFilter)]
    search_fields = ["user__username", "user__email", "slack_user_id"]
    autocomplete_fields = ["user"]
    empty_icon, empty_title = "link", "Nobody in Slack is known yet."
    empty_text = "Whoever presses a button for the first time is known by the same e-mail address, or is asked."
    empty_link = ("Connect Slack", "alerts:connect_slack")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SlackLink]:
        """The links with their users."""
        return super().get_queryset(request).select_related("user")


@admin.register(SlackClick)
class SlackClickAdmin(ReadOnlyMixin, LargeAdmin):
    """What was pressed in Slack, by whom, and what came of it."""

    list_display = ["when", "who", "action", "what_came", "about"]
    list_filter = [("user", RelatedDropdownFilter)]
    search_fields = ["slack_user_name", "=slack_user_id", "action", "outcome"]
    ordering = ["-id"]
    fields = [
        "at",
        "slack_user_name",
        "slack_user_id",
        "team_id",
        "user",
        "action",
        "notification",
        "done_at",
        "outcome",
    ]
    empty_icon, empty_title = "touch_app", "Nothing was pressed in Slack yet."
    empty_text = "Every press of a button leaves a line here for a month, those that were refused as well."
    empty_link = ("Connect Slack", "alerts:connect_slack")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SlackClick]:
        """The presses with what they speak of."""
        return super().get_queryset(request).select_related("user", "notification").defer("notification__message")

    @display(description="When", ordering="at")
    def when(self, click: SlackClick) -> SafeString:
        """How long ago."""
        return ago(click.at, timezone.now())

    @display(description="Who", ordering="slack_user_name")
    def who(self, click: SlackClick) -> str:
        """The name in Slack, and here."""
        name = click.slack_user_name or click.slack_user_id
        return f"{name} ({click.user})" if click.user else f"{name} (not known here)"

    @display(description="Outcome")
    def what_came(self, click: SlackClick) -> SafeString | str:
        """What was done, or why not."""
        return click.outcome[:200] if click.done_at else dot("warning", "waits for a worker")

    @display(description="Message")
    def about(self, click: SlackClick) -> SafeString | str:
        """The message it stood under."""
        if click.notification is None:
            return "–"
        return format_html('<a href="{}">{}</a>', admin_url(click.notification), click.notification.receiver_name)
