"""/health, /ready and /metrics: what load balancers, container platforms and Prometheus ask."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from health_check.views import HealthCheckView
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from alphaq_portal.portal_metrics import PortalCollector
from monitoring.health import Database, ModelsAnswer, RedisAnswers, WorkersAlive

NAMES = {Database: "database", RedisAnswers: "redis", WorkersAlive: "workers", ModelsAnswer: "models"}


def _timestamp() -> str:
    return datetime.now(UTC).isoformat()


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """The process lives; asks nobody else."""
    return JsonResponse({"status": "healthy", "version": settings.VERSION, "timestamp": _timestamp()})


class Ready(HealthCheckView):
    """Whether the portal can do its work: 200 `ready`, else 503 `not_ready`; the cause only for the authorised."""

    checks = tuple(NAMES)

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Run all checks side by side."""
        with self.get_executor() as executor:
            results = await asyncio.gather(*(check.get_result(executor) for check in self.get_checks()))
        outcome = {NAMES[type(result.check)]: result.error for result in results}
        is_ready = not any(outcome.values())
        body: dict[str, Any] = {
            "status": "ready" if is_ready else "not_ready",
            "checks": {name: error is None for name, error in outcome.items()},
            "timestamp": _timestamp(),
        }
        if may_read(request):
            body["details"] = {name: str(error) for name, error in outcome.items() if error}
        response = JsonResponse(body, status=200 if is_ready else 503)
        # Not ready is an answer, not a fault of the request: each failed check logs its own cause.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response


def _client_address(request: HttpRequest) -> str:
    """The caller's address; behind trusted proxies the one the outermost of them saw."""
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    hops = settings.ENV.trusted_proxies
    if hops and len(forwarded) >= hops:
        return forwarded[-hops]
    return str(request.META.get("REMOTE_ADDR", ""))


def may_read(request: HttpRequest) -> bool:
    """Whether this caller may read metrics and causes: by token, by allow-list, or from this very machine."""
    token = settings.ENV.metrics_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if token and given:
        return hmac.compare_digest(token.encode(), given.encode())
    try:
        address = ipaddress.ip_address(_client_address(request))
    except ValueError:
        return False
    if settings.ENV.metrics_allow:
        return any(address in ipaddress.ip_network(item, strict=False) for item in settings.ENV.metrics_allow)
    # A reverse proxy on this machine makes everybody look local: its header gives it away.
    return address.is_loopback and not request.headers.get("X-Forwarded-For") and not token


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics of all processes of the portal in Prometheus' text format."""
    if not may_read(request):
        return HttpResponseForbidden(
            "Metrics are open to this machine only. Send Authorization: Bearer with ALPHAQ_METRICS_TOKEN, "
            "or list your network in ALPHAQ_METRICS_ALLOW.\n",
            content_type="text/plain",
        )
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    own = CollectorRegistry()
    own.register(PortalCollector())
    return HttpResponse(generate_latest(registry) + generate_latest(own), content_type=CONTENT_TYPE_LATEST)
