"""Batches of hosts into the store, and the hosts themselves: who was heard, when, and who has fallen silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest

from monitoring import metrics, store
from monitoring.collect.batch import BatchError, Received, unpack
from monitoring.models import Host
from monitoring.models.registry import SILENT_AT_LEAST

log = structlog.get_logger(__name__)
#: A clock that is off by less is left alone: the samples are at most that much too early or too late.
TOLERATED_SKEW_MS = 5_000
#: Samples beyond this would be seen by no rule for minutes and then all at once.
MAX_FUTURE_MS = 60_000
#: Silence is written on this grid, so that two workers who notice it write the same sample.
SILENCE_GRID_MS = 15_000
#: Longer between two looks for silent hosts, and it was the portal that was away: beat, broker or database.
DEAF_AFTER = timedelta(seconds=90)


@dataclass
class Taken:
    """What became of some messages: batches and samples stored, what was refused or dropped and why."""

    batches: int = 0
    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Accepted:
    """A batch at the time that the portal gives it."""

    received: Received
    at_ms: int
    skew_ms: int | None

    @property
    def host(self) -> str:
        return self.received.batch.host

    def scrape(self) -> store.Scrape:
        batch = self.received.batch
        keys, values = list(batch.keys), batch.values
        if self.skew_ms is not None:
            keys.append("host_clock_skew_seconds")
            values = np.append(values, self.skew_ms / 1000)
        return store.Scrape(source_of(self.host), labels_of(self.host), self.at_ms, keys, values)


def source_of(host: str) -> str:
    """Return the name of a host as a source of the store."""
    return f"host:{host}"


def labels_of(host: str) -> dict[str, str]:
    """Return the labels that every sample of a host carries."""
    return {"host": host, "instance": host, "job": "host"}


def take(messages: Sequence[object], at: datetime) -> Taken:
    """Store the batches in `messages` and note their hosts, in one transaction; bad ones are refused one by one.

    Taking a batch twice changes nothing. A host whose clock is off by more than 5 s gets its samples at the time of
    the broker's clock. Raises what the database raises, and DiskFull; nothing is stored then.
    """
    store.check_room()
    now_ms = round(at.timestamp() * 1000)
    taken = Taken()
    accepted = [one for message in messages if (one := _accept(message, now_ms, taken))]
    accepted.sort(key=lambda one: (one.host, one.at_ms))
    if accepted:
        with transaction.atomic():
            receipt = store.append([one.scrape() for one in accepted], now_ms=now_ms)
            # Hosts in the order of their names, so that two workers never wait for each other.
            for one in {one.host: one for one in accepted}.values():
                _note(one, [other for other in accepted if other.host == one.host])
        taken.batches, taken.samples = len(accepted), receipt.samples
        taken.dropped.update(receipt.dropped)
        for source, error in receipt.errors.items():
            log.warning("samples_dropped", source=source, error=error)
    _count(taken, accepted, now_ms)
    return taken


def mark_silent(at: datetime, since: datetime | None = None, until: datetime | None = None) -> list[str]:
    """Write `host_up` 0 at `at` for each expected host that is silent and return their names.

    The rest of the host's series become stale with it, as those of a target do that Prometheus cannot scrape.
    `since` and `until` bound the time in which the portal itself was listening (None: always): what a host may have
    said before or after it cannot be held against the host.
    """
    listened = until or at
    quiet = Host.objects.filter(expected=True, last_seen__lt=at - SILENT_AT_LEAST)
    names = [
        host.name
        for host in quiet
        if host.is_silent(listened) and (since is None or listened - since > host.silent_after)
    ]
    now_ms = round(at.timestamp() * 1000)
    at_ms = now_ms - now_ms % SILENCE_GRID_MS
    zero = np.zeros(1)
    scrapes = [store.Scrape(source_of(name), labels_of(name), at_ms, ["host_up"], zero) for name in names]
    if scrapes:
        store.append(scrapes, now_ms=now_ms)
    return names


def listening_since(at: datetime, since: datetime | None, last: datetime | None) -> datetime:
    """Return since when the portal has been listening: `since` while its last look is recent, else `at`."""
    is_unbroken = since is not None and last is not None and at - last <= DEAF_AFTER
    return since if is_unbroken and since is not None else at


def _accept(message: object, now_ms: int, taken: Taken) -> _Accepted | None:
    try:
        received = unpack(message)
        skew_ms = received.skew_ms(now_ms)
        at_ms = received.batch.at_ms - correction_ms(skew_ms)
        if at_ms > now_ms + MAX_FUTURE_MS:
            ahead = (at_ms - now_ms) / 1000
            raise BatchError("future", f"{received.batch.host}: samples {ahead:,.0f} s ahead of the portal's clock")
    except BatchError as error:
        taken.refused[error.reason] += 1
        sender = str(message.get("host"))[:80] if isinstance(message, dict) else None
        log.warning("batch_refused", host=sender, reason=error.reason, error=str(error))
        return None
    return _Accepted(received, at_ms, skew_ms)


def correction_ms(skew_ms: int | None) -> int:
    """Return what to take from a host's times: whole seconds, 0 while its clock is right to 5 s or unknown."""
    if skew_ms is None or abs(skew_ms) <= TOLERATED_SKEW_MS:
        return 0
    return round(skew_ms / 1000) * 1000


def _note(newest: _Accepted, batches: Sequence[_Accepted]) -> None:
    """Bring the row of a host up to date, making it when it is new."""
    batch = newest.received.batch
    seen = datetime.fromtimestamp(newest.at_ms / 1000, tz=UTC)
    told: dict[str, Any] = {"agent_version": batch.agent_version, "interval_seconds": batch.interval_seconds}
    if newest.skew_ms is not None:
        told["clock_skew_seconds"] = newest.skew_ms / 1000
    facts = [one.received.batch.facts for one in batches if one.received.batch.facts is not None]
    row = Host.objects.filter(name=batch.host)
    if facts:
        told["facts"] = facts[-1]
        _compare_machines(batch.host, row.values_list("facts__machine", flat=True).first(), facts[-1].get("machine"))
    later = Greatest(F("last_seen"), Value(seen))
    if row.update(last_seen=later, **told):
        return
    first = datetime.fromtimestamp(batches[0].at_ms / 1000, tz=UTC)
    Host.objects.bulk_create([Host(name=batch.host, first_seen=first, last_seen=seen, **told)], ignore_conflicts=True)
    # Another worker may have been first with an older batch.
    row.update(last_seen=later, **told)
    log.info("host_appeared", host=batch.host)


def _compare_machines(host: str, before: object, now: object) -> None:
    """Tell when a name comes from another machine: replaced once is fine, again and again are two under one name."""
    if before and now and before != now:
        metrics.MACHINE_CHANGES.inc()
        log.warning(
            "host_is_another_machine",
            host=host,
            hint="if this repeats, two machines send under one name: set ALPHAQ_HOST_NAME on one of them",
        )


def _count(taken: Taken, accepted: Sequence[_Accepted], now_ms: int) -> None:
    metrics.BATCHES.inc(taken.batches)
    metrics.SAMPLES.inc(taken.samples)
    for reason, count in taken.refused.items():
        metrics.REFUSED.labels(reason).inc(count)
    for reason, count in taken.dropped.items():
        metrics.DROPPED.labels(reason).inc(count)
    for one in accepted:
        metrics.DELAY.observe(max(0, now_ms - one.at_ms) / 1000)
