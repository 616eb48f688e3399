"""Probes and deploys in the admin: what is asked and how it answered, and which version went live when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import (
    HistoryAdmin,
    ModelAdmin,
    ReadOnlyMixin,
    StackedInline,
    action,
    admin_url,
    dialog_done,
    display,
)
from monitoring import probes, units
from monitoring.collect.probe import ask
from monitoring.models import Deploy, Probe, ProbeState
from monitoring.templatetags.portal import ago, cells

HEALTH_LABELS = {"well": "success", "not well": "danger", "stale": "warning", "off": "default", "not asked yet": "info"}


def health_words(probe: Probe) -> str:
    """Return how a probe stands now, one of the keys of HEALTH_LABELS; reads its state and deployment."""
    is_off = not probe.is_enabled or (probe.deployment is not None and not probe.deployment.is_enabled)
    if is_off:
        return "off"
    state = _state(probe)
    if state is None or state.probed_at is None:
        return "not asked yet"
    if timezone.now() - state.probed_at > probe.stale_after:
        return "stale"
    return str(state)


class ProbeStateInline(ReadOnlyMixin, StackedInline):
    """What the last questions gave."""

    model = ProbeState
    verbose_name_plural = "Last answers"
    fields = [
        "last_results", ("is_ok", "since"), ("probed_at", "duration_seconds", "http_status"), "error", "missed_slots",
    ]  # fmt: skip
    readonly_fields = ["last_results"]
    can_delete = False

    @display(description="Last 50")
    def last_results(self, state: ProbeState) -> SafeString | str:
        """The last results as cells."""
        return cells(state.results)


@admin.register(Probe)
class ProbeAdmin(HistoryAdmin):
    """What is asked whether it is well."""

    list_display = ["name", "health", "last", "took", "results", "trouble", "kind", "served"]
    list_filter = ["state__is_ok", "kind", "is_enabled", "managed_by"]
    search_fields = ["name", "url", "deployment__version__model__name"]
    list_select_related = ["state", "deployment__version__model"]
    autocomplete_fields = ["deployment"]
    readonly_fields = ["managed_by"]
    fieldsets = [
        (None, {"fields": ["name", "url", ("kind", "model_at_server"), ("interval_seconds", "timeout_seconds"),
                           "is_enabled"]}),
        ("Labels", {"fields": ["labels", "deployment", "managed_by"]}),
    ]  # fmt: skip
    inlines = [ProbeStateInline]
    actions_detail = ["probe_now"]

    @display(description="Health", label=HEALTH_LABELS)
    def health(self, probe: Probe) -> str:
        """How it answered last."""
        return health_words(probe)

    @display(description="Last asked", ordering="state__probed_at")
    def last(self, probe: Probe) -> SafeString | str:
        """How long ago it was asked."""
        state = _state(probe)
        return ago(state.probed_at, timezone.now()) if state and state.probed_at else ""

    @display(description="Took", ordering="state__duration_seconds")
    def took(self, probe: Probe) -> str:
        """How long the last answer took."""
        state = _state(probe)
        return units.span(state.duration_seconds) if state and state.duration_seconds is not None else ""

    @display(description="Last 50")
    def results(self, probe: Probe) -> SafeString | str:
        """The last results as cells."""
        state = _state(probe)
        return cells(state.results) if state else ""

    @display(description="Trouble")
    def trouble(self, probe: Probe) -> str:
        """Why it is not well."""
        state = _state(probe)
        return state.error[:160] if state else ""

    @display(description="Model")
    def served(self, probe: Probe) -> str:
        """The model and version whose labels it carries."""
        return str(probe.deployment.version) if probe.deployment else ""

    @action(
        description="Probe now", url_path="probe-now", permissions=["change"], icon="play_arrow",
        dialog={
            "title": "Ask it now?", "description": "It is asked once; the answer counts as every other.",
            "form_submit_text": "Ask",
        },
    )  # fmt: skip
    def probe_now(self, request: HttpRequest, form: ModelForm, object_id: str) -> HttpResponse:
        """Ask once and tell what came of it; kept when the probe is on."""
        probe = get_object_or_404(Probe.objects.select_related("deployment__version__model"), pk=object_id)
        at = timezone.now()
        task = probes.task_of(probe, at)
        verdict = ask(task.question)
        if health_words(probe) != "off":
            probes.sweep(at)
            probes.record([probes.Outcome(task, verdict)], timezone.now())
        took = f"{verdict.duration_seconds * 1000:.0f} ms"
        if verdict.is_ok:
            self.message_user(request, f"Well: HTTP {verdict.http_status} in {took}.", messages.SUCCESS)
        else:
            self.message_user(request, f"Not well after {took}: {verdict.error}", messages.ERROR)
        return dialog_done(admin_url(probe))


@admin.register(Deploy)
class DeployAdmin(ReadOnlyMixin, ModelAdmin):
    """Which version went live where and when."""

    list_display = ["title", "stage", "place", "at", "by", "note", "link", "source"]
    list_filter = ["stage", "source", "model"]
    search_fields = ["model__name", "version__version", "by", "note"]
    date_hierarchy = "at"
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deploy]:
        """The deploys with what their lines name."""
        return super().get_queryset(request).select_related("model", "version__model", "deployment__host")

    @display(description="Version", ordering="model__name")
    def title(self, deploy: Deploy) -> str:
        """The model and the version."""
        return str(deploy.version)

    @display(description="Where")
    def place(self, deploy: Deploy) -> str:
        """The host or address it went to."""
        return deploy.deployment.place if deploy.deployment else ""

    @display(description="Link")
    def link(self, deploy: Deploy) -> SafeString | str:
        """The pipeline or the change."""
        if not deploy.url.startswith(("http://", "https://")):
            return ""
        return format_html('<a class="aq-link" href="{}" rel="noopener noreferrer">open</a>', deploy.url)


def _state(probe: Probe) -> Any:
    return getattr(probe, "state", None)
