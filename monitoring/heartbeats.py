"""Who is alive: each long-running process writes the time of its last sign of life into Redis."""

from __future__ import annotations

from functools import cache

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger(__name__)
KEPT_SECONDS = 3600
PREFIX = "alphaq:alive:"
# What this process wrote last, by kind and name: epoch seconds.
_written: dict[tuple[str, str], float] = {}


def connect(timeout_seconds: float = 1) -> redis.Redis:
    """A client that answers or fails quickly: no retries."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def beat(kind: str, name: str, at_seconds: float, *, every_seconds: float = 0.0) -> None:
    """Write that `kind`/`name` lived at `at_seconds` (epoch). A lost Redis is logged, never raised.

    every_seconds: write nothing when this process did so less than that before.
    """
    if 0 <= at_seconds - _written.get((kind, name), 0.0) < every_seconds:
        return
    try:
        with _writer(settings.REDIS_URL).pipeline(transaction=False) as pipe:
            pipe.hset(PREFIX + kind, name, at_seconds)
            pipe.expire(PREFIX + kind, KEPT_SECONDS)
            pipe.execute()
        _written[kind, name] = at_seconds
    except redis.RedisError as error:
        log.warning("heartbeat_not_written", kind=kind, name=name, error=str(error))


@cache
def _writer(url: str) -> redis.Redis:
    """One connection a process, kept: signs of life are given all the time."""
    return connect()


def last_beats(kind: str) -> dict[str, float]:
    """Name → epoch seconds of its last sign of life; raises redis.RedisError."""
    with connect() as client:
        rows = client.hgetall(PREFIX + kind)
    return {name.decode(): float(value) for name, value in rows.items()}
