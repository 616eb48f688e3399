"""The outbox: claim what is due, send it, write what came of it.

A message is claimed in one transaction, sent outside any, and its receipt written in a second one (DL-2). Whoever dies
in between leaves a lease that runs out; the next one looks whether the message arrived before sending it again. Order
is kept for each group and way out (DL-6), speed for each channel (DL-5), and a channel in trouble is left alone (DL-8).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from alerts import channel_states, compose, digest, measured, receipts
from alerts.models import Integration, Notification, NotifyLog
from alerts.receipts import settle
from alerts.transmit import Anchor, Outcome, Parcel, transmit

_STATE, _KIND = Notification.State, Notification.Kind
__all__ = ["claim", "discard", "due", "retry", "run", "send", "send_test", "settle"]

# A send makes at most three calls of 10 s each (look, post, permalink), and the receipt must still be written.
LEASE = timedelta(seconds=40)
THREADS = 16
_MEASURED_AT_ONCE = 4
_LIVE = (_KIND.POST, _KIND.UPDATE)
_RESULT_PAUSE_SECONDS = 0.02
Clock = Callable[[], float]


def due(at: datetime, limit: int = 200) -> list[int]:
    """Ids of messages that may be sent now, in the order in which they became due; sends left behind are among them."""
    return list(_claimable(at).order_by("not_before", "id").values_list("id", flat=True)[:limit])


def send(notification_id: int, at: datetime, owner: str, *, clock: Clock = time.monotonic) -> str:
    """Send one message and return what became of it: its new state, or "not due" when there was nothing to do.

    `clock` only measures how long the sending took.
    """
    parcels = _measured(claim(at, owner, limit=1, only=notification_id), at)
    if not parcels:
        return "not due"
    started = clock()
    outcome = transmit(parcels[0])
    seconds = clock() - started
    return settle([(parcels[0], outcome, seconds)], at + timedelta(seconds=seconds), owner)[0]


def run(
    at: datetime, owner: str, *, limit: int = 1000, threads: int = THREADS, clock: Clock = time.monotonic
) -> Counter[str]:
    """Send everything that is due, up to `limit` messages, several at once; returns how many ended in which state.

    A slow channel holds back only the threads it uses: receipts are written as they come, and free threads take more.
    """
    digest.gather(at)
    started, done = clock(), Counter[str]()

    def now() -> datetime:
        return at + timedelta(seconds=clock() - started)

    with ThreadPoolExecutor(threads, thread_name_prefix="deliver") as pool:
        pending: dict[Future[tuple[Outcome, float]], Parcel] = {}
        left = limit
        while True:
            parcels = _measured(claim(now(), owner, limit=min(left, threads - len(pending))), now()) if left else []
            left -= len(parcels)
            pending |= {pool.submit(_timed, parcel, clock): parcel for parcel in parcels}
            if not pending:
                return done
            # Claiming one by one would cost a transaction each: let a few more finish with the first.
            ready = wait(pending, return_when=FIRST_COMPLETED).done
            ready |= wait(pending, timeout=_RESULT_PAUSE_SECONDS).done
            results = [(pending.pop(future), *future.result()) for future in ready]
            done.update(settle(results, now(), owner))


def claim(at: datetime, owner: str, *, limit: int = THREADS, only: int | None = None) -> list[Parcel]:
    """Messages that are now this owner's to send until the lease runs out; each must end in `settle`.

    Messages whose channel must wait get the time until then instead of being claimed.
    """
    while True:
        found, claimed = _claim(at, owner, limit, only)
        # All that was found may belong to a channel that must wait, and others stand behind it.
        if claimed or not found or only is not None:
            return claimed


@transaction.atomic
def _claim(at: datetime, owner: str, limit: int, only: int | None) -> tuple[int, list[Parcel]]:
    """How many messages were looked at, and those of them that may go now."""
    rows = _claimable(at) if only is None else _claimable(at).filter(pk=only)
    locked = rows.select_for_update(skip_locked=True, of=("self",), no_key=True)
    candidates = list(locked.select_related("integration__slack_app").order_by("not_before", "id")[:limit])
    states = channel_states.lock(candidates, at)
    claimed, waiting = [], {}
    for row in candidates:
        # Somebody took it and never wrote what became of it: it may have arrived.
        row.is_ambiguous = row.is_ambiguous or row.state == _STATE.SENDING
        admission = states.admit(row, at)
        if row.kind == _KIND.DIGEST and not row.digested.exists():
            row.state = _STATE.SUPERSEDED  # everything it was to sum up has changed since
        elif admission.is_admitted:
            row.state, row.lease_owner, row.lease_until = _STATE.SENDING, owner, at + LEASE
            claimed.append(row)
        else:
            row.state, row.not_before = _STATE.QUEUED, admission.not_before or at
            waiting[row.channel_key, row.kind == _KIND.UPDATE] = row.not_before
    states.save()
    fields = ["state", "not_before", "lease_owner", "lease_until", "is_ambiguous"]
    Notification.objects.bulk_update(candidates, fields)
    if only is None:
        _hold_back(waiting)
    return len(candidates), _parcels(claimed)


def _hold_back(waiting: Mapping[tuple[str, bool], datetime]) -> None:
    """Let everything else for a channel that must wait, wait with it, instead of being looked at one by one."""
    for (channel_key, is_edit), until in waiting.items():
        rows = Notification.objects.filter(state=_STATE.QUEUED, channel_key=channel_key, not_before__lt=until)
        rows = rows.filter(kind=_KIND.UPDATE) if is_edit else rows.exclude(kind=_KIND.UPDATE)
        ids = list(rows.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
        Notification.objects.filter(pk__in=ids).update(not_before=until)


def send_test(integration: Integration, at: datetime, user: str = "") -> Notification:
    """A queued test message, which takes the same way as every other: send it by its id or leave it to the outbox."""
    words = f"Sent by {user or 'staff'} to try this way out. Nothing is wrong."
    return receipts.queue_notice(integration, "TestMessage", words, at, kind=_KIND.TEST, key=f"test|{uuid.uuid4()}")


def retry(notification: Notification, at: datetime) -> bool:
    """Put a dead letter back in the queue; False when it is dead no more (DL-4)."""
    changed = Notification.objects.filter(pk=notification.pk, state=_STATE.DEAD).update(
        state=_STATE.QUEUED, not_before=at, attempts=0, is_shrunk=False, created_at=at, error_class="", last_error=""
    )
    return bool(changed)


def discard(notification: Notification) -> bool:
    """Take a message that was not sent out of the outbox for good; False when it is on its way or was sent."""
    removable = (_STATE.DEAD, _STATE.QUEUED, _STATE.KEPT)
    return bool(Notification.objects.filter(pk=notification.pk, state__in=removable).update(state=_STATE.DISCARDED))


def _claimable(at: datetime) -> QuerySet[Notification]:
    """Queued messages whose time has come and sends whose lease ran out, without those that an older one precedes."""
    older = Notification.objects.filter(
        group_key=OuterRef("group_key"),
        integration=OuterRef("integration"),
        id__lt=OuterRef("id"),
        state__in=(_STATE.QUEUED, _STATE.SENDING),
    )
    is_due = Q(state=_STATE.QUEUED, not_before__lte=at) | Q(state=_STATE.SENDING, lease_until__lte=at)
    return Notification.objects.filter(is_due, ~Exists(older), digest__isnull=True, integration__isnull=False)


def _parcels(rows: Sequence[Notification]) -> list[Parcel]:
    logs = _logs(rows)
    return [
        Parcel(
            notification_id=row.pk, kind=row.kind, outbox_id=row.dedup_key, integration=row.integration,
            created_at=row.created_at, raw=row.message, group_key=row.group_key, why=row.why,
            anchor=_anchor(row, logs), is_ambiguous=row.is_ambiguous, is_shrunk=row.is_shrunk, digested=_digested(row),
        )
        for row in rows
        if row.integration is not None
    ]  # fmt: skip


def _measured(parcels: list[Parcel], at: datetime) -> list[Parcel]:
    """The parcels with the values of now in their messages; in a storm they go as they were composed."""
    if len(parcels) > _MEASURED_AT_ONCE:
        return parcels
    return [replace(parcel, raw=_fresh(parcel.raw, at)) if parcel.kind in _LIVE else parcel for parcel in parcels]


def _fresh(raw: Mapping[str, Any], at: datetime) -> Mapping[str, Any]:
    lines = raw["alerts"]
    if len(lines) > measured.MAX_LINES or all(line["value"] is None for line in lines):
        return raw  # not worth reading: posted alerts have no values
    return compose.dump(measured.refreshed(compose.load(raw), at))


def _logs(rows: Iterable[Notification]) -> dict[tuple[str, int | None], NotifyLog]:
    keys = [row.group_key for row in rows]
    return {(log.group_key, log.integration_id): log for log in NotifyLog.objects.filter(group_key__in=keys)}


def _anchor(row: Notification, logs: dict[tuple[str, int | None], NotifyLog]) -> Anchor:
    if row.kind == _KIND.THREAD:
        return Anchor(row.slack_channel, row.slack_ts)
    log = logs.get((row.group_key, row.integration_id))
    return Anchor(log.slack_channel, log.slack_ts, log.permalink) if log else Anchor()


def _digested(row: Notification) -> tuple[dict[str, object], ...]:
    return tuple(row.digested.order_by("id").values_list("message", flat=True)) if row.kind == _KIND.DIGEST else ()


def _timed(parcel: Parcel, clock: Clock) -> tuple[Outcome, float]:
    started = clock()
    outcome = transmit(parcel)
    return outcome, clock() - started
