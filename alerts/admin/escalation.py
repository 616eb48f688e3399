"""Who is told next when nobody answers: policies with a preview in words, rotas, and what runs now."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts import rotas
from alerts.admin.fields import MatchersField
from alerts.admin.listing import OVERRIDES, AlertsHistoryAdmin, LargeAdmin, ago, dot
from alerts.admin.rota_page import RotaPage
from alerts.engine import escalation as engine
from alerts.engine.intervals import zone
from alerts.engine.message_words import span
from alerts.escalation_policies import policy_value
from alerts.models import (
    Escalation,
    EscalationPolicy,
    EscalationStep,
    Rota,
    RotaMember,
    RotaOverride,
    StepRun,
)
from alphaq_portal.ui import ReadOnlyMixin, TabularInline, action, admin_url, display

_TONES = {
    Escalation.State.RUNNING: "warning", Escalation.State.HELD: "info", Escalation.State.EXHAUSTED: "critical",
    Escalation.State.ENDED: "none",
}  # fmt: skip


class PolicyForm(forms.ModelForm):
    """A policy, its matchers a line each."""

    matchers = MatchersField(required=False, help_text='One a line, such as severity="critical". Empty: every alert.')

    class Meta:
        model = EscalationPolicy
        fields = ["name", "position", "takes_matching", "matchers", "repeats", "is_enabled"]


class PlaceForm(forms.ModelForm):
    """A row with a place in an order; a row with nothing but its place is left out."""

    def has_changed(self) -> bool:
        """Whether more than the place was filled in."""
        return bool(set(self.changed_data) - {"position"}) if self.instance.pk is None else super().has_changed()


class OrderedFormSet(forms.BaseInlineFormSet):
    """Rows in an order; new ones come last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial_extra = [{"position": self.initial_form_count()}]

    @property
    def empty_form(self) -> forms.ModelForm:
        """What the browser copies for one more row."""
        form: forms.ModelForm = super().empty_form
        form.initial["position"] = self.initial_form_count() + self.extra
        return form


class StepsFormSet(OrderedFormSet):
    """The steps of a policy as a whole."""

    def clean(self) -> None:
        """At least one step, and a wait in a chain that repeats, or it would page without end at once."""
        super().clean()
        kept = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        if any(self.errors):
            return
        if not kept:
            raise forms.ValidationError("A policy needs at least one step.")
        if self.instance.repeats and not any(step.get("wait_seconds") for step in kept):
            raise forms.ValidationError("Steps that run again need a wait in at least one of them.")


class StepsInline(TabularInline):
    """The steps, in order."""

    model = EscalationStep
    form = PlaceForm
    formset = StepsFormSet
    formfield_overrides = OVERRIDES
    fields = ["position", "wait_seconds", "receiver", "user", "rota"]
    autocomplete_fields = ["receiver", "user", "rota"]
    extra = 1
    hide_title = True
    verbose_name_plural = "steps: wait after the step before, then tell these"


@admin.register(EscalationPolicy)
class EscalationPolicyAdmin(AlertsHistoryAdmin):
    """What happens to a problem that nobody acknowledges."""

    form = PolicyForm
    inlines = [StepsInline]
    list_display = ["name", "says", "takes", "routes_count", "running", "is_enabled", "managed_by"]
    list_filter = ["is_enabled", "takes_matching"]
    search_fields = ["name"]
    readonly_fields = ["preview", "managed_by"]
    fieldsets = [
        (None, {"fields": [("name", "is_enabled"), ("takes_matching", "position"), "matchers", "repeats"]}),
        ("If nobody acknowledges", {"fields": ["preview", "managed_by"]}),
    ]
    empty_icon, empty_title = "trending_up", "Nobody is told next."
    empty_text = "A policy tells the next people when nobody acknowledges: after 15 minutes Ana, then whoever leads."

    def get_queryset(self, request: HttpRequest) -> QuerySet[EscalationPolicy]:
        """The policies with their steps, their routes and what runs."""
        steps = EscalationStep.objects.select_related("receiver", "user", "rota")
        running = Prefetch("escalations", Escalation.objects.filter(ended_at__isnull=True), to_attr="open_ones")
        return super().get_queryset(request).prefetch_related(Prefetch("steps", steps), "routes", running)

    @display(description="If nobody acknowledges")
    def says(self, row: EscalationPolicy) -> str:
        """The policy in one sentence."""
        value = policy_value(row)
        return engine.describe(value).removeprefix("If nobody acknowledges: ") if value.steps else "nothing: no steps"

    @display(description="Preview")
    def preview(self, row: EscalationPolicy) -> SafeString | str:
        """Each step to come with its time after the first message."""
        if not row.pk:
            return "Shown once it is saved."
        value = policy_value(row)
        if not value.steps:
            return "Nothing happens: it has no steps."
        start = timezone.now()
        coming = engine.plan(value, engine.Incident(created_at=start, first_delivered_at=start))
        lines = (
            (span((one.due_at - start).total_seconds()), _names(one), f" (round {one.round + 1})" * (one.round > 0))
            for one in coming
        )
        return format_html(
            '<ol class="aq-steps-plan">{}</ol>',
            format_html_join(
                "", '<li><span class="aq-strong">{}</span> {}<span class="aq-muted">{}</span></li>', lines
            ),
        )

    @display(description="Takes")
    def takes(self, row: EscalationPolicy) -> str:
        """Which alerts run through it."""
        what = ", ".join(row.matchers) or "every alert"
        return what if row.takes_matching else f"{what}, where a route names it"

    @display(description="Routes")
    def routes_count(self, row: EscalationPolicy) -> int:
        """How many routes name it."""
        return len(row.routes.all())

    @display(description="Runs now")
    def running(self, row: EscalationPolicy) -> SafeString | str:
        """How many problems run through it now."""
        count = len(row.open_ones)  # type: ignore[attr-defined]
        if not count:
            return "–"
        url = admin_url(Escalation, policy__id__exact=row.pk, open="yes")
        return format_html('<a class="aq-link" href="{}">{}</a>', url, count)


def _names(step: engine.DueStep) -> str:
    kinds = {"receiver": "", "user": "", "rota": "on call in "}
    return " and ".join(f"{kinds[target.kind]}{target.name}" for target in step.step.targets)


class MembersInline(TabularInline):
    """Who takes turns, in order."""

    model = RotaMember
    form = PlaceForm
    formset = OrderedFormSet
    fields = ["position", "user"]
    autocomplete_fields = ["user"]
    extra = 1
    hide_title = True


class OverridesInline(TabularInline):
    """Who takes over for a while."""

    model = RotaOverride
    fields = ["user", "starts_at", "ends_at", "reason"]
    autocomplete_fields = ["user"]
    hide_title = True


@admin.register(Rota)
class RotaAdmin(AlertsHistoryAdmin):
    """People who take turns being on call."""

    inlines = [MembersInline, OverridesInline]
    list_display = ["name", "on_call", "until", "order", "handover", "managed_by"]
    search_fields = ["name"]
    readonly_fields = ["managed_by"]
    fieldsets = [
        (
            None,
            {"fields": ["name", ("starts_on", "handover_at"), ("weeks_per_turn", "location"), "managed_by"]},
        )
    ]
    actions_detail = actions_row = ["open_calendar"]
    empty_icon, empty_title = "event_repeat", "Nobody takes turns yet."
    empty_text = "A rota names the people who are on call week by week; a step of an escalation tells whoever it is."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rota]:
        """The rotas with their people."""
        return super().get_queryset(request).prefetch_related("members__user", "overrides__user")

    def get_urls(self) -> list[Any]:
        """The calendar beside the form."""
        page = path("<int:pk>/calendar/", self.admin_site.admin_view(RotaPage.as_view()), name="alerts_rota_calendar")
        return [page, *super().get_urls()]

    @display(description="On call now")
    def on_call(self, row: Rota) -> SafeString:
        """Who has it now."""
        shift = rotas.on_call(row, timezone.now())
        if shift is None:
            return dot("warning", "nobody")
        more = format_html(' <span class="aq-label is-info">{}</span>', "override") if shift.is_override else ""
        return format_html('<span class="aq-strong">{}</span>{}', shift.user, more)

    @display(description="Until")
    def until(self, row: Rota) -> str:
        """When the turn ends, in the rota's wall time."""
        shift = rotas.on_call(row, timezone.now())
        return f"{shift.ends_at.astimezone(zone(row.location)):%a %d %b, %H:%M} {row.location}" if shift else "–"

    @display(description="Order")
    def order(self, row: Rota) -> str:
        """The people in order."""
        return ", ".join(str(member) for member in row.members.all()) or "–"

    @display(description="Handover")
    def handover(self, row: Rota) -> str:
        """When turns change."""
        often = "every week" if row.weeks_per_turn == 1 else f"every {row.weeks_per_turn} weeks"
        return f"{row.starts_on:%A} {row.handover_at:%H:%M}, {often}"

    @action(description="Calendar", url_path="weeks", permissions=["view"], icon="calendar_month")
    def open_calendar(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the weeks ahead."""
        return redirect(reverse("admin:alerts_rota_calendar", args=[object_id]))


class OpenFilter(admin.SimpleListFilter):
    """Whether an escalation is over."""

    title = "over"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [("yes", "not yet"), ("no", "over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Escalation]) -> QuerySet[Escalation]:
        """The escalations of the choice."""
        return queryset.filter(ended_at__isnull=self.value() == "yes") if self.value() in ("yes", "no") else queryset


class RunsInline(ReadOnlyMixin, TabularInline):
    """The steps that were run."""

    model = StepRun
    fields = readonly_fields = ["at", "words", "outcome"]
    hide_title = True
    verbose_name_plural = "steps that were run"

    def get_queryset(self, request: HttpRequest) -> QuerySet[StepRun]:
        """The runs with their messages."""
        return super().get_queryset(request).prefetch_related("notifications")

    @display(description="What came of it")
    def outcome(self, run: StepRun) -> SafeString:
        """Its messages and their states, or why there were none."""
        rows = ((admin_url(one), one.receiver_name, one.get_state_display()) for one in run.notifications.all())
        told = format_html_join(" ", '<a class="aq-link" href="{}">{}: {}</a>', rows)
        return format_html('{} <span class="aq-error">{}</span>', told, run.problem)


@admin.register(Escalation)
class EscalationAdmin(ReadOnlyMixin, LargeAdmin):
    """Problems that run, or ran, through a policy."""

    list_display = ["standing", "what", "policy_name", "next_words", "steps_done", "since"]
    list_display_links = ["what"]
    list_filter = [OpenFilter, "state", "policy"]
    search_fields = ["policy_name"]
    fields = readonly_fields = ["standing", "what", "policy_name", "next_words", "since", "alert_links"]
    inlines = [RunsInline]
    empty_icon, empty_title = "trending_up", "Nothing has been escalated."
    empty_text = "Problems that a policy takes appear here with their first message."
    empty_link = ("Policies", "admin:alerts_escalationpolicy_changelist")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Escalation]:
        """The escalations with their groups, alerts and steps."""
        return super().get_queryset(request).select_related("group").prefetch_related("alerts", "runs")

    @display(description="State", ordering="state")
    def standing(self, row: Escalation) -> SafeString:
        """How it stands."""
        return dot(_TONES[Escalation.State(row.state)], row.get_state_display())

    @display(description="Problem")
    def what(self, row: Escalation) -> str:
        """The alerts it is about."""
        alerts = list(row.alerts.all())
        names = ", ".join(sorted({alert.name for alert in alerts})[:3]) or "–"
        return f"{names} ({len(alerts)} alerts)" if len(alerts) > 1 else names

    @display(description="Next, or why not")
    def next_words(self, row: Escalation) -> str:
        """What comes next, or why nothing does."""
        return row.words

    @display(description="Steps done")
    def steps_done(self, row: Escalation) -> int:
        """How many steps were run."""
        return len(row.runs.all())

    @display(description="Began", ordering="created_at")
    def since(self, row: Escalation) -> SafeString:
        """When it began."""
        return ago(row.created_at, timezone.now())

    @display(description="Alerts")
    def alert_links(self, row: Escalation) -> SafeString:
        """Each alert with its page."""
        rows = ((reverse("alerts:alert", args=[alert.pk]), str(alert)) for alert in row.alerts.all()[:50])
        return format_html_join(" · ", '<a class="aq-link" href="{}">{}</a>', rows)
