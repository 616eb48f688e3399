"""The page of the portal itself: its processes, its queues, its store, and what a person should do about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring import charts, operations, query, store, units
from monitoring.models import Refusal, Retention, Target
from monitoring.store import StoreStatus

PERMISSION = "monitoring.view_host"
CHARTS = ("store_rate", "store_series", "store_bytes", "store_lag")
SHOWN_REFUSALS = 12
TIERS = {
    "store_row": ("Rows", "a scrape each, the last five minutes"),
    "store_block": ("Blocks", "five or thirty minutes of a source, until two hours are compacted"),
    "store_chunk": ("Chunks", "two hours of a series, compressed, until its day is merged"),
    "store_day": ("Days", "a day of a series, compressed"),
    "catalogue": ("Catalogue", "names, labels and where they stand"),
}
MANY_WAITING = 1_000
PATIENCE_SECONDS = 2.0
SOON_DAYS = 14.0
FREE_WARNING, FREE_CRITICAL = 0.10, 0.05
#: Windows and days behind that a restart explains; more means that nobody keeps house.
LATE_WINDOWS, LATE_DAYS = 2, 2
REASONS = {
    "too_new": "ahead of the portal's clock",
    "too_old": "too late: what is compacted stays as it is",
    "duplicate_time": "a time that is stored already",
    "duplicate_series": "the same series twice in one scrape",
    "bad_series": "no series, or too long",
    "series_limit": "more series than one source may have",
    "malformed": "series and values do not fit together",
}


@dataclass(frozen=True)
class Problem:
    """Something a person should look at: how bad it is, what it is, what to do."""

    severity: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class RemoteState:
    """The server that holds the samples: its address, what waits to be sent, and what is wrong with it ("")."""

    url: str
    waiting: store.queue.Waiting
    oldest: datetime | None
    problem: str


def remote_state() -> RemoteState | None:
    """Return how the server of ALPHAQ_METRICS_URL is, None without one; asks it, for two seconds at most."""
    server = query.remote_backend(PATIENCE_SECONDS)
    if server is None:
        return None
    waiting = store.queue.waiting()
    oldest = None if waiting.oldest_ms is None else datetime.fromtimestamp(waiting.oldest_ms / 1000, tz=UTC)
    return RemoteState(server.shown_url, waiting, oldest, server.problem())


class SystemPage(PortalPageMixin, TemplateView):
    """Who works, what waits, how the store is."""

    template_name = "monitoring/system.html"
    title = "System"
    permission = PERMISSION

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the state of processes, queues and store at one moment."""
        at = timezone.now()
        now_ms = round(at.timestamp() * 1000)
        found = store.status(now_ms, top=0)
        broker, scrapers, space = (
            operations.broker(at),
            operations.scrapers(at),
            operations.space(settings.ENV.data_dir),
        )
        days = max([settings.ENV.retention_days, *Retention.objects.values_list("days", flat=True)])
        chosen = self.request.GET.get("range", "")
        shown = chosen if chosen in charts.RANGES else "6h"
        remote = remote_state()
        return super().get_context_data(
            at=at,
            found=found,
            broker=broker,
            processes=[*broker.processes, *scrapers],
            problems=problems(found, broker, scrapers, space, remote),
            space=space,
            remote=remote,
            tiers=[(tier, *TIERS.get(tier.name, (tier.name, ""))) for tier in found.tiers],
            days=days,
            default_days=settings.ENV.retention_days,
            forecast_bytes=found.bytes_at(days),
            oldest=None if found.oldest_ms is None else datetime.fromtimestamp(found.oldest_ms / 1000, tz=UTC),
            retention=list(Retention.objects.order_by("-days")),
            retention_url=admin_url(Retention),
            refusals=refusals(),
            range=shown,
            query=urlencode({"range": shown}),
            ranges=list(charts.RANGES),
            charts=[(name, charts.CHARTS[name]) for name in CHARTS],
            **kwargs,
        )


def refusals() -> list[dict[str, Any]]:
    """Return what the store has refused in the last week, the newest first, in words and with the source's page."""
    rows = list(Refusal.objects.order_by("-last_ms")[:SHOWN_REFUSALS])
    names = source_names(row.source for row in rows)
    return [
        {
            "row": row,
            "name": names[row.source][0],
            "url": names[row.source][1],
            "reason": REASONS.get(row.reason, row.reason),
            "last": datetime.fromtimestamp(row.last_ms / 1000, tz=UTC),
        }
        for row in rows
    ]


def source_names(sources: Any) -> dict[str, tuple[str, str]]:
    """Return, for each source of the store, the name people know it by and the address of its page ("" for none)."""
    asked = list(sources)
    ids = {name: int(name[7:]) for name in asked if name.startswith("target:") and name[7:].isdigit()}
    targets = {target.pk: target for target in Target.objects.filter(pk__in=ids.values())}
    found = {}
    for name in asked:
        kind, _, rest = name.partition(":")
        target = targets.get(ids.get(name, -1))
        if target is not None:
            found[name] = str(target), admin_url(target)
        else:
            words = {"host": f"Host {rest}", "rules": f"Rule group {rest}", "portal": "The portal itself"}
            found[name] = words.get(kind, name), ""
    return found


def problems(
    found: StoreStatus,
    broker: operations.Broker,
    scrapers: list[operations.Process],
    space: operations.Space | None,
    remote: RemoteState | None = None,
) -> list[Problem]:
    """Return what a person should look at, the worst first."""
    told = [*_processes(broker, scrapers), *_store(found), *_room(found, space)]
    if remote is not None and remote.problem:
        remedy = "Rules cannot be evaluated and charts are empty until it does; samples wait here."
        told.append(Problem("critical", remote.problem, remedy))
    return sorted(told, key=lambda problem: ("critical", "warning", "info").index(problem.severity))


def _processes(broker: operations.Broker, scrapers: list[operations.Process]) -> list[Problem]:
    if broker.problem:
        return [Problem("critical", broker.problem, "Check REDIS_URL, and whether the server runs.")]
    told = []
    if not broker.alive("worker"):
        told.append(Problem("critical", "No worker lives.", "Nothing is evaluated, told or stored until one does."))
    if not broker.alive("tick"):
        told.append(Problem("critical", "No tick has reached a worker for a minute.", "Does beat run?"))
    if broker.processes and not broker.alive("house"):
        told.append(
            Problem("warning", "Nobody has kept the store's house for five minutes.", "Samples wait uncompressed.")
        )
    dead = sum(not scraper.is_alive for scraper in scrapers)
    if dead and dead == len(scrapers):
        told.append(Problem("critical", "No scraper lives.", "Targets are not asked: start a worker with scraping on."))
    if (waiting := operations.longest_queue(broker.queues)) > MANY_WAITING:
        told.append(Problem("warning", f"{waiting:,} messages wait in a queue.", "More workers, or a slow database?"))
    return told


def _store(found: StoreStatus) -> list[Problem]:
    told = []
    if found.compact_lag_windows >= LATE_WINDOWS:
        hours = found.compact_lag_windows * 2
        told.append(Problem("warning", f"Compaction is {hours} hours behind.", "See the log for store errors."))
    if found.merge_lag_days >= LATE_DAYS:
        told.append(
            Problem("warning", f"The merge of days is {found.merge_lag_days} days behind.", "It costs only disk.")
        )
    return told


def _room(found: StoreStatus, space: operations.Space | None) -> list[Problem]:
    if space is None:
        return []
    free = units.number(space.free, "bytes")
    if space.free_ratio < FREE_WARNING:
        severity = "critical" if space.free_ratio < FREE_CRITICAL else "warning"
        return [Problem(severity, f"{free} are free where the portal keeps its data.", "Free some, or keep less.")]
    needed = found.bytes_at(settings.ENV.retention_days) - found.bytes
    days = operations.days_until_full(space.free, needed, found.day_bytes)
    if days is not None and days < SOON_DAYS:
        return [Problem("warning", f"The disk will be full in about {days:.0f} days.", "Free some, or keep less.")]
    return []
