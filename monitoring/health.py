"""Readiness checks: the database, Redis, the workers with their beat, the models in production.

Each has a time limit of its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import time

import redis
from django.db import Error as DatabaseError
from django.db import connection
from health_check.base import HealthCheck
from health_check.checks import Database
from health_check.exceptions import ServiceUnavailable

from monitoring import heartbeats, probes

WORKER_SILENT_SECONDS = 30
# Beat ticks every few seconds; this leaves room for a worker that is busy for a moment.
TICK_SILENT_SECONDS = 60
#: What a person reads in one go.
MOST_NAMED = 10

__all__ = ["Database", "ModelsAnswer", "RedisAnswers", "WorkersAlive"]


@dataclasses.dataclass
class RedisAnswers(HealthCheck):
    """Redis or Valkey answers PING."""

    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Raise ServiceUnavailable with what to look at."""
        try:
            with heartbeats.connect() as client:
                client.ping()
        except redis.RedisError as error:
            raise ServiceUnavailable(f"Redis does not answer ({type(error).__name__}); check REDIS_URL") from error


@dataclasses.dataclass
class WorkersAlive(HealthCheck):
    """At least one worker lives, and beat's ticks reach it."""

    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Raise ServiceUnavailable naming what is silent and for how long."""
        try:
            workers, ticks = heartbeats.last_beats("worker"), heartbeats.last_beats("tick")
        except redis.RedisError as error:
            raise ServiceUnavailable("nobody knows: Redis, where workers sign in, does not answer") from error
        now = time.time()
        if not any(now - at <= WORKER_SILENT_SECONDS for at in workers.values()):
            raise ServiceUnavailable("no Celery worker has shown a sign of life lately; start one")
        last_tick = max(ticks.values(), default=0)
        if now - last_tick > TICK_SILENT_SECONDS:
            ago = f"for {now - last_tick:.0f} s" if last_tick else "yet"
            raise ServiceUnavailable(f"no tick of beat has reached a worker {ago}; is beat running?")


@dataclasses.dataclass
class ModelsAnswer(HealthCheck):
    """Every production deployment with a health URL answered it lately, by the results of its probe."""

    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Raise ServiceUnavailable naming the deployments that are not well and why."""
        try:
            with connection.temporary_connection() as cursor:
                cursor.execute(
                    "select set_config('statement_timeout', %s, false)", [f"{self.timeout.total_seconds()}s"]
                )
                unwell = probes.unwell(datetime.datetime.now(datetime.UTC))
        except DatabaseError as error:
            raise ServiceUnavailable("nobody knows: the database, where answers are kept, fails") from error
        if unwell:
            named = "; ".join(f"{name}: {problem}" for name, problem in unwell[:MOST_NAMED])
            more = f"; and {len(unwell) - MOST_NAMED} more" if len(unwell) > MOST_NAMED else ""
            raise ServiceUnavailable(f"{len(unwell)} production deployments are not well: {named}{more}")
