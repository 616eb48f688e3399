"""A group that is due before the next tick is asked for at the broker; one that the tick comes to is not."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connections

from alerts import dispatch, flush, tasks
from alerts.models import Group
from alphaq_portal.schedule import app
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db(transaction=True)
QUEUE = app.conf.task_default_queue


@pytest.fixture
def queue(services: dict[str, str]) -> Iterator[redis.Redis]:
    """The broker of these tests in place of whoever works here, its queue empty."""
    url, before = services["REDIS_URL"].replace("unix://", "redis+socket://"), app.conf.broker_url
    app.conf.broker_url = url
    app._after_fork()
    with redis.Redis.from_url(services["REDIS_URL"]) as client:
        client.delete(QUEUE)
        yield client
        client.delete(QUEUE)
    app._after_fork()
    app.conf.broker_url = before


@contextlib.contextmanager
def elsewhere(lock: int) -> Iterator[None]:
    """Another process that has an advisory lock."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [lock])
        yield
    finally:
        other.close()


def due(in_seconds: float) -> None:
    """A group whose flush is planned so many seconds from now."""
    now = datetime.now(UTC)
    Group.objects.create(key=f"k{in_seconds}", created_at=now, next_flush_at=now + timedelta(seconds=in_seconds))


def asked(queue: redis.Redis) -> list[dict[str, Any]]:
    """The headers of what lies in the queue."""
    return [json.loads(raw)["headers"] for raw in queue.lrange(QUEUE, 0, -1)]


def test_a_group_that_is_due_before_the_tick_is_asked_for(queue: redis.Redis) -> None:
    due(settings.ENV.tick_seconds * 0.5)
    tasks.flush_soon()
    [headers] = asked(queue)
    assert headers["task"] == "alerts.tasks.flush_due" and headers["expires"] > headers["eta"]


def test_a_group_that_the_tick_comes_to_in_time_is_left_to_it(queue: redis.Redis) -> None:
    due(settings.ENV.tick_seconds * 60)
    tasks.flush_soon()
    assert asked(queue) == []


def test_without_groups_nothing_is_asked_for(queue: redis.Redis) -> None:
    tasks.flush_soon()
    assert asked(queue) == []


def test_a_group_that_is_due_the_next_moment_does_not_wait_for_another_tick(
    queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(tasks, "_now", lambda: now)
    Group.objects.create(key="k", created_at=now, next_flush_at=now + timedelta(milliseconds=1))
    tasks._flush_due()
    assert [headers["task"] for headers in asked(queue)] == ["alerts.tasks.flush_due"]


def test_a_group_that_was_just_tried_is_not_asked_for_at_once_again(queue: redis.Redis) -> None:
    due(-5)
    tasks.flush_soon(datetime.now(UTC))
    assert asked(queue) == []


def test_what_became_due_during_a_round_does_not_wait_for_another_tick(
    queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(-5)  # it can never be flushed
    monkeypatch.setattr(flush, "flush_due", lambda at: due(0) or [])
    tasks._flush_due(most=1)
    assert [headers["task"] for headers in asked(queue)] == ["alerts.tasks.flush_due"]


def test_one_process_is_left_for_sending(queue: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[str] = []
    monkeypatch.setattr(tasks, "_flush_due", lambda: rounds.append("flushed") or 1)
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, worker_processes=3))
    with contextlib.ExitStack() as others:
        assert tasks.flush_due() == 1
        others.enter_context(elsewhere(tasks.FLUSH_LOCK))
        assert tasks.flush_due() == 1, "two of three processes may flush"
        others.enter_context(elsewhere(tasks.FLUSH_LOCK + 1))
        assert tasks.flush_due() == 0
    assert tasks.flush_due() == 1
    assert rounds == ["flushed"] * 3


def test_a_group_that_is_overdue_is_asked_for_at_once_by_whoever_posts(queue: redis.Redis) -> None:
    due(-5)
    tasks.flush_soon()
    assert [headers["task"] for headers in asked(queue)] == ["alerts.tasks.flush_due"]


def test_a_round_ends_although_groups_become_due_faster_than_it_takes(
    queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = build.route(group_wait_seconds=1, group_interval_seconds=5, repeat_interval_seconds=3600)
    dispatch.route([build.alert("A", T0)], T0)
    clock = itertools.count(1)
    monkeypatch.setattr(tasks, "_now", lambda: T0 + next(clock) * timedelta(seconds=route.group_interval_seconds))
    rounds = []
    flushed = flush.flush_due
    monkeypatch.setattr(flush, "flush_due", lambda at: rounds.append(at) or flushed(at))
    tasks._flush_due()
    assert len(rounds) == 1
    assert flush.due_groups(tasks._now(), limit=1), "it is due again, for the next round"
