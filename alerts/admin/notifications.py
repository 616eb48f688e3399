"""Messages: what was due to whom, what became of it, and exactly how it looks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts import deliver
from alerts.admin.listing import LargeAdmin, ago, dot
from alerts.admin.slack_view import view_of
from alerts.models import Notification
from alphaq_portal.ui import (
    ActionVariant,
    ChoicesDropdownFilter,
    ReadOnlyMixin,
    RelatedDropdownFilter,
    action,
    admin_url,
    dialog_done,
    display,
)

_STATE = Notification.State
STATE_TONES = {
    _STATE.QUEUED: "info", _STATE.SENDING: "info", _STATE.SENT: "ok", _STATE.KEPT: "warning", _STATE.DEAD: "critical",
    _STATE.SUPERSEDED: "none", _STATE.DISCARDED: "none",
}  # fmt: skip


@admin.register(Notification)
class NotificationAdmin(ReadOnlyMixin, LargeAdmin):
    """The outbox and its history; nobody edits a message, but one that was given up can be sent again."""

    list_display = ["told", "headline", "to", "status_label", "why_words", "tries_count", "age"]
    list_display_links = ["headline"]
    list_filter = [
        ("state", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter), "severity",
        ("integration__receiver", RelatedDropdownFilter),
    ]  # fmt: skip
    search_fields = ["receiver_name", "=group_key"]
    ordering = ["-id"]
    fieldsets = [
        ("As it looks in Slack", {"fields": ["looks"]}),
        ("What became of it", {"fields": ["facts", "attempts_table"]}),
    ]
    readonly_fields = ["looks", "facts", "attempts_table"]
    actions_detail = ["retry", "discard"]
    empty_icon, empty_title = "outgoing_mail", "Nothing has been told yet."
    empty_text = "A message appears here as soon as an alert fires: sent, waiting, or kept while no way out is set up."
    empty_link = ("Connect Slack", "alerts:connect_slack")

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may send again or discard; a dotted name would be looked up before migrating."""
        return bool(request.user.has_perm("alerts.change_notification"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what makes sense for a message in its state."""
        state = Notification.objects.filter(pk=object_id).values_list("state", flat=True).first()
        sensible = {_STATE.DEAD: ("retry", "discard"), _STATE.QUEUED: ("discard",), _STATE.KEPT: ("discard",)}
        names = sensible.get(_STATE(state), ()) if state else ()
        offered = super().get_actions_detail(request, object_id)
        return [one for one in offered if one.action_name.endswith(names)] if names else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        """The messages; their content can be long and is read where one is shown, the list has its title alone."""
        rows = super().get_queryset(request).select_related("integration__slack_app", "integration__receiver", "group")
        return rows.defer("message", "firing", "resolved").annotate(title=KT("message__title"))

    @display(description="State", ordering="state")
    def told(self, row: Notification) -> SafeString:
        """Where the message is on its way."""
        return dot(STATE_TONES[row.state], row.state)  # type: ignore[index]

    @display(description="Message")
    def headline(self, row: Notification) -> SafeString:
        """What it speaks of."""
        words = row.title or row.get_kind_display()  # type: ignore[attr-defined]
        label = format_html('<span class="aq-label is-{0}">{0}</span> ', row.severity) if row.severity else ""
        return format_html("{}{}", label, words)

    @display(description="To", ordering="receiver_name")
    def to(self, row: Notification) -> str:
        """The receiver and the way out."""
        way = f" · {row.integration}" if row.integration else ""
        return f"{row.receiver_name or 'nobody'}{way}"

    @display(description="Says", ordering="status")
    def status_label(self, row: Notification) -> SafeString:
        """Firing or resolved, and whether it is new or an edit."""
        tone = "ok" if row.status == "resolved" else "critical"
        return format_html(
            '<span class="aq-label is-{}">{}</span> <span class="aq-muted">{}</span>',
            tone, row.status or "–", row.get_kind_display(),
        )  # fmt: skip

    @display(description="Why")
    def why_words(self, row: Notification) -> SafeString:
        """The reason; for one in trouble, the answer."""
        if row.last_error and row.state != _STATE.SENT:
            return format_html('<span class="aq-error">{}</span>', row.last_error[:160])
        return format_html('<span class="aq-muted">{}</span>', row.reason[:160])

    @display(description="Tries")
    def tries_count(self, row: Notification) -> int:
        """How often it was tried."""
        return row.attempts

    @display(description="Age", ordering="created_at")
    def age(self, row: Notification) -> SafeString:
        """When it was made."""
        return ago(row.created_at, timezone.now())

    @display(description="Message")
    def looks(self, row: Notification) -> SafeString:
        """The message as Slack shows it."""
        return SafeString(render_to_string("admin/alerts/slack_message.html", {"view": view_of(row)}))

    @display(description="Facts")
    def facts(self, row: Notification) -> SafeString:
        """Why it was sent, where to, when, and what came back."""
        return SafeString(render_to_string("admin/alerts/notification_facts.html", {"row": row, "at": timezone.now()}))

    @display(description="Tries")
    def attempts_table(self, row: Notification) -> SafeString:
        """Each try with its answer."""
        tries = list(row.tries.order_by("id")[:200])
        return SafeString(render_to_string("admin/alerts/attempts.html", {"tries": tries}))

    @action(
        description="Send again", url_path="retry", permissions=["act"], icon="replay",
        dialog={"title": "Send it again?", "description": "The message goes back into the outbox and is tried anew."},
    )  # fmt: skip
    def retry(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Put a dead letter back into the outbox."""
        row = get_object_or_404(Notification, pk=object_id)
        done = deliver.retry(row, timezone.now())
        words = "It is in the outbox again." if done else "Only a message that was given up can be sent again."
        self.message_user(request, words, messages.SUCCESS if done else messages.WARNING)
        return dialog_done(admin_url(row))

    @action(
        description="Discard", url_path="discard", permissions=["act"], icon="delete", variant=ActionVariant.DANGER,
        dialog={"title": "Discard this message?", "description": "It is not sent, and stays here as discarded."},
    )  # fmt: skip
    def discard(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Take a message out of the outbox for good."""
        row = get_object_or_404(Notification, pk=object_id)
        done = deliver.discard(row)
        words = "It is discarded." if done else "A message that is on its way or was sent cannot be discarded."
        self.message_user(request, words, messages.SUCCESS if done else messages.WARNING)
        return dialog_done(admin_url(row))
