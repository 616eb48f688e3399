"""A group that is due before the next tick is asked for at the broker; one that the tick comes to is not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings

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


def test_a_group_that_is_overdue_is_not_asked_for_at_once_again_by_a_flush(queue: redis.Redis) -> None:
    due(-5)
    tasks.flush_soon(even_overdue=False)
    assert asked(queue) == []


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
