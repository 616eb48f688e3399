"""API tokens in the admin: made once, shown once, switched off when lost."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import HistoryAdmin, display
from monitoring.models import ApiToken
from monitoring.templatetags.portal import ago

STATES = {"valid": "success", "expired": "danger", "off": "default"}


class TokenForm(forms.ModelForm):
    """Scopes as boxes to tick."""

    scopes = forms.MultipleChoiceField(choices=ApiToken.Scope, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at", "is_enabled")


@admin.register(ApiToken)
class ApiTokenAdmin(HistoryAdmin):
    """Who may ask the API without signing in."""

    form = TokenForm
    list_display = ["name", "begins", "opens", "state", "used", "expires_at", "created_by"]
    list_filter = ["is_enabled"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["begins", "created_by", "created_at", "last_used_at"]
    fieldsets = [
        (None, {"fields": ["name", "scopes", ("expires_at", "is_enabled")]}),
        ("Known of it", {"fields": ["begins", "created_by", "created_at", "last_used_at"]}),
    ]

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Save the token; a new one gets its secret, which is shown this once."""
        if not change:
            obj.created_by = request.user.get_username()
            secret = obj.renew()
            words = "Copy the token now, it is not shown again: {}"
            shown = format_html('<code class="aq-mono">{}</code>', secret)
            messages.warning(request, format_html(words, shown))
        super().save_model(request, obj, form, change)

    @display(description="Token")
    def begins(self, token: ApiToken) -> SafeString | str:
        """How it begins."""
        return format_html("<code>{}…</code>", token.prefix) if token.prefix else "made when you save"

    @display(description="Opens")
    def opens(self, token: ApiToken) -> str:
        """Its scopes."""
        return ", ".join(token.scopes)

    @display(description="State", label=STATES)
    def state(self, token: ApiToken) -> str:
        """Whether it is let in now."""
        if not token.is_enabled:
            return "off"
        return "expired" if token.expires_at and token.expires_at <= timezone.now() else "valid"

    @display(description="Last used", ordering="last_used_at")
    def used(self, token: ApiToken) -> SafeString:
        """How long ago somebody used it."""
        return ago(token.last_used_at, timezone.now())
