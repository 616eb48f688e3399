"""Who is told: receivers with their ways out, and Slack apps whose secrets are written and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts import slack_setup
from alerts.admin.fields import SecretsMixin, SecretWidget, last_four
from alerts.admin.listing import OVERRIDES, AlertsAdmin, AlertsHistoryAdmin, ago, dot
from alerts.admin.owned import OwnedByFileMixin
from alerts.channels import apprise
from alerts.engine import notify_template
from alerts.models import Integration, Receiver, SlackApp
from alphaq_portal.ui import JsonWidget, StackedInline, action, admin_url, dialog_done, display


class SlackAppForm(SecretsMixin, forms.ModelForm):
    """A Slack app; a secret that is left empty stays as it is."""

    secrets = ("bot_token", "signing_secret", "app_token")

    class Meta:
        model = SlackApp
        fields = ["name", "bot_token", "signing_secret", "app_token"]
        widgets = {"bot_token": SecretWidget(), "signing_secret": SecretWidget(), "app_token": SecretWidget()}

    def clean_bot_token(self) -> str:
        """Refuse what cannot be a bot token."""
        token: str = (self.cleaned_data["bot_token"] or "").strip()
        if token and not token.startswith("xoxb-"):
            raise forms.ValidationError("A bot token starts with xoxb-; copy it from OAuth & Permissions.")
        return token

    def clean_app_token(self) -> str:
        """Refuse what cannot be an app-level token."""
        token: str = (self.cleaned_data["app_token"] or "").strip()
        if token and not token.startswith("xapp-"):
            raise forms.ValidationError("An app-level token starts with xapp-; copy it from Basic Information.")
        return token


@admin.register(SlackApp)
class SlackAppAdmin(AlertsAdmin):
    """Slack apps; the secrets of one are written, never shown again."""

    form = SlackAppForm
    list_display = ["name", "team", "token", "used_by"]
    search_fields = ["name"]
    fieldsets = [(None, {"fields": ["name", "bot_token", "signing_secret", "app_token"]})]
    empty_icon, empty_title = "forum", "No Slack app yet."
    empty_text = "The set-up page takes a token and a channel, checks both, and sends a test message."
    empty_link = ("Connect Slack", "alerts:connect_slack")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SlackApp]:
        """The apps with the number of channels that use each."""
        return super().get_queryset(request).annotate(channels=Count("integration"))

    @display(description="Bot token")
    def token(self, app: SlackApp) -> SafeString:
        """The last characters of the token."""
        return format_html('<code class="aq-mono">{}</code>', last_four(app.bot_token))

    @display(description="Used by")
    def used_by(self, app: SlackApp) -> str:
        """How many ways out post with it."""
        count = app.channels  # type: ignore[attr-defined]
        return f"{count} channel{'' if count == 1 else 's'}"


class IntegrationForm(SecretsMixin, forms.ModelForm):
    """One way out; an address that is left empty stays as it is."""

    secrets = ("url",)

    class Meta:
        model = Integration
        fields = [
            "kind", "slack_app", "target", "url", "send_resolved", "is_enabled", "title_template", "text_template",
            "max_alerts",
        ]  # fmt: skip
        widgets = {
            "url": SecretWidget(),
            "title_template": JsonWidget({"rows": 2}),
            "text_template": JsonWidget({"rows": 2}),
        }

    def clean(self) -> dict[str, Any]:
        """Refuse an address of a further service that the library cannot use."""
        cleaned = super().clean()
        url = cleaned.get("url") or ""
        if cleaned.get("kind") == Integration.Kind.APPRISE and url:
            problem = apprise.problem(url)
            if problem:
                self.add_error("url", f"This address cannot be used: {problem}.")
        return cleaned

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "max_alerts" in self.fields:  # who may only look has no fields
            self.fields["max_alerts"].required = False

    def clean_max_alerts(self) -> int:
        """All alerts where no number is given."""
        return self.cleaned_data["max_alerts"] or 0

    def clean_title_template(self) -> str:
        """Refuse a template that could not be expanded when an alert fires."""
        return _sound_template(self.cleaned_data["title_template"])

    def clean_text_template(self) -> str:
        """Refuse a template that could not be expanded when an alert fires."""
        return _sound_template(self.cleaned_data["text_template"])


def _sound_template(text: str) -> str:
    try:
        notify_template.check(text)
    except notify_template.TemplateError as error:
        raise forms.ValidationError(str(error)) from error
    return text


class IntegrationInline(StackedInline):
    """The ways out of a receiver."""

    model = Integration
    form = IntegrationForm
    formfield_overrides = OVERRIDES
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "kind", ("slack_app", "target"), "url", ("send_resolved", "is_enabled"), "max_alerts",
                    ("title_template", "text_template"), "health",
                ]
            },
        )
    ]  # fmt: skip
    readonly_fields = ["address", "health"]
    verbose_name, verbose_name_plural = "way out", "ways out"

    def get_fieldsets(self, request: HttpRequest, obj: Receiver | None = None) -> Any:
        """The fields; where they can only be looked at, the last characters of the address instead of the address."""
        if self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        fields = [
            "kind", ("slack_app", "target"), "address", ("send_resolved", "is_enabled"), "max_alerts",
            ("title_template", "text_template"), "health",
        ]  # fmt: skip
        return [(None, {"fields": fields})]

    def has_change_permission(self, request: HttpRequest, obj: Receiver | None = None) -> bool:
        """Ways out of a receiver that a file owns are changed in the file."""
        return not _is_owned(obj) and super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Receiver | None = None) -> bool:
        """A receiver that a file owns gets its ways out from the file."""
        return not _is_owned(obj) and super().has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Receiver | None = None) -> bool:
        """What the next import would make again is not deleted."""
        return not _is_owned(obj) and super().has_delete_permission(request, obj)

    @display(description="Address")
    def address(self, row: Integration) -> str:
        """The last characters of a secret address."""
        return last_four(row.url) or "–"

    @display(description="Last result")
    def health(self, row: Integration) -> SafeString | str:
        """What the last message through it came to."""
        return _health(row) if row.pk else "–"


@admin.register(Receiver)
class ReceiverAdmin(OwnedByFileMixin, AlertsHistoryAdmin):
    """Names that routes point to, each with its ways out."""

    list_display = ["name", "ways", "result", "routes_count", "managed_by"]
    search_fields = ["name", "integrations__target"]
    inlines = [IntegrationInline]
    fieldsets = [(None, {"fields": [("name", "fallback")]})]
    autocomplete_fields = ["fallback"]
    actions_detail = ["send_test", "detach"]
    empty_icon, empty_title = "send", "Nobody is told yet."
    empty_text = "A receiver is a name with one or more ways out: a Slack channel, a webhook, a mailbox."
    empty_link = ("Connect Slack", "alerts:connect_slack")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Receiver]:
        """The receivers with their ways out and the number of routes that lead to each."""
        rows = super().get_queryset(request).annotate(routes_to=Count("routes", distinct=True))
        return rows.prefetch_related("integrations")

    @display(description="Ways out")
    def ways(self, receiver: Receiver) -> SafeString:
        """Where its messages go."""
        rows = list(receiver.integrations.all())
        if not rows:
            return dot("warning", "none: messages are kept")
        return format_html_join(
            " ", '<span class="aq-label{}">{}</span>',
            (("" if row.is_enabled else " is-none", f"{row}{'' if row.is_enabled else ' (off)'}") for row in rows),
        )  # fmt: skip

    @display(description="Last result")
    def result(self, receiver: Receiver) -> SafeString | str:
        """The worst of its ways out."""
        rows = [row for row in receiver.integrations.all() if row.is_enabled]
        failed = [row for row in rows if _has_failed(row)]
        return _health(failed[0]) if failed else _health(rows[0]) if rows else "–"

    @display(description="Routes")
    def routes_count(self, receiver: Receiver) -> int:
        """How many routes lead here."""
        return int(receiver.routes_to)  # type: ignore[attr-defined]

    @action(
        description="Send test message", url_path="send-test", permissions=["change"], icon="send",
        dialog={
            "title": "Send a test message?", "description": "One message goes out through every way that is on.",
            "form_submit_text": "Send",
        },
    )  # fmt: skip
    def send_test(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Send a message through each way out and show what each answered."""
        receiver = get_object_or_404(Receiver, pk=object_id)
        rows = list(receiver.integrations.filter(is_enabled=True))
        if not rows:
            self.message_user(request, "It has no way out that is on; add one first.", messages.WARNING)
        for row in rows:
            is_sent, words = slack_setup.send_test(row, request.user.get_username(), timezone.now())
            self.message_user(request, f"{row}: {words}", messages.SUCCESS if is_sent else messages.ERROR)
        return dialog_done(admin_url(receiver))


def _is_owned(receiver: Receiver | None) -> bool:
    return receiver is not None and bool(receiver.managed_by)


def _has_failed(row: Integration) -> bool:
    return row.last_error_at is not None and (row.last_ok_at is None or row.last_error_at > row.last_ok_at)


def _health(row: Integration) -> SafeString:
    now = timezone.now()
    if _has_failed(row):
        return format_html('<span class="aq-error">{}</span> {}', row.last_error[:200], ago(row.last_error_at, now))
    if row.last_ok_at is None:
        return format_html('<span class="aq-muted">{}</span>', "nothing sent yet")
    return format_html("{} {}", dot("ok", "sent"), ago(row.last_ok_at, now))
