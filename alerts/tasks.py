"""Ticks of the alerting half: each looks for what is due, claims it, and calls one function. Running twice is harmless.

This file alone enqueues work of the alerts app and reads the clock for it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from typing import Any

import structlog
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerError

from alerts import (
    agenda,
    amlease,
    backtest_runs,
    chart_upload,
    clicks,
    deliver,
    escalate,
    evaluate,
    flush,
    housekeeping,
    metrics,
    phases,
    reminders,
    silence_notice,
    stopped,
)
from alerts.models import Notification
from monitoring import heartbeats

log = structlog.get_logger(__name__)
# One flush takes 200 groups in a transaction; a storm of 10,000 groups is worked off in one tick.
MOST_FLUSHES = 50
# Any constant does that no other advisory lock of the portal has.
DELIVERY_LOCK = 0x616C7069
BACKTEST_LOCK = 0x616C7074
FLUSH_LOCK = 0x616C7200  # and the numbers after it, one for each process that may flush at the same time
SLOW_GROUPS_LOCK = 0x616C7100  # and the numbers after it, one for each process that may work on slow groups
# No new group is begun after this long; with ALPHAQ_GROUP_TIMEOUT it stays below the task's time limit of 90 s.
EVALUATE_AT_MOST = timedelta(seconds=20)
# Slots closer together are evaluated by one task, at the last of them.
EVALUATIONS_APART = timedelta(milliseconds=50)
# Whoever waits for samples is looked at again after this, and then after half of what it has waited.
LOOK_AGAIN_SECONDS = 0.05
_SIGN_OF_LIFE_SECONDS = 5.0


# The due time for which this process has asked for a flush last.
_flush_planned: datetime | None = None


def _now() -> datetime:
    return datetime.now(UTC)


def _tick(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Count and log a tick that failed; the next one tries again, so the error ends here."""

    def wrap(function: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(function)
        def tick() -> Any:
            try:
                return function()
            except SoftTimeLimitExceeded:
                metrics.TICK_ERRORS.labels(tick=name).inc()
                log.error("tick_too_slow", tick=name)
                return None
            except Exception:
                metrics.TICK_ERRORS.labels(tick=name).inc()
                log.exception("tick_failed", tick=name)
                raise

        return tick

    return wrap


def _say_alive(tick: str) -> None:
    heartbeats.beat("tick", tick, _now().timestamp(), every_seconds=_SIGN_OF_LIFE_SECONDS)


@shared_task(name="alerts.tasks.tick")
def tick() -> None:
    """Look once for everything that is due: the one message a second that beat sends, instead of one for each."""
    take = {"evaluate": evaluate_due, "flush": flush_due, "escalate": escalate_due, "deliver": _deliver_what_is_due}
    with suppress(Exception):  # logged and counted already
        wanted = _agenda()
        for look in agenda.LOOKS:
            if look in wanted:
                with suppress(Exception):  # as above; the others are not to wait for it
                    take[look]()
            elif look != "deliver":  # who serves its queue says so himself
                _say_alive(look)
    _say_alive("beat")  # beat, the broker and a worker work together


@_tick("agenda")
def _agenda() -> tuple[str, ...]:
    at = _now()
    return agenda.looks(at, at + timedelta(seconds=settings.ENV.tick_seconds))


@_tick("deliver")
def _deliver_what_is_due() -> None:
    if deliver.is_due(_now()):
        # Asked for again by the next tick: where nobody serves the queue the messages must not pile up.
        expires = max(2 * settings.ENV.tick_seconds, 5)
        transaction.on_commit(partial(deliver_due.apply_async, queue="deliver", expires=expires), robust=True)


@shared_task(name="alerts.tasks.evaluate_due")
@_tick("evaluate")
def evaluate_due() -> int:
    """Evaluate every group whose slot has come, plan those of the time until the next tick; returns how many."""
    _plan_evaluations(_now())
    done = _evaluate_due()
    _say_alive("evaluate")
    phases.settle(_now())
    return done


@shared_task(name="alerts.tasks.evaluate_now")
@_tick("evaluate")
def evaluate_now() -> int:
    """Evaluate every group whose slot has come; returns how many. A tick planned it for the time of a slot."""
    return _evaluate_due()


def _plan_evaluations(at: datetime) -> None:
    """Have groups evaluated at their slots and not a tick later; only the tick is relied on (DL-12)."""
    ends: list[datetime] = []
    first = None
    for slot in evaluate.next_slots(at, at + timedelta(seconds=settings.ENV.tick_seconds)):
        if first is None or slot - first >= EVALUATIONS_APART:
            first = slot
            ends.append(slot)
        ends[-1] = slot
    for slot in ends:
        _evaluate_in((slot - at).total_seconds())


def _evaluate_in(wait_seconds: float) -> None:
    options = {"countdown": wait_seconds, "expires": wait_seconds + 5, "retry": False}
    transaction.on_commit(partial(evaluate_now.apply_async, **options), robust=True)


def _evaluate_due() -> int:
    """Evaluate what is due: quick groups first, slow ones while another process is left for the quick."""
    due, until = evaluate.due(_now()), _now() + EVALUATE_AT_MOST
    if due.waiting_since is not None:
        waited_seconds = (_now() - due.waiting_since).total_seconds()
        _evaluate_in(max(LOOK_AGAIN_SECONDS, waited_seconds / 2))
    done = _evaluate_groups(due.quick, until)
    if due.slow:
        with _one_of(SLOW_GROUPS_LOCK, max(settings.ENV.worker_processes - 1, 1)) as has_place:
            done += _evaluate_groups(due.slow, until) if has_place else 0
    return done


def _evaluate_groups(group_ids: list[int], until: datetime) -> int:
    """Evaluate groups until a time; what is left is due for the next tick."""
    done, last = 0, group_ids[-1] if group_ids else None
    for group_id in group_ids:
        if _now() > until:
            break
        try:
            outcome = evaluate.evaluate(group_id, _now())
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            metrics.TICK_ERRORS.labels(tick="evaluate").inc()
            log.exception("group_not_evaluated", group_id=group_id)
            continue
        if outcome is not None:
            done += 1
            if outcome.transitions:
                _flush(is_last=group_id == last)
    return done


def _flush(is_last: bool) -> None:
    """Have groups flushed: a first lot after the last evaluation right here, the others by another process."""
    if is_last:
        _flush_due(most=1)
    if not is_last or flush.due_groups(_now(), limit=1):
        _enqueue_flush()


@shared_task(name="alerts.tasks.flush_due")
@_tick("flush")
def flush_due() -> int:
    """Decide for every group that is due what is to be told; returns the number of messages."""
    amlease.settle(_now())
    made = 0
    # One process is left for sending: what all of them decide together would be told at the end.
    with _one_of(FLUSH_LOCK, max(settings.ENV.worker_processes - 1, 1)) as has_place:
        if has_place:
            made = _flush_due()
    _say_alive("flush")
    return made


def _flush_due(most: int = MOST_FLUSHES) -> int:
    """Flush what is due, in so many transactions at most, and see that it is sent; returns the number of messages."""
    made, begun = 0, _now()
    for _ in range(most):
        # Not what has become due meanwhile: on a machine that takes a group_interval for one round it would never end.
        due_at = flush.next_due_at()
        if due_at is None or due_at > begun:
            break
        fresh = len(flush.flush_due(_now()))
        if fresh:
            _enqueue_delivery()
        made += fresh
    # What could not be flushed just now is left to the next tick, or this would go round and round.
    flush_soon(begun)
    return made


def flush_soon(after: datetime = datetime.min) -> None:
    """Have the next group flushed when it is due and not a tick later; only the tick is relied on (DL-12).

    after: groups that were due by then have just been tried.
    """
    global _flush_planned
    due_at = flush.next_due_at(after)
    if due_at is None or due_at == _flush_planned:  # in a storm each request would ask for the same
        return
    wait_seconds = max((due_at - _now()).total_seconds(), 0.0)
    if wait_seconds < settings.ENV.tick_seconds:
        _flush_planned = due_at
        options = {"countdown": wait_seconds, "expires": wait_seconds + 5, "retry": False}
        transaction.on_commit(lambda: flush_due.apply_async(**options), robust=True)


@shared_task(name="alerts.tasks.escalate_due")
@_tick("escalate")
def escalate_due() -> int:
    """Run every step of an escalation whose time has come; returns the number of messages."""
    is_open, due_at = escalate.standing()
    made = len(escalate.run_due(_now())) if is_open else 0
    _say_alive("escalate")
    if made:
        _enqueue_delivery()
    if is_open:
        _, due_at = escalate.standing()
    wait_seconds = (due_at - _now()).total_seconds() if due_at else 0.0
    if 0 < wait_seconds < settings.ENV.tick_seconds:
        # The next step comes when it is due and not a tick later; only the tick is relied on (DL-12).
        options = {"countdown": wait_seconds, "expires": wait_seconds + 5, "retry": False}
        transaction.on_commit(lambda: escalate_due.apply_async(**options), robust=True)
    return made


@shared_task(name="alerts.tasks.deliver_due")
@_tick("deliver")
def deliver_due() -> dict[str, int]:
    """Send what is due, several channels side by side; returns how many ended in which state."""
    _say_alive("deliver")
    with _alone(DELIVERY_LOCK) as is_alone:
        done = dict(deliver.run(_now(), f"{socket.gethostname()}:{os.getpid()}")) if is_alone else {}
    if done.get(Notification.State.SENT):
        transaction.on_commit(upload_charts.delay)
    return done


@shared_task(name="alerts.tasks.upload_charts")
@_tick("charts")
def upload_charts() -> int:
    """Put charts into the threads of messages that arrived lately; returns how many arrived."""
    return chart_upload.upload_due(_now())


@shared_task(name="alerts.tasks.keep_house")
@_tick("house")
def keep_house() -> Any:
    """Remove what nobody needs any more, and do what was pressed in Slack while no worker could be told."""
    clicks.work_off(_now())
    clicks.expire(_now())
    remind()
    stopped.care_for(_now())
    silence_notice.tell_ending(_now())
    backtest_runs.end_lost(_now())
    if backtest_runs.is_waiting():
        enqueue_backtests()
    return housekeeping.keep_house(_now())


@shared_task(name="alerts.tasks.run_backtests", soft_time_limit=420, time_limit=480)
@_tick("backtest")
def run_backtests() -> int | None:
    """Run the oldest backtest that waits, unless one runs already, and ask for the next; returns its id."""
    with _alone(BACKTEST_LOCK) as is_alone:
        done = backtest_runs.run_next(_now) if is_alone else None
    if done is not None and backtest_runs.is_waiting():
        enqueue_backtests()
    return done


def enqueue_backtests() -> None:
    """Let a worker try rules, once it is committed; without a broker the next keep_house does."""
    transaction.on_commit(lambda: run_backtests.apply_async(retry=False), robust=True)


def remind() -> int:
    """Ask who has had an alert for long, take back what nobody confirms; returns how many of both."""
    env = settings.ENV
    asked = reminders.remind(_now(), timedelta(hours=env.acknowledge_remind_hours))
    taken = reminders.take_back(_now(), timedelta(hours=env.acknowledge_expire_hours))
    return len(asked) + len(taken)


@shared_task(name="alerts.tasks.answer_clicks")
@_tick("clicks")
def answer_clicks() -> int:
    """Do what was pressed in Slack; returns how many presses."""
    done = clicks.work_off(_now())
    if done:
        _enqueue_delivery()
    return done


def enqueue_clicks() -> None:
    """Let a worker do what was pressed, once it is committed; without a broker the next keep_house does.

    In a thread: a broker that is away takes seconds to say so, and Slack waits for three.
    """
    transaction.on_commit(lambda: threading.Thread(target=_send_clicks, daemon=True).start())


def _send_clicks() -> None:
    try:
        answer_clicks.apply_async(retry=False, queue="deliver")
    except (BrokerError, OSError) as error:
        log.warning("clicks_not_enqueued", error=type(error).__name__)


@contextmanager
def _alone(key: int) -> Iterator[bool]:
    """Whether nobody else runs this now: ticks that wait on a hanging channel must not fill every process."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


@contextmanager
def _one_of(first_key: int, places: int) -> Iterator[bool]:
    """Whether one of so many places was free; it is kept to the end of the block."""
    with ExitStack() as stack:
        yield any(stack.enter_context(_alone(first_key + number)) for number in range(places))


def _enqueue_flush() -> None:
    transaction.on_commit(flush_due.delay)


def _enqueue_delivery() -> None:
    transaction.on_commit(deliver_due.delay)
