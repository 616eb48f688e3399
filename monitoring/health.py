"""Readiness checks: the database, Redis, and the workers with their beat. Each has a time limit of its own."""

from __future__ import annotations

import dataclasses
import datetime
import time

import redis
from django.apps import apps
from django.db import Error as DatabaseError
from django.db import connection
from health_check.base import HealthCheck
from health_check.checks import Database
from health_check.exceptions import ServiceUnavailable

from monitoring import heartbeats

WORKER_SILENT_SECONDS = 30
# Beat ticks every few seconds; this leaves room for a worker that is busy for a moment.
TICK_SILENT_SECONDS = 60

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
    """The registry of what we watch can be read; its hosts are the only registered things so far."""

    timeout: datetime.timedelta = dataclasses.field(default=datetime.timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Raise ServiceUnavailable when the registry cannot be read."""
        host = apps.get_model("monitoring", "Host")
        try:
            with connection.temporary_connection():
                host.objects.exists()
        except DatabaseError as error:
            raise ServiceUnavailable("the registry cannot be read; are all migrations applied?") from error
