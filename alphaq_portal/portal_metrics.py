"""What the rows say about the portal itself, read when /metrics is asked: the same whichever process answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import redis
import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import Count, Min, Q
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alerts.models import Alert, GroupClock, Notification
from monitoring import heartbeats, store

log = structlog.get_logger(__name__)


def _from_store(now_ms: int) -> Iterator[Metric]:
    """Yield the sizes and lags of the sample store, and what waits to be forwarded, if somebody else holds samples."""
    families: dict[str, GaugeMetricFamily] = {}
    for gauge in store.gauges(store.status(now_ms, top=0)):
        names = sorted(gauge.labels)
        family = families.setdefault(gauge.name, GaugeMetricFamily(gauge.name, gauge.help, labels=names))
        family.add_metric([gauge.labels[name] for name in names], gauge.value)
    yield from families.values()
    if settings.ENV.metrics_url:
        waiting = store.queue.waiting()
        size = GaugeMetricFamily("alphaq_forward_waiting_bytes", "Samples that wait for ALPHAQ_METRICS_URL, in bytes.")
        size.add_metric([], waiting.bytes)
        yield size
        age = GaugeMetricFamily("alphaq_forward_oldest_seconds", "Age of the oldest sample that waits.")
        age.add_metric([], max(0, now_ms - waiting.oldest_ms) / 1000 if waiting.oldest_ms is not None else 0)
        yield age


class PortalCollector(Collector):
    """Alerts by state, outbox by state with its oldest message, lag of the evaluator, signs of life."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families; a database that does not answer gives `alphaq_database_up 0` and nothing else."""
        up = GaugeMetricFamily("alphaq_database_up", "Whether the database answered this request.")
        try:
            families = [*self._from_rows()]
            up.add_metric([], 1)
        except DatabaseError as error:
            log.warning("metrics_without_database", error=str(error))
            families = []
            up.add_metric([], 0)
        yield up
        yield from families
        yield from self._from_redis()

    def _from_rows(self) -> Iterator[Metric]:
        now = timezone.now()
        alerts = GaugeMetricFamily("alphaq_alerts", "Active alerts.", labels=["state", "severity"])
        active = Alert.objects.filter(state__in=["pending", "firing"]).values_list("state", "severity")
        for state, severity, count in active.annotate(count=Count("id")).order_by("state", "severity"):
            alerts.add_metric([state, severity], count)
        yield alerts
        outbox = GaugeMetricFamily("alphaq_outbox_messages", "Messages not delivered.", labels=["state"])
        waiting = Notification.objects.aggregate(
            queued=Count("id", filter=Q(state="queued")),
            sending=Count("id", filter=Q(state="sending")),
            dead=Count("id", filter=Q(state="dead")),
            oldest=Min("created_at", filter=Q(state__in=["queued", "sending"])),
        )
        for state in ("queued", "sending", "dead"):
            outbox.add_metric([state], waiting[state])
        yield outbox
        oldest = GaugeMetricFamily("alphaq_outbox_oldest_seconds", "Age of the oldest message not yet delivered.")
        oldest.add_metric([], (now - waiting["oldest"]).total_seconds() if waiting["oldest"] else 0)
        yield oldest
        first_due = GroupClock.objects.filter(group__is_enabled=True).aggregate(first=Min("next_slot_at"))["first"]
        lag = GaugeMetricFamily("alphaq_evaluator_lag_seconds", "How long the most overdue rule group waits.")
        lag.add_metric([], max((now - first_due).total_seconds(), 0) if first_due else 0)
        yield lag
        yield from _from_store(round(now.timestamp() * 1000))

    def _from_redis(self) -> Iterator[Metric]:
        alive = GaugeMetricFamily("alphaq_alive_age_seconds", "Time since a sign of life.", labels=["kind", "name"])
        try:
            for kind in ("worker", "tick"):
                for name, at in heartbeats.last_beats(kind).items():
                    alive.add_metric([kind, name], max(time.time() - at, 0))
        except redis.RedisError as error:
            log.warning("metrics_without_redis", error=str(error))
        yield alive
