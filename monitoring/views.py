"""Pages and JSON of what is watched: the page of a host, the columns of its charts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring import charts
from monitoring.machine import facts_of
from monitoring.models import Host
from monitoring.promql import QueryError

HOST_CHARTS = ("cpu_modes", "load", "memory_bytes", "disk_io", "disk_busy", "disk_space", "network", "network_errors")
GPU_CHARTS = ("gpu", "gpu_memory", "gpu_temperature", "gpu_power")
MAX_POINTS = 600


class HostPage(PortalPageMixin, TemplateView):
    """One host: heartbeat, facts and charts."""

    template_name = "portal/host.html"
    permission = "monitoring.view_host"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the host, its facts in words and the names of its charts."""
        host = get_object_or_404(Host, name=kwargs["name"])
        at = timezone.now()
        chosen = self.request.GET.get("range", "")
        shown = chosen if chosen in charts.RANGES else charts.DEFAULT_RANGE
        gpus = host.facts.get("gpus") or []
        return super().get_context_data(
            title=f"Host {host.name}",
            trail=[("Hosts", admin_url(Host))],
            here=host.name,
            host=host,
            at=at,
            is_silent=host.is_silent(at),
            range=shown,
            query=urlencode({"host": host.name, "range": shown}),
            facts=facts_of(host),
            ranges=list(charts.RANGES),
            host_charts=[(name, charts.CHARTS[name]) for name in HOST_CHARTS],
            gpu_charts=[(name, charts.CHARTS[name]) for name in GPU_CHARTS] if gpus else [],
            change_url=admin_url(host) if self.request.user.has_perm("monitoring.change_host") else "",
            **kwargs,
        )


@require_GET
def chart_json(request: HttpRequest, name: str) -> HttpResponse:
    """Return the columns of a chart as JSON; 401 or 403 without the right to see hosts, 422 with `error` in words.

    Query: `host` (empty: all hosts), `range` (a key of charts.RANGES), `points` (how many fit on the screen).
    """
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in again."}, status=401)
    if not request.user.has_perm("monitoring.view_host"):
        return JsonResponse({"error": "You may not see hosts."}, status=403)
    if name not in charts.CHARTS:
        raise Http404
    host = request.GET.get("host", "")
    seconds = charts.RANGES.get(request.GET.get("range", ""), charts.RANGES[charts.DEFAULT_RANGE])
    points = request.GET.get("points", "")
    # isascii: isdigit alone takes digits of other scripts that int() may not read as the reader meant.
    wanted = int(points) if points.isascii() and points.isdigit() and len(points) < 6 else 240
    span = charts.span_of(timezone.now(), seconds, max(30, min(wanted, MAX_POINTS)))
    try:
        columns = charts.draw(charts.CHARTS[name], span, host)
        if host:
            columns["bands"] = charts.fired(span, host)
    except QueryError as error:
        return JsonResponse({"error": str(error)}, status=422)
    return JsonResponse(columns)
