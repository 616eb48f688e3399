"""Work of the portal on samples and hosts, and the sending of a host's batches."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import structlog
from celery import Celery, shared_task
from django.core.cache import cache
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError

from monitoring import heartbeats, hosts, metrics, query, store
from monitoring.collect.batch import Message, stamp
from monitoring.collect.sender import BrokerAway
from monitoring.forward import Forwarder

log = structlog.get_logger(__name__)
INGEST_QUEUE = "ingest"
LISTENING_KEY = "hosts:listening"
INGEST_TASK = "monitoring.tasks.ingest_batch"
# Older batches are useless to alerting and would be in the way of newer ones after an outage of the portal.
EXPIRES_SECONDS = 3600
# With nobody to take them, batches stay in the hosts' bounded buffers instead of filling the broker's memory:
# 5,000 messages are about 20 MB.
MAX_WAITING = 5_000


@shared_task(
    name=INGEST_TASK,
    ignore_result=True,
    # Taken twice does no harm: a worker that is stopped hard leaves the batch to another one.
    acks_late=True,
    soft_time_limit=50,
    time_limit=60,
    autoretry_for=(OperationalError, InterfaceError),
    retry_backoff=2,
    retry_backoff_max=60,
    max_retries=20,
)
def ingest_batch(messages: list[Message]) -> dict[str, Any]:
    """Store the batches of hosts; returns how many batches and samples."""
    try:
        with metrics.SECONDS.time():
            taken = hosts.take(messages, datetime.now(UTC))
    except store.DiskFull as error:
        log.warning("samples_wait", error=str(error), batches=len(messages))
        raise
    return {"batches": taken.batches, "samples": taken.samples, "refused": sum(taken.refused.values())}


@shared_task(name="monitoring.tasks.watch_hosts", ignore_result=True, soft_time_limit=25, time_limit=30)
def watch_hosts() -> dict[str, int]:
    """Write `host_up` 0 for silent hosts; returns how many there are.

    After an outage of the portal every host looks silent until its next batch is in: the time of listening is kept
    in the cache, and what still waits in the queue is heard first.
    """
    at = datetime.now(UTC)
    since = hosts.listening_since(at, *cache.get(LISTENING_KEY, (None, None)))
    silent = hosts.mark_silent(at, since, oldest_waiting() or at)
    cache.set(LISTENING_KEY, (since, at), timeout=None)
    return {"silent": len(silent)}


def oldest_waiting() -> datetime | None:
    """Return when the oldest message that still waits for ingest was sent, None when there is none."""
    with heartbeats.connect() as client:
        # Messages go in at the left and come out at the right (kombu, transport/redis.py).
        found = client.lindex(INGEST_QUEUE, -1)
    if not found:
        return None
    try:
        (messages,), *_ = json.loads(b64decode(json.loads(found)["body"]))
        return datetime.fromtimestamp(messages[0]["sent_ms"] / 1000, tz=UTC)
    except (ValueError, LookupError, TypeError):
        log.warning("waiting_message_unreadable", queue=INGEST_QUEUE)
        return None


@shared_task(name="monitoring.tasks.keep_house", ignore_result=True, soft_time_limit=280, time_limit=300)
def keep_house() -> dict[str, str]:
    """Let the store do what is due: turn rows into chunks, merge, drop what is too old."""
    now_ms = round(time.time() * 1000)
    with metrics.HOUSE_SECONDS.time():
        report = store.keep_house(now_ms)
    # After the work: these numbers are about what is left to do.
    store.record(store.status(now_ms, top=0), now_ms)
    heartbeats.beat("house", "store", time.time())
    return {"house": str(report)}


@shared_task(name="monitoring.tasks.forward", ignore_result=True, soft_time_limit=50, time_limit=60)
def forward() -> dict[str, Any]:
    """Send stored samples to ALPHAQ_METRICS_URL, if there is one; returns how many rows, and what went wrong."""
    server = query.remote_backend()
    if server is None:
        return {"rows": 0}
    done = _forwarder(server).run(round(time.time() * 1000))
    if done.problem:
        log.warning("forwarding_stopped", error=done.problem)
    return {"rows": done.rows, "problem": done.problem}


_forwarder = lru_cache(maxsize=2)(Forwarder)


class BrokerState(NamedTuple):
    """What the broker says of itself, None where its kind does not tell."""

    clock_ms: int | None
    waiting: int | None


class Publisher:
    """Sends batches of this host to the portal; one connection, made anew after each failure, for one thread."""

    def __init__(self, app: Celery, max_waiting: int = MAX_WAITING) -> None:
        self._app = app
        self._max_waiting = max_waiting
        self._connection: Any = None

    def publish_batch(self, messages: Sequence[Message]) -> None:
        """Send the messages in one task; raises BrokerAway when the broker is not there or full."""
        try:
            self._send(messages)
        except Exception as error:
            is_broker = isinstance(error, (BrokerError, OSError, *self._broker_errors()))
            self.close()
            if is_broker:
                raise BrokerAway(f"{type(error).__name__}: {error}") from error
            raise

    def close(self) -> None:
        """Close the connection; the next sending opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _send(self, messages: Sequence[Message]) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
            # Once: the loop of the host has the patience, and a broken connection must not hold up a reading.
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        state = ask_broker(self._connection.default_channel)
        if state.waiting is not None and state.waiting >= self._max_waiting:
            raise BrokerAway(
                f"{state.waiting:,} messages wait in the queue {INGEST_QUEUE}: is a portal worker running?"
            )
        sent_ms = round(time.time() * 1000)
        stamped = [stamp(message, sent_ms, state.clock_ms) for message in messages]
        with self._app.amqp.Producer(self._connection, auto_declare=False) as producer:
            self._app.send_task(
                INGEST_TASK,
                [stamped],
                queue=INGEST_QUEUE,
                producer=producer,
                expires=EXPIRES_SECONDS,
                retry=False,
                # What workers write into their logs; Celery would repeat the start of the samples.
                argsrepr=f"({len(stamped)} batches of {stamped[0].get('host')})" if stamped else "()",
            )

    def _broker_errors(self) -> tuple[type[Exception], ...]:
        if self._connection is None:
            return ()
        return (*self._connection.connection_errors, *self._connection.channel_errors)


def ask_broker(channel: Any) -> BrokerState:
    """Return the broker's clock and how many messages wait for the portal, where it is Redis or Valkey."""
    client = getattr(channel, "client", None)
    if client is None:
        return BrokerState(None, None)
    with client.pipeline(transaction=False) as pipe:
        (seconds, microseconds), waiting = pipe.time().llen(INGEST_QUEUE).execute()
    return BrokerState(seconds * 1000 + microseconds // 1000, waiting)
