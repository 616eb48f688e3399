"""Teams, models, versions, deployments and targets in the admin: what is served, where, and whether it is scraped."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.forms import BaseModelFormSet, ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alphaq_portal.ui import (
    HistoryAdmin,
    ReadOnlyMixin,
    StackedInline,
    TabularInline,
    action,
    admin_url,
    dialog_done,
    display,
)
from monitoring import deploys, probes, target_report, targets
from monitoring.admin.model_columns import ModelColumns, SeenFilter
from monitoring.admin.probes import HEALTH_LABELS, health_words
from monitoring.collect.report import Report
from monitoring.models import Deployment, ModelVersion, Probe, ServedModel, Target, TargetStatus, Team
from monitoring.templatetags.portal import ago

STATE_LABELS = {"up": "success", "down": "danger", "off": "default", "not scraped yet": "info"}


class ServedModelInline(TabularInline):
    """The models of a team, to go to."""

    model = ServedModel
    fields = ["name", "task", "framework"]
    show_change_link = True


class ModelVersionInline(TabularInline):
    """The versions of a model."""

    model = ModelVersion
    fields = ["version", "stage", "baseline", "promoted_at"]
    show_change_link = True


class DeploymentInline(StackedInline):
    """Where a version runs."""

    model = Deployment
    fields = [("host", "url"), "metrics_url", ("health_url", "health_kind"), "health_model", "is_enabled"]
    autocomplete_fields = ["host"]


@admin.register(Team)
class TeamAdmin(HistoryAdmin):
    """The people who answer for models."""

    list_display = ["name", "contact", "model_count"]
    search_fields = ["name", "contact"]
    inlines = [ServedModelInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        """The teams with the number of their models."""
        return super().get_queryset(request).annotate(models_owned=Count("models"))

    @display(description="Models", ordering="models_owned")
    def model_count(self, team: Team) -> int:
        """How many models it owns."""
        return int(team.models_owned)  # type: ignore[attr-defined]


@admin.register(ServedModel)
class ServedModelAdmin(ModelColumns, HistoryAdmin):
    """The models that are served."""

    list_display = [
        "title", "stage", "versions_seen", "owner", "task", "requests", "p95", "errors", "accuracy", "firing",
        "last_deploy", "settings",
    ]  # fmt: skip
    list_display_links = ["settings"]
    list_filter = ["versions__stage", SeenFilter, "owner", "framework", "task"]
    search_fields = ["name", "description", "owner__name"]
    autocomplete_fields = ["owner"]
    list_select_related = ["owner"]
    fieldsets = [
        (None, {"fields": ["name", ("task", "framework"), "owner", "runbook", "description"]}),
        ("Labels", {"fields": ["labels"], "classes": ["collapse"]}),
    ]
    inlines = [ModelVersionInline]

    @display(description="")
    def settings(self, model: ServedModel) -> str:
        """The way to the form."""
        return "Settings"

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseModelFormSet, change: bool) -> None:
        """Save the versions; one that comes into production notes since when and is marked as a deploy."""
        promoted = [one.instance for one in formset.forms if one.has_changed() and _promote(one.instance)]
        super().save_formset(request, form, formset, change)
        for version in promoted:
            _note_stage(request, version)


@admin.register(ModelVersion)
class ModelVersionAdmin(HistoryAdmin):
    """One version of a model with its deployments."""

    list_display = ["__str__", "stage", "promoted_at"]
    list_filter = ["stage", "model"]
    search_fields = ["version", "model__name"]
    autocomplete_fields = ["model"]
    list_select_related = ["model"]
    fieldsets = [(None, {"fields": ["model", ("version", "stage"), "baseline", "promoted_at"]})]
    inlines = [DeploymentInline]

    def save_model(self, request: HttpRequest, obj: ModelVersion, form: Any, change: bool) -> None:
        """Save the version; one that comes into production notes since when and is marked as a deploy."""
        is_promoted = _promote(obj)
        super().save_model(request, obj, form, change)
        if is_promoted:
            _note_stage(request, obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseModelFormSet, change: bool) -> None:
        """Save the deployments, have them scraped and probed; a new one is a deploy."""
        super().save_formset(request, form, formset, change)
        if formset.model is Deployment:
            for deployment in Deployment.objects.filter(version=form.instance).select_related("version__model"):
                _follow(deployment)
            for deployment in formset.new_objects:
                _note_deploy(request, deployment)


@admin.register(Deployment)
class DeploymentAdmin(HistoryAdmin):
    """Where versions run."""

    list_display = ["__str__", "stage", "scraped", "well", "health_kind", "deployed_at", "is_enabled"]
    list_filter = ["is_enabled", "health_kind", "version__stage", "version__model"]
    search_fields = ["version__model__name", "version__version", "url", "metrics_url", "host__name"]
    autocomplete_fields = ["version", "host"]
    list_select_related = ["version__model", "host", "target__status", "probe__state"]
    fieldsets = [
        (None, {"fields": ["version", ("host", "url"), "is_enabled"]}),
        ("What is asked", {"fields": ["metrics_url", ("health_url", "health_kind"), "health_model"]}),
    ]

    def save_model(self, request: HttpRequest, obj: Deployment, form: Any, change: bool) -> None:
        """Save the deployment, have it scraped and probed; a new one or another version is a deploy."""
        super().save_model(request, obj, form, change)
        _follow(obj)
        if not change or "version" in form.changed_data:
            _note_deploy(request, obj)

    @display(description="Stage")
    def stage(self, deployment: Deployment) -> str:
        """How far its version has come."""
        return deployment.version.get_stage_display()

    @display(description="Metrics", label=STATE_LABELS)
    def scraped(self, deployment: Deployment) -> str:
        """Whether its target is up."""
        target: Target | None = getattr(deployment, "target", None)
        return _state(target) if target is not None and deployment.is_enabled else "off"

    @display(description="Health", label=HEALTH_LABELS)
    def well(self, deployment: Deployment) -> str:
        """What its probe was answered last."""
        probe: Probe | None = getattr(deployment, "probe", None)
        return health_words(probe) if probe is not None and deployment.is_enabled else "off"


class TargetStatusInline(ReadOnlyMixin, StackedInline):
    """What the last scrape said."""

    model = TargetStatus
    verbose_name_plural = "Last scrape"
    fields = ["state", "since", "scraped_at", "duration_seconds", "samples", "error", "warning", "missed_slots"]
    can_delete = False


@admin.register(Target)
class TargetAdmin(HistoryAdmin):
    """What is scraped and what the last scrape said."""

    list_display = ["__str__", "state", "last_scrape", "duration", "samples", "trouble", "every", "served"]
    list_filter = ["status__state", "job", "is_enabled", "managed_by"]
    search_fields = ["job", "instance_label", "url", "deployment__version__model__name"]
    list_select_related = ["status", "deployment__version__model"]
    autocomplete_fields = ["deployment"]
    readonly_fields = ["managed_by"]
    fieldsets = [
        (None, {"fields": ["job", "url", "instance_label", ("interval_seconds", "timeout_seconds"), "is_enabled"]}),
        ("Labels", {"fields": ["labels", "deployment", "honor_labels", "honor_timestamps"]}),
        ("Limits", {"fields": [("sample_limit", "body_limit_bytes"), "managed_by"], "classes": ["collapse"]}),
    ]
    inlines = [TargetStatusInline]
    actions = ["switch_on", "switch_off"]
    actions_detail = ["show_metrics", "scrape_now"]

    @display(description="State", label=STATE_LABELS)
    def state(self, target: Target) -> str:
        """Up or down, or why neither."""
        return _state(target)

    @display(description="Last scrape", ordering="status__scraped_at")
    def last_scrape(self, target: Target) -> SafeString | str:
        """How long ago it was asked."""
        status = _status(target)
        return ago(status.scraped_at, timezone.now()) if status else ""

    @display(description="Took", ordering="status__duration_seconds")
    def duration(self, target: Target) -> str:
        """How long the last scrape took."""
        status = _status(target)
        return f"{status.duration_seconds * 1000:.0f} ms" if status else ""

    @display(description="Samples", ordering="status__samples")
    def samples(self, target: Target) -> str:
        """How many samples the last scrape gave."""
        status = _status(target)
        return f"{status.samples:,}" if status else ""

    @display(description="Trouble")
    def trouble(self, target: Target) -> str:
        """Why the last scrape failed, or what it lost."""
        status = _status(target)
        return (status.error or status.warning)[:160] if status else ""

    @display(description="Every", ordering="interval_seconds")
    def every(self, target: Target) -> str:
        """Its interval."""
        return f"{target.interval_seconds:g} s"

    @display(description="Model")  # not named so: an admin has a model of its own
    def served(self, target: Target) -> str:
        """The model and version whose labels it carries."""
        return str(target.deployment.version) if target.deployment else ""

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Target]) -> None:
        """Scrape the chosen targets."""
        self.message_user(request, f"{_switch(queryset, True)} targets are scraped from now on.")

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Target]) -> None:
        """Scrape the chosen targets no more; their series end."""
        self.message_user(request, f"{_switch(queryset, False)} targets are scraped no more.")

    @action(description="Metrics", url_path="metrics", permissions=["view"], icon="list")
    def show_metrics(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the page of what the target exposes and how it is named."""
        return redirect("monitoring:target", pk=object_id)

    @action(
        description="Scrape now", url_path="scrape-now", permissions=["change"], icon="play_arrow",
        dialog={
            "title": "Scrape it now?", "description": "The target is asked once; nothing is stored.",
            "form_submit_text": "Scrape",
        },
    )  # fmt: skip
    def scrape_now(self, request: HttpRequest, form: ModelForm, object_id: str) -> HttpResponse:
        """Ask the target once and show what it answered."""
        target = get_object_or_404(Target.objects.select_related("deployment__version__model"), pk=object_id)
        report = target_report.ask(target)
        self.message_user(request, _report_words(report), messages.SUCCESS if report.is_up else messages.ERROR)
        if warnings := target_report.names_in(report).warnings:
            text = format_html(
                '{} in how its metrics are named: <a class="aq-link" href="{}">see which</a>',
                f"{warnings} warning{'' if warnings == 1 else 's'}",
                reverse("monitoring:target", args=[target.pk]),
            )
            self.message_user(request, text, messages.WARNING)
        if report.warning:
            self.message_user(request, report.warning, messages.WARNING)
        return dialog_done(admin_url(target))


def _report_words(report: Report) -> SafeString:
    took = f"{report.duration_seconds * 1000:.0f} ms, {report.body_bytes:,} bytes"
    if report.is_up:
        kind = "OpenMetrics" if report.is_openmetrics else "text format"
        return format_html("Up: {} samples in {}, {}.", f"{report.samples:,}", took, kind)
    lines = format_html_join("\n", "{}", ((line,) for line in report.excerpt))
    shown = format_html('<pre class="aq-mono">{}</pre>', lines) if report.excerpt else ""
    return format_html("Down after {}: {}{}", took, report.error, shown)


def _status(target: Target) -> TargetStatus | None:
    return getattr(target, "status", None)


def _state(target: Target) -> str:
    status = _status(target)
    if not target.is_enabled:
        return "off"
    return status.state if status else "not scraped yet"


def _switch(queryset: QuerySet[Target], is_on: bool) -> int:
    """Switch targets one by one, so that each has its line in the history; return how many changed."""
    changed = list(queryset.exclude(is_enabled=is_on))
    for target in changed:
        target.is_enabled = is_on
        target.save(update_fields=["is_enabled"])
    return len(changed)


def _follow(deployment: Deployment) -> None:
    targets.follow(deployment)
    probes.follow(deployment)


def _promote(version: ModelVersion) -> bool:
    """Note since when a version is in production; return whether saving it brings it there."""
    if version.stage != ModelVersion.Stage.PRODUCTION:
        return False
    version.promoted_at = version.promoted_at or timezone.now()
    return not ModelVersion.objects.filter(pk=version.pk, stage=ModelVersion.Stage.PRODUCTION).exists()


def _note_stage(request: HttpRequest, version: ModelVersion) -> None:
    deploys.note(version, timezone.now(), request.user.get_username(), stage=version.stage)


def _note_deploy(request: HttpRequest, deployment: Deployment) -> None:
    deploys.note(deployment.version, timezone.now(), request.user.get_username(), deployment=deployment)
