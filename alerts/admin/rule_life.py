"""How far a rule comes, from its list and its form; what finds nothing does not go live unnoticed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone

from alerts import actions
from alerts.blind import blind
from alerts.models import Rule
from alphaq_portal.ui import ActionVariant, BaseDialogForm, action, admin_url, dialog_done

# A longer address would be cut by servers on the way.
_MOST_IN_ADDRESS = 500


class GoLiveForm(BaseDialogForm):
    """Asks whoever is no superuser, as the form of the rule does, when the rule could never fire."""

    metric_not_there_yet = forms.BooleanField(
        required=False, help_text="Let it go live although nothing matches it now."
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a rule that finds nothing unless that is meant."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        rule = Rule.objects.filter(pk=self.object_id).first()
        is_meant = found.get("metric_not_there_yet") or self.request.user.is_superuser
        if rule is not None and not is_meant and blind([rule], timezone.now()):
            text = "Nothing matches it now, so it could never fire. Look for a slip in the names, or tick this."
            self.add_error("metric_not_there_yet", text)
        return found


class LifeActions:
    """The actions of the list and of one rule."""

    message_user: Any  # of ModelAdmin

    @action(description="Go live", permissions=["change"])
    def make_live(self, request: HttpRequest, queryset: QuerySet[Rule]) -> HttpResponse | None:
        """Evaluate and tell; with a look at the differences first when some of them find nothing."""
        found = blind(queryset.exclude(life=Rule.Life.LIVE), timezone.now())
        if not found:
            self._bring(request, queryset, Rule.Life.LIVE)
            return None
        ids = ",".join(str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True)[:_MOST_IN_ADDRESS])
        typed = urlencode({"ids": ids, "kind": "life", "life": Rule.Life.LIVE})
        return redirect(f"{reverse('alerts:rules_bulk')}?{typed}")

    @action(description="Shadow: evaluate, tell nobody", permissions=["change"])
    def make_shadow(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        """Evaluate and tell nobody."""
        self._bring(request, queryset, Rule.Life.SHADOW)

    @action(description="Switch off", permissions=["change"])
    def make_disabled(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        """Evaluate no more."""
        self._bring(request, queryset, Rule.Life.DISABLED)

    def _bring(self, request: HttpRequest, rules: QuerySet[Rule], life: str) -> None:
        count = actions.set_life(rules.select_related("group"), life, request.user, timezone.now())
        self.message_user(request, f"{count} rule{'' if count == 1 else 's'} changed to {Rule.Life(life).label}.")

    @action(
        description="Go live", url_path="go-live", permissions=["change"], icon="play_arrow",
        dialog={
            "title": "Bring this rule live?", "description": "Its alerts are told from the next evaluation on.",
            "form_class": GoLiveForm,
        },
    )  # fmt: skip
    def go_live(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Bring one rule live."""
        return self._bring_one(request, object_id, Rule.Life.LIVE)

    @action(
        description="Shadow", url_path="go-shadow", permissions=["change"], icon="visibility",
        dialog={
            "title": "Evaluate in the shadow?",
            "description": "The rule is evaluated and its alerts are listed, but nobody is told. What fires now ends.",
        },
    )  # fmt: skip
    def go_shadow(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Bring one rule into the shadow."""
        return self._bring_one(request, object_id, Rule.Life.SHADOW)

    @action(
        description="Switch off", url_path="go-off", permissions=["change"], icon="stop", variant=ActionVariant.DANGER,
        dialog={"title": "Switch this rule off?", "description": "It is evaluated no more, and what fires now ends."},
    )  # fmt: skip
    def go_off(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Switch one rule off."""
        return self._bring_one(request, object_id, Rule.Life.DISABLED)

    def _bring_one(self, request: HttpRequest, object_id: str, life: str) -> HttpResponse:
        rule = get_object_or_404(Rule, pk=object_id)
        changed = actions.set_life([rule], life, request.user, timezone.now())
        words = f"{rule.name} is {Rule.Life(life).label} {'now' if changed else 'already'}."
        self.message_user(request, words, messages.SUCCESS if changed else messages.INFO)
        return dialog_done(admin_url(rule))
