"""What keeps alerts quiet: silences made by people, and rules by which one alert mutes another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts import actions
from alerts.admin.fields import MatchersField, NamesField
from alerts.admin.listing import AlertsHistoryAdmin, ago, dot
from alerts.admin.owned import OwnedByFileMixin
from alerts.engine.intervals import WEEKDAYS
from alerts.engine.silences import ends_soon
from alerts.models import Dependency, InhibitRule, Silence
from alerts.policy import recurrence, silence_value
from alerts.silence_notice import ENDING_SOON
from alphaq_portal.ui import (
    ActionVariant,
    UnfoldAdminTextareaWidget,
    action,
    admin_url,
    dialog_done,
    display,
)

# Monday first, as people read a week; the numbers count from Sunday.
DAYS = [(number, WEEKDAYS[number].title()) for number in (1, 2, 3, 4, 5, 6, 0)]


class SilenceForm(forms.ModelForm):
    """A silence; one that would cover every alert is refused."""

    matchers = MatchersField(help_text='One a line, such as host="gpu-1" or severity=~"warning|info". All must hold.')
    recur_weekdays = forms.TypedMultipleChoiceField(
        label="Days", required=False, coerce=int, choices=DAYS,
        widget=forms.CheckboxSelectMultiple, help_text="None: every day.",
    )  # fmt: skip

    class Meta:
        model = Silence
        fields = [
            "matchers", "starts_at", "ends_at", "comment", "recur_weekdays", "recur_at", "recur_seconds",
            "recur_location",
        ]  # fmt: skip
        widgets = {"comment": UnfoldAdminTextareaWidget({"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "recur_location" in self.fields:  # who may only look has no fields
            self.fields["recur_location"].required = False

    def clean_recur_location(self) -> str:
        """The time zone of the windows; UTC where none is given."""
        return self.cleaned_data["recur_location"] or "UTC"

    def clean(self) -> dict[str, Any]:
        """Let the verb judge it, so that page, admin and API refuse the same."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        opens_at, seconds = cleaned.get("recur_at"), cleaned.get("recur_seconds")
        if opens_at is None and (seconds or cleaned.get("recur_weekdays")):
            self.add_error("recur_at", "Say when a window opens, or leave days and length empty.")
        elif opens_at is not None and not seconds and "recur_seconds" not in self.errors:
            self.add_error("recur_seconds", "Say how long a window lasts, such as 2h.")
        if not self.errors and {"matchers", "starts_at", "ends_at"} <= cleaned.keys():
            again = recurrence(opens_at, seconds, cleaned["recur_weekdays"], cleaned["recur_location"])
            try:
                actions.preview_silence(
                    cleaned["matchers"], cleaned["starts_at"], cleaned["ends_at"], timezone.now(), again
                )
            except actions.Refused as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


class WhenFilter(admin.SimpleListFilter):
    """Whether a silence holds."""

    title = "when"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [
            ("active", "active"), ("soon", "ending soon"), ("pending", "pending"), ("expired", "expired"),
        ]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Silence]) -> QuerySet[Silence]:
        """The silences of the choice."""
        at = timezone.now()
        match self.value():
            case "active":
                return queryset.filter(starts_at__lte=at, ends_at__gt=at)
            case "soon":
                return queryset.filter(starts_at__lte=at, ends_at__gt=at, ends_at__lte=at + ENDING_SOON)
            case "pending":
                return queryset.filter(starts_at__gt=at)
            case "expired":
                return queryset.filter(ends_at__lte=at)
        return queryset


@admin.register(Silence)
class SilenceAdmin(AlertsHistoryAdmin):
    """Times in which matching alerts are not told."""

    class Media:
        """What the form loads."""

        js = ["js/silence.js"]

    form = SilenceForm
    list_display = ["state", "what", "again", "ends", "comment", "who", "created"]
    list_display_links = ["what"]
    list_filter = [WhenFilter]
    search_fields = ["matchers", "comment", "created_by"]
    fieldsets = [
        (None, {"fields": ["matchers", "starts_at", "ends_at", "comment"]}),
        (
            "Only in windows that come again",
            {
                "fields": ["recur_weekdays", "recur_at", ("recur_seconds", "recur_location"), "windows"],
                "description": "Leave the time empty for a silence that holds from its start to its end.",
            },
        ),
    ]
    readonly_fields = ["windows"]
    actions_row = ["extend_hour", "end_now"]
    actions_detail = ["extend_hour", "end_now"]
    empty_icon, empty_title = "notifications_paused", "Nothing is silenced."
    empty_text = "The quickest way to a silence is the page of an alert: its labels are filled in there."
    empty_link = ("See the alerts", "alerts:alerts")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Two hours from now, as most silences are."""
        now = timezone.now()
        return {"starts_at": now, "ends_at": now + timedelta(hours=2), **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Silence, form: Any, change: bool) -> None:
        """Save; a new one carries its author."""
        if not change:
            user: Any = request.user
            obj.author, obj.created_by = user, user.get_username()
        super().save_model(request, obj, form, change)

    @display(description="State")
    def state(self, silence: Silence) -> SafeString:
        """Active, pending or expired."""
        now = timezone.now()
        if silence.ends_at <= now:
            return dot("none", "expired")
        if silence.starts_at > now:
            return dot("info", "pending")
        value = silence_value(silence)
        if value.window(now) is None:
            return dot("info", "between windows")
        is_ending = ends_soon(value, now, ENDING_SOON.total_seconds())
        return dot("warning", "ending soon") if is_ending else dot("ok", "active")

    @display(description="Silences")
    def what(self, silence: Silence) -> SafeString:
        """The matchers as chips."""
        return format_html(
            '<span class="aq-chips">{}</span>',
            format_html_join(" ", '<code class="aq-chip">{}</code>', ((text,) for text in silence.matchers)),
        )

    @display(description="When")
    def again(self, silence: Silence) -> str:
        """Its windows in words; a dash for one that holds throughout."""
        value = silence_value(silence).recurrence
        return value.describe() if value else "–"

    @display(description="Next windows")
    def windows(self, silence: Silence) -> SafeString:
        """The next five windows; the browser asks anew while the fields are changed."""
        found = silence_value(silence).next_windows(timezone.now()) if silence.pk and silence.recur_at else ()
        words = render_to_string("alerts/silence_windows.html", {"windows": found, "place": silence.recur_location})
        return format_html('<div data-aq-windows="{}">{}</div>', reverse("alerts:silence_windows"), SafeString(words))

    @display(description="Ends", ordering="ends_at")
    def ends(self, silence: Silence) -> SafeString:
        """When it ends, or ended."""
        return ago(silence.ends_at, timezone.now())

    @display(description="By", ordering="created_by")
    def who(self, silence: Silence) -> str:
        """Who made it."""
        return silence.created_by

    @display(description="Starts", ordering="starts_at")
    def created(self, silence: Silence) -> SafeString:
        """When it started, or will."""
        return ago(silence.starts_at, timezone.now())

    @action(
        description="Extend by 1 h", url_path="extend", permissions=["change"], icon="more_time",
        dialog={"title": "One hour more?", "description": "The silence ends an hour later than now planned."},
    )  # fmt: skip
    def extend_hour(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Let it last an hour longer."""
        return self._act(request, object_id, "It lasts an hour longer.", _extend)

    @action(
        description="End now", url_path="end", permissions=["change"], icon="alarm_off", variant=ActionVariant.DANGER,
        dialog={"title": "End this silence?", "description": "What it covers is told again from now on."},
    )  # fmt: skip
    def end_now(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """End it at once."""
        return self._act(request, object_id, "It has ended.", actions.end_silence)

    def _act(self, request: HttpRequest, object_id: str, words: str, verb: Any) -> HttpResponse:
        try:
            verb(int(object_id), request.user, timezone.now())
            self.message_user(request, words, messages.SUCCESS)
        except actions.Refused as error:
            self.message_user(request, str(error), messages.ERROR)
        return dialog_done(admin_url(Silence))


def _extend(silence_id: int, user: Any, at: Any) -> Silence:
    return actions.extend_silence(silence_id, user, timedelta(hours=1), at)


class InhibitRuleForm(forms.ModelForm):
    """While a source fires, its targets are not told."""

    source_matchers = MatchersField(help_text="One a line: the alerts that mute others.")
    target_matchers = MatchersField(help_text="One a line: the alerts that are muted meanwhile.")
    equal = NamesField(required=False, help_text="Labels that must agree on both, between commas, such as host.")

    class Meta:
        model = InhibitRule
        fields = ["name", "source_matchers", "target_matchers", "equal", "is_enabled"]


@admin.register(InhibitRule)
class InhibitRuleAdmin(OwnedByFileMixin, AlertsHistoryAdmin):
    """Alerts that mute others while they fire."""

    form = InhibitRuleForm
    list_display = ["title", "source", "target", "agree", "is_enabled", "managed_by"]
    list_filter = ["is_enabled"]
    search_fields = ["name", "source_matchers", "target_matchers"]
    actions_detail = ["detach"]
    fieldsets = [
        (None, {"fields": ["name", ("source_matchers", "target_matchers"), "equal", "is_enabled"]}),
    ]
    empty_icon, empty_title = "hearing_disabled", "No inhibit rule yet."
    empty_text = "A host that is down need not report each of its models: let HostDown mute them while it fires."

    @display(description="Rule", ordering="name")
    def title(self, rule: InhibitRule) -> str:
        """The name, or what it does."""
        return str(rule)[:100]

    @display(description="While this fires")
    def source(self, rule: InhibitRule) -> SafeString:
        """Matchers of the source."""
        return format_html('<code class="aq-mono">{}</code>', ", ".join(rule.source_matchers))

    @display(description="this is not told")
    def target(self, rule: InhibitRule) -> SafeString:
        """Matchers of the target."""
        return format_html('<code class="aq-mono">{}</code>', ", ".join(rule.target_matchers))

    @display(description="where these agree")
    def agree(self, rule: InhibitRule) -> str:
        """Labels that must be equal."""
        return ", ".join(rule.equal) or "–"


class DependencyForm(forms.ModelForm):
    """Which alerts mean that a host or a deployment is down."""

    matchers = MatchersField(help_text='One a line; one of them names the alerts: alertname=~"HostDown|NodeDown".')

    class Meta:
        model = Dependency
        fields = ["matchers", "kind", "is_enabled"]


@admin.register(Dependency)
class DependencyAdmin(AlertsHistoryAdmin):
    """What is down mutes what the registry says hangs on it: host, deployment, model."""

    form = DependencyForm
    list_display = ["what", "kind", "is_enabled"]
    list_filter = ["kind", "is_enabled"]
    search_fields = ["matchers"]
    fieldsets = [
        (
            None,
            {
                "fields": ["matchers", "kind", "is_enabled"],
                "description": "While such an alert fires, new alerts about what runs there are not told: deployments "
                "on that host, models served only there. What was told before is told on, resolves as well.",
            },
        )
    ]
    empty_icon, empty_title = "account_tree", "Nothing is known to hang on anything."
    empty_text = "Say which alerts mean that a host or a deployment is down; the registry knows what runs there."

    @display(description="These alerts")
    def what(self, row: Dependency) -> SafeString:
        """The matchers."""
        return format_html('<code class="aq-mono">{}</code>', ", ".join(row.matchers))
