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

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Q

from alerts import bulk, channel_states, compose, digest, measured, receipts
from alerts.channels import wire
from alerts.channels.slack_errors import METADATA_CODES
from alerts.models import Integration, Notification, NotifyLog
from alerts.receipts import settle
from alerts.transmit import Anchor, Outcome, Parcel, transmit

log = structlog.get_logger(__name__)
_STATE, _KIND = Notification.State, Notification.Kind
__all__ = ["claim", "discard", "due", "is_due", "retry", "run", "send", "send_test", "settle"]

# A send makes at most three calls of 10 s each (look, post, permalink), and the receipt must still be written.
LEASE = timedelta(seconds=40)
_MAX_WAIT_SECONDS = 8.0  # between claim and send; with the three calls and the receipt still inside the lease
THREADS = 16
_ALL = 1_000_000
_AHEAD = 4  # messages claimed for each thread
_MEASURED_AT_ONCE = 16
_LIVE = (_KIND.POST, _KIND.UPDATE)
_RESULT_PAUSE_SECONDS, _STORM_PAUSE_SECONDS = 0.02, 0.1
_LOOK_AGAIN_SECONDS = 1.0
# How long to keep receipts for a database that went away; one whose message another worker has taken over is dropped.
_RECEIPT_PATIENCE_SECONDS = 40.0
_RECEIPT_PAUSE_SECONDS = 0.5
# A run ends well within the time limit of the task that carries it; the next tick goes on.
_RUN_SECONDS = 40.0
# Written out, for in a storm the planner must not ask once a message whether an older one precedes it.
_HEADS_DUE = """
SELECT id FROM (
    SELECT DISTINCT ON (integration_id, group_key) id, state, not_before, lease_until, digest_id
    FROM alerts_notification
    WHERE state IN ('queued', 'sending')
      AND integration_id IN (SELECT id FROM alerts_integration WHERE is_enabled OR alerts_notification.kind = 'test')
    ORDER BY integration_id, group_key, id
) AS head
WHERE digest_id IS NULL
  AND (state = 'queued' AND not_before <= %s OR state = 'sending' AND lease_until <= %s)
ORDER BY not_before, id
LIMIT %s
"""
Clock = Callable[[], float]


def due(at: datetime, limit: int = 200) -> list[int]:
    """Ids of messages that may be sent now, in the order in which they became due; sends left behind are among them."""
    return _claimable(at, limit)


def is_due(at: datetime) -> bool:
    """Whether it is worth looking for messages that may be sent now, or whose sender was lost."""
    return Notification.objects.filter(_may_go(at)).exists()


def _may_go(at: datetime) -> Q:
    return Q(state=_STATE.QUEUED, not_before__lte=at) | Q(state=_STATE.SENDING, lease_until__lte=at)


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
    owner = f"{owner}:{uuid.uuid4().hex[:8]}"  # a run that outlives its leases must not take its successor's receipts
    started, done = clock(), Counter[str]()

    def now() -> datetime:
        return at + timedelta(seconds=clock() - started)

    with ThreadPoolExecutor(threads, "deliver", initializer=wire.keep_connections) as pool:
        pending: dict[Future[tuple[Outcome, float]], Parcel] = {}
        left = limit
        while True:
            # Claims of a few at a time would cost a transaction each; whatever waits too long is handed back.
            room = threads * _AHEAD - len(pending)
            is_hungry = len(pending) < threads and clock() - started < _RUN_SECONDS
            parcels = _next(now(), owner, min(left, room), is_alone=not pending) if left and is_hungry else []
            left -= len(parcels)
            pending |= {pool.submit(_timed, parcel, clock, clock()): parcel for parcel in parcels}
            if not pending:
                return done
            # The same for receipts: let a few more finish with the first.
            # A second at most: what became due meanwhile must not wait for a channel that hangs.
            ready = wait(pending, timeout=_LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED).done
            pause_seconds = _STORM_PAUSE_SECONDS if len(pending) > threads else _RESULT_PAUSE_SECONDS
            ready |= wait(pending, timeout=pause_seconds).done
            results = [(pending.pop(future), *future.result()) for future in ready]
            done.update(_receipts_kept(results, now, owner, clock))


def _next(at: datetime, owner: str, limit: int, *, is_alone: bool) -> list[Parcel]:
    """What may be sent now. A database that is away is no reason to forget what is being sent: then there is nothing.

    is_alone: nothing is being sent; then the error is raised.
    """
    parcels: list[Parcel] = []
    try:
        parcels = claim(at, owner, limit=limit)
        return _measured(parcels, at)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block or (is_alone and not parcels):
            raise
        connection.close()
        return parcels  # what is claimed goes as it was composed, or it would wait for its lease to run out


def _receipts_kept(
    results: Sequence[receipts.Result], now: Callable[[], datetime], owner: str, clock: Clock
) -> list[str]:  # fmt: skip
    """What `settle` says, as soon as the database takes it.

    A receipt that is thrown away because Postgres is just starting again would have its message looked for, and by a
    webhook sent again, once the lease has run out.
    """
    until = clock() + _RECEIPT_PATIENCE_SECONDS
    while True:
        try:
            return settle(results, now(), owner)
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or clock() > until:
                raise
            log.warning("receipts_wait_for_database", messages=len(results), error=type(error).__name__)
            connection.close()
            time.sleep(_RECEIPT_PAUSE_SECONDS)


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
    # More than wanted: what another worker is just claiming is skipped.
    ids = [pk for pk in _claimable(at, limit * 4 if only is None else _ALL) if only in (None, pk)]
    locked = Notification.objects.select_for_update(skip_locked=True, of=("self",), no_key=True)
    rows = locked.filter(_may_go(at), pk__in=ids, digest__isnull=True).prefetch_related("integration__slack_app")
    candidates = list(rows.order_by("not_before", "id")[:limit])
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
    bulk.update(candidates, ["state", "not_before", "lease_owner", "lease_until", "is_ambiguous"])
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
        state=_STATE.QUEUED, not_before=at, attempts=0, is_shrunk=False, error_class="", last_error=""
    )
    return bool(changed)


def discard(notification: Notification) -> bool:
    """Take a message that was not sent out of the outbox for good; False when it is on its way or was sent."""
    removable = (_STATE.DEAD, _STATE.QUEUED, _STATE.KEPT)
    return bool(Notification.objects.filter(pk=notification.pk, state__in=removable).update(state=_STATE.DISCARDED))


def _claimable(at: datetime, limit: int) -> list[int]:
    """Ids of queued messages whose time has come and of sends whose lease ran out, the longest due first.

    Only the oldest open message of each group and way out may go (DL-6); what is switched off waits.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HEADS_DUE, [at, at, limit])
        return [pk for (pk,) in cursor.fetchall()]


def _parcels(rows: Sequence[Notification]) -> list[Parcel]:
    logs = _logs(rows)
    return [
        Parcel(
            notification_id=row.pk, kind=row.kind, outbox_id=row.dedup_key, integration=row.integration,
            created_at=row.created_at, raw=row.message, group_key=row.group_key, why=row.why, reason=row.reason,
            anchor=_anchor(row, logs), is_ambiguous=row.is_ambiguous, is_shrunk=row.is_shrunk,
            is_unlisted=row.error_class in METADATA_CODES, digested=_digested(row),
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


def _timed(parcel: Parcel, clock: Clock, claimed_at: float) -> tuple[Outcome, float]:
    """What became of one parcel and the seconds it took; not sent at all once its lease could run out on the way."""
    started = clock()
    if started - claimed_at > _MAX_WAIT_SECONDS:
        return Outcome(parcel.kind, is_unsent=True), 0.0
    outcome = transmit(parcel)
    return outcome, clock() - started
