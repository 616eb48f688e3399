"""Hosts in the admin: who is up, how busy, since when silent."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import ModelAdmin, display
from monitoring import charts
from monitoring.machine import machine_line
from monitoring.models import Host
from monitoring.promql import QueryError
from monitoring.templatetags.portal import ago


@admin.register(Host)
class HostAdmin(ModelAdmin):
    """Hosts register themselves; staff only says whether one is still expected."""

    list_display = ["title", "state", "heartbeat", "cpu", "memory", "gpu", "system"]
    list_display_links = None
    list_filter = ["expected"]
    search_fields = ["name"]
    fieldsets = [
        (None, {"fields": ["name", "expected", "agent_version", "interval_seconds", "clock_skew_seconds"]}),
        ("Seen", {"fields": ["first_seen", "last_seen"]}),
        ("Facts as the host sent them", {"fields": ["facts"], "classes": ["collapse"]}),
    ]
    readonly_fields = [
        "name", "agent_version", "interval_seconds", "clock_skew_seconds", "first_seen", "last_seen", "facts",
    ]  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A host appears with its first batch, never by hand."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with each row's newest values on the row, read from the store in one question."""
        changelist = super().get_changelist_instance(request)
        at = timezone.now()
        try:
            newest = charts.latest(at) if changelist.result_list else {}
        except QueryError:  # the list of hosts must show when the store is slow or unreachable
            newest = {}
        for host in changelist.result_list:
            host.shown_at, host.newest = at, newest.get(host.name, {})
        return changelist

    def view_on_site(self, host: Host) -> str:
        """Return the page with the host's charts."""
        return reverse("monitoring:host", args=[host.name])

    @display(description="Host", ordering="name")
    def title(self, host: Host) -> SafeString:
        """The name, leading to the host's page."""
        return format_html('<a class="aq-strong" href="{}">{}</a>', self.view_on_site(host), host.name)

    @display(description="State", label={"up": "success", "silent": "danger", "gone": "default"})
    def state(self, host: Host) -> str:
        """Up, silent, or gone when nobody expects it any more."""
        if not host.is_silent(host.shown_at):  # type: ignore[attr-defined]
            return "up"
        return "silent" if host.expected else "gone"

    @display(description="Heartbeat", ordering="last_seen")
    def heartbeat(self, host: Host) -> SafeString:
        """How long ago the newest batch was."""
        return ago(host.last_seen, host.shown_at)  # type: ignore[attr-defined]

    @display(description="CPU")
    def cpu(self, host: Host) -> str:
        """CPU in use now."""
        return _meter(host, "cpu")

    @display(description="Memory")
    def memory(self, host: Host) -> str:
        """Memory in use now."""
        return _meter(host, "memory")

    @display(description="Busiest GPU")
    def gpu(self, host: Host) -> str:
        """Utilisation of the busiest GPU now."""
        return _meter(host, "gpu")

    @display(description="Machine")
    def system(self, host: Host) -> str:
        """Cores, memory and GPUs in one line."""
        return machine_line(host.facts)


def _meter(host: Host, name: str) -> str:
    newest: dict[str, float] = host.newest  # type: ignore[attr-defined]
    return render_to_string("portal/meter.html", {"value": newest.get(name)})
